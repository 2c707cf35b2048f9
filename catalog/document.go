package catalog

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"kalamdb/row"
	"kalamdb/storagelocations"
)

// The documents, each the whole truth about one thing:
//
//	_kalamdb/catalog/namespaces/<name>.json
//	_kalamdb/catalog/locations/<name>.json
//	_kalamdb/catalog/tables/<namespace>/<name>.json    the table that has the name, or had it last
//	_kalamdb/catalog/dropped/<table id>.json           one whose name has been given to another table since
//	_kalamdb/catalog/users/<shard>.json                the users whose ids hash to the shard: 00 to ff
//	_kalamdb/catalog/keys/<id>.json                    an API key: its hash and whose it is
//
// A document says who wrote it by a random revision, so that a writer whose reply
// was lost can tell its own work from another's.
const (
	folder           = storagelocations.MetaFolder + "/catalog/"
	namespacesFolder = folder + "namespaces/"
	locationsFolder  = folder + "locations/"
	tablesFolder     = folder + "tables/"
	droppedFolder    = folder + "dropped/"
	usersFolder      = folder + "users/"
	keysFolder       = folder + "keys/"
	suffix           = ".json"

	// formatVersion is written into every document. A larger one is from a newer server.
	formatVersion = 2
	// formatPlain is written where nothing is that a server of before would have to know:
	// one that did not know policies would show every row.
	formatPlain = 1
)

func namespaceDoc(name string) string        { return namespacesFolder + name + suffix }
func locationDoc(name string) string         { return locationsFolder + name + suffix }
func tableDoc(namespace, name string) string { return tablesFolder + namespace + "/" + name + suffix }
func droppedDoc(id uint64) string            { return droppedFolder + formatID(id) + suffix }
func formatID(id uint64) string              { return fmt.Sprintf("%016x", id) }

// A document is the JSON of one object. Exactly one of Namespace, Location, Table, Users
// and APIKey is set, or Gone alone.
type document struct {
	Format    int            `json:"format"`
	Revision  string         `json:"revision"`
	Gone      *time.Time     `json:"gone,omitempty"` // since when what it described does not exist
	Namespace *namespaceJSON `json:"namespace,omitempty"`
	Location  *locationJSON  `json:"location,omitempty"`
	Table     *tableJSON     `json:"table,omitempty"`
	Users     *usersJSON     `json:"users,omitempty"`
	APIKey    *apiKeyJSON    `json:"api_key,omitempty"`
	table     *Table         // decoded from Table

	users      *userShard // decoded from Users, which is nil then
	usersShard uint8      // its number

	apiKey *APIKey // decoded from APIKey
}

type namespaceJSON struct {
	Name    string            `json:"name"`
	Options map[string]string `json:"options,omitempty"`
	Created time.Time         `json:"created"`
	Updated time.Time         `json:"updated"`

	Restoring []string `json:"restoring,omitempty"` // ids of restored tables that do not have their names yet
}

type tableJSON struct {
	Namespace        string            `json:"namespace"`
	Name             string            `json:"name"`
	ID               string            `json:"id"` // 16 hexadecimal digits
	Type             TableType         `json:"type"`
	Location         string            `json:"location,omitempty"`
	LocationVersion  uint32            `json:"location_version,omitempty"`
	Root             string            `json:"root,omitempty"`
	Path             string            `json:"path"`
	FlushRows        int               `json:"flush_rows,omitempty"`
	FlushInterval    string            `json:"flush_interval,omitempty"`
	DeletedRetention string            `json:"deleted_retention"` // a duration, or "off"
	Options          map[string]string `json:"options,omitempty"`
	Created          time.Time         `json:"created"`
	Updated          time.Time         `json:"updated"`
	Dropped          bool              `json:"dropped,omitempty"`
	Versions         []versionJSON     `json:"schema_versions"`
	RulesVersion     uint64            `json:"rules_version,omitempty"`
	RulesSince       row.Seq           `json:"rules_since,omitempty"`
	Policies         []Policy          `json:"policies,omitempty"`
	Grants           []ColumnGrant     `json:"column_grants,omitempty"`
}

type versionJSON struct {
	row.Schema
	Changes string    `json:"changes"`
	Created time.Time `json:"created"`
}

const retentionOff = "off"

func newTableJSON(t *Table) *tableJSON {
	j := &tableJSON{
		Namespace: t.Ref.Namespace, Name: t.Ref.Name, ID: formatID(t.Ref.ID), Type: t.Type,
		Location: t.Location, LocationVersion: t.LocationVersion, Root: t.Root, Path: string(t.Path),
		FlushRows: t.Flush.Rows, DeletedRetention: retentionOff, Options: t.Options,
		Created: t.Created, Updated: t.Updated, Dropped: t.Dropped,
		RulesVersion: t.Rules.Version, RulesSince: t.Rules.Since, Policies: t.Rules.Policies, Grants: t.Rules.Grants,
	}
	if t.Flush.Interval > 0 {
		j.FlushInterval = t.Flush.Interval.String()
	}
	if t.DeletedRetention >= 0 {
		j.DeletedRetention = t.DeletedRetention.String()
	}
	for _, v := range t.Versions {
		j.Versions = append(j.Versions, versionJSON{*v.Schema, v.Changes, v.Created})
	}
	return j
}

func (j *tableJSON) table() (*Table, error) {
	id, err := strconv.ParseUint(j.ID, 16, 64)
	if err != nil || id == 0 {
		return nil, fmt.Errorf("table id %q", j.ID)
	}
	t := &Table{
		Ref:  row.TableRef{Namespace: j.Namespace, Name: j.Name, ID: id},
		Type: j.Type, Location: j.Location, LocationVersion: j.LocationVersion, Root: j.Root,
		Flush: FlushPolicy{Rows: j.FlushRows}, DeletedRetention: -1, Options: j.Options,
		Created: j.Created, Updated: j.Updated, Dropped: j.Dropped,
		Rules: Rules{Version: j.RulesVersion, Since: j.RulesSince, Policies: j.Policies, Grants: j.Grants},
	}
	if j.FlushInterval != "" {
		if t.Flush.Interval, err = time.ParseDuration(j.FlushInterval); err != nil {
			return nil, err
		}
	}
	if j.DeletedRetention != retentionOff {
		if t.DeletedRetention, err = time.ParseDuration(j.DeletedRetention); err != nil {
			return nil, err
		}
	}
	for i := range j.Versions {
		v := &j.Versions[i]
		t.Versions = append(t.Versions, SchemaVersion{&v.Schema, v.Changes, v.Created})
	}
	if t.Location != "" && t.Location != DefaultName { // documents from before versions say nothing
		t.LocationVersion = max(t.LocationVersion, 1)
	}
	t.Path = storagelocations.Template(j.Path)
	return t, t.valid()
}

// encode gives d a new revision and writes it.
func encode(d *document) ([]byte, error) {
	d.Format, d.Revision = formatPlain, rand.Text()
	if d.Table != nil && len(d.Table.Policies)+len(d.Table.Grants) > 0 {
		d.Format = formatVersion
	}
	b, err := json.MarshalIndent(d, "", "  ")
	return append(b, '\n'), err
}

// decode reads the document of the given object and checks that it belongs there.
func decode(object string, body []byte) (*document, error) {
	d := &document{}
	in := json.NewDecoder(bytes.NewReader(body))
	err := in.Decode(d)
	switch {
	case err != nil:
	case d.Format > formatVersion:
		return nil, fmt.Errorf("%s: format %d is newer than this server, which knows %d", object, d.Format, formatVersion)
	case d.Format < 1 || d.Revision == "":
		err = fmt.Errorf("no format or no revision")
	case in.More():
		err = fmt.Errorf("bytes behind the document")
	default:
		var home string
		home, err = d.check(object)
		if err == nil && home != object {
			err = fmt.Errorf("it belongs to %s", home)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrCorrupt, object, err)
	}
	return d, nil
}

// check makes sure that d can be used and returns the object it belongs to.
func (d *document) check(object string) (home string, err error) {
	parts := 0
	for _, set := range []bool{d.Gone != nil, d.Namespace != nil, d.Location != nil, d.Table != nil, d.Users != nil, d.APIKey != nil} {
		if set {
			parts++
		}
	}
	if parts != 1 {
		return "", fmt.Errorf("it describes %d things, expected one", parts)
	}
	switch {
	case d.Namespace != nil:
		return namespaceDoc(d.Namespace.Name), checkNamespaceName(d.Namespace.Name)
	case d.Location != nil:
		return locationDoc(d.Location.Name), d.Location.check()
	case d.Users != nil:
		d.usersShard, d.users, err = d.Users.shard()
		d.Users = nil // one copy in memory is enough
		return usersDoc(d.usersShard), err
	case d.APIKey != nil:
		if d.apiKey, err = d.APIKey.key(); err != nil {
			return "", err
		}
		return keyDoc(d.apiKey.ID), nil
	case d.Table != nil:
		if d.table, err = d.Table.table(); err != nil {
			return "", err
		}
		if d.table.Dropped && strings.HasPrefix(object, droppedFolder) {
			return droppedDoc(d.table.Ref.ID), nil
		}
		return tableDoc(d.table.Ref.Namespace, d.table.Ref.Name), nil
	}
	return object, nil
}

package catalog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"kalamdb/storagelocations"
)

// A Location is a storage location that tables refer to by name. The location
// default has no document: it is the bucket the catalog itself is in, wherever
// that is now.
//
// A table stays where it was made: it refers to a name and a version, and keeps the
// bucket and the folder. A change of where the files are (path, endpoint, region) is a new
// version, which tables made later have; a change of how to get there (credentials and the
// other options) changes the version there is. A version ends with its last table.
type Location struct {
	Name             string
	LocationVersion                    // which new tables have
	Earlier          []LocationVersion // which tables still have, ascending
	Created, Updated time.Time
}

// A LocationVersion is one place that a storage location leads or led to.
type LocationVersion struct {
	Version        uint32
	Type           string            // filesystem or s3
	Path           string            // as the LOCATION of a table: a url with variables
	CredentialsRef string            // where the credentials are, see storagelocations.CheckCredentials
	Options        map[string]string // of s3, see storagelocations.ParseS3Options
}

const (
	typeFilesystem = "filesystem"
	typeS3         = "s3"

	locationVersionsMax = 100
	locationValueMax    = 1_000 // bytes of a path or an option
)

// whereOptions are the options that say where files are and not how to get there.
var whereOptions = []string{"endpoint", "region"}

func (v *LocationVersion) sameWhere(w *LocationVersion) bool {
	for _, name := range whereOptions {
		if v.Options[name] != w.Options[name] {
			return false
		}
	}
	return v.Path == w.Path
}

// S3 are the S3 options of v.
func (v *LocationVersion) S3() (storagelocations.S3Options, error) {
	o, err := storagelocations.ParseS3Options(v.Options)
	o.Credentials = v.CredentialsRef
	if err == nil {
		err = o.Valid()
	}
	return o, err
}

// Root is the url of the bucket: the path up to the first variable.
func (v *LocationVersion) Root() (string, error) {
	root, _, err := storagelocations.ParseTemplate(v.Path, strings.Contains(v.Path, "${user_id}"))
	return root, err
}

// Complete checks l and fills in its type.
func (l *Location) Complete() error {
	if err := checkLocationName(l.Name); err != nil {
		return err
	}
	return l.complete(l.Name)
}

// complete checks v and fills in its type.
func (v *LocationVersion) complete(name string) error {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("%w: storage location %s: %w", ErrInvalid, name, fmt.Errorf(format, args...))
	}
	if _, err := v.Root(); err != nil {
		return invalid("%w", err)
	}
	if v.Type == "" {
		v.Type = locationType(v.Path)
	}
	if v.Type != locationType(v.Path) {
		return invalid("it has the type %q, expected %s for %s", v.Type, locationType(v.Path), v.Path)
	}
	if v.Type == typeFilesystem && (v.CredentialsRef != "" || len(v.Options) > 0) {
		return invalid("a filesystem has no credentials_ref and no options of s3")
	}
	for option, value := range v.Options {
		if len(value) > locationValueMax {
			return invalid("%s has %d bytes, expected at most %d", option, len(value), locationValueMax)
		}
	}
	if len(v.Path) > locationValueMax {
		return invalid("path has %d bytes, expected at most %d", len(v.Path), locationValueMax)
	}
	if _, err := v.S3(); err != nil {
		return invalid("%w", err)
	}
	return nil
}

func locationType(url string) string {
	if strings.HasPrefix(url, "s3://") {
		return typeS3
	}
	return typeFilesystem
}

func (c *Catalog) defaultLocation() Location {
	url := c.bucket.URL()
	l := Location{Name: DefaultName, LocationVersion: LocationVersion{Type: locationType(url), Path: url}}
	if n, ok := c.state.Load().namespaces[DefaultName]; ok { // as old as the catalog
		l.Created, l.Updated = n.Created, n.Created
	}
	return l
}

// CreateLocation makes a storage location. An empty Type is taken from the Path.
// ErrExists if there is one of that name.
func (c *Catalog) CreateLocation(ctx context.Context, l Location) error {
	if err := l.Complete(); err != nil {
		return err
	}
	end, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	exists := func() bool { _, err := c.Location(l.Name); return err == nil }
	if !exists() {
		l.Version, l.Earlier = 1, nil
		l.Created = time.Now().UTC().Truncate(time.Microsecond)
		l.Updated = l.Created
		err = c.write(ctx, locationDoc(l.Name), &document{Location: newLocationJSON(&l)})
		if !errors.Is(err, ErrConflict) || !exists() {
			return err
		}
	}
	return fmt.Errorf("storage location %s %w", l.Name, ErrExists)
}

// AlterLocation gives l, as the caller saw it, another version for the tables to come, or
// changes how the present one is reached: see [Location]. to.Version is ignored. ErrConflict
// if l is not the newest any more.
func (c *Catalog) AlterLocation(ctx context.Context, l Location, to LocationVersion) (Location, error) {
	if l.Name == DefaultName {
		return l, fmt.Errorf("%w: storage location %s is where the server keeps its catalog: its settings say where that is", ErrInvalid, DefaultName)
	}
	if err := to.complete(l.Name); err != nil {
		return l, err
	}
	end, err := c.begin(ctx)
	if err != nil {
		return l, err
	}
	defer end()
	now, err := c.Location(l.Name)
	if err != nil {
		return l, err
	}
	if !now.Updated.Equal(l.Updated) {
		return l, fmt.Errorf("storage location %s was %w", l.Name, ErrConflict)
	}
	all := append(slices.Clone(now.Earlier), now.LocationVersion)
	used := c.versionsUsed(l.Name)
	to.Version = 0
	for _, v := range all {
		if v.sameWhere(&to) {
			to.Version = v.Version
		}
	}
	if to.Version == 0 {
		for _, v := range all {
			to.Version = max(to.Version, v.Version+1)
		}
	}
	now.LocationVersion, now.Earlier = to, nil
	for _, v := range all {
		if v.Version != to.Version && used[v.Version] {
			now.Earlier = append(now.Earlier, v)
		}
	}
	slices.SortFunc(now.Earlier, func(a, b LocationVersion) int { return int(a.Version) - int(b.Version) })
	if len(now.Earlier) >= locationVersionsMax {
		return l, fmt.Errorf("%w: storage location %s leads its tables to %d places, which is the limit", ErrInvalid, l.Name, locationVersionsMax)
	}
	if now.Updated = time.Now().UTC().Truncate(time.Microsecond); !now.Updated.After(l.Updated) {
		now.Updated = l.Updated.Add(time.Microsecond) // so that it tells states apart
	}
	return now, c.write(ctx, locationDoc(l.Name), &document{Location: newLocationJSON(&now)})
}

// versionsUsed are the versions of a location that tables have, dropped ones whose data
// is still there too.
func (c *Catalog) versionsUsed(name string) map[uint32]bool {
	used := map[uint32]bool{}
	for _, t := range c.state.Load().byID {
		if t.Location == name {
			used[t.LocationVersion] = true
		}
	}
	return used
}

// LocationOf is the version of its location that t was made with; ok is false if t is not
// in a named location other than default.
func (c *Catalog) LocationOf(t *Table) (v LocationVersion, ok bool, err error) {
	if t.Location == "" || t.Location == DefaultName {
		return v, false, nil
	}
	l, err := c.Location(t.Location)
	if err != nil {
		return v, true, err
	}
	for _, v := range append([]LocationVersion{l.LocationVersion}, l.Earlier...) {
		if v.Version == t.LocationVersion {
			return v, true, nil
		}
	}
	return v, true, fmt.Errorf("%w: table %s has version %d of storage location %s, which is not there", ErrCorrupt, t.Ref, t.LocationVersion, l.Name)
}

// DropLocation removes a storage location. ErrInUse, with their names, if tables use it,
// dropped ones whose files are still being removed too.
func (c *Catalog) DropLocation(ctx context.Context, name string) error {
	end, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := c.MayDropLocation(name); err != nil {
		return err
	}
	return c.remove(ctx, locationDoc(name))
}

// MayDropLocation says why a storage location cannot be dropped, or nil.
func (c *Catalog) MayDropLocation(name string) error {
	if name == DefaultName {
		return fmt.Errorf("%w: storage location %s is where the server keeps its catalog and cannot be dropped", ErrInvalid, name)
	}
	if _, err := c.Location(name); err != nil {
		return err
	}
	const namesMax = 10
	var names []string
	n := 0
	add := func(t *Table, what string) {
		if t.Location != name {
			return
		}
		if n++; n <= namesMax {
			names = append(names, t.Ref.String()+what)
		}
	}
	for _, t := range c.Tables() {
		add(t, "")
	}
	for _, t := range c.Dropped() {
		add(t, " (dropped, its files are being removed)")
	}
	if n == 0 {
		return nil
	}
	list := strings.Join(names, ", ")
	if n > len(names) {
		list += fmt.Sprintf(" and %d more", n-len(names))
	}
	return fmt.Errorf("storage location %s %w by %s", name, ErrInUse, list)
}

// Usage is how many tables use each storage location; one that none uses is not there.
func (c *Catalog) Usage() map[string]int {
	n := map[string]int{}
	for _, t := range c.state.Load().tables {
		switch {
		case t.Location != "":
			n[t.Location]++
		case t.Root == "" && t.Type != Stream:
			n[DefaultName]++
		}
	}
	return n
}

type locationJSON struct {
	Name string `json:"name"`
	locationVersionJSON
	Earlier []locationVersionJSON `json:"earlier,omitempty"`
	Created time.Time             `json:"created"`
	Updated time.Time             `json:"updated"`
}

type locationVersionJSON struct {
	Version        uint32            `json:"version,omitempty"` // 0, in old documents, is 1
	Type           string            `json:"type"`
	Path           string            `json:"path"`
	CredentialsRef string            `json:"credentials_ref,omitempty"`
	Options        map[string]string `json:"options,omitempty"`
}

func newLocationJSON(l *Location) *locationJSON {
	j := &locationJSON{Name: l.Name, locationVersionJSON: newLocationVersionJSON(l.LocationVersion), Created: l.Created, Updated: l.Updated}
	for _, v := range l.Earlier {
		j.Earlier = append(j.Earlier, newLocationVersionJSON(v))
	}
	return j
}

func newLocationVersionJSON(v LocationVersion) locationVersionJSON {
	return locationVersionJSON(v)
}

func (j *locationJSON) location() Location {
	l := Location{Name: j.Name, LocationVersion: j.version(), Created: j.Created, Updated: j.Updated}
	for i := range j.Earlier {
		l.Earlier = append(l.Earlier, j.Earlier[i].version())
	}
	return l
}

func (j *locationVersionJSON) version() LocationVersion {
	return LocationVersion{max(j.Version, 1), j.Type, j.Path, j.CredentialsRef, maps.Clone(j.Options)}
}

func (j *locationJSON) check() error {
	if err := checkLocationName(j.Name); err != nil {
		return err
	}
	l := j.location()
	for _, v := range append(l.Earlier, l.LocationVersion) {
		if err := v.complete(j.Name); err != nil {
			return err
		}
	}
	return nil
}

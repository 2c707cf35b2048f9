package catalog

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"kalamdb/row"
	"kalamdb/storagelocations"
)

// A TableType is what kind of partitions a table has.
type TableType string

const (
	User   TableType = "user"   // a partition per user
	Shared TableType = "shared" // one partition for all
	Stream TableType = "stream" // events, never in files
)

const (
	flushRowsDefault        = 10_000
	flushIntervalDefault    = 5 * time.Minute
	deletedRetentionDefault = 7 * 24 * time.Hour
)

// A FlushPolicy says when buffered rows of a partition are due to be written to files.
type FlushPolicy struct {
	Rows     int           // buffered rows; zero in [Catalog.CreateTable] means 10,000
	Interval time.Duration // age of the oldest buffered row; zero means 5 minutes
}

// A SchemaVersion is one schema a table has or had.
type SchemaVersion struct {
	*row.Schema
	Changes string // what made it, for people: CREATE TABLE
	Created time.Time
}

// A Table is one table. It never changes once the catalog has handed it out.
//
// Its life: 1. live: the document has its name. 2. dropped: the document says so;
// nobody can see the table, another one may take the name. 3. forgotten: its data
// is gone, and so is the document. A crash between any two goes on from there.
type Table struct {
	Ref              row.TableRef
	Type             TableType
	Versions         []SchemaVersion // ascending, the last one is current
	Location         string          // name of a storage location, or empty
	LocationVersion  uint32          // of a named location other than default
	Root             string          // url of the bucket, fixed at creation; empty is the default bucket
	Path             storagelocations.Template
	Flush            FlushPolicy
	DeletedRetention time.Duration     // how long deleted rows are kept; negative: for ever; zero in CreateTable means 7 days
	Options          map[string]string // of its type, see OptionAccess and the others
	Rules            Rules
	Created, Updated time.Time
	Dropped          bool
}

// Schema is the current schema.
func (t *Table) Schema() *row.Schema { return t.Versions[len(t.Versions)-1].Schema }

// SchemaAt is the schema of the given version, nil if t never had it.
func (t *Table) SchemaAt(version uint32) *row.Schema {
	for i := len(t.Versions) - 1; i >= 0; i-- {
		if t.Versions[i].Version == version {
			return t.Versions[i].Schema
		}
	}
	return nil
}

// valid says what is wrong with t, or nil.
func (t *Table) valid() error {
	if err := checkNamespaceName(t.Ref.Namespace); err != nil {
		return err
	}
	if err := checkName("table", t.Ref.Name); err != nil {
		return err
	}
	switch t.Type {
	case User, Shared:
		if t.Flush.Rows < 1 || t.Flush.Interval <= 0 {
			return fmt.Errorf("%w: flush policy of %d rows and %v, expected more than nothing", ErrInvalid, t.Flush.Rows, t.Flush.Interval)
		}
		if _, err := storagelocations.ParseRelative(string(t.Path), t.Type == User); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	case Stream:
	default:
		return fmt.Errorf("%w: table type %q, expected user, shared or stream", ErrInvalid, t.Type)
	}
	if err := t.validOptions(); err != nil {
		return err
	}
	if err := t.Rules.valid(t); err != nil {
		return err
	}
	if len(t.Versions) == 0 {
		return fmt.Errorf("%w: table %s has no schema", ErrInvalid, t.Ref)
	}
	for i, v := range t.Versions {
		if v.Version != uint32(i+1) {
			return fmt.Errorf("%w: schema version %d of table %s, expected %d", ErrInvalid, v.Version, t.Ref, i+1)
		}
		if err := checkSchema(v.Schema); err != nil {
			return err
		}
	}
	return checkEvolution(t.Versions)
}

// CreateTable makes a table as t says, with an id of its own and defaults for what
// is zero. ErrExists if the name is taken.
func (c *Catalog) CreateTable(ctx context.Context, t Table) (*Table, error) {
	now := time.Now().UTC()
	if len(t.Versions) != 1 || t.Versions[0].Schema == nil {
		return nil, fmt.Errorf("%w: table %s has %d schemas, expected one", ErrInvalid, t.Ref, len(t.Versions))
	}
	schema := *t.Versions[0].Schema
	schema.Version = 1
	t.Versions = []SchemaVersion{{&schema, t.Versions[0].Changes, now}}
	if t.Versions[0].Changes == "" {
		t.Versions[0].Changes = "CREATE TABLE"
	}
	t.Created, t.Updated, t.Dropped = now, now, false
	t.setDefaults()
	if err := t.valid(); err != nil {
		return nil, err
	}
	end, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	if _, err := c.Namespace(t.Ref.Namespace); err != nil {
		return nil, err
	}
	if t.Location != "" {
		l, err := c.Location(t.Location)
		if err != nil {
			return nil, err
		}
		if t.LocationVersion != 0 {
			root, err := l.Root()
			if err != nil || t.LocationVersion != l.Version || !strings.HasPrefix(t.Root+"/", root+"/") { // altered, or dropped and made again
				return nil, fmt.Errorf("storage location %s was %w", l.Name, ErrConflict)
			}
		}
		t.LocationVersion = l.Version
	}
	key := tableKey{t.Ref.Namespace, t.Ref.Name}
	exists := func() bool { _, ok := c.state.Load().tables[key]; return ok }
	if exists() {
		return nil, fmt.Errorf("table %s %w", t.Ref, ErrExists)
	}
	name := tableDoc(t.Ref.Namespace, t.Ref.Name)
	if last := c.entries[name]; last.doc != nil && last.doc.table != nil {
		if err := c.setAside(ctx, last.doc.table); err != nil {
			return nil, err
		}
	}
	t.Ref.ID = c.newID()
	if err := c.write(ctx, name, &document{Table: newTableJSON(&t)}); err != nil {
		if errors.Is(err, ErrConflict) && exists() {
			err = fmt.Errorf("table %s %w", t.Ref, ErrExists)
		}
		return nil, err
	}
	return c.entries[name].doc.table, nil
}

func (t *Table) setDefaults() {
	t.defaultOptions()
	if t.Type == Stream {
		return
	}
	if t.Flush.Rows == 0 {
		t.Flush.Rows = flushRowsDefault
	}
	if t.Flush.Interval == 0 {
		t.Flush.Interval = flushIntervalDefault
	}
	if t.DeletedRetention == 0 {
		t.DeletedRetention = deletedRetentionDefault
	}
	if t.Path == "" && t.Root == "" {
		t.Path = storagelocations.DefaultShared
		if t.Type == User {
			t.Path = storagelocations.DefaultUser
		}
	}
}

// setAside gives t, which is dropped, a document under its id, so that another
// table can take the one under its name.
func (c *Catalog) setAside(ctx context.Context, t *Table) error {
	name := droppedDoc(t.Ref.ID)
	if c.entries[name].doc != nil {
		return nil
	}
	return c.write(ctx, name, &document{Table: newTableJSON(t)})
}

// newID is a random id no table has: positive as a BIGINT, never 0.
func (c *Catalog) newID() uint64 {
	for {
		var b [8]byte
		rand.Read(b[:])
		id := binary.BigEndian.Uint64(b[:]) >> 1
		if _, taken := c.TableByID(id); id != 0 && !taken {
			return id
		}
	}
}

// DropTable makes a table invisible and returns it. Its data is still there: call
// [Catalog.ForgetTable] when it is gone.
func (c *Catalog) DropTable(ctx context.Context, namespace, name string) (*Table, error) {
	end, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	t, err := c.Table(namespace, name)
	if err != nil {
		return nil, err
	}
	dropped := *t
	dropped.Dropped, dropped.Updated = true, time.Now().UTC()
	object := tableDoc(namespace, name)
	if err := c.write(ctx, object, &document{Table: newTableJSON(&dropped)}); err != nil {
		return nil, err
	}
	return c.entries[object].doc.table, nil
}

// ForgetTable removes the last trace of a dropped table. Forgetting one that is
// forgotten already is no error.
func (c *Catalog) ForgetTable(ctx context.Context, t *Table) error {
	end, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	for _, object := range []string{droppedDoc(t.Ref.ID), tableDoc(t.Ref.Namespace, t.Ref.Name)} {
		e := c.entries[object]
		if e.doc == nil || e.doc.table == nil || e.doc.table.Ref.ID != t.Ref.ID {
			continue
		}
		if !e.doc.table.Dropped {
			return fmt.Errorf("%w: table %s cannot be forgotten before it is dropped", ErrInvalid, t.Ref)
		}
		if err := c.remove(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

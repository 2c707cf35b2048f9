package catalog

import (
	"context"
	"time"

	"kalamdb/row"
	"kalamdb/storagelocations"
)

// A TableType is what kind of partitions a table has.
type TableType string

const (
	User   TableType = "user"   // a partition per user
	Shared TableType = "shared" // one partition for all
	Stream TableType = "stream" // events, in memory only
)

// A Namespace is a named group of tables.
type Namespace struct {
	Name             string
	Options          map[string]string
	Created, Updated time.Time
}

// A FlushPolicy says when buffered rows of a partition are due to be written to files.
type FlushPolicy struct {
	Rows     int           // buffered rows; zero in [Catalog.CreateTable] means 10,000
	Interval time.Duration // age of the oldest buffered row; zero means 5 minutes
}

// A SchemaVersion is one schema a table has or had.
type SchemaVersion struct {
	*row.Schema
	Changes string // what made it, for people: "CREATE TABLE"
	Created time.Time
}

// A Table is one table. It never changes once the catalog has handed it out.
type Table struct {
	Ref              row.TableRef
	Type             TableType
	Versions         []SchemaVersion // ascending, the last one is current
	Location         string          // name of a storage location, or empty
	Root             string          // url of the bucket, fixed at creation; empty is the default bucket
	Path             storagelocations.Template
	Flush            FlushPolicy
	DeletedRetention time.Duration // how long deleted rows are kept; negative: for ever; zero in CreateTable means 7 days
	Options          map[string]string
	Created, Updated time.Time
	Dropped          bool // its rows are not all gone yet
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

// A Location is a storage location that tables refer to by name.
type Location struct {
	Name             string
	Type             string // filesystem or s3
	Path             string // url template
	CredentialsRef   string
	Created, Updated time.Time
}

type Catalog struct{}

func Open(ctx context.Context, b storagelocations.Bucket) (*Catalog, error) { return &Catalog{}, nil }

func (c *Catalog) Settle(ctx context.Context) error { return nil }

func (c *Catalog) Namespaces() []Namespace                                { return nil }
func (c *Catalog) Namespace(name string) (Namespace, error)               { return Namespace{}, ErrNotFound }
func (c *Catalog) CreateNamespace(ctx context.Context, n Namespace) error { return nil }
func (c *Catalog) AlterNamespace(ctx context.Context, name string, options map[string]string) error {
	return nil
}
func (c *Catalog) DropNamespace(ctx context.Context, name string) error { return nil }

func (c *Catalog) Tables() []*Table                                         { return nil }
func (c *Catalog) Dropped() []*Table                                        { return nil }
func (c *Catalog) Table(namespace, name string) (*Table, error)             { return nil, ErrNotFound }
func (c *Catalog) TableByID(id uint64) (*Table, bool)                       { return nil, false }
func (c *Catalog) CreateTable(ctx context.Context, t Table) (*Table, error) { return nil, ErrInvalid }
func (c *Catalog) DropTable(ctx context.Context, namespace, name string) (*Table, error) {
	return nil, ErrNotFound
}
func (c *Catalog) ForgetTable(ctx context.Context, t *Table) error { return nil }

func (c *Catalog) Locations() []Location                                { return nil }
func (c *Catalog) Location(name string) (Location, error)               { return Location{}, ErrNotFound }
func (c *Catalog) CreateLocation(ctx context.Context, l Location) error { return nil }
func (c *Catalog) DropLocation(ctx context.Context, name string) error  { return nil }
func (c *Catalog) Usage(name string) int                                { return 0 }

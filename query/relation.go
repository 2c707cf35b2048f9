package query

import (
	"context"
	"time"

	"kalamdb/row"
)

// A Session is who asks and when: the values behind CURRENT_USER(), CURRENT_ROLE(),
// NOW() and SNOWFLAKE_ID(). They are bound as values, never pasted into SQL.
type Session struct {
	User, Role string
	Now        time.Time
	NextID     func() int64 // nil: SNOWFLAKE_ID() is an error
}

// A Relation is what one base table of a plan reads from: the files of a partition
// and the buffered rows in front of them. Rows the caller may not see are not in it.
type Relation struct {
	Schema *row.Schema
	// SchemaAt finds the schema version a buffered row was written with; nil if all
	// rows follow Schema.
	SchemaAt func(version uint32) *row.Schema
	// System says that rows have _seq, _updated and _deleted, and that a row hides the
	// older versions of its key. Without it every row is just a row.
	System bool
	// ShowDeleted says that deleted rows are like all others.
	ShowDeleted bool
	Hot         Hot // nil: no buffered rows
	Files       []File
	// Narrow, in the place of Hot, gives the rows of a relation that is neither System
	// nor has Files. It may leave out rows that break one of the conditions, as no such
	// row can matter; a statement that names the relation twice calls it twice.
	// With top, which may be nil, it may leave out all but the first rows in that order.
	Narrow func(where []Condition, top *Top) Hot
	Guard  *Guard // nil: statements see all rows and columns
	// Users, in the place of Hot and Files and not nil, gives the rows of several users,
	// each with the first column [UserColumn], which is not in Schema.
	Users []UserRows
}

// A Condition compares a column with constants of the column's type.
type Condition struct {
	Column string
	Op     string // = < <= > >= in
	Values []row.Value
}

// Hot is the buffered rows of one partition, frozen: the newest version of each key,
// tombstones included. Key and row passed to yield are reused.
type Hot interface {
	Len() int
	Get(key []byte) (row.Row, bool, error)
	Scan(from, to []byte, yield func(key []byte, r *row.Row) bool) error
}

// A Projected is a Hot that can leave values out: Project gives the same rows, of which
// only the values at the given positions count.
type Projected interface {
	Hot
	Project(values []int) Hot
}

// A File is one Parquet file of a partition. Local makes it a file inside
// Options.CacheDir; the path stays valid until release is called.
type File struct {
	Rows, Deleted, Bytes   int64
	MinKey, MaxKey         []byte
	MinSeq, MaxSeq         row.Seq
	MinUpdated, MaxUpdated int64
	Schema                 *row.Schema // of the file's version
	Local                  func(ctx context.Context) (path string, release func(), err error)
	// Part, if there is one, is Local for who needs only the given columns, nil for all,
	// of the rows with from ≤ key < to. What is at path has these; partial says that it
	// may not have others.
	Part func(ctx context.Context, columns []row.ColumnID, from, to []byte) (path string, partial bool, release func(), err error)
}

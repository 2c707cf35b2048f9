package sql

import (
	"time"

	"kalamdb/row"
)

// A Statement is one parsed statement; the concrete types are pointers to the
// structs of this file.
type Statement interface {
	Start() int     // byte offset of its first token in the text
	Source() string // its text without the semicolon
	Verb() string   // "SELECT", "INSERT", "CREATE TABLE" …, for the answer
}

// span is where a statement stands in the text.
type span struct {
	start  int
	source string
}

// Start is the byte offset of the first token of the statement in the text.
func (s *span) Start() int { return s.start }

// Source is the statement's text without comments around it and the semicolon.
func (s *span) Source() string { return s.source }

// placed is every statement, by its span.
type placed interface {
	place(start int, source string)
}

func (s *span) place(start int, source string) { s.start, s.source = start, source }

// A Fragment is a piece of the request's text. It begins and ends at a token, is
// balanced in (), [] and {}, and has no semicolon outside quotes.
type Fragment struct {
	Text string
	Pos  int // byte offset in the text
}

// A Name names a table, folded to lower case.
type Name struct {
	Namespace string // "" if the name is unqualified
	Name      string
	Pos       int
}

// String is the name as a person writes it in SQL.
func (n Name) String() string {
	if n.Namespace == "" {
		return n.Name
	}
	return n.Namespace + "." + n.Name
}

// Statements about namespaces.
type (
	// CreateNamespace is CREATE NAMESPACE [IF NOT EXISTS] n [WITH (k = v, …)].
	CreateNamespace struct {
		span
		Name        string
		Pos         int // of the name
		IfNotExists bool
		Options     map[string]string
	}
	// AlterNamespace is ALTER NAMESPACE n SET OPTIONS (k = v, …).
	AlterNamespace struct {
		span
		Name    string
		Pos     int
		Options map[string]string
	}
	// DropNamespace is DROP NAMESPACE [IF EXISTS] n [CASCADE].
	DropNamespace struct {
		span
		Name              string
		Pos               int
		IfExists, Cascade bool
	}
	// ShowNamespaces is SHOW NAMESPACES.
	ShowNamespaces struct{ span }
	// Use is USE n: the namespace of unqualified names in the rest of the request.
	Use struct {
		span
		Namespace string
		Pos       int
	}
)

// Statements about tables.
type (
	// CreateTable is CREATE {USER|SHARED|STREAM} TABLE, or CREATE TABLE with the
	// type among its WITH options.
	CreateTable struct {
		span
		Table                 Name
		Type                  string // user, shared or stream
		IfNotExists           bool
		Columns               []ColumnDef
		Key                   []string // the declared primary key, inline or not; nil if none is declared
		Location, LocationRef string   // at most one is set
		LocationPos           int      // of the one that is set
		HasFlush              bool     // a flush policy is given
		FlushRows             int      // 0: not given
		FlushInterval         time.Duration
		Options               map[string]string // WITH options but type and flush_policy; keys in lower case
	}
	// ColumnDef is one column of CREATE TABLE.
	ColumnDef struct {
		Name          string
		Type          row.Type
		NotNull       bool
		AutoIncrement bool
		PrimaryKey    bool   // declared inline
		Default       string // SQL expression, a Fragment's text; "" if there is none
		Pos           int
	}
	// DropTable is DROP [USER|SHARED|STREAM] TABLE [IF EXISTS] t.
	DropTable struct {
		span
		Table    Name
		Type     string // "" if the statement does not say
		IfExists bool
	}
	// ShowTables is SHOW TABLES [IN n] and SHOW ALL TABLES.
	ShowTables struct {
		span
		Namespace string // "" for the current one
		Pos       int
		All       bool
	}
	// Describe is DESCRIBE [TABLE] t [HISTORY].
	Describe struct {
		span
		Table   Name
		History bool
	}
	// ShowTableStats is SHOW TABLE STATS t.
	ShowTableStats struct {
		span
		Table Name
	}
	// FlushTable is FLUSH TABLE t.
	FlushTable struct {
		span
		Table Name
	}
	// FlushAll is FLUSH ALL.
	FlushAll struct{ span }
	// CompactTable is COMPACT TABLE t.
	CompactTable struct {
		span
		Table Name
	}
)

// Statements that read and write rows.
type (
	// Select is a query, unparsed: SELECT, WITH, FROM-first, VALUES, TABLE t,
	// PIVOT, or any of them in parentheses.
	Select struct {
		span
		Text Fragment
	}
	// Explain is EXPLAIN of a query, or of Inner, an INSERT, UPDATE or DELETE.
	Explain struct {
		span
		Select Fragment
		Inner  Statement // nil: Select
	}
	// ColumnRef names a column, folded to lower case.
	ColumnRef struct {
		Name string
		Pos  int
	}
	// Insert is INSERT INTO t. Of Rows, Query and DefaultValues exactly one is set.
	Insert struct {
		span
		Table         Name
		Alias         string
		Columns       []ColumnRef // nil if the statement names none
		Rows          [][]Expr
		Query         *Fragment
		DefaultValues bool
		OnConflict    *Fragment // the text behind ON CONFLICT: "(id) DO NOTHING"
		Conflict      *Conflict // the same, taken apart
		Returning     *Fragment
	}
	// Conflict is [(columns)] DO NOTHING, or DO UPDATE SET … [WHERE …] if Sets is not empty.
	Conflict struct {
		Columns []ColumnRef // nil if it names none
		Sets    []Set
		Where   *Fragment
	}
	// Update is UPDATE t SET ….
	Update struct {
		span
		Table                  Name
		Alias                  string
		Sets                   []Set
		From, Where, Returning *Fragment
	}
	// Set is one assignment of an UPDATE.
	Set struct {
		Column string
		Pos    int
		Value  Expr
	}
	// Delete is DELETE FROM t.
	Delete struct {
		span
		Table                   Name
		Alias                   string
		Using, Where, Returning *Fragment
	}
)

// Other statements.
type (
	// KillLiveQuery is KILL LIVE QUERY 'id'.
	KillLiveQuery struct {
		span
		ID string
	}
	// KillQuery is KILL QUERY 'id'.
	KillQuery struct {
		span
		ID string
	}
	// KillJob is KILL JOB 'id'.
	KillJob struct {
		span
		ID string
	}
	// Unsupported is a statement that is understood and cannot be run yet.
	Unsupported struct {
		span
		What string // "ALTER TABLE"
	}
)

// ExprKind says what an [Expr] is.
type ExprKind uint8

const (
	Other        ExprKind = iota // only the text is known
	Literal                      // Value
	Param                        // parameter number Param
	DefaultValue                 // the keyword DEFAULT
)

// An Expr is one value of INSERT … VALUES or UPDATE … SET. Text is always set.
//
// A literal's Value has the kind DuckDB gives it: a whole number is BIGINT, or
// HUGEINT if it does not fit; with a point it is DECIMAL, with an exponent DOUBLE.
// The text of a Value may share memory with the request's text.
type Expr struct {
	Kind  ExprKind
	Value row.Value
	Param int // counted from 1
	Text  Fragment
}

func (*CreateNamespace) Verb() string { return "CREATE NAMESPACE" }
func (*AlterNamespace) Verb() string  { return "ALTER NAMESPACE" }
func (*DropNamespace) Verb() string   { return "DROP NAMESPACE" }
func (*ShowNamespaces) Verb() string  { return "SHOW NAMESPACES" }
func (*Use) Verb() string             { return "USE" }
func (*CreateTable) Verb() string     { return "CREATE TABLE" }
func (*DropTable) Verb() string       { return "DROP TABLE" }
func (*ShowTables) Verb() string      { return "SHOW TABLES" }
func (*Describe) Verb() string        { return "DESCRIBE" }
func (*ShowTableStats) Verb() string  { return "SHOW TABLE STATS" }
func (*FlushTable) Verb() string      { return "FLUSH TABLE" }
func (*FlushAll) Verb() string        { return "FLUSH ALL" }
func (*CompactTable) Verb() string    { return "COMPACT TABLE" }
func (*Select) Verb() string          { return "SELECT" }
func (*Explain) Verb() string         { return "EXPLAIN" }
func (*Insert) Verb() string          { return "INSERT" }
func (*Update) Verb() string          { return "UPDATE" }
func (*Delete) Verb() string          { return "DELETE" }
func (*KillLiveQuery) Verb() string   { return "KILL LIVE QUERY" }
func (*KillQuery) Verb() string       { return "KILL QUERY" }
func (*KillJob) Verb() string         { return "KILL JOB" }

// Verb is what the statement would do.
func (s *Unsupported) Verb() string { return s.What }

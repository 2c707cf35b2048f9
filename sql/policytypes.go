package sql

// Statements about what a role may read and write of a SHARED table.
type (
	// CreatePolicy is CREATE [OR REPLACE] POLICY [IF NOT EXISTS] p ON t [FOR command]
	// [TO role, …] [USING (…)] [WITH CHECK (…)].
	CreatePolicy struct {
		span
		Name        string
		Pos         int // of the name
		Table       Name
		Replace     bool
		IfNotExists bool
		Command     string // all, select, insert, update or delete
		Roles       []string
		Using       *Fragment // nil: there is none
		Check       *Fragment
	}
	// DropPolicy is DROP POLICY [IF EXISTS] p ON t.
	DropPolicy struct {
		span
		Name     string
		Pos      int
		Table    Name
		IfExists bool
	}
	// Grant is GRANT SELECT [(c, …)] ON t TO role, … or, with Revoke, REVOKE … FROM.
	Grant struct {
		span
		Revoke  bool
		Columns []ColumnRef // none: all columns
		Table   Name
		Roles   []string
	}
)

// Verb is "CREATE POLICY".
func (*CreatePolicy) Verb() string { return "CREATE POLICY" }

// Verb is "DROP POLICY".
func (*DropPolicy) Verb() string { return "DROP POLICY" }

// Verb is "GRANT" or "REVOKE".
func (s *Grant) Verb() string {
	if s.Revoke {
		return "REVOKE"
	}
	return "GRANT"
}

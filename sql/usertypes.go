package sql

// Statements about who may do what.
type (
	// ExecuteAs is EXECUTE AS USER 'id' ( stmt ). Inner is one SELECT, INSERT, UPDATE
	// or DELETE; its positions are those of the whole text.
	ExecuteAs struct {
		span
		User  string
		Pos   int // of User
		Inner Statement
	}
	// CreateUser is CREATE USER [IF NOT EXISTS] 'id' [WITH (role = 'dba', username = '…', metadata = '{…}')].
	CreateUser struct {
		span
		User        string
		Pos         int
		IfNotExists bool
		Options     map[string]string // keys in lower case
	}
	// AlterUser is ALTER USER 'id' SET (role = …, …).
	AlterUser struct {
		span
		User    string
		Pos     int
		Options map[string]string // keys in lower case
	}
	// DropUser is DROP USER [IF EXISTS] 'id'.
	DropUser struct {
		span
		User     string
		Pos      int
		IfExists bool
	}
)

// Statements about API keys.
type (
	// CreateAPIKey is CREATE API KEY 'name' FOR USER 'id' [WITH (role = 'service', ttl = '90d')].
	CreateAPIKey struct {
		span
		Name    string // for people
		NamePos int
		User    string
		Pos     int               // of User
		Options map[string]string // keys in lower case
	}
	// DropAPIKey is DROP API KEY [IF EXISTS] 'id'.
	DropAPIKey struct {
		span
		ID       string
		Pos      int
		IfExists bool
	}
)

// Verb is that of the statement inside.
func (s *ExecuteAs) Verb() string { return s.Inner.Verb() }

// Verb is "CREATE USER".
func (*CreateUser) Verb() string { return "CREATE USER" }

// Verb is "ALTER USER".
func (*AlterUser) Verb() string { return "ALTER USER" }

// Verb is "DROP USER".
func (*DropUser) Verb() string { return "DROP USER" }

// Verb is "CREATE API KEY".
func (*CreateAPIKey) Verb() string { return "CREATE API KEY" }

// Verb is "DROP API KEY".
func (*DropAPIKey) Verb() string { return "DROP API KEY" }

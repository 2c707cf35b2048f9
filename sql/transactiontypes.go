package sql

// The statements around a transaction.
type (
	// Begin is BEGIN [TRANSACTION|WORK] and START TRANSACTION.
	Begin struct{ span }
	// Commit is COMMIT [TRANSACTION|WORK] and END.
	Commit struct{ span }
	// Rollback is ROLLBACK [TRANSACTION|WORK] and ABORT.
	Rollback struct{ span }
)

// Verb is "BEGIN".
func (*Begin) Verb() string { return "BEGIN" }

// Verb is "COMMIT".
func (*Commit) Verb() string { return "COMMIT" }

// Verb is "ROLLBACK".
func (*Rollback) Verb() string { return "ROLLBACK" }

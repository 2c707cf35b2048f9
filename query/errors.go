package query

// An Error is what a client may know about a failed statement: a stable code, one
// sentence, and where in his text. It never holds rewritten SQL, a path of the server
// or another user's data.
type Error struct {
	Code    string // SYNTAX_ERROR, FORBIDDEN_FUNCTION, COLUMN_NOT_FOUND, …
	Message string
	Details string // a hint, often the nearest name; may be empty
	Pos     int    // byte offset in the statement's text, -1 unknown
	Cause   error  // for the operator's log, may be nil
}

func (e *Error) Error() string { return e.Message }

func (e *Error) Unwrap() error { return e.Cause }

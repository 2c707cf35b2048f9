package kalamdb

import (
	"time"

	"kalamdb/auth"
	"kalamdb/row"
)

// A Request is SQL text with who asks for it. The partition that a statement
// reaches follows from As, never from the text.
type Request struct {
	SQL       string         // one or more statements
	Params    []row.Value    // bind $1 … $n; only with exactly one statement
	Namespace string         // of unqualified table names; "" means default
	As        auth.Principal // the zero Principal may do nothing
	RequestID string         // of the transport, and
	Remote    string         // the address it came from: for system.audit, may be empty
}

// A Column of a result. Type is DuckDB's name of the type.
type Column struct {
	Name string
	Type string
}

// A Result is the outcome of one statement.
type Result struct {
	Statement string        // the verb: "SELECT", "INSERT", "CREATE TABLE" …
	Columns   []Column      // nil if the statement returns no rows
	Rows      [][]row.Value // as wide as Columns
	IsWrite   bool          // INSERT, UPDATE or DELETE: Affected and Seq count
	Affected  int64         // rows inserted, updated or deleted
	Seq       row.Seq       // of the last change, durable; 0 if nothing changed
	Took      time.Duration
}

// An Error is the only kind of error that Exec, Query and Subscribe return.
type Error struct {
	Code       string        // stable, UPPER_SNAKE: see errors.go
	Message    string        // one sentence a developer can act on
	Details    string        // more, such as the nearest name; may be empty
	Statement  int           // index of the statement that failed
	Position   int           // byte offset in Request.SQL, -1 if none
	OldestSeq  row.Seq       // for CURSOR_EXPIRED: the oldest from_seq that can be answered; 0: none of this history
	RetryAfter time.Duration // for BUSY, BUFFER_FULL, NOT_READY: when to try again
	Cause      error         // for the log of the operator, never for the client
}

func (e *Error) Error() string {
	if e.Details != "" {
		return e.Code + ": " + e.Message + " (" + e.Details + ")"
	}
	return e.Code + ": " + e.Message
}

func (e *Error) Unwrap() error { return e.Cause }

// A SubscribeRequest asks for the live changes of one SELECT over one table.
type SubscribeRequest struct {
	ConnectionID string // the live id is ConnectionID-QueryID
	QueryID      string
	SQL          string // SELECT columns or * FROM t [WHERE …]
	Namespace    string
	As           auth.Principal
	LastRows     int      // start with up to so many of the newest rows; 0 for none
	FromSeq      *row.Seq // resume: replay every change after it; excludes LastRows
	Epoch        string   // of FromSeq, as Subscription.Epoch was; "" is not checked
	BatchRows    int      // rows in one Initial event, 0 for 1,000
	Coalesce     bool     // changes of one primary key that wait for the reader become one

	// IncludeExpired is for STREAM tables: a DELETE with the Reason expired for each event
	// that was delivered and is over. It excludes FromSeq: what went meanwhile is unknown.
	IncludeExpired bool

	// CheckpointEvery is how often a Checkpoint comes while there are changes; 0: never.
	CheckpointEvery time.Duration
}

// An Event is one step of a live query. Rows and Old are encoded JSON objects,
// shared between receivers: do not change them.
type Event struct {
	Initial bool     // a page of the rows that were there at the start
	HasMore bool     // more Initial events follow
	Change  string   // INSERT, UPDATE or DELETE
	Reason  string   // of a DELETE: "left_filter", the row still exists; "expired", an event is over
	Rows    [][]byte // full new rows
	Old     [][]byte // for UPDATE: what they replaced, row by row
	Seq     row.Seq  // resume from here
	TxnLast bool     // a change: nothing else of the same commit follows

	Checkpoint *Checkpoint // not nil: this is no change, but what the result is now

	was [][]byte // for DELETE, if checkpoints are made: what the rows were
}

// Ended is the error of a Subscription's Next after its end.
type Ended struct {
	Reason string  // killed, table_dropped, lagged, shutdown, closed
	Seq    row.Seq // the last one delivered: resume from here
}

func (e *Ended) Error() string { return "live query ended: " + e.Reason }

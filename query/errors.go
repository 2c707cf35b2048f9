package query

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"kalamdb/row"
	"kalamdb/sql"
)

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

// errTimeout is the cause of a context that ended by Options.QueryTimeout.
var errTimeout = errors.New("query: statement timeout")

// An origin is the statement an error of DuckDB belongs to.
type origin struct {
	plan    *Plan
	rels    []*Relation
	spliced *spliced
}

// failure chooses what a caller gets: his own cancellation, our timeout, or the error.
func (e *Engine) failure(ctx, limited context.Context, err error, in *instance, o *origin) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if limited.Err() != nil && errors.Is(context.Cause(limited), errTimeout) {
		return &Error{Code: "STATEMENT_TIMEOUT", Message: "the statement took longer than " + e.o.QueryTimeout.String() + ", the limit of one statement", Pos: -1, Cause: err}
	}
	if err == errStuck { // not one that says that there are many
		return &Error{Code: "STATEMENT_TIMEOUT", Message: "the statement could not be interrupted, so it was given up", Pos: -1, Cause: err}
	}
	return e.translate(err, in, o)
}

// outOfMemory says whether a statement ended because its instance has no more memory.
func outOfMemory(err error) bool {
	var d *duckErr
	return errors.As(err, &d) && strings.EqualFold(d.Type, "out of memory")
}

// kinds says what the types of DuckDB's errors are to a client. What is not here is
// our fault.
var kinds = map[string]string{
	"parser": "SYNTAX_ERROR", "syntax": "SYNTAX_ERROR",
	"binder": "INVALID_STATEMENT", "catalog": "INVALID_STATEMENT", "expression": "INVALID_STATEMENT",
	"planner": "INVALID_STATEMENT", "invalid type": "TYPE_MISMATCH", "mismatch type": "TYPE_MISMATCH",
	"conversion": "INVALID_VALUE", "out of range": "INVALID_VALUE", "invalid input": "INVALID_VALUE",
	"decimal": "INVALID_VALUE", "divide by zero": "INVALID_VALUE", "object size": "INVALID_VALUE",
	"parameter not resolved": "INVALID_PARAMS", "parameter not allowed": "INVALID_PARAMS",
	"not implemented": "NOT_SUPPORTED_YET", "out of memory": "OUT_OF_MEMORY", "missing extension": "NOT_SUPPORTED_YET",
	"extension autoloading": "NOT_SUPPORTED_YET",
}

// translate makes an *Error of what DuckDB or a source reported. A fatal error also
// replaces the instance.
func (e *Engine) translate(err error, in *instance, o *origin) error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	var d *duckErr
	if errors.Is(err, errNoIDs) {
		return &Error{Code: "NOT_SUPPORTED_YET", Message: errNoIDs.Error(), Pos: -1}
	}
	if !errors.As(err, &d) {
		return &Error{Code: "INTERNAL", Message: "the statement failed", Pos: -1, Cause: err}
	}
	kind := strings.ToLower(d.Type)
	if (kind == "fatal" || kind == "internal") && in != nil {
		in.lane.replace(in)
	}
	code, ok := kinds[kind]
	if !ok || strings.Contains(err.Error(), "reading buffered rows failed") {
		return &Error{Code: "INTERNAL", Message: "the statement failed", Pos: -1, Cause: err}
	}
	out := &Error{Code: code, Message: sentence(d.Message), Pos: -1, Cause: err}
	if code == "OUT_OF_MEMORY" {
		out.Message = "the statement needs more memory than the server allows"
	}
	if strings.Contains(d.Message, "explicit type cast") || strings.HasPrefix(d.Message, "Cannot compare") || strings.HasPrefix(d.Message, "Cannot mix") {
		out.Code = "TYPE_MISMATCH"
	}
	if pos, err := strconv.Atoi(d.Position); err == nil {
		out.Pos = pos
		if o != nil {
			out.Pos = o.spliced.original(pos)
		}
	}
	if name := missingColumn(d); name != "" {
		e.columnNotFound(out, name, o)
	}
	if e.secret(out.Message) {
		out.Message = "the statement failed"
	}
	return out
}

// sentence is the first line of a message: what follows shows SQL or a catalog that
// is not the client's.
func sentence(msg string) string {
	if i := strings.IndexByte(msg, '\n'); i >= 0 {
		msg = msg[:i]
	}
	return strings.TrimSpace(msg)
}

// secret says whether a message tells how the server works inside.
func (e *Engine) secret(msg string) bool {
	for _, s := range []string{e.o.CacheDir, e.o.TempDir, "kalamdb_", "read_parquet", ".parquet", "memory.main", "duckdb"} {
		if s != "" && strings.Contains(msg, s) {
			return true
		}
	}
	return false
}

// missingColumn is the column that d says does not exist, "" if it says something else.
func missingColumn(d *duckErr) string {
	at := 0 // which quoted name of the message
	switch {
	case d.Subtype == "COLUMN_NOT_FOUND" && d.Name != "":
		return d.Name
	case strings.HasPrefix(d.Message, "Referenced column"):
		at = 1
	case strings.Contains(d.Message, "does not have a column named"):
		at = 3
	default:
		return ""
	}
	parts := strings.Split(d.Message, `"`)
	if at >= len(parts) {
		return ""
	}
	return parts[at]
}

func (e *Engine) columnNotFound(out *Error, name string, o *origin) {
	out.Code = "COLUMN_NOT_FOUND"
	out.Message = "column " + strconv.Quote(name) + " does not exist"
	if o == nil {
		return
	}
	var names []string
	for _, r := range o.rels {
		for _, c := range r.Schema.Columns {
			if !r.Guard.hides(c.Name) {
				names = append(names, c.Name)
			}
		}
		if r.System {
			names = append(names, row.ColSeq, row.ColUpdated, row.ColDeleted)
		}
	}
	wanted := name[strings.LastIndexByte(name, '.')+1:]
	if near, ok := sql.Nearest(wanted, names); ok && !sameName(near, wanted) {
		out.Details = "did you mean " + near + "?"
	}
}

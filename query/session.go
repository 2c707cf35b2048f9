package query

/*
void kalamdb_session_bind(void *);
void kalamdb_session_exec(void *, void *, void *);
void *kalamdb_handle_copy(void *);
void kalamdb_handle_free(void *);
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"runtime/cgo"
	"time"
	"unsafe"

	"github.com/duckdb/duckdb-go/v2/mapping"
	"github.com/oklog/ulid/v2"

	"kalamdb/row"
)

// A sessionFunc is a function without arguments whose value comes from the Session
// of the running statement. It is volatile if every row gets a value of its own;
// otherwise DuckDB folds it to a constant once per statement.
type sessionFunc struct {
	name     string
	result   row.Type
	tz       bool // TIMESTAMP WITH TIME ZONE
	volatile bool
	value    func(s *Session) (row.Value, error)
}

var errNoIDs = errors.New("SNOWFLAKE_ID() is not available here")

var sessionFuncs = []sessionFunc{
	{name: "kalamdb_user", result: row.Type{Kind: row.Text}, value: func(s *Session) (row.Value, error) { return row.TextValue(s.User), nil }},
	{name: "kalamdb_role", result: row.Type{Kind: row.Text}, value: func(s *Session) (row.Value, error) { return row.TextValue(s.Role), nil }},
	{name: "kalamdb_now", result: row.Type{Kind: row.Timestamp}, tz: true, value: func(s *Session) (row.Value, error) {
		now := s.Now
		if now.IsZero() {
			now = time.Now()
		}
		return row.IntValue(row.Timestamp, now.UnixMicro()), nil
	}},
	{name: "snowflake_id", result: row.Type{Kind: row.BigInt}, volatile: true, value: func(s *Session) (row.Value, error) {
		if s.NextID == nil {
			return row.Value{}, errNoIDs
		}
		return row.IntValue(row.BigInt, s.NextID()), nil
	}},
	{name: "ulid", result: row.Type{Kind: row.Text}, volatile: true, value: func(*Session) (row.Value, error) {
		return row.TextValue(ulid.Make().String()), nil
	}},
}

// sessionMacros stand in front of DuckDB's functions of the same name, which would
// tell the wrong user and the clock of the wrong moment.
var sessionMacros = []string{
	"current_user() AS kalamdb_user()", "session_user() AS kalamdb_user()", `"user"() AS kalamdb_user()`,
	"current_role() AS kalamdb_role()",
	"now() AS kalamdb_now()", "get_current_timestamp() AS kalamdb_now()", "transaction_timestamp() AS kalamdb_now()", "current_timestamp() AS kalamdb_now()",
	"current_date() AS CAST(kalamdb_now() AS DATE)", "today() AS CAST(kalamdb_now() AS DATE)",
	"get_current_time() AS CAST(kalamdb_now() AS TIMETZ)", "current_localtime() AS CAST(CAST(kalamdb_now() AS TIMESTAMP) AS TIME)",
	"current_localtimestamp() AS CAST(kalamdb_now() AS TIMESTAMP)",
	"uuid_v7() AS uuidv7()",
	"ago(i) AS (kalamdb_now() - CAST(i AS INTERVAL))",
}

// A boundSession is a session function bound to the statement it runs for.
type boundSession struct {
	f  *sessionFunc
	st *statement
}

type sessionExtra struct {
	in *instance
	f  *sessionFunc
}

func registerSession(in *instance, c *conn) error {
	for i := range sessionFuncs {
		f := &sessionFuncs[i]
		sf := mapping.CreateScalarFunction()
		mapping.ScalarFunctionSetName(sf, f.name)
		t := logicalType(f.result)
		if f.tz {
			mapping.DestroyLogicalType(&t)
			t = mapping.CreateLogicalType(mapping.TypeTimestampTZ)
		}
		mapping.ScalarFunctionSetReturnType(sf, t)
		mapping.DestroyLogicalType(&t)
		if f.volatile {
			mapping.ScalarFunctionSetVolatile(sf)
		}
		mapping.ScalarFunctionSetExtraInfo(sf, newHandle(sessionExtra{in, f}), handleFree)
		mapping.ScalarFunctionSetBind(sf, unsafe.Pointer(C.kalamdb_session_bind))
		mapping.ScalarFunctionSetFunction(sf, unsafe.Pointer(C.kalamdb_session_exec))
		state := mapping.RegisterScalarFunction(c.c, sf)
		mapping.DestroyScalarFunction(&sf)
		if state == mapping.StateError {
			return fmt.Errorf("duckdb: cannot register %s", f.name)
		}
	}
	// CREATE MACRO binds its body, which needs a statement to belong to.
	in.running.Store(c.id, &statement{ctx: context.Background()})
	defer in.running.Delete(c.id)
	for _, m := range sessionMacros {
		if err := c.run("CREATE MACRO memory.main." + m); err != nil {
			return fmt.Errorf("create macro %s: %w", m, err)
		}
	}
	return nil
}

//export kalamdb_handle_copy
func kalamdb_handle_copy(p unsafe.Pointer) unsafe.Pointer {
	return newHandle((*(*cgo.Handle)(p)).Value())
}

//export kalamdb_session_bind
func kalamdb_session_bind(p unsafe.Pointer) {
	info := mapping.BindInfo{Ptr: p}
	defer guard(func(msg string) { mapping.ScalarFunctionBindSetError(info, msg) })
	x := handleValue[sessionExtra](mapping.ScalarFunctionBindGetExtraInfo(info))
	var cc mapping.ClientContext
	mapping.ScalarFunctionGetClientContext(info, &cc)
	id := uint64(mapping.ClientContextGetConnectionId(cc))
	mapping.DestroyClientContext(&cc)
	running, ok := x.in.running.Load(id)
	if !ok {
		mapping.ScalarFunctionBindSetError(info, "no statement is running")
		return
	}
	mapping.ScalarFunctionSetBindData(info, newHandle(boundSession{x.f, running.(*statement)}), handleFree)
	mapping.ScalarFunctionSetBindDataCopy(info, unsafe.Pointer(C.kalamdb_handle_copy))
}

//export kalamdb_session_exec
func kalamdb_session_exec(p, in, out unsafe.Pointer) {
	info := mapping.FunctionInfo{Ptr: p}
	defer guard(func(msg string) { mapping.ScalarFunctionSetError(info, msg) })
	b := handleValue[boundSession](mapping.ScalarFunctionGetBindData(info))
	done, err := b.st.use()
	if err != nil {
		mapping.ScalarFunctionSetError(info, err.Error())
		return
	}
	defer done()
	var w vectorWriter
	w.init(mapping.Vector{Ptr: out}, b.f.result)
	for i := range int(mapping.DataChunkGetSize(mapping.DataChunk{Ptr: in})) {
		v, err := b.f.value(&b.st.session)
		if err == nil {
			err = w.set(i, v)
		}
		if err != nil {
			b.st.fail(err)
			mapping.ScalarFunctionSetError(info, err.Error())
			return
		}
	}
	w.finish()
}

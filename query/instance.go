package query

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	bindings "github.com/duckdb/duckdb-go-bindings"
	"github.com/duckdb/duckdb-go/v2/mapping"
)

// parsers is the number of connections kept for Plan and Ready, so that parsing
// never waits behind a running statement.
const parsers = 2

// interruptEvery is how often a cancelled statement is told again to stop: DuckDB
// forgets an interrupt that arrives between two of its phases.
const interruptEvery = 5 * time.Millisecond

// An instance is one in-memory DuckDB. It holds no data: tables are files of the
// cache and rows that Go hands over.
//
// Invariants: settings are locked before the first statement of a client; every
// connection is either in a pool or used by one goroutine; running has an entry for
// a connection only while that goroutine executes a statement on it.
type instance struct {
	db      mapping.Database
	workers chan *conn
	parsers chan *conn
	all     []*conn
	running sync.Map // connection id → *statement

	lane   *lane
	refs   int  // statements using it; guarded by lane.mu
	broken bool // guarded by lane.mu
}

// A conn is one DuckDB connection.
type conn struct {
	in        *instance
	c         mapping.Connection
	id        uint64
	serialize *mapping.PreparedStatement // parsers only
}

// A statement is what the callbacks of one running statement may see: they find it
// by the connection that calls, so no SQL text can name another statement's rows.
type statement struct {
	ctx     context.Context
	sources []source
	session Session

	// reading is held while a callback uses what the caller gave; left says that the
	// caller has gone, and his rows with him.
	reading sync.RWMutex
	left    bool

	mu  sync.Mutex
	err error // the first error of a source
}

// use lets a callback use what the caller gave until done is called.
func (s *statement) use() (done func(), err error) {
	s.reading.RLock()
	if s.left {
		s.reading.RUnlock()
		return nil, errStuck
	}
	if err := s.ctx.Err(); err != nil {
		s.reading.RUnlock()
		return nil, err
	}
	return s.reading.RUnlock, nil
}

// leave waits for the callbacks that use what the caller gave, and lets no other begin.
func (s *statement) leave() {
	s.reading.Lock()
	defer s.reading.Unlock()
	s.left = true
}

func (s *statement) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
}

func (s *statement) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func openInstance(o Options) (_ *instance, err error) {
	in := &instance{workers: make(chan *conn, o.Concurrency), parsers: make(chan *conn, parsers)}
	var cfg mapping.Config
	if mapping.CreateConfig(&cfg) == mapping.StateError {
		return nil, errors.New("duckdb: no configuration")
	}
	defer mapping.DestroyConfig(&cfg)
	var msg string
	if mapping.OpenExt("", &in.db, cfg, &msg) == mapping.StateError {
		return nil, fmt.Errorf("start duckdb: %s", msg)
	}
	defer func() {
		if err != nil {
			in.close()
		}
	}()
	for i := range o.Concurrency + parsers {
		c := &conn{in: in}
		if mapping.Connect(in.db, &c.c) == mapping.StateError {
			return nil, errors.New("duckdb: cannot connect")
		}
		var cc mapping.ClientContext
		mapping.ConnectionGetClientContext(c.c, &cc)
		c.id = uint64(mapping.ClientContextGetConnectionId(cc))
		mapping.DestroyClientContext(&cc)
		in.all = append(in.all, c)
		for _, q := range []string{"SET errors_as_json = true", "SET TimeZone = 'UTC'"} {
			if err := c.run(q); err != nil {
				return nil, err
			}
		}
		if i < o.Concurrency {
			in.workers <- c
			continue
		}
		in.parsers <- c
	}
	first := in.all[0]
	if err := registerScan(in, first); err != nil {
		return nil, err
	}
	if err := registerSession(in, first); err != nil {
		return nil, err
	}
	for _, q := range settings(o) {
		if err := first.run(q); err != nil {
			return nil, fmt.Errorf("%s: %w", q, err)
		}
	}
	for _, c := range in.all[o.Concurrency:] {
		c.serialize = new(mapping.PreparedStatement)
		if mapping.Prepare(c.c, serializeSQL, c.serialize) == mapping.StateError {
			return nil, fmt.Errorf("prepare the parser: %s", mapping.PrepareError(*c.serialize))
		}
	}
	return in, nil
}

// settings are the second line of defence, behind the gate, and what was measured
// to be fast. The last one locks them.
func settings(o Options) []string {
	temp := "SET temp_directory = ''"
	if o.TempDir != "" {
		temp = "SET temp_directory = " + quote(o.TempDir)
	}
	return []string{
		fmt.Sprintf("SET threads = %d", o.Threads),
		fmt.Sprintf("SET memory_limit = '%d B'", o.MemoryBytes),
		temp,
		fmt.Sprintf("SET max_temp_directory_size = '%d B'", 4*o.MemoryBytes),
		"SET max_expression_depth = 250",
		"SET preserve_insertion_order = false",
		"SET parquet_metadata_cache = true",
		"SET validate_external_file_cache = 'NO_VALIDATION'",
		"SET enable_progress_bar = false",
		"SET autoinstall_known_extensions = false",
		"SET autoload_known_extensions = false",
		"SET allow_community_extensions = false",
		"SET allow_persistent_secrets = false",
		"SET enable_logging = false",
		"SET allowed_directories = [" + quote(o.CacheDir+string(filepath.Separator)) + "]",
		"SET enable_external_access = false",
		"SET lock_configuration = true",
	}
}

// close disconnects; nothing may be using the instance.
func (in *instance) close() {
	for _, c := range in.all {
		if c.serialize != nil {
			mapping.DestroyPrepare(c.serialize)
		}
		mapping.Disconnect(&c.c)
	}
	mapping.Close(&in.db)
}

// run executes a statement of ours without results.
func (c *conn) run(sql string) error {
	var res mapping.Result
	defer mapping.DestroyResult(&res)
	if mapping.Query(c.c, sql, &res) == mapping.StateError {
		return errors.New(mapping.ResultError(&res))
	}
	return nil
}

// serializeSQL gives DuckDB's own parse tree; fields at their default are left out.
const serializeSQL = `SELECT json_serialize_sql($1::VARCHAR, skip_null := true, skip_empty := true, skip_default := true)::VARCHAR`

// parse gives the JSON tree of text.
func (c *conn) parse(text string) ([]byte, error) {
	if mapping.BindVarcharLength(*c.serialize, 1, text, mapping.IdxT(len(text))) == mapping.StateError {
		return nil, errors.New("bind the text")
	}
	var res mapping.Result
	state := mapping.ExecutePrepared(*c.serialize, &res)
	defer mapping.DestroyResult(&res)
	if state == mapping.StateError {
		return nil, duckError(mapping.ResultError(&res))
	}
	chunk := mapping.FetchChunk(res)
	if chunk.Ptr == nil {
		return nil, errors.New("the parser gave no tree")
	}
	defer mapping.DestroyDataChunk(&chunk)
	return []byte(stringAt(mapping.VectorGetData(mapping.DataChunkGetVector(chunk, 0)), 0)), nil
}

// execute runs the one statement in sql. The sources and the session of st are what
// its callbacks see. DuckDB produces the result in pieces: each gets them one by one
// and owns them, so a result that grows too large is stopped while it grows. When
// execute returns, the statement has ended; the caller destroys the result.
func (c *conn) execute(ctx context.Context, sql string, st *statement, bind func(mapping.PreparedStatement) error, each func(*mapping.Result, mapping.DataChunk) error) (*mapping.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	st.ctx = ctx
	c.in.running.Store(c.id, st)
	defer c.in.running.Delete(c.id)
	defer c.watch(ctx)()

	var extracted mapping.ExtractedStatements
	n := mapping.ExtractStatements(c.c, sql, &extracted)
	defer mapping.DestroyExtracted(&extracted)
	if n == 0 {
		return nil, duckError(mapping.ExtractStatementsError(extracted))
	}
	if n != 1 {
		return nil, fmt.Errorf("%d statements where one was expected", n)
	}
	var prepared mapping.PreparedStatement
	defer mapping.DestroyPrepare(&prepared)
	if mapping.PrepareExtractedStatement(c.c, extracted, 0, &prepared) == mapping.StateError {
		return nil, errors.Join(st.failure(), duckError(mapping.PrepareError(prepared)))
	}
	if bind != nil {
		if err := bind(prepared); err != nil {
			return nil, err
		}
	}
	var pending mapping.PendingResult
	defer mapping.DestroyPending(&pending)
	// Not in the mapping package: the only way to a result that is not complete in memory first.
	if bindings.PendingPreparedStreaming(prepared, &pending) == mapping.StateError {
		return nil, errors.Join(st.failure(), duckError(mapping.PendingError(pending)))
	}
	res := new(mapping.Result)
	if mapping.ExecutePending(pending, res) == mapping.StateError {
		err := errors.Join(st.failure(), duckError(mapping.ResultError(res)))
		mapping.DestroyResult(res)
		return nil, err
	}
	for {
		chunk := mapping.FetchChunk(*res)
		if chunk.Ptr == nil {
			break
		}
		if err := each(res, chunk); err != nil {
			mapping.DestroyResult(res)
			return nil, err
		}
	}
	if msg := mapping.ResultError(res); msg != "" {
		mapping.DestroyResult(res)
		return nil, errors.Join(st.failure(), duckError(msg))
	}
	return res, nil
}

// watch interrupts the connection again and again once ctx is done, until the
// returned function is called, which waits for the last interrupt.
func (c *conn) watch(ctx context.Context) (stop func()) {
	done, gone := make(chan struct{}), make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(gone)
		for {
			mapping.Interrupt(c.c)
			select {
			case <-done:
				return
			case <-time.After(interruptEvery):
			}
		}
	})
	return func() {
		close(done)
		if !cancel() {
			<-gone
		}
	}
}

// A duckErr is an error of DuckDB, taken apart.
type duckErr struct {
	Type       string `json:"exception_type"`
	Message    string `json:"exception_message"`
	Subtype    string `json:"error_subtype"`
	Position   string `json:"position"` // byte offset in the text DuckDB saw, may be empty
	Name       string `json:"name"`
	Candidates string `json:"candidates"`
}

func (e *duckErr) Error() string { return "duckdb: " + e.Type + ": " + e.Message }

// duckError reads msg, which is JSON for most errors (errors_as_json) and
// "Type Error: message" for the rest.
func duckError(msg string) error {
	var e duckErr
	if i := strings.IndexByte(msg, '{'); i >= 0 && json.Unmarshal([]byte(msg[i:]), &e) == nil && e.Type != "" {
		return &e
	}
	kind, rest, ok := strings.Cut(msg, " Error: ")
	if !ok || len(kind) > 32 {
		kind, rest = "", msg
	}
	return &duckErr{Type: kind, Message: rest}
}

// quote makes a SQL string literal of a text of ours.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// quoteName makes a quoted SQL identifier.
func quoteName(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

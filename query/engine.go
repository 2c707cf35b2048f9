package query

import (
	"context"

	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options configure an Engine. Zero values get the defaults named here.
type Options struct {
	TempDir        string        // where DuckDB spills; "" = no spilling
	CacheDir       string        // the only folder DuckDB may read; "" = a folder that does not exist
	MemoryBytes    int64         // of all statements together; 1 GiB
	Threads        int           // of DuckDB; 2, or 1 on a machine of one core
	Concurrency    int           // statements at once; 4
	WaitersMax     int           // statements waiting for a turn; 1,000
	QueryTimeout   time.Duration // of one statement, waiting included; 60 s
	ResultRowsMax  int64         // 1,000,000
	ResultBytesMax int64         // 256 MiB, as the bytes of row.Value
	// OpenResultBytesMax bounds all results that are not closed yet together; above it
	// statements are told BUSY. 512 MiB
	OpenResultBytesMax int64
}

func (o Options) withDefaults() (Options, error) {
	if o.MemoryBytes <= 0 {
		o.MemoryBytes = 1 << 30
	}
	if o.Threads <= 0 {
		o.Threads = min(2, runtime.NumCPU())
	}
	if o.Concurrency <= 0 {
		o.Concurrency = 4
	}
	if o.WaitersMax <= 0 {
		o.WaitersMax = 1000
	}
	if o.QueryTimeout <= 0 {
		o.QueryTimeout = 60 * time.Second
	}
	if o.ResultRowsMax <= 0 {
		o.ResultRowsMax = 1_000_000
	}
	if o.ResultBytesMax <= 0 {
		o.ResultBytesMax = 256 << 20
	}
	if o.OpenResultBytesMax <= 0 {
		o.OpenResultBytesMax = 512 << 20
	}
	if o.CacheDir == "" {
		o.CacheDir = "/nonexistent"
	}
	dir, err := filepath.Abs(o.CacheDir)
	if err != nil {
		return o, fmt.Errorf("query: cache folder: %w", err)
	}
	if strings.ContainsAny(dir, "*?[]{}\n") {
		return o, fmt.Errorf("query: the cache folder %q must not contain any of * ? [ ] { }", dir)
	}
	o.CacheDir = dir
	if o.TempDir != "" {
		if err := os.MkdirAll(o.TempDir, 0o700); err != nil {
			return o, fmt.Errorf("query: temp folder: %w", err)
		}
	}
	return o, nil
}

// An Engine plans and runs SELECTs. It is safe for concurrent use.
type Engine struct {
	o       Options
	plans   planCache
	turns   chan struct{} // one per statement that may run
	waiting atomic.Int64
	open    atomic.Int64 // bytes of the results that are not closed yet

	mu     sync.Mutex // guards the fields below and the counters of instances; opening a new one happens under it
	in     *instance
	closed bool
	stuck  map[*flight]struct{} // statements that did not stop
}

// Open starts DuckDB.
func Open(o Options) (*Engine, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	in, err := openInstance(o)
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	e := &Engine{o: o, in: in, turns: make(chan struct{}, o.Concurrency), stuck: map[*flight]struct{}{}}
	e.plans.entriesMax, e.plans.bytesMax = cachedPlansMax, cachedPlanBytesMax
	return e, nil
}

// Close stops DuckDB. Statements have ended and Rows are closed. Statements that do
// not stop are waited for, up to closeWaitMax; the error says that some are left.
func (e *Engine) Close() error {
	err := e.awaitStuck()
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed && e.in.refs == 0 {
		e.in.close()
	}
	e.closed = true
	return err
}

// acquire is the instance to use now; release it.
func (e *Engine) acquire() *instance {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.in.refs++
	return e.in
}

func (e *Engine) release(in *instance) {
	e.mu.Lock()
	defer e.mu.Unlock()
	in.refs--
	if in.refs == 0 && (in.broken || e.closed && in == e.in) {
		in.close()
	}
}

// replace puts a new instance in the place of one that reported a fatal error or holds
// a statement that does not stop. What still runs on the old one ends there.
func (e *Engine) replace(in *instance) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if in.broken || e.closed {
		return
	}
	next, err := openInstance(e.o)
	if err != nil {
		return // the next statement that fails tries again; Ready says so until then
	}
	in.broken = true
	e.in = next
}

// turnWaitMax is how long a statement waits for its turn before it is told BUSY.
const turnWaitMax = 10 * time.Second

// turn waits until the statement may run.
func (e *Engine) turn(ctx context.Context) (done func(), err error) {
	done = func() { <-e.turns }
	select {
	case e.turns <- struct{}{}:
		return done, nil
	default:
	}
	defer e.waiting.Add(-1)
	if e.waiting.Add(1) > int64(e.o.WaitersMax) {
		return nil, &Error{Code: "BUSY", Message: fmt.Sprintf("%d statements are waiting already, try again", e.o.WaitersMax), Pos: -1}
	}
	t := time.NewTimer(turnWaitMax)
	defer t.Stop()
	select {
	case e.turns <- struct{}{}:
		return done, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-t.C:
		return nil, &Error{Code: "BUSY", Message: "too many statements are running, try again", Pos: -1}
	}
}

// Ready runs a real query on a connection that no client can occupy. It fails with
// NOT_READY when only a restart helps.
func (e *Engine) Ready(ctx context.Context) error {
	if err := e.healthy(); err != nil {
		return err
	}
	in := e.acquire()
	defer e.release(in)
	select {
	case c := <-in.parsers:
		defer func() { in.parsers <- c }()
		if _, err := c.parse("SELECT 1"); err != nil {
			return e.translate(err, in, nil)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

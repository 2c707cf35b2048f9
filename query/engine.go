package query

import (
	"context"
	"fmt"
	"math"
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
	TempDir      string        // where DuckDB spills; "" = no spilling
	CacheDir     string        // the only folder DuckDB may read; "" = a folder that does not exist
	MemoryBytes  int64         // of all statements together; 1 GiB
	Threads      int           // of DuckDB; 2, or 1 on a machine of one core
	Concurrency  int           // quick statements at once, and streams at once; 4
	QueryTimeout time.Duration // of one statement, waiting included; 60 s
	// QuickTime is how long a statement may keep a quick turn; then it starts again as a
	// slow one, of which SlowConcurrency run at once: 100 ms, and half of Concurrency.
	QuickTime       time.Duration
	SlowConcurrency int
	// UserConcurrency is how many statements of one user run at once in each lane; at most
	// all but one, and that is the default.
	UserConcurrency int
	WaitersMax      int   // statements waiting for a turn in each lane; 1,000
	UserWaitersMax  int   // of them of one user; half of them
	ResultRowsMax   int64 // 1,000,000
	ResultBytesMax  int64 // 256 MiB, as the bytes of row.Value
	// OpenResultBytesMax bounds all results that are not closed yet together; above it
	// statements are told BUSY. 512 MiB
	OpenResultBytesMax int64
	// Trace, if there is one, is told the text of every statement of a client that DuckDB
	// gets, tables and all in place. It holds no values of parameters.
	Trace func(text string)
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
	if o.QuickTime <= 0 {
		o.QuickTime = 100 * time.Millisecond
	}
	if o.SlowConcurrency <= 0 {
		o.SlowConcurrency = max(1, o.Concurrency/2)
	}
	if o.UserConcurrency <= 0 {
		o.UserConcurrency = math.MaxInt
	}
	if o.WaitersMax <= 0 {
		o.WaitersMax = 1000
	}
	if o.UserWaitersMax <= 0 {
		o.UserWaitersMax = max(1, o.WaitersMax/2)
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
	o        Options
	plans    planCache
	slowness slowness
	open     atomic.Int64 // bytes of the results that are not closed yet

	quick, slow, stream, live *lane

	mu    sync.Mutex           // guards stuck, and who of a flight's two ends comes first
	stuck map[*flight]struct{} // statements that did not stop
}

// Open starts DuckDB.
func Open(o Options) (*Engine, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := clearSpills(o.TempDir); err != nil {
		return nil, fmt.Errorf("query: temp folder: %w", err)
	}
	e := &Engine{o: o, stuck: map[*flight]struct{}{}, slowness: newSlowness()}
	e.quick = newLane(o, 1, o.Concurrency, o.MemoryBytes*3/16, turnWaitMax, false)
	e.live = newLane(o, 1, liveTurns, o.MemoryBytes/16, o.QueryTimeout, false)
	e.slow = newLane(o, o.SlowConcurrency, 1, o.MemoryBytes/2, slowWaitMax, true)
	e.stream = newLane(o, 1, o.Concurrency, o.MemoryBytes/4, turnWaitMax, true)
	in, err := e.quick.acquire()
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	e.quick.release(in)
	e.plans.entriesMax, e.plans.bytesMax = cachedPlansMax, cachedPlanBytesMax
	return e, nil
}

// Close stops DuckDB. Statements have ended and Rows are closed. Statements that do
// not stop are waited for, up to closeWaitMax; the error says that some are left.
func (e *Engine) Close() error {
	err := e.awaitStuck()
	e.quick.close()
	e.slow.close()
	e.stream.close()
	e.live.close()
	return err
}

// liveTurns is how many conditions of live queries DuckDB evaluates at once.
const liveTurns = 2

// turnWaitMax is how long a statement waits for its turn before it is told BUSY.
const turnWaitMax = 10 * time.Second

// Ready runs a real query on a connection that no client can occupy. It fails with
// NOT_READY when only a restart helps.
func (e *Engine) Ready(ctx context.Context) error {
	if err := e.healthy(); err != nil {
		return err
	}
	in, err := e.quick.acquire()
	if err != nil {
		return err
	}
	defer e.quick.release(in)
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

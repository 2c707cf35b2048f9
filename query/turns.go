package query

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/duckdb/duckdb-go/v2/mapping"
)

const (
	// stuckGrace is how long a statement may go on after it was told to stop.
	stuckGrace = 3 * time.Second
	// wayGrace is the same for one that has to make way for others.
	wayGrace = 10 * time.Second
	// stuckMax is how many stuck statements are borne before the engine takes no more:
	// each keeps a thread, a core and an instance.
	stuckMax = 3
	// closeWaitMax is how long Close waits for stuck statements.
	closeWaitMax = 5 * time.Second
)

var errStuck = errors.New("query: a statement does not stop")

// A task is one statement to execute.
type task struct {
	text string
	st   *statement
	plan *Plan // that the text was made of
	lane *lane // nil: quick, then slow
	bind func(mapping.PreparedStatement) error
	each func(*mapping.Result, mapping.DataChunk) error
	// again forgets what each was given, because all of it comes once more.
	again func()
	// failed makes the caller's error while the instance is still in use.
	failed func(error, *instance) error
	// cleanup is called once, when DuckDB has let go of the statement for good; it hears
	// whether there is a result.
	cleanup func(ok bool)
	ran     time.Duration // in the last lane, without the wait for the turn
}

// A flight is a statement on its way through DuckDB, in a goroutine of its own.
type flight struct {
	in   *instance
	done chan struct{} // closed when DuckDB has let go of the statement
	res  *mapping.Result
	err  error
	// abandoned says that the caller has gone: who sets ended or abandoned first,
	// under Engine.mu, leaves the cleaning up to the other.
	ended, abandoned bool
}

// errSlow is the cause of a context that ended because the statement needs a slow turn.
var errSlow = errors.New("query: the statement is a slow one")

// execute runs t when it is its turn, and gives the turn back. A statement that does
// not stop when it is told to is left behind: its instance takes no more statements,
// and cleanup is called when it ends at last. In all other cases cleanup is called
// before execute returns.
func (e *Engine) execute(ctx context.Context, t *task) (*mapping.Result, error) {
	if err := e.healthy(); err != nil {
		t.cleanup(false)
		return nil, t.failed(err, nil)
	}
	if t.lane != nil {
		res, _, err := e.fly(ctx, t.lane, t, 0)
		return res, err
	}
	if !e.slowness.known(&t.st.session, t.plan) {
		limit := e.o.QuickTime
		if until, ok := ctx.Deadline(); ok && time.Until(until) < 3*limit {
			limit = 0 // no time is left to begin again
		}
		res, again, err := e.fly(ctx, e.quick, t, limit)
		if !again {
			return res, err
		}
		e.slowness.learn(&t.st.session, t.plan, true)
		t.again()
		t.st.err = nil
	}
	res, _, err := e.fly(ctx, e.slow, t, 0)
	if t.ran < e.o.QuickTime/2 {
		e.slowness.learn(&t.st.session, t.plan, false)
	}
	return res, err
}

// fly runs t in a lane, for at most limit if that is not 0. A statement that ended
// because of the limit, or of the lane's memory, has to be run again in another lane:
// nothing is cleaned up then.
func (e *Engine) fly(ctx context.Context, l *lane, t *task, limit time.Duration) (res *mapping.Result, again bool, err error) {
	refuse := func(err error) (*mapping.Result, bool, error) {
		t.cleanup(false)
		return nil, false, t.failed(err, nil)
	}
	leave, err := l.turns.enter(ctx, t.st.session.User)
	if err != nil {
		return refuse(err)
	}
	defer leave()
	in, err := l.acquire()
	if err != nil {
		return refuse(err)
	}
	started, limited := time.Now(), ctx
	if limit > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeoutCause(ctx, limit, errSlow)
		defer cancel()
	}
	r := &flight{in: in, done: make(chan struct{})}
	c := <-in.workers
	go func() {
		if l.yield {
			yieldThread()
		}
		r.res, r.err = c.execute(limited, t.text, t.st, t.bind, t.each)
		in.workers <- c
		e.ended(r, t.cleanup)
	}()
	select {
	case <-r.done:
	case <-limited.Done():
		if !r.stops(ctx) && e.abandon(r) {
			t.st.leave()
			return nil, false, t.failed(errStuck, nil)
		}
		<-r.done
	}
	t.ran = time.Since(started)
	defer l.release(in)
	if r.err != nil && limit > 0 && ctx.Err() == nil && (context.Cause(limited) == errSlow || outOfMemory(r.err)) {
		return nil, true, nil
	}
	t.cleanup(r.err == nil)
	if r.err != nil {
		return nil, false, t.failed(r.err, in)
	}
	return r.res, false, nil
}

// stops waits until r, which was told to, stops. It is false if it does not.
func (r *flight) stops(ctx context.Context) bool {
	grace, gone := wayGrace, ctx.Done()
	if ctx.Err() != nil {
		grace, gone = stuckGrace, nil
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-r.done:
		return true
	case <-gone:
		return r.stops(ctx)
	case <-timer.C:
		return false
	}
}

func (e *Engine) trace(text string) {
	if e.o.Trace != nil {
		e.o.Trace(text)
	}
}

// ended is the end of a statement's goroutine.
func (e *Engine) ended(r *flight, cleanup func(ok bool)) {
	e.mu.Lock()
	r.ended = true
	abandoned := r.abandoned
	e.mu.Unlock()
	if abandoned {
		if r.res != nil {
			mapping.DestroyResult(r.res)
		}
		cleanup(false)
		r.in.lane.release(r.in)
		e.mu.Lock()
		delete(e.stuck, r)
		e.mu.Unlock()
	}
	close(r.done)
}

// abandon leaves r behind, unless it has ended.
func (e *Engine) abandon(r *flight) bool {
	e.mu.Lock()
	if r.ended {
		e.mu.Unlock()
		return false
	}
	r.abandoned = true
	e.stuck[r] = struct{}{}
	e.mu.Unlock()
	r.in.lane.replace(r.in)
	return true
}

// healthy refuses while too many statements are stuck.
func (e *Engine) healthy() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.stuck) >= stuckMax {
		return &Error{Code: "NOT_READY", Message: fmt.Sprintf("%d statements do not stop, the server needs a restart", len(e.stuck)), Pos: -1, Cause: errStuck}
	}
	return nil
}

// awaitStuck waits for the statements left behind, but not for ever.
func (e *Engine) awaitStuck() error {
	e.mu.Lock()
	var left []*flight
	for r := range e.stuck {
		left = append(left, r)
	}
	e.mu.Unlock()
	t := time.NewTimer(closeWaitMax)
	defer t.Stop()
	for i, r := range left {
		select {
		case <-r.done:
		case <-t.C:
			return fmt.Errorf("%w: %d were left running after %v", errStuck, len(left)-i, closeWaitMax)
		}
	}
	return nil
}

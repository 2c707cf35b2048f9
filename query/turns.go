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
	// stuckMax is how many stuck statements are borne before the engine takes no more:
	// each keeps a thread, a core and an instance.
	stuckMax = 3
	// closeWaitMax is how long Close waits for stuck statements.
	closeWaitMax = 5 * time.Second
)

var errStuck = errors.New("query: a statement does not stop")

// A flight is a statement on its way through DuckDB, in a goroutine of its own.
type flight struct {
	e    *Engine
	in   *instance
	done chan struct{} // closed when DuckDB has let go of the statement
	res  *mapping.Result
	err  error
	// abandoned says that the caller has gone: who sets ended or abandoned first,
	// under Engine.mu, leaves the cleaning up to the other.
	ended, abandoned bool
}

// execute runs text when it is its turn, and gives the turn back. A statement that does
// not stop when it is told to is left behind: its instance takes no more statements,
// and cleanup is called when it ends at last. Cleanup hears whether there is a result. In all other cases cleanup is called before
// execute returns. failed makes the caller's error while the instance is still in use.
func (e *Engine) execute(ctx context.Context, text string, st *statement, bind func(mapping.PreparedStatement) error,
	each func(*mapping.Result, mapping.DataChunk) error, failed func(error, *instance) error, cleanup func(ok bool)) (*mapping.Result, error) {
	err := e.healthy()
	var done func()
	if err == nil {
		done, err = e.turn(ctx)
	}
	if err != nil {
		cleanup(false)
		return nil, failed(err, nil)
	}
	defer done()
	r := &flight{e: e, in: e.acquire(), done: make(chan struct{})}
	c := <-r.in.workers
	go func() {
		r.res, r.err = c.execute(ctx, text, st, bind, each)
		r.in.workers <- c
		e.ended(r, cleanup)
	}()
	select {
	case <-r.done:
	case <-ctx.Done():
		t := time.NewTimer(stuckGrace)
		defer t.Stop()
		select {
		case <-r.done:
		case <-t.C:
			if e.abandon(r) {
				st.leave()
				return nil, failed(errStuck, nil)
			}
			<-r.done
		}
	}
	defer e.release(r.in)
	cleanup(r.err == nil)
	if r.err != nil {
		return nil, failed(r.err, r.in)
	}
	return r.res, nil
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
		e.release(r.in)
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
	e.replace(r.in)
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

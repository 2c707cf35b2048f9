// Package buckettest holds what tests need around a bucket: the conformance suite
// every implementation passes ([Run]), a wrapper that records and injects faults
// ([Trace]), and S3 stores of one's own ([StartMinIO], [StartVersityGW]).
package buckettest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"kalamdb/storagelocations"
)

// ErrInjected is the error of every injected fault.
var ErrInjected = errors.New("injected error")

// An Op is a method of a bucket, as rules and the log name it. A rule for Put
// meets conditional puts too, one for PutIf only them.
type Op string

const (
	Get    Op = "get"
	Range  Op = "range"
	Put    Op = "put"
	PutIf  Op = "put-if" // a put with a condition
	List   Op = "list"
	Delete Op = "delete"
	Any    Op = "*"
)

// An Action is what happens to one call.
type Action uint8

const (
	Pass Action = iota // the call goes through
	Fail               // no effect, ErrInjected
	Lose               // the call has its effect, then ErrInjected: a lost reply
)

// A Trace is a bucket that records every call and makes chosen ones fail. Without
// rules it is the bucket it wraps.
type Trace struct {
	b storagelocations.Bucket

	mu     sync.Mutex // guards the fields below; decide is called under it, calls of b are not
	rules  []*rule
	decide func(Op, string) Action
	log    []string
}

type rule struct {
	op      Op
	pattern string
	left    int // calls still to meet; negative means all
	action  Action
	delay   time.Duration
}

// NewTrace wraps b.
func NewTrace(b storagelocations.Bucket) *Trace { return &Trace{b: b} }

// Fail makes the next times calls (all of them if negative) of op on names that
// match pattern fail without effect. In a pattern '*' stands for any text, also
// with slashes; the empty pattern matches every name.
func (t *Trace) Fail(op Op, pattern string, times int) {
	t.add(&rule{op: op, pattern: pattern, left: times, action: Fail})
}

// Lose makes calls as in [Trace.Fail] have their effect and return an error all the same.
func (t *Trace) Lose(op Op, pattern string, times int) {
	t.add(&rule{op: op, pattern: pattern, left: times, action: Lose})
}

// Delay makes calls as in [Trace.Fail] wait for d, or for the end of their context, before they go through.
func (t *Trace) Delay(op Op, pattern string, times int, d time.Duration) {
	t.add(&rule{op: op, pattern: pattern, left: times, delay: d})
}

// Decide asks f about every call no rule of Fail or Lose has met: for randomised
// tests. f is called by one goroutine at a time.
func (t *Trace) Decide(f func(op Op, name string) Action) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.decide = f
}

// Clear forgets all rules.
func (t *Trace) Clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rules, t.decide = nil, nil
}

// Log is what happened since the last call of Log, one line per call, in the
// order of their ends: "put-if a/b.json: ok", "get a: not exist".
func (t *Trace) Log() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	log := t.log
	t.log = nil
	return log
}

func (t *Trace) add(r *rule) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rules = append(t.rules, r)
}

func (t *Trace) action(ctx context.Context, op Op, name string) (Action, error) {
	t.mu.Lock()
	var delay time.Duration
	action, met := Pass, false
	for _, r := range t.rules {
		if r.left == 0 || !r.op.includes(op) || !match(r.pattern, name) || met && r.action != Pass {
			continue
		}
		if r.left > 0 {
			r.left--
		}
		if delay += r.delay; r.action != Pass {
			action, met = r.action, true
		}
	}
	t.rules = slices.DeleteFunc(t.rules, func(r *rule) bool { return r.left == 0 })
	if !met && t.decide != nil {
		action = t.decide(op, name)
	}
	t.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return Pass, ctx.Err()
		}
	}
	return action, nil
}

func (op Op) includes(called Op) bool {
	return op == Any || op == called || op == Put && called == PutIf
}

func (t *Trace) record(op Op, name string, err error) {
	outcome := "ok"
	switch {
	case errors.Is(err, ErrInjected):
		outcome = ErrInjected.Error()
	case errors.Is(err, storagelocations.ErrNotExist):
		outcome = "not exist"
	case errors.Is(err, storagelocations.ErrPrecondition):
		outcome = "precondition"
	case err != nil:
		outcome = err.Error()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.log = append(t.log, fmt.Sprintf("%s %s: %s", op, name, outcome))
}

// call runs f as the rules say and records how it ended.
func (t *Trace) call(ctx context.Context, op Op, name string, f func() error) error {
	action, err := t.action(ctx, op, name)
	if err == nil && action != Fail {
		err = f()
	}
	if action != Pass {
		err = fmt.Errorf("%s %s: %w", op, name, ErrInjected)
	}
	t.record(op, name, err)
	return err
}

func (t *Trace) Get(ctx context.Context, name string) (r io.ReadCloser, info storagelocations.Info, err error) {
	err = t.call(ctx, Get, name, func() (err error) {
		r, info, err = t.b.Get(ctx, name)
		return err
	})
	if err != nil {
		return closed(r), storagelocations.Info{}, err
	}
	return r, info, nil
}

func (t *Trace) GetRange(ctx context.Context, name string, off, n int64) (r io.ReadCloser, err error) {
	err = t.call(ctx, Range, name, func() (err error) {
		r, err = t.b.GetRange(ctx, name, off, n)
		return err
	})
	if err != nil {
		return closed(r), err
	}
	return r, nil
}

// closed ends a reader whose reply is lost.
func closed(r io.ReadCloser) io.ReadCloser {
	if r != nil {
		r.Close()
	}
	return nil
}

func (t *Trace) Put(ctx context.Context, name string, body []byte, cond storagelocations.Cond) (info storagelocations.Info, err error) {
	op := Put
	if cond != (storagelocations.Cond{}) {
		op = PutIf
	}
	err = t.call(ctx, op, name, func() (err error) {
		info, err = t.b.Put(ctx, name, body, cond)
		return err
	})
	if err != nil {
		return storagelocations.Info{}, err
	}
	return info, nil
}

func (t *Trace) List(ctx context.Context, prefix string) iter.Seq2[storagelocations.Info, error] {
	return func(yield func(storagelocations.Info, error) bool) {
		if err := t.call(ctx, List, prefix, func() error { return nil }); err != nil {
			yield(storagelocations.Info{}, err)
			return
		}
		t.b.List(ctx, prefix)(yield)
	}
}

func (t *Trace) Delete(ctx context.Context, name string) error {
	return t.call(ctx, Delete, name, func() error { return t.b.Delete(ctx, name) })
}

func (t *Trace) LocalPath(name string) (string, bool) { return t.b.LocalPath(name) }

func (t *Trace) URL() string { return t.b.URL() }

// match says whether name is as pattern says; '*' stands for any text.
func match(pattern, name string) bool {
	if pattern == "" {
		return true
	}
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == name
	}
	if !strings.HasPrefix(name, first) {
		return false
	}
	name = name[len(first):]
	for {
		part, more, star := strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(name, part)
		}
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name, rest = name[i+len(part):], more
	}
}

package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// An EndedError is the error of a [Follower] whose live query the server has ended for good.
type EndedError struct {
	Reason string // killed or table_dropped
}

func (e *EndedError) Error() string { return "the server ended the live query: " + e.Reason }

// Pauses between connections, unless the server asks for a longer one.
const (
	reconnectMin = 50 * time.Millisecond
	reconnectMax = 15 * time.Second
)

// A Follower is one live query that outlives its connections. Next connects, and
// again after every loss, and resumes after what it returned last, so that each event
// comes once. Next and Events are for one goroutine at a time. While nobody calls
// Next, the server may end the connection; that loses nothing.
//
// What it returns are the events of a [Stream], with these promises:
//
//   - subscribed with Resumed: changes go on where they were. Without it: what was
//     before is void. The rows of initial_data up to the one without HasMore are all
//     there is, and changes go on from them; this happens again when the cursor has
//     expired or the connection is lost while the rows arrive. A live query without LastRows
//     has no such rows to start again with: there an expired cursor is the error
//     CURSOR_EXPIRED.
//   - change: each once and in order, whatever happens to the connections.
//   - ended and error do not come: they are dealt with, or the error of Next.
type Follower struct {
	c       *Client
	ctx     context.Context
	spec    Spec
	onRetry func(err error, pause time.Duration) error

	stream  *Stream // nil: not connected
	stale   string  // the token that must not be used again
	wait    *backoff.ExponentialBackOff
	begun   bool   // cursor is valid: a loss is resumed
	cursor  uint64 // what is up to here was returned
	epoch   string
	renewed bool  // stream was given another token
	over    error // final
}

// Follow makes a Follower, which connects when it is asked for its first event and ends with ctx. A
// FromSeq beside LastRows resumes, or starts with rows if that is too late.
// QueryID may be empty.
//
// onRetry is called before each pause between two connections and may be nil; an
// error that it returns is the end, and the error of Next.
func (c *Client) Follow(ctx context.Context, spec Spec, onRetry func(err error, pause time.Duration) error) *Follower {
	if spec.QueryID == "" {
		spec.QueryID = "q"
	}
	f := &Follower{c: c, ctx: ctx, spec: spec, onRetry: onRetry, wait: newWait(), epoch: spec.Epoch}
	if spec.FromSeq != nil {
		f.begun, f.cursor = true, *spec.FromSeq
	}
	return f
}

func newWait() *backoff.ExponentialBackOff {
	w := backoff.NewExponentialBackOff()
	w.InitialInterval, w.MaxInterval, w.Multiplier = reconnectMin, reconnectMax, 2
	return w
}

// Spec is the live query as another Follower would go on with it after what Next has
// returned: keep its FromSeq and Epoch with what was made of the events. Not for while
// Next runs.
func (f *Follower) Spec() Spec {
	s := f.spec
	s.FromSeq, s.Epoch = nil, ""
	if f.begun {
		seq := f.cursor
		s.FromSeq, s.Epoch = &seq, f.epoch
	}
	return s
}

// Next waits for the next event. Its error is the last: the context's, an *[EndedError],
// an *[Error] of the server that trying again would not change, or that of onRetry.
func (f *Follower) Next() (Event, error) {
	fr, err := f.next()
	if err != nil {
		return Event{}, err
	}
	e, err := fr.event()
	if err != nil {
		return Event{}, f.end(err)
	}
	return e, nil
}

// Events yields Next until it fails; the last pair carries the error.
func (f *Follower) Events() iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			e, err := f.Next()
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// Close ends the connection. Next may not be running; it returns [ErrClosed] afterwards.
func (f *Follower) Close() error {
	err := f.disconnect()
	if f.over == nil {
		f.over = ErrClosed
	}
	return err
}

func (f *Follower) next() (*frame, error) {
	for f.over == nil {
		fr, err := f.step()
		switch {
		case f.ctx.Err() != nil:
			return nil, f.end(f.ctx.Err())
		case err == nil && fr != nil:
			return fr, nil
		case err == nil:
		case final(err):
			return nil, f.end(err)
		default:
			if err := f.pause(err, f.wait); err != nil {
				return nil, f.end(err)
			}
		}
	}
	return nil, f.over
}

func (f *Follower) end(err error) error {
	_ = f.disconnect() // the reason for the end is err
	f.over = err
	return err
}

func (f *Follower) disconnect() error {
	s := f.stream
	if f.stream = nil; s == nil {
		return nil
	}
	return s.Close()
}

// restart forgets the cursor: the next event is subscribed, and then all rows.
func (f *Follower) restart() {
	_ = f.disconnect()
	f.begun = false
}

// final says whether trying again would be for nothing.
func final(err error) bool {
	var refused *Error
	var ended *EndedError
	if errors.As(err, &ended) {
		return true
	}
	return errors.As(err, &refused) && refused.Status < http.StatusInternalServerError && refused.Status != http.StatusTooManyRequests &&
		!slices.Contains([]string{"BUSY", "RATE_LIMITED", "NOT_READY", "INTERNAL", "BUFFER_FULL", "LIMIT_EXCEEDED"}, refused.Code)
}

// pause drops the connection that err has ended and waits before the next.
func (f *Follower) pause(err error, wait *backoff.ExponentialBackOff) error {
	_ = f.disconnect()
	pause := wait.NextBackOff()
	var refused *Error
	if errors.As(err, &refused) {
		pause = max(pause, refused.RetryAfter)
	}
	if f.onRetry != nil {
		if err := f.onRetry(err, pause); err != nil {
			return err
		}
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-f.ctx.Done():
		return f.ctx.Err()
	}
}

// step reads one frame, from a new connection if there is none. The frame is nil if
// it was not for the caller.
func (f *Follower) step() (*frame, error) {
	if f.stream == nil {
		if err := f.connect(); err != nil {
			return nil, err
		}
	}
	fr, err := f.stream.next()
	var closed *ClosedError
	if errors.As(err, &closed) && closed.Code == 1008 {
		f.stale = f.stream.token
	}
	if err != nil {
		return nil, err
	}
	switch fr.Type {
	case TypeSubscribed:
		f.wait.Reset()
		f.epoch = fr.Epoch
		if f.begun = fr.Resumed || f.spec.LastRows == 0; f.begun && !fr.Resumed {
			f.cursor = fr.Seq
		}
		return fr, nil
	case TypeInitialData:
		if !fr.HasMore {
			f.begun, f.cursor = true, fr.Seq
		}
		return fr, nil
	case TypeChange, TypeCheckpoint:
		if fr.Seq < f.cursor || fr.Seq == f.cursor && fr.Type == TypeChange && fr.Reason != "expired" {
			return nil, nil // returned before
		}
		f.cursor = fr.Seq
		return fr, nil
	case TypeExpiring:
		return nil, f.renew()
	case TypeEnded:
		return nil, f.ended(fr.Reason)
	case TypeError:
		return nil, f.refused(fr)
	}
	return nil, nil // of a newer server
}

func (f *Follower) connect() error {
	if f.stale != "" {
		// Somebody else may have another one already, and without a source this one has to do.
		if _, err := f.c.token(f.ctx, f.stale); err != nil {
			return err
		}
		f.stale = ""
	}
	s, err := f.c.Subscribe(f.ctx)
	if err != nil {
		return err
	}
	f.stream, f.renewed = s, false
	return f.subscribe()
}

func (f *Follower) subscribe() error {
	s := f.Spec()
	if f.begun {
		s.LastRows = 0
	}
	return f.stream.Add(s)
}

// renew gives the server another token. If there is none to be had, the server ends
// the connection in time.
func (f *Follower) renew() error {
	token, err := f.c.token(f.ctx, f.stream.token)
	if err != nil || token == f.stream.token {
		return nil
	}
	f.stream.token, f.renewed = token, true
	return f.stream.Renew(token)
}

func (f *Follower) ended(reason string) error {
	switch reason {
	case "killed", "table_dropped":
		return &EndedError{Reason: reason}
	case "auth_expired":
		f.stale = f.stream.token
	}
	return fmt.Errorf("the server ended the live query: %s", reason)
}

func (f *Follower) refused(fr *frame) error {
	switch {
	case fr.Code == "CURSOR_EXPIRED" && f.begun && f.spec.LastRows > 0:
		f.begun = false
		return f.subscribe()
	case fr.QueryID == "" && f.renewed:
		return nil // of the new token; the old one still counts
	}
	return fr.err()
}

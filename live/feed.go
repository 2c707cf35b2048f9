package live

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"kalamdb/row"
)

// evaluateChanges is how many changes go through a slow filter at once, so that many
// small commits of a backlog cost one call; the last batch may go beyond it.
const evaluateChanges = 1024

// A feed is what identical subscriptions share: a change goes through the filter once,
// becomes an event once and is encoded once, whatever their number.
//
// The worker that serves the partition evaluates a quick filter on the spot. Batches for
// another one wait here for a worker of the slow crew, so that they hold up nobody else.
type feed struct {
	place *place
	sel   *Selection
	equal *Equality // by which the feed is found; nil: every change may concern it

	// The mu of place guards these.
	subs []*Subscription
	hits []int32 // changes of the batch at hand that may concern the feed

	slow *slowFeed // nil: the filter is quick
}

// A slowFeed is what a feed with a slow filter needs more.
type slowFeed struct {
	// in guards the fields below it. It is a leaf.
	in      sync.Mutex
	pending []*row.Batch // in the schema of the feed
	bytes   int64        // of pending and of what the worker has taken
	busy    bool

	routed atomic.Uint64 // everything up to here has been given to the subscriptions
}

func newFeed(p *place, sel *Selection) *feed {
	f := &feed{place: p, sel: sel}
	for i := range sel.Equal {
		if e := &sel.Equal[i]; len(e.Values) > 0 && (f.equal == nil || len(e.Values) < len(f.equal.Values)) {
			f.equal = e
		}
	}
	if sel.Filter != nil && !sel.Filter.Fast() {
		f.slow = &slowFeed{}
	}
	return f
}

// routed: every change up to here was given to the subscriptions of f, or is none of
// theirs, if they were there by then.
func (f *feed) routed() row.Seq {
	if f.slow != nil {
		return row.Seq(f.slow.routed.Load())
	}
	return row.Seq(f.place.routed.Load())
}

// hand turns b into events for the subscriptions of f, now or soon. The mu of the place
// is held.
func (f *feed) hand(ctx context.Context, b *row.Batch, ended []*Subscription) []*Subscription {
	if f.slow != nil {
		if !f.leave(b) {
			ended = f.tellLost(b.Last(), ended)
		}
		return ended
	}
	events, _, err := f.sel.events(ctx, []*row.Batch{b}, 0, nil)
	if err != nil {
		return f.fail(err, ended)
	}
	return f.offer(events, ended)
}

// offer gives events of one or more whole batches to the subscriptions.
func (f *feed) offer(events []*Event, ended []*Subscription) []*Subscription {
	if len(events) == 0 {
		return ended
	}
	bytes := int64(0)
	for _, e := range events {
		bytes += e.bytes
	}
	for _, s := range f.subs {
		if !s.offer(events, bytes) {
			ended = append(ended, s)
		}
	}
	return ended
}

// offerBulk says that the changes up to last are in the change log alone.
func (f *feed) offerBulk(last row.Seq, ended []*Subscription) []*Subscription {
	if f.slow != nil {
		f.slow.in.Lock()
		f.drop()
		f.slow.in.Unlock()
	}
	return f.tellLost(last, ended)
}

func (f *feed) tellLost(last row.Seq, ended []*Subscription) []*Subscription {
	for _, s := range f.subs {
		if !s.offerBulk(last) {
			ended = append(ended, s)
		}
	}
	return ended
}

// fail ends the subscriptions of f, once they have taken what they have.
func (f *feed) fail(err error, ended []*Subscription) []*Subscription {
	if f.place.hub.ctx.Err() != nil {
		return ended // CloseAll ends them
	}
	for _, s := range f.subs {
		s.mu.Lock()
		if s.fault == nil {
			s.fault = err
			s.signal()
			ended = append(ended, s)
		}
		s.mu.Unlock()
	}
	return ended
}

// leave puts b behind what waits for the filter. It is false if there is no room.
func (f *feed) leave(b *row.Batch) bool {
	w, bytes := f.slow, int64(b.Bytes())
	w.in.Lock()
	defer w.in.Unlock()
	if len(w.pending) > 0 && w.bytes+bytes > f.place.hub.opts.QueueBytesMax {
		f.drop()
		return false
	}
	w.pending = append(w.pending, b)
	w.bytes += bytes
	if !w.busy {
		w.busy = true
		f.place.hub.slow.add(f)
	}
	return true
}

// drop forgets what is pending. slow.in is held.
func (f *feed) drop() {
	for _, b := range f.slow.pending {
		f.slow.bytes -= int64(b.Bytes())
	}
	f.slow.pending = nil
}

// serve is the work of the slow crew: some of what is pending goes through the filter.
func (f *feed) serve() {
	w := f.slow
	w.in.Lock()
	n, changes, bytes := 0, 0, int64(0)
	for n < len(w.pending) && changes < evaluateChanges {
		changes += len(w.pending[n].Changes)
		bytes += int64(w.pending[n].Bytes())
		n++
	}
	batches := w.pending[:n:n]
	w.pending = w.pending[n:]
	w.in.Unlock()

	var ended []*Subscription
	for len(batches) > 0 {
		events, _, n, err := f.sel.someEvents(f.place.hub.ctx, batches, 0, nil)
		f.place.mu.Lock()
		if err != nil {
			ended, n = f.fail(err, ended), len(batches)
		} else {
			ended = f.offer(events, ended)
		}
		w.routed.Store(uint64(max(f.routed(), batches[n-1].Last())))
		f.place.mu.Unlock()
		batches = batches[n:]
	}
	for _, s := range ended {
		f.place.hub.remove(s)
	}

	w.in.Lock()
	defer w.in.Unlock()
	w.bytes -= bytes
	if w.busy = len(w.pending) > 0; w.busy {
		f.place.hub.slow.add(f)
	} else {
		w.pending = nil
	}
}

// match runs the filter of v over rows. A filter that panics has failed: it must not
// take the server with it.
func (v *Selection) match(ctx context.Context, rows []*row.Row) (matched []bool, err error) {
	defer func() {
		if broken := recover(); broken != nil {
			err = fmt.Errorf("filter of live query %s: panic: %v\n%s", v.Query, broken, debug.Stack())
		}
	}()
	matched, err = v.Filter.Match(ctx, rows)
	switch {
	case ctx.Err() != nil && err != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, fmt.Errorf("filter of live query %s: %w", v.Query, err)
	case len(matched) != len(rows):
		return nil, fmt.Errorf("filter of live query %s: %d answers for %d rows", v.Query, len(matched), len(rows))
	}
	return matched, nil
}

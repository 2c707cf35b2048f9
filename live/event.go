package live

import (
	"context"
	"slices"
	"sync"

	"kalamdb/row"
)

// eventBytes is what an event costs beside its rows.
const eventBytes = 128

// An Event is one or more neighbouring changes of one commit, as the subscriber sees
// them. It is shared with other subscribers: nobody changes it.
type Event struct {
	Op         row.Op
	Rows       []*row.Row // at least one, in order of Seq
	Old        []*row.Row // Update: what each of Rows replaced
	Gone       []*row.Row // Delete: what each of Rows was before
	Seq        row.Seq    // of the last row: the cursor to resume after
	LeftFilter bool       // Delete: the rows are still there and do not match any more
	Expired    bool       // Delete: the rows were events of a stream and are over
	TxnLast    bool       // nothing else of this commit follows

	bytes     int64 // that it takes in a queue
	encode    sync.Once
	rows, old [][]byte // set by encode
}

// events turns changes into events, maybe none. Changes up to after are not wanted. The
// batches are in the schema of v.
//
// open is the last event of a commit of which there may be more to come, nil for none, at
// the beginning and in the end.
func (v *Selection) events(ctx context.Context, batches []*row.Batch, after row.Seq, open *Event) ([]*Event, *Event, error) {
	verdicts, err := v.verdicts(ctx, batches, after)
	if err != nil {
		return nil, open, err
	}
	var events []*Event
	for _, b := range batches {
		mine := len(events) // events of other commits are closed
		if events = v.appendEvents(events, mine, b, after, &verdicts); len(events) > mine {
			open = events[len(events)-1]
		}
		if open != nil && !b.More {
			open.TxnLast, open = true, nil
		}
	}
	return events, open, nil
}

// someEvents is events of the first n batches: of all, or of one if the filter fails for
// one of them, so that those before it are not lost.
func (v *Selection) someEvents(ctx context.Context, batches []*row.Batch, after row.Seq, open *Event) (events []*Event, stillOpen *Event, n int, err error) {
	events, stillOpen, err = v.events(ctx, batches, after, open)
	if n = len(batches); err != nil && ctx.Err() == nil && n > 1 {
		n = 1
		events, stillOpen, err = v.events(ctx, batches[:n], after, open)
	}
	return events, stillOpen, n, err
}

// verdicts are the answers of the filter, to be asked for in the order of the rows.
type verdicts struct {
	all     bool // no filter
	matched []bool
}

func (v *verdicts) next() bool {
	if v.all {
		return true
	}
	m := v.matched[0]
	v.matched = v.matched[1:]
	return m
}

// verdicts runs the filter over the old and new rows of the changes that are wanted.
func (v *Selection) verdicts(ctx context.Context, batches []*row.Batch, after row.Seq) (verdicts, error) {
	if v.Filter == nil {
		return verdicts{all: true}, nil
	}
	n := 0
	for _, b := range batches {
		n += 2 * len(b.Changes)
	}
	rows := make([]*row.Row, 0, n)
	for _, b := range batches {
		for i := range b.Changes {
			c := &b.Changes[i]
			if c.New.Seq <= after {
				continue
			}
			if c.Old != nil {
				rows = append(rows, c.Old)
			}
			rows = append(rows, &c.New)
		}
	}
	if len(rows) == 0 {
		return verdicts{}, nil
	}
	matched, err := v.match(ctx, rows)
	return verdicts{matched: matched}, err
}

// appendEvents appends what b is to the subscriber; events from mine on are of b.
func (v *Selection) appendEvents(events []*Event, mine int, b *row.Batch, after row.Seq, verdict *verdicts) []*Event {
	for i := range b.Changes {
		c := &b.Changes[i]
		if c.New.Seq <= after {
			continue
		}
		old := c.Old != nil && verdict.next()
		now := verdict.next()
		if c.Op == row.Delete && c.Old != nil && !v.Deleted {
			now = old // its new _seq and _updated are not those of a row that is there
		}
		op, left := transition(c.Op, old, now)
		if op == 0 {
			continue
		}
		r := &c.New
		switch {
		case left:
			r = &row.Row{Seq: c.New.Seq, Updated: c.New.Updated, Deleted: true, Schema: c.Old.Schema, Values: c.Old.Values}
		case v.Filter != nil && len(b.Changes) > 1:
			alone := c.New // a waiting event is not to keep the rest of the batch
			r = &alone
		}
		if n := len(events); n == mine || !v.continues(events[n-1], op, left) {
			events = append(events, &Event{Op: op, LeftFilter: left, bytes: eventBytes})
		}
		e := events[len(events)-1]
		e.Rows, e.Seq = append(e.Rows, r), c.New.Seq
		e.bytes += int64(r.Bytes())
		switch op {
		case row.Update:
			e.Old = append(e.Old, c.Old)
			e.bytes += int64(c.Old.Bytes())
		case row.Delete:
			e.Gone = append(e.Gone, c.Old)
			e.bytes += int64(c.Old.Bytes())
		}
	}
	return events
}

// continues says whether a change with the given outcome belongs to e.
func (v *Selection) continues(e *Event, op row.Op, left bool) bool {
	return e.Op == op && e.LeftFilter == left && (v.BatchRows <= 0 || len(e.Rows) < v.BatchRows)
}

// rest is e without the rows up to after, of which it has some.
func (e *Event) rest(after row.Seq) *Event {
	n := slices.IndexFunc(e.Rows, func(r *row.Row) bool { return r.Seq > after })
	cut := &Event{Op: e.Op, Rows: e.Rows[n:], Seq: e.Seq, LeftFilter: e.LeftFilter, TxnLast: e.TxnLast, bytes: e.bytes}
	if e.Old != nil {
		cut.Old = e.Old[n:]
	}
	if e.Gone != nil {
		cut.Gone = e.Gone[n:]
	}
	return cut
}

// transition is what a change is to a subscriber, by whether its old and new row
// match: the table of the package doc. Zero is nothing.
func transition(op row.Op, old, new bool) (as row.Op, left bool) {
	switch {
	case op == row.Delete && (old || new):
		return row.Delete, false
	case op == row.Delete:
		return 0, false
	case old && new:
		return row.Update, false
	case new:
		return row.Insert, false
	case old:
		return row.Delete, true
	}
	return 0, false
}

package kalamdb

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"kalamdb/live"
	"kalamdb/row"
)

// coalesceBytesMax is how much of one commit is taken before it has come to its end, as
// that of a large insert is read from the change log in pieces.
const coalesceBytesMax = 8 << 20

// A coalescer makes one change of all that wait for the same primary key. It takes only
// what waits already, in whole commits unless one is too large: a client that keeps up gets
// every change.
//
// Of each key it keeps the row that the client has, if it has one, and the newest one. So
// an INSERT and its DELETE are nothing, a DELETE and an INSERT are an UPDATE, and of many
// UPDATEs one is left, from what the client has to what is.
type coalescer struct {
	sub    *live.Subscription
	schema *row.Schema
	rows   int     // most of one event
	base   row.Seq // changes up to here and later ones are not made one

	waiting []*live.Event // taken and not coalesced
	bytes   int           // of waiting
	ready   []*live.Event
}

// A coalesced is what happened to one row.
type coalesced struct {
	had  *row.Row // what the client has; nil: nothing
	op   row.Op   // of the newest change
	row  *row.Row // of the newest change
	left bool     // the newest change moved it out of the filter
}

func (c *coalescer) next(ctx context.Context) (*live.Event, error) {
	for len(c.ready) == 0 {
		waiting, err := c.take(ctx)
		if err != nil {
			return nil, err
		}
		c.ready = c.coalesce(waiting)
	}
	e := c.ready[0]
	c.ready = c.ready[1:]
	return e, nil
}

// take is what waits: at least one event, to the end of a commit if that is not too far.
// What it has when it fails it keeps for the next call.
func (c *coalescer) take(ctx context.Context) ([]*live.Event, error) {
	for {
		n := len(c.waiting)
		var e *live.Event
		var err error
		if n > 0 && c.waiting[n-1].TxnLast {
			if e, err = c.sub.Poll(); e == nil || err != nil {
				return c.taken(), nil // an end is told again
			}
		} else if e, err = c.sub.Next(ctx); err != nil {
			if ended := (*live.EndedError)(nil); n > 0 && errors.As(err, &ended) {
				return c.taken(), nil // the client resumes after them
			}
			return nil, err
		}
		switch {
		case n > 0 && c.waiting[n-1].Seq <= c.base && e.Seq > c.base:
			waiting := c.taken()
			c.add(e)
			return waiting, nil
		case c.add(e) > coalesceBytesMax:
			return c.taken(), nil
		}
	}
}

func (c *coalescer) add(e *live.Event) (bytes int) {
	c.waiting = append(c.waiting, e)
	for _, rows := range [][]*row.Row{e.Rows, e.Old, e.Gone} {
		for _, r := range rows {
			c.bytes += r.Bytes()
		}
	}
	return c.bytes
}

func (c *coalescer) taken() []*live.Event {
	waiting := c.waiting
	c.waiting, c.bytes = nil, 0
	return waiting
}

// coalesce makes events of the rows that changed, in the order of their last changes.
func (c *coalescer) coalesce(waiting []*live.Event) []*live.Event {
	if len(waiting) == 1 {
		return waiting
	}
	byKey := map[string]*coalesced{}
	for _, e := range waiting {
		for i, r := range e.Rows {
			key := string(c.schema.KeyOf(r.Values))
			k := byKey[key]
			if k == nil {
				k = &coalesced{}
				byKey[key] = k
				switch e.Op {
				case row.Update:
					k.had = e.Old[i]
				case row.Delete:
					k.had = e.Gone[i]
				}
			}
			k.op, k.row, k.left = e.Op, r, e.LeftFilter
		}
	}
	all := make([]*coalesced, 0, len(byKey))
	for _, k := range byKey {
		switch {
		case k.op == row.Delete && k.had == nil:
			continue
		case k.op != row.Delete && k.had == nil:
			k.op = row.Insert
		case k.op != row.Delete:
			k.op = row.Update
		}
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b *coalesced) int { return cmp.Compare(a.row.Seq, b.row.Seq) })
	var events []*live.Event
	for _, k := range all {
		n := len(events)
		if n == 0 || events[n-1].Op != k.op || events[n-1].LeftFilter != k.left || len(events[n-1].Rows) >= c.rows {
			events = append(events, &live.Event{Op: k.op, LeftFilter: k.left})
			n++
		}
		e := events[n-1]
		e.Rows, e.Seq = append(e.Rows, k.row), k.row.Seq
		switch k.op {
		case row.Update:
			e.Old = append(e.Old, k.had)
		case row.Delete:
			e.Gone = append(e.Gone, k.had)
		}
	}
	if n := len(events); n > 0 {
		last := waiting[len(waiting)-1]
		events[n-1].TxnLast, events[n-1].Seq = last.TxnLast, last.Seq
	}
	return events
}

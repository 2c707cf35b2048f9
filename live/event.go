package live

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"kalamdb/row"
)

// errFull stops a read of the change log.
var errFull = errors.New("enough for now")

// evaluateChanges is how many changes go through the filter at once, so that many
// small commits of a backlog cost one call; the last batch may go beyond it.
const evaluateChanges = 1024

// An Event is one or more neighbouring changes of one commit, as the subscriber sees
// them. Its rows are shared with other subscribers: nobody changes them.
type Event struct {
	Op         row.Op
	Rows       []*row.Row // at least one, in order of Seq
	Old        []*row.Row // Update: what each of Rows replaced
	Seq        row.Seq    // of the last row: the cursor to resume after
	LeftFilter bool       // Delete: the rows are still there and do not match any more
}

// evaluate turns the first of batches into events, maybe none.
func (s *Subscription) evaluate(ctx context.Context) error {
	n, changes := 0, 0
	for n < len(s.batches) && changes < evaluateChanges {
		changes += len(s.batches[n].Changes)
		n++
	}
	group, err := s.mapped(s.batches[:n])
	if err != nil {
		return err
	}
	matches, err := s.match(ctx, group, changes)
	if err != nil {
		return err
	}
	for _, b := range group {
		s.events = s.appendEvents(s.events, b, &matches)
	}
	if s.batches = s.batches[n:]; len(s.batches) == 0 {
		s.batches = nil
	}
	return nil
}

// mapped are the batches with all rows in the schema of s. Nobody changes the batches
// of the group: others have them too.
func (s *Subscription) mapped(group []*row.Batch) ([]*row.Batch, error) {
	if s.spec.SchemaAt == nil {
		return group, nil
	}
	version := s.spec.Schema.Version
	out := group
	for i, b := range group {
		if !slices.ContainsFunc(b.Changes, func(c row.Change) bool { return c.New.Schema != version || c.Old != nil && c.Old.Schema != version }) {
			continue
		}
		changes := slices.Clone(b.Changes)
		for j := range changes {
			c := &changes[j]
			r, err := s.mapping.Row(&c.New)
			if err == nil {
				c.New = *r
				if c.Old != nil {
					c.Old, err = s.mapping.Row(c.Old)
				}
			}
			if err != nil {
				return nil, fmt.Errorf("live query %s: %w", s.spec.ID, err)
			}
		}
		if &out[0] == &group[0] {
			out = slices.Clone(group)
		}
		out[i] = &row.Batch{Partition: b.Partition, Changes: changes}
	}
	return out, nil
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

// match runs the filter over the old and new rows of the changes that are wanted.
func (s *Subscription) match(ctx context.Context, group []*row.Batch, changes int) (verdicts, error) {
	if s.spec.Filter == nil {
		return verdicts{all: true}, nil
	}
	rows := make([]*row.Row, 0, changes)
	for _, b := range group {
		for i := range b.Changes {
			c := &b.Changes[i]
			if c.New.Seq <= s.after {
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
	matched, err := s.spec.Filter.Match(ctx, rows)
	switch {
	case ctx.Err() != nil && err != nil:
		return verdicts{}, ctx.Err()
	case err != nil:
		return verdicts{}, fmt.Errorf("filter of live query %s: %w", s.spec.ID, err)
	case len(matched) != len(rows):
		return verdicts{}, fmt.Errorf("filter of live query %s: %d answers for %d rows", s.spec.ID, len(matched), len(rows))
	}
	return verdicts{matched: matched}, nil
}

// appendEvents appends what b is to the subscriber.
func (s *Subscription) appendEvents(events []Event, b *row.Batch, v *verdicts) []Event {
	mine := len(events) // events of other commits are closed
	for i := range b.Changes {
		c := &b.Changes[i]
		if c.New.Seq <= s.after {
			continue
		}
		old := c.Old != nil && v.next()
		op, left := transition(c.Op, old, v.next())
		if op == 0 {
			continue
		}
		r := &c.New
		if left {
			r = &row.Row{Seq: c.New.Seq, Updated: c.New.Updated, Deleted: true, Schema: c.Old.Schema, Values: c.Old.Values}
		}
		if n := len(events); n == mine || !s.continues(&events[n-1], op, left) {
			events = append(events, Event{Op: op, LeftFilter: left})
		}
		e := &events[len(events)-1]
		e.Rows, e.Seq = append(e.Rows, r), c.New.Seq
		if op == row.Update {
			e.Old = append(e.Old, c.Old)
		}
	}
	return events
}

// continues says whether a change with the given outcome belongs to e.
func (s *Subscription) continues(e *Event, op row.Op, left bool) bool {
	return e.Op == op && e.LeftFilter == left && (s.spec.BatchRows <= 0 || len(e.Rows) < s.spec.BatchRows)
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

package live

import (
	"context"
	"errors"
	"fmt"

	"kalamdb/row"
)

// replayBytes is how much of the change log one read takes into memory; the last
// batch may go beyond it.
const replayBytes = 256 << 10

// errFull stops a read of the change log.
var errFull = errors.New("enough for now")

// A History is the change log: the changes that were committed earlier.
type History interface {
	// Changes calls yield with the changes of p after one Seq and through another, in
	// commit order, and stops at the first error of yield. The batches are for yield to
	// keep. It fails if changes of that range are not kept any more.
	Changes(ctx context.Context, p row.Partition, after, through row.Seq, yield func(*row.Batch) error) error
}

// A replay is what a subscription needs to read the change log.
type replay struct {
	history History
	through row.Seq      // how far to read
	batches []*row.Batch // read and not evaluated
	after   row.Seq      // changes in batches up to here are not wanted
	open    *Event       // the last of the events, while more of its commit may follow; or nil
	mapping *row.Mapping // to the schema of the subscription; nil: none yet
}

// Replay begins with the changes after the given Seq and through another one, as h
// has them, and goes on with what is committed later.
//
// The caller reads through after Subscribe has returned, from where every batch given
// to the hub so far is counted; an after beyond it replays nothing. Replay reads
// the beginning at once: its error is that of h, for example because the changes are
// not kept any more, and then the subscription is of no use but to be closed. If h
// fails later, Next ends with the reason lagged and the error of h as the cause.
//
// With through = after it is a Start that survives an overflow of the queue between
// Subscribe and the first call of Next, as the sending of a long snapshot can cause.
func (s *Subscription) Replay(ctx context.Context, h History, after, through row.Seq) error {
	s.begin(after, through, h)
	if after >= through {
		return nil
	}
	return s.readHistory(ctx, after, through)
}

// fillFromHistory gets the next batches after read and through the given Seq.
func (s *Subscription) fillFromHistory(ctx context.Context, through row.Seq) error {
	err := s.readHistory(ctx, s.read, through) // only this goroutine changes read meanwhile
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	s.end(ReasonLagged, err)
	return nil // the end is told next
}

// readHistory takes a piece of the change log into batches.
func (s *Subscription) readHistory(ctx context.Context, after, through row.Seq) error {
	var batches []*row.Batch
	bytes, full := 0, false
	err := s.replay.history.Changes(ctx, s.spec.Partition, after, through, func(b *row.Batch) error {
		batches = append(batches, b)
		bytes += b.Bytes()
		if full = bytes >= replayBytes; full {
			return errFull
		}
		return nil
	})
	if err != nil && !full {
		return err
	}
	if full {
		through = batches[len(batches)-1].Last()
	}
	s.replay.batches, s.replay.after = batches, after
	s.mu.Lock()
	s.read = through
	s.mu.Unlock()
	return nil
}

// evaluate turns the first of the batches that were read into events, maybe none.
func (s *Subscription) evaluate(ctx context.Context) error {
	r, sel := s.replay, s.spec.Selection
	if r.mapping == nil {
		r.mapping = row.NewMapping(sel.Schema, sel.SchemaAt)
	}
	var group []*row.Batch
	for n, changes := 0, 0; n < len(r.batches) && changes < evaluateChanges; n++ {
		b, err := inSchema(r.batches[n], sel.Schema.Version, r.mapping)
		if err != nil {
			s.end(ReasonError, fmt.Errorf("live query %s: %w", s.spec.ID, err))
			return nil // the end is told next
		}
		group = append(group, b)
		changes += len(b.Changes)
	}
	events, open, n, err := sel.someEvents(ctx, group, r.after, r.open)
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		s.end(ReasonError, err)
		return nil
	}
	s.events, r.open = append(s.events, events...), open
	if r.batches = r.batches[n:]; len(r.batches) == 0 {
		r.batches = nil
	}
	return nil
}

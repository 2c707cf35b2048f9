package live

import (
	"context"

	"kalamdb/row"
)

// replayBytes is how much of the change log one read takes into memory; the last
// batch may go beyond it.
const replayBytes = 256 << 10

// A History is the change log: the changes that were committed earlier.
type History interface {
	// Changes calls yield with the changes of p after one Seq and through another, in
	// commit order, and stops at the first error of yield. The batches are for yield to
	// keep. It fails if changes of that range are not kept any more.
	Changes(ctx context.Context, p row.Partition, after, through row.Seq, yield func(*row.Batch) error) error
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
	err := s.readHistory(ctx, s.read, through) // only this goroutine changes read
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	s.end(ReasonLagged, err)
	return nil // the next fill returns the end
}

// readHistory takes a piece of the change log into batches.
func (s *Subscription) readHistory(ctx context.Context, after, through row.Seq) error {
	var batches []*row.Batch
	bytes, full := 0, false
	err := s.history.Changes(ctx, s.spec.Partition, after, through, func(b *row.Batch) error {
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
	s.batches, s.after = batches, after
	s.mu.Lock()
	s.read = through
	s.mu.Unlock()
	return nil
}

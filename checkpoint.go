package kalamdb

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"kalamdb/catalog"
	"kalamdb/query"
	"kalamdb/row"
)

const (
	checkpointMin = 100 * time.Millisecond
	checkpointMax = time.Hour
)

// A Checkpoint lets a client prove that its copy of the result is right: it is about the
// result after the changes up to the Seq of its Event, the whole one and not only the
// LastRows that were sent.
type Checkpoint struct {
	Rows int64
	// Hash is the sum, modulo 2^64, over all rows: of each the first eight bytes, as a
	// big-endian number, of the SHA-256 of its JSON object in the form of RFC 8785.
	Hash uint64
}

// hashRow is what a row adds to the Hash of a Checkpoint.
func hashRow(scratch, object []byte) (_ []byte, hash uint64, err error) {
	if scratch, err = row.AppendCanonicalJSON(scratch[:0], object); err != nil {
		return scratch, 0, fmt.Errorf("a row of a live query: %w", err)
	}
	sum := sha256.Sum256(scratch)
	return scratch, binary.BigEndian.Uint64(sum[:]), nil
}

// A prover makes the checkpoints of a subscription from the events it delivers. It begins
// with the result at a snapshot and keeps nothing but a count and a sum: an event says of
// each row what it was, so both can be taken back.
type prover struct {
	every   time.Duration
	base    row.Seq // of the snapshot: changes up to it are in the result
	seq     row.Seq // of the newest event, or what it is known to have come to
	result  Checkpoint
	scratch []byte

	due   time.Time // of the next checkpoint
	stale bool      // something has happened since the last one, or there was none
	open  bool      // more of the newest event's commit follows
}

// add counts an object in or, with n = -1, out.
func (p *prover) add(object []byte, n int64) (err error) {
	var hash uint64
	if p.scratch, hash, err = hashRow(p.scratch, object); err == nil {
		p.result.Rows += n
		p.result.Hash += hash * uint64(n)
	}
	return err
}

// apply counts an event that is about to be delivered.
func (p *prover) apply(e *Event) error {
	if e.Initial {
		return nil
	}
	p.seq = max(p.seq, e.Seq)
	p.open = !e.TxnLast
	if e.Seq <= p.base {
		return nil
	}
	p.stale = true
	for _, object := range slices.Concat(e.Old, e.was) {
		if err := p.add(object, -1); err != nil {
			return err
		}
	}
	if e.Change == row.Delete.String() {
		return nil
	}
	for _, object := range e.Rows {
		if err := p.add(object, 1); err != nil {
			return err
		}
	}
	return nil
}

// next is next of the subscription with checkpoints in between. One is sent when it is due
// and something has changed since the last, never inside a commit, and not before all that
// led to the snapshot was delivered: either an event of after it was, or caughtUp says so.
func (p *prover) next(ctx context.Context, next func(context.Context) (Event, error), caughtUp func() bool) (Event, error) {
	for patience := p.every; ; patience *= 2 {
		if !p.stale || p.open {
			return p.applied(next(ctx))
		}
		until := p.due
		if p.seq < p.base {
			if caughtUp() {
				p.seq = p.base
			} else if later := time.Now().Add(patience); until.Before(later) {
				until = later // reading what was takes its time
			}
		}
		if p.seq >= p.base && !time.Now().Before(until) {
			return p.checkpoint(), nil
		}
		wait, cancel := context.WithDeadline(ctx, until)
		e, err := next(wait)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return p.applied(e, err)
		}
	}
}

func (p *prover) applied(e Event, err error) (Event, error) {
	if err != nil {
		return e, err
	}
	return e, p.apply(&e)
}

func (p *prover) checkpoint() Event {
	p.stale, p.due = false, time.Now().Add(p.every)
	result := p.result
	return Event{Checkpoint: &result, Seq: p.seq, TxnLast: true}
}

// prove makes the prover of a subscription: it reads the whole result at the snapshot.
func (s *Subscription) prove(ctx context.Context, st *statement, req SubscribeRequest, t *catalog.Table, plan *query.LivePlan, rel *query.Relation) error {
	switch {
	case !t.Versioned():
		return fail(CodeInvalidRequest, "checkpoint_ms is for USER and SHARED tables: events of a STREAM table go by themselves")
	case slices.Contains(plan.Uses, row.ColDeleted):
		return fail(CodeInvalidRequest, "checkpoint_ms is for live queries whose condition leaves %s alone", row.ColDeleted)
	}
	p := &prover{every: req.CheckpointEvery, base: s.Seq, seq: s.Seq, due: time.Now(), stale: true}
	if s.coalescer != nil {
		s.coalescer.base = p.base
	}
	if req.FromSeq != nil {
		p.seq = *req.FromSeq
		p.due = p.due.Add(p.every) // what was missed comes first
	}
	err := s.read(ctx, st, plan, rel, func(object []byte) error { return p.add(object, 1) })
	s.prover = p
	return err
}

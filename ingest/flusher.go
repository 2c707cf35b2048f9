package ingest

import (
	"cmp"
	"context"
	"slices"
	"time"
)

const (
	// highPercent of BufferBytesMax is the high water: above it the largest partitions
	// are flushed, whatever their policy, until the rest is below lowPercent.
	highPercent = 60
	lowPercent  = 40

	// A round is bounded, so that the lake's commit object and the time until readers
	// see it stay small. What is left goes with the next round.
	roundPartitionsMax = 5000
	roundBytesMax      = 256 << 20

	// roundsMax is how many tables are flushed at once.
	roundsMax = 4

	// lookEvery is how often the flusher looks by itself: a deadline, and a changed
	// policy, act at most that much late.
	lookEvery = time.Second

	// ageSlack: when one partition of a table is due by age, those that have reached
	// this part of the age go with it, so that a table with many users makes ten rounds
	// per interval and not one per user.
	ageSlackNum, ageSlackDen = 9, 10

	// pressEvery bounds how often all partitions are compared by size.
	pressEvery = lookEvery / 5

	retryMin = time.Second
	retryMax = 5 * time.Minute
)

// flushLoop starts rounds until ctx is done and waits for the last ones.
func (b *Buffer) flushLoop(ctx context.Context) {
	defer b.stopFlushing()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.wake:
		case <-timer.C:
		}
		if b.o.Sink == nil {
			continue
		}
		b.pressure()
		for _, r := range b.plan(ctx, time.Now()) {
			b.tasks.Go(func() { b.flush(r) })
		}
		timer.Reset(lookEvery)
	}
}

func (b *Buffer) stopFlushing() {
	b.tasks.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
	for w := range b.waits {
		b.endWait(w, ErrClosed)
	}
}

func (b *Buffer) wakeUp() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// wakeFlusher looks at partitions that have just changed. It runs in the sequencer.
func (b *Buffer) wakeFlusher(changed []*partition) {
	if b.o.Sink == nil {
		return
	}
	wake := b.high(b.bytes.Load())
	for _, p := range changed {
		if p.gone || p.active.rows == 0 || p.sealed.num != 0 || p.stream != nil {
			continue
		}
		if rows, _ := b.o.Policy(p.ref.Table); b.full(p, rows) {
			b.mu.Lock()
			p.table.enqueue(p)
			b.mu.Unlock()
			wake = true
		}
	}
	if wake {
		b.wakeUp()
	}
}

// full says whether the active generation of p is due by its size; rows is the policy's.
func (b *Buffer) full(p *partition, rows int) bool {
	return rows > 0 && p.active.rows >= rows || p.active.bytes >= b.o.FlushBytes
}

func (b *Buffer) high(bytes int64) bool { return bytes > b.o.BufferBytesMax/100*highPercent }

// pressure makes the largest partitions due when the buffer is above its high water.
func (b *Buffer) pressure() {
	bytes := b.bytes.Load()
	if !b.high(bytes) || time.Since(b.pressed) < pressEvery {
		return
	}
	b.pressed = time.Now()
	type size struct {
		p     *partition
		bytes int64
	}
	var sizes []size
	b.each(func(p *partition) {
		if p.queued || p.flushing || p.stream != nil {
			bytes -= p.bytes() // on its way already, or never going
		} else if p.active.rows > 0 {
			sizes = append(sizes, size{p, p.active.bytes})
		}
	})
	slices.SortFunc(sizes, func(x, y size) int { return cmp.Compare(y.bytes, x.bytes) })
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range sizes {
		if bytes < b.o.BufferBytesMax/100*lowPercent {
			break
		}
		if !s.p.gone {
			s.p.table.enqueue(s.p)
			bytes -= s.bytes
		}
	}
}

// plan picks the rounds that can start now.
func (b *Buffer) plan(ctx context.Context, now time.Time) []*round {
	b.mu.Lock()
	defer b.mu.Unlock()
	var rounds []*round
	for _, t := range b.tables {
		if t.running != nil || (t.first == nil && len(t.ready) == 0 && len(t.aside) == 0) {
			continue
		}
		t.release(now)
		rows, age := b.o.Policy(t.ref)
		if rows > 0 && (t.rows <= 0 || rows < t.rows) {
			b.lookAgain(t, rows)
		}
		t.rows = rows
		t.enqueueAged(now, age)
		if len(t.ready) == 0 || b.rounds == roundsMax {
			continue
		}
		if r := t.pick(now, b.forgetting); len(r.parts) > 0 {
			r.ctx, r.cancel = context.WithCancel(ctx)
			r.done = make(chan struct{})
			b.started++
			r.num = b.started
			t.running = r
			b.rounds++
			rounds = append(rounds, r)
		}
	}
	return rounds
}

// lookAgain finds the partitions that are due because the policy asks for fewer rows
// than before.
func (b *Buffer) lookAgain(t *table, rows int) {
	for p := t.first; p != nil; p = p.next {
		if p.active.rows >= rows {
			t.enqueue(p)
		}
	}
}

// enqueueAged makes those due whose oldest row has reached its age, and those near it.
func (t *table) enqueueAged(now time.Time, age time.Duration) {
	if age <= 0 || t.first == nil || now.Sub(time.UnixMicro(t.first.active.oldest)) < age {
		return
	}
	slack := age / ageSlackDen * ageSlackNum
	for p := t.first; p != nil && now.Sub(time.UnixMicro(p.active.oldest)) >= slack; p = p.next {
		t.enqueue(p)
	}
}

// pick takes partitions from t.ready for one round. While the table backs off, only
// those that somebody waits for; those that are held stay where they are.
func (t *table) pick(now time.Time, held map[partitionID]struct{}) *round {
	r := &round{table: t}
	waiting := now.Before(t.retryAt)
	var bytes int64
	rest := t.ready[:0]
	for _, p := range t.ready {
		_, isHeld := held[idOf(p.ref)]
		switch {
		case p.gone || (p.active.rows == 0 && p.sealed.num == 0):
			p.queued, p.urgent = false, false
		case now.Before(p.retryAt) && !p.urgent: // release brings it back
			p.queued = false
		case isHeld, waiting && !p.urgent, len(r.parts) >= roundPartitionsMax, bytes >= roundBytesMax:
			rest = append(rest, p)
		default:
			p.queued, p.urgent, p.flushing = false, false, true
			r.parts = append(r.parts, p)
			bytes += p.bytes()
		}
	}
	clear(t.ready[len(rest):])
	t.ready = rest
	return r
}

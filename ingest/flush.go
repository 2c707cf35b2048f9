package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"kalamdb/row"
)

// FlushStats is what a Flush moved to the lake.
type FlushStats struct {
	Partitions, Rows int
	Bytes            int64
}

// A flushWait is a Flush call: it waits until every row that was there when it began
// has left the buffer. Guarded by Buffer.mu.
type flushWait struct {
	since uint64                 // Buffer.started when it began: a round from before fails without it
	left  map[*partition]row.Seq // and the newest row it waits for
	seen  map[*partition]bool    // counted in stats.Partitions
	stats FlushStats
	err   error
	done  chan struct{} // closed when left is empty
}

// Flush moves the rows of all partitions that match to the lake now, whatever their
// policy, and waits; streams stay. An error means that some are still buffered; they are tried again
// as usual.
func (b *Buffer) Flush(ctx context.Context, match func(row.Partition) bool) (FlushStats, error) {
	if b.o.Sink == nil {
		return FlushStats{}, errors.New("flush: the buffer has no lake")
	}
	w := &flushWait{left: map[*partition]row.Seq{}, seen: map[*partition]bool{}, done: make(chan struct{})}
	b.each(func(p *partition) {
		if p.stream != nil || p.active.rows+p.sealed.rows == 0 || !match(p.ref) {
			return
		}
		w.left[p] = p.last
	})
	b.mu.Lock()
	if b.stopped {
		b.mu.Unlock()
		return FlushStats{}, ErrClosed
	}
	w.since = b.started
	b.waits[w] = struct{}{}
	for p := range w.left {
		if p.gone || p.active.rows+p.sealed.rows == 0 { // flushed since we looked
			delete(w.left, p)
			continue
		}
		p.waiters++
		if p.urgent = true; !p.flushing {
			p.table.enqueue(p)
		}
	}
	if len(w.left) == 0 {
		b.endWait(w, nil)
	}
	b.mu.Unlock()
	b.wakeUp()
	select {
	case <-w.done:
	case <-ctx.Done():
		b.mu.Lock()
		b.endWait(w, ctx.Err())
		b.mu.Unlock()
	}
	if w.err != nil {
		return w.stats, w.err
	}
	// What another flush has just trimmed is gone from the state but perhaps still
	// visible: nobody may read it in the buffer after us.
	return w.stats, b.control(ctx, func(*group) {})
}

// countFlushed tells the waiting Flush calls that a generation of p is in the lake and
// has left the buffer. The caller holds b.mu.
func (b *Buffer) countFlushed(p *partition, g *generation) {
	for w := range b.waits {
		target, waits := w.left[p]
		if !waits {
			continue
		}
		w.stats.Rows += g.rows
		w.stats.Bytes += g.bytes
		if !w.seen[p] {
			w.seen[p] = true
			w.stats.Partitions++
		}
		if g.last >= target {
			b.leaveWait(w, p)
		}
	}
}

// leaveWait takes p out of w, which ends with its last partition.
func (b *Buffer) leaveWait(w *flushWait, p *partition) {
	delete(w.left, p)
	p.waiters--
	if len(w.left) == 0 {
		b.endWait(w, nil)
	}
}

// failWaits ends the waiting for the partitions of a round that failed.
func (b *Buffer) failWaits(r *round, err error) {
	for w := range b.waits {
		if r.num > w.since && slices.ContainsFunc(r.parts, func(p *partition) bool { _, waits := w.left[p]; return waits }) {
			b.endWait(w, err)
		}
	}
}

// endWait ends w, which may have ended before. The caller holds b.mu.
func (b *Buffer) endWait(w *flushWait, err error) {
	if _, open := b.waits[w]; !open {
		return
	}
	delete(b.waits, w)
	for p := range w.left {
		p.waiters--
	}
	w.err = err
	close(w.done)
}

// DropTable drops all rows, changes and records of a table, durably, and refuses
// commits to it from now on. When it returns no flush of the table is running.
// Dropping an unknown table is no error.
func (b *Buffer) DropTable(ctx context.Context, id uint64) error {
	logged, err := b.loggedBy(ctx, id)
	if err != nil {
		return fmt.Errorf("drop table: %w", err)
	}
	var running *round
	err = b.control(ctx, func(g *group) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.dropped[id] = struct{}{}
		t := b.tables[id]
		if t != nil {
			running = t.running
		}
		delete(b.tables, id)
		for key, p := range b.parts {
			if key.table != id {
				continue
			}
			b.rows.Add(-int64(p.active.rows + p.sealed.rows))
			b.bytes.Add(-p.bytes())
			p.gone = true
			if p.stream != nil {
				delete(b.streams, p)
				logged = nil // its changes never counted
			}
			delete(b.parts, key)
			for w := range b.waits {
				if _, waits := w.left[p]; waits {
					b.leaveWait(w, p)
				}
			}
		}
		if t == nil {
			return // nothing of it was ever written
		}
		for _, first := range []string{"d", "c", "s", "mp", "mb"} {
			from, to := tableRange(first, id)
			must(g.batch.DeleteRange(from, to, nil))
		}
		must(g.batch.Delete(tableKey(id), nil))
		b.unlog(g.batch, logged)
	})
	if err != nil {
		return err
	}
	b.countRangeDeletes(5)
	if running == nil {
		return nil
	}
	running.cancel()
	select {
	case <-running.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

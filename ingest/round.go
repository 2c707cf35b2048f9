package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"kalamdb/row"
)

// A round flushes some partitions of one table. Its steps are those of a generation's
// life: seal all, one call of Sink.Flush, trim all.
type round struct {
	num    uint64 // rounds are numbered as they start
	table  *table
	parts  []*partition
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // closed when it is over
}

func (b *Buffer) flush(r *round) {
	defer close(r.done)
	defer r.cancel()
	started := time.Now()
	info := FlushInfo{Table: r.table.ref}
	var through map[*partition]uint32
	err := b.seal(r.parts)
	if err == nil {
		through, err = b.store(r, &info)
	}
	if err == nil {
		err = b.trim(through)
	}
	b.Fence(err)
	info.Took, info.Err = time.Since(started), err
	if b.endRound(r, err); info.Partitions > 0 && b.o.Events.Flushed != nil {
		b.o.Events.Flushed(info)
	}
}

// seal makes the active generation of every partition the sealed one, unless one is
// sealed already, which then goes first. When it returns, the seal is durable, and so
// is every row before it.
func (b *Buffer) seal(parts []*partition) error {
	for len(parts) > 0 {
		n := min(len(parts), controlPartitionsMax)
		chunk := parts[:n]
		parts = parts[n:]
		err := b.control(context.Background(), func(*group) {
			b.mu.Lock()
			defer b.mu.Unlock()
			for _, p := range chunk {
				if p.gone || p.sealed.num != 0 || p.active.rows == 0 {
					continue
				}
				p.table.remove(p)
				p.sealed = p.active
				p.active = generation{num: b.nextGeneration(p)}
				p.sealedMax, p.activeMax = p.activeMax, maxKey{known: true}
				b.touch(p)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// store hands the sealed generations to the Sink and returns which of them it has.
func (b *Buffer) store(r *round, info *FlushInfo) (map[*partition]uint32, error) {
	stored := make(map[*partition]uint32, len(r.parts))
	var segs []row.Segment
	b.mu.Lock()
	for _, p := range r.parts {
		if !p.gone && p.sealed.num != 0 {
			stored[p] = p.sealed.num
			segs = append(segs, b.segment(p))
			info.Rows += p.sealed.rows
			info.Bytes += p.sealed.bytes
		}
	}
	b.mu.Unlock()
	fresh := segs[:0]
	for _, seg := range segs {
		if seg.Last > b.o.Sink.Through(seg.Partition) { // else an earlier try got through after all
			fresh = append(fresh, seg)
		}
	}
	info.Partitions = len(stored)
	if info.Partitions > 0 && b.o.Events.FlushStarted != nil {
		b.o.Events.FlushStarted(*info)
	}
	if len(fresh) == 0 {
		return stored, nil
	}
	if err := b.o.Sink.Flush(r.ctx, r.table.ref, fresh); err != nil { // the commit point is in there
		return nil, fmt.Errorf("flush %s: %w", r.table.ref, err)
	}
	return stored, nil
}

// segment describes the sealed generation of p. The caller holds b.mu.
func (b *Buffer) segment(p *partition) row.Segment {
	ref, prefix, g := p.ref, p.prefix, p.sealed
	invariant(g.rows > 0 && g.first <= g.last, "a sealed generation without rows")
	return row.Segment{
		Partition: ref, First: g.first, Last: g.last, Rows: g.rows, Bytes: g.bytes,
		Scan: func(yield func(key []byte, r *row.Row) error) (err error) {
			var c cursor
			defer func() { err = errors.Join(err, c.close()) }()
			if err := c.open(b.db, prefix, &g, nil, nil); err != nil {
				return err
			}
			var r row.Row
			for ; c.ok; c.next() {
				if err := c.row(&r); errors.Is(err, ErrCorrupt) {
					return &row.PartitionError{Partition: ref, Err: err}
				} else if err != nil {
					return fmt.Errorf("read %s: %w", ref, err)
				}
				if err := yield(c.key(), &r); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// trim drops the generations that the Sink has. Each partition goes in one batch.
func (b *Buffer) trim(stored map[*partition]uint32) error {
	type done struct {
		p   *partition
		num uint32
		was generation // num 0: it was not there any more
	}
	var chunk []done
	deletes := b.db.NewBatch()
	ranges := int64(0)
	commit := func() error {
		if len(chunk) == 0 {
			return nil
		}
		err := b.control(context.Background(), func(g *group) {
			must(g.batch.Apply(deletes, nil))
			b.mu.Lock()
			defer b.mu.Unlock()
			for i := range chunk {
				if d := &chunk[i]; !d.p.gone && d.p.sealed.num == d.num {
					d.was = d.p.sealed
					b.trimmed(g, d.p)
				}
			}
		})
		b.mu.Lock()
		for _, d := range chunk {
			if d.was.num != 0 {
				b.countFlushed(d.p, &d.was)
			}
		}
		b.mu.Unlock()
		chunk = chunk[:0]
		deletes.Reset()
		b.countRangeDeletes(ranges)
		ranges = 0
		return err
	}
	defer func() { must(deletes.Close()) }()
	for p, num := range stored {
		isRange, err := b.deleteGeneration(deletes, p.prefix, num)
		if err != nil {
			return err
		}
		if isRange {
			ranges++
		}
		chunk = append(chunk, done{p: p, num: num})
		if len(chunk) >= controlPartitionsMax || deletes.Count() >= controlDeletesMax {
			if err := commit(); err != nil {
				return err
			}
		}
	}
	return commit()
}

// trimmed takes the sealed generation of p out of the state. The caller holds b.mu.
func (b *Buffer) trimmed(g *group, p *partition) {
	b.rows.Add(-int64(p.sealed.rows))
	b.bytes.Add(-p.sealed.bytes)
	p.sealed = generation{}
	p.sealedMax = maxKey{known: true}
	b.epochs++
	p.epoch = b.epochs
	b.touch(p)
	b.forget(g.batch, p)
}

// deleteGeneration adds the deletes of a generation's rows: one each for a small one,
// one for the whole range of a large one.
func (b *Buffer) deleteGeneration(deletes *pebble.Batch, prefix []byte, num uint32) (isRange bool, err error) {
	from := appendGeneration(nil, prefix, num)
	it, err := b.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: after(from)})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	var keys [][]byte
	ok := it.First()
	for ; ok && len(keys) < pointDeletesMax; ok = it.Next() {
		keys = append(keys, append([]byte(nil), it.Key()...))
	}
	if err := it.Error(); err != nil {
		return false, err
	}
	if ok {
		return true, deletes.DeleteRange(from, after(from), nil)
	}
	for _, k := range keys {
		if err := deletes.Delete(k, nil); err != nil {
			return false, err
		}
	}
	return false, nil
}

// endRound puts the partitions back and decides when the table may try again.
func (b *Buffer) endRound(r *round, err error) {
	rows, _ := b.o.Policy(r.table.ref)
	b.mu.Lock()
	t := r.table
	t.running = nil
	b.rounds--
	poisoned := r.poisoned(err)
	switch {
	case err == nil:
		t.failed, t.retryAt = 0, time.Time{}
	case poisoned != nil:
		b.flushFailures.Add(1)
		b.quarantine(poisoned, err)
	default:
		b.flushFailures.Add(1)
		wait := min(retryMin<<min(t.failed, 20), retryMax)
		t.failed++
		t.retryAt = time.Now().Add(wait)
		b.failWaits(r, err)
		if r.ctx.Err() == nil {
			b.log.Error("cannot flush, rows stay buffered", "table", t.ref.String(), "partitions", len(r.parts), "retry_in", wait, "error", err)
		}
	}
	for _, p := range r.parts {
		p.flushing = false
		if err == nil {
			p.retryAt = time.Time{}
		}
		if p.gone || p == poisoned {
			continue
		}
		p.urgent = p.waiters > 0
		if p.urgent || p.sealed.num != 0 || b.full(p, rows) {
			t.enqueue(p)
		}
	}
	b.mu.Unlock()
	b.wakeUp()
}

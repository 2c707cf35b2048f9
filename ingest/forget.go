package ingest

import (
	"context"
	"fmt"

	"kalamdb/row"
)

// Forgotten is what Forget has dropped.
type Forgotten struct {
	Rows    int // that were buffered
	Changes int // of the change log
	Bytes   int64
}

// privateRanges are the bounds of the keys under which rows and changes of a partition are:
// first the rows, then the changes, then those of stagings and what leads to them.
func privateRanges(ref row.Partition) (ranges [4][2][]byte) {
	prefix := partitionPrefix(ref)
	for i, first := range [...][]byte{{prefixRow}, {prefixChange}, {prefixStaged}, {prefixMeta, metaBulk}} {
		from := append(first, prefix...)
		ranges[i] = [2][]byte{from, after(from)}
	}
	return ranges
}

// Forget drops the rows and the changes of a partition from the buffer, durably and at one
// moment, after files has removed what the lake has of it: no flush of the partition begins
// or is under way meanwhile, so at that moment there is no row of it anywhere. Nobody can
// resume from before, and a commit that follows from what its caller saw before, here or in
// files, gets ErrConflict. It waits for a [Staging] that is open and keeps others from
// beginning: the rows of one are in the partition before anything leads to them.
func (b *Buffer) Forget(ctx context.Context, ref row.Partition, files func() error) (f Forgotten, err error) {
	select {
	case b.staging <- struct{}{}:
		defer func() { <-b.staging }()
	case <-ctx.Done():
		return f, ctx.Err()
	}
	b.mu.Lock()
	b.forgetting[idOf(ref)] = struct{}{}
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.forgetting, idOf(ref))
		b.mu.Unlock()
		b.wakeUp()
	}()
	if err = b.awaitRound(ctx, ref); err == nil {
		err = files()
	}
	if err == nil {
		f, err = b.forgetBuffered(ctx, ref)
	}
	if err != nil {
		return f, fmt.Errorf("forget %s: %w", ref, err)
	}
	return f, nil
}

// awaitRound waits until no round has the partition.
func (b *Buffer) awaitRound(ctx context.Context, ref row.Partition) error {
	for {
		var running *round
		b.mu.Lock()
		if p := b.parts[idOf(ref)]; p != nil && p.flushing {
			running = p.table.running
		}
		b.mu.Unlock()
		if running == nil {
			return nil
		}
		select {
		case <-running.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// forgetBuffered drops what the buffer has of a partition that is held.
func (b *Buffer) forgetBuffered(ctx context.Context, ref row.Partition) (f Forgotten, err error) {
	ranges := privateRanges(ref)
	logged, n, err := b.loggedIn(ctx, ranges[1][0], ranges[1][1])
	if err != nil {
		return f, err
	}
	bulks, err := readBulks(b.db, partitionPrefix(ref))
	if err != nil {
		return f, err
	}
	for i := range bulks {
		n += bulks[i].rows
		addLogged(logged, bulks[i].last(), bulks[i].bytes)
	}
	err = b.control(ctx, func(g *group) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.epochs++
		b.node.last++ // a cursor may be the last of before: the first of after is another one
		p := b.parts[idOf(ref)]
		if p == nil {
			b.floors.epoch, b.floors.trimmed = b.epochs, b.node.last
			must(g.batch.Set(keyFloors, b.floors.append(nil), nil))
			return
		}
		f = Forgotten{Rows: p.active.rows + p.sealed.rows, Changes: n, Bytes: p.bytes()}
		for _, c := range logged {
			f.Bytes += c.bytes
		}
		b.rows.Add(-int64(f.Rows))
		b.bytes.Add(-p.bytes())
		if p.active.rows > 0 {
			p.table.remove(p)
		}
		for w := range b.waits {
			if _, waits := w.left[p]; waits {
				b.leaveWait(w, p)
			}
		}
		p.active, p.sealed = generation{num: b.nextGeneration(p)}, generation{}
		p.activeMax, p.sealedMax = maxKey{known: true}, maxKey{known: true}
		p.logFirst, p.logTrimmed, p.epoch, p.draining = 0, b.node.last, b.epochs, true
		for _, r := range ranges {
			must(g.batch.DeleteRange(r[0], r[1], nil))
		}
		b.unlog(g.batch, logged)
		b.touch(p)
	})
	if err != nil {
		return f, err
	}
	b.countRangeDeletes(int64(len(ranges)))
	// Whoever read the epoch before the batch above was in Pebble may have seen the rows.
	return f, b.control(context.WithoutCancel(ctx), func(*group) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if p := b.parts[idOf(ref)]; p != nil && p.draining {
			b.epochs++
			p.epoch, p.draining = b.epochs, false
			b.touch(p)
		}
	})
}

// Erase takes the bytes of what Forget has dropped from the disk, but for those in the
// write-ahead log, which later writes use up.
func (b *Buffer) Erase(ctx context.Context, ref row.Partition) error {
	for _, r := range privateRanges(ref) {
		if err := b.db.Compact(ctx, r[0], r[1], false); err != nil {
			return fmt.Errorf("erase %s: %w", ref, err)
		}
	}
	return nil
}

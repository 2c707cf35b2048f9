package ingest

import (
	"context"
	"errors"
	"sort"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"kalamdb/row"
)

const (
	// pointDeletesMax is how many keys are deleted one by one; more become one range
	// delete, which is cheap to write but slows reads while it is in the memtable.
	pointDeletesMax = 256
	// rangeDeletesMax is after how many range deletes the memtable is flushed.
	rangeDeletesMax = 500

	// A control of the flusher or the trimmer covers at most so many partitions or
	// deletes, so that no commit waits for it longer than a millisecond or two.
	controlPartitionsMax = 256
	controlDeletesMax    = 2048

	// marksPerLog is into how many parts the change log is cut for trimming by size.
	marksPerLog = 64

	houseEvery = time.Second
)

// markEvery is the time between two marks: about a hundredth of the log's age.
func (b *Buffer) markEvery() time.Duration {
	return min(max(b.o.ChangeLogAge/96, time.Second), 15*time.Minute)
}

// keepHouse looks after the disk and the change log until ctx is done.
func (b *Buffer) keepHouse(ctx context.Context) {
	tick := time.NewTicker(houseEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		b.checkDisk()
		if err := b.trimLog(ctx); err != nil && !errors.Is(err, ErrClosed) {
			b.log.Error("cannot trim the change log", "error", err)
		}
	}
}

// trimLog drops the changes that are too old or too many.
func (b *Buffer) trimLog(ctx context.Context) error {
	now := time.Now().UnixMicro()
	b.mu.Lock()
	newest := b.marks[len(b.marks)-1]
	overdue := b.node.last > newest.seq && now-newest.time >= b.markEvery().Microseconds()
	b.mu.Unlock()
	if overdue { // nobody has written since: an empty group makes the mark
		if err := b.control(context.Background(), func(*group) {}); err != nil {
			return err
		}
	}
	n, through := b.trimTarget(now)
	if n == 0 {
		return nil
	}
	var parts []*partition
	b.each(func(p *partition) {
		if p.stream == nil && p.logFirst != 0 && p.logFirst <= through {
			parts = append(parts, p)
		}
	})
	for len(parts) > 0 && ctx.Err() == nil {
		var err error
		if parts, err = b.trimSome(parts, through); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return b.control(context.Background(), func(g *group) {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, m := range b.marks[:n] {
			must(g.batch.Delete(markKey(m.seq), nil))
		}
		b.marks = append([]mark(nil), b.marks[n:]...)
	})
}

// trimTarget is the mark up to which the log has to go: its index, and its Seq.
func (b *Buffer) trimTarget(now int64) (int, row.Seq) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for i, m := range b.marks[1:] {
		old := now-m.time >= b.o.ChangeLogAge.Microseconds()
		if tooMany := b.node.logBytes-b.marks[i].logBytes > b.o.ChangeLogBytesMax; old || tooMany {
			n = i + 1
		}
	}
	return n, b.marks[n].seq
}

// A logTrim is what trimming did to one partition.
type logTrim struct {
	p       *partition
	trimmed row.Seq // the last change that goes
	first   row.Seq // the first that stays, 0 if there was none
}

// trimSome trims the first partitions and returns the rest.
func (b *Buffer) trimSome(parts []*partition, through row.Seq) ([]*partition, error) {
	deletes := b.db.NewBatch()
	defer deletes.Close()
	var trims []logTrim
	for len(parts) > 0 && len(trims) < controlPartitionsMax && deletes.Count() < controlDeletesMax {
		t, err := b.trimPartition(deletes, parts[0], through)
		if err != nil {
			return nil, err
		}
		trims, parts = append(trims, t), parts[1:]
	}
	return parts, b.control(context.Background(), func(g *group) {
		must(g.batch.Apply(deletes, nil))
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, t := range trims {
			p := t.p
			if p.gone {
				continue
			}
			p.logTrimmed = max(p.logTrimmed, t.trimmed)
			switch p.logFirst = t.first; {
			case t.first == 0 && p.last > through:
				p.logFirst = through + 1 // it came after the scan
			}
			b.touch(p)
			b.forget(g.batch, p)
		}
	})
}

// trimPartition adds the deletes of the changes of p up to through.
func (b *Buffer) trimPartition(deletes *pebble.Batch, p *partition, through row.Seq) (t logTrim, err error) {
	t.p = p
	from, end := appendChangeKey(nil, p.prefix, 0), appendChangeKey(nil, p.prefix, row.SeqMax)
	it, err := b.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: end})
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	var keys [][]byte
	ok := it.First()
	for ; ok && changeSeq(it.Key()) <= through && len(keys) <= pointDeletesMax; ok = it.Next() {
		keys = append(keys, append([]byte(nil), it.Key()...))
	}
	if len(keys) > pointDeletesMax {
		to := appendChangeKey(nil, p.prefix, through+1)
		if it.SeekLT(to) {
			t.trimmed = changeSeq(it.Key())
		}
		if err := deletes.DeleteRange(from, to, nil); err != nil {
			return t, err
		}
		b.countRangeDeletes(1)
		ok = it.SeekGE(to)
	} else {
		for _, k := range keys {
			t.trimmed = changeSeq(k)
			if err := deletes.Delete(k, nil); err != nil {
				return t, err
			}
		}
	}
	if ok {
		t.first = changeSeq(it.Key())
	}
	if err := it.Error(); err != nil {
		return t, err
	}
	return t, b.trimBulks(deletes, p, through, &t)
}

// trimBulks does the same with the bulks in the log of p.
func (b *Buffer) trimBulks(deletes *pebble.Batch, p *partition, through row.Seq, t *logTrim) error {
	bulks, err := readBulks(b.db, p.prefix)
	if err != nil {
		return err
	}
	for i := range bulks {
		k := &bulks[i]
		if k.last() > through {
			if t.first == 0 || k.first < t.first {
				t.first = k.first
			}
			return nil
		}
		t.trimmed = max(t.trimmed, k.last())
		b.countRangeDeletes(1)
		if err := k.drop(deletes, p.prefix); err != nil {
			return err
		}
	}
	return nil
}

// logBytes are bytes of the change log with no change after seq.
type logBytes struct {
	seq   row.Seq
	bytes int64
}

// loggedBy is what the changes of a table take in the log, cut at the marks.
func (b *Buffer) loggedBy(ctx context.Context, id uint64) ([]logBytes, error) {
	from, to := tableRange(string(rune(prefixChange)), id)
	cuts, _, err := b.loggedIn(ctx, from, to)
	return cuts, err
}

// loggedIn is what the changes between two keys take in the log, cut at the marks, and
// how many they are.
func (b *Buffer) loggedIn(ctx context.Context, from, to []byte) (cuts []logBytes, n int, err error) {
	b.mu.Lock()
	cuts = make([]logBytes, len(b.marks), len(b.marks)+1)
	for i, m := range b.marks {
		cuts[i].seq = m.seq
	}
	b.mu.Unlock()
	cuts = append(cuts, logBytes{}) // of the changes after the newest mark
	it, err := b.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return nil, 0, err
	}
	for ok := it.First(); ok && ctx.Err() == nil; ok = it.Next() {
		addLogged(cuts, changeSeq(it.Key()), int64(len(it.Key())+len(it.Value())))
		n++
	}
	return cuts, n, errors.Join(ctx.Err(), it.Close())
}

// addLogged counts bytes of the change with the given Seq. The last of the cuts is for
// those after the newest mark.
func addLogged(cuts []logBytes, seq row.Seq, bytes int64) {
	top := len(cuts) - 1
	i := sort.Search(top, func(i int) bool { return cuts[i].seq >= seq })
	cuts[i].bytes += bytes
	if i == top {
		cuts[top].seq = max(cuts[top].seq, seq)
	}
}

// unlog takes bytes that are dropped at once out of the sizes that the log had at each
// mark and has now, so that the log of others is not trimmed for them. The caller holds b.mu.
func (b *Buffer) unlog(batch *pebble.Batch, cuts []logBytes) {
	for _, c := range cuts {
		if c.bytes == 0 {
			continue
		}
		b.node.logBytes -= c.bytes
		for i := range b.marks {
			if b.marks[i].seq >= c.seq {
				b.marks[i].logBytes -= c.bytes
			}
		}
	}
	for _, m := range b.marks {
		must(batch.Set(markKey(m.seq), m.append(nil), nil))
	}
}

// forget drops the record of a partition that has neither rows nor changes, and keeps
// in the floors what its readers and writers may still rely on; that of a stream would
// make them useless for others. The caller holds b.mu or is alone.
func (b *Buffer) forget(batch *pebble.Batch, p *partition) {
	if p.gone || p.stream != nil || p.active.rows != 0 || p.sealed.num != 0 || p.logFirst != 0 {
		return
	}
	p.gone = true
	delete(b.parts, idOf(p.ref))
	b.floors.epoch = max(b.floors.epoch, p.epoch)
	b.floors.trimmed = max(b.floors.trimmed, p.logTrimmed)
	must(batch.Delete(appendPartitionKey(nil, p.prefix), nil))
	must(batch.Set(keyFloors, b.floors.append(nil), nil))
}

// countRangeDeletes flushes the memtable now and then, so that reads stay fast.
func (b *Buffer) countRangeDeletes(n int64) {
	if n == 0 || b.rangeDeletes.Add(n) < rangeDeletesMax {
		return
	}
	b.rangeDeletes.Store(0)
	if _, err := b.db.AsyncFlush(); err != nil {
		b.log.Warn("cannot flush the memtable", "error", err)
	}
}

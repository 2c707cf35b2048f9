package ingest

import (
	"bytes"
	"context"
	"time"

	"kalamdb/row"
)

// A partition is the state of one row.Partition in memory: its record and what the
// flusher knows. Only the sequencer changes the record, under Buffer.mu; the
// sequencer itself reads it without.
type partition struct {
	record
	ref    row.Partition
	prefix []byte
	table  *table
	stream *stream // nil: its rows are flushed

	// The largest key of each generation, so that an insert of a larger one, which is
	// what generated keys are, needs no lookup. Sequencer only. After a start it is not
	// known until somebody asks.
	activeMax, sealedMax maxKey

	dirty    bool // its record has to be written with the current batch; sequencer only
	draining bool // rows are being forgotten, and readers may still see them: no epoch is right; sequencer only
	gone     bool // its table was dropped or it was forgotten: nothing in memory leads to it

	// Guarded by Buffer.mu.
	prev, next *partition // in table.waiting
	queued     bool       // in table.ready
	urgent     bool       // somebody waits for it: no back-off
	flushing   bool       // in a running round
	waiters    int        // Flush calls that wait for it
	retryAt    time.Time  // in quarantine until then
}

// A maxKey is an upper bound of the keys of a generation.
type maxKey struct {
	known bool
	key   []byte
}

func (m *maxKey) below(key []byte) bool { return bytes.Compare(m.key, key) < 0 }

func (m *maxKey) raise(key []byte) {
	if m.below(key) {
		m.key = append(m.key[:0], key...)
	}
}

// bytes is what the partition occupies in the buffer.
func (p *partition) bytes() int64 { return p.active.bytes + p.sealed.bytes }

// A table holds the flush state of the partitions of one table. Guarded by Buffer.mu.
type table struct {
	ref row.TableRef

	// waiting are the partitions whose active generation has rows, linked in the order
	// of the first of them. Commit times never go back, so a new one belongs at the
	// end, and the first is always the oldest: a deadline is a look at the front, with
	// whatever age the policy asks for at that moment.
	first, last *partition

	ready []*partition // due, whatever their age, or sealed before and not flushed yet

	aside []*partition // in quarantine

	rows    int // the policy when the table was last looked at: fewer rows make more due
	running *round
	failed  int // rounds in a row
	retryAt time.Time
}

func (t *table) push(p *partition) {
	p.prev = t.last
	if t.last == nil {
		t.first = p
	} else {
		t.last.next = p
	}
	t.last = p
}

func (t *table) remove(p *partition) {
	if p.prev == nil {
		t.first = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next == nil {
		t.last = p.prev
	} else {
		p.next.prev = p.prev
	}
	p.prev, p.next = nil, nil
}

// enqueue makes p due. A partition in a round comes back by itself when that ends.
func (t *table) enqueue(p *partition) {
	if !p.queued {
		p.queued = true
		t.ready = append(t.ready, p)
	}
}

// A partitionID is the key of a partition in memory; the names do not matter.
type partitionID struct {
	table uint64
	user  row.UserID
}

func idOf(p row.Partition) partitionID { return partitionID{p.Table.ID, p.User} }

// eachChunk is how many partitions are visited in one hold of Buffer.mu.
const eachChunk = 1000

// each calls f for every partition under b.mu, which it lets go now and then so that
// a hundred thousand partitions do not stop the writers. A partition that comes or
// goes meanwhile may be missed.
func (b *Buffer) each(f func(p *partition)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, p := range b.parts {
		f(p)
		if n++; n%eachChunk == 0 {
			b.mu.Unlock()
			b.mu.Lock()
		}
	}
}

// A PartitionInfo describes what one partition has in the buffer.
type PartitionInfo struct {
	Partition row.Partition
	Rows      int
	Bytes     int64
	Oldest    time.Time // when the oldest buffered row was committed; zero if there is none
	Sealed    bool      // some of the rows are on their way to the lake
	Seq       row.Seq   // the newest change

	Quarantined bool // the rows cannot be written to files as they are
}

// Partitions are the partitions with rows in the buffer, in no order.
func (b *Buffer) Partitions() []PartitionInfo {
	var infos []PartitionInfo
	b.each(func(p *partition) {
		rows := p.active.rows + p.sealed.rows
		if rows == 0 {
			return
		}
		info := PartitionInfo{Partition: p.ref, Rows: rows, Bytes: p.bytes(), Sealed: p.sealed.num != 0, Seq: p.last, Quarantined: !p.retryAt.IsZero()}
		oldest := p.active.oldest
		if p.sealed.num != 0 {
			oldest = p.sealed.oldest
		}
		info.Oldest = time.UnixMicro(oldest)
		infos = append(infos, info)
	})
	return infos
}

// Stats are numbers about the whole buffer.
type Stats struct {
	Partitions     int   // that the buffer knows
	Rows           int   // buffered
	Bytes          int64 // of them
	BytesMax       int64
	ChangeLogBytes int64   // about what the change log holds
	Durable        row.Seq // the durable watermark
	Commits        uint64  // since the start
	FlushFailures  uint64  // since the start
	DiskLow        bool    // writes are refused until the disk has room
}

// Stats returns the numbers of this moment.
func (b *Buffer) Stats() Stats {
	s := Stats{
		Bytes: b.bytes.Load(), Rows: int(b.rows.Load()), BytesMax: b.o.BufferBytesMax, Durable: b.Durable(),
		Commits: b.commits.Load(), FlushFailures: b.flushFailures.Load(), DiskLow: b.diskLow.Load(),
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s.Partitions = len(b.parts)
	s.ChangeLogBytes = b.node.logBytes - b.marks[0].logBytes
	return s
}

// Durable is the durable watermark: every commit up to it survives a crash.
func (b *Buffer) Durable() row.Seq { return row.Seq(b.durable.Load()) }

// waitDurable returns when the watermark has reached seq.
func (b *Buffer) waitDurable(ctx context.Context, seq row.Seq) error {
	if b.Durable() >= seq {
		return nil
	}
	b.durableWaiters.Add(1) // before the next look at durable: see advance
	defer b.durableWaiters.Add(-1)
	for {
		b.durableMu.Lock()
		moved := b.durableMoved
		b.durableMu.Unlock()
		if b.Durable() >= seq {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// advance moves the watermark and wakes who waits for it.
func (b *Buffer) advance(seq row.Seq) {
	b.durable.Store(uint64(seq))
	if b.durableWaiters.Load() == 0 {
		return
	}
	b.durableMu.Lock()
	close(b.durableMoved)
	b.durableMoved = make(chan struct{})
	b.durableMu.Unlock()
}

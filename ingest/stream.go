package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"kalamdb/row"
)

// A stream is a partition whose rows are events: they are inserted, never changed,
// never flushed, and go when they are too old or too many. Until then they are rows
// and changes like others, but the changes are part of the stream and not of the change
// log: both go together, so what a client can replay is what a query can see.
//
// What is over is invisible at once, since a Snapshot leaves it out and a commit may use
// its key again, and is removed within a second by the sweeper. It removes from the
// oldest change on, so the changes that are there always name every row that is there.

const (
	// streamBytesMax bounds what one stream occupies, whatever its events weigh; and
	// streamPart says that it is never more than this part of the buffer.
	streamBytesMax = 64 << 20
	streamPart     = 8

	// sweepEvery is how long at most an event stays after its end.
	sweepEvery = 200 * time.Millisecond
)

// A StreamPolicy says when an event of a table is over: when it is older than
// Retention, or when RowsMax newer ones have come.
type StreamPolicy struct {
	Retention time.Duration
	RowsMax   int
	Ephemeral bool // events are never on disk, and in memory only while somebody listens
}

// A stream is what a partition has in addition if it is one.
type stream struct {
	StreamPolicy
	memory *memory // of an ephemeral one

	// replaced counts the events that were over and whose key another one took before
	// they were removed. The sequencer counts them under Buffer.mu once Pebble shows the
	// other ones: who read the number before and finds it unchanged in the sequencer has
	// seen rows that are still there.
	replaced uint64
}

// streamOf is the stream of a table's partition, nil if rows of the table are flushed.
func (b *Buffer) streamOf(t row.TableRef) *stream {
	if b.o.Stream == nil {
		return nil
	}
	policy, ok := b.o.Stream(t)
	if !ok {
		return nil
	}
	s := &stream{StreamPolicy: policy}
	if policy.Ephemeral {
		s.memory = newMemory(b.opened)
	}
	return s
}

// overAt is the commit time up to which events are too old at the given moment.
func (p *StreamPolicy) overAt(now int64) int64 { return now - p.Retention.Microseconds() }

// eventOver says whether v is an event that no View shows any more, so that its key is free.
// It runs in the sequencer.
func (b *Buffer) eventOver(p *partition, v version) (over bool, err error) {
	if p.stream == nil || !v.found || v.seq > b.node.last {
		return false, nil
	}
	if v.updated <= p.stream.overAt(b.seq.now) {
		return true, nil
	}
	if p.stream.memory != nil || p.active.rows <= p.stream.RowsMax {
		return false, nil
	}
	newer := 0
	for i := range b.seq.pending.entries { // of the current group: not in db yet
		if e := &b.seq.pending.entries[i]; e.p == p && e.v.seq > v.seq && e.v.seq <= b.node.last {
			newer++
		}
	}
	it, err := b.db.NewIter(&pebble.IterOptions{
		LowerBound: appendChangeKey(nil, p.prefix, v.seq+1), UpperBound: appendChangeKey(nil, p.prefix, row.SeqMax),
	})
	if err != nil {
		return false, fmt.Errorf("read %s: %w", p.ref, err)
	}
	for ok := it.First(); ok && newer < p.stream.RowsMax; ok = it.Next() {
		newer++
	}
	return newer >= p.stream.RowsMax, it.Close()
}

// countReplaced counts the replaced events of the group that was just applied.
func (b *Buffer) countReplaced() {
	s := &b.seq
	if len(s.replacing) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range s.replacing {
		p.stream.replaced++
	}
	clear(s.replacing)
	s.replacing = s.replacing[:0]
}

// tellOver says that the events of p up to a Seq are over.
func (b *Buffer) tellOver(p *partition, through row.Seq) {
	if through > 0 && b.o.Over != nil {
		b.o.Over(p.ref, through)
	}
}

func (b *Buffer) streamBytesMax() int64 {
	return min(streamBytesMax, b.o.BufferBytesMax/streamPart)
}

// sweep removes events that are over until ctx is done.
func (b *Buffer) sweep(ctx context.Context) {
	if b.o.Stream == nil {
		return
	}
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := b.sweepOnce(ctx, time.Now().UnixMicro()); err != nil && !errors.Is(err, ErrClosed) {
			b.log.Error("cannot remove old events", "error", err)
		}
	}
}

func (b *Buffer) sweepOnce(ctx context.Context, now int64) error {
	b.mu.Lock()
	var stored, held []*partition
	for p := range b.streams {
		if p.stream.memory != nil {
			held = append(held, p)
		} else if p.active.rows > 0 {
			stored = append(stored, p)
		}
	}
	b.mu.Unlock()
	for _, p := range held {
		b.forgetEvents(p, now)
	}
	for len(stored) > 0 && ctx.Err() == nil {
		var evictions []*eviction
		deletes := 0
		for deletes < controlDeletesMax && len(stored) > 0 {
			e, err := b.over(stored[0], now, controlDeletesMax-deletes)
			if err != nil {
				return fmt.Errorf("read %s: %w", stored[0].ref, err)
			}
			if !e.more {
				stored = stored[1:]
			}
			if len(e.changes) > 0 {
				evictions = append(evictions, e)
				deletes += len(e.changes) + len(e.rows)
			}
			if e.more {
				break
			}
		}
		if len(evictions) == 0 {
			continue
		}
		if err := b.control(context.Background(), func(g *group) { b.evict(g, evictions) }); err != nil {
			return err
		}
		for _, e := range evictions {
			b.tellOver(e.p, e.gone)
		}
	}
	return nil
}

// An eviction are the oldest events of a stream, which are over.
type eviction struct {
	p        *partition
	replaced uint64 // stream.replaced when the rows were looked up
	changes  [][]byte
	rows     [][]byte // of the changes whose row no other event has replaced
	bytes    int64    // of all of them
	through  row.Seq  // of the last change
	first    row.Seq  // and of the one behind it, with its time; 0: there was none
	oldest   int64
	more     bool    // there are more that are over
	gone     row.Seq // set by evict: through, 0 if nothing was removed
}

// over finds the oldest events of p that are over, so that it takes about max deletes
// to remove them.
func (b *Buffer) over(p *partition, now int64, max int) (_ *eviction, err error) {
	b.mu.Lock()
	e := &eviction{p: p, replaced: p.stream.replaced}
	from, rows, bytes := p.logFirst, p.active.rows, p.bytes()
	b.mu.Unlock()
	tooOld := p.stream.overAt(now)
	it, err := b.db.NewIter(&pebble.IterOptions{
		LowerBound: appendChangeKey(nil, p.prefix, from),
		UpperBound: appendChangeKey(nil, p.prefix, row.SeqMax),
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		c, _, err := decodeChange(it.Value())
		if err != nil {
			return nil, err
		}
		left := rows - len(e.rows)
		if c.New.Updated > tooOld && left <= p.stream.RowsMax && bytes-e.bytes <= b.streamBytesMax() {
			e.first, e.oldest = c.New.Seq, c.New.Updated
			break
		}
		if len(e.changes)+len(e.rows) >= max {
			e.first, e.oldest, e.more = c.New.Seq, c.New.Updated, true
			break
		}
		key := append(appendGeneration(nil, p.prefix, p.active.num), c.Key...)
		size, err := b.sizeOf(key, c.New.Seq)
		if err != nil {
			return nil, err
		}
		if size > 0 {
			e.rows = append(e.rows, key)
		}
		e.changes = append(e.changes, append([]byte(nil), it.Key()...))
		e.bytes += size + int64(len(it.Key())+len(it.Value()))
		e.through = c.New.Seq
	}
	return e, nil
}

// sizeOf is the size of a row with its key, 0 if it is not the one of that Seq.
func (b *Buffer) sizeOf(key []byte, seq row.Seq) (int64, error) {
	value, closer, err := b.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	size := int64(len(key) + len(value))
	found, _, _, err := row.DecodeRowHead(value)
	if found != seq {
		size = 0
	}
	return size, errors.Join(err, closer.Close())
}

// evict removes what over found. It runs in the sequencer.
func (b *Buffer) evict(g *group, evictions []*eviction) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range evictions {
		p := e.p
		if p.gone || p.stream.replaced != e.replaced {
			continue // the next sweep looks again
		}
		for _, key := range e.rows {
			must(g.batch.Delete(key, nil))
		}
		for _, key := range e.changes {
			must(g.batch.Delete(key, nil))
		}
		p.active.rows -= len(e.rows)
		p.active.bytes -= e.bytes
		b.rows.Add(-int64(len(e.rows)))
		b.bytes.Add(-e.bytes)
		p.logTrimmed, e.gone = e.through, e.through
		switch {
		case e.first != 0:
			p.logFirst, p.active.first, p.active.oldest = e.first, e.first, e.oldest
		case p.last > e.through: // an event came after the look
			p.logFirst = e.through + 1
		default:
			p.logFirst = 0
		}
		b.touch(p)
	}
}

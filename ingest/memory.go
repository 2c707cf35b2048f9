package ingest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sort"
	"sync"

	"kalamdb/row"
)

// A memory holds the newest events of an ephemeral stream: every change after gone, and
// none up to it. Guarded by Buffer.mu; the sequencer, its only writer besides the
// sweeper, reads keys under it too.
type memory struct {
	events []event // ascending by Seq; never changed in place, so that a reader may keep a part
	keys   map[string]row.Seq
	bytes  int64
	gone   row.Seq
}

type event struct {
	key       []byte
	row       row.Row
	bytes     int64
	continues bool // of the same commit as the one before
}

func newMemory(gone row.Seq) *memory { return &memory{keys: map[string]row.Seq{}, gone: gone} }

// drop forgets the first n events.
func (m *memory) drop(n int) {
	for i := range m.events[:n] {
		e := &m.events[i]
		if m.keys[string(e.key)] == e.row.Seq {
			delete(m.keys, string(e.key))
		}
		m.bytes -= e.bytes
		m.gone = e.row.Seq
	}
	rest := m.events[n:]
	if n > len(rest) { // let go of what is dropped
		rest = slices.Clone(rest)
	}
	m.events = rest
}

// after is the position of the first event after seq.
func (m *memory) after(seq row.Seq) int {
	return sort.Search(len(m.events), func(i int) bool { return m.events[i].row.Seq > seq })
}

// hold keeps the events of a write for those who listen, or lets them go at once. It
// runs in the sequencer.
func (b *Buffer) hold(p *partition, w *Write, sizes []checked, first row.Seq) {
	listening := b.o.Listening != nil && b.o.Listening(p.ref)
	b.tellOver(p, b.holdNow(p, w, sizes, first, listening))
}

// holdNow does that, and says up to where events have gone.
func (b *Buffer) holdNow(p *partition, w *Write, sizes []checked, first row.Seq, listening bool) (gone row.Seq) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := p.stream.memory
	p.last = first + row.Seq(len(w.Mutations)) - 1
	if !listening {
		m.drop(len(m.events))
		m.gone = p.last
		b.countHeld(p)
		return m.gone
	}
	for i := range w.Mutations {
		mut := &w.Mutations[i]
		seq := first + row.Seq(i)
		m.events = append(m.events, event{
			key: mut.Key, bytes: sizes[i].bytes, continues: i > 0,
			row: row.Row{Seq: seq, Updated: b.seq.now, Schema: w.Schema.Version, Values: mut.Values},
		})
		m.keys[string(mut.Key)] = seq
		m.bytes += sizes[i].bytes
	}
	b.trimHeld(p, b.seq.now)
	return m.gone
}

// forgetEvents drops the events of an ephemeral stream that are over, and all of them if
// nobody listens any more.
func (b *Buffer) forgetEvents(p *partition, now int64) {
	listening := b.o.Listening != nil && b.o.Listening(p.ref)
	b.mu.Lock()
	m := p.stream.memory
	if !listening {
		m.drop(len(m.events))
	}
	b.trimHeld(p, now)
	gone := m.gone
	b.mu.Unlock()
	b.tellOver(p, gone)
}

// trimHeld drops the events that are over. The caller holds b.mu.
func (b *Buffer) trimHeld(p *partition, now int64) {
	m := p.stream.memory
	tooOld, most := p.stream.overAt(now), b.streamBytesMax()
	n, bytes := 0, m.bytes
	for n < len(m.events) && (m.events[n].row.Updated <= tooOld || len(m.events)-n > p.stream.RowsMax || bytes > most) {
		bytes -= m.events[n].bytes
		n++
	}
	m.drop(n)
	b.countHeld(p)
}

// countHeld makes the counters of p those of its memory. The caller holds b.mu.
func (b *Buffer) countHeld(p *partition) {
	m := p.stream.memory
	b.rows.Add(int64(len(m.events) - p.active.rows))
	b.bytes.Add(m.bytes - p.active.bytes)
	p.active.rows, p.active.bytes = len(m.events), m.bytes
	if len(m.events) > 0 {
		p.active.first, p.active.oldest = m.events[0].row.Seq, m.events[0].row.Updated
	}
}

// held is the newest event with that key. It runs in the sequencer.
func (b *Buffer) held(p *partition, key []byte) version {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := p.stream.memory
	seq, ok := m.keys[string(key)]
	if !ok {
		return version{}
	}
	return version{found: true, seq: seq, updated: m.events[m.after(seq-1)].row.Updated}
}

// heldEvents are the events of an ephemeral stream after one Seq and through another,
// and the Seq up to which they are gone.
func (b *Buffer) heldEvents(ref row.Partition, after, through row.Seq) (events []event, gone, last row.Seq) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.parts[idOf(ref)]
	if p == nil || p.stream == nil || p.stream.memory == nil {
		return nil, b.opened, b.opened
	}
	m := p.stream.memory
	events = m.events[m.after(after):m.after(max(after, through))]
	return events[:len(events):len(events)], m.gone, p.last
}

// heldChanges is Changes of an ephemeral stream.
func (b *Buffer) heldChanges(ctx context.Context, p row.Partition, after, through row.Seq, yield func(*row.Batch) error) error {
	events, gone, last := b.heldEvents(p, after, through)
	if after < gone {
		return &GapError{After: after, Oldest: gone}
	}
	if err := b.waitDurable(ctx, min(through, last)); err != nil {
		return err
	}
	for len(events) > 0 {
		n := 1
		for n < len(events) && events[n].continues {
			n++
		}
		batch := &row.Batch{Partition: p}
		for _, e := range events[:n] {
			batch.Changes = append(batch.Changes, row.Change{Op: row.Insert, Key: e.key, New: e.row})
		}
		if err := errors.Join(yield(batch), ctx.Err()); err != nil {
			return err
		}
		events = events[n:]
	}
	return nil
}

// A heldSnapshot is what a Snapshot of an ephemeral stream reads.
type heldSnapshot struct {
	events []event // ascending by Seq
	sort   sync.Once
	sorted []event // by key, the newest of each
}

func (h *heldSnapshot) byKey() []event {
	h.sort.Do(func() {
		newest := make(map[string]int, len(h.events))
		for i := range h.events {
			newest[string(h.events[i].key)] = i
		}
		h.sorted = make([]event, 0, len(newest))
		for i := range h.events {
			if newest[string(h.events[i].key)] == i {
				h.sorted = append(h.sorted, h.events[i])
			}
		}
		slices.SortFunc(h.sorted, func(x, y event) int { return bytes.Compare(x.key, y.key) })
	})
	return h.sorted
}

func (h *heldSnapshot) find(key []byte) (events []event, found bool) {
	events = h.byKey()
	i, found := slices.BinarySearchFunc(events, key, func(e event, key []byte) int { return bytes.Compare(e.key, key) })
	return events[i:], found
}

func (h *heldSnapshot) scan(from, to []byte, yield func(key []byte, r *row.Row) bool) {
	events, _ := h.find(from)
	for i := range events {
		if to != nil && bytes.Compare(events[i].key, to) >= 0 {
			return
		}
		r := events[i].row
		if !yield(events[i].key, &r) {
			return
		}
	}
}

package ingest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"kalamdb/row"
)

// A View is one moment of the whole buffer: a statement takes one and reads all its
// partitions from it. Take it before the lake's manifest; the other order misses rows
// that a flush moves in between. Close it when every Snapshot of it is done with.
//
// While it is open the lake may not put rows of its moment into one file with later
// ones: see OldestView.
type View struct {
	b       *Buffer
	snap    *pebble.Snapshot
	durable row.Seq // the watermark before the snapshot: all of that is in it
	now     int64   // the moment, µs since 1970: events that are over by then are left out
}

// View takes the moment. It costs about a microsecond.
func (b *Buffer) View() *View {
	v := &View{b: b}
	b.viewsMu.Lock()
	v.durable, v.now = b.Durable(), time.Now().UnixMicro()
	b.views[v] = struct{}{}
	b.viewsMu.Unlock()
	v.snap = b.db.NewSnapshot()
	return v
}

// Close ends the use of v and all its Snapshots.
func (v *View) Close() {
	v.b.viewsMu.Lock()
	delete(v.b.views, v)
	v.b.viewsMu.Unlock()
	must(v.snap.Close())
}

// OldestView is a Seq that every open View includes, with all before it, and when the
// first of them was opened; any is false if none is open. What is in the lake before the call
// is also included by every View opened after it.
func (b *Buffer) OldestView() (seq row.Seq, since time.Time, any bool) {
	b.viewsMu.Lock()
	defer b.viewsMu.Unlock()
	opened := int64(0)
	for v := range b.views {
		if !any || v.durable < seq {
			seq = v.durable
		}
		if !any || v.now < opened {
			opened = v.now
		}
		any = true
	}
	return seq, time.UnixMicro(opened), any
}

// Partition is the part of v that belongs to p. It waits until that is durable, so
// nothing is ever shown that a crash could take back.
func (v *View) Partition(ctx context.Context, p row.Partition) (*Snapshot, error) {
	s := &Snapshot{snap: v.snap, ref: p, prefix: partitionPrefix(p)}
	var policy StreamPolicy
	if v.b.o.Stream != nil {
		if policy, s.stream = v.b.o.Stream(p.Table); policy.Ephemeral {
			v.hold(s, &policy)
			return s, nil
		}
	}
	found, err := readSnapshot(v.snap, appendPartitionKey(nil, s.prefix), s.record.read)
	if err == nil && !found {
		var f floors
		_, err = readSnapshot(v.snap, keyFloors, f.read)
		s.record.epoch = f.epoch
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", p, err)
	}
	if err := v.b.waitDurable(ctx, s.record.last); err != nil {
		return nil, err
	}
	s.seq = max(s.record.last, v.durable)
	if s.stream {
		err = s.leaveOut(&policy, v.now)
	}
	return s, err
}

// hold makes s what v has of an ephemeral stream: events up to the watermark.
func (v *View) hold(s *Snapshot, policy *StreamPolicy) {
	s.seq = v.durable
	events, _, _ := v.b.heldEvents(s.ref, 0, v.durable)
	tooOld := policy.overAt(v.now)
	n := sort.Search(len(events), func(i int) bool { return events[i].row.Updated > tooOld })
	s.held = &heldSnapshot{events: events[n:]}
}

// leaveOut finds which events of a stream are over: by age, or because there are enough
// newer ones.
func (s *Snapshot) leaveOut(policy *StreamPolicy, now int64) (err error) {
	s.tooOld = policy.overAt(now)
	if s.record.active.rows <= policy.RowsMax {
		return nil
	}
	it, err := s.snap.NewIter(&pebble.IterOptions{
		LowerBound: appendChangeKey(nil, s.prefix, 0), UpperBound: appendChangeKey(nil, s.prefix, row.SeqMax),
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", s.ref, err)
	}
	n := 0
	for ok := it.Last(); ok && n < policy.RowsMax; ok = it.Prev() {
		s.oldest = changeSeq(it.Key())
		n++
	}
	return it.Close()
}

// over says that r is an event nobody sees any more.
func (s *Snapshot) over(r *row.Row) bool {
	return s.stream && (r.Updated <= s.tooOld || r.Seq < s.oldest)
}

func readSnapshot(snap *pebble.Snapshot, key []byte, read func([]byte) error) (bool, error) {
	value, closer, err := snap.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, errors.Join(read(value), closer.Close())
}

// A Snapshot is what the buffer holds of one partition at the moment of its View.
// It may be used by several goroutines at once, until the View is closed.
type Snapshot struct {
	snap   *pebble.Snapshot
	ref    row.Partition
	prefix []byte
	record record
	seq    row.Seq

	// Of a stream: an event is over if it is not younger than tooOld or older than oldest.
	stream bool
	tooOld int64
	oldest row.Seq
	held   *heldSnapshot // of an ephemeral one, instead of everything in snap
}

// Seq is the moment: every change of the partition up to it is in the snapshot or,
// if it left the buffer before, in the lake; no change after it is in the snapshot.
func (s *Snapshot) Seq() row.Seq { return s.seq }

// Epoch goes into the Write of a commit that follows from what the caller saw here.
func (s *Snapshot) Epoch() uint64 { return s.record.epoch }

// Len is at least the number of rows Scan yields; a key that is in two generations
// counts twice.
func (s *Snapshot) Len() int {
	if s.held != nil {
		return len(s.held.events)
	}
	return s.record.active.rows + s.record.sealed.rows
}

// Bytes is the size of the rows as they are stored.
func (s *Snapshot) Bytes() int64 { return s.record.active.bytes + s.record.sealed.bytes }

// Get finds the newest version of a key, which may be a deleted one. The row has
// memory of its own.
func (s *Snapshot) Get(key []byte) (row.Row, bool, error) {
	if s.held != nil {
		events, found := s.held.find(key)
		if !found {
			return row.Row{}, false, nil
		}
		return events[0].row.Clone(), true, nil
	}
	for _, g := range [...]*generation{&s.record.active, &s.record.sealed} {
		if g.rows == 0 {
			continue
		}
		var r row.Row
		k := append(appendGeneration(make([]byte, 0, 64), s.prefix, g.num), key...)
		found, err := readSnapshot(s.snap, k, func(value []byte) error {
			return g.decode(bytes.Clone(value), &r)
		})
		if err != nil {
			return row.Row{}, false, fmt.Errorf("read %s: %w", s.ref, err)
		}
		if found {
			return r, !s.over(&r), nil
		}
	}
	return row.Row{}, false, nil
}

// Scan yields the newest version of every key in [from, to), ascending, deleted ones
// included, until yield returns false. nil from or to means no bound. key and r are
// used again: what outlives a yield needs a copy.
func (s *Snapshot) Scan(from, to []byte, yield func(key []byte, r *row.Row) bool) (err error) {
	if s.held != nil {
		s.held.scan(from, to, yield)
		return nil
	}
	var newer, older cursor
	defer func() {
		if err = errors.Join(err, newer.close(), older.close()); err != nil {
			err = fmt.Errorf("read %s: %w", s.ref, err)
		}
	}()
	if err := newer.open(s.snap, s.prefix, &s.record.active, from, to); err != nil {
		return err
	}
	if err := older.open(s.snap, s.prefix, &s.record.sealed, from, to); err != nil {
		return err
	}
	var r row.Row
	for newer.ok || older.ok {
		c := &newer
		if newer.ok && older.ok {
			switch n := bytes.Compare(newer.key(), older.key()); {
			case n == 0:
				older.next()
			case n > 0:
				c = &older
			}
		} else if older.ok {
			c = &older
		}
		if err := c.row(&r); err != nil {
			return err
		}
		if !s.over(&r) && !yield(c.key(), &r) {
			return nil
		}
		c.next()
	}
	return nil
}

// A cursor walks one generation. The zero cursor is at its end.
type cursor struct {
	it   *pebble.Iterator
	g    *generation
	skip int // bytes before the primary key
	ok   bool
}

func (c *cursor) open(r pebble.Reader, prefix []byte, g *generation, from, to []byte) error {
	if g.rows == 0 {
		return nil
	}
	lower := appendGeneration(make([]byte, 0, len(prefix)+5+len(from)), prefix, g.num)
	upper := after(lower)
	if to != nil {
		upper = append(bytes.Clone(lower), to...)
	}
	c.skip = len(lower)
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: append(lower, from...), UpperBound: upper})
	if err != nil {
		return err
	}
	c.it, c.g, c.ok = it, g, it.First()
	return nil
}

func (c *cursor) key() []byte { return c.it.Key()[c.skip:] }

// row reads the row into r, which shares memory with the iterator.
func (c *cursor) row(r *row.Row) error { return c.g.decode(c.it.Value(), r) }

func (c *cursor) next() { c.ok = c.it.Next() }

func (c *cursor) close() error {
	if c.it == nil {
		return nil
	}
	return c.it.Close() // also the error that ended the walk
}

func (g *generation) decode(value []byte, r *row.Row) error {
	rest, err := row.DecodeRow(value, r)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if len(rest) != 0 {
		return fmt.Errorf("%w: %d bytes behind a row", ErrCorrupt, len(rest))
	}
	r.Seq, r.Updated = g.place(r.Seq, r.Updated)
	return nil
}

// appendChangeHead starts the value of a change: the new row and the old one follow.
func appendChangeHead(dst []byte, op row.Op, key []byte, hasOld, continues bool) []byte {
	flags := byte(op)
	if hasOld {
		flags |= changeHasOld
	}
	if continues {
		flags |= changeContinues
	}
	dst = append(dst, flags)
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	return append(dst, key...)
}

// decodeChange reads a change; it shares memory with value.
func decodeChange(value []byte) (c row.Change, continues bool, err error) {
	corrupt := func(what string) (row.Change, bool, error) {
		return row.Change{}, false, fmt.Errorf("%w: change with %s", ErrCorrupt, what)
	}
	if len(value) == 0 {
		return corrupt("no bytes")
	}
	flags := value[0]
	c.Op = row.Op(flags & changeOpMask)
	if c.Op < row.Insert || c.Op > row.Delete {
		return corrupt("an unknown op")
	}
	n, w := binary.Uvarint(value[1:])
	if w <= 0 || n > uint64(len(value)-1-w) {
		return corrupt("a broken key")
	}
	value = value[1+w:]
	c.Key = value[:n:n]
	rest, err := row.DecodeRow(value[n:], &c.New)
	if err == nil && flags&changeHasOld != 0 {
		c.Old = new(row.Row)
		rest, err = row.DecodeRow(rest, c.Old)
	}
	if err != nil {
		return row.Change{}, false, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if len(rest) != 0 {
		return corrupt("bytes behind its end")
	}
	return c, flags&changeContinues != 0, nil
}

package ingest

import (
	"errors"
	"fmt"
	"hash/maphash"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"kalamdb/row"
)

// A version is the newest version of a key in the buffer.
type version struct {
	found   bool
	seq     row.Seq
	updated int64
	deleted bool
	bytes   int64 // of its key and value if it is in the active generation, else 0
	active  bool
}

// checked is what the check of a mutation learned for its counters.
type checked struct {
	bytes    int64 // key and value of the new version
	replaced int64 // those of the version it overwrites
	newKey   bool  // none is overwritten
}

// commit checks r against the newest rows and, if all of it may happen, gives it Seqs
// and writes it into the current group.
func (b *Buffer) commit(r *request) error {
	s := &b.seq
	if err := b.fenced.Load(); err != nil {
		return fmt.Errorf("write refused: %w", *err)
	}
	if b.bytes.Load()+r.size > b.o.BufferBytesMax {
		return b.errFull()
	}
	undo := len(s.pending.entries)
	s.checked = s.checked[:0]
	if err := b.check(r); err != nil {
		s.pending.undo(undo)
		b.uncreate()
		return err
	}
	clear(s.created)
	s.created = s.created[:0]
	b.write(r)
	return nil
}

// check looks at every mutation as if those before it had happened.
func (b *Buffer) check(r *request) error {
	s := &b.seq
	seq, n := b.node.last, 0
	for i := range r.writes {
		w := &r.writes[i]
		if len(w.Mutations) == 0 {
			continue
		}
		if _, dropped := b.dropped[w.Partition.Table.ID]; dropped {
			return fmt.Errorf("%w: %s", ErrDropped, w.Partition.Table)
		}
		if w.Schema != nil && b.o.SchemaVersion != nil && w.Schema.Version < b.o.SchemaVersion(w.Partition.Table) {
			return fmt.Errorf("%w: %s", ErrAltered, w.Partition.Table)
		}
		p := b.parts[idOf(w.Partition)]
		if p == nil {
			p = b.create(w.Partition)
		}
		for j := range w.Mutations {
			m, e := &w.Mutations[j], &r.enc[n]
			n++
			seq++
			v, err := b.newest(p, m.Key)
			if err != nil {
				return err
			}
			seen := v
			over, err := b.eventOver(p, v)
			if err != nil {
				return err
			}
			if over {
				seen = version{} // nobody sees it any more
				b.tellOver(p, v.seq)
				s.replacing = append(s.replacing, p)
			}
			if err := p.allow(w, m, seen); err != nil {
				return err
			}
			s.head = row.AppendRowHead(s.head[:0], seq, s.now, m.Op == row.Delete)
			bytes := int64(1 + len(p.prefix) + 4 + len(m.Key) + len(s.head) + e.tailEnd - e.tail)
			s.checked = append(s.checked, checked{bytes: bytes, replaced: v.bytes, newKey: !v.active})
			s.pending.add(p, m.Key, version{found: true, seq: seq, updated: s.now, deleted: m.Op == row.Delete, bytes: bytes, active: true})
			p.activeMax.raise(m.Key)
		}
	}
	return nil
}

// allow applies the rules of Mutation.
func (p *partition) allow(w *Write, m *Mutation, v version) error {
	switch {
	case p.stream != nil && m.Op != row.Insert:
		return fmt.Errorf("%w: %s of an event in %s", ErrMutation, m.Op, p.ref)
	case w.Seen != 0 && v.found && v.seq > w.Seen:
		return ErrConflict
	case m.Op == row.Insert && v.found && !v.deleted:
		return &DuplicateError{Partition: p.ref, Key: m.Key}
	case m.Op == row.Insert && (v.found || w.Fresh):
		return nil
	case m.Op != row.Insert && v.found:
		if v.deleted || v.seq != m.Old.Seq {
			return ErrConflict
		}
		return nil
	case w.Epoch != p.epoch || p.draining:
		return ErrConflict
	}
	return nil
}

// newest finds the newest version of a key: in the current group, in the active
// generation, in the sealed one.
func (b *Buffer) newest(p *partition, key []byte) (version, error) {
	if err := b.loadMax(p); err != nil {
		return version{}, err
	}
	if p.activeMax.below(key) && p.sealedMax.below(key) {
		return version{}, nil
	}
	v, ok := b.seq.pending.find(p, key)
	if p.stream != nil && p.stream.memory != nil {
		if ok && v.seq > b.node.last { // of this very commit
			return v, nil
		}
		return b.held(p, key), nil
	}
	if ok {
		return v, nil
	}
	if p.active.rows > 0 && !p.activeMax.below(key) {
		if v, err := b.stored(p, &p.active, key); v.found || err != nil {
			v.active = true
			return v, err
		}
	}
	if p.sealed.num != 0 && !p.sealedMax.below(key) {
		v, err := b.stored(p, &p.sealed, key)
		v.bytes = 0
		return v, err
	}
	return version{}, nil
}

func (b *Buffer) stored(p *partition, g *generation, key []byte) (version, error) {
	s := &b.seq
	s.key = append(appendGeneration(s.key[:0], p.prefix, g.num), key...)
	value, closer, err := b.db.Get(s.key)
	if errors.Is(err, pebble.ErrNotFound) {
		return version{}, nil
	}
	if err != nil {
		return version{}, fmt.Errorf("read %s: %w", p.ref, err)
	}
	v := version{found: true, bytes: int64(len(s.key) + len(value))}
	v.seq, v.updated, v.deleted, err = row.DecodeRowHead(value)
	v.seq, v.updated = g.place(v.seq, v.updated)
	if err = errors.Join(err, closer.Close()); err != nil {
		return version{}, fmt.Errorf("%w: %s: %w", ErrCorrupt, p.ref, err)
	}
	return v, nil
}

// loadMax finds the largest keys of the generations after a start.
func (b *Buffer) loadMax(p *partition) error {
	if p.activeMax.known && p.sealedMax.known {
		return nil
	}
	load := func(m *maxKey, g *generation) error {
		if m.known || g.rows == 0 {
			m.known = true
			return nil
		}
		prefix := appendGeneration(nil, p.prefix, g.num)
		it, err := b.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
		if err != nil {
			return err
		}
		if it.Last() {
			m.raise(it.Key()[len(prefix):])
		}
		m.known = true
		return it.Close()
	}
	if err := errors.Join(load(&p.activeMax, &p.active), load(&p.sealedMax, &p.sealed)); err != nil {
		return fmt.Errorf("read %s: %w", p.ref, err)
	}
	return nil
}

// create makes a partition that exists in memory only: its first commit writes it.
func (b *Buffer) create(ref row.Partition) *partition {
	p := &partition{ref: ref, prefix: partitionPrefix(ref), stream: b.streamOf(ref.Table)}
	p.active.num = 1
	p.activeMax.known, p.sealedMax.known = true, true
	b.mu.Lock()
	p.epoch = b.floors.epoch
	b.parts[idOf(ref)] = p
	if p.stream != nil {
		b.streams[p] = struct{}{}
	}
	b.mu.Unlock()
	b.seq.created = append(b.seq.created, p)
	return p
}

// uncreate forgets the partitions of a request that was refused.
func (b *Buffer) uncreate() {
	for i, p := range b.seq.created {
		b.mu.Lock()
		delete(b.parts, idOf(p.ref))
		delete(b.streams, p)
		b.mu.Unlock()
		b.seq.created[i] = nil
	}
	b.seq.created = b.seq.created[:0]
}

// write puts the checked request into the current group.
func (b *Buffer) write(r *request) {
	s, g := &b.seq, b.seq.group
	r.result = Commit{First: b.node.last + 1, Time: time.UnixMicro(s.now).UTC()}
	n, told := 0, 0
	for i := range r.writes {
		w := &r.writes[i]
		if len(w.Mutations) == 0 {
			continue
		}
		p := b.parts[idOf(w.Partition)]
		first, logged := b.node.last+1+row.Seq(n), int64(0)
		inMemory := p.stream != nil && p.stream.memory != nil
		if inMemory {
			b.hold(p, w, s.checked[n:], first)
		}
		var rows, bytes int64
		for j := range w.Mutations {
			seq := first + row.Seq(j)
			c := s.checked[n]
			if !inMemory {
				logged += b.writeMutation(g.batch, p, &w.Mutations[j], r.buf, r.enc[n], seq, j > 0)
			}
			if len(r.batches) > 0 {
				change := &r.batches[told].Changes[j]
				change.New.Seq, change.New.Updated = seq, s.now
			}
			bytes += c.bytes - c.replaced
			if c.newKey {
				rows++
			}
			n++
		}
		told++
		if !inMemory {
			b.count(p, first, first+row.Seq(len(w.Mutations))-1, rows, bytes, logged)
		}
	}
	invariant(b.node.last+row.Seq(n) <= b.node.high, "a Seq that is not reserved")
	b.mu.Lock()
	b.node.last += row.Seq(n)
	b.node.time = s.now
	b.mu.Unlock()
	r.result.Last = b.node.last
	b.commits.Add(1)
	g.batches = append(g.batches, r.batches...)
}

// writeMutation writes the row and its change and returns the bytes of the change.
func (b *Buffer) writeMutation(batch *pebble.Batch, p *partition, m *Mutation, buf []byte, e encoded, seq row.Seq, continues bool) int64 {
	s := &b.seq
	s.head = row.AppendRowHead(s.head[:0], seq, s.now, m.Op == row.Delete)

	s.key = append(appendGeneration(s.key[:0], p.prefix, p.active.num), m.Key...)
	op := batch.SetDeferred(len(s.key), len(s.head)+e.tailEnd-e.tail)
	copy(op.Key, s.key)
	copy(op.Value[copy(op.Value, s.head):], buf[e.tail:e.tailEnd])
	must(op.Finish())

	s.key = appendChangeKey(s.key[:0], p.prefix, seq)
	keyEnd := len(s.key)
	s.key = appendChangeHead(s.key, m.Op, m.Key, m.Old != nil, continues) // behind the key, to save a buffer
	head := s.key[keyEnd:]
	op = batch.SetDeferred(keyEnd, len(head)+len(s.head)+e.oldEnd-e.tail)
	copy(op.Key, s.key[:keyEnd])
	at := copy(op.Value, head)
	at += copy(op.Value[at:], s.head)
	copy(op.Value[at:], buf[e.tail:e.oldEnd])
	must(op.Finish())
	return int64(len(op.Key) + len(op.Value))
}

// count adds a write to the counters of its partition.
func (b *Buffer) count(p *partition, first, last row.Seq, rows, bytes, logged int64) {
	b.touch(p)
	if p.stream != nil { // its changes are a part of it
		bytes, logged = bytes+logged, 0
	}
	b.mu.Lock()
	if p.table == nil {
		p.table = b.tableOf(p.ref.Table)
	}
	if p.active.rows == 0 {
		p.active.first, p.active.oldest = first, b.seq.now
		if p.stream == nil {
			p.table.push(p)
		}
	}
	p.active.rows += int(rows)
	p.active.bytes += bytes
	p.active.last = last
	p.last = last
	if p.logFirst == 0 {
		p.logFirst = first
	}
	b.node.logBytes += logged
	b.mu.Unlock()
	b.rows.Add(rows)
	b.bytes.Add(bytes)
}

// tableOf is the state of a table; the first commit to a table writes its name.
func (b *Buffer) tableOf(ref row.TableRef) *table {
	t := b.tables[ref.ID]
	if t == nil {
		t = &table{ref: ref}
		b.tables[ref.ID] = t
		must(b.seq.group.batch.Set(tableKey(ref.ID), []byte(ref.Namespace+"\x00"+ref.Name), nil))
	}
	return t
}

// An overlay finds the keys of the current group. Entries with the same hash are
// chained from the newest to the oldest.
type overlay struct {
	seed    maphash.Seed
	heads   map[uint64]int // hash → index in entries + 1
	entries []pending
}

type pending struct {
	p     *partition
	key   []byte // the caller's: it waits until the group is applied
	hash  uint64
	older int // index + 1
	v     version
}

func newOverlay() *overlay {
	return &overlay{seed: maphash.MakeSeed(), heads: map[uint64]int{}}
}

func (o *overlay) add(p *partition, key []byte, v version) {
	h := maphash.Bytes(o.seed, key)
	o.entries = append(o.entries, pending{p: p, key: key, hash: h, older: o.heads[h], v: v})
	o.heads[h] = len(o.entries)
}

func (o *overlay) find(p *partition, key []byte) (version, bool) {
	if len(o.entries) == 0 {
		return version{}, false
	}
	for i := o.heads[maphash.Bytes(o.seed, key)]; i != 0; i = o.entries[i-1].older {
		if e := &o.entries[i-1]; e.p == p && string(e.key) == string(key) {
			return e.v, true
		}
	}
	return version{}, false
}

// undo forgets the entries behind the first n.
func (o *overlay) undo(n int) {
	for i := len(o.entries) - 1; i >= n; i-- {
		e := &o.entries[i]
		if e.older == 0 {
			delete(o.heads, e.hash)
		} else {
			o.heads[e.hash] = e.older
		}
		*e = pending{}
	}
	o.entries = o.entries[:n]
}

func (o *overlay) reset() {
	clear(o.heads)
	clear(o.entries)
	o.entries = o.entries[:0]
}

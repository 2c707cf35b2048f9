package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kalamdb/row"
)

// errSealed says that two generations of the partition wait for the lake already.
var errSealed = errors.New("rows of the partition are on their way to the lake")

// sealedTriesMax is how often a commit waits for a flush of its partition.
const sealedTriesMax = 20

// Commit makes all rows durable and visible at once. ErrConflict says that Check has to
// look once more, since others have written too much meanwhile. Where rows of the
// partition are just on their way to the lake, it waits until they are there.
func (st *Staging) Commit(ctx context.Context) (Commit, error) {
	b := st.b
	for try := 1; ; try++ {
		if err := st.catchUp(ctx); err != nil {
			return Commit{}, err
		}
		var done Commit
		var refused error
		if err := b.control(ctx, func(g *group) { done, refused = st.commit(g) }); err != nil {
			return Commit{}, err
		}
		if !errors.Is(refused, errSealed) {
			return done, refused
		}
		if try == sealedTriesMax {
			return Commit{}, fmt.Errorf("%w: %w", ErrFull, refused)
		}
		_, err := b.Flush(ctx, func(p row.Partition) bool { return idOf(p) == idOf(st.ref) })
		switch {
		case ctx.Err() != nil:
			return Commit{}, ctx.Err()
		case err != nil:
			return Commit{}, fmt.Errorf("%w: %w: %w", ErrFull, refused, err)
		}
	}
}

// commit is the commit point. It runs in the sequencer.
func (st *Staging) commit(g *group) (Commit, error) {
	b := st.b
	s := &b.seq
	if err := b.fenced.Load(); err != nil {
		return Commit{}, fmt.Errorf("write refused: %w", *err)
	}
	if _, dropped := b.dropped[st.ref.Table.ID]; dropped {
		return Commit{}, fmt.Errorf("%w: %s", ErrDropped, st.ref.Table)
	}
	if b.o.SchemaVersion != nil && st.schema.Version < b.o.SchemaVersion(st.ref.Table) {
		return Commit{}, fmt.Errorf("%w: %s", ErrAltered, st.ref.Table)
	}
	if b.bytes.Load()+st.bytes > b.o.BufferBytesMax {
		return Commit{}, b.errFull()
	}
	p := b.parts[idOf(st.ref)]
	if p == nil {
		p = b.create(st.ref)
	}
	err := st.checkMissed(p)
	if err == nil && p.active.rows > 0 && p.sealed.num != 0 {
		err = errSealed
	}
	if err != nil {
		b.uncreate()
		return Commit{}, err
	}
	clear(s.created)
	s.created = s.created[:0]

	n := row.Seq(st.rows)
	invariant(b.node.last+n <= b.node.high, "a Seq that is not reserved")
	first := b.node.last + 1
	log := bulk{first: first, rows: st.rows, num: st.num, time: s.now, bytes: st.logged}
	must(g.batch.Set(bulkKey(st.prefix, log.last()), log.append(nil), nil))
	must(g.batch.Delete(stagingKey(st.prefix, st.num), nil))
	b.touch(p)
	b.mu.Lock()
	if p.table == nil {
		p.table = b.tableOf(p.ref.Table)
	}
	if p.active.rows > 0 {
		p.table.remove(p)
		p.sealed, p.sealedMax = p.active, p.activeMax
		if !p.flushing {
			p.table.enqueue(p)
		}
	}
	p.active = generation{num: st.num, first: first, last: log.last(), rows: st.rows, bytes: st.bytes, oldest: s.now, staged: st.rows}
	p.activeMax = maxKey{known: true, key: st.max}
	p.table.push(p)
	p.last = p.active.last
	if p.logFirst == 0 {
		p.logFirst = first
	}
	b.node.last += n
	b.node.time = s.now
	b.node.logBytes += st.logged
	b.mu.Unlock()
	b.rows.Add(int64(st.rows))
	b.bytes.Add(st.bytes)
	b.commits.Add(1)
	s.staged, st.committed = nil, true
	g.bulk = st
	b.wakeUp()
	return Commit{First: first, Last: b.node.last, Time: time.UnixMicro(s.now).UTC()}, nil
}

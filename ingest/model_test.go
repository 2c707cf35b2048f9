package ingest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"kalamdb/row"
)

// A model is what the buffer and the lake together must hold, as plain maps.
type model struct {
	rows    map[row.Partition]map[int64]row.Row // newest version
	changes map[row.Partition][]row.Change      // since ever
	first   map[row.Seq]bool                    // the first change of each commit
	max     row.Seq
}

// A machine runs random operations on a real buffer, a sink and the model.
type machine struct {
	t     *rapid.T
	tb    testing.TB
	disk  *vfs.MemFS
	sink  *fakeSink
	fail  atomic.Int32 // 1: the sink fails before it has an effect, 2: after
	rows  atomic.Int64 // the flush policy
	b     *running
	h     *heard
	model model
	lastI int64
	seen  map[row.Partition]seen
}

var modelUsers = []row.Partition{
	ana, ben, {Table: testTable, User: "an"},
	{Table: row.TableRef{Namespace: "app", Name: "tasks", ID: 8}},
}

func (m *machine) open() {
	m.h, m.seen = &heard{}, map[row.Partition]seen{}
	m.b = start(m.tb, Options{
		FS: m.disk, Sink: m.sink, SeqFloor: m.sink.max(), Observer: m.h,
		Policy: func(row.TableRef) (int, time.Duration) { return int(m.rows.Load()), 0 },
	})
}

func (m *machine) partition() row.Partition { return rapid.SampledFrom(modelUsers).Draw(m.t, "p") }

// look reads a partition as a query does: the view first, the lake second.
func (m *machine) look(p row.Partition) (map[int64]row.Row, uint64) {
	v := m.b.View()
	defer v.Close()
	s, err := v.Partition(context.Background(), p)
	if err != nil {
		m.t.Fatal(err)
	}
	rows := map[int64]row.Row{}
	if err := s.Scan(nil, nil, func(_ []byte, r *row.Row) bool {
		rows[r.Values[0].Int()] = r.Clone()
		return true
	}); err != nil {
		m.t.Fatal(err)
	}
	for _, r := range m.sink.stored(p) {
		if id := r.Values[0].Int(); r.Seq > rows[id].Seq {
			rows[id] = r
		}
	}
	return rows, s.Epoch()
}

func (m *machine) read(t *rapid.T) {
	p := m.partition()
	rows, _ := m.look(p)
	want := m.model.rows[p]
	if len(rows) != len(want) {
		t.Fatalf("%s: %d rows, expected %d", p, len(rows), len(want))
	}
	for id, w := range want {
		if g := rows[id]; g.Seq != w.Seq || g.Deleted != w.Deleted || !slices.Equal(g.Values, w.Values) || g.Updated != w.Updated {
			t.Fatalf("%s: row %d is %+v, expected %+v", p, id, g, w)
		}
	}
}

// write draws one commit of some mutations and follows it in the model.
func (m *machine) write(t *rapid.T) {
	p := m.partition()
	rows, epoch := m.look(p)
	w := Write{Partition: p, Schema: testSchema, Epoch: epoch}
	var changes []row.Change
	for _, id := range rapid.SliceOfNDistinct(rapid.Int64Range(0, 20), 1, 5, rapid.ID).Draw(t, "ids") {
		text := fmt.Sprint(rapid.IntRange(0, 1<<20).Draw(t, "text"))
		old, there := rows[id]
		c := row.Change{Op: row.Insert, Key: keyOf(id), New: row.Row{Schema: 1, Values: values(id, text)}}
		switch {
		case !there || old.Deleted:
			w.Mutations = append(w.Mutations, insert(id, text))
		case rapid.Bool().Draw(t, "delete"):
			w.Mutations = append(w.Mutations, remove(old))
			c.Op, c.Old, c.New.Deleted, c.New.Values = row.Delete, &old, true, old.Values
		default:
			w.Mutations = append(w.Mutations, update(old, text))
			c.Op, c.Old = row.Update, &old
		}
		changes = append(changes, c)
	}
	c, err := m.b.Commit(context.Background(), w)
	if errors.Is(err, ErrConflict) {
		return // a flush came between: allowed, and nothing may have happened
	}
	if err != nil {
		t.Fatal(err)
	}
	m.follow(t, p, changes, c)
}

// follow does in the model what was committed.
func (m *machine) follow(t *rapid.T, p row.Partition, changes []row.Change, c Commit) {
	if c.First <= m.model.max || c.Last != c.First+row.Seq(len(changes))-1 {
		t.Fatalf("seqs %d to %d for %d rows after %d", c.First, c.Last, len(changes), m.model.max)
	}
	m.model.max = c.Last
	m.model.first[c.First] = true
	for i := range changes {
		n := &changes[i].New
		n.Seq, n.Updated = c.First+row.Seq(i), c.Time.UnixMicro()
		if m.model.rows[p] == nil {
			m.model.rows[p] = map[int64]row.Row{}
		}
		m.model.rows[p][n.Values[0].Int()] = *n
	}
	m.model.changes[p] = append(m.model.changes[p], changes...)
}

// stage draws one staged insert, with other operations in between, and how it ends.
func (m *machine) stage(t *rapid.T) {
	p := m.partition()
	ids := rapid.SliceOfN(rapid.Int64Range(0, 20), 1, 8).Draw(t, "staged ids")
	if rapid.Bool().Draw(t, "distinct") {
		slices.Sort(ids)
		ids = slices.Compact(ids)
	}
	ctx := context.Background()
	st, err := m.b.Stage(ctx, p, testSchema)
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	closeIt := func() {
		if closed = true; st.Close() != nil {
			t.Fatal("not closed")
		}
	}
	defer func() {
		if !closed {
			closeIt()
		}
	}()
	var changes []row.Change
	for _, id := range ids {
		v := values(id, fmt.Sprint("staged ", id))
		if err := st.Add(keyOf(id), v); err != nil {
			t.Fatal(err)
		}
		changes = append(changes, row.Change{Op: row.Insert, Key: keyOf(id), New: row.Row{Schema: 1, Values: v}})
	}
	taken := func() bool {
		return slices.ContainsFunc(ids, func(id int64) bool { r := m.model.rows[p][id]; return r.Seq != 0 && !r.Deleted })
	}
	meanwhile := func() {
		for range rapid.IntRange(0, 2).Draw(t, "meanwhile") {
			m.write(t)
			m.read(t)
		}
		if rapid.Bool().Draw(t, "and a flush") {
			m.flush(t)
		}
	}
	meanwhile()
	slices.Sort(ids)
	double := len(slices.Compact(slices.Clone(ids))) < len(ids)
	for {
		v := m.b.View()
		s, err := v.Partition(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		err = st.Check(ctx, s, func(keys [][]byte) (live [][]byte, err error) {
			for _, key := range keys {
				if r, ok := m.sink.get(p, key); ok && !r.Deleted {
					live = append(live, key)
				}
			}
			return live, nil
		})
		v.Close()
		if dup := (*DuplicateError)(nil); errors.As(err, &dup) != (double || taken()) {
			t.Fatalf("%s: check of %v: %v, expected a duplicate: %t", p, ids, err, double || taken())
		} else if dup != nil {
			return
		}
		meanwhile()
		switch rapid.SampledFrom([]string{"commit", "commit", "commit", "close", "crash"}).Draw(t, "end") {
		case "close":
			return
		case "crash":
			next := m.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "rng"), 1))})
			closeIt()
			m.b.stop()
			m.disk = next
			m.open()
			if left := m.b.staged(); left != 0 {
				t.Fatalf("%d keys of a staging are left", left)
			}
			return
		}
		done, err := st.Commit(ctx)
		dup := (*DuplicateError)(nil)
		switch {
		case errors.Is(err, ErrConflict):
			continue
		case errors.As(err, &dup) && taken():
			return
		case err != nil || taken():
			t.Fatalf("%s: commit of %v: %v, a key is taken: %t", p, ids, err, taken())
		}
		m.follow(t, p, changes, done)
		return
	}
}

// staged counts the marks of stagings, and the changes that no bulk leads to.
func (b *Buffer) staged() (n int) {
	kept := map[string]bool{}
	for _, p := range b.parts {
		bulks, err := readBulks(b.db, p.prefix)
		must(err)
		for _, k := range bulks {
			kept[string(appendStagedChanges(nil, p.prefix, k.num))] = true
		}
	}
	must(b.scanMeta(metaStaging, func(_, _ []byte) error { n++; return nil }))
	it, err := b.db.NewIter(&pebble.IterOptions{LowerBound: []byte{prefixStaged}, UpperBound: []byte{prefixStaged + 1}})
	must(err)
	for ok := it.First(); ok; ok = it.Next() {
		if key := it.Key(); !kept[string(key[:len(key)-4])] {
			n++
		}
	}
	must(it.Close())
	return n
}

// remember keeps what a slow writer has seen; stale is his commit, later.
func (m *machine) remember(*rapid.T) {
	p := m.partition()
	rows, epoch := m.look(p)
	m.seen[p] = seen{rows, epoch}
}

type seen struct {
	rows  map[int64]row.Row
	epoch uint64
}

// stale commits what follows from an old look; if the row has changed since, wherever
// it is now, the commit must be refused.
func (m *machine) stale(t *rapid.T) {
	p := m.partition()
	old, ok := m.seen[p]
	if !ok {
		return
	}
	for id := range int64(21) {
		was, is := old.rows[id], m.model.rows[p][id]
		live := was.Seq != 0 && !was.Deleted
		w := Write{Partition: p, Schema: testSchema, Epoch: old.epoch, Mutations: []Mutation{insert(id, "second")}}
		switch {
		case was.Seq == is.Seq, !live && is.Deleted:
			continue // not changed, or free to insert all the time
		case live:
			w.Mutations = []Mutation{update(was, "lost update")}
		}
		_, err := m.b.Commit(context.Background(), w)
		if dup := (*DuplicateError)(nil); !errors.Is(err, ErrConflict) && (live || !errors.As(err, &dup)) {
			t.Fatalf("%s: commit of row %d seen with seq %d, now %d: %v", p, id, was.Seq, is.Seq, err)
		}
	}
}

func (m *machine) flush(t *rapid.T) {
	m.fail.Store(int32(rapid.IntRange(0, 2).Draw(t, "fail")))
	p := m.partition()
	_, err := m.b.Flush(context.Background(), func(q row.Partition) bool { return q == p })
	if failing := m.fail.Swap(0) != 0; err != nil && !failing {
		t.Fatal(err)
	}
	if err == nil {
		if rows := m.b.rowsOf(p); len(rows) != 0 {
			t.Fatalf("%d rows after FLUSH", len(rows))
		}
	}
}

func (m *machine) replay(t *rapid.T) {
	p := m.partition()
	after := row.Seq(rapid.Uint64Range(0, uint64(m.model.max)).Draw(t, "after"))
	want := slices.DeleteFunc(slices.Clone(m.model.changes[p]), func(c row.Change) bool { return c.New.Seq <= after })
	n := 0
	err := m.b.Changes(context.Background(), p, after, row.SeqMax, func(batch *row.Batch) error {
		for i, g := range batch.Changes {
			if n == len(want) {
				return fmt.Errorf("a change too many: %+v", g)
			}
			w := want[n]
			if !sameChange(g, w) {
				return fmt.Errorf("change %+v, expected %+v", g, w)
			}
			if n > 0 && (i == 0) != m.model.first[w.New.Seq] {
				return fmt.Errorf("seq %d is change %d of its batch", w.New.Seq, i)
			}
			n++
		}
		return nil
	})
	if err == nil && n != len(want) {
		err = fmt.Errorf("%d changes, expected %d", n, len(want))
	}
	if err != nil {
		t.Fatalf("%s after %d: %v", p, after, err)
	}
}

func sameChange(a, b row.Change) bool {
	same := func(x, y *row.Row) bool {
		return x.Seq == y.Seq && x.Updated == y.Updated && x.Deleted == y.Deleted && x.Schema == y.Schema && slices.Equal(x.Values, y.Values)
	}
	return a.Op == b.Op && string(a.Key) == string(b.Key) && same(&a.New, &b.New) &&
		(a.Old == nil) == (b.Old == nil) && (a.Old == nil || same(a.Old, b.Old))
}

func (m *machine) crash(t *rapid.T) {
	percent := rapid.SampledFrom([]int{0, 50}).Draw(t, "unsynced")
	next := m.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "rng"), 1))})
	m.b.stop()
	m.disk = next
	m.open()
}

func (m *machine) restart(*rapid.T) {
	m.b.stop()
	m.open()
}

func (m *machine) ids(t *rapid.T) {
	for range 3 {
		id := m.b.NextID()
		if id <= m.lastI || id >= 1<<53 {
			t.Fatalf("id %d after %d", id, m.lastI)
		}
		m.lastI = id
	}
}

// check holds after every operation: nothing twice, and the counters agree.
func (m *machine) check(t *rapid.T) {
	if doubled := m.sink.twice(); len(doubled) > 0 {
		t.Fatalf("stored twice: %v", doubled)
	}
	last := row.Seq(0)
	for _, batch := range m.h.all() {
		if batch.First() <= last {
			t.Fatalf("event %d after %d", batch.First(), last)
		}
		last = batch.Last()
	}
	if s := m.b.Stats(); s.Rows < 0 || s.Bytes < 0 || (s.Rows == 0) != (s.Bytes == 0) {
		t.Fatalf("stats %+v", s)
	}
}

// TestModel compares random runs of everything with the model; rapid prints the seed
// and the operations of the shortest run that fails.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &machine{t: rt, tb: t, disk: vfs.NewCrashableMem(), sink: newFakeSink(), model: model{
			rows: map[row.Partition]map[int64]row.Row{}, changes: map[row.Partition][]row.Change{}, first: map[row.Seq]bool{},
		}}
		m.rows.Store(int64(rapid.SampledFrom([]int{0, 0, 3, 10}).Draw(rt, "flush rows")))
		broken := func(which int32) func(row.TableRef) error {
			return func(row.TableRef) error {
				if m.fail.Load() == which {
					return errors.New("injected")
				}
				return nil
			}
		}
		m.sink.before, m.sink.after = broken(1), broken(2)
		m.open()
		defer func() { m.b.stop() }()
		rt.Repeat(map[string]func(*rapid.T){
			"": m.check, "write": m.write, "write2": m.write, "write3": m.write, "read": m.read, "read2": m.read,
			"flush": m.flush, "replay": m.replay, "crash": m.crash, "restart": m.restart, "ids": m.ids, "remember": m.remember, "stale": m.stale,
			"stage": m.stage,
		})
		var wg sync.WaitGroup
		for _, p := range modelUsers { // and everything reaches the lake in the end
			wg.Go(func() {
				if _, err := m.b.Flush(context.Background(), func(q row.Partition) bool { return q == p }); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for p, rows := range m.model.rows {
			for id, w := range rows {
				if g, _ := m.sink.get(p, keyOf(id)); g.Seq != w.Seq {
					rt.Fatalf("%s: row %d in the lake has seq %d, expected %d", p, id, g.Seq, w.Seq)
				}
			}
		}
	})
}

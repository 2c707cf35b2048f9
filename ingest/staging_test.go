package ingest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamdb/row"
)

// stage opens a staging with the rows from to to.
func (r *running) stage(p row.Partition, from, to int64) *Staging {
	r.t.Helper()
	st, err := r.Stage(context.Background(), p, testSchema)
	if err != nil {
		r.t.Fatal(err)
	}
	for id := from; id <= to; id++ {
		if err := st.Add(keyOf(id), values(id, fmt.Sprint("row ", id))); err != nil {
			r.t.Fatal(err)
		}
	}
	return st
}

// check compares the staging with the buffer alone.
func (r *running) check(st *Staging) error {
	r.t.Helper()
	v := r.View()
	defer v.Close()
	s, err := v.Partition(context.Background(), st.ref)
	if err != nil {
		r.t.Fatal(err)
	}
	return st.Check(context.Background(), s, func([][]byte) ([][]byte, error) { return nil, nil })
}

func (r *running) commitStaged(st *Staging) Commit {
	r.t.Helper()
	if err := r.check(st); err != nil {
		r.t.Fatal(err)
	}
	c, err := st.Commit(context.Background())
	if err == nil {
		err = st.Close()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// The rows appear at once, with Seqs of one range; a reader can go on with the log from
// any of them, and a later commit may change them; all survives a flush and a restart.
func TestStaging(t *testing.T) {
	const rows = 3*bulkBatchRows + 7
	o := Options{FS: vfs.NewMem(), Sink: newFakeSink(), Policy: never, Observer: &heard{}}
	b := start(t, o)
	before := b.commit(ana, insert(-1, "before"))
	st := b.stage(ana, 1, rows)
	other := b.commit(ben, insert(1, "goes on meanwhile"))
	if got := len(b.rowsOf(ana)); got != 1 || b.Stats().Rows != 2 {
		t.Fatalf("%d rows are seen before the commit, stats %+v", got, b.Stats())
	}
	c := b.commitStaged(st)
	if c.First != other.Last+1 || c.Last != c.First+rows-1 || c.Time.Before(before.Time) {
		t.Fatalf("%+v after %+v", c, other)
	}
	if r := b.get(ana, 5); r.Seq != c.First+4 || r.Updated != c.Time.UnixMicro() {
		t.Errorf("row 5 is %+v of commit %+v", r, c)
	}
	b.commit(ana, update(b.get(ana, 5), "changed"))
	b.commit(ana, remove(b.get(ana, 6)))
	look := func(when string) {
		t.Helper()
		for _, after := range []row.Seq{before.Last, c.First + 1, c.First + bulkBatchRows, c.Last - 1, c.Last} {
			want := &strings.Builder{}
			for id := max(after, c.First-1) - c.First + 2; id <= rows; id++ {
				fmt.Fprintf(want, "INSERT row %d;", id)
			}
			want.WriteString("UPDATE changed was row 5;DELETE row 6 was row 6;")
			if got := strings.ReplaceAll(b.replayed(ana, after, row.SeqMax), "\n", ""); got != want.String() {
				t.Errorf("%s, after %d: %.100s…, expected %.100s…", when, after, got, want)
			}
		}
		if got := b.replayed(ana, before.Last, c.First+1); got != "INSERT row 1;INSERT row 2;\n" {
			t.Errorf("%s, through the second: %s", when, got)
		}
	}
	look("buffered")
	b.stop()
	b = start(t, o)
	look("after a restart")
	if got := len(b.rowsOf(ana)); got > rows+1 || got < rows {
		t.Errorf("%d rows", got) // the first one may be on its way to the lake
	}
	b.flushAll()
	look("flushed")
	sink := o.Sink.(*fakeSink)
	if r, _ := sink.get(ana, keyOf(7)); r.Seq != c.First+6 || r.Updated != c.Time.UnixMicro() || len(sink.twice()) > 0 {
		t.Errorf("row 7 is %+v in the lake, twice: %v", r, sink.twice())
	}
}

// What else is refused, and leaves nothing.
func TestStagingRefused(t *testing.T) {
	b := start(t, Options{FS: vfs.NewMem(), Policy: never, BatchRowsMax: 50})
	b.commit(ana, insert(5, "in the way"), insert(7, "goes away"))
	b.commit(ana, remove(b.get(ana, 7)))
	var dup *DuplicateError
	st := b.stage(ana, 1, 9)
	if err := b.check(st); !errors.As(err, &dup) || string(dup.Key) != string(keyOf(5)) {
		t.Errorf("a taken key: %v", err)
	}
	if err := st.Close(); err != nil || b.staged() != 0 {
		t.Errorf("close: %v, %d keys left", err, b.staged())
	}
	st = b.stage(ana, 10, 20)
	if err := st.Add(keyOf(12), values(12, "again")); err != nil {
		t.Fatal(err)
	}
	if err := b.check(st); !errors.As(err, &dup) || string(dup.Key) != string(keyOf(12)) {
		t.Errorf("a key twice: %v", err)
	}
	_ = st.Close()
	st = b.stage(ana, 100, 149)
	if err := st.Add(keyOf(1), values(1, "one too many")); !errors.Is(err, ErrTooLarge) {
		t.Errorf("51 rows of 50: %v", err)
	}
	_ = st.Close()
	st = b.stage(ana, 10, 20)
	if err := b.check(st); err != nil {
		t.Fatal(err)
	}
	b.commit(ana, insert(15, "first"))
	if _, err := st.Commit(t.Context()); !errors.Is(err, ErrConflict) {
		t.Errorf("somebody was faster: %v", err)
	}
	if err := b.check(st); !errors.As(err, &dup) || string(dup.Key) != string(keyOf(15)) {
		t.Errorf("and the check after it: %v", err)
	}
	_ = st.Close()
	st = b.stage(ana, 10, 14)
	waited, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := b.Stage(waited, ben, testSchema); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("two at once: %v", err)
	}
	if err := b.DropTable(t.Context(), testTable.ID); err != nil {
		t.Fatal(err)
	}
	if err := b.check(st); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Commit(t.Context()); !errors.Is(err, ErrDropped) {
		t.Errorf("the table is gone: %v", err)
	}
	if err := st.Close(); err != nil || b.staged() != 0 {
		t.Errorf("close: %v, %d keys left", err, b.staged())
	}
}

// Rows that came while a staging was open are sealed by its commit, and another staging of
// the partition writes elsewhere while they wait for the lake.
func TestStagingBesideSealedRows(t *testing.T) {
	gate := make(chan struct{})
	sink := newFakeSink()
	b := start(t, Options{FS: vfs.NewMem(), Sink: sink, Policy: never})
	b.commit(ana, insert(1, "before"))
	st := b.stage(ana, 10, 20)
	b.flushAll()
	b.commit(ana, insert(2, "meanwhile"))
	sink.before = func(row.TableRef) error { <-gate; return nil }
	b.commitStaged(st)
	st = b.stage(ana, 30, 5000) // more than one batch
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	close(gate)
	b.flushAll()
	stored := sink.stored(ana)
	if r, there := stored[string(keyOf(2))]; len(stored) != 13 || !there || r.Seq < 2 {
		t.Fatalf("%d rows in the lake, expected 13; row 2: %t %+v", len(stored), there, r)
	}
}

// However much others write, the commit comes to an end: the sequencer looks only at the
// last of it.
func TestStagingCatchesUp(t *testing.T) {
	b := start(t, Options{FS: vfs.NewMem(), Policy: never})
	st := b.stage(ana, 1, 20)
	if err := b.check(st); err != nil {
		t.Fatal(err)
	}
	for id := int64(100); id < 100+3*missedChangesMax; id += 100 {
		var many []Mutation
		for i := range int64(100) {
			many = append(many, insert(id+i, "others"))
		}
		b.commit(ana, many...)
	}
	if _, err := st.Commit(t.Context()); err != nil {
		t.Errorf("%d rows of others came after the check: %v", 3*missedChangesMax, err)
	}
	_ = st.Close()
}

// What is committed behind a staging in one group is told after it: who has heard of a Seq
// looks for nothing below it any more.
func TestStagingIsToldInOrder(t *testing.T) {
	h := &heard{}
	b := start(t, Options{FS: vfs.NewMem(), Policy: never, Observer: h})
	st := b.stage(ana, 1, 20)
	if err := b.check(st); err != nil {
		t.Fatal(err)
	}
	open, held := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	queued := func(n int) {
		for {
			b.queue.mu.Lock()
			waiting := len(b.queue.waiting)
			b.queue.mu.Unlock()
			if waiting == n {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}
	all.Go(func() {
		if err := b.control(context.Background(), func(*group) { close(held); <-open }); err != nil {
			t.Error(err)
		}
	})
	<-held
	all.Go(func() {
		if _, err := st.Commit(t.Context()); err != nil {
			t.Error(err)
		}
	})
	queued(1)
	all.Go(func() { b.commit(ana, insert(100, "behind")) })
	queued(2)
	close(open)
	all.Wait()
	_ = st.Close()
	b.commit(ben, insert(1, "the end"))
	for len(h.all()) < 3 {
		time.Sleep(time.Millisecond)
	}
	if told := h.all(); told[1].Changes[0].New.Values == nil || told[0].Changes[0].New.Values != nil {
		t.Errorf("the row behind the staging was told first")
	}
}

// The power goes at every sync and between all steps of stagings, other commits and
// flushes: each staging is there whole or not at all, and there if it was acknowledged.
func TestCrashWhileStaging(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	type moment struct {
		step  string
		disk  *vfs.MemFS
		sink  *fakeSink
		acked map[int64]Commit // by the first id
	}
	const rows = 3000 // several batches
	disk, sink, rng := vfs.NewCrashableMem(), newFakeSink(), rand.New(rand.NewPCG(seed, 1))
	var mu sync.Mutex // guards what follows
	var moments []moment
	step, acked := "", map[int64]Commit{}
	crash := func() {
		mu.Lock()
		defer mu.Unlock()
		m := moment{step: step, disk: disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng}), sink: sink.clone(), acked: map[int64]Commit{}}
		for id, c := range acked {
			m.acked[id] = c
		}
		moments = append(moments, m)
	}
	at := func(s string) {
		mu.Lock()
		step = s
		mu.Unlock()
		crash()
	}
	b := start(t, Options{FS: hookFS{disk, crash}, Sink: sink, Policy: never})
	moments = nil
	for i, from := range []int64{10_000, 20_000, 30_000} {
		at("before")
		st := b.stage(ana, from, from+rows/2)
		at("half")
		b.commit(ben, insert(from, "somebody else"))
		for id := from + rows/2 + 1; id < from+rows; id++ {
			if err := st.Add(keyOf(id), values(id, fmt.Sprint("row ", id))); err != nil {
				t.Fatal(err)
			}
		}
		at("added")
		if err := b.check(st); err != nil {
			t.Fatal(err)
		}
		b.commit(ana, insert(int64(i), "meanwhile"))
		at("checked")
		if from == 20_000 {
			if err := st.Close(); err != nil {
				t.Fatal(err)
			}
			at("closed")
			continue
		}
		c := b.commitStaged(st)
		mu.Lock()
		acked[from] = c
		mu.Unlock()
		at("committed")
		b.commit(ana, update(b.get(ana, from+1), "changed"))
		at("changed")
		b.flushAll()
		at("flushed")
	}
	b.stop()
	t.Logf("%d crashes", len(moments))
	if len(moments) < 40 {
		t.Fatalf("only %d crashes", len(moments))
	}
	for i, m := range moments {
		ok := t.Run(fmt.Sprintf("%03d %s", i, m.step), func(t *testing.T) {
			b := start(t, Options{FS: m.disk, Sink: m.sink, Policy: never, SeqFloor: m.sink.max()})
			defer b.stop()
			if left := b.staged(); left != 0 {
				t.Fatalf("%d keys of a staging are left", left)
			}
			b.flushAll()
			stored := m.sink.stored(ana)
			for _, from := range []int64{10_000, 20_000, 30_000} {
				n, first := 0, row.Seq(0)
				for id := from; id < from+rows; id++ {
					r, there := stored[string(keyOf(id))]
					if !there {
						continue
					}
					n++
					if id == from {
						first = r.Seq
					} else if want := first + row.Seq(id-from); r.Seq != want && id != from+1 {
						t.Fatalf("row %d has seq %d, expected %d", id, r.Seq, want)
					}
				}
				c, told := m.acked[from]
				if n != 0 && n != rows || told && (n != rows || first != c.First) {
					t.Fatalf("%d rows from %d with seq %d, acknowledged: %t %+v", n, from, first, told, c)
				}
				if n == rows {
					changes := 0
					err := b.Changes(context.Background(), ana, first-1, first+rows-1, func(batch *row.Batch) error {
						changes += len(batch.Changes)
						return nil
					})
					if err != nil || changes != rows {
						t.Fatalf("%d changes, %v", changes, err)
					}
				}
			}
			if len(m.sink.twice()) > 0 {
				t.Fatalf("stored twice: %v", m.sink.twice())
			}
		})
		if !ok {
			return
		}
	}
}

// A partition is forgotten with what a staging has brought, whether that was committed
// before or is open: then Forget comes after it.
func TestForgetStaged(t *testing.T) {
	b := start(t, Options{FS: vfs.NewMem(), Policy: never})
	st := b.stage(ana, 1, 20)
	b.commitStaged(st)
	other := b.commitStaged(b.stage(ben, 1, 20))
	st = b.stage(ana, 30, 40)
	var forgotten Forgotten
	done := make(chan error, 1)
	go func() {
		var err error
		forgotten, err = b.Forget(context.Background(), ana, func() error { return nil })
		done <- err
	}()
	if err := b.check(st); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		t.Fatalf("forgotten beside an open staging: %v", err)
	default:
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || forgotten.Rows != 31 || forgotten.Changes != 31 {
		t.Errorf("%+v, %v, expected 31 rows and changes", forgotten, err)
	}
	for _, r := range privateRanges(ana) {
		it, err := b.db.NewIter(&pebble.IterOptions{LowerBound: r[0], UpperBound: r[1]})
		if err != nil {
			t.Fatal(err)
		}
		if it.First() {
			t.Errorf("%q is still there", it.Key())
		}
		_ = it.Close()
	}
	if got := b.replayed(ben, other.First, other.Last); strings.Count(got, "INSERT") != 19 {
		t.Errorf("the changes of another user: %s", got)
	}
	b.commitStaged(b.stage(ana, 1, 20))
	if got := len(b.rowsOf(ana)); got != 20 {
		t.Errorf("%d rows afterwards, expected 20", got)
	}
}

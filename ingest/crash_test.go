package ingest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamdb/row"
)

// A hookFS calls hook around every sync of a file or folder.
type hookFS struct {
	vfs.FS
	hook func()
}

type hookFile struct {
	vfs.File
	hook func()
}

func (f hookFile) Sync() error     { return f.around(f.File.Sync) }
func (f hookFile) SyncData() error { return f.around(f.File.SyncData) }
func (f hookFile) SyncTo(length int64) (full bool, err error) {
	err = f.around(func() error { full, err = f.File.SyncTo(length); return err })
	return full, err
}

func (f hookFile) around(sync func() error) error {
	f.hook()
	defer f.hook()
	return sync()
}

func (fs hookFS) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return hookFile{f, fs.hook}, nil
}

func (fs hookFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.wrap(fs.FS.Create(name, c))
}
func (fs hookFS) OpenDir(name string) (vfs.File, error) { return fs.wrap(fs.FS.OpenDir(name)) }
func (fs hookFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return fs.wrap(fs.FS.OpenReadWrite(name, c, o...))
}
func (fs hookFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.wrap(fs.FS.ReuseForWrite(from, to, c))
}

// A crash is the world at the moment the power went: the disk, the lake, and what the
// clients had been told until then.
type crash struct {
	step string
	disk *vfs.MemFS
	sink *fakeSink
	told map[int64]row.Row // newest acknowledged version by id
	max  row.Seq           // the largest Seq anybody has seen
}

// A crasher writes, updates, deletes and flushes, and records a crash at every sync and
// at every step of a flush.
type crasher struct {
	t    *testing.T
	b    *running
	disk *vfs.MemFS
	sink *fakeSink
	rng  *rand.Rand

	mu      sync.Mutex
	step    string
	told    map[int64]row.Row
	max     row.Seq
	crashes []crash
}

func (s *fakeSink) clone() *fakeSink {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := newFakeSink()
	for p, rows := range s.rows {
		c.rows[p] = maps.Clone(rows)
	}
	c.seqs, c.through = maps.Clone(s.seqs), maps.Clone(s.through)
	c.doubled = slices.Clone(s.doubled)
	return c
}

func (c *crasher) crash() {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := crash{step: c.step, told: maps.Clone(c.told), max: c.max}
	// Half of what was not synced is on the disk by luck.
	x.disk = c.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: c.rng})
	x.sink = c.sink.clone()
	c.crashes = append(c.crashes, x)
}

func (c *crasher) at(step string) {
	c.mu.Lock()
	c.step = step
	c.mu.Unlock()
	c.crash()
}

func (c *crasher) write(step string, id int64, m Mutation) {
	c.t.Helper()
	c.at(step)
	got := c.b.commit(ana, m)
	r := c.b.get(ana, id)
	if r.Seq != got.Last {
		c.t.Fatalf("%s: read seq %d after commit %d", step, r.Seq, got.Last)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told[id], c.max = r, got.Last
}

func TestCrashAtEveryStep(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	c := &crasher{t: t, disk: vfs.NewCrashableMem(), sink: newFakeSink(), rng: rand.New(rand.NewPCG(seed, 1)), told: map[int64]row.Row{}}
	c.sink.before = func(row.TableRef) error { c.at("sealed, not stored"); return nil }
	c.sink.after = func(row.TableRef) error { c.at("stored, not trimmed"); return nil }
	c.b = start(t, Options{FS: hookFS{c.disk, c.crash}, Sink: c.sink, Policy: never})
	c.crashes = nil // making the folder is Pebble's business: there is nothing to lose yet
	for round := range 3 {
		for i := range int64(4) {
			id := int64(round)*4 + i
			c.write("insert", id, insert(id, fmt.Sprintf("round %d", round)))
		}
		old := c.b.get(ana, int64(round)*4)
		c.write("update", int64(round)*4, update(old, "updated"))
		old = c.b.get(ana, int64(round)*4+1)
		c.write("delete", int64(round)*4+1, remove(old))
		c.at("before the flush")
		c.b.flushAll()
		c.at("trimmed")
		if c.b.Stats().Rows != 0 {
			t.Fatalf("%d rows left", c.b.Stats().Rows)
		}
		// A row that is only in the lake is changed.
		inLake, ok := c.sink.get(ana, keyOf(int64(round)*4+2))
		if !ok {
			t.Fatal("not in the lake")
		}
		c.write("update of a lake row", int64(round)*4+2, update(inLake, "from the lake"))
	}
	c.b.stop()
	c.at("stopped")
	t.Logf("%d crashes", len(c.crashes))
	if len(c.crashes) < 60 {
		t.Fatalf("only %d crashes", len(c.crashes))
	}
	for i, x := range c.crashes {
		if !t.Run(fmt.Sprintf("%03d %s", i, x.step), x.check) {
			return
		}
	}
}

// check starts again after the crash: nothing acknowledged is lost, nothing reaches the
// lake twice, no Seq is used again.
func (x crash) check(t *testing.T) {
	b := start(t, Options{FS: x.disk, Sink: x.sink, Policy: never, SeqFloor: x.sink.max()})
	look := func(when string) {
		t.Helper()
		rows := b.rowsOf(ana)
		for id, want := range x.told {
			got, ok := rows[string(keyOf(id))]
			if !ok {
				got, ok = x.sink.get(ana, keyOf(id))
			}
			if !ok {
				t.Fatalf("%s: row %d of seq %d is lost", when, id, want.Seq)
			}
			if got.Seq < want.Seq || (got.Seq == want.Seq && (got.Deleted != want.Deleted || got.Values[1] != want.Values[1])) {
				t.Fatalf("%s: row %d is %v, the client was told %v", when, id, got, want)
			}
		}
	}
	look("after the start")
	n := b.Stats().Rows
	if stats := b.flushAll(); stats.Rows > n { // a sealed generation goes by itself, perhaps before
		t.Fatalf("flushed %d rows, %d were buffered", stats.Rows, n)
	}
	look("after the flush")
	if len(x.sink.twice()) > 0 {
		t.Fatalf("stored twice: %v", x.sink.twice())
	}
	if rows := b.rowsOf(ana); len(rows) != 0 || b.Stats().Rows != 0 || b.Stats().Bytes != 0 {
		t.Fatalf("%d rows left, stats %+v", len(rows), b.Stats())
	}
	if got := b.commit(ana, insert(1000, "after the crash")); got.First <= x.max {
		t.Fatalf("seq %d was used again: %d was seen before the crash", got.First, x.max)
	}
}

// The reply of the Sink is lost: it has the rows, the buffer thinks it does not.
func TestLostReply(t *testing.T) {
	sink := newFakeSink()
	b := start(t, Options{Sink: sink, Policy: never})
	b.commit(ana, insert(1, "one"))
	b.commit(ben, insert(1, "uno"))
	lost := errors.New("reply lost")
	sink.after = func(row.TableRef) error { return lost }
	if _, err := b.Flush(context.Background(), func(row.Partition) bool { return true }); !errors.Is(err, lost) {
		t.Fatalf("%v, expected the error of the sink", err)
	}
	sink.after = nil
	if stats := b.flushAll(); stats.Rows != 2 || stats.Partitions != 2 {
		t.Errorf("%+v, expected 2 rows of 2 partitions", stats)
	}
	if sink.flushes() != 1 || len(sink.twice()) > 0 {
		t.Errorf("%d calls, doubled %v", sink.flushes(), sink.twice())
	}
	if b.Stats().Rows != 0 || b.Stats().FlushFailures != 1 {
		t.Errorf("stats %+v", b.Stats())
	}
}

// The folder is older than the lake: what the lake has must not come again, and a
// client whose cursor lies where the log has a hole is told so.
func TestLakeIsAhead(t *testing.T) {
	disk, sink := vfs.NewCrashableMem(), newFakeSink()
	b := start(t, Options{FS: disk, Sink: sink, Policy: never})
	b.commit(ana, insert(1, "one"))
	first := b.commit(ana, insert(2, "two"))
	old := disk.CrashClone(vfs.CrashCloneCfg{})
	last := b.commit(ana, insert(3, "three"))
	b.flushAll()
	b.stop()

	b = start(t, Options{FS: old, Sink: sink, Policy: never, SeqFloor: last.Last})
	if rows := b.rowsOf(ana); len(rows) != 0 {
		t.Errorf("%d rows that the lake has already", len(rows))
	}
	err := b.Changes(t.Context(), ana, first.Last, last.Last, func(*row.Batch) error { return nil })
	gap := (*GapError)(nil)
	if !errors.As(err, &gap) || gap.Oldest <= last.Last {
		t.Fatalf("%v, expected a gap beyond %d", err, last.Last)
	}
	if c := b.commit(ana, insert(4, "four")); c.First != gap.Oldest+1 {
		t.Errorf("seq %d, the log is complete from %d", c.First, gap.Oldest)
	}
	if err := b.Changes(t.Context(), ana, gap.Oldest, row.SeqMax, func(*row.Batch) error { return nil }); err != nil {
		t.Error(err)
	}
}

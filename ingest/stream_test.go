package ingest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"kalamdb/row"
)

var (
	streamTable    = row.TableRef{Namespace: "app", Name: "typing", ID: 9}
	events         = row.Partition{Table: streamTable}
	ephemeralTable = row.TableRef{Namespace: "app", Name: "cursors", ID: 10}
	cursors        = row.Partition{Table: ephemeralTable}
)

// streams makes streamTable and ephemeralTable streams.
func streams(retention time.Duration, rowsMax int) func(row.TableRef) (StreamPolicy, bool) {
	return func(t row.TableRef) (StreamPolicy, bool) {
		p := StreamPolicy{Retention: retention, RowsMax: rowsMax, Ephemeral: t.ID == ephemeralTable.ID}
		return p, t.ID == streamTable.ID || p.Ephemeral
	}
}

// onDisk is how many rows and changes of a table Pebble holds.
func (r *running) onDisk(id uint64) (n int) {
	r.t.Helper()
	for _, first := range []string{"d", "c", "mp"} {
		from, to := tableRange(first, id)
		it, err := r.db.NewIter(nil)
		if err != nil {
			r.t.Fatal(err)
		}
		for ok := it.SeekGE(from); ok && string(it.Key()) < string(to); ok = it.Next() {
			if first != "mp" || id == ephemeralTable.ID {
				n++
			}
		}
		if err := it.Close(); err != nil {
			r.t.Fatal(err)
		}
	}
	return n
}

func idsOf(rows map[string]row.Row) []int64 {
	var ids []int64
	for _, k := range slices.Sorted(maps.Keys(rows)) {
		ids = append(ids, rows[k].Values[0].Int())
	}
	return ids
}

func (r *running) expectIDs(p row.Partition, want ...int64) {
	r.t.Helper()
	if got := idsOf(r.rowsOf(p)); !slices.Equal(got, want) {
		r.t.Errorf("%s has the rows %v, expected %v", p, got, want)
	}
}

func (r *running) expectGap(p row.Partition, after, oldest row.Seq) {
	r.t.Helper()
	var gap *GapError
	err := r.Changes(r.t.Context(), p, after, row.SeqMax, func(*row.Batch) error { return nil })
	if !errors.As(err, &gap) || gap.Oldest != oldest {
		r.t.Errorf("changes after %d: %v, expected a gap up to %d", after, err, oldest)
	}
}

func TestEventsEndAtTheirAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &heard{}
		sink := newFakeSink()
		o := Options{FS: vfs.NewMem(), Sink: sink, Policy: never, Observer: h, Stream: streams(10*time.Second, 100)}
		b := start(t, o)
		quietUser := b.Durable()
		first := b.commit(events, insert(1, "one"), insert(2, "two"))
		time.Sleep(5 * time.Second)
		b.commit(events, insert(3, "three"))
		b.commit(ana, insert(1, "a row"))
		time.Sleep(5*time.Second - time.Microsecond)
		b.expectIDs(events, 1, 2, 3)
		time.Sleep(time.Microsecond)
		b.expectIDs(events, 3) // at once, whether removed or not
		if _, err := b.tryCommit(events, insert(3, "again")); !errors.As(err, new(*DuplicateError)) {
			t.Errorf("the key of an event that is there: %v", err)
		}
		again := b.commit(events, insert(1, "uno")) // its key is free at the same moment
		b.expectIDs(events, 1, 3)
		time.Sleep(time.Second)
		b.expectGap(events, first.Last-1, first.Last)
		if got := b.replayed(events, first.Last, row.SeqMax); got != "INSERT three;\nINSERT uno;\n" {
			t.Errorf("replayed %q", got)
		}
		if n := b.onDisk(streamTable.ID); n != 4 { // rows and changes
			t.Errorf("%d keys on disk, expected 4", n)
		}

		b.stop()
		b = start(t, o)
		b.expectIDs(events, 1, 3)
		time.Sleep(10 * time.Second)
		b.expectIDs(events)
		b.expectGap(events, first.Last, again.Last)
		if n := b.onDisk(streamTable.ID); n != 0 {
			t.Errorf("%d keys on disk, expected none", n)
		}
		b.flushAll()
		if s := b.Stats(); s.Rows != 0 || s.Bytes != 0 {
			t.Errorf("%+v, expected an empty buffer", s)
		}
		if n := len(sink.stored(events)); n != 0 || len(sink.stored(ana)) != 1 {
			t.Errorf("%d events in the lake", n)
		}
		for _, batch := range h.all() {
			for _, c := range batch.Changes {
				if c.Op != row.Insert {
					t.Errorf("the observer heard of a %s", c.Op)
				}
			}
		}
		// A partition that never had a row may be resumed all the same.
		if got := b.replayed(ben, quietUser, row.SeqMax); got != "" {
			t.Errorf("replayed %q", got)
		}
	})
}

// Nothing is invisible for too long or too short a time, whatever the order of commits,
// pauses, restarts and flushes; and nothing stays on disk.
func TestStreamsAgainstModel(t *testing.T) {
	const retention, rowsMax = 3 * time.Second, 7
	type known struct{ id, at int64 }
	type step struct {
		op string
		p  row.Partition
		n  int64
	}
	steps := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
		return step{
			rapid.SampledFrom([]string{"insert", "insert", "insert", "sleep", "restart", "flush"}).Draw(rt, "op"),
			rapid.SampledFrom([]row.Partition{events, cursors}).Draw(rt, "stream"),
			rapid.Int64Range(1, 12).Draw(rt, "n"),
		}
	}), 1, 40)
	run := func(t *testing.T, steps []step) error {
		o := Options{FS: vfs.NewMem(), Sink: newFakeSink(), Policy: never, Stream: streams(retention, rowsMax), Listening: func(row.Partition) bool { return true }}
		b := start(t, o)
		defer func() { b.stop() }()
		models := map[row.Partition][]known{}
		young := func(k known) bool { return k.at > time.Now().Add(-retention).UnixMicro() }
		live := func(p row.Partition) []known {
			all := models[p]
			for len(all) > 0 && (!young(all[0]) || len(all) > rowsMax) {
				all = all[1:]
			}
			return all
		}
		has := func(list []known, id int64) bool {
			return slices.ContainsFunc(list, func(k known) bool { return k.id == id && young(k) })
		}
		for _, s := range steps {
			switch s.op {
			case "insert":
				c, err := b.tryCommit(s.p, insert(s.n, "x"))
				switch {
				case errors.As(err, new(*DuplicateError)):
					if !has(live(s.p), s.n) { // also before the sweep has come
						return fmt.Errorf("%d in %s: %w, expected the key to be free", s.n, s.p, err)
					}
				case err != nil:
					return err
				case has(live(s.p), s.n):
					return fmt.Errorf("%d in %s was inserted twice", s.n, s.p)
				default:
					models[s.p] = append(models[s.p], known{s.n, c.Time.UnixMicro()})
				}
			case "sleep":
				time.Sleep(time.Duration(s.n*s.n) * 17 * time.Millisecond)
			case "restart":
				b.stop()
				b = start(t, o)
				models[cursors] = nil
			case "flush":
				b.flushAll()
			}
			for _, p := range []row.Partition{events, cursors} {
				var want []int64
				for _, k := range live(p) {
					want = append(want, k.id)
				}
				slices.Sort(want)
				if got := idsOf(b.rowsOf(p)); !slices.Equal(got, want) {
					return fmt.Errorf("after %v: %s has %v, expected %v", s, p, got, want)
				}
			}
		}
		time.Sleep(retention + time.Second)
		if s := b.Stats(); s.Rows != 0 || s.Bytes != 0 || b.onDisk(streamTable.ID) != 0 || b.onDisk(ephemeralTable.ID) != 0 {
			return fmt.Errorf("%+v and %d keys on disk, expected nothing", s, b.onDisk(streamTable.ID))
		}
		return nil
	}
	rapid.Check(t, func(rt *rapid.T) {
		list := steps.Draw(rt, "steps")
		var err error
		synctest.Test(t, func(t *testing.T) { err = run(t, list) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

func TestStreamKeepsTheNewestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Options{Stream: streams(time.Hour, 3)})
		for i := range 5 {
			b.commit(events, insert(int64(9-i), "x")) // keys fall, commits rise
		}
		b.expectIDs(events, 5, 6, 7) // before anything is removed
		if _, err := b.tryCommit(events, insert(7, "again")); !errors.As(err, new(*DuplicateError)) {
			t.Errorf("the key of an event that is there: %v", err)
		}
		b.commit(events, insert(8, "again")) // the key of one too many is free at once
		b.expectIDs(events, 5, 6, 8)
		b.commit(events, insert(7, "again"))
		time.Sleep(time.Second)
		b.expectIDs(events, 5, 7, 8)
		if n := b.onDisk(streamTable.ID); n != 6 {
			t.Errorf("%d keys on disk, expected 6", n)
		}
		large := make([]Mutation, 2000)
		for i := range large {
			large[i] = insert(int64(100+i), "x")
		}
		b.commit(events, large...)
		b.expectIDs(events, 2097, 2098, 2099)
		time.Sleep(time.Second)
		if n := b.onDisk(streamTable.ID); n != 6 {
			t.Errorf("%d keys on disk, expected 6", n)
		}
	})
}

// A stream with heavy events has a limit in bytes too, and the change log of others is
// none of its business.
func TestStreamBytesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bufferMax = 8 << 20
		b := start(t, Options{BufferBytesMax: bufferMax, ChangeLogBytesMax: 2 << 20, Stream: streams(time.Hour, 1_000_000)})
		seen := b.commit(ana, insert(1, "kept"))
		heavy := string(make([]byte, 100_000))
		for i := range 100 {
			b.commit(events, insert(int64(i), heavy))
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Second)
		if n := b.Stats().Bytes; n > bufferMax/streamPart+1000 {
			t.Errorf("the stream has %d bytes, expected at most %d", n, bufferMax/streamPart)
		}
		if n := len(b.rowsOf(events)); n < 3 || n > 10 {
			t.Errorf("%d events are left", n)
		}
		if got := b.replayed(ana, seen.First-1, row.SeqMax); got != "INSERT kept;\n" {
			t.Errorf("replayed %q", got)
		}
	})
}

func TestEventsAreOnlyInserted(t *testing.T) {
	b := start(t, Options{Stream: streams(time.Hour, 10)})
	b.commit(events, insert(1, "one"))
	for _, m := range []Mutation{update(b.get(events, 1), "uno"), remove(b.get(events, 1))} {
		if _, err := b.tryCommit(events, m); !errors.Is(err, ErrMutation) {
			t.Errorf("%s of an event: %v, expected %v", m.Op, err, ErrMutation)
		}
	}
}

func TestDroppedStreamsLeaveNothing(t *testing.T) {
	b := start(t, Options{Stream: streams(time.Hour, 10), Listening: func(row.Partition) bool { return true }})
	b.commit(ana, insert(1, "stays"))
	for _, p := range []row.Partition{events, cursors} {
		b.commit(p, insert(1, "one"))
		if err := b.DropTable(t.Context(), p.Table.ID); err != nil {
			t.Fatal(err)
		}
		if n := b.onDisk(p.Table.ID); n != 0 {
			t.Errorf("%s: %d keys on disk", p, n)
		}
		if _, err := b.tryCommit(p, insert(2, "two")); !errors.Is(err, ErrDropped) {
			t.Errorf("%s: %v, expected %v", p, err, ErrDropped)
		}
	}
	if s := b.Stats(); s.Rows != 1 || s.ChangeLogBytes <= 0 {
		t.Errorf("%+v, expected ana's row and its change", s)
	}
}

func TestEphemeralEventsAreKeptForListeners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var listening atomic.Bool
		h := &heard{}
		o := Options{FS: vfs.NewMem(), Observer: h, Stream: streams(10*time.Second, 3), Listening: func(row.Partition) bool { return listening.Load() }}
		b := start(t, o)
		before := b.Durable()
		b.commit(cursors, insert(1, "unheard"))
		c := b.commit(cursors, insert(1, "unheard too")) // its key is free: it is not there
		b.expectIDs(cursors)
		b.expectGap(cursors, before, c.Last)

		listening.Store(true)
		row1 := b.commit(ana, insert(1, "in between"))
		d := b.commit(cursors, insert(4, "a"), insert(3, "b"))
		if d.First != row1.Last+1 || c.Last+1 != row1.First {
			t.Errorf("seqs %+v %+v %+v, expected one sequence", c, row1, d)
		}
		if _, err := b.tryCommit(cursors, insert(3, "taken")); !errors.As(err, new(*DuplicateError)) {
			t.Errorf("a taken key: %v", err)
		}
		if _, err := b.tryCommit(cursors, insert(8, "x"), insert(8, "y")); !errors.As(err, new(*DuplicateError)) {
			t.Errorf("a key twice in one commit: %v", err)
		}
		b.expectIDs(cursors, 3, 4)
		if got := b.replayed(cursors, c.Last, row.SeqMax); got != "INSERT a;INSERT b;\n" {
			t.Errorf("replayed %q", got)
		}
		if got := b.replayed(cursors, d.First, row.SeqMax); got != "INSERT b;\n" {
			t.Errorf("replayed from inside a commit %q", got)
		}
		b.commit(cursors, insert(1, "c"), insert(2, "d"))
		b.expectIDs(cursors, 1, 2, 3) // the newest three
		time.Sleep(5 * time.Second)
		b.commit(cursors, insert(7, "e"))
		time.Sleep(5 * time.Second)
		b.expectIDs(cursors, 7)
		b.commit(cursors, insert(1, "f")) // its key is free
		listening.Store(false)
		time.Sleep(time.Second)
		b.expectIDs(cursors)
		if s := b.Stats(); s.Rows != 1 || len(h.all()) != 7 {
			t.Errorf("%+v and %d commits heard, expected ana's row and 7", s, len(h.all()))
		}
		if n := b.onDisk(ephemeralTable.ID); n != 0 {
			t.Errorf("%d keys of an ephemeral stream on disk", n)
		}
		last := b.Durable()
		b.stop()
		b = start(t, o)
		b.expectGap(cursors, last-1, b.Durable()) // what was there is gone
		if n := b.commit(ana, insert(2, "later")).First; n <= last {
			t.Errorf("seq %d after a restart, %d was used", n, last)
		}
	})
}

// An event that takes the key of an old one between the sweeper's look and its work is
// not removed in its place.
func TestSweepSparesAKeyTakenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Options{Stream: streams(10*time.Second+sweepEvery/2, 10)})
		b.commit(events, insert(1, "old"))
		time.Sleep(10*time.Second + sweepEvery/2)
		b.mu.Lock()
		p := b.parts[idOf(events)]
		b.mu.Unlock()
		e, err := b.over(p, time.Now().UnixMicro(), 100)
		if err != nil || len(e.rows) != 1 {
			t.Fatalf("%d rows are over, %v", len(e.rows), err)
		}
		b.commit(events, insert(1, "new"))
		if err := b.control(t.Context(), func(g *group) { b.evict(g, []*eviction{e}) }); err != nil {
			t.Fatal(err)
		}
		b.expectIDs(events, 1)
		time.Sleep(time.Second)
		b.expectIDs(events, 1)
		if n := b.onDisk(streamTable.ID); n != 2 {
			t.Errorf("%d keys on disk, expected 2", n)
		}
	})
}

// After a power loss the acknowledged events of a stream are there, and no Seq that an
// ephemeral event had is used again, although it never was on disk.
func TestStreamsAfterACrash(t *testing.T) {
	disk := vfs.NewCrashableMem()
	o := Options{FS: disk, Stream: streams(time.Hour, 10)}
	b := start(t, o)
	b.commit(events, insert(1, "one"))
	var last row.Seq
	for i := range 50 {
		last = b.commit(cursors, insert(int64(i), "gone")).Last
	}
	o.FS = disk.CrashClone(vfs.CrashCloneCfg{})
	b = start(t, o)
	b.expectIDs(events, 1)
	b.expectGap(cursors, last, b.opened)
	if c := b.commit(cursors, insert(1, "new")); c.First <= last {
		t.Errorf("seq %d after the crash, %d was used", c.First, last)
	}
}

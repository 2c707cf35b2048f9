package ingest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamdb/row"
)

// A policy that a test may change while the buffer works.
type policy struct {
	rows atomic.Int64
	age  atomic.Int64
}

func (p *policy) get(row.TableRef) (int, time.Duration) {
	return int(p.rows.Load()), time.Duration(p.age.Load())
}

func TestFlushByRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink, p := newFakeSink(), &policy{}
		p.rows.Store(3)
		b := start(t, Options{Sink: sink, Policy: p.get})
		defer b.stop()
		b.commit(ana, insert(1, ""), insert(2, ""))
		b.commit(ben, insert(1, ""))
		b.commit(ana, update(b.get(ana, 1), "the same row again"))
		time.Sleep(time.Minute)
		if sink.flushes() != 0 {
			t.Fatal("flushed before there were three rows")
		}
		b.commit(ana, insert(3, ""))
		synctest.Wait()
		if len(sink.stored(ana)) != 3 || len(sink.stored(ben)) != 0 {
			t.Errorf("ana has %d rows in the lake, ben %d, expected 3 and 0", len(sink.stored(ana)), len(sink.stored(ben)))
		}
		if got, _ := sink.get(ana, keyOf(1)); got.Values[1].Str() != "the same row again" {
			t.Errorf("the lake has %v", got)
		}
		p.rows.Store(1) // ALTER acts without another write
		time.Sleep(2 * lookEvery)
		if len(sink.stored(ben)) != 1 {
			t.Error("a smaller row limit did not flush ben")
		}
	})
}

func TestFlushByBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newFakeSink()
		b := start(t, Options{Sink: sink, Policy: never, FlushBytes: 1000})
		defer b.stop()
		b.commit(ana, insert(1, strings.Repeat("x", 500)))
		time.Sleep(time.Minute)
		if sink.flushes() != 0 {
			t.Fatal("flushed below 1,000 bytes")
		}
		b.commit(ana, insert(2, strings.Repeat("x", 500)))
		b.commit(ben, insert(1, ""))
		synctest.Wait()
		if len(sink.stored(ana)) != 2 || len(sink.stored(ben)) != 0 {
			t.Errorf("ana has %d rows in the lake, ben %d, expected 2 and 0", len(sink.stored(ana)), len(sink.stored(ben)))
		}
	})
}

func TestFlushByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, sink, p := vfs.NewCrashableMem(), newFakeSink(), &policy{}
		p.age.Store(int64(5 * time.Minute))
		o := Options{FS: disk, Sink: sink, Policy: p.get}
		b := start(t, o)
		b.commit(ana, insert(1, ""))
		time.Sleep(time.Minute)
		b.commit(ana, insert(2, "does not move the deadline"))
		b.commit(ben, insert(1, "a minute younger"))
		time.Sleep(3*time.Minute + 50*time.Second)
		if sink.flushes() != 0 {
			t.Fatal("flushed ten seconds too early")
		}
		b.stop()

		b = start(t, o) // the deadline survives
		time.Sleep(10*time.Second + 2*lookEvery)
		if len(sink.stored(ana)) != 2 || len(sink.stored(ben)) != 0 {
			t.Errorf("ana has %d rows in the lake, ben %d, expected 2 and 0", len(sink.stored(ana)), len(sink.stored(ben)))
		}
		p.age.Store(int64(time.Hour)) // ALTER to a longer age
		time.Sleep(30 * time.Minute)
		if len(sink.stored(ben)) != 0 {
			t.Error("flushed at the old age")
		}
		p.age.Store(int64(10 * time.Minute)) // and to a shorter one
		time.Sleep(2 * lookEvery)
		if len(sink.stored(ben)) != 1 {
			t.Error("not flushed at the new age")
		}
		b.stop()
	})
}

// A table with many users flushes them together, not one by one.
func TestFlushGroupsUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink, p := newFakeSink(), &policy{}
		p.age.Store(int64(100 * time.Second))
		b := start(t, Options{Sink: sink, Policy: p.get})
		defer b.stop()
		const users = 100
		for i := range users { // one new user each second
			b.commit(row.Partition{Table: testTable, User: row.UserID(fmt.Sprint(i))}, insert(1, ""))
			time.Sleep(time.Second)
		}
		time.Sleep(110 * time.Second)
		if sink.partitions() != users || sink.flushes() > 12 {
			t.Errorf("%d users in %d calls, expected %d in about ten", sink.partitions(), sink.flushes(), users)
		}
	})
}

// A table whose flush fails or hangs stops neither other tables nor its own readers,
// and its own flush backs off and comes through when the lake does.
func TestBrokenTableWedgesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := row.Partition{Table: row.TableRef{Namespace: "app", Name: "tasks", ID: 8}, User: "ana"}
		hangs := row.Partition{Table: row.TableRef{Namespace: "app", Name: "logs", ID: 9}, User: "ana"}
		sink, p := newFakeSink(), &policy{}
		var down atomic.Bool
		var tries atomic.Int64
		down.Store(true)
		release := make(chan struct{})
		sink.before = func(table row.TableRef) error {
			switch {
			case table == hangs.Table:
				<-release
			case table == testTable && down.Load():
				tries.Add(1)
				return errors.New("no bucket")
			}
			return nil
		}
		p.rows.Store(1)
		b := start(t, Options{Sink: sink, Policy: p.get})
		defer b.stop()
		b.commit(hangs, insert(1, ""))
		b.commit(ana, insert(1, "in the buffer"))
		time.Sleep(10 * time.Minute)
		if n := tries.Load(); n < 8 || n > 12 {
			t.Errorf("%d tries in ten minutes, expected about ten: 1 s, 2 s, 4 s … 5 min", n)
		}
		b.commit(other, insert(1, ""))
		synctest.Wait()
		if len(sink.stored(other)) != 1 {
			t.Error("another table's rows did not get through")
		}
		b.commit(ana, insert(2, "after the failure"))
		if len(b.rowsOf(ana)) != 2 {
			t.Error("the rows of the failing table are not readable")
		}
		before := tries.Load()
		if _, err := b.Flush(t.Context(), func(q row.Partition) bool { return q == ana }); err == nil || !strings.Contains(err.Error(), "no bucket") {
			t.Errorf("FLUSH into the broken lake: %v, expected its error", err)
		}
		if tries.Load() != before+1 {
			t.Error("FLUSH waited for the back-off")
		}
		down.Store(false)
		close(release)
		time.Sleep(retryMax + 2*lookEvery)
		if len(sink.stored(ana)) != 2 || len(sink.stored(hangs)) != 1 || b.Stats().Rows != 0 {
			t.Errorf("after the repair: ana %d, logs %d, %d rows buffered", len(sink.stored(ana)), len(sink.stored(hangs)), b.Stats().Rows)
		}
		if len(sink.twice()) > 0 {
			t.Errorf("stored twice: %v", sink.twice())
		}
	})
}

func TestFlushWaitsForAll(t *testing.T) {
	sink := newFakeSink()
	var infos []FlushInfo
	var mu sync.Mutex
	note := func(i FlushInfo) {
		mu.Lock()
		defer mu.Unlock()
		infos = append(infos, i)
	}
	b := start(t, Options{Sink: sink, Policy: never, Events: Events{FlushStarted: note, Flushed: note}})
	if stats := b.flushAll(); stats != (FlushStats{}) {
		t.Errorf("flush of nothing: %+v", stats)
	}
	// While one flush hangs in the lake, more rows come, and another FLUSH.
	entered, release := make(chan struct{}), make(chan struct{})
	first := true
	sink.before = func(row.TableRef) error {
		if first {
			first = false
			close(entered)
			<-release
		}
		return nil
	}
	b.commit(ana, insert(1, ""))
	one := make(chan FlushStats)
	go func() { one <- b.flushAll() }()
	<-entered
	b.commit(ana, insert(2, ""))
	b.commit(ben, insert(1, ""))
	both := make(chan FlushStats)
	go func() { both <- b.flushAll() }()
	for b.waiting() < 2 {
		time.Sleep(time.Millisecond)
	}
	if n := len(b.rowsOf(ana)); n != 2 {
		t.Errorf("%d rows readable during the flush", n)
	}
	close(release)
	if stats := <-one; stats.Rows != 1 || stats.Partitions != 1 {
		t.Errorf("the first flush moved %+v, expected one row", stats)
	}
	if stats := <-both; stats.Rows != 3 || stats.Partitions != 2 {
		t.Errorf("the second flush moved %+v, expected 3 rows of 2 partitions", stats)
	}
	if len(sink.stored(ana)) != 2 || len(sink.stored(ben)) != 1 || b.Stats().Rows != 0 || b.Stats().Bytes != 0 {
		t.Errorf("ana %d, ben %d, stats %+v", len(sink.stored(ana)), len(sink.stored(ben)), b.Stats())
	}
	b.stop()
	started := 0
	for _, i := range infos {
		if i.Took == 0 {
			started++
		}
		if i.Table != testTable || i.Rows == 0 || i.Err != nil {
			t.Errorf("event %s", i)
		}
	}
	if started*2 != len(infos) {
		t.Errorf("%d of %d events are starts", started, len(infos))
	}
}

func (b *Buffer) waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waits)
}

// Large generations go by one range delete, small ones key by key; neither touches the
// rows next to them.
func TestTrimLeavesNeighbours(t *testing.T) {
	sink := newFakeSink()
	b := start(t, Options{Sink: sink, Policy: never})
	for _, p := range []row.Partition{ana, ben, {Table: testTable, User: "an"}, {Table: testTable, User: "anaa"}} {
		var m []Mutation
		for id := range int64(pointDeletesMax + 10) {
			m = append(m, insert(id, "x"))
		}
		b.commit(p, m...)
	}
	if _, err := b.Flush(t.Context(), func(p row.Partition) bool { return p == ana }); err != nil {
		t.Fatal(err)
	}
	b.commit(ana, insert(5000, "next generation"))
	if _, err := b.Flush(t.Context(), func(p row.Partition) bool { return p == ana }); err != nil {
		t.Fatal(err)
	}
	if n := len(b.rowsOf(ana)); n != 0 {
		t.Errorf("%d rows of ana left", n)
	}
	for _, u := range []row.UserID{"an", "anaa", "ben"} {
		if n := len(b.rowsOf(row.Partition{Table: testTable, User: u})); n != pointDeletesMax+10 {
			t.Errorf("%d rows of %s left", n, u)
		}
	}
}

func TestBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newFakeSink()
		var down atomic.Bool
		down.Store(true)
		sink.before = func(row.TableRef) error {
			if down.Load() {
				return errors.New("no bucket")
			}
			return nil
		}
		b := start(t, Options{Sink: sink, Policy: never, BufferBytesMax: 100_000})
		defer b.stop()
		text := strings.Repeat("x", 1000)
		id, full := int64(0), error(nil)
		for full == nil && id < 1000 {
			id++
			_, full = b.tryCommit(ana, insert(id, text))
		}
		if !errors.Is(full, ErrFull) || id < 80 || id > 100 {
			t.Fatalf("row %d: %v, expected ErrFull after about 95 rows of 1 kB", id, full)
		}
		if s := b.Stats(); s.Bytes > s.BytesMax {
			t.Errorf("%d bytes buffered, the limit is %d", s.Bytes, s.BytesMax)
		}
		if len(b.rowsOf(ana)) != int(id-1) {
			t.Error("rows are not readable while the buffer is full")
		}
		down.Store(false)
		time.Sleep(2 * time.Minute) // high water flushes although the policy never does
		if _, err := b.tryCommit(ana, insert(id, text)); err != nil {
			t.Errorf("after the lake is back: %v", err)
		}
	})
}

// Above the high water the largest partitions go first.
func TestHighWaterTakesTheLargest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newFakeSink()
		b := start(t, Options{Sink: sink, Policy: never, BufferBytesMax: 100_000})
		defer b.stop()
		b.commit(ana, insert(1, strings.Repeat("x", 35_000)))
		b.commit(ben, insert(1, strings.Repeat("x", 20_000)))
		time.Sleep(time.Minute)
		if sink.flushes() != 0 {
			t.Fatal("flushed below the high water")
		}
		b.commit(ben, insert(2, strings.Repeat("x", 10_000)))
		time.Sleep(time.Minute)
		if len(sink.stored(ana)) != 1 || len(sink.stored(ben)) != 0 {
			t.Errorf("ana %d, ben %d rows in the lake, expected only the largest", len(sink.stored(ana)), len(sink.stored(ben)))
		}
	})
}

func TestDropTable(t *testing.T) {
	sink := newFakeSink()
	entered := make(chan struct{})
	sink.before = func(row.TableRef) error { close(entered); return errors.New("cancelled late") }
	o := Options{Sink: sink, Policy: never, FS: vfs.NewMem()}
	b := start(t, o)
	other := row.Partition{Table: row.TableRef{Namespace: "app", Name: "tasks", ID: 8}, User: "ana"}
	b.commit(ana, insert(1, "one"))
	b.commit(other, insert(1, "stays"))
	flushed := make(chan error)
	go func() {
		_, err := b.Flush(context.Background(), func(p row.Partition) bool { return p == ana })
		flushed <- err
	}()
	<-entered
	if err := b.DropTable(t.Context(), testTable.ID); err != nil {
		t.Fatal(err)
	}
	<-flushed
	if _, err := b.tryCommit(ana, insert(2, "")); !errors.Is(err, ErrDropped) {
		t.Errorf("%v, expected ErrDropped", err)
	}
	if err := b.DropTable(t.Context(), 12345); err != nil {
		t.Errorf("unknown table: %v", err)
	}
	check := func() {
		t.Helper()
		if infos := b.Partitions(); len(infos) != 1 || infos[0].Partition != other {
			t.Errorf("partitions %v, expected only %s", infos, other)
		}
		if len(b.rowsOf(ana)) != 0 || len(b.rowsOf(other)) != 1 || b.Stats().Rows != 1 {
			t.Errorf("ana %d, other %d rows, stats %+v", len(b.rowsOf(ana)), len(b.rowsOf(other)), b.Stats())
		}
		n := 0
		if err := b.Changes(t.Context(), ana, 0, row.SeqMax, func(*row.Batch) error { n++; return nil }); err != nil || n != 0 {
			t.Errorf("%d changes of the dropped table, %v", n, err)
		}
	}
	check()
	b.stop()
	b = start(t, o)
	check()
}

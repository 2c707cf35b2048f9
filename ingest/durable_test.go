package ingest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamdb/row"
)

// A heard remembers what the Observer was told.
type heard struct {
	mu      sync.Mutex
	batches []*row.Batch
}

func (h *heard) Committed(b *row.Batch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.batches = append(h.batches, b)
}

// CommittedBulk notes the end of the bulk as if it were a batch.
func (h *heard) CommittedBulk(p row.Partition, last row.Seq) {
	h.Committed(&row.Batch{Partition: p, Changes: []row.Change{{Op: row.Insert, New: row.Row{Seq: last}}}})
}

func (h *heard) all() []*row.Batch {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.batches)
}

// While the disk does not answer nobody hears of the row: no ack, no event, no view,
// no replay, no watermark. Then everybody does.
func TestNothingIsSeenBeforeTheSync(t *testing.T) {
	var gate atomic.Pointer[chan struct{}]
	disk := vfs.NewCrashableMem()
	fs := hookFS{disk, func() {
		if c := gate.Load(); c != nil {
			<-*c
		}
	}}
	h := &heard{}
	b := start(t, Options{FS: fs, Observer: h})
	first := b.commit(ana, insert(1, "one"))
	for len(h.all()) < 1 {
		time.Sleep(time.Millisecond)
	}
	closed := make(chan struct{})
	gate.Store(&closed)

	acked := make(chan Commit, 1)
	go func() {
		c, err := b.tryCommit(ana, insert(2, "two"))
		if err != nil {
			t.Error(err)
		}
		acked <- c
	}()
	var v *View
	var rec record
	for { // until the row is in Pebble; its sync hangs
		v = b.View()
		if _, err := readSnapshot(v.snap, appendPartitionKey(nil, partitionPrefix(ana)), rec.read); err != nil {
			t.Fatal(err)
		}
		if rec.last > first.Last {
			break
		}
		v.Close()
		time.Sleep(time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond) // room for a mistake
	if b.Durable() != first.Last {
		t.Errorf("durable %d before the sync, expected %d", b.Durable(), first.Last)
	}
	if n := len(h.all()); n != 1 {
		t.Errorf("%d events before the sync, expected the first one", n)
	}
	if len(acked) != 0 {
		t.Error("acknowledged before the sync")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := v.Partition(ctx, ana); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("view of ana: %v, expected it to wait", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	replayed := func(*row.Batch) error { t.Error("replayed before the sync"); return nil }
	if err := b.Changes(ctx, ana, first.Last, row.SeqMax, replayed); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("changes of ana: %v, expected them to wait", err)
	}
	if s, err := v.Partition(t.Context(), ben); err != nil || s.Seq() != first.Last {
		t.Errorf("view of ben: %v, expected no wait: he has no rows", err)
	}
	crashed := disk.CrashClone(vfs.CrashCloneCfg{})

	gate.Store(nil)
	close(closed)
	s, err := v.Partition(t.Context(), ana) // waits
	if err != nil || s.Len() != 2 {
		t.Errorf("view after the sync: %v", err)
	}
	if c := <-acked; b.Durable() < c.Last || s.Seq() < c.Last {
		t.Errorf("acknowledged %d, durable %d, view %d", c.Last, b.Durable(), s.Seq())
	}
	v.Close()
	b.stop()
	if n := len(h.all()); n != 2 {
		t.Errorf("%d events after the sync, expected 2", n)
	}

	// Had the power gone instead, the row would be lost, but not its Seq free.
	again := start(t, Options{FS: crashed})
	if n := len(again.rowsOf(ana)); n != 1 {
		t.Errorf("%d rows after the crash, expected the durable one", n)
	}
	if c := again.commit(ana, insert(3, "three")); c.First <= rec.last {
		t.Errorf("seq %d after a crash, Pebble had shown %d", c.First, rec.last)
	}
}

// Events come in the order of Seq, complete, each after its commit is durable.
func TestObserverOrder(t *testing.T) {
	h := &heard{}
	var b *running
	check := observerFunc(func(batch *row.Batch) {
		if batch.Last() > b.Durable() {
			t.Errorf("told of %d, durable %d", batch.Last(), b.Durable())
		}
		h.Committed(batch)
	})
	b = start(t, Options{Observer: check})
	const writers, commits = 16, 100
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			p := row.Partition{Table: testTable, User: row.UserID(rune('a' + w%4))}
			for i := range int64(commits) {
				id := int64(w)*1000 + i
				m := []Mutation{insert(id*2, "x"), insert(id*2+1, "y")}
				if _, err := b.Commit(context.Background(), Write{Partition: p, Schema: testSchema, Fresh: true, Mutations: m}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.stop()
	batches := h.all()
	if len(batches) != writers*commits {
		t.Fatalf("%d events, expected %d", len(batches), writers*commits)
	}
	last := row.Seq(0)
	for _, batch := range batches {
		for _, c := range batch.Changes {
			if c.New.Seq <= last {
				t.Fatalf("seq %d after %d", c.New.Seq, last)
			}
			if c.Op != row.Insert || c.Old != nil || c.New.Updated == 0 || len(c.New.Values) != 2 {
				t.Fatalf("change %+v", c)
			}
			last = c.New.Seq
		}
	}
}

type observerFunc func(*row.Batch)

func (f observerFunc) Committed(b *row.Batch) { f(b) }

func (f observerFunc) CommittedBulk(row.Partition, row.Seq) {}

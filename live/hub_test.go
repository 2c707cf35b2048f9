package live

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kalamdb/row"
)

// ended takes what is left and returns the end.
func ended(t testing.TB, s *Subscription) *EndedError {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		_, err := s.Next(ctx)
		if err == nil {
			continue
		}
		var e *EndedError
		if !errors.As(err, &e) {
			t.Fatalf("expected the end, got %v", err)
		}
		return e
	}
}

func TestOnlyItsPartition(t *testing.T) {
	hub := NewHub(Options{})
	st := newStore(hub)
	ana := subscribe(t, hub, testSpec("a", "ana", nil))
	ben := subscribe(t, hub, testSpec("b", "ben", nil))
	other := testSpec("c", "ana", nil)
	other.Partition.Table.ID++ // the same name, another life
	old := subscribe(t, hub, other)
	for _, s := range []*Subscription{ana, ben, old} {
		s.Start(0)
	}
	st.commit("ana", write{"k", 1})
	st.commit("ben", write{"k", 2})
	st.commit("cid", write{"k", 3})
	expect(t, ana, "INSERT k=1 @1")
	expect(t, ben, "INSERT k=2 @2")
	for _, s := range []*Subscription{ana, ben, old} {
		idle(t, s)
	}
}

func TestSubscribeRefuses(t *testing.T) {
	hub := NewHub(Options{SubscriptionsMax: 2})
	first := subscribe(t, hub, testSpec("a", "ana", nil))
	if _, err := hub.Subscribe(testSpec("a", "ben", nil)); err != ErrExists {
		t.Errorf("the same id: %v", err)
	}
	subscribe(t, hub, testSpec("b", "ana", nil))
	if _, err := hub.Subscribe(testSpec("c", "ana", nil)); err != ErrTooMany {
		t.Errorf("the third of two: %v", err)
	}
	first.Close()
	subscribe(t, hub, testSpec("a", "ana", nil)) // the id is free again
	for _, change := range []func(*Spec){
		func(s *Spec) { s.Schema = nil },
		func(s *Spec) { s.Columns = []int{0, 2} },
		func(s *Spec) { s.Columns = []int{-4, 0} },
		func(s *Spec) { s.Names = nil },
	} {
		spec := testSpec("x", "ana", nil)
		change(&spec)
		if _, err := hub.Subscribe(spec); err == nil {
			t.Errorf("%+v is accepted", spec)
		}
	}
	hub.CloseAll("shutdown")
	if _, err := hub.Subscribe(testSpec("z", "ana", nil)); err != ErrClosed {
		t.Errorf("after CloseAll: %v", err)
	}
}

func TestEnds(t *testing.T) {
	for _, c := range []struct {
		name   string
		end    func(h *Hub, s *Subscription) bool
		reason string
	}{
		{"kill", func(h *Hub, s *Subscription) bool { return h.Kill("a") }, ReasonKilled},
		{"table", func(h *Hub, s *Subscription) bool { return h.EndTable(7, ReasonTableDropped) == 1 }, ReasonTableDropped},
		{"all", func(h *Hub, s *Subscription) bool { h.CloseAll("shutdown"); return true }, "shutdown"},
		{"close", func(h *Hub, s *Subscription) bool { s.Close(); return true }, ReasonClosed},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub := NewHub(Options{})
				st := newStore(hub)
				s := subscribe(t, hub, testSpec("a", "ana", nil))
				s.Start(0)
				st.commit("ana", write{"k", 1})
				st.commit("ana", write{"k", 2})
				expect(t, s, "INSERT k=1 @1", "UPDATE k=2<1 @2")
				result := make(chan error)
				go func() {
					_, err := s.Next(t.Context())
					result <- err
				}()
				synctest.Wait() // until it waits
				if hub.Kill("b") || hub.EndTable(8, "x") != 0 {
					t.Error("ended what is not there")
				}
				if !c.end(hub, s) {
					t.Error("nothing was ended")
				}
				err := <-result
				var e *EndedError
				if !errors.As(err, &e) || e.Reason != c.reason || e.Seq != 2 || e.Cause != nil {
					t.Errorf("got %v", err)
				}
				if hub.Kill("a") || len(hub.List()) != 0 || hub.CountTable(7) != 0 {
					t.Error("it is still there")
				}
				st.commit("ana", write{"k", 3})
				if again := ended(t, s); again != e {
					t.Errorf("then %v", again)
				}
			})
		})
	}
}

// What was queued or half delivered when the end comes is not delivered any more, so
// that the Seq of the end is the whole truth.
func TestEndDropsWhatIsLeft(t *testing.T) {
	hub := NewHub(Options{})
	st := newStore(hub)
	s := subscribe(t, hub, testSpec("a", "ana", nil))
	s.Start(0)
	st.commit("ana", write{"k", 1}, write{"k", 2}, write{"k", gone})
	expect(t, s, "INSERT k=1 @1")
	hub.Kill("a")
	if e := ended(t, s); e.Seq != 1 {
		t.Errorf("ended at %d, expected 1", e.Seq)
	}
	if s.queue != nil || s.replay != nil || s.events != nil {
		t.Error("an ended subscription holds on to batches")
	}
}

func TestInfo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := NewHub(Options{Node: "n1"})
		st := newStore(hub)
		start := time.Now()
		spec := testSpec("c1-m", "ana", nil)
		spec.ConnectionID, spec.QueryID, spec.Query, spec.Options, spec.User = "c1", "m", "SELECT *", "{}", "ana"
		s := subscribe(t, hub, spec)
		s.Start(0)
		time.Sleep(time.Second)
		subscribe(t, hub, testSpec("a", "ben", nil))
		list := hub.List()
		if len(list) != 2 || list[0].ID != "c1-m" || list[1].ID != "a" || hub.CountTable(7) != 2 || hub.Count() != 2 {
			t.Fatalf("list %+v", list)
		}
		if i, ok := hub.Find("a"); !ok || i.ID != "a" || !i.Created.Equal(start.Add(time.Second)) {
			t.Errorf("found %+v, %v", i, ok)
		}
		if _, ok := hub.Find("b"); ok {
			t.Error("found what is not there")
		}
		if i := list[0]; i.ConnectionID != "c1" || i.QueryID != "m" || i.Query != "SELECT *" || i.Options != "{}" || i.User != "ana" ||
			i.Node != "n1" || !i.Created.Equal(start) || !i.Updated.Equal(start) || i.Changes != 0 {
			t.Errorf("info %+v", i)
		}
		st.commit("ana", write{"a", 1}, write{"b", 1}, write{"a", 2})
		time.Sleep(time.Second)
		expect(t, s, "INSERT a=1 b=1 @2", "UPDATE a=2<1 @3")
		if i := hub.List()[0]; i.Changes != 3 || !i.Updated.Equal(start.Add(2*time.Second)) {
			t.Errorf("later %+v", i)
		}
	})
}

// TestChurn subscribes and unsubscribes while commits go on, and nothing is left.
func TestChurn(t *testing.T) {
	const rounds, workers, users = 100_000, 4, 50
	hub := NewHub(Options{})
	batches := make([]*row.Batch, users)
	for i := range batches {
		st := newStore(NewHub(Options{}))
		batches[i] = st.commit(row.UserID(fmt.Sprint("u", i)), write{"k", 1})
	}
	stop, commits := make(chan struct{}), 0
	var committing, churning sync.WaitGroup
	committing.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				hub.Committed(batches[commits%users])
				commits++
				time.Sleep(10 * time.Microsecond)
			}
		}
	})
	for w := range workers {
		churning.Go(func() {
			var open []*Subscription
			for i := range rounds / workers {
				s, err := hub.Subscribe(testSpec(fmt.Sprint(w, "-", i), row.UserID(fmt.Sprint("u", (i*7+w)%users)), nil))
				if err != nil {
					t.Error(err)
					return
				}
				s.Start(0)
				open = append(open, s)
				if len(open) > 20 {
					k := i % len(open)
					if i%2 == 0 {
						open[k].Close()
					} else if !hub.Kill(open[k].spec.ID) {
						t.Error("a running live query cannot be killed")
					}
					open = slices.Delete(open, k, k+1)
				}
			}
			for _, s := range open {
				s.Close()
			}
		})
	}
	churning.Wait()
	close(stop)
	committing.Wait()
	if commits == 0 {
		t.Error("nothing was committed meanwhile")
	}
	if hub.Count() != 0 || len(hub.ids) != 0 || len(hub.tables) != 0 || len(hub.places) != 0 {
		t.Errorf("left: %d subscriptions, %d ids, %d tables, %d partitions", hub.Count(), len(hub.ids), len(hub.tables), len(hub.places))
	}
}

// heap is the memory in use after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// An idle subscription costs no goroutine and little memory.
func TestIdleSubscriptionsAreSmall(t *testing.T) {
	const n, bytesMax = 10_000, 2_000
	hub := NewHub(Options{})
	goroutines, before := runtime.NumGoroutine(), heap()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range n {
		user := row.UserID(fmt.Sprint("u", i))
		s, err := hub.Subscribe(testSpec(fmt.Sprint("c", i), user, nil))
		if err != nil {
			t.Fatal(err)
		}
		s.Start(0)
		hub.Committed(&row.Batch{Partition: testPartition(user), Changes: []row.Change{{Op: row.Insert, New: row.Row{Seq: 1, Schema: 1}}}})
		settle(hub)
		if _, err := s.Next(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Next(ctx); err != context.Canceled {
			t.Fatal(err)
		}
	}
	each := (heap() - before) / n
	t.Logf("%d B each", each)
	if each > bytesMax {
		t.Errorf("an idle subscription needs %d B, expected at most %d", each, bytesMax)
	}
	if now := runtime.NumGoroutine(); now > goroutines {
		t.Errorf("%d goroutines before, %d with %d subscriptions", goroutines, now, n)
	}
	hub.CloseAll("done")
}

// Selections of a table share their shape if they show the same, and only then.
func TestSharedShape(t *testing.T) {
	hub := NewHub(Options{})
	defer hub.CloseAll("done")
	of := func(id string, change func(*Selection)) *Shape {
		spec := testSpec(id, row.UserID(id), nil)
		change(spec.Selection)
		return subscribe(t, hub, spec).spec.Shape
	}
	first := of("a", func(s *Selection) { s.Key = "a" })
	if of("b", func(s *Selection) { s.Key = "b" }) != first {
		t.Error("the same columns of the same table are held twice")
	}
	for i, change := range []func(*Selection){
		func(s *Selection) { s.Names = []string{"id", "number"} },
		func(s *Selection) { s.Columns = []int{1, 0} },
		func(s *Selection) { s.Partition.Table.ID++ },
		func(s *Selection) { s.Schema = &row.Schema{Version: 2, Columns: s.Schema.Columns} },
	} {
		if of(fmt.Sprint("other", i), change) == first {
			t.Errorf("selection %d shares the shape of another", i)
		}
	}
}

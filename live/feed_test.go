package live

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"kalamdb/row"
)

// counted counts the rows that its filter sees.
type counted struct {
	where
	rows atomic.Int64
}

func (c *counted) Match(ctx context.Context, rows []*row.Row) ([]bool, error) {
	c.rows.Add(int64(len(rows)))
	return c.where.Match(ctx, rows)
}

// Identical subscriptions share the filter's work, the events and their JSON.
func TestIdenticalSubscriptionsShare(t *testing.T) {
	hub := NewHub(Options{})
	st := newStore(hub)
	f := &counted{where: func(n int64) bool { return n > 0 }}
	var subs []*Subscription
	for i := range 10 {
		spec := testSpec(fmt.Sprint("c", i), "ana", f)
		spec.Key = "k"
		if running := hub.Selection(spec.Partition, "k"); (running != nil) != (i > 0) {
			t.Fatalf("a running selection: %v", running)
		}
		s := subscribe(t, hub, spec)
		s.Start(0)
		subs = append(subs, s)
	}
	st.commit("ana", write{"a", 1}, write{"b", 2}, write{"c", -1})
	first, err := subs[0].Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rows, _ := subs[0].Encoded(first)
	for _, s := range subs[1:] {
		e, err := s.Next(t.Context())
		if err != nil || e != first {
			t.Fatalf("another event %v, %v", e, err)
		}
		if again, _ := s.Encoded(e); &again[0] != &rows[0] {
			t.Error("encoded again")
		}
	}
	if n := f.rows.Load(); n != 3 {
		t.Errorf("the filter saw %d rows, expected 3", n)
	}
	for _, s := range subs {
		s.Close()
	}
	if hub.Selection(testPartition("ana"), "k") != nil || len(hub.places) != 0 || len(hub.feeds) != 0 {
		t.Error("the feed is left behind")
	}
}

// A change goes only to the filters that ask for one of the values it has or had.
func TestRoutesByValue(t *testing.T) {
	hub := NewHub(Options{})
	st := newStore(hub)
	num := func(n ...int64) (values []row.Value) {
		for _, n := range n {
			values = append(values, row.IntValue(row.BigInt, n))
		}
		return values
	}
	filters := make([]*counted, 5)
	subs := make([]*Subscription, 5)
	for i := range subs {
		own := int64(i)
		filters[i] = &counted{where: func(n int64) bool { return n == own || own == 3 && n == 4 }}
		spec := testSpec(fmt.Sprint("c", i), "ana", filters[i])
		spec.Equal = []Equality{{Column: 0, Values: make([]row.Value, 9)}, {Column: 1, Values: num(own)}}
		if i == 3 {
			spec.Equal[1].Values = num(3, 4)
		}
		subs[i] = subscribe(t, hub, spec)
		subs[i].Start(0)
	}
	st.commit("ana", write{"a", 1}, write{"b", 2}, write{"c", 9}, write{"d", 1})
	expect(t, subs[1], "INSERT a=1 d=1 @4")
	expect(t, subs[2], "INSERT b=2 @2")
	st.commit("ana", write{"a", 3}, write{"c", 8})
	expect(t, subs[1], "DELETE left a=1(deleted) @5")
	expect(t, subs[3], "INSERT a=3 @5")
	st.commit("ana", write{"a", 4}) // both are values of one filter
	expect(t, subs[3], "UPDATE a=4<3 @7")
	expect(t, subs[4], "INSERT a=4 @7")
	for i, want := range []int64{0, 4, 1, 4, 2} {
		if n := filters[i].rows.Load(); n != want {
			t.Errorf("filter %d saw %d rows, expected %d", i, n, want)
		}
		idle(t, subs[i])
		subs[i].Close()
	}
	if len(hub.places) != 0 {
		t.Error("a place is left behind")
	}
}

// Whoever polls is told once, and again only after he has come to the end.
func TestPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := NewHub(Options{})
		st := newStore(hub)
		s := subscribe(t, hub, testSpec("a", "ana", nil))
		st.commit("ana", write{"k", 1})
		if err := s.Replay(t.Context(), st, 0, 1); err != nil {
			t.Fatal(err)
		}
		if s.Live() {
			t.Error("live before the replay")
		}
		if _, err := s.Poll(); err != ErrBehind {
			t.Fatalf("before the replay: %v", err)
		}
		expect(t, s, "INSERT k=1 @1")
		if !s.Live() {
			t.Error("not live after the replay")
		}
		told := 0
		s.Notify(func() { told++ })
		poll := func(want string) {
			t.Helper()
			e, err := s.Poll()
			if err != nil || (e == nil) != (want == "") || e != nil && describe(e) != want {
				t.Fatalf("got %v, %v, expected %s", e, err, want)
			}
		}
		poll("")
		st.commit("ana", write{"k", 2})
		st.commit("ana", write{"k", 3})
		if told != 2 {
			t.Errorf("told %d times, expected at the start and for the first", told)
		}
		poll("UPDATE k=2<1 @2")
		poll("UPDATE k=3<2 @3")
		st.commit("ana", write{"k", 4})
		if told != 2 {
			t.Errorf("told %d times before the end of the queue", told)
		}
		poll("UPDATE k=4<3 @4")
		poll("")
		hub.CommittedBulk(testPartition("ana"), 4)
		settle(hub)
		if _, err := s.Poll(); told != 3 || err != nil { // it has all of that
			t.Errorf("told %d times, %v", told, err)
		}
		st.publish = make(chan *row.Batch, 1)
		st.commit("ana", write{"k", 5})
		hub.CommittedBulk(testPartition("ana"), 5)
		settle(hub)
		if _, err := s.Poll(); told != 4 || err != ErrBehind {
			t.Errorf("told %d times, %v", told, err)
		}
		expect(t, s, "UPDATE k=5<4 @5")
		if !s.Live() {
			t.Error("not live again")
		}
		s.Notify(func() { told++ })
		poll("")
		hub.Kill("a")
		if _, err := s.Poll(); told != 6 || err == nil {
			t.Errorf("told %d times of the end, %v", told, err)
		}
	})
}

// While a reader is in Next, as ErrBehind asks for, nobody is told to Poll: that would be
// two readers at once.
func TestNobodyPollsBesideNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := NewHub(Options{})
		st := newStore(hub)
		s := subscribe(t, hub, testSpec("a", "ana", where(func(n int64) bool { return n > 100 })))
		if err := s.Replay(t.Context(), st, 0, 0); err != nil {
			t.Fatal(err)
		}
		told := 0
		if s.Live() {
			s.Notify(func() { told++ })
		}
		if e, err := s.Poll(); e != nil || err != nil {
			t.Fatalf("%v, %v", e, err)
		}
		st.publish = make(chan *row.Batch, 1)
		st.commit("ana", write{"k", 1}) // nothing for the filter
		hub.CommittedBulk(testPartition("ana"), 1)
		settle(hub)
		if _, err := s.Poll(); told != 2 || err != ErrBehind {
			t.Fatalf("told %d times, %v", told, err)
		}
		got := make(chan string)
		go func() {
			e, err := s.Next(t.Context())
			if err != nil {
				got <- err.Error()
				return
			}
			got <- describe(e)
		}()
		synctest.Wait()
		st.publish = nil
		st.commit("ana", write{"k", 200})
		if e := <-got; e != "UPDATE k=200<1 @2" && e != "INSERT k=200 @2" {
			t.Errorf("Next gave %s", e)
		}
		if told != 2 {
			t.Errorf("told %d times while Next waited", told)
		}
		if s.Live() {
			s.Notify(func() { told++ })
		}
		if told != 3 {
			t.Errorf("told %d times, expected once more", told)
		}
	})
}

// The subscriptions of a connection share the room for what waits.
func TestConnectionsShareRoom(t *testing.T) {
	hub := NewHub(Options{QueueBytesMax: 10_000})
	spec := func(id, conn string, user row.UserID) Spec {
		s := testSpec(id, user, nil)
		s.ConnectionID = conn
		return s
	}
	a, b, c := subscribe(t, hub, spec("a", "one", "ana")), subscribe(t, hub, spec("b", "one", "ben")), subscribe(t, hub, spec("c", "two", "ben"))
	for _, s := range []*Subscription{a, b, c} {
		s.Start(0)
	}
	hub.Committed(bigBatch("ana", 1, 6000))
	settle(hub)
	hub.Committed(bigBatch("ben", 2, 6000))
	settle(hub)
	if e := ended(t, b); e.Reason != ReasonLagged || e.Seq != 0 {
		t.Errorf("b: %+v", e)
	}
	for _, s := range []*Subscription{a, c} {
		if e, err := s.Next(t.Context()); err != nil || len(e.Rows) != 1 {
			t.Errorf("%s: %v", s.spec.ID, err)
		}
		idle(t, s)
		if used := s.budget.used.Load(); used != 0 {
			t.Errorf("%d bytes are in use for nothing", used)
		}
	}
	a.Close()
	c.Close()
	if len(hub.budgets) != 0 {
		t.Error("budgets are left behind")
	}
}

// Batches that the workers do not get to wait up to a bound, and are read from the change
// log beyond it.
func TestPlaceOverflow(t *testing.T) {
	for _, history := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			hub := NewHub(Options{QueueBytesMax: 2_000})
			st := newStore(hub)
			st.publish = make(chan *row.Batch, 100)
			s := subscribe(t, hub, testSpec("a", "ana", nil))
			if history {
				if err := s.Replay(t.Context(), st, 0, 0); err != nil {
					t.Fatal(err)
				}
				idle(t, s)
			} else {
				s.Start(0)
			}
			p := hub.placeOf(testPartition("ana"))
			p.mu.Lock() // the worker gets stuck here
			for i := range int64(50) {
				st.commit("ana", write{"k", i})
				hub.Committed(<-st.publish)
			}
			if p.bytes > 4_000 {
				t.Errorf("%d bytes wait", p.bytes)
			}
			p.mu.Unlock()
			if !history {
				if e := ended(t, s); e.Reason != ReasonLagged {
					t.Errorf("%+v", e)
				}
				return
			}
			for i := range row.Seq(50) {
				if e, err := s.Next(t.Context()); err != nil || e.Seq != i+1 {
					t.Fatalf("got %+v, %v, expected %d", e, err, i+1)
				}
			}
			settle(hub)
			idle(t, s)
		})
	}
}

// What a slow filter still has to tell when the changes behind it were dropped does not
// make the subscription forget that these are to be read from the change log.
func TestSlowFilterIsLateAfterALoss(t *testing.T) {
	hub := NewHub(Options{QueueBytesMax: 1})
	st := newStore(hub)
	spec, room := testSpec("a", "ana", nil), testSpec("b", "ben", nil)
	spec.ConnectionID, room.ConnectionID = "one", "one"
	s, other := subscribe(t, hub, spec), subscribe(t, hub, room)
	for i := range int64(3) {
		st.commit("ana", write{"k", i})
	}
	if err := s.Replay(t.Context(), st, 0, 0); err != nil {
		t.Fatal(err)
	}
	hub.CommittedBulk(testPartition("ana"), 3)
	other.Start(3)
	st.commit("ben", write{"k", 1}) // takes the room of the connection
	late := &Event{Op: row.Insert, Rows: []*row.Row{{Seq: 1}}, Seq: 1, bytes: 100}
	if !s.offer([]*Event{late}, late.bytes) {
		t.Fatal("it has ended")
	}
	expect(t, s, "INSERT k=0 @1", "UPDATE k=1<0 @2", "UPDATE k=2<1 @3")
}

// What the change log has given comes late from the hub too. It is dropped, and who polls
// is told of what follows.
func TestLateEventsSilenceNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := NewHub(Options{})
		s := subscribe(t, hub, testSpec("a", "ana", nil))
		s.Start(10)
		told := 0
		s.Notify(func() { told++ })
		if e, err := s.Poll(); e != nil || err != nil {
			t.Fatalf("%v, %v", e, err)
		}
		event := func(seq row.Seq) []*Event {
			return []*Event{{Op: row.Insert, Seq: seq, Rows: []*row.Row{{Seq: seq, Values: []row.Value{row.TextValue("k"), row.IntValue(row.BigInt, 1)}}}}}
		}
		for _, step := range []struct {
			seq   row.Seq
			given bool
		}{{9, false}, {10, false}, {11, true}} {
			before := told
			if !s.offer(event(step.seq), 100) {
				t.Fatal("the subscription has ended")
			}
			e, err := s.Poll()
			if told != before+1 || err != nil || (e != nil) != step.given {
				t.Errorf("seq %d: told %d times, %v, %v", step.seq, told-before, e, err)
			}
		}
	})
}

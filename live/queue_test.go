package live

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"kalamdb/row"
)

// bigBatch is an insert of the given size in bytes, roughly.
func bigBatch(user row.UserID, seq row.Seq, bytes int) *row.Batch {
	values := []row.Value{row.TextValue(strings.Repeat("x", bytes)), row.IntValue(row.BigInt, 1)}
	return &row.Batch{Partition: testPartition(user), Changes: []row.Change{{Op: row.Insert, New: row.Row{Seq: seq, Values: values}}}}
}

func TestSlowReaderIsEnded(t *testing.T) {
	for _, drained := range []bool{false, true} {
		testSlowReaderIsEnded(t, drained)
	}
}

func testSlowReaderIsEnded(t *testing.T, drained bool) {
	hub := NewHub(Options{QueueBytesMax: 10_000})
	st := newStore(hub)
	s := subscribe(t, hub, testSpec("a", "ana", nil))
	s.Start(0)
	st.commit("ana", write{"k", 0})
	expect(t, s, "INSERT k=0 @1")
	st.commit("ana", write{"k", 1})
	expect(t, s, "UPDATE k=1<0 @2") // it stays accounted for until the next call
	size := s.taken
	fit := int(10_000/size) - 1
	if drained {
		idle(t, s)
		fit++
	}
	for i := range fit {
		st.commit("ana", write{"k", int64(i)})
	}
	if len(hub.List()) != 1 {
		t.Fatalf("ended after %d of %d batches that fit", len(s.queue), fit)
	}
	st.commit("ana", write{"k", 0})
	if hub.Count() != 0 || hub.CountTable(7) != 0 || s.queue != nil {
		t.Fatal("it is not ended, or holds on to its queue")
	}
	if e := ended(t, s); e.Reason != ReasonLagged || e.Seq != 2 || e.Cause != nil {
		t.Errorf("got %+v", e)
	}
	// The client comes back with that Seq.
	s = subscribe(t, hub, testSpec("a", "ana", nil))
	if err := s.Replay(t.Context(), st, 2, st.now()); err != nil {
		t.Fatal(err)
	}
	if e, err := s.Next(t.Context()); err != nil || e.Seq != 3 {
		t.Errorf("resumed with %v, %v", e, err)
	}
}

// A batch that is larger than the whole queue still gets through.
func TestGiantBatch(t *testing.T) {
	hub := NewHub(Options{QueueBytesMax: 1000})
	s := subscribe(t, hub, testSpec("a", "ana", nil))
	s.Start(0)
	for seq := row.Seq(1); seq <= 3; seq++ {
		hub.Committed(bigBatch("ana", seq, 5000))
		settle(hub)
		if e, err := s.Next(t.Context()); err != nil || e.Seq != seq {
			t.Fatalf("batch %d: %v, %v", seq, e, err)
		}
	}
}

// Whatever a reader does not do, it pins no more than its queue.
func TestSlowReadersUseBoundedMemory(t *testing.T) {
	const queue, piece, readers, total = 1 << 20, 100 << 10, 3, 50 << 20
	for _, phase := range []string{"waiting", "replaying", "live", "half read"} {
		t.Run(phase, func(t *testing.T) {
			hub := NewHub(Options{QueueBytesMax: queue})
			st := newStore(hub)
			st.commit("ana", write{"k", 1}, write{"k", 2})
			var subs []*Subscription
			for i := range readers {
				s := subscribe(t, hub, testSpec(fmt.Sprint("c", i), "ana", nil))
				switch phase {
				case "replaying":
					if err := s.Replay(t.Context(), st, 0, 2); err != nil {
						t.Fatal(err)
					}
					expect(t, s, "INSERT k=1 @1")
				case "live":
					s.Start(2)
				case "half read":
					s.Start(2)
				}
				subs = append(subs, s)
			}
			before, worst := heap(), int64(0)
			for i := range total / piece {
				hub.Committed(bigBatch("ana", row.Seq(3+i), piece))
				settle(hub)
				if phase == "half read" && i == 5 {
					for _, s := range subs {
						if _, err := s.Next(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
				}
				if i%100 == 0 {
					worst = max(worst, heap()-before)
				}
			}
			worst = max(worst, heap()-before)
			runtime.KeepAlive(subs)
			if limit := int64(readers*queue + 2*piece); worst > limit {
				t.Errorf("%d slow readers pin %d kB, expected at most %d kB", readers, worst>>10, limit>>10)
			}
			if left := len(hub.List()); (left == 0) != (phase != "waiting") {
				t.Errorf("%d live queries are left", left)
			}
		})
	}
}

func TestStartAfterOverflow(t *testing.T) {
	for _, c := range []struct {
		after row.Seq
		want  string
	}{{0, "lagged"}, {9, "lagged"}, {10, ""}, {11, ""}} {
		hub := NewHub(Options{QueueBytesMax: 1})
		s := subscribe(t, hub, testSpec("a", "ana", nil))
		for seq := row.Seq(1); seq <= 10; seq++ { // the first is kept, the second drops both, and so on
			hub.Committed(bigBatch("ana", seq, 10))
			settle(hub)
		}
		s.Start(c.after)
		hub.Committed(bigBatch("ana", 12, 10))
		settle(hub)
		e, err := s.Next(t.Context())
		if c.want == "" {
			if err != nil || e.Seq != 12 {
				t.Errorf("after %d: %v, %v", c.after, e, err)
			}
			continue
		}
		var end *EndedError
		if !errors.As(err, &end) || end.Reason != c.want || end.Seq != c.after {
			t.Errorf("after %d: %v", c.after, err)
		}
	}
}

// TestReplay reads a change log much larger than one piece, while so much is
// committed that the queue overflows over and over.
func TestReplay(t *testing.T) {
	hub := NewHub(Options{QueueBytesMax: 50_000})
	st := newStore(hub)
	long := strings.Repeat("k", 20_000)
	n := int64(0)
	commit := func(count int) {
		for range count {
			n++
			st.commit("ana", write{long, n})
		}
	}
	commit(200)
	s := subscribe(t, hub, testSpec("a", "ana", nil))
	commit(10)
	if err := s.Replay(t.Context(), st, 5, st.now()); err != nil {
		t.Fatal(err)
	}
	commit(10)
	caughtUp := false
	for want := int64(6); want <= 300; want++ {
		e, err := s.Next(t.Context())
		if err != nil {
			t.Fatalf("at %d: %v", want, err)
		}
		if e.Seq != row.Seq(want) || len(e.Rows) != 1 || e.Rows[0].Values[1].Int() != want {
			t.Fatalf("got %d with %d rows, expected %d", e.Seq, len(e.Rows), want)
		}
		if n < 300 && want%2 == 0 {
			commit(1)
		}
		if s.phase == live && n < 300 {
			commit(int(300 - n))
			caughtUp = true
			break
		}
		if n == 300 {
			caughtUp = true
		}
	}
	if !caughtUp || s.lost == 0 {
		t.Errorf("the test did not overflow (lost %d) or not catch up", s.lost)
	}
}

// A reader that takes nothing between two overflows of its replay is ended.
func TestReplayOfAStuckReaderIsEnded(t *testing.T) {
	hub := NewHub(Options{QueueBytesMax: 500})
	st := newStore(hub)
	for i := range int64(10) {
		st.commit("ana", write{"k", i})
	}
	s := subscribe(t, hub, testSpec("a", "ana", nil))
	if err := s.Replay(t.Context(), st, 0, st.now()); err != nil {
		t.Fatal(err)
	}
	for i := range int64(20) {
		st.commit("ana", write{"k", i})
	}
	expect(t, s, "INSERT k=0 @1") // overflows before the first call are no crime
	for i := range int64(20) {
		st.commit("ana", write{"k", i})
	}
	if e := ended(t, s); e.Reason != ReasonLagged || e.Seq != 1 {
		t.Errorf("got %+v", e)
	}
}

func TestHistoryFails(t *testing.T) {
	hub := NewHub(Options{QueueBytesMax: 500})
	st := newStore(hub)
	for i := range int64(10) {
		st.commit("ana", write{"k", i})
	}
	st.trim("ana")
	s := subscribe(t, hub, testSpec("a", "ana", nil))
	var gap *gapError
	if err := s.Replay(t.Context(), st, 9, 10); !errors.As(err, &gap) || gap.after != 9 {
		t.Fatalf("a cursor from before the log: %v", err)
	}
	s.Close()

	// Caught up only by the change log, which fails meanwhile.
	s = subscribe(t, hub, testSpec("a", "ana", nil))
	if err := s.Replay(t.Context(), st, 10, 10); err != nil {
		t.Fatal(err)
	}
	for i := range int64(10) {
		st.commit("ana", write{"k", i})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Next(ctx); err != context.Canceled {
		t.Fatalf("a cancelled replay: %v", err)
	}
	st.broken = errors.New("disk")
	if e := ended(t, s); e.Reason != ReasonLagged || e.Seq != 10 || !errors.Is(e, st.broken) || !strings.Contains(e.Error(), "lagged: disk") {
		t.Errorf("got %+v", e)
	}
	if len(hub.List()) != 0 {
		t.Error("it is still there")
	}
}

func TestMisuseIsABug(t *testing.T) {
	for name, misuse := range map[string]func(*Subscription){
		"Next before Start": func(s *Subscription) { s.Next(t.Context()) },
		"Start twice":       func(s *Subscription) { s.Start(0); s.Start(0) },
		"Replay twice":      func(s *Subscription) { s.Replay(t.Context(), newStore(nil), 0, 0); s.Start(0) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s goes unnoticed", name)
				}
			}()
			misuse(subscribe(t, NewHub(Options{}), testSpec("a", "ana", nil)))
		}()
	}
}

package query

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kalamdb/row"
)

// TestTurnsAreFair: however many statements one user has waiting, another is next but one.
func TestTurnsAreFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTurnstile(2, 1, 100, 50, time.Hour)
		var mu sync.Mutex
		var order []string
		var wg sync.WaitGroup
		ask := func(user string) {
			wg.Go(func() {
				done, err := ts.enter(t.Context(), user)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				order = append(order, user)
				mu.Unlock()
				time.Sleep(time.Second)
				done()
			})
			synctest.Wait()
		}
		for range 10 {
			ask("mal")
		}
		if len(order) != 1 {
			t.Errorf("%v run, the limit of one user is 1", order)
		}
		for range 3 {
			ask("ana")
			ask("ben")
		}
		wg.Wait()
		if got := strings.Join(order, " "); !strings.HasPrefix(got, "mal ana ") || strings.Count(got[:len("mal ana mal ben ana mal ben")], "ben") != 2 || len(order) != 16 {
			t.Errorf("the order was %s", got)
		}
		if len(ts.users) != 0 || len(ts.ring) != 0 || ts.free != 2 || ts.waiting != 0 {
			t.Errorf("left: %v, %v, %d, %d", ts.users, ts.ring, ts.free, ts.waiting)
		}
	})
}

// TestTurnsEnd: waiting ends by the caller, by time and by the limits, and leaves nothing.
func TestTurnsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTurnstile(1, 1, 3, 2, 10*time.Second)
		done, err := ts.enter(t.Context(), "ana")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wait := func(ctx context.Context, user, want string) {
			wg.Go(func() {
				if _, err := ts.enter(ctx, user); want == "" && !errors.Is(err, context.Canceled) || want != "" && !strings.Contains(fmt.Sprint(err), want) {
					t.Errorf("%s: %v, expected %s", user, err, want)
				}
			})
			synctest.Wait()
		}
		wait(ctx, "ben", "")
		wait(t.Context(), "ben", "too many statements are running")
		wait(t.Context(), "ben", "2 statements of yours are waiting already")
		wait(t.Context(), "cid", "too many statements are running")
		wait(t.Context(), "dan", "3 statements are waiting already")
		cancel()
		wg.Wait()
		done()
		if len(ts.users) != 0 || len(ts.ring) != 0 || ts.free != 1 || ts.waiting != 0 {
			t.Errorf("left: %v, %v, %d, %d", ts.users, ts.ring, ts.free, ts.waiting)
		}
	})
}

func TestAllowance(t *testing.T) {
	a, now := NewAllowance(2, 4), time.Unix(1000, 0)
	for i, c := range []struct {
		user  string
		n     int
		after time.Duration
		want  time.Duration
	}{
		{"ana", 3, 0, 0}, {"ana", 3, 0, 0}, {"ana", 1, 0, 1500 * time.Millisecond}, {"ben", 1, 0, 0}, {"ana", 1, time.Second, 500 * time.Millisecond},
		{"ana", 1, 500 * time.Millisecond, 0}, {"ana", 0, 0, 500 * time.Millisecond}, {"ana", 100, time.Hour, 0}, {"ana", 1, time.Second, 47500 * time.Millisecond},
	} {
		now = now.Add(c.after)
		if got := a.Take(c.user, c.n, now); got != c.want {
			t.Errorf("%d: wait %v, expected %v", i, got, c.want)
		}
	}
	if len(a.users) != 1 {
		t.Errorf("%d users are remembered, ben saved all he could", len(a.users))
	}
	if none := NewAllowance(0, 0); none.Take("ana", 1e9, now) != 0 {
		t.Error("no limit limits")
	}
}

// TestSlowIsMoved: a statement that is too slow for the quick lane has the same answer,
// and begins in the slow lane the next time.
func TestSlowIsMoved(t *testing.T) {
	e := open(t, Options{QuickTime: time.Microsecond})
	rel := smallTable(3000)
	text := "SELECT sum(a.n), count(*), max(snowflake_id()) > 0 FROM t a JOIN t b USING (id)"
	want := ""
	for i := range 3 {
		lines, _, err := run(e, text, func(TableRef) *Relation { return rel })
		if err != nil || i > 0 && lines[0] != want {
			t.Fatal(i, lines, want, err)
		}
		want = lines[0]
	}
	p, err := e.Plan(text)
	if err != nil {
		t.Fatal(err)
	}
	who := testSession()
	if !e.slowness.known(&who, p) {
		t.Error("the statement is not known to be slow")
	}
	if lines, _, err := run(e, "SELECT * FROM range(5000)", noTables); err != nil || len(lines) != 5000 {
		t.Error(len(lines), err)
	}
	if n := e.open.Load(); n != 0 {
		t.Errorf("%d bytes are left of results", n)
	}
	for _, c := range []struct{ text, code string }{{"SELECT error('no')", "INVALID_VALUE"}, {"SELECT 1 / CAST('x' AS INT)", "INVALID_VALUE"}} {
		if _, _, err := run(e, c.text, noTables); code(err) != c.code {
			t.Errorf("%s: %v", c.text, err)
		}
	}
}

// TestQuickPastSlow: scans that hold every slow turn, and wait for more, do not keep
// quick statements from running, nor do they take their memory.
func TestQuickPastSlow(t *testing.T) {
	e := open(t, Options{Concurrency: 2, QuickTime: 20 * time.Millisecond, MemoryBytes: 256 << 20})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 6 {
		p, err := e.Plan(fmt.Sprintf("%s AND %d = %d", endless, i, i))
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if _, err := e.Query(ctx, p, nil, nil, Session{User: fmt.Sprint("mal", i), Role: "user"}); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	for waitingNow(e.slow) < 5 { // one runs
		time.Sleep(time.Millisecond)
	}
	for range 20 {
		if lines, _, err := run(e, "SELECT sum(n) FROM t WHERE id = 7", func(TableRef) *Relation { return smallTable(10) }); err != nil || len(lines) != 1 {
			t.Fatal(lines, err)
		}
	}
	cancel()
	wg.Wait()
	if waitingNow(e.slow) != 0 || len(e.slow.turns.users) != 0 {
		t.Errorf("left in the slow lane: %v", e.slow.turns.users)
	}
}

// TestMisjudged: a user whose statements are slow each time, in words that are new each
// time, does not begin all of them in the quick lane.
func TestMisjudged(t *testing.T) {
	s := newSlowness()
	user, service := &Session{User: "mal", Role: "user"}, &Session{User: "app", Role: "service"}
	for range misjudgedBurst {
		if s.known(user, &Plan{}) {
			t.Error("slow before it was known")
		}
		s.learn(user, &Plan{}, true)
		s.learn(service, &Plan{}, true)
	}
	if !s.known(user, &Plan{}) || s.known(service, &Plan{}) || s.known(&Session{User: "ana", Role: "user"}, &Plan{}) {
		t.Error("expected the user to be slow, and nobody else")
	}
}

// TestMemoryOfOne: what one statement may take leaves the others theirs.
func TestMemoryOfOne(t *testing.T) {
	e := open(t, Options{MemoryBytes: 128 << 20, TempDir: t.TempDir()})
	text := "SELECT max(len(l)) FROM (SELECT list(x) AS l FROM range(100000000) t(x) GROUP BY x % 3)"
	for range 2 {
		if _, _, err := run(e, text, noTables); code(err) != "OUT_OF_MEMORY" {
			t.Fatal(err)
		}
	}
	if lines, _, err := run(e, "SELECT 42", noTables, []row.Value{}...); err != nil || lines[0] != "42" {
		t.Fatal(lines, err)
	}
}

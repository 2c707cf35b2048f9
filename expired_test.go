package kalamdb_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kalamdb"
	"kalamdb/row"
)

// A fold is what a subscriber makes of the events of a stream with include_expired.
type fold struct {
	sub  *kalamdb.Subscription
	rows map[string]bool
	last row.Seq
	open bool // more of a commit is to come
}

// take waits for one event. It is an error if the event does not fit to those before.
func (f *fold) take(ctx context.Context) error {
	e, err := f.sub.Next(ctx)
	if err != nil {
		return err
	}
	if e.Seq < f.last || e.Change == "INSERT" && e.Seq == f.last {
		return fmt.Errorf("%s with the seq %d after %d", e.Change, e.Seq, f.last)
	}
	if e.Reason == "expired" && (f.open || !e.TxnLast) {
		return errors.New("an end inside a commit")
	}
	f.last, f.open = e.Seq, !e.Initial && !e.TxnLast
	for _, r := range e.Rows {
		key := strings.Replace(string(r), `,"_deleted":true`, "", 1)
		switch there := f.rows[key]; {
		case e.Initial || e.Change == "INSERT":
			if there {
				return fmt.Errorf("%s came although it is there", key)
			}
			f.rows[key] = true
		case e.Change != "DELETE" || e.Reason != "expired" || key == string(r):
			return fmt.Errorf("%s %s %s", e.Change, e.Reason, r)
		case !there:
			return fmt.Errorf("%s ended and was not there", key)
		default:
			delete(f.rows, key)
		}
	}
	return nil
}

// until takes events until the rows are those wanted.
func (f *fold) until(t *testing.T, want ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	for {
		if have := slices.Sorted(maps.Keys(f.rows)); slices.Equal(have, want) {
			return
		} else if err := f.take(ctx); err != nil {
			t.Fatalf("%s: %v; there are %v, expected %v", f.sub.ID, err, have, want)
		}
	}
}

// Who asks for it hears of every event that ends, by age or by number, once and before
// another event takes its key: what is left is what a SELECT shows.
func TestIncludeExpired(t *testing.T) {
	for _, kind := range []struct{ name, options string }{
		{"number", "retention = '1h', max_buffer = 3"},
		{"age", "retention = '100ms'"},
		{"ephemeral by number", "retention = '1h', max_buffer = 3, ephemeral = true"},
		{"ephemeral by age", "retention = '100ms', ephemeral = true"},
	} {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
			mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE STREAM TABLE app.s (id INT PRIMARY KEY, room TEXT) WITH ("+kind.options+")")
			follow := func(n int, req kalamdb.SubscribeRequest) *fold {
				req.QueryID, req.IncludeExpired = fmt.Sprint(n), true
				return &fold{sub: subscribe(t, db, "bob", req), rows: map[string]bool{}}
			}
			all := follow(0, kalamdb.SubscribeRequest{SQL: "SELECT id FROM app.s", LastRows: 10})
			room := follow(1, kalamdb.SubscribeRequest{SQL: "SELECT id FROM app.s WHERE room = 'a'", BatchRows: 1})
			var late *fold
			for i := range 100 {
				var values []string
				for _, id := range rand.Perm(6)[:1+rand.IntN(3)] {
					values = append(values, fmt.Sprintf("(%d, '%c')", id, "ab"[rand.IntN(2)]))
				}
				_, err := db.Exec(context.Background(), kalamdb.Request{SQL: "INSERT INTO app.s VALUES " + strings.Join(values, ", "), As: principal("alice")})
				if e := (*kalamdb.Error)(nil); err != nil && (!errors.As(err, &e) || e.Code != kalamdb.CodeDuplicateKey) {
					t.Fatal(err)
				}
				if i == 50 {
					late = follow(2, kalamdb.SubscribeRequest{SQL: "SELECT id FROM app.s", LastRows: 2})
				}
			}
			for _, f := range []*fold{all, room, late} {
				if !strings.Contains(kind.name, "number") {
					f.until(t)
					continue
				}
				text := "SELECT id FROM app.s"
				if f == room {
					text += " WHERE room = 'a'"
				}
				var want []string
				for _, id := range strings.Fields(answer(t, db, "bob", text+" ORDER BY id")) {
					want = append(want, fmt.Sprintf(`{"id":%s}`, id))
				}
				f.until(t, want...)
			}
		})
	}
}

func TestIncludeExpiredRefused(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE STREAM TABLE app.s (id INT PRIMARY KEY); CREATE USER TABLE app.u (id INT PRIMARY KEY)")
	seq := row.Seq(1)
	for _, c := range []struct {
		req  kalamdb.SubscribeRequest
		code string
	}{
		{kalamdb.SubscribeRequest{SQL: "SELECT * FROM app.s", FromSeq: &seq}, kalamdb.CodeCursorExpired},
		{kalamdb.SubscribeRequest{SQL: "SELECT * FROM app.s", Coalesce: true}, kalamdb.CodeInvalidRequest},
		{kalamdb.SubscribeRequest{SQL: "SELECT * FROM app.u"}, kalamdb.CodeInvalidRequest},
		{kalamdb.SubscribeRequest{SQL: "SELECT * FROM system.jobs"}, kalamdb.CodeInvalidRequest},
	} {
		c.req.ConnectionID, c.req.QueryID, c.req.As, c.req.IncludeExpired = "c", "q", principal("root"), true
		_, err := db.Subscribe(context.Background(), c.req)
		wantCode(t, err, c.code)
	}
}

// An event that ends is no change to who did not ask, and what compaction drops of deleted
// rows is none to anybody.
func TestWhatEndsIsNoChange(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", `CREATE NAMESPACE app; CREATE STREAM TABLE app.s (id INT PRIMARY KEY) WITH (retention = '1h', max_buffer = 1);
		CREATE USER TABLE app.u (id INT PRIMARY KEY) WITH (deleted_retention = '1ms')`)
	asked := &fold{sub: subscribe(t, db, "bob", kalamdb.SubscribeRequest{QueryID: "asked", SQL: "SELECT id FROM app.s", IncludeExpired: true}), rows: map[string]bool{}}
	other := subscribe(t, db, "bob", kalamdb.SubscribeRequest{QueryID: "other", SQL: "SELECT id FROM app.s"})
	mustExec(t, db, "alice", "INSERT INTO app.s VALUES (1); INSERT INTO app.s VALUES (2)")
	asked.until(t, `{"id":1}`)
	asked.until(t, `{"id":2}`)
	mustExec(t, db, "alice", "INSERT INTO app.s VALUES (3)")
	wantEvents(t, other, `INSERT {"id":1}`, `INSERT {"id":2}`, `INSERT {"id":3}`)

	mine := subscribe(t, db, "alice", kalamdb.SubscribeRequest{QueryID: "mine", SQL: "SELECT id FROM app.u WHERE _deleted IS NOT NULL"})
	mustExec(t, db, "alice", "INSERT INTO app.u VALUES (1), (2)")
	mustExec(t, db, "root", "FLUSH ALL")
	mustExec(t, db, "alice", "DELETE FROM app.u WHERE id = 1")
	mustExec(t, db, "root", "FLUSH ALL")
	waitFor(t, func() bool {
		return answer(t, db, "alice", "SELECT count(*) FROM app.u WHERE _deleted AND _updated < now() - INTERVAL 2 MILLISECONDS") == "1\n"
	})
	mustExec(t, db, "root", "COMPACT TABLE app.u")
	if left := answer(t, db, "alice", "SELECT id FROM app.u WHERE _deleted IS NOT NULL"); left != "2\n" {
		t.Errorf("after the compaction there are %q", left)
	}
	mustExec(t, db, "alice", "INSERT INTO app.u VALUES (3)")
	wantEvents(t, mine, `INSERT {"id":1} {"id":2}`, `DELETE {"id":1,"_deleted":true}`, `INSERT {"id":3}`)
}

// The option is shown where live queries are listed.
func TestIncludeExpiredIsListed(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE STREAM TABLE app.s (id INT PRIMARY KEY)")
	subscribe(t, db, "bob", kalamdb.SubscribeRequest{SQL: "SELECT id FROM app.s", IncludeExpired: true})
	if text := answer(t, db, "bob", "SELECT options FROM system.live_queries"); !strings.Contains(text, `\"include_expired\":true`) {
		t.Errorf("the options are %s", text)
	}
}

package kalamdb_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"kalamdb"
	"kalamdb/row"
)

// What a stream has goes to a new subscriber in the order of commits, then what comes.
func TestLiveStream(t *testing.T) {
	dir := t.TempDir()
	db, err := kalamdb.Open(context.Background(), kalamdb.Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE STREAM TABLE app.typing (id INT PRIMARY KEY, room TEXT) WITH (retention = '1h', max_buffer = 3)")
	from := mustExec(t, db, "alice", "INSERT INTO app.typing VALUES (9, 'a'), (5, 'a'), (7, 'a'), (8, 'b')")[0].Seq
	sub := subscribe(t, db, "bob", kalamdb.SubscribeRequest{SQL: "SELECT * FROM app.typing WHERE room = 'a'", LastRows: 10})
	if n := len(sub.Columns); n != 2 {
		t.Errorf("* has %d columns, expected those of the table", n)
	}
	wantEvents(t, sub, `initial more=false {"id":5,"room":"a"} {"id":7,"room":"a"}`)
	mustExec(t, db, "carol", "INSERT INTO app.typing VALUES (1, 'a'); INSERT INTO app.typing VALUES (2, 'b'), (3, 'a')")
	wantEvents(t, sub, `INSERT {"id":1,"room":"a"}`, `INSERT {"id":3,"room":"a"}`)
	for _, text := range []string{"SELECT _seq FROM app.typing", "SELECT id FROM app.typing WHERE NOT _deleted"} {
		_, err := db.Subscribe(context.Background(), kalamdb.SubscribeRequest{ConnectionID: "c", QueryID: "x", SQL: text, As: principal("bob")})
		wantCode(t, err, kalamdb.CodeColumnNotFound)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	db = openDB(t, kalamdb.Options{DataDir: dir})
	resumed := subscribe(t, db, "bob", kalamdb.SubscribeRequest{SQL: "SELECT id FROM app.typing WHERE room = 'a'", FromSeq: &from})
	wantEvents(t, resumed, `INSERT {"id":1}`, `INSERT {"id":3}`)
	if got := answer(t, db, "dora", "SELECT id FROM app.typing ORDER BY id"); got != "1\n2\n3\n" {
		t.Errorf("after the restart: %s", got)
	}
}

// A cursor from before events that are gone is told so, by whichever kind of stream.
func TestStreamCursorExpires(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE STREAM TABLE app.short (id INT PRIMARY KEY) WITH (retention = '100ms'); CREATE STREAM TABLE app.cursors (id INT PRIMARY KEY) WITH (ephemeral = true); CREATE USER TABLE app.mine (id INT PRIMARY KEY)")
	from := mustExec(t, db, "alice", "INSERT INTO app.mine VALUES (1)")[0].Seq
	mustExec(t, db, "alice", "INSERT INTO app.short VALUES (1); INSERT INTO app.cursors VALUES (1)")
	resume := func(table string) error {
		sub, err := db.Subscribe(context.Background(), kalamdb.SubscribeRequest{ConnectionID: "c", QueryID: table, SQL: "SELECT * FROM app." + table, As: principal("alice"), FromSeq: &from})
		if err == nil {
			sub.Close()
		}
		return err
	}
	wantCode(t, resume("cursors"), kalamdb.CodeCursorExpired)
	time.Sleep(100 * time.Millisecond)
	if got := answer(t, db, "alice", "SELECT count(*) FROM app.short"); got != "0\n" {
		t.Errorf("an event is %s, past its retention", got)
	}
	waitFor(t, func() bool { return resume("short") != nil })
	wantCode(t, resume("short"), kalamdb.CodeCursorExpired)
	if err := resume("mine"); err != nil {
		t.Errorf("a USER table: %v", err)
	}
	if got := answer(t, db, "root", "SELECT count(*) FROM system.partitions WHERE table_name = 'short' AND buffered_rows > 0"); got != "0\n" {
		t.Errorf("%s partitions still hold events", got)
	}
}

// Events of an ephemeral stream reach whoever listens, and a second listener sees those
// that are kept for the first.
func TestLiveEphemeralStream(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE STREAM TABLE app.cursors (who TEXT PRIMARY KEY, x INT) WITH (ephemeral = true, retention = '1h', max_buffer = 2)")
	mustExec(t, db, "alice", "INSERT INTO app.cursors VALUES ('alice', 1)")
	first := subscribe(t, db, "bob", kalamdb.SubscribeRequest{QueryID: "first", SQL: "SELECT * FROM app.cursors", LastRows: 5})
	wantEvents(t, first, `initial more=false`)
	mustExec(t, db, "alice", "INSERT INTO app.cursors VALUES ('zoe', 2), ('alice', 3); INSERT INTO app.cursors VALUES ('carol', 4)")
	wantEvents(t, first, `INSERT {"who":"zoe","x":2} {"who":"alice","x":3}`, `INSERT {"who":"carol","x":4}`)
	if got := answer(t, db, "dora", "SELECT who, x FROM app.cursors ORDER BY x"); got != "\"alice\" 3\n\"carol\" 4\n" {
		t.Errorf("kept are %s", got)
	}
	second := subscribe(t, db, "dora", kalamdb.SubscribeRequest{QueryID: "second", SQL: "SELECT who FROM app.cursors", LastRows: 5})
	wantEvents(t, second, `initial more=false {"who":"alice"} {"who":"carol"}`)
	_, err := db.Exec(context.Background(), kalamdb.Request{SQL: "DROP TABLE app.cursors", As: principal("root")})
	wantCode(t, err, kalamdb.CodeInUse)
	first.Close()
	second.Close()
	waitFor(t, func() bool { return answer(t, db, "dora", "SELECT count(*) FROM app.cursors") == "0\n" })
	mustExec(t, db, "root", "DROP TABLE app.cursors")
}

// Whoever subscribes in the middle of many writers gets every event once: in the
// snapshot or after it, in the order of commits.
func TestStreamsHaveNoGapAndNoRepeat(t *testing.T) {
	const writers, each = 4, 150
	for _, ephemeral := range []bool{false, true} {
		t.Run(fmt.Sprintf("ephemeral=%v", ephemeral), func(t *testing.T) {
			db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
			mustExec(t, db, "root", fmt.Sprintf("CREATE NAMESPACE app; CREATE STREAM TABLE app.s (id INT PRIMARY KEY) WITH (retention = '1h', ephemeral = %v); CREATE USER TABLE app.u (id INT PRIMARY KEY)", ephemeral))
			keeper := subscribe(t, db, "keeper", kalamdb.SubscribeRequest{QueryID: "keeper", SQL: "SELECT id FROM app.s"})
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					for i := range each {
						mustExec(t, db, "alice", fmt.Sprintf("INSERT INTO app.s VALUES (%d)", w*each+i))
						if i%10 == 0 {
							mustExec(t, db, fmt.Sprintf("user%d", w), fmt.Sprintf("INSERT INTO app.u VALUES (%d)", i))
						}
					}
				})
			}
			subs := []*kalamdb.Subscription{keeper}
			for i := range 4 {
				time.Sleep(5 * time.Millisecond)
				subs = append(subs, subscribe(t, db, "bob", kalamdb.SubscribeRequest{QueryID: fmt.Sprint(i), SQL: "SELECT id FROM app.s", LastRows: 1000}))
			}
			wg.Wait()
			for _, sub := range subs {
				seen := map[string]int{}
				var last row.Seq
				for len(seen) < writers*each {
					ctx, cancel := context.WithTimeout(context.Background(), waitMax)
					ev, err := sub.Next(ctx)
					cancel()
					if err != nil {
						t.Fatalf("%s: %v after %d events", sub.ID, err, len(seen))
					}
					if !ev.Initial && ev.Seq <= last {
						t.Errorf("%s: event %d after %d", sub.ID, ev.Seq, last)
					}
					last = ev.Seq
					for _, r := range ev.Rows {
						if seen[string(r)]++; seen[string(r)] > 1 {
							t.Errorf("%s: %s came twice", sub.ID, r)
						}
					}
				}
			}
			rows := answer(t, db, "bob", "SELECT count(*), count(DISTINCT id), min(id), max(id) FROM app.s")
			if want := fmt.Sprintf("%d %[1]d 0 %d\n", writers*each, writers*each-1); rows != want {
				t.Errorf("the stream has %s, expected %s", strings.TrimSpace(rows), want)
			}
		})
	}
}

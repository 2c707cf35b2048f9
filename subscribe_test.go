package kalamdb_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"kalamdb"
	"kalamdb/row"
)

const waitMax = 20 * time.Second

func pause(ctx context.Context) error {
	select {
	case <-time.After(20 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func subscribe(t *testing.T, db *kalamdb.DB, as string, req kalamdb.SubscribeRequest) *kalamdb.Subscription {
	t.Helper()
	req.As = principal(as)
	if req.ConnectionID == "" {
		req.ConnectionID = "conn"
	}
	if req.QueryID == "" {
		req.QueryID = "q"
	}
	sub, err := db.Subscribe(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sub.Close)
	return sub
}

// next shows one event as a line.
func next(t *testing.T, sub *kalamdb.Subscription) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	ev, err := sub.Next(ctx)
	if err != nil {
		return err.Error()
	}
	what := ev.Change
	if ev.Initial {
		what = fmt.Sprintf("initial more=%v", ev.HasMore)
	}
	for _, r := range ev.Rows {
		what += " " + string(r)
	}
	for _, r := range ev.Old {
		what += " was " + string(r)
	}
	return strings.TrimSpace(what + " " + ev.Reason)
}

func wantEvents(t *testing.T, sub *kalamdb.Subscription, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := next(t, sub); got != w {
			t.Errorf("event\n%s\nexpected\n%s", got, w)
		}
	}
}

func TestSubscribe(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", createMessages)
	mustExec(t, db, "alice", "INSERT INTO app.messages (text, n) VALUES ('one', 1), ('two', 2), ('three', 3)")
	mustExec(t, db, "root", "FLUSH ALL")
	mustExec(t, db, "alice", "INSERT INTO app.messages (text, n) VALUES ('four', 4)")

	sub := subscribe(t, db, "alice", kalamdb.SubscribeRequest{SQL: "SELECT m.text, n FROM app.messages AS m WHERE m.n >= 2 -- hers", LastRows: 2, BatchRows: 1})
	wantEvents(t, sub, `initial more=true {"text":"three","n":3}`, `initial more=false {"text":"four","n":4}`)

	mustExec(t, db, "bob", "INSERT INTO app.messages (text, n) VALUES ('not hers', 5)")
	mustExec(t, db, "alice", "INSERT INTO app.messages (text, n) VALUES ('five', 5), ('zero', 0)")
	mustExec(t, db, "alice", "UPDATE app.messages SET text = 'FIVE' WHERE n = 5")
	mustExec(t, db, "alice", "UPDATE app.messages SET n = 9 WHERE n = 0; UPDATE app.messages SET n = 1 WHERE text = 'two'; DELETE FROM app.messages WHERE n = 3")
	wantEvents(t, sub,
		`INSERT {"text":"five","n":5}`,
		`UPDATE {"text":"FIVE","n":5} was {"text":"five","n":5}`,
		`INSERT {"text":"zero","n":9}`,
		`DELETE {"text":"two","n":2,"_deleted":true} left_filter`,
		`DELETE {"text":"three","n":3,"_deleted":true}`)

	if got := answer(t, db, "alice", "SELECT live_id, table_id, changes FROM system.live_queries"); got != "\"conn-q\" \"app:messages\" 5\n" {
		t.Errorf("system.live_queries: %s", got)
	}
	if got := answer(t, db, "bob", "SELECT count(*) FROM system.live_queries"); got != "0\n" {
		t.Errorf("bob sees %s live queries", got)
	}
	_, err := db.Exec(context.Background(), kalamdb.Request{SQL: "DROP TABLE app.messages", As: principal("root")})
	if e := wantCode(t, err, kalamdb.CodeInUse); !strings.Contains(e.Message, "1 live quer") {
		t.Errorf("message %q does not count the live queries", e.Message)
	}
	_, err = db.Exec(context.Background(), kalamdb.Request{SQL: "KILL LIVE QUERY 'conn-q'", As: principal("bob")})
	wantCode(t, err, kalamdb.CodeNotFound)
	mustExec(t, db, "root", "KILL LIVE QUERY 'conn-q'")
	var ended *kalamdb.Ended
	if _, err := sub.Next(context.Background()); !errors.As(err, &ended) || ended.Reason != "killed" {
		t.Errorf("after the kill: %v", err)
	}
	mustExec(t, db, "root", "DROP TABLE app.messages")
}

// A cursor replays every change after it, also deletes, also after a restart.
func TestResumeAcrossRestart(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, kalamdb.Options{DataDir: dir})
	mustExec(t, db, "root", createMessages)
	from := mustExec(t, db, "alice", "INSERT INTO app.messages (text, n) VALUES ('seen', 1)")[0].Seq
	mustExec(t, db, "alice", "INSERT INTO app.messages (text, n) VALUES ('missed', 2)")
	mustExec(t, db, "root", "FLUSH ALL")
	mustExec(t, db, "alice", "DELETE FROM app.messages WHERE n = 1")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openDB(t, kalamdb.Options{DataDir: dir})
	sub := subscribe(t, db, "alice", kalamdb.SubscribeRequest{SQL: "SELECT text FROM app.messages", FromSeq: &from})
	if !sub.Resumed {
		t.Error("not resumed")
	}
	mustExec(t, db, "alice", "INSERT INTO app.messages (text, n) VALUES ('live', 3)")
	wantEvents(t, sub, `INSERT {"text":"missed"}`, `DELETE {"text":"seen","_deleted":true}`, `INSERT {"text":"live"}`)
}

func TestSubscribeRefusals(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", createMessages)
	future := row.Seq(1 << 40)
	for _, c := range []struct {
		req  kalamdb.SubscribeRequest
		code string
	}{
		{kalamdb.SubscribeRequest{SQL: "SELECT * FROM app.nothing"}, kalamdb.CodeTableNotFound},
		{kalamdb.SubscribeRequest{SQL: "SELECT txt FROM app.messages"}, kalamdb.CodeColumnNotFound},
		{kalamdb.SubscribeRequest{SQL: "SELECT * FROM app.messages WHERE txt = 'x'"}, kalamdb.CodeColumnNotFound},
		{kalamdb.SubscribeRequest{SQL: "SELECT * FROM system.tables"}, kalamdb.CodeTableNotFound},
		{kalamdb.SubscribeRequest{SQL: "SELECT * FROM app.messages", FromSeq: &future}, kalamdb.CodeCursorExpired},
		{kalamdb.SubscribeRequest{SQL: "SELECT * FROM app.messages", LastRows: -1}, kalamdb.CodeInvalidRequest},
		{kalamdb.SubscribeRequest{SQL: "SELECT * FROM app.messages WHERE text = '" + strings.Repeat("x", 64<<10) + "'"}, kalamdb.CodeTooLarge},
	} {
		c.req.As, c.req.ConnectionID, c.req.QueryID = principal("alice"), "c", "q"
		_, err := db.Subscribe(context.Background(), c.req)
		wantCode(t, err, c.code)
	}
	for _, text := range []string{
		"SELECT count(*) FROM app.messages", "SELECT * FROM app.messages a JOIN app.messages b ON true", "SELECT * FROM app.messages ORDER BY n",
		"SELECT * FROM app.messages LIMIT 1", "SELECT DISTINCT text FROM app.messages", "DELETE FROM app.messages", "SELECT * FROM app.messages; SELECT 1",
	} {
		if _, err := db.Subscribe(context.Background(), kalamdb.SubscribeRequest{SQL: text, As: principal("alice"), ConnectionID: "c", QueryID: "q"}); err == nil {
			t.Errorf("%s was accepted", text)
		}
	}
	if got := answer(t, db, "root", "SELECT count(*) FROM system.live_queries"); got != "0\n" {
		t.Errorf("%s live queries are left", got)
	}
}

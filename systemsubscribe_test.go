package kalamdb_test

import (
	"context"
	"strings"
	"testing"

	"kalamdb"
)

// Jobs and live queries have live queries themselves, for operators.
func TestSystemLiveQueries(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", createMessages)
	ask := func(as, id, sql string) (*kalamdb.Subscription, error) {
		return db.Subscribe(context.Background(), kalamdb.SubscribeRequest{SQL: sql, As: principal(as), ConnectionID: "c", QueryID: id, LastRows: 10})
	}
	queries, err := ask("root", "lq", "SELECT live_id, user_id AS who FROM system.live_queries WHERE user_id = 'alice'")
	if err != nil {
		t.Fatal(err)
	}
	defer queries.Close()
	jobs, err := ask("root", "jobs", "SELECT job_type, status FROM system.jobs WHERE job_type = 'flush' AND status = 'completed'")
	if err != nil {
		t.Fatal(err)
	}
	defer jobs.Close()
	wantEvents(t, queries, "initial more=false")
	wantEvents(t, jobs, "initial more=false")
	watched, err := ask("alice", "w", "SELECT * FROM app.messages")
	if err != nil {
		t.Fatal(err)
	}
	wantEvents(t, queries, `INSERT {"live_id":"c-w","who":"alice"}`)
	watched.Close()
	wantEvents(t, queries, `DELETE {"live_id":"c-w","who":"alice","_deleted":true}`)
	mustExec(t, db, "alice", "INSERT INTO app.messages (text) VALUES ('x')")
	mustExec(t, db, "root", "FLUSH TABLE app.messages")
	wantEvents(t, jobs, `INSERT {"job_type":"flush","status":"completed"}`)

	if got := answer(t, db, "root", "SELECT live_id || ' ' || table_id FROM system.live_queries ORDER BY 1"); got != "\"c-jobs system:jobs\"\n\"c-lq system:live_queries\"\n" {
		t.Errorf("listed as %s", got)
	}
	mustExec(t, db, "root", "KILL LIVE QUERY 'c-jobs'")
	if got := next(t, jobs); !strings.Contains(got, "killed") {
		t.Errorf("after KILL: %s", got)
	}
	for _, c := range []struct{ as, sql, code string }{
		{"alice", "SELECT * FROM system.jobs", kalamdb.CodeTableNotFound},
		{"alice", "SELECT * FROM system.live_queries", kalamdb.CodeForbidden},
		{"root", "SELECT * FROM system.users", kalamdb.CodeNotSupportedYet},
		{"root", "SELECT nonsense FROM system.jobs", kalamdb.CodeColumnNotFound},
	} {
		_, err := ask(c.as, "bad", c.sql)
		wantCode(t, err, c.code)
	}
	from := queries.Seq
	_, err = db.Subscribe(context.Background(), kalamdb.SubscribeRequest{SQL: "SELECT * FROM system.jobs", As: principal("root"), ConnectionID: "c", QueryID: "again", FromSeq: &from})
	wantCode(t, err, kalamdb.CodeCursorExpired)
}

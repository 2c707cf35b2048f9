package kalamdb_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"kalamdb"
)

// Of the changes that wait for a reader one is left for each key; a reader that keeps up
// gets every one.
func TestCoalesce(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE USER TABLE app.n (id INT PRIMARY KEY, a INT)")
	mustExec(t, db, "alice", "INSERT INTO app.n VALUES (1, 1), (2, 2), (3, 3), (4, 4)")
	sub := subscribe(t, db, "alice", kalamdb.SubscribeRequest{SQL: "SELECT id, a FROM app.n WHERE a < 100", Coalesce: true})
	mustExec(t, db, "alice", "UPDATE app.n SET a = 10 WHERE id = 1")
	wantEvents(t, sub, `UPDATE {"id":1,"a":10} was {"id":1,"a":1}`)

	for _, sql := range []string{
		"INSERT INTO app.n VALUES (5, 5), (6, 6)",
		"UPDATE app.n SET a = a + 1 WHERE id IN (1, 5)",
		"UPDATE app.n SET a = a + 1 WHERE id IN (1, 5)",
		"DELETE FROM app.n WHERE id IN (2, 6)", // 6 was never seen
		"UPDATE app.n SET a = 500 WHERE id = 3",
		"UPDATE app.n SET a = 600 WHERE id = 3",
		"DELETE FROM app.n WHERE id = 4",
		"INSERT INTO app.n VALUES (4, 44)",
		"BEGIN; UPDATE app.n SET a = 13 WHERE id = 1; INSERT INTO app.n VALUES (7, 700); COMMIT",
	} {
		mustExec(t, db, "alice", sql)
	}
	last := mustExec(t, db, "alice", "INSERT INTO app.n VALUES (8, 8)")[0].Seq
	wantEvents(t, sub,
		`INSERT {"id":5,"a":7}`,
		`DELETE {"id":2,"a":2,"_deleted":true}`,
		`DELETE {"id":3,"a":3,"_deleted":true} left_filter`,
		`UPDATE {"id":4,"a":44} {"id":1,"a":13} was {"id":4,"a":4} was {"id":1,"a":10}`,
		`INSERT {"id":8,"a":8}`)
	mustExec(t, db, "root", "KILL LIVE QUERY 'conn-q'")
	if got := next(t, sub); got != "live query ended: killed" {
		t.Errorf("the end is %s", got)
	}
	if sub.Seq >= last {
		t.Error("the test has no changes")
	}
}

// A reader that goes away for a moment, as one with checkpoints does again and again, gets
// all of a commit that is read in pieces.
func TestCoalesceInPieces(t *testing.T) {
	const rows = 30_000
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE USER TABLE app.n (id INT PRIMARY KEY, a TEXT)")
	sub := subscribe(t, db, "alice", kalamdb.SubscribeRequest{SQL: "SELECT id FROM app.n", Coalesce: true})
	mustExec(t, db, "alice", fmt.Sprintf("INSERT INTO app.n SELECT i, 'abcdefghijklmnopqrstuvwxyz' FROM range(%d) r(i)", rows))
	got := 0
	for wait := time.Millisecond; ; wait += time.Millisecond {
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		e, err := sub.Next(ctx)
		cancel()
		switch {
		case errors.Is(err, context.DeadlineExceeded) && wait < waitMax:
			continue
		case err != nil:
			t.Fatalf("after %d rows: %v", got, err)
		}
		if got += len(e.Rows); e.TxnLast {
			break
		}
	}
	if got != rows {
		t.Errorf("%d of %d rows came", got, rows)
	}
}

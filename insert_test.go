package kalamdb_test

import (
	"fmt"
	"sync"
	"testing"

	"kalamdb"
)

// Statements of very many rows wait for each other, and each is all or nothing.
func TestInsertOfManyRows(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE USER TABLE app.t (id BIGINT PRIMARY KEY, text TEXT)")
	mustExec(t, db, "alice", "INSERT INTO app.t VALUES (-1, 'in the way')")
	var both sync.WaitGroup
	for _, user := range []string{"alice", "bob"} {
		both.Go(func() {
			const many = "INSERT INTO app.t SELECT i, 'row ' || i FROM range(150000) AS r(i)"
			if err := execAs(db, user, many); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	wantCode(t, execAs(db, "alice", "INSERT INTO app.t SELECT 1000000 + i, 'x' FROM range(120000) AS r(i) UNION ALL SELECT -1, 'y'"), kalamdb.CodeDuplicateKey)
	wantCode(t, execAs(db, "alice", "INSERT INTO app.t SELECT 1000000 + i, 'x' FROM range(1000001) AS r(i)"), "RESULT_TOO_LARGE")
	for user, want := range map[string]string{"alice": "150001 149999\n", "bob": "150000 149999\n"} {
		if got := answer(t, db, user, "SELECT count(*), max(id) FROM app.t"); got != want {
			t.Errorf("%s has %s, expected %s", user, got, want)
		}
	}
}

// A statement that does not keep its rows in memory is like any other: its events come in
// order with those around it, a key is taken wherever its row is, and all survives.
func TestStagedInsert(t *testing.T) {
	const rows = 30_000
	dir := t.TempDir()
	db := openDB(t, kalamdb.Options{DataDir: dir})
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE USER TABLE app.t (id BIGINT PRIMARY KEY, text TEXT NOT NULL); CREATE SHARED TABLE app.s (id BIGINT PRIMARY KEY AUTO_INCREMENT, n BIGINT) WITH (access = 'public')")
	sub := subscribe(t, db, "alice", kalamdb.SubscribeRequest{SQL: "SELECT id, text FROM app.t", BatchRows: 1})
	mustExec(t, db, "alice", "INSERT INTO app.t VALUES (-1, 'before')")
	mustExec(t, db, "alice", fmt.Sprintf("INSERT INTO app.t SELECT i, 'row ' || i FROM range(%d) AS r(i)", rows))
	mustExec(t, db, "alice", "UPDATE app.t SET text = 'changed' WHERE id = 7; DELETE FROM app.t WHERE id = 8")
	wantEvents(t, sub, `INSERT {"id":-1,"text":"before"}`)
	for i := range rows {
		if got, want := next(t, sub), fmt.Sprintf(`INSERT {"id":%d,"text":"row %d"}`, i, i); got != want {
			t.Fatalf("event %s, expected %s", got, want)
		}
	}
	wantEvents(t, sub, `UPDATE {"id":7,"text":"changed"} was {"id":7,"text":"row 7"}`, `DELETE {"id":8,"text":"row 8","_deleted":true}`)

	const more = "INSERT INTO app.t SELECT %s, 'more' FROM range(100000, 120000) AS r(i)"
	refused := func(db *kalamdb.DB) {
		t.Helper()
		wantCode(t, execAs(db, "alice", fmt.Sprintf(more, "CASE i WHEN 110000 THEN 5 ELSE i END")), kalamdb.CodeDuplicateKey)
		wantCode(t, execAs(db, "alice", fmt.Sprintf(more, "CASE i WHEN 110000 THEN 119999 ELSE i END")), kalamdb.CodeDuplicateKey)
		wantCode(t, execAs(db, "alice", "INSERT INTO app.t SELECT i, CASE i WHEN 110000 THEN NULL ELSE 'x' END FROM range(100000, 120000) AS r(i)"), kalamdb.CodeNotNull)
	}
	refused(db)
	mustExec(t, db, "root", "FLUSH ALL")
	refused(db)
	mustExec(t, db, "alice", fmt.Sprintf(more, "CASE i WHEN 110000 THEN 8 ELSE i END")) // 8 was deleted
	const look = "SELECT count(*), max(id), min(id) FILTER (text = 'changed') FROM app.t WHERE id >= 0 AND _seq > 0"
	if got := answer(t, db, "alice", look); got != "49999 119999 7\n" {
		t.Errorf("buffered %s", got)
	}
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			if err := execAs(db, "alice", "INSERT INTO app.s (n) SELECT i FROM range(20000) AS r(i)"); err != nil {
				t.Error(err)
			}
		})
		both.Go(func() {
			for i := range 50 {
				if err := execAs(db, "bob", fmt.Sprintf("INSERT INTO app.s (n) VALUES (%d)", i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	both.Wait()
	sub.Close()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openDB(t, kalamdb.Options{DataDir: dir})
	if got := answer(t, db, "alice", look); got != "49999 119999 7\n" {
		t.Errorf("after a restart %s", got)
	}
	if got := answer(t, db, "alice", "SELECT count(*), count(DISTINCT id), count(DISTINCT _seq) FROM app.s"); got != "40100 40100 40100\n" {
		t.Errorf("the shared table has %s", got)
	}
}

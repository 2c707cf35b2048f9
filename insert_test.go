package kalamdb_test

import (
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

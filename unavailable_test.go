package kalamdb_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kalamdb"
)

// A storage that does not answer makes 503 of what needs its files, and of nothing else.
func TestStorageUnavailable(t *testing.T) {
	place := filepath.Join(t.TempDir(), "place")
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", "CREATE USER TABLE away (id INT PRIMARY KEY, n INT) LOCATION '"+place+"/${user_id}'")
	mustExec(t, db, "alice", "INSERT INTO away VALUES (1, 1), (9, 9)")
	mustExec(t, db, "root", "FLUSH ALL")
	mustExec(t, db, "alice", "INSERT INTO away VALUES (20, 20)")
	if err := os.Rename(place, place+".hidden"); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{"SELECT * FROM away", "INSERT INTO away VALUES (5, 5)", "UPDATE away SET n = 2 WHERE id = 1", "DELETE FROM away"} {
		err := execAs(db, "alice", statement)
		var e *kalamdb.Error
		if !errors.As(err, &e) || e.Code != kalamdb.CodeNotReady || e.RetryAfter == 0 || strings.Contains(e.Error(), place) {
			t.Errorf("%s: %v, expected NOT_READY without the path", statement, err)
		}
	}
	mustExec(t, db, "alice", "INSERT INTO away VALUES (21, 21); UPDATE away SET n = 22 WHERE id = 21")
	if err := os.Rename(place+".hidden", place); err != nil {
		t.Fatal(err)
	}
	if got := answer(t, db, "alice", "SELECT sum(n) FROM away"); got != "\"52\"\n" && got != "52\n" {
		t.Errorf("sum %s, expected 52", got)
	}
}

package kalamdb_test

import (
	"fmt"
	"strings"
	"testing"

	"kalamdb"
)

// Users whose rows are in one pack have their own rows and nobody else's, whatever is done to them.
func TestPacksOfATable(t *testing.T) {
	data := t.TempDir()
	db := openDB(t, kalamdb.Options{DataDir: data})
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE USER TABLE app.n (id INT PRIMARY KEY, text TEXT) WITH (pack = '3')")
	for i := range 5 {
		mustExec(t, db, fmt.Sprint("u", i), fmt.Sprintf("INSERT INTO app.n VALUES (1, 'one of %d'), (2, 'SECRET%d')", i, i))
	}
	mustExec(t, db, "root", "FLUSH TABLE app.n")
	paths := answer(t, db, "root", "SELECT count(DISTINCT path), count(*), min(path) FROM system.files")
	if !strings.Contains(paths, "packs/app/n/pack-") {
		t.Fatalf("the files are %s, expected a pack", paths)
	}
	mine := func(user int, want string) {
		t.Helper()
		if got := answer(t, db, fmt.Sprint("u", user), "SELECT string_agg(text, ',' ORDER BY id) AS s FROM app.n"); !strings.Contains(got, want) {
			t.Errorf("user %d has %s, expected %s", user, got, want)
		}
	}
	for i := range 5 {
		mine(i, fmt.Sprintf("one of %d,SECRET%d", i, i))
	}
	mustExec(t, db, "u1", "UPDATE app.n SET text = 'new' WHERE id = 1; DELETE FROM app.n WHERE id = 2")
	mine(1, "new")
	mustExec(t, db, "root", "FORGET USER 'u3'")
	if found := holding(t, data+"/storage", "SECRET3"); len(found) > 0 {
		t.Errorf("%v have rows of the forgotten user", found)
	}
	mine(4, "one of 4,SECRET4")
	mustExec(t, db, "root", "ALTER TABLE app.n SET (pack = 'off'); COMPACT TABLE app.n")
	mine(4, "one of 4,SECRET4")
	mine(1, "new")
	if paths := answer(t, db, "root", "SELECT min(path) FROM system.files"); strings.Contains(paths, "pack-") {
		t.Errorf("after COMPACT TABLE there is %s", paths)
	}
	for _, bad := range []string{"1", "many", ""} {
		wantCode(t, execAs(db, "root", "ALTER TABLE app.n SET (pack = '"+bad+"')"), kalamdb.CodeInvalidDefinition)
	}
}

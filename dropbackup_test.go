package kalamdb_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kalamdb"
)

// A dropped backup takes along the files that no other one needs; the others stay whole.
func TestDropBackup(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir(), Transfer: transferTo(dir)})
	mustExec(t, db, "root", "CREATE NAMESPACE a; CREATE NAMESPACE b; CREATE SHARED TABLE a.t (id INT PRIMARY KEY); CREATE SHARED TABLE b.t (id INT PRIMARY KEY); INSERT INTO b.t VALUES (1)")
	place := "'" + dir + "/b'"
	for _, insert := range []string{"(1)", "(2)", "(3)", "(4)"} {
		mustExec(t, db, "root", "INSERT INTO a.t VALUES "+insert+"; BACKUP DATABASE a TO "+place)
		if insert == "(2)" {
			mustExec(t, db, "root", "COMPACT TABLE a.t; BACKUP DATABASE b TO "+place)
		}
	}
	files := func() int {
		list, err := filepath.Glob(dir + "/b/*/*/*/*.parquet")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	restored := func(number, want string) {
		t.Helper()
		mustExec(t, db, "root", "RESTORE DATABASE a FROM "+place+" AT "+number+" AS r"+number)
		if got := answer(t, db, "root", "SELECT count(*) FROM r"+number+".t"); got != want+"\n" {
			t.Errorf("backup %s has %s rows, expected %s", number, got, want)
		}
	}
	before := files()
	dropped := mustExec(t, db, "root", "DROP BACKUP DATABASE a FROM "+place+" AT 1")[0].Rows[0]
	if n := dropped[0].Int(); n != 1 || files() != before-int(dropped[1].Int()) {
		t.Errorf("%v dropped, %d files of %d left", dropped, files(), before)
	}
	wantCode(t, execAs(db, "root", "DROP BACKUP DATABASE a FROM "+place+" AT 1"), kalamdb.CodeNotFound)
	wantCode(t, execAs(db, "alice", "DROP BACKUP DATABASE a FROM "+place+" AT 2"), kalamdb.CodeForbidden)
	restored("2", "2")
	restored("3", "3")

	// A file of nobody stays for a day, one that is not ours for ever.
	orphan, other := dir+"/b/shared/a/t/batch-1-1-0000000000000000.parquet", dir+"/b/shared/a/t/readme.txt"
	for _, name := range []string{orphan, other} {
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mustExec(t, db, "root", "DROP BACKUP DATABASE a FROM "+place+" KEEP 2")
	if _, err := os.Stat(orphan); err != nil {
		t.Error(err)
	}
	old := time.Now().Add(-25 * time.Hour)
	if err := errors.Join(os.Chtimes(orphan, old, old), os.Chtimes(other, old, old)); err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, "root", "DROP BACKUP DATABASE a FROM "+place+" KEEP 1")
	if _, err := os.Stat(orphan); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file of nobody: %v", err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Error(err)
	}
	if got := answer(t, db, "root", "SHOW BACKUP "+place); strings.Count(got, "\n") != 2 || !strings.Contains(got, `"a" 4 "`) || !strings.Contains(got, `"b" 1 "`) {
		t.Errorf("left are %s", got)
	}
	restored("4", "4")
	mustExec(t, db, "root", "RESTORE DATABASE b FROM "+place+" AS c")
	if got := answer(t, db, "root", "SELECT count(*) FROM c.t"); got != "1\n" {
		t.Errorf("of b there is %s", got)
	}

	// While a drop is on its way no backup comes to be; one that crashed long ago is no matter.
	marker := dir + "/b/_kalamdb/backup-drops/x"
	if err := errors.Join(os.MkdirAll(filepath.Dir(marker), 0o700), os.WriteFile(marker, []byte("{}"), 0o600)); err != nil {
		t.Fatal(err)
	}
	wantCode(t, execAs(db, "root", "BACKUP DATABASE a TO "+place), kalamdb.CodeConflict)
	if got := answer(t, db, "root", "SHOW BACKUP "+place); strings.Count(got, "\n") != 2 {
		t.Errorf("after a backup that failed: %s", got)
	}
	if err := os.Chtimes(marker, old, old); err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, "root", "BACKUP DATABASE a TO "+place)
	for text, code := range map[string]string{
		"DROP BACKUP DATABASE a FROM " + place: "SYNTAX_ERROR", "DROP BACKUP DATABASE a FROM " + place + " AT 0": "SYNTAX_ERROR",
		"DROP BACKUP DATABASE a FROM " + place + " KEEP x": "SYNTAX_ERROR", "DROP BACKUP a": "SYNTAX_ERROR",
		"BEGIN; DROP BACKUP DATABASE a FROM " + place + " KEEP 1; COMMIT": kalamdb.CodeInvalidStatement,
	} {
		wantCode(t, execAs(db, "root", text), code)
	}
}

package kalamdb_test

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"kalamdb"
)

// holding are the files below dir that have the text in them.
func holding(t *testing.T, dir, text string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		body, err := os.ReadFile(path)
		if bytes.Contains(body, []byte(text)) {
			found = append(found, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// After FORGET USER nothing of the user's rows is left, in files, buffer or change log; others
// have theirs, and the user may begin again.
func TestForgetUser(t *testing.T) {
	dir, data := t.TempDir(), t.TempDir()
	db := openDB(t, kalamdb.Options{DataDir: data, Transfer: transferTo(dir)})
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE USER TABLE app.a (id INT PRIMARY KEY, secret TEXT); CREATE USER TABLE app.b (id INT PRIMARY KEY, secret TEXT); CREATE USER TABLE app.none (id INT PRIMARY KEY)")
	fill := func(user, secret string) {
		for _, table := range []string{"app.a", "app.b"} {
			mustExec(t, db, user, "INSERT INTO "+table+" SELECT i, '"+secret+"' || i FROM range(100) r(i)")
			mustExec(t, db, "root", "FLUSH ALL")
			mustExec(t, db, user, "UPDATE "+table+" SET secret = '"+secret+"2' WHERE id = 3; DELETE FROM "+table+" WHERE id = 4")
		}
	}
	fill("alice", "ALICES")
	fill("bob", "BOBS")
	mustExec(t, db, "alice", "SELECT count(*) FROM app.a WHERE secret LIKE 'ALICE%'") // its files are in the cache now
	bobs := answer(t, db, "bob", "SELECT *, _seq, _deleted FROM app.a WHERE _deleted OR true ORDER BY id")
	wantCode(t, execAs(db, "bob", "FORGET USER 'alice'"), kalamdb.CodeForbidden)
	res := mustExec(t, db, "root", "FORGET USER 'alice'")[0]
	removed := map[string]int{}
	for _, r := range res.Rows {
		removed[r[1].Str()+" "+r[2].Str()]++
		if name := r[3]; r[2].Str() == "file" {
			if _, err := os.Stat(filepath.Join(data, "storage", name.Str())); err == nil {
				t.Errorf("%s is still there", name.Str())
			}
		}
	}
	if removed["a file"] < 2 || removed["b file"] < 2 || removed["a buffered rows and changes"] != 1 || len(removed) != 4 {
		t.Errorf("receipt %v", removed)
	}
	for _, table := range []string{"app.a", "app.b"} {
		if got := answer(t, db, "alice", "SELECT count(*) FROM "+table+" WHERE _deleted OR true"); got != "0\n" {
			t.Errorf("%s rows of alice in %s", got, table)
		}
	}
	if left := holding(t, filepath.Join(data, "storage"), "ALICES"); left != nil {
		t.Errorf("in the storage: %v", left)
	}
	if left := holding(t, filepath.Join(data, "cache"), "ALICES"); left != nil {
		t.Errorf("in the cache: %v", left)
	}
	if files, _ := filepath.Glob(filepath.Join(data, "storage/users/alice/*/*/*.parquet")); len(files) != 0 {
		t.Errorf("files of alice: %v", files)
	}
	if got := answer(t, db, "bob", "SELECT *, _seq, _deleted FROM app.a WHERE _deleted OR true ORDER BY id"); got != bobs {
		t.Error("bob's rows have changed")
	}
	seq := kalamdb.SubscribeRequest{ConnectionID: "c", QueryID: "q", SQL: "SELECT * FROM app.a", As: principal("alice")}
	first := mustExec(t, db, "alice", "INSERT INTO app.a VALUES (3, 'fresh')")[0].Seq - 10
	seq.FromSeq = &first
	_, err := db.Subscribe(context.Background(), seq)
	wantCode(t, err, kalamdb.CodeCursorExpired)
	if got := mustExec(t, db, "root", "FORGET USER 'nobody'")[0]; len(got.Rows) != 0 {
		t.Errorf("of nobody: %v", got.Rows)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	sst := 0
	for _, name := range holding(t, filepath.Join(data, "buffer"), "ALICES") {
		if strings.HasSuffix(name, ".sst") {
			sst++
		}
	}
	if sst > 0 {
		t.Errorf("%d tables of the buffer hold alice's text", sst)
	}
	db = openDB(t, kalamdb.Options{DataDir: data})
	if got := answer(t, db, "alice", "SELECT * FROM app.a WHERE _deleted OR true"); !strings.HasPrefix(got, `3 "fresh"`) || strings.Count(got, "\n") != 1 {
		t.Errorf("after a restart: %s", got)
	}
}

// FORGET USER beside writers, readers and flushes: what was committed before it is gone, and what
// comes after it stays.
func TestForgetUserUnderLoad(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE USER TABLE app.a (id BIGINT AUTO_INCREMENT PRIMARY KEY, round INT, n INT)")
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for _, text := range []string{"UPDATE app.a SET n = n + 1", "SELECT sum(n) FROM app.a", "FLUSH ALL", "INSERT INTO app.a (round, n) VALUES (-1, 0)"} {
		wg.Go(func() {
			for ctx.Err() == nil {
				as := "alice"
				if text == "FLUSH ALL" {
					as = "root"
				}
				if err := execAs(db, as, text); err != nil && !strings.Contains(err.Error(), "CONFLICT") {
					t.Errorf("%s: %v", text, err)
				}
			}
		})
	}
	for round := range 15 {
		mustExec(t, db, "alice", "INSERT INTO app.a (round, n) SELECT $1, i FROM range(50) r(i)", testParams(t, string(rune('0'+round%10)))...)
		mustExec(t, db, "root", "FORGET USER 'alice'")
		if got := answer(t, db, "alice", "SELECT count(*) FROM app.a WHERE round >= 0"); got != "0\n" {
			t.Fatalf("round %d: %s rows that were forgotten", round, got)
		}
	}
}

// EXPORT USER writes what the user has, table by table, and nobody else's rows.
func TestExportUser(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir(), Transfer: transferTo(dir)})
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE USER TABLE app.a (id INT PRIMARY KEY, t TEXT); CREATE USER TABLE app.\"order\" (id INT PRIMARY KEY); CREATE USER TABLE app.none (id INT PRIMARY KEY)")
	mustExec(t, db, "alice", "INSERT INTO app.a VALUES (1, 'x'), (2, 'y'); DELETE FROM app.a WHERE id = 2; INSERT INTO app.\"order\" VALUES (7)")
	mustExec(t, db, "bob", "INSERT INTO app.a VALUES (1, 'bob'); INSERT INTO app.none VALUES (1)")
	res := mustExec(t, db, "root", "EXPORT USER 'alice' TO '"+dir+"/alice/' WITH (format = 'csv')")[0]
	if len(res.Rows) != 2 {
		t.Errorf("%d files, expected 2", len(res.Rows))
	}
	body, err := os.ReadFile(dir + "/alice/app/a.csv")
	if err != nil || !strings.HasPrefix(string(body), "id,t,_updated,_deleted,_seq\n1,x,") || strings.Count(string(body), "\n") != 2 {
		t.Errorf("%v: %s", err, body)
	}
	wantCode(t, execAs(db, "root", "EXPORT USER 'alice' TO '"+dir+"/alice/' WITH (format = 'csv')"), kalamdb.CodeAlreadyExists)
	if _, err := os.Stat(dir + "/alice/app/a.csv"); err != nil {
		t.Error("an export that was refused removed an earlier one")
	}
	if got := answer(t, db, "root", "SELECT count(*) FROM system.audit WHERE action = 'EXPORT USER' AND as_user = 'alice'"); got != "2\n" {
		t.Errorf("%s entries of the audit log, expected 2", got)
	}
}

package kalamdb_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"kalamdb"
	"kalamdb/row"
)

func transferTo(dir string) kalamdb.TransferOptions {
	return kalamdb.TransferOptions{Folders: []string{dir}}
}

// everything is all rows of the tables of shop for alice, bob and everybody, deleted ones too.
func everything(t *testing.T, db *kalamdb.DB, ns string) string {
	t.Helper()
	var b strings.Builder
	for _, as := range []string{"alice", "bob"} {
		b.WriteString(as + ":\n" + answer(t, db, as, "SELECT *, _seq, _updated, _deleted FROM "+ns+".notes WHERE _deleted OR true ORDER BY id"))
	}
	b.WriteString(answer(t, db, "alice", "SELECT *, _seq, _updated, _deleted FROM "+ns+".rooms WHERE _deleted OR true ORDER BY id"))
	b.WriteString(answer(t, db, "root", "DESCRIBE "+ns+".notes") + answer(t, db, "root", "DESCRIBE "+ns+".notes HISTORY"))
	return b.String()
}

const shop = `CREATE NAMESPACE shop WITH (team = 'x');
	CREATE USER TABLE shop.notes (id INT PRIMARY KEY, text STRING, n INT DEFAULT 3) WITH (deleted_retention = 'off', flush_policy = 'rows:77');
	CREATE SHARED TABLE shop.rooms (id INT PRIMARY KEY, name STRING) WITH (access = 'public');
	CREATE STREAM TABLE shop.ticks (n INT) WITH (retention = '1h')`

// fillShop makes rows in files and in the buffer, of two schema versions, updated and deleted.
func fillShop(t *testing.T, db *kalamdb.DB) {
	t.Helper()
	mustExec(t, db, "root", shop)
	mustExec(t, db, "alice", "INSERT INTO shop.notes SELECT i, 'a' || i, i FROM range(500) r(i); INSERT INTO shop.rooms VALUES (1, 'r1'), (2, 'r2'); INSERT INTO shop.ticks VALUES (1)")
	mustExec(t, db, "bob", "INSERT INTO shop.notes SELECT i, 'b' || i, i FROM range(20) r(i)")
	mustExec(t, db, "root", "FLUSH ALL")
	mustExec(t, db, "alice", "UPDATE shop.notes SET text = 'new' WHERE id < 10; DELETE FROM shop.notes WHERE id = 11; DELETE FROM shop.rooms WHERE id = 2")
	mustExec(t, db, "root", "FLUSH ALL; ALTER TABLE shop.notes ADD COLUMN extra TEXT DEFAULT 'x', RENAME COLUMN text TO body; ALTER TABLE shop.notes DROP COLUMN n")
	mustExec(t, db, "alice", "UPDATE shop.notes SET extra = 'y' WHERE id = 5; INSERT INTO shop.notes VALUES (1000, 'hot', 'z'); DELETE FROM shop.notes WHERE id = 12")
}

// A restored namespace is what it was, under another name, on another server, and beside the
// one it comes from; and it is a namespace like any other.
func TestBackupAndRestore(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir(), Transfer: transferTo(dir)})
	fillShop(t, db)
	want := everything(t, db, "shop")
	url := "file://" + dir + "/b"
	res := mustExec(t, db, "root", "BACKUP DATABASE shop TO '"+url+"'")[0]
	if got := string(res.Rows[0][1].AppendJSON(nil)); got != "1" {
		t.Errorf("number %s, expected 1", got)
	}
	mustExec(t, db, "alice", "UPDATE shop.notes SET body = 'later'; INSERT INTO shop.rooms VALUES (9, 'later')")
	later := everything(t, db, "shop")

	// On a server that has given out no Seq yet.
	data := t.TempDir()
	other := openDB(t, kalamdb.Options{DataDir: data, Transfer: transferTo(dir)})
	mustExec(t, other, "root", "RESTORE DATABASE shop FROM '"+url+"'")
	if got := everything(t, other, "shop"); got != want {
		t.Errorf("restored elsewhere:\n%s\nexpected\n%s", got, want)
	}
	if got := answer(t, other, "root", "SELECT options FROM system.namespaces WHERE namespace = 'shop'"); !strings.Contains(got, "team") {
		t.Errorf("options of the namespace: %s", got)
	}
	for _, q := range []string{
		"SELECT table_name, table_type, flush_policy, deleted_retention, options, schema_version FROM system.tables WHERE namespace = 'shop' ORDER BY table_name",
	} {
		if a, b := answer(t, db, "root", q), answer(t, other, "root", q); a != b {
			t.Errorf("tables\n%s\nexpected\n%s", b, a)
		}
	}
	mustExec(t, other, "alice", "UPDATE shop.notes SET body = 'later'; INSERT INTO shop.rooms VALUES (9, 'later'); DELETE FROM shop.notes WHERE id = 30; INSERT INTO shop.ticks VALUES (1)")
	check := func(when string) {
		t.Helper()
		if got := answer(t, other, "alice", "SELECT count(*), min(body), max(body) FROM shop.notes"); got != "498 \"later\" \"later\"\n" {
			t.Errorf("%s: %s", when, got)
		}
		wantCode(t, execAs(other, "alice", "INSERT INTO shop.notes VALUES (31, 'again', 'q')"), kalamdb.CodeDuplicateKey)
	}
	check("buffered")
	mustExec(t, other, "root", "FLUSH ALL")
	check("flushed")
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(data + "/buffer"); err != nil {
		t.Fatal(err)
	}
	other = openDB(t, kalamdb.Options{DataDir: data, Transfer: transferTo(dir)})
	check("from the bucket alone")

	// Beside the one it comes from.
	wantCode(t, execAs(db, "root", "RESTORE DATABASE shop FROM '"+url+"'"), kalamdb.CodeAlreadyExists)
	mustExec(t, db, "root", "RESTORE DATABASE shop FROM '"+url+"' AS shop2")
	if got := everything(t, db, "shop2"); got != want {
		t.Errorf("restored beside:\n%s\nexpected\n%s", got, want)
	}
	if got := everything(t, db, "shop"); got != later {
		t.Error("the namespace that was backed up has changed")
	}
	mustExec(t, db, "root", "DROP NAMESPACE shop2 CASCADE")
	if got := everything(t, db, "shop"); got != later {
		t.Error("dropping the restored namespace has changed the other one")
	}
}

// A later backup copies only what is new, each can be restored, and what is damaged is found.
func TestBackupIsIncremental(t *testing.T) {
	dir, data := t.TempDir(), t.TempDir()
	db := openDB(t, kalamdb.Options{DataDir: data, Transfer: transferTo(dir)})
	fillShop(t, db)
	backup := "BACKUP DATABASE shop TO '" + dir + "/b'"
	first := everything(t, db, "shop")
	mustExec(t, db, "root", backup)
	res := mustExec(t, db, "root", backup)[0]
	copied := func(res kalamdb.Result) int64 { return res.Rows[0][9].Int() }
	if res.Columns[9].Name != "copied_files" || copied(res) != 0 {
		t.Errorf("%d files copied though nothing has changed", copied(res))
	}
	mustExec(t, db, "bob", "INSERT INTO shop.notes VALUES (100, 'n', 'n')")
	if res = mustExec(t, db, "root", backup)[0]; copied(res) != 1 {
		t.Errorf("%d files copied for one new row, expected 1", copied(res))
	}
	third := everything(t, db, "shop")
	if got := answer(t, db, "root", "SHOW BACKUP '"+dir+"/b'"); strings.Count(got, "\n") != 3 || !strings.Contains(got, `"shop" 3 "`) {
		t.Errorf("SHOW BACKUP: %s", got)
	}
	mustExec(t, db, "root", "RESTORE DATABASE shop FROM '"+dir+"/b' AT 1 AS one; RESTORE DATABASE shop FROM '"+dir+"/b' AS three")
	if everything(t, db, "one") != first || everything(t, db, "three") != third {
		t.Error("a restored backup is another one")
	}
	wantCode(t, execAs(db, "root", "RESTORE DATABASE shop FROM '"+dir+"/b' AT 4 AS four"), kalamdb.CodeNotFound)
	wantCode(t, execAs(db, "root", "RESTORE DATABASE shops FROM '"+dir+"/b' AS four"), kalamdb.CodeNotFound)
	wantCode(t, execAs(db, "root", "RESTORE DATABASE shop FROM '"+dir+"/none' AS four"), kalamdb.CodeNotFound)
	wantCode(t, execAs(db, "root", "RESTORE DATABASE shop FROM '"+dir+"/b' AS system"), kalamdb.CodeInvalidDefinition)
	wantCode(t, execAs(db, "alice", backup), kalamdb.CodeForbidden)
	wantCode(t, execAs(db, "root", "BACKUP DATABASE shops TO '"+dir+"/b'"), kalamdb.CodeNamespaceNotFound)

	files, err := filepath.Glob(dir + "/b/users/alice/shop/notes/*.parquet")
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	body, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, damage := range []func() error{
		func() error { body[len(body)/2] ^= 1; return overwrite(files[0], body) },
		func() error { return os.Remove(files[0]) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		wantCode(t, execAs(db, "root", "RESTORE DATABASE shop FROM '"+dir+"/b' AS damaged"), kalamdb.CodeInvalidValue)
		wantCode(t, execAs(db, "root", "SELECT * FROM damaged.notes"), kalamdb.CodeTableNotFound)
	}
	waitFor(t, func() bool {
		left := 0
		for _, pattern := range []string{"users/*/damaged/*/*", "shared/damaged/*/*", "_kalamdb/log/damaged/*/*/*", "_kalamdb/catalog/dropped/*"} {
			found, _ := filepath.Glob(filepath.Join(data, "storage", pattern))
			left += len(found)
		}
		return left == 0
	})
	manifest := dir + "/b/_kalamdb/backup/shop/00000000000000000001.json"
	if body, err = os.ReadFile(manifest); err != nil {
		t.Fatal(err)
	}
	if err := overwrite(manifest, []byte(strings.Replace(string(body), "alice", "malice", 1))); err != nil {
		t.Fatal(err)
	}
	wantCode(t, execAs(db, "root", "RESTORE DATABASE shop FROM '"+dir+"/b' AT 1 AS damaged"), kalamdb.CodeInvalidValue)
}

func overwrite(name string, body []byte) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.WriteFile(name, body, 0o600)
}

// A backup is one moment of all tables, whoever writes and flushes meanwhile: each transaction
// adds the same number to two tables and takes it from a third one.
func TestBackupIsOneMoment(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir(), Transfer: transferTo(dir)})
	mustExec(t, db, "root", `CREATE NAMESPACE bank; CREATE USER TABLE bank.a (id INT PRIMARY KEY, n INT); CREATE USER TABLE bank.b (id INT PRIMARY KEY, n INT);
		CREATE SHARED TABLE bank.log (id BIGINT AUTO_INCREMENT PRIMARY KEY, n INT) WITH (access = 'public')`)
	users := []string{"alice", "bob"}
	for _, u := range users {
		mustExec(t, db, u, "INSERT INTO bank.a VALUES (1, 0); INSERT INTO bank.b VALUES (1, 0)")
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var done atomic.Int64
	for _, u := range users {
		wg.Go(func() {
			for ctx.Err() == nil {
				text := "BEGIN; UPDATE bank.a SET n = n + 1 WHERE id = 1; UPDATE bank.b SET n = n - 1 WHERE id = 1; INSERT INTO bank.log (n) VALUES (1); COMMIT"
				if err := execAs(db, u, text); err == nil {
					done.Add(1)
				}
			}
		})
	}
	wg.Go(func() {
		for ctx.Err() == nil {
			mustExec(t, db, "root", "FLUSH ALL")
		}
	})
	const backups = 8
	for range backups {
		mustExec(t, db, "root", "BACKUP DATABASE bank TO '"+dir+"'")
	}
	stop()
	wg.Wait()
	for n := 1; n <= backups; n++ {
		ns := fmt.Sprintf("copy%d", n)
		mustExec(t, db, "root", fmt.Sprintf("RESTORE DATABASE bank FROM '%s' AT %d AS %s", dir, n, ns))
		var total int64
		for _, u := range users {
			values := mustExec(t, db, u, fmt.Sprintf("SELECT (SELECT n FROM %s.a), (SELECT n FROM %s.b)", ns, ns))[0].Rows[0]
			if values[0].Int() != -values[1].Int() {
				t.Errorf("backup %d, %s: %d and %d of one transaction", n, u, values[0].Int(), values[1].Int())
			}
			total += values[0].Int()
		}
		if got := mustExec(t, db, "alice", "SELECT count(*) FROM "+ns+".log")[0].Rows[0][0]; got != row.IntValue(row.BigInt, total) {
			t.Errorf("backup %d: %d entries of the log, expected %d", n, got.Int(), total)
		}
	}
	if done.Load() < 10 {
		t.Errorf("only %d transactions: the test shows nothing", done.Load())
	}
}

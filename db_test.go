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
	"testing"

	"go.uber.org/goleak"

	"kalamdb"
	"kalamdb/row"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const createMessages = `CREATE NAMESPACE app;
	CREATE USER TABLE app.messages (id BIGINT AUTO_INCREMENT, text STRING, n BIGINT DEFAULT 0)`

// answer is the rows of one SELECT as JSON, a line each.
func answer(t testing.TB, db *kalamdb.DB, as, text string) string {
	t.Helper()
	var b strings.Builder
	for _, values := range mustExec(t, db, as, text)[0].Rows {
		for i, v := range values {
			if i > 0 {
				b.WriteByte(' ')
			}
			b.Write(v.AppendJSON(nil))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func wantCode(t testing.TB, err error, code string) *kalamdb.Error {
	t.Helper()
	var e *kalamdb.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("error %v, expected the code %s", err, code)
	}
	return e
}

// One hundred concurrent increments add exactly one hundred, while the row moves
// between buffer and files.
func TestNoLostUpdates(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", createMessages)
	mustExec(t, db, "alice", "INSERT INTO app.messages (text) VALUES ('counter')")
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			res, err := db.Exec(context.Background(), kalamdb.Request{SQL: "UPDATE app.messages SET n = n + 1", As: principal("alice")})
			if err != nil || res[0].Affected != 1 {
				t.Errorf("increment: %v, %+v", err, res)
			}
			if i%20 == 0 {
				if _, err := db.Exec(context.Background(), kalamdb.Request{SQL: "FLUSH TABLE app.messages", As: principal("root")}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := answer(t, db, "alice", "SELECT n FROM app.messages"); got != "100\n" {
		t.Errorf("n is %s, expected 100", got)
	}
}

// Of many that insert one key, one wins, wherever flushes move the row meanwhile.
func TestOneKeyOneWinner(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE USER TABLE app.k (id INT PRIMARY KEY, who INT)")
	for id := range 10 {
		var wg sync.WaitGroup
		var mu sync.Mutex // guards won
		won := 0
		for who := range 8 {
			wg.Go(func() {
				_, err := db.Exec(context.Background(), kalamdb.Request{As: principal("alice"), SQL: fmt.Sprintf("INSERT INTO app.k VALUES (%d, %d)", id, who)})
				if err == nil {
					mu.Lock()
					defer mu.Unlock()
					won++
				} else {
					wantCode(t, err, kalamdb.CodeDuplicateKey)
				}
			})
			if who == 4 {
				wg.Go(func() { mustExec(t, db, "root", "FLUSH ALL") })
			}
		}
		wg.Wait()
		if won != 1 {
			t.Fatalf("%d inserts of key %d succeeded, expected 1", won, id)
		}
	}
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	question := "SELECT text, n FROM app.messages ORDER BY id"
	var before string
	func() {
		db, err := kalamdb.Open(context.Background(), kalamdb.Options{DataDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		mustExec(t, db, "root", createMessages)
		mustExec(t, db, "alice", "INSERT INTO app.messages (text, n) VALUES ('flushed', 1), ('changed later', 2), ('deleted later', 3)")
		mustExec(t, db, "root", "FLUSH TABLE app.messages")
		mustExec(t, db, "alice", "UPDATE app.messages SET text = 'changed' WHERE n = 2; DELETE FROM app.messages WHERE n = 3; INSERT INTO app.messages (text) VALUES ('buffered')")
		before = answer(t, db, "alice", question)
		if _, err := kalamdb.Open(context.Background(), kalamdb.Options{DataDir: dir}); !errors.Is(err, kalamdb.ErrLocked) {
			t.Errorf("second open: %v, expected ErrLocked", err)
		}
	}()
	db := openDB(t, kalamdb.Options{DataDir: dir})
	if after := answer(t, db, "alice", question); after != before {
		t.Errorf("after the restart:\n%sexpected:\n%s", after, before)
	}
}

// With the data directory lost, everything flushed is there again, and no id or
// sequence number is used twice.
func TestStartFromBucketAlone(t *testing.T) {
	storage := "file://" + t.TempDir()
	open := func() *kalamdb.DB { return openDB(t, kalamdb.Options{DataDir: t.TempDir(), Storage: storage}) }
	db := open()
	mustExec(t, db, "root", createMessages)
	seq := mustExec(t, db, "alice", "INSERT INTO app.messages (text) VALUES ('kept')")[0].Seq
	mustExec(t, db, "root", "FLUSH ALL")
	mustExec(t, db, "alice", "INSERT INTO app.messages (text) VALUES ('only buffered')")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open()
	if got := answer(t, db, "alice", "SELECT text FROM app.messages"); got != "\"kept\"\n" {
		t.Errorf("rows %q, expected the flushed one", got)
	}
	if next := mustExec(t, db, "alice", "INSERT INTO app.messages (text) VALUES ('new')")[0].Seq; next <= seq {
		t.Errorf("seq %d after %d: used again", next, seq)
	}
	if got := answer(t, db, "alice", "SELECT count(DISTINCT id), count(*) FROM app.messages"); got != "2 2\n" {
		t.Errorf("ids and rows %q, expected 2 2", got)
	}
}

// A table of the name of a dropped one starts empty, and the files go.
func TestDropAndCreateAgain(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, kalamdb.Options{DataDir: dir})
	mustExec(t, db, "root", createMessages)
	mustExec(t, db, "alice", "INSERT INTO app.messages (text) VALUES ('old')")
	mustExec(t, db, "root", "FLUSH ALL")
	mustExec(t, db, "alice", "INSERT INTO app.messages (text) VALUES ('old too')")
	mustExec(t, db, "root", "DROP TABLE app.messages; CREATE USER TABLE app.messages (id BIGINT AUTO_INCREMENT, text STRING)")
	if got := answer(t, db, "alice", "SELECT count(*) FROM app.messages"); got != "0\n" {
		t.Errorf("%s rows in the new table", got)
	}
	if err := db.Close(); err != nil { // waits for, or interrupts, the removal
		t.Fatal(err)
	}
	db = openDB(t, kalamdb.Options{DataDir: dir})
	mustExec(t, db, "root", "FLUSH ALL")
	waitFor(t, func() bool {
		return len(parquetFiles(t, dir)) == 0 && !strings.Contains(answer(t, db, "root", "SELECT status FROM system.jobs WHERE job_type = 'cleanup'"), "running")
	})
}

func parquetFiles(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "storage"), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if strings.HasSuffix(path, ".parquet") {
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestFilesAreWhereTheContractSays(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, kalamdb.Options{DataDir: dir})
	mustExec(t, db, "root", createMessages)
	mustExec(t, db, "alice", "INSERT INTO app.messages (text) VALUES ('x')")
	mustExec(t, db, "root", "FLUSH TABLE app.messages")
	files := parquetFiles(t, dir)
	if len(files) != 1 || !strings.HasPrefix(files[0], filepath.Join(dir, "storage/users/alice/app/messages/batch-")) {
		t.Errorf("files %v, expected one under users/alice/app/messages", files)
	}
	if got := answer(t, db, "root", "SELECT user_id, rows, min_seq = max_seq FROM system.files"); got != "\"alice\" 1 true\n" {
		t.Errorf("system.files: %s", got)
	}
	if got := answer(t, db, "root", "SELECT job_type, status FROM system.jobs"); got != "\"flush\" \"completed\"\n" {
		t.Errorf("system.jobs: %s", got)
	}
}

func TestParams(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", createMessages)
	mustExec(t, db, "alice", "INSERT INTO app.messages (text, n) VALUES ($2, $1)", row.IntValue(row.BigInt, 7), row.TextValue("it's"))
	res := mustExec(t, db, "alice", "SELECT n FROM app.messages WHERE text = $1", row.TextValue("it's"))
	if len(res[0].Rows) != 1 || res[0].Rows[0][0].Int() != 7 {
		t.Errorf("rows %v", res[0].Rows)
	}
	for _, bad := range []kalamdb.Request{
		{SQL: "SELECT $1"},
		{SQL: "SELECT 1", Params: []row.Value{row.NullValue}},
		{SQL: "SELECT $1; SELECT 2", Params: []row.Value{row.NullValue}},
		{SQL: "INSERT INTO app.messages (n) VALUES ($2)", Params: []row.Value{row.NullValue}},
		{SQL: "INSERT INTO app.messages (n) VALUES (1)", Params: []row.Value{row.NullValue}},
		{SQL: "DELETE FROM app.messages WHERE n = $1"},
	} {
		bad.As = principal("alice")
		_, err := db.Exec(context.Background(), bad)
		wantCode(t, err, kalamdb.CodeInvalidParams)
	}
}

// waitFor waits until ok, which something in the background brings about.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	for !ok() {
		if err := pause(ctx); err != nil {
			t.Fatal("still not so after ", waitMax)
		}
	}
}

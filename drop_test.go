package kalamdb_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"kalamdb"
)

const cleanups = "SELECT status, result, error_message FROM system.jobs WHERE job_type = 'cleanup' ORDER BY job_id"

// The folders of many users go, also when a restart interrupts it, and the job tells.
func TestDropOfManyUsers(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, kalamdb.Options{DataDir: dir})
	mustExec(t, db, "root", createMessages)
	const users = 1000
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < users; i += 8 {
				mustExec(t, db, fmt.Sprintf("user %d", i), "INSERT INTO app.messages (text) VALUES ('x')")
			}
		})
	}
	wg.Wait()
	mustExec(t, db, "root", "FLUSH ALL")
	mustExec(t, db, "alice", "INSERT INTO app.messages (text) VALUES ('buffered')")
	if n := len(parquetFiles(t, dir)); n != users {
		t.Fatalf("%d files, expected %d", n, users)
	}
	mustExec(t, db, "root", "DROP TABLE app.messages; CREATE USER TABLE app.messages (id BIGINT AUTO_INCREMENT, text STRING)")
	if err := db.Close(); err != nil { // interrupts the removal
		t.Fatal(err)
	}
	left := len(parquetFiles(t, dir))
	db = openDB(t, kalamdb.Options{DataDir: dir})
	mustExec(t, db, "user 7", "INSERT INTO app.messages (text) VALUES ('new')")
	mustExec(t, db, "root", "FLUSH ALL")
	waitFor(t, func() bool { return len(parquetFiles(t, dir)) == 1 })
	waitFor(t, func() bool {
		got := answer(t, db, "root", cleanups)
		return left == 0 && got == "" || got == "\"completed\" \"rows and files removed\" null\n"
	})
	if got := answer(t, db, "user 7", "SELECT text FROM app.messages"); got != "\"new\"\n" {
		t.Errorf("the new table has %s", got)
	}
}

// A bucket that does not answer holds up neither the DROP nor other tables; the job says
// what is wrong and goes on when the bucket is back.
func TestDropWithDeadBucket(t *testing.T) {
	place := filepath.Join(t.TempDir(), "place")
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", "CREATE USER TABLE away (id INT PRIMARY KEY) LOCATION '"+place+"/${user_id}'; CREATE USER TABLE here (id INT PRIMARY KEY)")
	mustExec(t, db, "alice", "INSERT INTO away VALUES (1); INSERT INTO here VALUES (1)")
	mustExec(t, db, "root", "FLUSH ALL")
	files, err := filepath.Glob(place + "/alice/*.parquet")
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, %v", files, err)
	}
	hidden := place + ".hidden"
	if err := errors.Join(os.Rename(place, hidden), os.Symlink(place, place)); err != nil { // a link to itself: every access fails
		t.Fatal(err)
	}
	mustExec(t, db, "root", "DROP TABLE away")
	waitFor(t, func() bool {
		got := answer(t, db, "root", cleanups)
		return strings.Contains(got, `"running" "will be tried again in 1s" "drop default.away: `)
	})
	if got := answer(t, db, "alice", "SELECT count(*) FROM here"); got != "1\n" {
		t.Errorf("the other table has %s rows", got)
	}
	mustExec(t, db, "root", "CREATE USER TABLE away (id INT PRIMARY KEY)")
	if got := answer(t, db, "alice", "SELECT count(*) FROM away"); got != "0\n" {
		t.Errorf("the new table has %s rows", got)
	}
	if err := errors.Join(os.Remove(place), os.Rename(hidden, place)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		return answer(t, db, "root", cleanups) == "\"completed\" \"rows and files removed\" null\n"
	})
	if files, _ := filepath.Glob(place + "/alice/*.parquet"); len(files) != 0 {
		t.Errorf("left: %v", files)
	}
}

// Writers, flushes and DROP at the same moment: the table that comes after is empty and
// no file of the one before stays.
func TestDropDuringFlush(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, kalamdb.Options{DataDir: dir})
	mustExec(t, db, "root", "CREATE NAMESPACE app")
	for range 8 {
		mustExec(t, db, "root", "CREATE USER TABLE app.t (id BIGINT AUTO_INCREMENT, text STRING)")
		ctx, stop := context.WithCancel(t.Context())
		var writing, wg sync.WaitGroup
		writing.Add(4)
		for w := range 4 {
			wg.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					_, err := db.Exec(ctx, kalamdb.Request{SQL: "INSERT INTO app.t (text) VALUES ('old')", As: principal(fmt.Sprintf("u%d-%d", w, i%10))})
					var e *kalamdb.Error
					if err != nil && !(errors.As(err, &e) && (e.Code == kalamdb.CodeTableNotFound || e.Code == kalamdb.CodeCancelled)) {
						t.Errorf("insert: %v", err)
					}
					if i == 20 {
						writing.Done()
					}
				}
			})
		}
		wg.Go(func() {
			for ctx.Err() == nil {
				mustExec(t, db, "root", "FLUSH ALL")
			}
		})
		writing.Wait()
		mustExec(t, db, "root", "DROP TABLE app.t")
		stop()
		wg.Wait()
		mustExec(t, db, "root", "CREATE USER TABLE app.t (id BIGINT AUTO_INCREMENT, text STRING)")
		mustExec(t, db, "u1-1", "INSERT INTO app.t (text) VALUES ('new')")
		if got := answer(t, db, "u1-1", "SELECT text FROM app.t"); got != "\"new\"\n" {
			t.Fatalf("the new table has %s", got)
		}
		mustExec(t, db, "root", "DROP NAMESPACE app CASCADE; CREATE NAMESPACE app")
	}
	waitFor(t, func() bool {
		return answer(t, db, "root", "SELECT count(*) FILTER (status = 'completed'), count(*) FROM system.jobs WHERE job_type = 'cleanup'") == "16 16\n"
	})
	if left := parquetFiles(t, dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// With live queries neither the table nor its namespace goes, and the answer says how many.
func TestDropOfWatchedTable(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", createMessages+"; CREATE USER TABLE app.a (id INT PRIMARY KEY)")
	var subs []*kalamdb.Subscription
	for i := range 3 {
		s, err := db.Subscribe(t.Context(), kalamdb.SubscribeRequest{ConnectionID: "c", QueryID: fmt.Sprint(i), SQL: "SELECT * FROM app.messages", As: principal("alice")})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		subs = append(subs, s)
	}
	for _, text := range []string{"DROP TABLE app.messages", "DROP NAMESPACE app CASCADE"} {
		_, err := db.Exec(t.Context(), kalamdb.Request{SQL: text, As: principal("root")})
		if e := wantCode(t, err, kalamdb.CodeInUse); !strings.Contains(e.Message, "3 live queries") {
			t.Errorf("%s: %s", text, e.Message)
		}
	}
	if got := answer(t, db, "root", "SELECT count(*) FROM system.tables"); got != "2\n" {
		t.Errorf("%s tables are left, expected 2: nothing was to be dropped", got)
	}
	for _, s := range subs {
		s.Close()
	}
	mustExec(t, db, "root", "DROP NAMESPACE app CASCADE")
}

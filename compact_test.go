package kalamdb_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kalamdb"
	"kalamdb/auth"
	"kalamdb/lake"
	"kalamdb/row"
)

// COMPACT TABLE makes one file of each partition's and says what it did; deleted rows past
// their retention are gone for good, and so are the values of dropped columns.
func TestCompactTable(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, kalamdb.Options{DataDir: dir, Lake: lake.Options{CompactOff: true}})
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE USER TABLE app.t (k INT PRIMARY KEY, v INT, old TEXT) WITH (deleted_retention = '1ms')")
	for i := range 10 {
		for _, user := range []string{"alice", "bob"} {
			mustExec(t, db, user, fmt.Sprintf("INSERT INTO app.t VALUES (%d, 0, 'x'), (%d, 0, 'y')", i, 100+i))
			mustExec(t, db, user, "UPDATE app.t SET v = v + 1 WHERE k < 50; DELETE FROM app.t WHERE k >= 100")
		}
		mustExec(t, db, "root", "FLUSH TABLE app.t")
	}
	mustExec(t, db, "root", "ALTER TABLE app.t DROP COLUMN old, ADD COLUMN new TEXT DEFAULT 'n'")
	time.Sleep(5 * time.Millisecond)
	const rows = "SELECT * EXCLUDE (_updated) FROM app.t ORDER BY k"
	before := answer(t, db, "alice", rows)
	if n := answer(t, db, "alice", "SELECT count(*) FROM app.t WHERE _deleted"); n != "10\n" {
		t.Fatalf("%s deleted rows before, expected 10", n)
	}
	res := mustExec(t, db, "root", "COMPACT TABLE app.t")[0]
	counts := res.Rows[0]
	// Each user's ten files have 1, 2, … 10 live rows, of which the newest flush updated all, and one deleted.
	if got := fmt.Sprint(counts[3].Int(), counts[4].Int(), counts[5].Int(), counts[6].Int(), counts[7].Int()); got != "2 20 2 130 20" {
		t.Errorf("partitions, files in and out, rows in and out: %s, expected 2 20 2 130 20", got)
	}
	if after := answer(t, db, "alice", rows); after != before {
		t.Errorf("rows after\n%s\nbefore\n%s", after, before)
	}
	if got := answer(t, db, "root", "SELECT count(*), sum(rows)::INT, min(schema_version), max(schema_version) FROM system.files"); got != "2 20 2 2\n" {
		t.Errorf("files, rows, versions: %s, expected 2 20 2 2", got)
	}
	if n := answer(t, db, "alice", "SELECT count(*) FROM app.t WHERE _deleted"); n != "0\n" {
		t.Errorf("%s deleted rows left, expected none", n)
	}
	if got := answer(t, db, "root", "SELECT status, split_part(result, ';', 1) FROM system.jobs WHERE job_type = 'compaction'"); got != "\"completed\" \"2 partitions, 0 failed\"\n" {
		t.Errorf("jobs: %s", got)
	}
	if res := mustExec(t, db, "root", "COMPACT TABLE app.t")[0]; res.Rows[0][3].Int() != 0 {
		t.Errorf("a second COMPACT TABLE worked on %d partitions, expected none", res.Rows[0][3].Int())
	}
	mustExec(t, db, "alice", "INSERT INTO app.t (k, v) VALUES (100, 7)") // the key is free again
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openDB(t, kalamdb.Options{DataDir: t.TempDir(), Storage: "file://" + dir + "/storage"}) // from the bucket alone
	if after := answer(t, db, "alice", rows); after != before {
		t.Errorf("rows of another server\n%s\nbefore\n%s", after, before)
	}
}

func TestCompactTableRefusals(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE STREAM TABLE app.s (k INT); CREATE USER TABLE app.t (k INT)")
	for as, want := range map[string]string{"alice COMPACT TABLE app.t": "FORBIDDEN", "root COMPACT TABLE app.s": "WRONG_TABLE_TYPE",
		"root COMPACT TABLE app.x": "TABLE_NOT_FOUND", "root BEGIN; COMPACT TABLE app.t; COMMIT": "INVALID_STATEMENT"} {
		who, text, _ := strings.Cut(as, " ")
		_, err := db.Exec(context.Background(), kalamdb.Request{SQL: text, As: principal(who)})
		var e *kalamdb.Error
		if !errors.As(err, &e) || e.Code != want {
			t.Errorf("%s: %v, expected %s", as, err, want)
		}
	}
}

// Files are merged in the background.
func TestCompactionIsOn(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir(), Lake: lake.Options{CompactInterval: 10 * time.Millisecond}})
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE SHARED TABLE app.t (k INT PRIMARY KEY, v INT)")
	for i := range 30 {
		mustExec(t, db, "root", fmt.Sprintf("INSERT INTO app.t VALUES (%d, %d); FLUSH TABLE app.t", i, i))
	}
	waitFor(t, func() bool {
		return answer(t, db, "root", "SELECT count(*) <= 8, sum(rows)::INT FROM system.files") == "true 30\n"
	})
	if got := answer(t, db, "root", "SELECT count(*), sum(v)::INT FROM app.t"); got != "30 435\n" {
		t.Errorf("count and sum are %s, expected 30 435", got)
	}
}

// Statements and transactions see one moment, however often rows are flushed and files are
// merged meanwhile.
func TestReadersDuringCompaction(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir(), Lake: lake.Options{CompactInterval: time.Millisecond, CompactFiles: 1, Grace: 2 * time.Second}})
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE USER TABLE app.t (k INT PRIMARY KEY, v INT) WITH (deleted_retention = '1ms')")
	mustExec(t, db, "alice", "INSERT INTO app.t SELECT i, 0 FROM range(20) r(i); INSERT INTO app.t VALUES (100, 0)")
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	alice := auth.Principal{User: "alice", Role: auth.User}
	work := func(as auth.Principal, f func(n int) string, check func([]kalamdb.Result)) func() {
		return func() {
			for n := 0; ctx.Err() == nil; n++ {
				results, err := db.Exec(context.Background(), kalamdb.Request{SQL: f(n), As: as})
				var e *kalamdb.Error
				switch {
				case errors.As(err, &e) && e.Code == "TRANSACTION_CONFLICT":
				case err != nil:
					t.Errorf("%s: %v", f(n), err)
					return
				case check != nil:
					check(results)
				}
			}
		}
	}
	const one = "SELECT count(*), min(v), max(v) FROM app.t"
	var reads atomic.Int64
	consistent := func(results []kalamdb.Result) {
		reads.Add(1)
		var first []row.Value
		for _, r := range results {
			if r.Statement != "SELECT" {
				continue
			}
			v := r.Rows[0]
			if v[0].Int() != 21 || v[1].Int() != v[2].Int() {
				t.Errorf("%d rows from %d to %d, expected 21 rows with one value", v[0].Int(), v[1].Int(), v[2].Int())
			}
			if first == nil {
				first = v
			} else if first[1].Int() != v[1].Int() {
				t.Errorf("a transaction saw %d and then %d", first[1].Int(), v[1].Int())
			}
		}
	}
	var wg sync.WaitGroup
	wg.Go(work(alice, func(n int) string {
		// One of 100 and 101 is there, and all values are equal.
		return fmt.Sprintf("BEGIN; UPDATE app.t SET v = %d; DELETE FROM app.t WHERE k = %d; INSERT INTO app.t VALUES (%d, %d); COMMIT", n, 100+n%2, 101-n%2, n)
	}, nil))
	wg.Go(work(principal("root"), func(n int) string { return "FLUSH TABLE app.t" }, nil))
	wg.Go(work(alice, func(int) string { return one }, consistent))
	wg.Go(work(alice, func(n int) string { return "BEGIN; " + strings.Repeat(one+"; ", 1+n%4) + "COMMIT" }, consistent))
	wg.Wait()
	merged := answer(t, db, "root", "SELECT count(*) FROM system.jobs WHERE job_type = 'compaction' AND status = 'completed'")
	if failed := answer(t, db, "root", "SELECT error_message FROM system.jobs WHERE status = 'failed'"); failed != "" {
		t.Errorf("failed jobs: %s", failed)
	}
	t.Logf("%d reads, %s compactions", reads.Load(), strings.TrimSpace(merged))
	if reads.Load() == 0 || merged == "0\n" {
		t.Errorf("%d reads beside %s compactions: the test shows nothing", reads.Load(), merged)
	}
}

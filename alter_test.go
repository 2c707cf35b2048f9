package kalamdb_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kalamdb"
	"kalamdb/auth"
)

const createNotes = "CREATE NAMESPACE app; CREATE USER TABLE app.notes (id BIGINT PRIMARY KEY, n INT, text TEXT)"

// Definitions and rows of every version outlive the process, and the data directory.
func TestAlteredTableStartsAgain(t *testing.T) {
	dir, storage := t.TempDir(), "file://"+t.TempDir()
	db := openDB(t, kalamdb.Options{DataDir: dir, Storage: storage})
	mustExec(t, db, "root", createNotes)
	mustExec(t, db, "ana", "INSERT INTO app.notes VALUES (1, 1, 'one')")
	mustExec(t, db, "root", "FLUSH ALL")
	mustExec(t, db, "ana", "INSERT INTO app.notes VALUES (2, 2, 'two')")
	mustExec(t, db, "root", "ALTER TABLE app.notes ADD COLUMN made TIMESTAMP DEFAULT now(), RENAME n TO m, MODIFY m BIGINT, DROP text, ADD text TEXT")
	mustExec(t, db, "ana", "INSERT INTO app.notes (id, m) VALUES (3, 3000000000)")
	const all = "SELECT id, m, text, made FROM app.notes ORDER BY id; SELECT count(DISTINCT made) FROM app.notes WHERE id < 3"
	want := answer(t, db, "ana", all)
	if !strings.Contains(want, "2 2 null") || !strings.Contains(want, "3 \"3000000000\"") && !strings.Contains(want, "3 3000000000") {
		t.Fatalf("rows are\n%s", want)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openDB(t, kalamdb.Options{DataDir: dir, Storage: storage})
	if got := answer(t, db, "ana", all); got != want {
		t.Errorf("after a restart the rows are\n%s, before it\n%s", got, want)
	}
	mustExec(t, db, "root", "FLUSH ALL")
	if got := answer(t, db, "ana", all); got != want {
		t.Errorf("after a flush of two schema versions the rows are\n%s, before it\n%s", got, want)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openDB(t, kalamdb.Options{DataDir: t.TempDir(), Storage: storage})
	if got := answer(t, db, "ana", all); got != want {
		t.Errorf("from the bucket alone the rows are\n%s, before\n%s", got, want)
	}
	history := mustExec(t, db, "ana", "DESCRIBE app.notes HISTORY")[0].Rows
	if len(history) != 2 || !strings.HasSuffix(history[1][1].Str(), "RENAME COLUMN n TO m, MODIFY COLUMN m BIGINT, DROP COLUMN text, ADD COLUMN text VARCHAR") || history[1][2].Str() <= history[0][2].Str() {
		t.Errorf("the history is %v", history)
	}
	mustExec(t, db, "ana", "UPDATE app.notes SET m = m + 1, text = 'new'; INSERT INTO app.notes (id) VALUES (4)")
	if got := answer(t, db, "ana", "SELECT id, m, text FROM app.notes ORDER BY id"); got != "1 2 \"new\"\n2 3 \"new\"\n3 3000000001 \"new\"\n4 null null\n" {
		t.Errorf("after an update: %s", got)
	}
}

// A live query keeps the columns it began with, whatever is added; the columns it uses
// cannot be taken from it. A replay shows old changes in the columns of now.
func TestAlterAndLiveQueries(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", createNotes)
	from := mustExec(t, db, "ana", "INSERT INTO app.notes VALUES (1, 1, 'one')")[0].Seq
	mustExec(t, db, "ana", "UPDATE app.notes SET n = 2; INSERT INTO app.notes VALUES (2, 7, 'gone'); DELETE FROM app.notes WHERE id = 2")

	some := subscribe(t, db, "ana", kalamdb.SubscribeRequest{QueryID: "some", SQL: "SELECT id, _deleted FROM app.notes m WHERE m.n > 0", LastRows: 10})
	wantEvents(t, some, `initial more=false {"id":1,"_deleted":false}`)
	for _, change := range []string{"DROP COLUMN n", "RENAME COLUMN n TO m", "MODIFY COLUMN n BIGINT", "ADD COLUMN x INT, DROP COLUMN n"} {
		e := wantCode(t, execAs(db, "root", "ALTER TABLE app.notes "+change), kalamdb.CodeInUse)
		if !strings.Contains(e.Message, "column n of app.notes is used by the live query conn-some") {
			t.Errorf("%s: %s", change, e.Message)
		}
	}
	mustExec(t, db, "root", "ALTER TABLE app.notes DROP COLUMN text, ADD COLUMN first INT DEFAULT 4")
	star := subscribe(t, db, "ana", kalamdb.SubscribeRequest{QueryID: "star", SQL: "SELECT * FROM app.notes", LastRows: 10, ConnectionID: "c2"})
	if got := next(t, star); !strings.HasPrefix(got, `initial more=false {"id":1,"n":2,"first":4,"_updated":`) {
		t.Errorf("snapshot %s", got)
	}
	wantCode(t, execAs(db, "root", "ALTER TABLE app.notes DROP COLUMN first"), kalamdb.CodeInUse)
	mustExec(t, db, "root", "ALTER TABLE app.notes ADD COLUMN text JSON DEFAULT '[]', SET (flush_policy = 'rows:5')")

	mustExec(t, db, "ana", "UPDATE app.notes SET text = '{}', first = 5; INSERT INTO app.notes (id, n) VALUES (2, -1)")
	wantEvents(t, some, `UPDATE {"id":1,"_deleted":false} was {"id":1,"_deleted":false}`)
	updated := next(t, star)
	if !strings.HasPrefix(updated, `UPDATE {"id":1,"n":2,"first":5,"_updated":`) || !strings.Contains(updated, `was {"id":1,"n":2,"first":4,`) || strings.Contains(updated, "text") {
		t.Errorf("event %s", updated)
	}
	if got := next(t, star); !strings.HasPrefix(got, `INSERT {"id":2,"n":-1,"first":4,"_updated":`) {
		t.Errorf("event %s", got)
	}
	some.Close()
	star.Close()
	waitFor(t, func() bool {
		return execAs(db, "root", "ALTER TABLE app.notes RENAME COLUMN n TO m, MODIFY m BIGINT") == nil
	})

	replay := subscribe(t, db, "ana", kalamdb.SubscribeRequest{QueryID: "replay", SQL: "SELECT id, m, first, text FROM app.notes WHERE m > 1 AND first = 4 OR text = '{}'", FromSeq: &from})
	wantEvents(t, replay,
		`INSERT {"id":1,"m":2,"first":4,"text":[]}`,
		`INSERT {"id":2,"m":7,"first":4,"text":[]}`,
		`DELETE {"id":2,"m":7,"first":4,"text":[],"_deleted":true}`,
		`UPDATE {"id":1,"m":2,"first":5,"text":{}} was {"id":1,"m":2,"first":4,"text":[]}`)
}

// TestPlannedBeforeAlter: statements that wait while their table is altered, and rows are
// written in its new form, do what they would do if they were sent now.
func TestPlannedBeforeAlter(t *testing.T) {
	for size := 4000; !plannedBeforeAlter(t, size); size *= 2 {
		if size > 100_000 {
			t.Fatal("no statement is slow enough to be altered under")
		}
	}
}

// plannedBeforeAlter is false if the slow statements were done before the ALTER TABLE.
func plannedBeforeAlter(t *testing.T, size int) bool {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", createNotes)
	mustExec(t, db, "ana", "INSERT INTO app.notes VALUES (1, 1, 'one')")
	mustExec(t, db, "root", "ALTER TABLE app.notes ADD COLUMN gone TEXT")
	slowly := fmt.Sprintf("(SELECT count(*) FROM range(%[1]d) a(i), range(%[1]d) b(j) WHERE i + j < 0)", size) // is 0
	texts := []string{
		"UPDATE app.notes SET n = n + " + slowly, // the others of ana wait for it
		"UPDATE app.notes SET n = n + 1",
		"UPDATE app.notes SET text = text || '!'",
		"DELETE FROM app.notes WHERE id = 2 AND text LIKE 'new%'",
		"INSERT INTO app.notes SELECT 4 + " + slowly + ", 4, 'four', 'x'",
		"INSERT INTO app.notes (id, gone) SELECT 5 + " + slowly + ", 'x'",
	}
	errs := make([]error, len(texts))
	var done atomic.Int32
	var wg sync.WaitGroup
	for i, text := range texts {
		wg.Go(func() { errs[i] = execAs(db, "ana", text); done.Add(1) })
		time.Sleep(20 * time.Millisecond)
	}
	mustExec(t, db, "root", "ALTER TABLE app.notes DROP COLUMN text, DROP COLUMN gone, ADD COLUMN text TEXT DEFAULT 'new', ADD COLUMN p INT DEFAULT 0, ADD COLUMN q INT")
	mustExec(t, db, "ana", "INSERT INTO app.notes VALUES (2, 2, 'new two', 22, 0), (3, 3, 'three', 33, 0)")
	early := done.Load()
	wg.Wait()
	if early > 0 {
		return false
	}
	for i, err := range errs[:4] {
		if err != nil {
			t.Errorf("%s: %v", texts[i], err)
		}
	}
	wantCode(t, errs[4], kalamdb.CodeSyntax) // four columns for five
	wantCode(t, errs[5], kalamdb.CodeColumnNotFound)
	if got := answer(t, db, "ana", "SELECT id, n, text, p FROM app.notes ORDER BY id"); got != "1 2 \"new!\" 0\n3 4 \"three!\" 33\n" {
		t.Errorf("rows are\n%s", got)
	}
	return true
}

// alterRace is how long the tests of everything at once run.
const alterRace = 3 * time.Second

// TestAlterWhileEverythingRuns: columns come, change and go while rows are written,
// flushed, read and watched. No increment is lost, in a column that was there from the
// start or in one added on the way; nothing is ever shown that is not so.
func TestAlterWhileEverythingRuns(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", createNotes)
	const rows = 20
	for id := range rows {
		mustExec(t, db, "ana", fmt.Sprintf("INSERT INTO app.notes VALUES (%d, 0, 't')", id))
	}
	live := subscribe(t, db, "ana", kalamdb.SubscribeRequest{SQL: "SELECT id, n FROM app.notes", LastRows: rows})
	ctx, cancel := context.WithTimeout(t.Context(), alterRace)
	defer cancel()
	var wg sync.WaitGroup
	loop := func(each func(r *rand.Rand)) {
		seed := rand.Uint64()
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, 0))
			for ctx.Err() == nil && !t.Failed() {
				each(r)
			}
		})
	}
	// exec runs as ana and says whether it worked. A missing column is no fault where
	// the statement names one that comes and goes.
	exec := func(text string, comes bool) bool {
		err := execAs(db, "ana", text)
		var e *kalamdb.Error
		if err != nil && !(comes && errors.As(err, &e) && e.Code == kalamdb.CodeColumnNotFound) {
			t.Errorf("%s: %v", text, err)
		}
		return err == nil
	}
	var permanent atomic.Int64 // columns p1 … that stay
	var n, inserts, alters atomic.Int64
	var sums [1000]atomic.Int64 // increments of each p
	for range 3 {
		loop(func(r *rand.Rand) { // old plans race with the new definition
			if exec(fmt.Sprintf("UPDATE app.notes SET n = n + 1 WHERE id = %d", r.IntN(rows)), false) {
				n.Add(1)
			}
			if p := permanent.Load(); p > 0 {
				p = 1 + r.Int64N(p)
				if exec(fmt.Sprintf("UPDATE app.notes SET p%d = p%d + 1 WHERE id < 3", p, p), false) {
					sums[p].Add(3)
				}
			}
			exec("UPDATE app.notes SET x = x, text = text || '' WHERE id = 7", true)
			if id := inserts.Add(1) + 1000; !exec(fmt.Sprintf("INSERT INTO app.notes (id, n) VALUES (%d, %d)", id, 0), false) {
				t.Errorf("row %d is not there", id)
			}
		})
	}
	loop(func(r *rand.Rand) {
		p := permanent.Load() + 1
		steps := []string{
			"ALTER TABLE app.notes ADD COLUMN x SMALLINT NOT NULL DEFAULT 5",
			"ALTER TABLE app.notes MODIFY COLUMN x BIGINT",
			"ALTER TABLE app.notes RENAME COLUMN x TO y, ADD COLUMN x TEXT NOT NULL DEFAULT 'x'",
			fmt.Sprintf("ALTER TABLE app.notes DROP COLUMN x, ADD COLUMN p%d BIGINT NOT NULL DEFAULT 0, DROP COLUMN y", p),
		}
		if p >= int64(len(sums)) {
			return
		}
		for _, step := range steps {
			if err := execAs(db, "root", step); err != nil {
				t.Errorf("%s: %v", step, err)
			}
			alters.Add(1)
			time.Sleep(time.Duration(r.IntN(60)) * time.Millisecond)
		}
		permanent.Store(p)
	})
	loop(func(*rand.Rand) {
		if err := execAs(db, "root", "FLUSH TABLE app.notes"); err != nil {
			t.Errorf("flush: %v", err)
		}
		time.Sleep(30 * time.Millisecond)
	})
	loop(func(*rand.Rand) {
		exec("SELECT * FROM app.notes", false)
		exec("SELECT x FROM app.notes WHERE id = 7", true)
		res, err := db.Exec(context.Background(), kalamdb.Request{SQL: "SELECT count(*) FROM app.notes WHERE x IS NULL OR text IS NULL AND id < 20", As: auth.Principal{User: "ana", Role: auth.User}})
		if err == nil && res[0].Rows[0][0].Int() != 0 {
			t.Errorf("%d rows without the value that every row has", res[0].Rows[0][0].Int())
		}
	})
	wg.Wait()
	if t.Failed() {
		return
	}
	t.Logf("%d increments, %d inserts, %d alters, %d columns stay", n.Load(), inserts.Load(), alters.Load(), permanent.Load())
	question := "SELECT sum(n), count(*)"
	want := fmt.Sprintf("\"%d\" %d", n.Load(), rows+inserts.Load())
	for p := range permanent.Load() {
		question += fmt.Sprintf(", sum(p%d)", p+1)
		want += fmt.Sprintf(" \"%d\"", sums[p+1].Load())
	}
	for range 2 {
		if got := answer(t, db, "ana", question+" FROM app.notes"); got != want+"\n" {
			t.Errorf("%s is\n%sexpected\n%s", question, got, want)
		}
		mustExec(t, db, "root", "FLUSH ALL")
	}
	watched := map[int64]int64{}
	note := func(rows [][]byte) {
		for _, r := range rows {
			var v struct{ ID, N int64 }
			if err := json.Unmarshal(r, &v); err != nil {
				t.Fatal(err)
			}
			watched[v.ID] = v.N
		}
	}
	last := mustExec(t, db, "ana", "UPDATE app.notes SET n = n WHERE id = 0")[0].Seq
	for {
		ev, err := live.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		note(ev.Rows)
		if ev.Seq >= last && !ev.Initial {
			break
		}
	}
	sum := int64(0)
	for _, v := range watched {
		sum += v
	}
	if sum != n.Load() || int64(len(watched)) != rows+inserts.Load() {
		t.Errorf("the live query has seen %d rows with the sum %d, expected %d with %d", len(watched), sum, rows+inserts.Load(), n.Load())
	}
}

// TestStatementsEndUnderAlter: a statement that takes longer than the time between two
// ALTER TABLE is done all the same, and they go on behind it.
func TestStatementsEndUnderAlter(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", createNotes)
	mustExec(t, db, "ana", "INSERT INTO app.notes VALUES (1, 1, 'one')")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				mustExec(t, db, "root", fmt.Sprintf("ALTER TABLE app.notes ADD COLUMN c%d INT", i))
				mustExec(t, db, "root", fmt.Sprintf("ALTER TABLE app.notes DROP COLUMN c%d", i))
			}
		}
	})
	const slowly = "(SELECT count(*) FROM range(2000) a(i), range(2000) b(j) WHERE i + j < 0)" // is 0
	for range 3 {
		if err := execAs(db, "ana", "UPDATE app.notes SET n = n + 1 + "+slowly+" WHERE id >= 1"); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
	if got := mustExec(t, db, "ana", "SELECT n FROM app.notes")[0].Rows[0][0].Int(); got != 4 {
		t.Errorf("n is %d, expected 4", got)
	}
}

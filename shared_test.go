package kalamdb_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"kalamdb"
)

// Many users change one row of a SHARED table while it moves between buffer and files.
func TestSharedTableLosesNoUpdate(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE SHARED TABLE app.counters (id INT PRIMARY KEY, n INT) WITH (access = 'public'); INSERT INTO app.counters VALUES (1, 0)")
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			as := fmt.Sprintf("user%d", i%7)
			res, err := db.Exec(context.Background(), kalamdb.Request{SQL: "UPDATE app.counters SET n = n + 1 WHERE id = 1", As: principal(as)})
			if err != nil || res[0].Affected != 1 {
				t.Errorf("increment: %v, %+v", err, res)
			}
			if i%15 == 0 {
				if _, err := db.Exec(context.Background(), kalamdb.Request{SQL: "FLUSH TABLE app.counters", As: principal("root")}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, as := range []string{"root", "user3", "nobody"} {
		if got := answer(t, db, as, "SELECT n FROM app.counters"); got != "60\n" {
			t.Errorf("%s sees %s, expected 60", as, got)
		}
	}
}

// The rows of a SHARED table are in one folder, without anybody's name, and come back
// from it.
func TestSharedTableInTheBucket(t *testing.T) {
	storage, elsewhere := t.TempDir(), t.TempDir()
	open := func() *kalamdb.DB {
		db, err := kalamdb.Open(context.Background(), kalamdb.Options{DataDir: t.TempDir(), Storage: "file://" + storage})
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	db := open()
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE SHARED TABLE app.news (id INT PRIMARY KEY, s TEXT) WITH (access = 'public');"+
		"CREATE SHARED TABLE app.far (id INT PRIMARY KEY) LOCATION '"+elsewhere+"/${namespace}/${table}';"+
		"CREATE STREAM TABLE app.events (id INT PRIMARY KEY) WITH (retention = '1h')")
	mustExec(t, db, "alice", "INSERT INTO app.news VALUES (1, 'a'); INSERT INTO app.events VALUES (1)")
	mustExec(t, db, "bob", "INSERT INTO app.news VALUES (2, 'b')")
	mustExec(t, db, "service", "INSERT INTO app.far VALUES (7)")
	mustExec(t, db, "root", "FLUSH ALL")
	for _, folder := range []string{filepath.Join(storage, "shared", "app", "news"), filepath.Join(elsewhere, "app", "far")} {
		files, err := filepath.Glob(filepath.Join(folder, "batch-*.parquet"))
		if err != nil || len(files) != 1 {
			t.Errorf("%s has the files %v, %v; expected one", folder, files, err)
		}
	}
	if _, err := os.Stat(filepath.Join(storage, "users")); !os.IsNotExist(err) {
		t.Errorf("there is a folder of users: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open() // another data directory
	defer db.Close()
	if got := answer(t, db, "carol", "SELECT id, s FROM app.news ORDER BY id"); got != "1 \"a\"\n2 \"b\"\n" {
		t.Errorf("from the bucket alone: %s", got)
	}
	if got := answer(t, db, "carol", "SELECT f.id, (SELECT count(*) FROM app.events) FROM app.far f"); got != "7 0\n" {
		t.Errorf("from the bucket alone: %s", got)
	}
}

func TestLiveSharedTable(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE SHARED TABLE app.open (id INT PRIMARY KEY, s TEXT) WITH (access = 'public'); CREATE SHARED TABLE app.secret (id INT PRIMARY KEY) WITH (access = 'private')")
	first := mustExec(t, db, "alice", "INSERT INTO app.open VALUES (1, 'one')")[0].Seq
	sub := subscribe(t, db, "bob", kalamdb.SubscribeRequest{SQL: "SELECT id, s FROM app.open WHERE id < 10", LastRows: 10})
	wantEvents(t, sub, `initial more=false {"id":1,"s":"one"}`)
	mustExec(t, db, "carol", "INSERT INTO app.open VALUES (2, 'two'), (20, 'not in the filter'); UPDATE app.open SET s = 'TWO' WHERE id = 2")
	mustExec(t, db, "root", "FLUSH ALL")
	mustExec(t, db, "alice", "DELETE FROM app.open WHERE id = 1")
	events := []string{
		`INSERT {"id":2,"s":"two"}`,
		`UPDATE {"id":2,"s":"TWO"} was {"id":2,"s":"two"}`,
		`DELETE {"id":1,"s":"one","_deleted":true}`,
	}
	wantEvents(t, sub, events...)
	again := subscribe(t, db, "dora", kalamdb.SubscribeRequest{QueryID: "again", SQL: "SELECT id, s FROM app.open WHERE id < 10", FromSeq: &first})
	wantEvents(t, again, events...)

	_, err := db.Subscribe(context.Background(), kalamdb.SubscribeRequest{ConnectionID: "c", QueryID: "s", SQL: "SELECT * FROM app.secret", As: principal("bob")})
	if e := wantCode(t, err, kalamdb.CodeTableNotFound); strings.Contains(e.Message+e.Details, "private") {
		t.Errorf("%v says more than that it is not there", e)
	}
	allowed := subscribe(t, db, "service", kalamdb.SubscribeRequest{QueryID: "allowed", SQL: "SELECT id FROM app.secret"})
	mustExec(t, db, "service", "INSERT INTO app.secret VALUES (7)")
	wantEvents(t, allowed, `INSERT {"id":7}`)

	mustExec(t, db, "root", "ALTER TABLE app.open SET (access = 'private')")
	for _, sub := range []*kalamdb.Subscription{sub, again} {
		wantEvents(t, sub, "live query ended: table_dropped")
	}
	kept := subscribe(t, db, "service", kalamdb.SubscribeRequest{QueryID: "kept", SQL: "SELECT id FROM app.open"})
	mustExec(t, db, "root", "ALTER TABLE app.open SET (access = 'public'); ALTER TABLE app.open SET (access = 'private')")
	mustExec(t, db, "service", "INSERT INTO app.open VALUES (30, 'x')")
	wantEvents(t, kept, `INSERT {"id":30}`)
}

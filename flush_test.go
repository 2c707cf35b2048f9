package kalamdb_test

import (
	"fmt"
	"testing"
	"time"

	"kalamdb"
)

// With FlushOnClose a bucket alone has all rows after Close; without, those that were
// flushed, and the rest is where it was.
func TestFlushOnClose(t *testing.T) {
	for _, limit := range []time.Duration{0, time.Minute} {
		dir := t.TempDir()
		o := kalamdb.Options{DataDir: dir, FlushOnClose: limit}
		db := openDB(t, o)
		mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE SHARED TABLE app.t (k INT PRIMARY KEY)")
		mustExec(t, db, "root", "INSERT INTO app.t VALUES (1), (2); FLUSH ALL; INSERT INTO app.t VALUES (3)")
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		count := func(o kalamdb.Options) string {
			db := openDB(t, o)
			defer db.Close()
			return answer(t, db, "root", "SELECT count(*) FROM app.t")
		}
		want := "2\n"
		if limit > 0 {
			want = "3\n"
		}
		if got := count(kalamdb.Options{DataDir: t.TempDir(), Storage: "file://" + dir + "/storage"}); got != want {
			t.Errorf("%v: the bucket alone has %s rows, expected %s", limit, got, want)
		}
	}
	dir := t.TempDir()
	db := openDB(t, kalamdb.Options{DataDir: dir})
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE SHARED TABLE app.t (k INT PRIMARY KEY)")
	for i := range 3 {
		mustExec(t, db, "root", fmt.Sprintf("INSERT INTO app.t VALUES (%d)", i))
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openDB(t, kalamdb.Options{DataDir: dir})
	if got := answer(t, db, "root", "SELECT count(*) FROM app.t"); got != "3\n" {
		t.Errorf("%s rows after a restart, expected 3", got)
	}
}

package kalamdb_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kalamdb"
	"kalamdb/lake"
)

func verified(t *testing.T, dir string, mode kalamdb.VerifyMode) *lake.Report {
	t.Helper()
	r, err := kalamdb.Verify(context.Background(), kalamdb.Options{DataDir: dir}, mode)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestVerifyADatabase(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, kalamdb.Options{DataDir: dir})
	mustExec(t, db, "root", createMessages)
	mustExec(t, db, "root", "CREATE STREAM TABLE app.events (v INT) WITH (retention = '1h')")
	mustExec(t, db, "alice", "INSERT INTO app.messages (text) VALUES ('a'), ('b')")
	mustExec(t, db, "bob", "INSERT INTO app.messages (text) VALUES ('c')")
	mustExec(t, db, "root", "FLUSH ALL")
	mustExec(t, db, "root", "ALTER TABLE app.messages ADD COLUMN extra INT")
	mustExec(t, db, "alice", "UPDATE app.messages SET text = 'a2' WHERE text = 'a'; INSERT INTO app.messages (text, extra) VALUES ('d', 1)")
	mustExec(t, db, "alice", "INSERT INTO app.events (v) VALUES (1)")
	if answer(t, db, "alice", "SELECT count(*) FROM app.messages") == "" { // so that the cache has her file
		t.Fatal("no answer")
	}
	if _, err := kalamdb.Verify(context.Background(), kalamdb.Options{DataDir: dir}, kalamdb.VerifyMode{}); !errors.Is(err, kalamdb.ErrLocked) {
		t.Errorf("beside a server: %v, expected ErrLocked", err)
	}
	if r := verified(t, dir, kalamdb.VerifyMode{BucketOnly: true}); len(r.Problems) > 0 || r.Rows != 3 || r.WaitingRows != 0 {
		t.Errorf("the bucket beside a server: %+v", r)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if r := verified(t, dir, kalamdb.VerifyMode{}); len(r.Problems) > 0 || r.Tables != 1 || r.Rows != 3 || r.WaitingRows != 2 {
		t.Fatalf("%+v", r)
	}
	for _, path := range parquetFiles(t, dir) {
		if strings.Contains(path, "alice") {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	if r := verified(t, dir, kalamdb.VerifyMode{}); len(r.Problems) != 1 || r.Problems[0].User != "alice" || r.Problems[0].Repaired {
		t.Fatalf("without a file: %+v", r.Problems)
	}
	if r := verified(t, dir, kalamdb.VerifyMode{Repair: true}); len(r.Problems) != 1 || !r.Problems[0].Repaired {
		t.Fatalf("repaired from the cache: %+v", r.Problems)
	}
	if r := verified(t, dir, kalamdb.VerifyMode{}); len(r.Problems) > 0 {
		t.Fatalf("after the repair: %+v", r.Problems)
	}
	db = openDB(t, kalamdb.Options{DataDir: dir})
	if got := answer(t, db, "alice", "SELECT text FROM app.messages ORDER BY text"); got != "\"a2\"\n\"b\"\n\"d\"\n" {
		t.Errorf("after the repair alice has %s", got)
	}
}

func TestVerifyIsToldWhatIsNotThere(t *testing.T) {
	for _, dir := range []string{filepath.Join(t.TempDir(), "missing"), t.TempDir()} {
		for _, mode := range []kalamdb.VerifyMode{{}, {BucketOnly: true}} {
			_, err := kalamdb.Verify(context.Background(), kalamdb.Options{DataDir: dir}, mode)
			if !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s, %+v: %v", dir, mode, err)
			}
		}
	}
}

package kalamdb_test

import (
	"context"
	"errors"
	"testing"

	"kalamdb"
	"kalamdb/row"
)

// Two servers meet one bucket. The second takes over; the first refuses writes, says
// that it is not ready, and does not start again over the rows that only it has.
func TestSecondServerOnOneBucket(t *testing.T) {
	storage, dir := "file://"+t.TempDir(), t.TempDir()
	open := func(dir string) (*kalamdb.DB, error) {
		return kalamdb.Open(context.Background(), kalamdb.Options{DataDir: dir, Storage: storage})
	}
	first, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, first, "root", createMessages)
	mustExec(t, first, "alice", "INSERT INTO app.messages (text) VALUES ('flushed')")
	mustExec(t, first, "root", "FLUSH ALL")
	mustExec(t, first, "alice", "INSERT INTO app.messages (text) VALUES ('only here')")

	second := openDB(t, kalamdb.Options{DataDir: t.TempDir(), Storage: storage})
	mustExec(t, second, "alice", "INSERT INTO app.messages (text) VALUES ('of the second')")
	mustExec(t, second, "root", "FLUSH ALL")

	wantCode(t, execAs(first, "root", "FLUSH ALL"), kalamdb.CodeNotReady)
	waitFor(t, func() bool { return first.Ready(context.Background()) != nil })
	wantCode(t, execAs(first, "alice", "INSERT INTO app.messages (text) VALUES ('too late')"), kalamdb.CodeNotReady)
	_ = first.Close() // it says again that it was fenced
	if again, err := open(dir); !errors.Is(err, row.ErrFenced) {
		if again != nil {
			_ = again.Close()
		}
		t.Fatalf("the replaced server started again: %v", err)
	}
	if got := answer(t, second, "alice", "SELECT text FROM app.messages ORDER BY _seq"); got != "\"flushed\"\n\"of the second\"\n" {
		t.Errorf("the second server has %s", got)
	}
}

// A cursor of a server whose data directory is lost is not taken for one of the new.
func TestCursorOfLostServer(t *testing.T) {
	storage := "file://" + t.TempDir()
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir(), Storage: storage})
	mustExec(t, db, "root", createMessages)
	seen := mustExec(t, db, "alice", "INSERT INTO app.messages (text) VALUES ('seen')")[0].Seq
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openDB(t, kalamdb.Options{DataDir: t.TempDir(), Storage: storage})
	mustExec(t, db, "alice", "INSERT INTO app.messages (text) VALUES ('other'), ('more')")
	_, err := db.Subscribe(context.Background(), kalamdb.SubscribeRequest{SQL: "SELECT * FROM app.messages", As: principal("alice"), ConnectionID: "c", QueryID: "q", FromSeq: &seen})
	wantCode(t, err, kalamdb.CodeCursorExpired)
}

package kalamdb_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"kalamdb"
	"kalamdb/row"
)

// A client that was away comes back to all that it missed, deletes of rows that are in
// files included: after a restart, a flush, a compaction and an ALTER in between.
func TestResumeOverEverything(t *testing.T) {
	o := kalamdb.Options{DataDir: t.TempDir()}
	db := openDB(t, o)
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE USER TABLE app.n (id INT PRIMARY KEY, a TEXT)")
	mustExec(t, db, "alice", "INSERT INTO app.n VALUES (1, 'one'), (2, 'two')")
	mustExec(t, db, "root", "FLUSH ALL")
	sub := subscribe(t, db, "alice", kalamdb.SubscribeRequest{SQL: "SELECT id, a FROM app.n WHERE id < 10"})
	mustExec(t, db, "alice", "UPDATE app.n SET a = 'uno' WHERE id = 1")
	wantEvents(t, sub, `UPDATE {"id":1,"a":"uno"} was {"id":1,"a":"one"}`)
	cursor, epoch := sub.Seq, sub.Epoch // of before the update: it comes again
	sub.Close()

	mustExec(t, db, "alice", "DELETE FROM app.n WHERE id = 2")
	mustExec(t, db, "root", "FLUSH ALL")
	mustExec(t, db, "alice", "INSERT INTO app.n VALUES (3, 'three'), (30, 'elsewhere')")
	mustExec(t, db, "root", "FLUSH ALL; COMPACT TABLE app.n")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openDB(t, o)
	mustExec(t, db, "root", "ALTER TABLE app.n ADD COLUMN b INT DEFAULT 7")
	mustExec(t, db, "alice", "UPDATE app.n SET b = 8 WHERE id = 3")
	again := subscribe(t, db, "alice", kalamdb.SubscribeRequest{SQL: "SELECT id, a, b FROM app.n WHERE id < 10", FromSeq: &cursor, Epoch: epoch})
	mustExec(t, db, "alice", "DELETE FROM app.n WHERE id = 1")
	wantEvents(t, again,
		`UPDATE {"id":1,"a":"uno","b":7} was {"id":1,"a":"one","b":7}`,
		`DELETE {"id":2,"a":"two","b":7,"_deleted":true}`,
		`INSERT {"id":3,"a":"three","b":7}`,
		`UPDATE {"id":3,"a":"three","b":8} was {"id":3,"a":"three","b":7}`,
		`DELETE {"id":1,"a":"uno","b":7,"_deleted":true}`)
	if again.Epoch == epoch || !again.Resumed {
		t.Errorf("epoch %s as before the restart, resumed %t", again.Epoch, again.Resumed)
	}
}

// What a client may come back with, and what it hears if that is not of this history.
func TestCursorsThatAreRefused(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", createMessages)
	first := mustExec(t, db, "alice", "INSERT INTO app.messages (text) VALUES ('one')")[0].Seq
	sub := subscribe(t, db, "alice", kalamdb.SubscribeRequest{SQL: "SELECT text FROM app.messages"})
	mustExec(t, db, "root", "CREATE USER 'alice'; FORGET USER 'alice'")
	last := mustExec(t, db, "alice", "INSERT INTO app.messages (text) VALUES ('two')")[0].Seq
	ask := func(seq row.Seq, epoch string) *kalamdb.Error {
		s, err := db.Subscribe(context.Background(), kalamdb.SubscribeRequest{SQL: "SELECT text FROM app.messages", As: principal("alice"),
			ConnectionID: "conn", QueryID: "again", FromSeq: &seq, Epoch: epoch})
		if err == nil {
			s.Close()
			return nil
		}
		e := (*kalamdb.Error)(nil)
		if !errors.As(err, &e) || e.Code != kalamdb.CodeCursorExpired || e.Details == "" {
			t.Errorf("%d of %q: %v", seq, epoch, err)
		}
		return e
	}
	e := ask(first-1, sub.Epoch)
	if e == nil || e.OldestSeq < first || e.OldestSeq >= last {
		t.Fatalf("from before what was forgotten: %+v, expected an oldest seq from %d to below %d", e, first, last)
	}
	if e := ask(e.OldestSeq, sub.Epoch); e != nil {
		t.Errorf("the oldest seq that was named: %v", e)
	}
	for what, e := range map[string]*kalamdb.Error{"another epoch": ask(last, "00000000deadbeef"), "the future": ask(last+1, sub.Epoch), "the future, no epoch": ask(last+1, "")} {
		if e == nil || e.OldestSeq != 0 {
			t.Errorf("%s: %+v", what, e)
		}
	}
	mustExec(t, db, "root", "FORGET USER 'alice'") // of whom nothing was written since the cursor
	if ask(last, sub.Epoch) == nil || ask(last, "") == nil {
		t.Error("who is forgotten has a cursor still")
	}
	begun := subscribe(t, db, "alice", kalamdb.SubscribeRequest{SQL: "SELECT text FROM app.messages", QueryID: "begun"})
	if e := ask(begun.Seq, begun.Epoch); e != nil {
		t.Errorf("a cursor of after it: %v", e)
	}
	begun.Close()
	sub.Close()
	mustExec(t, db, "root", "DROP TABLE app.messages; "+strings.TrimPrefix(createMessages, "CREATE NAMESPACE app;"))
	if ask(begun.Seq, begun.Epoch) == nil {
		t.Error("a cursor of a table is taken for another one of its name")
	}
	_, err := db.Subscribe(context.Background(), kalamdb.SubscribeRequest{SQL: "SELECT text FROM app.messages", As: principal("alice"), ConnectionID: "c", QueryID: "q", Epoch: sub.Epoch})
	wantCode(t, err, kalamdb.CodeInvalidRequest)
}

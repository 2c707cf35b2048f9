package kalamdb_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kalamdb"
)

const createRuled = `CREATE NAMESPACE app;
	CREATE SHARED TABLE app.notes (id INT PRIMARY KEY, owner TEXT, body TEXT) WITH (access = 'public');
	CREATE POLICY own ON app.notes TO user USING (owner = CURRENT_USER())`

// A live query tells of the rows that the policies show, when they come into sight and when
// they leave it, and its condition runs on no other row.
func TestPoliciesLive(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", createRuled)
	mustExec(t, db, "system", "INSERT INTO app.notes VALUES (1, 'bob', '11'), (2, 'alice', 'not a number')")
	sub := subscribe(t, db, "bob", kalamdb.SubscribeRequest{SQL: "SELECT id, body FROM app.notes WHERE CAST(body AS INT) > 10", LastRows: 10})
	mustExec(t, db, "system", "INSERT INTO app.notes VALUES (3, 'alice', 'nor this'), (4, 'bob', '12'), (5, 'bob', '1'); UPDATE app.notes SET body = '20' WHERE id IN (2, 5)")
	mustExec(t, db, "system", "UPDATE app.notes SET owner = 'bob' WHERE id = 2; UPDATE app.notes SET owner = 'alice', body = 'secret' WHERE id = 1; DELETE FROM app.notes WHERE id < 5")
	wantEvents(t, sub, `initial more=false {"id":1,"body":"11"}`,
		`INSERT {"id":4,"body":"12"}`, `INSERT {"id":5,"body":"20"}`, `INSERT {"id":2,"body":"20"}`,
		`DELETE {"id":1,"body":"11","_deleted":true} left_filter`,
		`DELETE {"id":2,"body":"20","_deleted":true} {"id":4,"body":"12","_deleted":true}`)

	none := subscribe(t, db, "service", kalamdb.SubscribeRequest{QueryID: "none", SQL: "SELECT * FROM app.notes", LastRows: 10})
	wantEvents(t, none, "initial more=false")
	replay := sub.Seq
	seen := subscribe(t, db, "alice", kalamdb.SubscribeRequest{QueryID: "seen", SQL: "SELECT id FROM app.notes"})

	// New rules: what was told is not what may be read now, so everybody begins anew.
	mustExec(t, db, "root", "CREATE POLICY all_of_five ON app.notes FOR SELECT USING (id = 5)")
	for _, sub := range []*kalamdb.Subscription{sub, none, seen} {
		wantEvents(t, sub, "live query ended: lagged")
	}
	_, err := db.Subscribe(context.Background(), kalamdb.SubscribeRequest{ConnectionID: "c", QueryID: "q", SQL: "SELECT id FROM app.notes", FromSeq: &replay, As: principal("alice")})
	wantCode(t, err, kalamdb.CodeCursorExpired)
	seen = subscribe(t, db, "alice", kalamdb.SubscribeRequest{QueryID: "seen", SQL: "SELECT id FROM app.notes", LastRows: 10})
	wantEvents(t, seen, `initial more=false {"id":5}`)
	first := mustExec(t, db, "alice", "INSERT INTO app.notes VALUES (6, 'alice', 'a')")[0].Seq
	mustExec(t, db, "bob", "INSERT INTO app.notes VALUES (7, 'bob', 'b')")
	mustExec(t, db, "alice", "INSERT INTO app.notes VALUES (8, 'alice', 'a')")
	wantEvents(t, seen, `INSERT {"id":6}`, `INSERT {"id":8}`)
	again := subscribe(t, db, "alice", kalamdb.SubscribeRequest{QueryID: "again", SQL: "SELECT id FROM app.notes", FromSeq: &first})
	wantEvents(t, again, `INSERT {"id":8}`)
}

// A live query has no column that its role may not read, not even in its condition.
func TestColumnGrantsLive(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", createRuled+"; DROP POLICY own ON app.notes; INSERT INTO app.notes VALUES (1, 'alice', 'secret'); GRANT SELECT (id, owner) ON app.notes TO user")
	for _, text := range []string{"SELECT body FROM app.notes", "SELECT id FROM app.notes WHERE body = 'secret'"} {
		_, err := db.Subscribe(context.Background(), kalamdb.SubscribeRequest{ConnectionID: "c", QueryID: "q", SQL: text, As: principal("bob")})
		wantCode(t, err, kalamdb.CodeColumnNotFound)
	}
	sub := subscribe(t, db, "bob", kalamdb.SubscribeRequest{SQL: "SELECT * FROM app.notes WHERE CAST(notes AS TEXT) NOT LIKE '%secret%' AND owner = 'alice'", LastRows: 10})
	ev := next(t, sub)
	mustExec(t, db, "root", "UPDATE app.notes SET body = 'open secret', id = 2; INSERT INTO app.notes VALUES (3, 'carol', 'x')")
	for _, ev := range []string{ev, next(t, sub), next(t, sub)} {
		if !strings.Contains(ev, `"owner":"alice"`) || strings.Contains(ev, "body") || strings.Contains(ev, "secret") {
			t.Errorf("event %s, expected one of alice without body", ev)
		}
	}
	mustExec(t, db, "root", "REVOKE SELECT ON app.notes FROM user")
	wantEvents(t, sub, "live query ended: table_dropped")
}

// Policies and grants are there after a restart, from the bucket alone, in a backup, and for
// a server that only reads; and the operator is free of them if the configuration says so.
func TestPoliciesStay(t *testing.T) {
	storage, backup, data := t.TempDir(), t.TempDir(), t.TempDir()
	open := func(o kalamdb.Options) *kalamdb.DB {
		o.Storage, o.Transfer.Folders = "file://"+storage, []string{backup}
		db, err := kalamdb.Open(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	want := func(db *kalamdb.DB, as, table, rows string) {
		t.Helper()
		if got := answer(t, db, as, "SELECT id, owner FROM "+table+" ORDER BY id"); got != rows {
			t.Errorf("%s reads %q of %s, expected %q", as, got, table, rows)
		}
		if as != "bob" {
			return
		}
		_, err := db.Exec(context.Background(), kalamdb.Request{SQL: "SELECT body FROM " + table, As: principal(as)})
		wantCode(t, err, kalamdb.CodeColumnNotFound)
	}
	db := open(kalamdb.Options{DataDir: data})
	mustExec(t, db, "root", createRuled+"; GRANT SELECT (id, owner) ON app.notes TO user")
	mustExec(t, db, "system", "INSERT INTO app.notes VALUES (1, 'bob', 'b'), (2, 'alice', 'a')")
	mustExec(t, db, "root", "FLUSH ALL; BACKUP DATABASE app TO '"+backup+"'; RESTORE DATABASE app FROM '"+backup+"' AS copy")
	want(db, "bob", "copy.notes", "1 \"bob\"\n")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, o := range []kalamdb.Options{{DataDir: data}, {DataDir: t.TempDir()}, {DataDir: t.TempDir(), ReadOnly: true}, {DataDir: data, DBABypassesPolicies: true}} {
		db := open(o)
		want(db, "bob", "app.notes", "1 \"bob\"\n")
		all := ""
		if o.DBABypassesPolicies {
			all = "1 \"bob\"\n2 \"alice\"\n"
		}
		want(db, "root", "app.notes", all)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// A server that does not know policies must not open the table.
	body, err := os.ReadFile(filepath.Join(storage, "_kalamdb", "catalog", "tables", "app", "notes.json"))
	if err != nil || !strings.Contains(string(body), `"format": 2`) {
		t.Errorf("the table's document is %s, %v; expected format 2", body, err)
	}
}

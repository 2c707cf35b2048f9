package kalamdb_test

import (
	"context"
	"testing"

	"kalamdb"
)

func execAs(db *kalamdb.DB, as, text string) error {
	_, err := db.Exec(context.Background(), kalamdb.Request{SQL: text, As: principal(as)})
	return err
}

// A statement that will be refused anywhere in the request stops the first one too.
func TestRefusedBeforeAnythingRuns(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", createMessages)
	for second, code := range map[string]string{
		"SELEC 1": kalamdb.CodeSyntax,
		"EXPLAIN SELECT * FROM read_csv('/etc/passwd')":           "FORBIDDEN_FUNCTION",
		"SELECT getenv('HOME')":                                   "FORBIDDEN_FUNCTION",
		"CREATE USER TABLE app.x (id INT DEFAULT getenv('HOME'))": "FORBIDDEN_FUNCTION",
		"INSERT INTO app.messages (_seq) VALUES (1)":              kalamdb.CodeForbidden,
		"UPDATE app.messages SET _deleted = false":                kalamdb.CodeForbidden,
		"UPDATE app.messages SET n = 1 FROM app.messages m":       kalamdb.CodeNotSupportedYet,
		"DELETE FROM app.messages USING app.messages m":           kalamdb.CodeNotSupportedYet,
		"INSERT INTO app.messages (n) VALUES (1) RETURNING id":    kalamdb.CodeNotSupportedYet,
		"INSERT INTO app.messages (n) SELECT getenv('HOME')":      "FORBIDDEN_FUNCTION",
		"DELETE FROM app.messages WHERE text = getenv('HOME')":    "FORBIDDEN_FUNCTION",
		"ALTER TABLE app.messages ADD COLUMN x INT":               kalamdb.CodeNotSupportedYet,
		"COPY app.messages TO '/tmp/x'":                           "FORBIDDEN_STATEMENT",
	} {
		e := wantCode(t, execAs(db, "root", "INSERT INTO app.messages (n) VALUES (1); "+second), code)
		if e.Statement != 1 {
			t.Errorf("%s: statement %d, expected 1", second, e.Statement)
		}
	}
	wantCode(t, execAs(db, "alice", "INSERT INTO app.messages (n) VALUES (1); DROP TABLE app.messages"), kalamdb.CodeForbidden)
	if got := answer(t, db, "root", "SELECT count(*) FROM app.messages"); got != "0\n" {
		t.Errorf("%s rows: a refused request ran in part", got)
	}
}

// A value that looks at _deleted brings no deleted row back, buffered or flushed.
func TestUpdateLeavesDeletedRows(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", createMessages)
	mustExec(t, db, "alice", "INSERT INTO app.messages (text, n) VALUES ('gone', 1), ('here', 2); DELETE FROM app.messages WHERE n = 1")
	for range 2 {
		res := mustExec(t, db, "alice", "UPDATE app.messages SET text = CASE WHEN _deleted THEN 'back' ELSE text END; UPDATE app.messages SET n = n WHERE _deleted OR true; DELETE FROM app.messages WHERE _deleted")
		if res[0].Affected != 1 || res[1].Affected != 1 || res[2].Affected != 0 {
			t.Errorf("affected %d, %d, %d, expected 1, 1, 0", res[0].Affected, res[1].Affected, res[2].Affected)
		}
		if got := answer(t, db, "alice", "SELECT text FROM app.messages"); got != "\"here\"\n" {
			t.Errorf("rows %s", got)
		}
		mustExec(t, db, "root", "FLUSH ALL")
	}
}

// Only what returns rows can be streamed, and what cannot is not run.
func TestStreamRunsNoWrite(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", createMessages)
	for _, text := range []string{"INSERT INTO app.messages (n) VALUES (1)", "DROP TABLE app.messages", "SELECT 1; SELECT 2"} {
		_, err := db.Query(context.Background(), kalamdb.Request{SQL: text, As: principal("root")})
		wantCode(t, err, kalamdb.CodeInvalidRequest)
	}
	rows, err := db.Query(context.Background(), kalamdb.Request{SQL: "SELECT count(*) FROM app.messages", As: principal("root")})
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if !rows.Next() || rows.Values()[0].Int() != 0 || rows.Next() || rows.Err() != nil {
		t.Errorf("the table is not empty, or the rows do not end: %v", rows.Err())
	}
}

// DROP NAMESPACE CASCADE drops all or nothing.
func TestCascadeIsWhole(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", createMessages+"; CREATE USER TABLE app.zz (id INT PRIMARY KEY)")
	mustExec(t, db, "alice", "INSERT INTO app.messages (n) VALUES (1)")
	sub := subscribe(t, db, "alice", kalamdb.SubscribeRequest{SQL: "SELECT * FROM app.zz"})
	wantCode(t, execAs(db, "root", "DROP NAMESPACE app CASCADE"), kalamdb.CodeInUse)
	if got := answer(t, db, "alice", "SELECT count(*) FROM app.messages"); got != "1\n" {
		t.Errorf("%s rows after a refused cascade", got)
	}
	sub.Close()
	mustExec(t, db, "root", "DROP NAMESPACE app CASCADE")
}

func TestInsertSelectWidth(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE USER TABLE app.a (id INT PRIMARY KEY, v TEXT); CREATE USER TABLE app.b (id INT PRIMARY KEY, v TEXT)")
	mustExec(t, db, "alice", "INSERT INTO app.a VALUES (1, 'x'); INSERT INTO app.b SELECT * FROM app.a")
	if got := answer(t, db, "alice", "SELECT id, v FROM app.b"); got != "1 \"x\"\n" {
		t.Errorf("copied %s", got)
	}
	for _, text := range []string{"INSERT INTO app.a(id) SELECT 2, 3", "INSERT INTO app.a SELECT 2", "INSERT INTO app.a SELECT 2, 'y', 3"} {
		wantCode(t, execAs(db, "alice", text), kalamdb.CodeSyntax)
	}
}

func TestUpdateMakesNoRows(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", createMessages)
	mustExec(t, db, "alice", "INSERT INTO app.messages (n) VALUES (1)")
	wantCode(t, execAs(db, "alice", "UPDATE app.messages SET n = unnest([1, 2])"), kalamdb.CodeSyntax)
}

func TestRequestNamespaceFolds(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", createMessages)
	if _, err := db.Exec(context.Background(), kalamdb.Request{SQL: "SELECT * FROM Messages", Namespace: "App", As: principal("alice")}); err != nil {
		t.Error(err)
	}
}

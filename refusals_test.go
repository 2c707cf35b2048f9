package kalamdb_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"kalamdb"
	"kalamdb/row"
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
		"EXPLAIN SELECT * FROM read_csv('/etc/passwd')":                                                "FORBIDDEN_FUNCTION",
		"SELECT getenv('HOME')":                                                                        "FORBIDDEN_FUNCTION",
		"CREATE USER TABLE app.x (id INT DEFAULT getenv('HOME'))":                                      "FORBIDDEN_FUNCTION",
		"INSERT INTO app.messages (_seq) VALUES (1)":                                                   kalamdb.CodeForbidden,
		"UPDATE app.messages SET _deleted = false":                                                     kalamdb.CodeForbidden,
		"UPDATE app.messages SET n = 1 FROM read_csv('/etc/passwd')":                                   "FORBIDDEN_FUNCTION",
		"DELETE FROM app.messages USING read_csv('/etc/passwd')":                                       "FORBIDDEN_FUNCTION",
		"INSERT INTO app.messages (n) VALUES (1) RETURNING getenv('HOME')":                             "FORBIDDEN_FUNCTION",
		"DELETE FROM app.messages RETURNING getenv('HOME')":                                            "FORBIDDEN_FUNCTION",
		"INSERT INTO app.messages (n) VALUES (1) ON CONFLICT (id) DO UPDATE SET text = getenv('HOME')": "FORBIDDEN_FUNCTION",
		"INSERT INTO app.messages (n) VALUES (1) ON CONFLICT (id) DO UPDATE SET _seq = 1":              kalamdb.CodeForbidden,
		"BEGIN; INSERT INTO app.messages (n) VALUES (1)":                                               kalamdb.CodeTransactionNotFinished,
		"INSERT INTO app.messages (n) SELECT getenv('HOME')":                                           "FORBIDDEN_FUNCTION",
		"DELETE FROM app.messages WHERE text = getenv('HOME')":                                         "FORBIDDEN_FUNCTION",
		"ALTER TABLE app.messages ADD x INT DEFAULT getenv('A')":                                       "FORBIDDEN_FUNCTION",
		"ALTER TABLE system.users ADD COLUMN x INT":                                                    kalamdb.CodeForbidden,
		"DROP TABLE IF EXISTS system.users":                                                            kalamdb.CodeForbidden,
		"FLUSH TABLE information_schema.tables":                                                        kalamdb.CodeForbidden,
		"COMPACT TABLE system.jobs":                                                                    kalamdb.CodeForbidden,
		"COPY app.messages TO '/tmp/x'":                                                                "FORBIDDEN_STATEMENT",
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

// A parameter of LIKE may stand anywhere among the others.
func TestLikeParams(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", createMessages)
	mustExec(t, db, "alice", "INSERT INTO app.messages (text, n) VALUES ('abc', 1), ('abd', 2), ('x', 3)")
	pattern, two := row.TextValue("a%"), row.IntValue(row.BigInt, 2)
	for text, params := range map[string][]row.Value{
		"SELECT n FROM app.messages WHERE text LIKE $1 AND n = $2":                {pattern, two},
		"SELECT n FROM app.messages WHERE n = $1 AND text LIKE $2":                {two, pattern},
		"SELECT n FROM app.messages WHERE text LIKE $2 AND n = $1":                {two, pattern},
		"SELECT n FROM app.messages WHERE text LIKE $1 AND n > 1 LIMIT $2":        {pattern, two},
		"SELECT n FROM app.messages WHERE text LIKE $1 AND text <> $1 AND n = $2": {pattern, two},
		"SELECT n FROM app.messages WHERE n = $2":                                 {pattern, two},
	} {
		if rows := mustExec(t, db, "alice", text, params...)[0].Rows; len(rows) != 1 || rows[0][0].Int() != 2 {
			t.Errorf("%s: %v", text, rows)
		}
	}
	if res := mustExec(t, db, "alice", "UPDATE app.messages SET n = $2 WHERE text LIKE $1", pattern, two); res[0].Affected != 2 {
		t.Errorf("updated %d rows", res[0].Affected)
	}
	if res := mustExec(t, db, "alice", "DELETE FROM app.messages WHERE text LIKE $1 AND n = $2", pattern, two); res[0].Affected != 2 {
		t.Errorf("deleted %d rows", res[0].Affected)
	}
}

// Many rows with cells that only DuckDB can evaluate, in a wide table.
func TestManySlowCells(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	wide := "CREATE NAMESPACE app; CREATE USER TABLE app.wide (id INT PRIMARY KEY, made TIMESTAMP, tag TEXT DEFAULT lower('X') || 'y'"
	for i := range 12 {
		wide += fmt.Sprintf(", c%d INT", i)
	}
	mustExec(t, db, "root", wide+")")
	values := make([]string, 5_000)
	for i := range values {
		values[i] = fmt.Sprintf("(%d, now())", i)
	}
	if res := mustExec(t, db, "alice", "INSERT INTO app.wide (id, made) VALUES "+strings.Join(values, ", ")); res[0].Affected != int64(len(values)) {
		t.Errorf("inserted %d rows", res[0].Affected)
	}
	if got := answer(t, db, "alice", "SELECT count(*), count(DISTINCT made), min(tag), max(tag) FROM app.wide"); got != "5000 1 \"xy\" \"xy\"\n" {
		t.Errorf("rows, times, tags: %s", got)
	}
}

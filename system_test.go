package kalamdb_test

import (
	"fmt"
	"strings"
	"testing"

	"kalamdb"
)

// More rows than one chunk of a scan arrive once each, whether the text narrows them down
// or not.
func TestSystemTablesOfManyRows(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	var b strings.Builder
	const n = 600 // with six columns each
	for i := range n {
		fmt.Fprintf(&b, "CREATE USER TABLE t%03d (a INT PRIMARY KEY, b INT, c INT, d INT);", i)
	}
	mustExec(t, db, "root", b.String())
	for question, want := range map[string]string{
		"SELECT count(*), count(DISTINCT table_name || column_name) FROM system.columns":                                                               "3600 3600\n",
		"SELECT count(*) FROM system.columns WHERE ordinal_position <= 2 AND table_name >= 't300'":                                                     "600\n",
		"SELECT table_name, column_name FROM information_schema.columns WHERE table_name IN ('t599', 'no') LIMIT 1":                                    "\"t599\" \"a\"\n",
		"SELECT count(*) FROM system.columns WHERE key_position > 0":                                                                                   "600\n",
		"SELECT count(*) FROM system.columns WHERE key_position < 1 OR key_position IS NULL":                                                           "3000\n",
		"SELECT count(*) FROM system.tables a JOIN system.tables b USING (table_id) WHERE a.table_name < 't010'":                                       "10\n",
		"SELECT count(*) FROM system.tables a LEFT JOIN system.tables b ON b.table_name = 't001' AND a.table_id = b.table_id WHERE b.table_id IS NULL": "599\n",
		"SELECT options FROM system.tables WHERE namespace = 'default' AND table_name = 't077'":                                                        "\"{}\"\n",
	} {
		if got := answer(t, db, "root", question); got != want {
			t.Errorf("%s\n gives %s expected %s", question, got, want)
		}
	}
	mustExec(t, db, "root", "DROP TABLE t001")
	if got := answer(t, db, "alice", "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'default'"); got != "599\n" {
		t.Errorf("%s tables after a drop, expected 599", got)
	}
}

// An operator sees what others ask, but not about which values.
func TestQueriesOfOthersHaveNoLiterals(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", "CREATE USER TABLE notes (id INT PRIMARY KEY, text TEXT)")
	mustExec(t, db, "alice", "INSERT INTO notes VALUES (1, 'secret')")
	if _, err := db.Exec(t.Context(), kalamdb.Request{SQL: "SELECT CAST('secret' AS INT)", As: principal("alice")}); err == nil {
		t.Fatal("no error")
	}
	question := "SELECT query, status, error_code, error_message FROM system.queries WHERE user_id = 'alice' AND statement <> 'x' ORDER BY query_id"
	if got := answer(t, db, "root", question); strings.Contains(got, "secret") || !strings.HasPrefix(got, "\"INSERT INTO notes VALUES (?, ?)\" \"completed\"") || !strings.Contains(got, "failed") {
		t.Errorf("the operator sees\n%s", got)
	}
	if got := answer(t, db, "alice", question); strings.Count(got, "secret") < 3 || !strings.Contains(got, "running") {
		t.Errorf("alice sees of her own\n%s", got)
	}
	if got := answer(t, db, "bob", "SELECT query FROM system.queries"); strings.Contains(got, "notes") || strings.Count(got, "\n") != 1 {
		t.Errorf("bob sees\n%s", got)
	}
}

// The numbers follow the rows from the buffer to the files, and are one's own for a user.
func TestTableStats(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", createMessages)
	stats := func(as string) string {
		res := mustExec(t, db, as, "SHOW TABLE STATS app.messages")[0]
		var b strings.Builder
		for i, c := range res.Columns {
			switch c.Name {
			case "partitions", "buffered_rows", "files", "file_rows":
				fmt.Fprintf(&b, "%s %d ", c.Name, res.Rows[0][i].Int())
			case "oldest_unflushed_ms":
				fmt.Fprintf(&b, "unflushed %v ", !res.Rows[0][i].IsNull())
			}
		}
		return b.String()
	}
	for _, step := range []struct{ sql, root, alice string }{
		{"SELECT 1", "partitions 0 buffered_rows 0 files 0 file_rows 0 unflushed false ", "partitions 0 buffered_rows 0 files 0 file_rows 0 unflushed false "},
		{"INSERT INTO app.messages (text) VALUES ('a'), ('b')", "partitions 2 buffered_rows 4 files 0 file_rows 0 unflushed true ", "partitions 1 buffered_rows 2 files 0 file_rows 0 unflushed true "},
		{"FLUSH", "partitions 2 buffered_rows 0 files 2 file_rows 4 unflushed false ", "partitions 1 buffered_rows 0 files 1 file_rows 2 unflushed false "},
		{"INSERT INTO app.messages (text) VALUES ('c')", "partitions 2 buffered_rows 2 files 2 file_rows 4 unflushed true ", "partitions 1 buffered_rows 1 files 1 file_rows 2 unflushed true "},
	} {
		if step.sql == "FLUSH" {
			mustExec(t, db, "root", "FLUSH TABLE app.messages")
		} else {
			mustExec(t, db, "alice", step.sql)
			mustExec(t, db, "bob", step.sql)
		}
		if got := stats("root"); got != step.root {
			t.Errorf("after %s: %sexpected %s", step.sql, got, step.root)
		}
		if got := stats("alice"); got != step.alice {
			t.Errorf("after %s alice sees: %sexpected %s", step.sql, got, step.alice)
		}
	}
}

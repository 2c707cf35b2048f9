package kalamdb_test

import (
	"context"
	"strings"
	"testing"

	"kalamdb"
)

// TestExplain: EXPLAIN says how rows would be found, and changes none of them.
func TestExplain(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE USER TABLE app.t (id INT PRIMARY KEY, s TEXT)")
	mustExec(t, db, "alice", "INSERT INTO app.t VALUES (1, 'a'), (2, 'b'), (3, 'c')")
	mustExec(t, db, "root", "FLUSH TABLE app.t")
	mustExec(t, db, "alice", "INSERT INTO app.t VALUES (11, 'a')")
	for _, want := range []string{
		"files from the cache: 0, linked from the folder: 1, fetched from the bucket: 0 with 0 bytes",
		"files from the cache: 1, linked from the folder: 0, fetched from the bucket: 0 with 0 bytes",
	} {
		if got := answer(t, db, "alice", "EXPLAIN SELECT * FROM app.t"); !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if s := db.Stats().Cache; s.Hits != 1 || s.Misses != 1 || s.Gets != 0 || s.Files != 1 || s.Bytes == 0 || s.BytesMax == 0 {
		t.Errorf("the cache counts %+v", s)
	}
	for text, want := range map[string]string{
		"EXPLAIN SELECT * FROM app.t":                                               "table app.t|  files: 1 of 1, |  files read as they are: 1|  buffered rows: 1|files from the cache: |READ_PARQUET",
		"EXPLAIN SELECT * FROM app.t AS x WHERE id = 11":                            "table app.t AS x|  found by key in the buffer: 1, no file of it needed|  files: 0 of 1, |left out, outside the key range: 1|BUFFER",
		"EXPLAIN SELECT 1":                                                          "PROJECTION",
		"EXPLAIN INSERT INTO app.t VALUES (12, 'x'), (13, 'y')":                     "insert into app.t: 2 rows of the statement itself",
		"EXPLAIN INSERT INTO app.t SELECT id + 20, s FROM app.t":                    "insert into app.t|table app.t|  files: 1 of 1",
		"EXPLAIN UPDATE app.t SET s = 'z' WHERE id = 1":                             "update app.t: one row, looked up by its key",
		"EXPLAIN UPDATE app.t SET s = 'z' WHERE s = 'a'":                            "update app.t|table app.t|  files: 1 of 1|READ_PARQUET",
		"EXPLAIN DELETE FROM app.t":                                                 "delete from app.t|table app.t|  files: 1 of 1|READ_PARQUET",
		"EXPLAIN DELETE FROM app.t USING app.t AS u WHERE t.id = u.id AND u.id > 1": "delete from app.t|table app.t|table app.t AS u",
	} {
		got := answer(t, db, "alice", text)
		rest := got
		for _, part := range strings.Split(want, "|") {
			i := strings.Index(rest, part)
			if i < 0 {
				t.Errorf("%s: no %q in\n%s", text, part, got)
				break
			}
			rest = rest[i:]
		}
	}
	if got := answer(t, db, "alice", "SELECT count(*), string_agg(s, '' ORDER BY id) FROM app.t"); got != "4 \"abca\"\n" {
		t.Errorf("EXPLAIN changed the rows: %s", got)
	}
	for text, code := range map[string]string{
		"EXPLAIN UPDATE app.t SET s = getenv('HOME') WHERE s = 'a'": "FORBIDDEN_FUNCTION",
		"EXPLAIN UPDATE app.t SET _seq = 1":                         kalamdb.CodeForbidden,
		"EXPLAIN DELETE FROM app.missing":                           kalamdb.CodeTableNotFound,
		"SELECT 1; EXPLAIN DELETE FROM app.t WHERE getenv('x') = s": "FORBIDDEN_FUNCTION",
	} {
		_, err := db.Exec(context.Background(), kalamdb.Request{SQL: text, As: principal("alice")})
		wantCode(t, err, code)
	}
}

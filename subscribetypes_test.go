package kalamdb_test

import (
	"context"
	"fmt"
	"testing"

	"kalamdb"
)

// A row reads the same, byte by byte, as a change, as what an update replaced, and among the
// first rows, from the buffer and from files: clients tell rows apart by their text.
func TestRowsReadTheSameEverywhere(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", `CREATE NAMESPACE app; CREATE USER TABLE app.n (id INT PRIMARY KEY, b BOOLEAN, s SMALLINT, l BIGINT, f FLOAT, d DOUBLE, m DECIMAL(38,10),
		t TEXT, y BYTES, da DATE, ti TIME, ts TIMESTAMP, j JSON, u UUID, a TEXT[], e EMBEDDING(3), n INT)`)
	values := []string{
		`true, -32768, 9223372036854775807, 0.1, 0.1, 1234567890123456789012345678.0123456789, 'ä"\😀' || chr(10) || chr(1), 'ab\x00\xff'::BLOB, '0001-01-01', '00:00:00', '1969-12-31 23:59:59.999999', '{"b": 1,  "a": [1.0, 1e400, "\u00e9\/"]}', '00000000-0000-0000-0000-00000000000f', ['', NULL, 'x"'], [0.1, -0.0, 1e30], 0`,
		`false, 32767, -9223372036854775808, 'nan', '-inf', -0.0000000001, '', '', '9999-12-31', '23:59:59.999999', '2026-01-02 03:04:05', ' null ', 'ffffffff-ffff-ffff-ffff-ffffffffffff', [], [1, 2, 3], 0`,
		`NULL, 0, 9007199254740993, '-0', 1e-320, 0, '</script>' || chr(8232), 'x', '2026-02-28', '12:00:00.5', '0001-01-01 00:00:00', '"text"', NULL, NULL, NULL, 0`,
		`NULL, NULL, NULL, 3.4028235e38, 123456789012345680000, 10, 'a' || chr(0), NULL, NULL, NULL, NULL, '[]', NULL, [' '], NULL, 0`,
	}
	ask := kalamdb.SubscribeRequest{SQL: "SELECT * FROM app.n WHERE n = 0", QueryID: "changes"}
	changes := subscribe(t, db, "alice", ask)
	texts := func(sub *kalamdb.Subscription) (rows, old []string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), waitMax)
		defer cancel()
		e, err := sub.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range e.Rows {
			rows = append(rows, string(r))
		}
		for _, r := range e.Old {
			old = append(old, string(r))
		}
		return rows, old
	}
	var inserted []string
	for i, v := range values {
		mustExec(t, db, "alice", fmt.Sprintf("INSERT INTO app.n VALUES (%d, %s)", i, v))
		rows, _ := texts(changes)
		inserted = append(inserted, rows...)
	}
	for _, where := range []string{"buffer", "files"} {
		if where == "files" {
			mustExec(t, db, "root", "FLUSH ALL")
		}
		ask.LastRows, ask.QueryID = 10, where
		rows, _ := texts(subscribe(t, db, "alice", ask))
		if len(rows) != len(inserted) {
			t.Fatalf("%d first rows from %s", len(rows), where)
		}
		for i := range rows {
			if rows[i] != inserted[i] {
				t.Errorf("from %s\n%s\nas a change\n%s", where, rows[i], inserted[i])
			}
		}
	}
	mustExec(t, db, "alice", "UPDATE app.n SET l = l WHERE true")
	_, old := texts(changes)
	for i := range inserted {
		if i >= len(old) || old[i] != inserted[i] {
			t.Errorf("was %q\nas a change\n%s", old, inserted[i])
		}
	}
}

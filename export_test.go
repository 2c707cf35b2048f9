package kalamdb_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kalamdb"
)

// exportedSelect has every type that results have, with NULLs and what CSV and JSON have to quote.
const exportedSelect = `SELECT i AS id, i % 2 = 0 AS b, CAST(i % 100 AS TINYINT) AS ti, CAST(i AS SMALLINT) AS si, CAST(i AS INT) AS n, CAST(-i AS HUGEINT) AS h,
	CAST(i AS UBIGINT) AS u, CAST(i AS FLOAT) / 3 AS f, CASE i WHEN 7 THEN 'NaN'::DOUBLE WHEN 8 THEN '-Infinity'::DOUBLE ELSE i / 7 END AS d,
	CAST(i AS DECIMAL(9,2)) AS d9, CAST(-i AS DECIMAL(18,3)) AS d18, CAST(i / 10 AS DECIMAL(38,10)) AS d38,
	CASE i % 5 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN 'a,"b"' || chr(10) || '€' ELSE ' x' || i END AS t, CAST('\x00\xFF' AS BLOB) AS blob,
	DATE '1969-12-31' + CAST(i AS INT) AS day, TIME '23:59:59.999999' AS tm, TIMESTAMP '2026-01-02 03:04:05.123456' + to_seconds(i) AS ts,
	CAST('{"a": [1, null]}' AS JSON) AS j, CAST('00000000-0000-0000-0000-000000000001' AS UUID) AS uid, CASE i % 3 WHEN 0 THEN NULL WHEN 1 THEN [] ELSE [i, NULL, 3] END AS l,
	[1.5, 2.5, i]::FLOAT[3] AS e, {'x': i, 'y': 'z'} AS st, [[1, 2], [i]] AS ll, id AS id, sum(i) OVER () AS total FROM (SELECT i, i AS id FROM range(3000) r(i))`

func plainQuery(t *testing.T, db *sql.DB, text string) string {
	t.Helper()
	var s string
	if err := db.QueryRow(text).Scan(&s); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return s
}

// What EXPORT writes is what DuckDB reads: the same rows, in Parquet with their types.
func TestExportIsReadByDuckDB(t *testing.T) {
	plain, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	dir := t.TempDir()
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir(), Transfer: kalamdb.TransferOptions{Folders: []string{dir}, FileBytesMax: 50_000}})
	const rows = 3000
	const query = exportedSelect
	differ := func(columns, read string) {
		t.Helper()
		q := fmt.Sprintf("SELECT %s FROM (%s) q", columns, query)
		r := fmt.Sprintf("SELECT %s FROM %s", columns, read)
		got := plainQuery(t, plain, fmt.Sprintf("SELECT (SELECT count(*) FROM %s) || ' rows, ' || count(*) || ' differ, ' || coalesce(any_value(x)::VARCHAR, '') FROM (((%s) EXCEPT ALL (%s)) UNION ALL ((%s) EXCEPT ALL (%s))) x", read, q, r, r, q))
		if want := fmt.Sprintf("%d rows, 0 differ, ", rows); got != want {
			t.Errorf("%s of %s: %s", columns, read, got)
		}
	}
	for _, ext := range []string{"parquet", "csv", "json"} {
		res := mustExec(t, db, "root", fmt.Sprintf("EXPORT (%s) TO 'file://%s/all.%s'", query, dir, ext))[0]
		if len(res.Rows) < 2 {
			t.Errorf("%s: %d files, expected several of 50 kB", ext, len(res.Rows))
		}
		total := int64(0)
		for i, r := range res.Rows {
			name := strings.TrimPrefix(r[0].Str(), "file://")
			if i == 0 && name != filepath.Join(dir, "all."+ext) || i == 1 && name != filepath.Join(dir, "all-00002."+ext) {
				t.Errorf("file %d is %s", i, name)
			}
			info, err := os.Stat(name)
			if err != nil || info.Size() != r[3].Int() {
				t.Errorf("%s: %v, expected %d bytes", name, err, r[3].Int())
			}
			total += r[2].Int()
		}
		if total != rows {
			t.Errorf("%s: %d rows, expected %d", ext, total, rows)
		}
	}
	parquet := fmt.Sprintf("read_parquet('%s/all*.parquet')", dir)
	differ("id, b, ti, si, n, u::DECIMAL(38,0), h::DECIMAL(38,0), f, d, d9, d18, d38, t, blob, day, tm, ts, j::VARCHAR, uid, l, e::FLOAT[], total::DECIMAL(38,0), id_1", parquet)
	if got := plainQuery(t, plain, "SELECT string_agg(column_name || ' ' || column_type, ', ') FROM (DESCRIBE SELECT * FROM "+parquet+")"); got !=
		"id BIGINT, b BOOLEAN, ti SMALLINT, si SMALLINT, n INTEGER, h DECIMAL(38,0), u DECIMAL(38,0), f FLOAT, d DOUBLE, d9 DECIMAL(9,2), d18 DECIMAL(18,3), d38 DECIMAL(38,10), "+
			"t VARCHAR, blob BLOB, day DATE, tm TIME, ts TIMESTAMP, j JSON, uid UUID, l BIGINT[], e FLOAT[], st JSON, ll JSON, id_1 BIGINT, total DECIMAL(38,0)" {
		t.Errorf("types: %s", got)
	}
	if got := plainQuery(t, plain, "SELECT any_value(st)::VARCHAR || any_value(ll)::VARCHAR FROM "+parquet+" WHERE id = 5"); got != `{"x":5,"y":"z"}[[1,2],[5]]` {
		t.Errorf("structures: %s", got)
	}
	differ("id, b, ti, d9, d38, t, day, ts, uid, id_1", fmt.Sprintf("read_csv('%s/all*.csv', header = true, types = {'d9': 'DECIMAL(9,2)', 'd38': 'DECIMAL(38,10)', 'b': 'BOOLEAN', 'day': 'DATE', 'ts': 'TIMESTAMP', 'uid': 'UUID', 't': 'VARCHAR'}, allow_quoted_nulls = false)", dir))
	differ("id, b, ti, n, t, l, st.x, id_1", fmt.Sprintf("read_json('%s/all*.json', columns = {id: 'BIGINT', b: 'BOOLEAN', ti: 'INT', n: 'INT', t: 'VARCHAR', l: 'BIGINT[]', st: 'STRUCT(x BIGINT)', id_1: 'BIGINT'})", dir))
}

// An export that fails leaves nothing, and none replaces a file.
func TestExportIsWholeOrNothing(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir(), Transfer: kalamdb.TransferOptions{Folders: []string{dir}, FileBytesMax: 10_000}})
	export := func(query, file string) error {
		return execAs(db, "root", fmt.Sprintf("EXPORT (%s) TO '%s/%s'", query, dir, file))
	}
	wantCode(t, export("SELECT CASE WHEN i = 50000 THEN CAST('x' AS INT) ELSE i END AS n FROM (SELECT i FROM range(60000) r(i) ORDER BY i)", "bad.csv"), "INVALID_VALUE")
	wantCode(t, export("SELECT NULL AS n", "null.csv"), "INVALID_VALUE")
	files, err := filepath.Glob(dir + "/*.csv")
	if err != nil || len(files) != 0 {
		t.Errorf("%v, files %v are left of an export that failed", err, files)
	}
	if err := export("SELECT 1 AS a WHERE false", "none.csv"); err != nil {
		t.Error(err)
	}
	wantCode(t, export("SELECT 2 AS a", "none.csv"), kalamdb.CodeAlreadyExists)
	if body, err := os.ReadFile(dir + "/none.csv"); err != nil || string(body) != "a\n" {
		t.Errorf("%v, %q, expected the line of names", err, body)
	}
	if err := os.WriteFile(dir+"/two-00002.csv", []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantCode(t, export("SELECT i FROM range(10000) r(i)", "two.csv"), kalamdb.CodeAlreadyExists)
	if body, err := os.ReadFile(dir + "/two-00002.csv"); err != nil || string(body) != "mine" {
		t.Errorf("%v, %q: somebody's file was changed", err, body)
	}
	if _, err := os.Stat(dir + "/two.csv"); err == nil {
		t.Error("the first file of an export that failed is left")
	}
	res := mustExec(t, db, "root", fmt.Sprintf("EXPORT (SELECT i, snowflake_id() AS s FROM range($1) r(i)) TO '%s/parts/' WITH (format = 'JSON')", dir), testParams(t, "1000")...)[0]
	if n := len(res.Rows); n != 3 || !strings.HasSuffix(res.Rows[2][0].Str(), "/parts/part-00003.json") {
		t.Errorf("%d files: %v", n, res.Rows)
	}
}

// Where EXPORT may write, and who may.
func TestExportPlaces(t *testing.T) {
	dir, data := t.TempDir(), t.TempDir()
	db := openDB(t, kalamdb.Options{DataDir: data, Transfer: kalamdb.TransferOptions{Folders: []string{dir + "/open"}}})
	for _, c := range []struct{ as, url, code string }{
		{"alice", dir + "/open/a.csv", kalamdb.CodeForbidden},
		{"service", dir + "/open/a.csv", kalamdb.CodeForbidden},
		{"root", dir + "/open/a.csv", ""},
		{"root", "file://" + dir + "/open/deep/a.csv", ""},
		{"root", dir + "/a.csv", kalamdb.CodeForbidden},
		{"root", dir + "/openly/a.csv", kalamdb.CodeForbidden},
		{"root", dir + "/open/../a.csv", kalamdb.CodeInvalidLocation},
		{"root", "/a.csv", kalamdb.CodeForbidden},
		{"root", "a.csv", kalamdb.CodeInvalidLocation},
		{"root", "s3://bucket", kalamdb.CodeInvalidLocation},
		{"root", "http://example.org/a.csv", kalamdb.CodeInvalidLocation},
		{"root", dir + "/open/a.txt", kalamdb.CodeInvalidValue},
		{"system", dir + "/a.csv", ""},
		{"system", "/a.csv", kalamdb.CodeInvalidLocation},
		{"system", data + "/a.csv", kalamdb.CodeForbidden},
		{"system", data + "/storage/a.csv", kalamdb.CodeForbidden},
		{"system", "file://" + data + "/storage/users/x/a.csv", kalamdb.CodeForbidden},
	} {
		err := execAs(db, c.as, fmt.Sprintf("EXPORT (SELECT 1 AS a) TO '%s'", c.url))
		if c.code == "" && err == nil {
			continue
		}
		if c.code == "" {
			t.Errorf("%s, %s: %v", c.as, c.url, err)
			continue
		}
		wantCode(t, err, c.code)
	}
	wantCode(t, execAs(db, "root", "SELECT 1; EXPORT (SELECT getenv('HOME')) TO '"+dir+"/open/b.csv'"), "FORBIDDEN_FUNCTION")
	wantCode(t, execAs(db, "root", "BEGIN; EXPORT (SELECT 1) TO '"+dir+"/open/b.csv'; COMMIT"), kalamdb.CodeInvalidStatement)
	if got := answer(t, db, "root", "SELECT count(*) FROM system.jobs WHERE job_type = 'export' AND status = 'completed'"); got != "3\n" {
		t.Errorf("%s jobs, expected 3", got)
	}
	if got := answer(t, db, "root", "SELECT count(*) FROM system.audit WHERE action = 'EXPORT'"); got != "3\n" {
		t.Errorf("%s entries of the audit log, expected 3", got)
	}
}

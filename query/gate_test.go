package query

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// attacks are texts the gate refuses, by the code they are refused with.
var attacks = map[string][]string{
	"FORBIDDEN_FUNCTION": {
		// files
		"SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM read_csv_auto('x')", "SELECT * FROM read_parquet('x')", "SELECT * FROM parquet_scan('x')",
		"SELECT * FROM read_json('x')", "SELECT * FROM read_ndjson('x')", "SELECT * FROM read_json_auto('x')", "SELECT * FROM read_text('/etc/passwd')",
		"SELECT * FROM read_blob('/etc/passwd')", "SELECT * FROM glob('/*')", "SELECT * FROM sniff_csv('x')", "SELECT * FROM parquet_metadata('x')",
		"SELECT * FROM parquet_schema('x')", "SELECT * FROM parquet_file_metadata('x')", "SELECT * FROM parquet_kv_metadata('x')", "SELECT * FROM read_duckdb('x')",
		"SELECT * FROM parquet_bloom_probe('x', 'y', 1)", "SELECT * FROM READ_CSV('x')", `SELECT * FROM "read_csv"('x')`, "SELECT * FROM main.read_csv('x')",
		"SELECT * FROM system.main.read_csv('x')", "SELECT * FROM read_csv/**/('x')", "SELECT * FROM read_csv -- x\n('x')", "SELECT 1 FROM t, LATERAL (SELECT * FROM read_text('x'))",
		"SELECT (SELECT content FROM read_text('/etc/passwd'))", "SELECT * FROM t WHERE EXISTS (FROM read_text('x'))", "WITH x AS (FROM read_text('x')) SELECT 1",
		"WITH RECURSIVE r AS (SELECT 1 a UNION ALL SELECT a FROM r, read_text('x')) FROM r", "SELECT 1 UNION SELECT content FROM read_text('x')",
		"SELECT 1 LIMIT (SELECT count(*) FROM read_text('x'))", "SELECT 1 ORDER BY (SELECT count(*) FROM read_text('x'))", "SELECT 1 OFFSET (SELECT 1 FROM glob('*'))",
		"SELECT DISTINCT ON ((SELECT 1 FROM glob('*'))) 1", "SELECT sum(1) FILTER (WHERE (SELECT true FROM glob('*')))", "SELECT 1 FROM t QUALIFY (SELECT true FROM glob('*'))",
		"SELECT sum(a) OVER (ORDER BY a ROWS BETWEEN (SELECT 1 FROM glob('*')) PRECEDING AND CURRENT ROW) FROM t", "SELECT sum(a) OVER w FROM t WINDOW w AS (PARTITION BY (SELECT 1 FROM glob('*')))",
		"SELECT list_transform([1], lambda x: (SELECT 1 FROM glob('*')))", "SELECT [(SELECT 1 FROM glob('*')) for x in [1]]", "SELECT * REPLACE ((SELECT 1 FROM glob('*')) AS a) FROM t",
		"SELECT COLUMNS(c -> (SELECT true FROM glob('*'))) FROM t", "SELECT a FROM t GROUP BY (SELECT 1 FROM glob('*'))", "SELECT a FROM t GROUP BY GROUPING SETS (((SELECT 1 FROM glob('*'))))",
		"SELECT 1 HAVING (SELECT true FROM glob('*'))", "SELECT * FROM t JOIN u ON (SELECT true FROM glob('*'))", "SELECT CASE WHEN (SELECT true FROM glob('*')) THEN 1 END",
		"SELECT CASE 1 WHEN 1 THEN (SELECT 1 FROM glob('*')) END", "SELECT CAST((SELECT 1 FROM glob('*')) AS INT)", "SELECT a BETWEEN 1 AND (SELECT 1 FROM glob('*')) FROM t",
		"SELECT 1 IN (SELECT 1 FROM glob('*'))", "SELECT 1 = ANY (SELECT 1 FROM glob('*'))", "SELECT * FROM (VALUES ((SELECT 1 FROM glob('*'))))", "VALUES ((SELECT 1 FROM glob('*')))",
		"SELECT string_agg('a', (SELECT file FROM glob('*')))", "SELECT string_agg(a ORDER BY (SELECT 1 FROM glob('*'))) FROM t", "SELECT * FROM range((SELECT count(*) FROM glob('*')))",
		"PIVOT t ON a IN (1) USING sum((SELECT 1 FROM glob('*')))", "PIVOT (SELECT * FROM glob('*')) ON a IN (1) USING sum(b)", "SELECT * FROM (PIVOT (FROM glob('*')) ON file IN ('x') USING count(*))",
		"UNPIVOT (FROM glob('*')) ON file", "SELECT {'a': (SELECT 1 FROM glob('*'))}", "SELECT MAP {'a': (SELECT 1 FROM glob('*'))}", "SELECT [1, (SELECT 1 FROM glob('*'))][1]",
		"SELECT 'a' COLLATE NOCASE = (SELECT file FROM glob('*'))", "SELECT try((SELECT 1 FROM glob('*')))", "SELECT UNNEST((SELECT [1] FROM glob('*')))", "SELECT -(SELECT 1 FROM glob('*'))",
		"SELECT lag(1, 1, (SELECT 1 FROM glob('*'))) OVER () FROM t",
		// dynamic SQL
		"SELECT * FROM query('SELECT 1')", "SELECT * FROM query_table('t')", "SELECT * FROM json_execute_serialized_sql('{}')", "SELECT json_serialize_sql('SELECT 1')",
		"SELECT json_deserialize_sql('{}')", "SELECT json_serialize_plan('SELECT 1')", "SELECT * FROM sql_auto_complete('x')",
		// settings, secrets, catalog, process
		"SELECT getenv('HOME')", "SELECT current_setting('temp_directory')", "SELECT getvariable('x')", "SELECT current_query()", "SELECT current_database()",
		"SELECT current_schema()", "SELECT current_schemas(true)", "SELECT * FROM duckdb_settings()", "SELECT * FROM duckdb_secrets()", "SELECT * FROM which_secret('x', 's3')",
		"SELECT * FROM duckdb_tables()", "SELECT * FROM duckdb_functions()", "SELECT * FROM duckdb_columns()", "SELECT * FROM duckdb_databases()", "SELECT * FROM duckdb_extensions()",
		"SELECT * FROM duckdb_temporary_files()", "SELECT * FROM duckdb_external_file_cache()", "SELECT * FROM duckdb_memory()", "SELECT * FROM duckdb_logs()", "SELECT * FROM pragma_table_info('t')",
		"SELECT * FROM pragma_version()", "SELECT * FROM pragma_database_size()", "SELECT * FROM pragma_storage_info('t')", "SELECT * FROM enable_logging(storage='file')",
		"SELECT * FROM disable_logging()", "SELECT * FROM checkpoint()", "SELECT * FROM force_checkpoint()", "SELECT * FROM enable_profiling()", "SELECT * FROM test_all_types()",
		"SELECT * FROM seq_scan('t')", "SELECT * FROM arrow_scan(1, 2, 3)", "SELECT * FROM repeat_row(1)", "SELECT * FROM repeat(1, 5)", "SELECT * FROM summary(t)", "SELECT * FROM truncate_duckdb_logs()",
		"SELECT nextval('s')", "SELECT currval('s')", "SELECT setseed(0.5)", "SELECT sleep_ms(1000)", "SELECT pg_sleep(10)", "SELECT write_log('x')", "SELECT txid_current()", "SELECT version()",
		"SELECT in_search_path('a', 'b')", "SELECT stats(1)", "SELECT has_table_privilege('t', 'x')", "SELECT pg_get_viewdef(1)", "SELECT current_catalog()", "SELECT current_connection_id()",
		"SELECT * FROM kalamdb_rows(0)", "SELECT kalamdb_user()", "SELECT * FROM KALAMDB_ROWS(0)", `SELECT * FROM "kalamdb_rows"(0)`, "SELECT * FROM histogram('t', 'a')",
		// behind our own functions
		"SELECT system.main.now()", "SELECT pg_catalog.now()", "SELECT memory.main.now()", "SELECT system.main.current_user()", "SELECT a.getenv() FROM t", "SELECT t.a.getenv() FROM t", "SELECT a.read_csv() FROM t",
		"SELECT t.columns('a') FROM t",
		// recursion on the stack
		"SELECT json_structure('[]')", "SELECT json_merge_patch('{}', '{}')", "SELECT json_contains('[]', '1')", "SELECT json_transform('[]', '[]')", "SELECT json_transform_strict('[]', '[]')",
		"SELECT from_json('[]', '[]')", "SELECT from_json_strict('[]', '[]')", "SELECT json_group_structure('[]')", "SELECT json_pretty('[]')", "SELECT * FROM json_tree('[]')",
		"SELECT JSON_STRUCTURE($1)", "SELECT a.json_structure() FROM t",
		// cost without bound
		"SELECT list_transform(l, lambda x: list_transform(l, lambda y: x * y)) FROM t", "SELECT [[x * y for x in l] for y in l] FROM t", "SELECT list_filter(l, lambda x: len(range(1000)) > x) FROM t",
		"SELECT list_transform(l, lambda x: repeat('x', 1000)) FROM t", "SELECT list_transform(l, lambda x: lpad(x, 1000, 'x')) FROM t", "SELECT list_transform(range(999999), lambda x: x)",
		"WITH RECURSIVE r AS (SELECT 'a' s UNION ALL SELECT replace(s, 'a', 'aa') FROM r) FROM r", "SELECT replace(a, 'a', a) FROM t", "SELECT regexp_replace(a, 'a', a, 'g') FROM t", "SELECT array_to_string(l, a) FROM t",
		"SELECT a -> '$..*..*' FROM t", "SELECT json_extract(a, '$.*.*') FROM t", "SELECT json_extract(a, ['$.a', '$..*.*']) FROM t", "SELECT a ->> ('$..' || '*.*') FROM t",
		"SELECT levenshtein(a, b) FROM t", "SELECT editdist3('a', 'b')", "SELECT damerau_levenshtein('a', 'b')", "SELECT jaro_winkler_similarity('a', 'b')", "SELECT list_reduce([1], lambda x, y: x + y)",
		"SELECT reduce([1], lambda x, y: x + y)", "SELECT array_reduce([1], lambda x, y: x + y)", "SELECT repeat('x', 1000000000)", "SELECT repeat(a, 2) FROM t", "SELECT repeat(repeat('x', 10000), 10000)",
		"SELECT repeat('x', $1)", "SELECT lpad('x', 1000000000, 'y')", "SELECT rpad('x', a, 'y') FROM t", "SELECT range(1000000000)", "SELECT range(a) FROM t", "SELECT unnest(generate_series(1, 10000000000))",
		"SELECT range(0, 100, $1)", "SELECT list_resize([1], 1000000000)", "SELECT printf('%1000000000d', 1)", "SELECT format('{:1000000000}', 1)", "SELECT format('{:{}}', 1, 1000000000)",
		"SELECT printf('%*d', 1000000000, 1)", "SELECT printf(a, 1) FROM t", "SELECT bitstring('1', 1000000000)", "SELECT bitstring_agg(a, 0, 1000000000) FROM t", "SELECT list_aggregate([1], a) FROM t",
		"SELECT list_aggregate([1], 'bitstring_agg', 0, 1000000)", "SELECT nosuchfunction(1)", "SELECT ܀(1)", "SELECT equi_width_bins(0, 1, 1000000000, true)",
	},
	"FORBIDDEN_STATEMENT": {
		"SELECT * FROM '/etc/passwd'", "FROM 'x.parquet'", "SELECT * FROM 's3://b/x.parquet'", "SELECT * FROM 'https://x/y.csv'", "FROM E'x.parquet'", "FROM $$x.parquet$$", "SELECT * FROM t, 'x.csv' AS y",
		"TABLE 'x.csv'", "PIVOT 'x.csv' ON a IN (1) USING sum(b)", "SELECT * FROM a.b.c", "SELECT * FROM memory.main.t", "SELECT * FROM system.information_schema.tables", "FROM \"a\".\"b\".\"c\"",
		"INSERT INTO t VALUES (1)", "UPDATE t SET a = 1", "DELETE FROM t", "CREATE TABLE t (a INT)", "CREATE MACRO now() AS 1", "CREATE FUNCTION f() AS 1", "CREATE SECRET (TYPE s3)", "CREATE VIEW v AS SELECT 1",
		"CREATE TEMP TABLE t AS SELECT 1", "DROP TABLE t", "ALTER TABLE t ADD COLUMN b INT", "COPY t TO 'x'", "COPY (SELECT 1) TO 'x.csv'", "COPY t FROM 'x'", "ATTACH 'x.db'", "DETACH x", "USE x",
		"INSTALL httpfs", "LOAD httpfs", "PRAGMA database_list", "PRAGMA enable_profiling", "SET threads = 1", "SET VARIABLE x = 1", "RESET threads", "CALL enable_logging(storage='file')", "CALL pragma_version()",
		"EXPORT DATABASE 'x'", "IMPORT DATABASE 'x'", "CHECKPOINT", "VACUUM", "ANALYZE", "PREPARE p AS SELECT 1", "EXECUTE p", "DEALLOCATE p", "BEGIN", "COMMIT", "EXPLAIN SELECT 1", "EXPLAIN ANALYZE SELECT 1",
		"DESCRIBE t", "SHOW TABLES", "SHOW ALL TABLES", "SUMMARIZE t", "SELECT * FROM (DESCRIBE t)", "SELECT * FROM (SHOW TABLES)", "SELECT * FROM (SUMMARIZE t)", "FROM (DESCRIBE SELECT 1)", "PIVOT t ON a USING sum(b)",
		"SELECT 1; SELECT 2", "SELECT 1; DROP TABLE t", "SELECT 1; CALL enable_logging(storage='file')", "; SELECT 1; SELECT 2", "SELECT 1;/**/SELECT 2", "SELECT * FROM t AT (TIMESTAMP => now())", "SELECT * FROM t AT (VERSION => 1)",
		"WITH duckdb_databases AS (SELECT 1) SELECT * FROM duckdb_databases",
		"WITH RECURSIVE pg_class AS (SELECT 1 UNION ALL SELECT 2 FROM pg_class) FROM pg_class",
		`WITH "/etc/passwd" AS (SELECT 1) SELECT * FROM "/etc/passwd"`, `WITH "x.parquet" AS (SELECT 1) SELECT 1`, "COMMENT ON TABLE t IS 'x'", "MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE", "TRUNCATE t",
	},
	"NOT_SUPPORTED_YET": {
		"SELECT a::VARIANT FROM t", "SELECT a::STRUCT(b VARIANT[]) FROM t", "SELECT a::nosuchtype FROM t", "SELECT try_cast(a AS VARIANT) FROM t",
	},
	"SYNTAX_ERROR": {
		"", " ", "-- x", ";", "SELEC 1", "SELECT", "SELECT ?", "SELECT $name", "SELECT $1, ?", "SELECT $0", "SELECT $99999999999999999999", "SELECT 1 INTO x", "SELECT 'x", "SELECT /* x", "SELECT \x00", "SELECT * FROM", "SELECT (((",
		"SELECT * FROM ()", "\\copy t", "SELECT \xff\xfe",
	},
}

func TestGateRefuses(t *testing.T) {
	e := open(t, Options{})
	n := 0
	for code, texts := range attacks {
		for _, text := range texts {
			n++
			var qe *Error
			p, err := e.Plan(text)
			if !errors.As(err, &qe) {
				t.Errorf("%q passed: %+v, %v", text, p, err)
				continue
			}
			if qe.Code != code {
				t.Errorf("%q: %s (%s), expected %s", text, qe.Code, qe.Message, code)
			}
			if qe.Pos >= len(text)+1 {
				t.Errorf("%q: position %d", text, qe.Pos)
			}
		}
	}
	if n < 250 {
		t.Fatalf("only %d attacks", n)
	}
}

// TestGatePositions: a refusal points at the word that is refused.
func TestGatePositions(t *testing.T) {
	e := open(t, Options{})
	for text, word := range map[string]string{
		"SELECT 1, getenv('HOME')":                       "getenv",
		"SELECT /* ü */ 1 FROM t, read_csv('x')":         "read_csv",
		"SELECT 'ü', a FROM 'x.csv'":                     "'x.csv'",
		"SELECT 1 + levenshtein('a', 'b')":               "levenshtein",
		"SELECT * FROM a.b.c":                            "a.b",
		"WITH x AS (SELECT version()) SELECT * FROM x":   "version",
		"SELECT * FROM t WHERE a = (SELECT sleep_ms(1))": "sleep_ms",
	} {
		var qe *Error
		if _, err := e.Plan(text); !errors.As(err, &qe) || qe.Pos != strings.Index(text, word) {
			t.Errorf("%s: %#v", text, err)
		}
	}
}

// TestGateFindsTables: what a statement reads, with the names of WITH taken out.
func TestGateFindsTables(t *testing.T) {
	e := open(t, Options{})
	for text, want := range map[string]string{
		"SELECT 1":                                                                               "",
		"SELECT * FROM a, App.B, \"A\" x":                                                        "a app.b",
		"WITH a AS (SELECT * FROM b) FROM a":                                                     "b",
		"WITH a AS (SELECT * FROM a) FROM a":                                                     "a",
		"WITH a AS (FROM b), b AS (FROM a) SELECT * FROM a, b, c":                                "b c",
		"SELECT * FROM (WITH a AS (FROM x) FROM a), a":                                           "x a",
		"WITH a AS (SELECT 1) SELECT * FROM s.a, A":                                              "s.a",
		"WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT 2 FROM r, t) FROM r":                     "t",
		"SELECT (SELECT 1 FROM a WHERE EXISTS (FROM b)) FROM c LIMIT (SELECT 1 FROM d)":          "c a b d",
		"SELECT 1 FROM a UNION SELECT 1 FROM b ORDER BY (SELECT 1 FROM c)":                       "a b c",
		"SELECT sum(x) OVER (PARTITION BY (SELECT 1 FROM a)) FROM b":                             "b a",
		"SELECT sum(x) OVER w, avg(x) OVER w FROM b WINDOW w AS (ORDER BY (SELECT 1 FROM a))":    "b a",
		"SELECT * FROM range(3), unnest([1]), (VALUES (1)) v":                                    "",
		"PIVOT a ON b IN (1) USING sum(c)":                                                       "a",
		"TABLE a":                                                                                "a",
		"FROM x : a":                                                                             "a",
		"SELECT * FROM a TABLESAMPLE 10%":                                                        "a",
		"SELECT * FROM a /* 'x' */ . /* y */ b -- c":                                             "a.b",
		"WITH RECURSIVE r(a) USING KEY (a) AS (SELECT 1 UNION SELECT 2 FROM recurring.r) FROM r": "",
		"SELECT * FROM recurring.r":                                                              "recurring.r",
		"WITH \"duc\u212Adb_databases\" AS (SELECT 1) SELECT * FROM duckdb_databases":            "duckdb_databases",
		"WITH \"v\u0130ews\" AS (SELECT 1) SELECT * FROM \"VIEWS\"":                              "views",
		"SELECT * FROM ALL_USERS(app.t) JOIN all_users (t) x ON true, t":                         "app.t t t",
		"SELECT a.upper() FROM \"Tä\"":                                                           "tä",
	} {
		p, err := e.Plan(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var got []string
		for _, r := range p.Tables() {
			got = append(got, strings.TrimPrefix(r.Namespace+"."+r.Name, "."))
		}
		slices.Sort(got)
		wanted := strings.Fields(want)
		slices.Sort(wanted)
		if !slices.Equal(got, wanted) {
			t.Errorf("%s: %v, expected %v", text, got, wanted)
		}
	}
}

// TestFunctionsAreReviewed: every function of this DuckDB is either allowed or refused for
// a reason in testdata/refused_functions, and no list has a name that DuckDB does not
// know. After an upgrade it says what is new: a function of that name goes into one of
// the lists when somebody has looked at what it does and how much it can take.
func TestFunctionsAreReviewed(t *testing.T) {
	ours := nameSet("unnest snowflake_id ulid uuid_v7 current_timestamp")
	refused := map[string]bool{}
	list, err := os.ReadFile("testdata/refused_functions")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(list)) {
		for _, name := range strings.Fields(line) {
			if line[0] != '#' {
				refused[name] = true
			}
		}
	}
	e := open(t, Options{})
	known := map[string]bool{}
	rows, err := writer().Query("SELECT DISTINCT lower(function_name) FROM duckdb_functions()")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		known[name] = true
		_, small := bounded[name]
		_, like := likeFunctions[name]
		allowed := allowedFunctions[name] || allowedTableFunctions[name] || small || like || name == "~~~"
		switch {
		case allowed && refused[name]:
			t.Errorf("%s is allowed and refused", name)
		case !allowed && !refused[name]:
			t.Errorf("%s is new: nobody has looked at it", name)
		case refused[name]:
			for _, text := range []string{"SELECT %s(1)", "SELECT x.%s() FROM t", "SELECT %s(1) OVER ()", "FROM %s('x')"} {
				if _, err := e.Plan(fmt.Sprintf(text, `"`+name+`"`)); err == nil {
					t.Errorf(text+" passed", name)
				}
			}
		}
	}
	for _, names := range []map[string]bool{allowedFunctions, allowedTableFunctions, refused} {
		for name := range names {
			if !known[name] && !ours[name] {
				t.Errorf("%s is not a function of this DuckDB", name)
			}
		}
	}
}

// TestBehindTheGate: the settings refuse what the gate should have refused.
func TestBehindTheGate(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "secret.csv")
	if err := os.WriteFile(outside, []byte("a\n1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := open(t, Options{CacheDir: dir})
	in, err := e.quick.acquire()
	if err != nil {
		t.Fatal(err)
	}
	defer e.quick.release(in)
	c := <-in.workers
	defer func() { in.workers <- c }()
	for _, q := range []string{
		"FROM read_csv(" + quote(outside) + ")", "FROM " + quote(outside), "SET threads = 4", "SET enable_external_access = true", "SET lock_configuration = false",
		"COPY (SELECT 1) TO " + quote(outside), "ATTACH " + quote(outside+".db"), "INSTALL httpfs", "LOAD httpfs", "FROM read_text('/etc/passwd')", "FROM glob('/etc/*')", "RESET allowed_directories", "FROM kalamdb_rows(0)",
	} {
		if res, err := c.execute(t.Context(), q, &statement{}, nil, (&Rows{e: e, rowsMax: 1 << 20, bytesMax: 1 << 20}).add); err == nil {
			t.Errorf("%s passed: %v", q, res)
		}
	}
}

// FuzzPlan: no text panics or slips several statements through; what passes names its
// tables by offsets inside the text.
func FuzzPlan(f *testing.F) {
	e := open(f, Options{Concurrency: 1})
	for _, texts := range attacks {
		for _, text := range texts {
			f.Add(text)
		}
	}
	f.Add("WITH a AS (SELECT * FROM b.c AS x(y)) SELECT a.*, $1 FROM a JOIN d USING (y) WHERE _deleted ORDER BY ALL LIMIT 3")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := e.Plan(text)
		if err != nil {
			var qe *Error
			if !errors.As(err, &qe) || qe.Code == "INTERNAL" {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		end := 0
		for _, r := range p.refs {
			if r.start < end || r.end <= r.start || r.end > len(text) {
				t.Fatalf("%q: table at %d to %d", text, r.start, r.end)
			}
			end = r.end
		}
	})
}

package query

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"kalamdb/row"
)

// deepText are documents of a million levels, built by SQL.
var deepText = []string{
	"string_agg('[', '') || string_agg(']', '')",
	`string_agg('{"a":', '') || '1' || string_agg('}', '')`,
}

// TestDeepJSON: what the gate lets near a JSON document does not recurse on the stack.
// The statements run in a child process, which they would take with them.
func TestDeepJSON(t *testing.T) {
	if os.Getenv("KALAMDB_DEEP") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestDeepJSON$")
		cmd.Env = append(os.Environ(), "KALAMDB_DEEP=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out[:min(len(out), 3000)])
		}
		return
	}
	e := open(t, Options{Threads: 2, QueryTimeout: 20 * time.Second})
	for _, deep := range deepText {
		for _, f := range []string{
			"json(x)", "x::JSON", "try_cast(x AS JSON)", "to_json(x::JSON)", "json_quote(x::JSON)", "x::JSON->'a'", "x::JSON->0", "x->>'$.a'", "json_extract(x, '$[0]')", "json_extract(x, '$.*')",
			"json_extract(x, ['$.a', '$[0]'])", "json_extract_string(x, '$.a')", "json_type(x)", "json_valid(x)", "json_keys(x)", "json_array_length(x)", "json_value(x, '$.a')", "json_exists(x, '$.a')",
			"json_array(x::JSON)", "json_object('a', x::JSON)", "json_group_array(x::JSON)", "json_group_object('a', x::JSON)", "row_to_json({'a': x::JSON})", "[x::JSON]::JSON", "x::JSON::INT[]",
			"x::JSON::JSON[]", "x::JSON::STRUCT(a JSON)", "x::JSON::MAP(VARCHAR, JSON)", "x::VARCHAR[][]", "x::STRUCT(a VARCHAR)", "x::MAP(VARCHAR, VARCHAR)", "(SELECT count(*) FROM json_each(x))",
		} {
			q := fmt.Sprintf("SELECT length((%s)::VARCHAR) FROM (SELECT %s AS x FROM range(1000000))", f, deep)
			if _, _, err := run(e, q, noTables); err != nil && code(err) != "INVALID_VALUE" && code(err) != "OUT_OF_MEMORY" && code(err) != "INVALID_STATEMENT" {
				t.Errorf("%s: %v", f, err)
			}
		}
	}
}

func nested(open, inner, shut string, n int) string {
	return strings.Repeat(open, n) + inner + strings.Repeat(shut, n)
}

// TestShape: a text of too many parts is told so, before it costs memory or stack.
func TestShape(t *testing.T) {
	e := open(t, Options{})
	for what, text := range map[string]string{
		"set operations": nested("SELECT 1 UNION ALL ", "SELECT 1", "", 8000),
		"conditions":     "SELECT " + nested("true AND ", "true", "", 80_000),
		"not":            "SELECT " + nested("NOT ", "true", "", 100_000),
		"plus":           "SELECT " + nested("1+", "1", "", 100_000),
		"minus":          "SELECT " + nested("- ", "1", "", 100_000),
		"cast":           "SELECT " + nested("", "1", "::INT", 100_000),
		"dots":           "SELECT a" + strings.Repeat(".a", 100_000),
		"case":           "SELECT " + nested("CASE WHEN true THEN ", "1", " END", 20_000),
		"parentheses":    "SELECT " + nested("(", "1", ")", 100_000),
		"lists":          "SELECT " + nested("[", "1", "]", 100_000),
		"joins":          "SELECT 1 FROM " + nested("range(1), ", "range(1)", "", 50_000),
		"types":          "SELECT NULL::INT" + strings.Repeat("[]", 300_000),
		"rollup":         "SELECT 1 FROM t GROUP BY ROLLUP(" + nested("a, ", "a", "", 1000) + ")",
		"cube":           "SELECT 1 FROM t GROUP BY CUBE(" + nested("a, ", "a", "", 12) + ")",
		"grouping sets":  "SELECT 1 FROM t GROUP BY GROUPING SETS (" + nested("(a), ", "(a)", "", 5000) + ")",
		"cubes":          "SELECT 1 FROM t GROUP BY " + nested("CUBE(a, b, c), ", "ROLLUP(a, b)", "", 5),
		"unions of cube": nested("SELECT 1 FROM t GROUP BY CUBE(a, b, c, d) UNION ALL ", "SELECT 1", "", 400),
		"words":          "SELECT 1 IN (" + nested("1,", "1", "", 300_000) + ")",
	} {
		if _, err := e.Plan(text); code(err) != "TOO_LARGE" {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, text := range map[string]string{
		"in list":    "SELECT 1 IN (" + nested("-1,", "1", "", 10_000) + ")",
		"values":     "VALUES " + nested("(1, 'a', -2),", "(1, 'b', 2)", "", 10_000),
		"conditions": "SELECT " + nested("true AND ", "true", "", 1000),
		"cube":       "SELECT 1 FROM t GROUP BY CUBE(a, b), ROLLUP(coalesce(a, b), c), GROUPING SETS ((a), (), (a, b)), d",
		"rollup":     "SELECT 1 FROM t GROUP BY ROLLUP(" + nested("a, ", "a", "", 200) + ")",
		"union":      nested("SELECT 1 UNION ALL ", "SELECT 1", "", 200),
	} {
		if _, err := e.Plan(text); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestLike: every pattern that passes answers like DuckDB's LIKE, in linear time.
func TestLike(t *testing.T) {
	e := open(t, Options{QueryTimeout: 20 * time.Second})
	text := func(s string) []row.Value { return []row.Value{row.TextValue(s)} }
	num := func(n int64) []row.Value { return []row.Value{row.IntValue(row.BigInt, n)} }
	for _, c := range []struct {
		expr   string
		params []row.Value
		want   string
	}{
		{"'abc' LIKE 'a%'", nil, "true"}, {"'abc' LIKE 'a_c'", nil, "true"}, {"'abc' NOT LIKE 'a_c'", nil, "false"}, {"'aüc' LIKE 'a_c'", nil, "true"}, {"'a\nc' LIKE 'a_c'", nil, "true"},
		{"'a\nbc' ILIKE 'A%C'", nil, "true"}, {"'abc' NOT ILIKE 'A_c'", nil, "false"}, {"'a.c' LIKE 'a._'", nil, "true"}, {"'abc' LIKE 'a._'", nil, "false"}, {`'a\c' LIKE 'a\_'`, nil, "true"},
		{"'a%c' LIKE 'a$%_' ESCAPE '$'", nil, "true"}, {"'abc' LIKE 'a$%c' ESCAPE '$'", nil, "false"}, {"'a_c' NOT LIKE 'a$_c' ESCAPE '$'", nil, "false"}, {"'a_C' ILIKE 'A$_c' ESCAPE '$'", nil, "true"},
		{"'it''s' LIKE '_t''s'", nil, "true"}, {"NULL LIKE 'a_'", nil, "null"}, {"'a' LIKE ''", nil, "false"}, {"'' LIKE '_%'", nil, "false"},
		{"'abc' LIKE $1", text("a%c"), "true"}, {"'abc' LIKE '%' || $1 || '%'", text("b"), "true"}, {"'abc' ILIKE ('%' || $1)", text("C"), "true"}, {"'abc' NOT LIKE $1", text("'); --"), "true"},
		{"'abc' LIKE $1::VARCHAR", text("a_c"), "true"}, {"'abc' LIKE '%' || CAST($1 AS TEXT) || '%'", text("b"), "true"}, {"'abc' LIKE (('%' || ($1)::text) || '%')", text("b"), "true"},
		{"'abc' LIKE concat('%', $1, '_')", text("b"), "true"}, {"'abc' NOT ILIKE concat('%', $1::TEXT, '_') AND true", text("C"), "true"}, {"('a1c' LIKE concat('a', $1) || '%')", num(1), "true"},
		{"'a1c' LIKE 'a' || $1::VARCHAR || '_'", num(1), "true"}, {"'abc' LIKE concat($1, '%')", []row.Value{row.NullValue}, "true"}, {"'abc' LIKE CAST(($1) AS VARCHAR)", []row.Value{row.NullValue}, "null"},
		{"'abc' LIKE $1", []row.Value{row.NullValue}, "null"}, {"'a+b' LIKE $1 || '%'", text("a+"), "true"}, {"'abc' ~~ 'a%'", nil, "true"}, {"'abc' GLOB 'a*[bc]'", nil, "true"}, {"('abc' LIKE 'a_c') = true", nil, "true"},
		{"repeat('a', 5000) LIKE '%a_%a_%a_%a_%a_%a_%a_%b'", nil, "false"}, {"repeat('a', 5000) LIKE '%a%a%a%a%a%a%a%b'", nil, "false"}, {"repeat('a', 5000) ILIKE '%A%a%a%a%a%a%a%b'", nil, "false"},
		{"repeat('a', 5000) LIKE $1", text("%a_%a_%a_%a_%a_%a_%a_%b"), "false"}, {"repeat('a', 5000) SIMILAR TO '.*a.+a.+a.+a.+a.+a.+a.+b'", nil, "false"},
		{"regexp_matches(repeat('a', 5000), '(?s)a.*a.*a.*a.*a.*a.*a.*a.b')", nil, "false"}, {"regexp_full_match(repeat('a', 5000), '.*a.*a.*a.*a.*a.*a.*a.b')", nil, "false"},
	} {
		start := time.Now()
		lines, _, err := run(e, "SELECT "+c.expr+" AS x", noTables, c.params...)
		if err != nil || lines[0] != c.want || time.Since(start) > 5*time.Second {
			t.Errorf("%s: %v, %v after %v", c.expr, lines, err, time.Since(start))
		}
	}
	for expr, want := range map[string]string{
		"a LIKE concat('x', b)": "FORBIDDEN_FUNCTION", "a LIKE concat(concat('x', '_'), 'y')": "FORBIDDEN_FUNCTION", "a LIKE '_'::INT::VARCHAR": "FORBIDDEN_FUNCTION", "a LIKE concat('x', '_', ',', b)": "FORBIDDEN_FUNCTION", "a LIKE concat()": "FORBIDDEN_FUNCTION", "a LIKE $1::VARCHAR(3)": "FORBIDDEN_FUNCTION", "a LIKE $1::INT": "FORBIDDEN_FUNCTION",
		"a LIKE b": "FORBIDDEN_FUNCTION", "a LIKE 'x' || b": "FORBIDDEN_FUNCTION", "a ILIKE lower($1)": "FORBIDDEN_FUNCTION", "a ~~ 'x_'": "FORBIDDEN_FUNCTION", "a ~~* 'x'": "FORBIDDEN_FUNCTION", "a GLOB '*a*'": "FORBIDDEN_FUNCTION",
		"a GLOB $1": "FORBIDDEN_FUNCTION", "a LIKE (SELECT 'x')": "FORBIDDEN_FUNCTION", "a LIKE CASE WHEN true THEN 'x' END": "FORBIDDEN_FUNCTION", "a LIKE 'x' ESCAPE b": "FORBIDDEN_FUNCTION", "like_escape(a, 'x_', '$')": "FORBIDDEN_FUNCTION",
		`"~~"(a, b)`: "FORBIDDEN_FUNCTION", "a LIKE 'x$' ESCAPE '$'": "INVALID_VALUE", "a LIKE '_' || '" + strings.Repeat("x", 1000) + "'": "TOO_LARGE", "a LIKE $1 COLLATE nocase": "FORBIDDEN_FUNCTION",
	} {
		if _, err := e.Plan("SELECT " + expr + " FROM t"); code(err) != want {
			t.Errorf("%s: %v", expr, err)
		}
	}
	for _, p := range [][]row.Value{text(strings.Repeat("x", 1001)), {row.IntValue(row.BigInt, 1)}, text("a\x00b")} {
		if _, _, err := run(e, "SELECT 'a' LIKE $1", noTables, p...); code(err) == "<nil>" || code(err) == "INTERNAL" {
			t.Errorf("%v: %v", p, err)
		}
	}
	if f, err := e.PlanLive("SELECT * FROM t WHERE a LIKE b"); err == nil {
		t.Errorf("live: %v", f)
	}
}

// TestFoldIsASCII: DuckDB's names fold by ASCII, so ours do.
func TestFoldIsASCII(t *testing.T) {
	for s, want := range map[string]string{"": "", "aBZ_9": "abz_9", "\u212A": "\u212A", "\u0130X": "\u0130x", "Ä": "Ä"} {
		if got := fold(s); got != want {
			t.Errorf("%q folds to %q", s, got)
		}
	}
	e := open(t, Options{})
	p, err := e.Plan("WITH \"\u212Aa\" AS (SELECT 1) SELECT * FROM ka")
	if err != nil || len(p.Tables()) != 1 || p.Tables()[0].Name != "ka" {
		t.Fatal(p, err)
	}
}

// bypass runs text without the gate.
func bypass(ctx context.Context, e *Engine, text string) error {
	rows, err := e.Query(ctx, &Plan{text: text, end: len(text), limited: true}, nil, nil, Session{})
	if err == nil {
		rows.Close()
	}
	return err
}

// stuckText takes minutes within one call of one row, deaf to interrupts.
const stuckText = "SELECT levenshtein(string_agg('a', ''), string_agg('b', '')) FROM range(%d)"

// TestStuck: a statement that does not stop when it is told to loses its turn, others
// get an answer meanwhile, and too many of them make the engine unready.
func TestStuck(t *testing.T) {
	e := open(t, Options{Concurrency: 1, QueryTimeout: 100 * time.Millisecond})
	text := fmt.Sprintf(stuckText, 60_000)
	start := time.Now()
	if err := bypass(t.Context(), e, text); code(err) != "STATEMENT_TIMEOUT" || time.Since(start) > stuckGrace+3*time.Second {
		t.Fatalf("%v after %v", err, time.Since(start))
	}
	if lines, _, err := run(e, "SELECT 42", noTables); err != nil || lines[0] != "42" {
		t.Fatal(lines, err)
	}
	if err := e.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.mu.Lock()
	left := len(e.stuck)
	for len(e.stuck) < stuckMax { // stand-ins: real ones would each take a core
		e.stuck[&flight{done: make(chan struct{})}] = struct{}{}
	}
	e.mu.Unlock()
	if left != 1 {
		t.Errorf("%d statements are left behind", left)
	}
	if err := e.Ready(t.Context()); code(err) != "NOT_READY" {
		t.Error(err)
	}
	if _, _, err := run(e, "SELECT 42", noTables); code(err) != "NOT_READY" {
		t.Error(err)
	}
	start = time.Now()
	if err := e.awaitStuck(); !errors.Is(err, errStuck) || time.Since(start) > closeWaitMax+time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	e.mu.Lock()
	var real *flight
	for r := range e.stuck {
		if r.in == nil {
			delete(e.stuck, r)
			continue
		}
		real = r
	}
	e.mu.Unlock()
	if real != nil {
		<-real.done
	}
	if err := e.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestOpenResults: results nobody reads count until they are closed.
func TestOpenResults(t *testing.T) {
	e := open(t, Options{OpenResultBytesMax: 4 << 20})
	p, err := e.Plan("SELECT lpad('x', 1000, 'y') AS a FROM range(2000)")
	if err != nil {
		t.Fatal(err)
	}
	var all []*Rows
	for range 10 {
		rows, err := e.Query(t.Context(), p, nil, nil, Session{})
		if code(err) == "BUSY" {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rows)
	}
	if len(all) < 2 || len(all) > 3 {
		t.Errorf("%d results of 2 MB within 4 MiB", len(all))
	}
	all[0].Close()
	for all[1].Next() {
	}
	for _, r := range all {
		r.Close()
		r.Close()
	}
	if n := e.open.Load(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
	for _, text := range []string{"SELECT lpad('x', 10000, 'y') FROM range(2000)", "SELECT 1/0, error('x')"} {
		if _, _, err := run(e, text, noTables); err == nil || e.open.Load() != 0 {
			t.Errorf("%v, %d bytes are left", err, e.open.Load())
		}
	}
}

func TestUnnests(t *testing.T) {
	e := open(t, Options{})
	for text, want := range map[string]bool{
		"SELECT unnest([1, 2])": true, "SELECT 1 + unnest([1, 2])": true, "SELECT generate_subscripts([1], 1)": true, "SELECT UNNEST(a) FROM t": true, "SELECT 1 + (unnest(a) IN (SELECT 1)) FROM t": true,
		"SELECT 1": false, "SELECT (SELECT sum(x) FROM unnest([1, 2]) u(x))": false, "SELECT (SELECT sum(x) FROM (SELECT unnest(a) AS x)) FROM t": false, "SELECT a FROM t, unnest(t.a)": false,
	} {
		if p, err := e.Plan(text); err != nil || p.Unnests() != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestHint: a name is no hint for itself.
func TestHint(t *testing.T) {
	e := open(t, Options{})
	_, _, err := run(e, "SELECT x._seq FROM (SELECT * FROM t) x", func(TableRef) *Relation { return smallTable(1) })
	var qe *Error
	if !errors.As(err, &qe) || qe.Code != "COLUMN_NOT_FOUND" || qe.Details != "" {
		t.Errorf("%#v", err)
	}
}

// TestQuotes: what DuckDB takes for the end of a quote is one for us, so that a parameter
// gets the client's value and never one of ours, such as the path of a file.
func TestQuotes(t *testing.T) {
	e := open(t, Options{CacheDir: t.TempDir()})
	rel := smallTable(1)
	rel.Files = []File{writeFile(t, e.o.CacheDir, rel.Schema, []row.Row{{Seq: 1, Values: benchValues(0)}})}
	rel.Hot = nil
	for text, want := range map[string]string{
		"SELECT E'x'\n'\\' ', $1 /*'*/ FROM t":                           `"x' " "mine"`,
		"SELECT E'x' -- '\n'\\' ', $1 /*'*/ FROM t":                      `"x' " "mine"`,
		"SELECT 'x\\', $1 /*'*/ FROM t":                                  `"x\\" "mine"`,
		"SELECT $a$ $1 $a$, $1 /*$a$*/ FROM t":                           `" $1 " "mine"`,
		"SELECT /* /* ' */ */ $1 /*'*/ FROM t":                           `"mine"`,
		"SELECT \"$1\", $1 /*\"*/ FROM (SELECT 1 AS \"$1\", * FROM t) x": `1 "mine"`,
		"SELECT 'a_b' LIKE 'a_'\n'b', $1 FROM t":                         "FORBIDDEN_FUNCTION",
		"SELECT a\u00a0FROM t":                                           "SYNTAX_ERROR",
		"SELECT 1e'\\', $1 /*'*/ FROM t":                                 "SYNTAX_ERROR",
	} {
		lines, _, err := run(e, text, func(TableRef) *Relation { return rel }, row.TextValue("mine"))
		if err != nil {
			lines = []string{code(err)}
		}
		if len(lines) != 1 || lines[0] != want {
			t.Errorf("%q: %q, expected %q (%v)", text, lines, want, err)
		}
	}
	if _, err := e.PlanLive("SELECT * FROM t WHERE\u00a0a = 1"); code(err) != "SYNTAX_ERROR" {
		t.Error(err)
	}
}

package query

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"kalamdb/row"
)

var liveSchema = &row.Schema{Version: 1, Key: []row.ColumnID{1}, Columns: []row.Column{
	{ID: 1, Name: "i", Type: row.Type{Kind: row.BigInt}, NotNull: true},
	{ID: 2, Name: "s", Type: row.Type{Kind: row.SmallInt}},
	{ID: 3, Name: "t", Type: row.Type{Kind: row.Text}},
	{ID: 4, Name: "b", Type: row.Type{Kind: row.Boolean}},
	{ID: 5, Name: "ts", Type: row.Type{Kind: row.Timestamp}},
	{ID: 6, Name: "d", Type: row.Type{Kind: row.Date}},
	{ID: 7, Name: "u", Type: row.Type{Kind: row.UUID}},
	{ID: 8, Name: "f", Type: row.Type{Kind: row.Double}},
	{ID: 9, Name: "j", Type: row.Type{Kind: row.JSON}},
	{ID: 10, Name: "i2", Type: row.Type{Kind: row.BigInt}},
	{ID: 11, Name: "t2", Type: row.Type{Kind: row.Text}},
}}

// Values and constants are drawn from the same few, so that they often meet.
var (
	liveInts  = []string{"0", "1", "-1", "32767", "9223372036854775807", "-9223372036854775808", "5"}
	liveTexts = []string{"", "a", "A", "ä", "ab", "a b", "it's", "\u00e4", "zz", "NULL"}
	liveTimes = []string{"2026-01-02 03:04:05", "1970-01-01 00:00:00", "2026-01-02T03:04:05.000001", "2026-01-02", "0001-01-01 00:00:00", "2026-01-02 03:04:05+02", "infinity"}
	liveDates = []string{"2026-01-02", "1970-01-01", "0001-01-01"}
	liveUUIDs = []string{"00000000-0000-0000-0000-000000000000", "80000000-0000-0000-0000-000000000001", "7fffffff-ffff-ffff-ffff-ffffffffffff"}
	liveNums  = []string{"0", "1.5", "1e3", "-1", "1e300", "0.1"}
)

func drawPredicate(t *rapid.T, depth int) string {
	op := func() string {
		return rapid.SampledFrom([]string{"=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM"}).Draw(t, "op")
	}
	text := func(l []string) string { return quote(rapid.SampledFrom(l).Draw(t, "text")) }
	num := func(l []string) string { return rapid.SampledFrom(l).Draw(t, "num") }
	if depth > 0 {
		switch rapid.IntRange(0, 5).Draw(t, "join") {
		case 0:
			return "(" + drawPredicate(t, depth-1) + " AND " + drawPredicate(t, depth-1) + ")"
		case 1:
			return "(" + drawPredicate(t, depth-1) + " OR " + drawPredicate(t, depth-1) + ")"
		case 2:
			return "NOT (" + drawPredicate(t, depth-1) + ")"
		}
	}
	switch rapid.IntRange(0, 15).Draw(t, "leaf") {
	case 0:
		return "i " + op() + " " + num(liveInts)
	case 1:
		return "s " + op() + " " + num(liveInts)
	case 2:
		return "x.t " + op() + " " + text(liveTexts)
	case 3:
		return "b"
	case 4:
		return "ts " + op() + " TIMESTAMP " + text(liveTimes)
	case 5:
		return "ts " + op() + " " + text(liveTimes)
	case 6:
		return "d " + op() + " DATE " + text(liveDates)
	case 7:
		return "u " + op() + " " + text(liveUUIDs)
	case 8:
		return "f " + op() + " " + num(liveNums)
	case 9:
		return rapid.SampledFrom([]string{"i", "s", "t", "b", "ts", "d", "u", "f", "j"}).Draw(t, "col") + rapid.SampledFrom([]string{" IS NULL", " IS NOT NULL"}).Draw(t, "null")
	case 10:
		return "i IN (" + num(liveInts) + ", " + num(liveInts) + ", NULL)"
	case 11:
		return "t NOT IN (" + text(liveTexts) + ", " + text(liveTexts) + ")"
	case 12:
		return "i BETWEEN " + num(liveInts) + " AND " + num(liveInts)
	case 13:
		return "i " + op() + " i2"
	case 14:
		return "t " + op() + " t2"
	}
	return num([]string{"_seq > 3", "_deleted", "NOT _deleted", "b = TRUE", "t = CURRENT_USER()", "upper(t) = 'A'", "t LIKE 'a%'", "i + 1 > 3", "_updated > '1970-01-01'", "NULL", "TRUE", "j->>'a' = '1'"})
}

func drawRow(t *rapid.T, n int) *row.Row {
	r := &row.Row{Seq: row.Seq(n + 1), Updated: int64(n) * 1_000_000, Schema: 1, Deleted: rapid.Bool().Draw(t, "deleted")}
	draw := func(i int, l []string) row.Value {
		s := rapid.SampledFrom(l).Draw(t, "value")
		if liveSchema.Columns[i].Type.Kind == row.Double {
			f, err := strconv.ParseFloat(s, 64)
			if err != nil {
				t.Fatal(err)
			}
			return row.DoubleValue(f)
		}
		v, err := row.Coerce(row.TextValue(s), liveSchema.Columns[i].Type)
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		return v
	}
	for i, l := range [][]string{liveInts, {"0", "1", "-1", "32767"}, liveTexts, {"true", "false"}, liveTimes[:5], liveDates, liveUUIDs, {"0", "1.5", "1000", "NaN", "-1"}, {`{"a": 1}`, "null"}, liveInts, liveTexts} {
		if i > 0 && rapid.IntRange(0, 4).Draw(t, "null") == 0 {
			r.Values = append(r.Values, row.NullValue)
			continue
		}
		r.Values = append(r.Values, draw(i, l))
	}
	return r
}

// TestFilterAgreesWithDuckDB compares the compiled condition with DuckDB's answer.
func TestFilterAgreesWithDuckDB(t *testing.T) {
	e := open(t, Options{})
	compiled, all := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		where := drawPredicate(t, 3)
		lp, err := e.PlanLive("SELECT * FROM app.m AS x WHERE " + where)
		if err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		var rows []*row.Row
		for n := range rapid.IntRange(1, 20).Draw(t, "rows") {
			rows = append(rows, drawRow(t, n))
		}
		all++
		f, err := e.Filter(lp, liveSchema, true, testSession())
		if err != nil {
			return // DuckDB refuses it: nobody can subscribe
		}
		got, err := f.Match(context.Background(), rows)
		if f.match == nil {
			return
		}
		compiled++
		want, err2 := f.ask(context.Background(), f.plan, rows)
		if err != nil || err2 != nil {
			t.Fatalf("%s: %v, %v", where, err, err2)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("%s on %v: compiled %v, DuckDB %v", where, rows[i], got[i], want[i])
			}
		}
	})
	if compiled*3 < all {
		t.Fatalf("only %d of %d conditions were compiled", compiled, all)
	}
}

func TestFilterByDuckDB(t *testing.T) {
	e := open(t, Options{})
	lp, err := e.PlanLive(`SELECT i, t AS "T x" FROM app.m WHERE app.m.t LIKE 'a%' AND i % 3 = 0`)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(lp.Namespace, ".", lp.Table, lp.Columns, strings.Join(lp.Aliases, "|"), "|", lp.Where); got != "app.m[i t]i|T x|app.m.t LIKE 'a%' AND i % 3 = 0" {
		t.Fatal(got)
	}
	f, err := e.Filter(lp, liveSchema, true, testSession())
	if err != nil || f.match != nil {
		t.Fatal(f, err)
	}
	var rows []*row.Row
	for i := range 5000 {
		r := &row.Row{Seq: 1, Schema: 1, Values: make([]row.Value, len(liveSchema.Columns))}
		r.Values[0], r.Values[2] = row.IntValue(row.BigInt, int64(i)), row.TextValue([]string{"ab", "b"}[i/3%2])
		rows = append(rows, r)
	}
	got, err := f.Match(t.Context(), rows)
	if err != nil {
		t.Fatal(err)
	}
	for i, ok := range got {
		if ok != (i%3 == 0 && i/3%2 == 0) {
			t.Fatalf("row %d: %v", i, ok)
		}
	}
}

func TestPlanLiveRefuses(t *testing.T) {
	e := open(t, Options{})
	for _, text := range []string{
		"SELECT count(*) FROM t", "SELECT a + 1 FROM t", "SELECT * FROM t, u", "SELECT * FROM t JOIN u USING (a)", "SELECT * FROM (SELECT 1)",
		"SELECT * FROM t LIMIT 1", "SELECT * FROM t ORDER BY a", "SELECT DISTINCT a FROM t", "SELECT a FROM t GROUP BY a", "SELECT * FROM t WHERE a IN (SELECT 1)",
		"SELECT * FROM t WHERE EXISTS (SELECT 1)", "WITH x AS (SELECT 1) SELECT * FROM x", "SELECT * FROM t UNION SELECT * FROM t", "FROM t", "TABLE t",
		"SELECT * EXCLUDE (a) FROM t", "SELECT *, a FROM t", "SELECT * FROM t WHERE a = $1", "SELECT * FROM t TABLESAMPLE 10%", "SELECT a FROM t GROUP BY ALL",
		"SELECT * FROM t WHERE row_number() OVER () = 1", "SELECT 1", "SELECT * FROM range(3)", "SELECT * FROM t x(a)", "(SELECT * FROM t WHERE a = 1)",
		"SELECT * FROM t HAVING a > 1", "SELECT * FROM t QUALIFY a > 1", "SELECT * FROM t USING SAMPLE 3", "VALUES (1)",
	} {
		var qe *Error
		if lp, err := e.PlanLive(text); !errors.As(err, &qe) || qe.Code != "FORBIDDEN_STATEMENT" {
			t.Errorf("%s: %+v, %v", text, lp, err)
		}
	}
	lp, err := e.PlanLive("SELECT * FROM app.m WHERE tx = 'a'")
	if err != nil {
		t.Fatal(err)
	}
	var qe *Error
	if _, err := e.Filter(lp, liveSchema, true, testSession()); !errors.As(err, &qe) || qe.Code != "COLUMN_NOT_FOUND" || qe.Pos != 26 {
		t.Errorf("%#v", err)
	}
}

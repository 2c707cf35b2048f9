package query

import (
	"errors"
	"fmt"
	"strings"
	"testing"

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
	if err != nil || f.match == nil || f.duck == nil {
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

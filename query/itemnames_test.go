package query

import (
	"errors"
	"strings"
	"testing"

	"kalamdb/row"
)

// TestItemNames: an unnamed item of a select list never shows what was spliced into it.
func TestItemNames(t *testing.T) {
	e := open(t, Options{})
	rel := &Relation{System: true, Schema: &row.Schema{Key: []row.ColumnID{1}, Columns: []row.Column{
		{ID: 1, Name: "k", Type: row.Type{Kind: row.Int}}, {ID: 2, Name: "v", Type: row.Type{Kind: row.Text}},
	}}}
	one := []row.Value{row.TextValue("a")}
	for _, c := range []struct {
		text   string
		params []row.Value
		want   string // names, with a bar between them
	}{
		{"SELECT (SELECT count(*) FROM app.s)", nil, "(SELECT count(*) FROM app.s)"},
		{"SELECT (SELECT count(*)\n\t FROM /* x */ app.s), k FROM t", nil, "(SELECT count(*) FROM app.s)|k"},
		{"SELECT k, k + (SELECT 1 FROM s) + 2, (SELECT 1 FROM s) AS y FROM t", nil, "k|k + (SELECT 1 FROM s) + 2|y"},
		{"SELECT ALL EXISTS(FROM s) FROM t", nil, "EXISTS(FROM s)"},
		{"SELECT DISTINCT ON (k, (SELECT 1 FROM s)) k IN (SELECT k FROM s), * FROM t", nil, "k IN (SELECT k FROM s)|k|v|_updated|_deleted"},
		{"SELECT k IS DISTINCT FROM (SELECT k FROM s), 1 FROM t", nil, "k IS DISTINCT FROM (SELECT k FROM s)|1"},
		{"FROM t SELECT {'from': 1, 'n': (SELECT max(k) FROM s)}, [(SELECT 1 FROM s)]", nil, "{'from': 1, 'n': (SELECT max(k) FROM s)}|[(SELECT 1 FROM s)]"},
		{"SELECT * FROM (SELECT (SELECT 1 FROM s) FROM t)", nil, "(SELECT 1 FROM s)"},
		{"SELECT (SELECT (SELECT 1 FROM s) FROM t) UNION ALL SELECT (SELECT 2 FROM t)", nil, "(SELECT (SELECT 1 FROM s) FROM t)"},
		{"WITH c AS (SELECT (SELECT 1 FROM s)) SELECT * FROM c", nil, "(SELECT 1 FROM s)"},
		{"SELECT app.t.k, max(app.t.k) + 1, count(*) FROM app.t GROUP BY app.t.k", nil, "k|max(app.t.k) + 1|count_star()"},
		{"SELECT v LIKE 'a_', v LIKE $1, v LIKE 'a%' FROM t", one, "v LIKE 'a_'|v LIKE $1|(v ~~ 'a%')"},
		{"SELECT array_distance([1.0, 2.0], [3.0, 4.0])", nil, "array_distance([1.0, 2.0], [3.0, 4.0])"},
		{`SELECT "k" = (SELECT max("k") FROM "t") FROM t`, nil, `"k" = (SELECT max("k") FROM "t")`},
		{"SELECT (SELECT 1 FROM s WHERE v = '" + strings.Repeat("é", 200) + "')", nil, "(SELECT 1 FROM s WHERE v = '" + strings.Repeat("é", 86) + "…"},
		{"SELECT v LIKE 'a_', count(*) FROM t GROUP BY v LIKE 'a_' ORDER BY v LIKE 'a_'", nil, "v LIKE 'a_'|count_star()"},
		// The subquery is not among the words of the item.
		{"SELECT sum(k) OVER w FROM t WINDOW w AS (PARTITION BY (SELECT max(k) FROM s))", nil, "column1"},
	} {
		_, columns, err := run(e, c.text, func(TableRef) *Relation { return rel }, c.params...)
		var names []string
		for _, col := range columns {
			names = append(names, col.Name)
		}
		if got := strings.Join(names, "|"); err != nil || got != c.want {
			t.Errorf("%s: %s, %v\nwant %s", c.text, got, err, c.want)
		}
	}
}

// TestTooLargeNumber: a number that is an infinity to DuckDB is the client's mistake.
func TestTooLargeNumber(t *testing.T) {
	e := open(t, Options{})
	for text, pos := range map[string]int{
		"SELECT 1e400": 7, "SELECT 2, -1E+400": 11, "SELECT 1, 1_0e4_00::DOUBLE": 10, "SELECT '1e400', 1.5e999": 16, "SELECT 1e-400, 1e400": 15,
		"SELECT " + strings.Repeat("9", 400): 7,
	} {
		_, err := e.Plan(text)
		var qe *Error
		if !errors.As(err, &qe) || qe.Code != "INVALID_VALUE" || qe.Pos != pos {
			t.Errorf("%s: %+v", text, err)
		}
	}
	if _, err := e.Plan("SELECT 1e308, -1e-400, 'inf'::DOUBLE"); err != nil {
		t.Error(err)
	}
}

// TestPivotNeedsValues: DuckDB makes several statements of a PIVOT without IN.
func TestPivotNeedsValues(t *testing.T) {
	e := open(t, Options{})
	for _, text := range []string{"PIVOT t ON a USING sum(b)", "SELECT * FROM (PIVOT t ON a USING sum(b))"} {
		_, err := e.Plan(text)
		var qe *Error
		if !errors.As(err, &qe) {
			t.Fatalf("%s: %v", text, err)
		}
		if qe.Code != "FORBIDDEN_STATEMENT" || !strings.Contains(qe.Details, "IN (") || !strings.HasPrefix(text[qe.Pos:], "PIVOT") {
			t.Errorf("%s: %+v", text, qe)
		}
	}
}

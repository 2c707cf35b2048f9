package query

import (
	"fmt"
	"testing"

	"kalamdb/row"
)

// TestTop: when a relation hears that only its first rows matter.
func TestTop(t *testing.T) {
	e := open(t, Options{})
	schema := &row.Schema{Version: 1, Columns: []row.Column{
		{ID: 1, Name: "a", Type: row.Type{Kind: row.BigInt}}, {ID: 2, Name: "b", Type: row.Type{Kind: row.BigInt}}}}
	for text, want := range map[string]string{
		"SELECT * FROM t ORDER BY a LIMIT 3":                                            "[{a false}] 3",
		"FROM t ORDER BY B DESC, a LIMIT 3 OFFSET 4":                                    "[{b true} {a false}] 7",
		"SELECT b, t.a FROM t ORDER BY a DESC LIMIT $1":                                 "[{a true}] 5",
		"SELECT * EXCLUDE (b) FROM t AS x ORDER BY a LIMIT 0":                           "[{a false}] 0",
		"SELECT count(*) FROM (SELECT * FROM t ORDER BY a LIMIT 2)":                     "[{a false}] 2",
		"WITH x AS (SELECT a FROM t ORDER BY a LIMIT 2) FROM x ORDER BY a LIMIT 1":      "[{a false}] 2",
		"SELECT * FROM t ORDER BY a":                                                    "",
		"SELECT * FROM t LIMIT 3":                                                       "",
		"SELECT * FROM t ORDER BY a NULLS FIRST LIMIT 3":                                "",
		"SELECT * FROM t ORDER BY -a LIMIT 3":                                           "",
		"SELECT * FROM t ORDER BY 1 LIMIT 3":                                            "",
		"SELECT * FROM t ORDER BY ALL LIMIT 3":                                          "",
		"SELECT * FROM t ORDER BY a LIMIT 10%":                                          "",
		"SELECT * FROM t ORDER BY a LIMIT 20000":                                        "",
		"SELECT * FROM t ORDER BY a LIMIT (SELECT 1)":                                   "",
		"SELECT * FROM t WHERE b = 1 ORDER BY a LIMIT 3":                                "",
		"SELECT DISTINCT b FROM t ORDER BY b LIMIT 3":                                   "",
		"SELECT DISTINCT ON (b) a, b FROM t ORDER BY b LIMIT 3":                         "",
		"SELECT b AS a FROM t ORDER BY a LIMIT 3":                                       "",
		"SELECT b AS A, * FROM t ORDER BY a LIMIT 3":                                    "",
		"SELECT * RENAME (b AS a, a AS c) FROM t ORDER BY a LIMIT 3":                    "",
		"SELECT * REPLACE (b AS a) FROM t ORDER BY a LIMIT 3":                           "",
		"SELECT -a AS c FROM t ORDER BY a LIMIT 3":                                      "",
		"SELECT count(*) FROM t ORDER BY a LIMIT 3":                                     "",
		"SELECT unnest([1, 2]), a FROM t ORDER BY a LIMIT 3":                            "",
		"SELECT a FROM t GROUP BY a ORDER BY a LIMIT 3":                                 "",
		"SELECT a FROM t GROUP BY ALL ORDER BY a LIMIT 3":                               "",
		"SELECT a FROM t QUALIFY row_number() OVER (ORDER BY b) = 1 ORDER BY a LIMIT 3": "",
		"SELECT * FROM t AS x(b, a) ORDER BY a LIMIT 3":                                 "",
		"SELECT * FROM t USING SAMPLE 5 ORDER BY a LIMIT 3":                             "",
		"SELECT * FROM t TABLESAMPLE 50% ORDER BY a LIMIT 3":                            "",
		"SELECT t.a FROM t, range(2) ORDER BY a LIMIT 3":                                "",
		"SELECT x.a FROM t AS x JOIN t AS y USING (a) ORDER BY a LIMIT 3":               "",
		"(SELECT a FROM t) UNION ALL (SELECT b FROM t) ORDER BY a LIMIT 3":              "",
	} {
		got := ""
		rel := &Relation{Schema: schema, Narrow: func(_ []Condition, top *Top) Hot {
			if top != nil {
				got = fmt.Sprint(top.By, " ", top.Rows)
			}
			return one{}
		}}
		var params []row.Value
		p, err := e.Plan(text)
		if err == nil && p.Params() > 0 {
			params = []row.Value{row.IntValue(row.BigInt, 5)}
		}
		if err == nil {
			_, _, err = run(e, text, func(TableRef) *Relation { return rel }, params...)
		}
		if err != nil && want != "" {
			t.Errorf("%s: %v", text, err)
		}
		if got != want {
			t.Errorf("%s: %q, expected %q", text, got, want)
		}
	}
}

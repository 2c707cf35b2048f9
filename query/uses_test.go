package query

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestUsesOfColumns: which columns of t a statement may use; * is all.
func TestUsesOfColumns(t *testing.T) {
	e := open(t, Options{})
	for _, c := range []struct{ text, want string }{
		{"SELECT a FROM t", "a"},
		{"SELECT sum(A) FROM app.t WHERE \"B\" > 1 AND t.c < 2", "a b c t"},
		{"SELECT count(*) FROM t", ""},
		{"SELECT 1 FROM t ORDER BY d", "d"},
		{"SELECT app.t.a FROM app.t", "a app t"},
		{"SELECT * FROM t", "*"},
		{"SELECT * EXCLUDE (a) FROM t", "*"},
		{"SELECT t.* FROM t", "*"},
		{"SELECT s.*, x.a FROM s, t AS x", "a x"},
		{"SELECT COLUMNS('a') FROM t", "*"},
		{"FROM t", "*"},
		{"TABLE t", "*"},
		{"SELECT t FROM t", "*"},
		{"SELECT x FROM t AS x", "*"},
		{"SELECT count(DISTINCT t) FROM t", "*"},
		{"SELECT a FROM t AS x(a)", "*"},
		{"SELECT a FROM t NATURAL JOIN s", "*"},
		{"SELECT s.a FROM s JOIN t USING (b, c)", "a b c s"},
		{"SELECT (SELECT max(o.z) FROM s o WHERE o.k = t.k) FROM t", "k o t z"},
		{"SELECT list_transform([1], lambda y: y + a) FROM t", "a y"},
		{"SELECT a, rank() OVER (PARTITION BY p ORDER BY q) FROM t QUALIFY r > 1", "a p q r"},
		{"SELECT q FROM (SELECT a AS q FROM t)", "a q"},
		{"SELECT u FROM (SELECT * FROM t) u", "*"},
		{"SELECT a FROM t UNION ALL SELECT b FROM s", "a b"},
		{"SELECT a FROM t GROUP BY ALL HAVING max(b) > 1", "a b"},
		{"SELECT #1 FROM t", "*"},
		{"WITH w AS (SELECT a, b FROM t) SELECT count(*) FILTER (WHERE b) FROM w", "a b"},
	} {
		p, err := e.Plan(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		for _, r := range p.refs {
			if p.tables[r.table].Name != "t" {
				continue
			}
			got := "*"
			if r.used != nil {
				got = strings.Join(slices.Sorted(maps.Keys(r.used)), " ")
			}
			if got != c.want {
				t.Errorf("%s: uses %q, expected %q", c.text, got, c.want)
			}
		}
	}
}

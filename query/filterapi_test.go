package query

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"kalamdb/row"
)

// liveFilter is the filter of a condition over liveSchema.
func liveFilter(t testing.TB, e *Engine, where string) *Filter {
	t.Helper()
	lp, err := e.PlanLive("SELECT * FROM app.m AS x WHERE " + where)
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	f, err := e.Filter(lp, liveSchema, true, testSession())
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	return f
}

func TestFilterSays(t *testing.T) {
	e := open(t, Options{})
	for _, c := range []struct {
		where          string
		fast, personal bool
		equalities     string
	}{
		{"t = 'a'", true, false, "[{2 [a]}]"},
		{"'a' = t AND i > 5", true, false, "[{2 [a]}]"},
		{"i IN (1, 2, NULL) AND t = 'a' AND s = 3", true, false, "[{0 [1 2]} {2 [a]} {1 [3]}]"},
		{"t = 'a' OR t IN ('b', 'c')", true, false, "[{2 [a b c]}]"},
		{"t = 'a' OR i = 1", true, false, "[]"},
		{"t = NULL", true, false, "[]"},
		{"NOT (t = 'a')", true, false, "[]"},
		{"f = 1.5", true, false, "[]"},
		{"u = '80000000-0000-0000-0000-000000000001'", true, false, "[{6 [80000000-0000-0000-0000-000000000001]}]"},
		{"d = DATE '2026-01-02' AND ts = '2026-01-02 03:04:05' AND b = true", true, false, `[{5 [2026-01-02]} {4 [2026-01-02T03:04:05.000000Z]} {3 [true]}]`},
		{"t = CURRENT_USER()", true, true, "[{2 [ana]}]"},
		{"t = 'a' AND regexp_matches(t2, '[a-z]+')", false, false, "[{2 [a]}]"},
		{"i::HUGEINT = 5", true, false, "[]"},
		{"starts_with(t, 'a') OR t LIKE '%b' OR length(t) = 3", true, false, "[]"},
		{"i + 1 = 5", false, false, "[]"},
		{"regexp_matches(t2, CURRENT_ROLE())", false, true, "[]"},
	} {
		f := liveFilter(t, e, c.where)
		got := "["
		for i, q := range f.Equalities() {
			if i > 0 {
				got += " "
			}
			got += fmt.Sprintf("{%d [", q.Column)
			for k, v := range q.Values {
				if v.Kind() != liveSchema.Columns[q.Column].Type.Kind {
					t.Errorf("%s: a %s for column %d", c.where, v.Kind(), q.Column)
				}
				if k > 0 {
					got += " "
				}
				got += castOrText(v)
			}
			got += "]}"
		}
		if got += "]"; got != c.equalities || f.Fast() != c.fast || f.Personal() != c.personal {
			t.Errorf("%s: %s, fast %v, personal %v", c.where, got, f.Fast(), f.Personal())
		}
	}
	var none *Filter
	if !none.Fast() || none.Personal() || none.Equalities() != nil {
		t.Error("no filter")
	}
}

func castOrText(v row.Value) string {
	text := string(v.AppendText(nil))
	if len(text) > 1 && text[0] == '"' {
		return text[1 : len(text)-1]
	}
	return text
}

func TestFilterFails(t *testing.T) {
	e := open(t, Options{})
	number := func(seq int, text string) *row.Row {
		r := &row.Row{Seq: row.Seq(seq), Schema: 1, Values: make([]row.Value, len(liveSchema.Columns))}
		r.Values[0], r.Values[2] = row.IntValue(row.BigInt, 1), row.TextValue(text)
		return r
	}
	rows := []*row.Row{number(1, "3"), number(2, "5"), number(3, "no number"), number(4, "7"), number(5, "neither")}
	f := liveFilter(t, e, "CAST(t AS INTEGER) > 3")
	if ok, err := f.Match(t.Context(), rows[:2]); err != nil || !slices.Equal(ok, []bool{false, true}) {
		t.Fatal(ok, err)
	}
	var qe *Error
	if ok, err := f.Match(t.Context(), rows); !errors.As(err, &qe) || qe.Code != "INVALID_VALUE" || qe.Details != "the row with _seq 3" || qe.Pos != -1 {
		t.Errorf("%v, %#v", ok, err)
	}
	for _, where := range []string{"CAST(t AS INTEGER) > 3 AND random() >= 0", "(CAST(t AS INTEGER) > 3) -- x", "error('no') IS NULL"} {
		if ok, err := liveFilter(t, e, where).Match(t.Context(), rows); !errors.As(err, &qe) || !fails(err) {
			t.Errorf("%s: %v, %v", where, ok, err)
		}
	}
	// What AND decides without the part that fails is no failure.
	for where, want := range map[string][]bool{
		"TRY_CAST(t AS INTEGER) > 3":                    {false, true, false, true, false},
		"TRY(CAST(t AS INTEGER) > 3)":                   {false, true, false, true, false},
		"i = 2 AND CAST(t AS INTEGER) > 3":              {false, false, false, false, false},
		"i = 1 OR CAST(t AS INTEGER) > 3":               {true, true, true, true, true},
		"CASE WHEN t > 'a' THEN t > 'no' ELSE b END":    {false, false, true, false, false},
		"i + 1 > 1 AND i * 9223372036854775807 > 1":     {true, true, true, true, true},
		"t IN ('3', '5', 'neither', 'x', 'y', 'z', '')": {true, true, false, false, true},
	} {
		if ok, err := liveFilter(t, e, where).Match(t.Context(), rows); err != nil || !slices.Equal(ok, want) {
			t.Errorf("%s: %v, %v", where, ok, err)
		}
	}
}

// TestFilterOfOddConditions binds what the tree of the binder may not know how to say.
func TestFilterOfOddConditions(t *testing.T) {
	e := open(t, Options{})
	in := e.quick.in[0]
	var rows []*row.Row
	for i := range 10 {
		r := &row.Row{Seq: row.Seq(i + 1), Schema: 1, Values: make([]row.Value, len(liveSchema.Columns))}
		r.Values[0], r.Values[2], r.Values[8] = row.IntValue(row.BigInt, int64(i)), row.TextValue(fmt.Sprint("a", i)), row.JSONValue(`{"a":{"b":[1,2]}}`)
		rows = append(rows, r)
	}
	for _, where := range []string{
		"list_filter([i, 2], x -> x > 1) = [2]", "len([y FOR y IN [i, 5] IF y > 3]) = 2", "list_transform([t], lambda z: z || 'b')[1] = 'a1b'",
		"{'a': i}.a = 3", "struct_pack(a := i).a = 3", "MAP {'k': i}['k'] = 3", "(i, t) = (3, 'a3')", "(i, t) IN ((3, 'a3'), (4, 'b'))", "row(i, t) < row(3, 'b')",
		"[i, 3][1] = 2", "t[2] = '3'", "t[1:2] = 'a4'", "ts < now()", "ts < CURRENT_TIMESTAMP - INTERVAL '1 month'", "d + 1 > CURRENT_DATE",
		"random() < 2", "j->'a'->'b'->>0 = '1'", "(j->>'$.a.b[0]') = '1'", "json_extract(j, '$.a.b') = '[1,2]'", "t COLLATE NOCASE = 'A1'", "t COLLATE NOACCENT = 'a1'",
		"strptime(t, '%Y') IS NULL OR true", "i BETWEEN SYMMETRIC 5 AND 1", "i = ANY([1, 2])", "i = ALL([1])", "t SIMILAR TO 'a[0-4]'", "t GLOB 'a*'", "t ~ 'a[0-4]'",
		"date_part('year', ts) = 1", "EXTRACT(epoch FROM ts) > 1", "i IS NOT DISTINCT FROM 3 IS TRUE", "(i > 3) IS NOT TRUE", "CASE i WHEN 1 THEN t WHEN 2 THEN 'x' END = 'x'",
		"ts AT TIME ZONE 'Europe/Berlin' > TIMESTAMP '2020-01-01'", "COLUMNS(i) = 3", "i::UBIGINT = 3", "i::UHUGEINT = 3", "i::BIT IS NOT NULL", "i % 2 = 0 AND i ** 2 > 4", "i // 2 = 1",
		"typeof(i) = 'BIGINT'", "f::DECIMAL(38, 10) IS NULL", "concat_ws('-', t, i) = 'a1-1'", "printf('%d', i) = '3'", "i IN [1, 2]", "t IN ('a1')", "hash(i) > 5", "greatest(i, 3, f) = 3", "@i = 3", "i & 1 = 1", "TRUE", "NULL", "i", "'1'",
	} {
		lp, err := e.PlanLive("SELECT * FROM app.m AS x WHERE " + where)
		if err != nil {
			continue // the gate does not let it in
		}
		f, err := e.Filter(lp, liveSchema, true, testSession())
		duck := &asker{e: e, plan: lp.plan, rel: &Relation{Schema: liveSchema, System: true}, session: testSession()}
		want, err2 := duck.ask(t.Context(), rows)
		if (err == nil) != (err2 == nil) {
			t.Errorf("%s: %v and %v", where, err, err2)
		}
		if err != nil || err2 != nil {
			continue
		}
		if got, err := f.Match(t.Context(), rows); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v, expected %v", where, got, err, want)
		}
	}
	if e.quick.in[0] != in {
		t.Error("a condition broke DuckDB")
	}
}

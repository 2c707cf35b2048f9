package query

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"kalamdb/row"
)

// filterColumns are two columns of every type, with values on all its edges. Conditions
// and rows draw from the same few, so that they often meet.
var filterColumns = []struct {
	typ    row.Type
	values []string
}{
	{row.Type{Kind: row.BigInt}, []string{"0", "1", "-1", "2", "5", "7", "100", "9223372036854775807", "-9223372036854775808", "9007199254740993"}},
	{row.Type{Kind: row.Int}, []string{"0", "1", "-1", "3", "7", "2147483647", "-2147483648"}},
	{row.Type{Kind: row.SmallInt}, []string{"0", "1", "-1", "2", "32767", "-32768"}},
	{row.Type{Kind: row.Decimal, Precision: 4, Scale: 1}, []string{"0", "1.5", "-1.5", "0.5", "-0.5", "2.5", "999.9", "-999.9"}},
	{row.Type{Kind: row.Decimal, Precision: 18, Scale: 4}, []string{"0", "1.5", "0.0001", "-0.00005", "12345678901234.5678", "-2.5"}},
	{row.Type{Kind: row.Decimal, Precision: 38, Scale: 10}, []string{"0", "1.5", "-1", "9999999999999999999999999999.9999999999", "0.0000000001", "-9999999999999999999999999999.9999999999"}},
	{row.Type{Kind: row.Double}, []string{"0", "-0", "1.5", "0.1", "-1", "NaN", "inf", "-inf", "1e300", "5e-324", "2.5", "3.5", "1e15", "9007199254740992"}},
	{row.Type{Kind: row.Float}, []string{"0", "-0", "1.5", "0.1", "NaN", "inf", "-1", "3e38", "16777216"}},
	{row.Type{Kind: row.Text}, []string{"", "a", "A", "ab", "aB", "b", "ä", "Ä", "ab ", " ab", "a%b", "a_b", "1", "42", "1.5", "-7", " 7", "1e2", "true", "2026-01-02", "x", "ß", "\u212a", "İ", "a\u0301", "日本", "\n", "null", "ana", "99999999999999999999"}},
	{row.Type{Kind: row.Boolean}, []string{"true", "false"}},
	{row.Type{Kind: row.Date}, []string{"1970-01-01", "2026-01-02", "2024-02-29", "0001-01-01", "9999-12-31", "1969-12-31"}},
	{row.Type{Kind: row.Time}, []string{"00:00:00", "12:34:56.789", "23:59:59.999999"}},
	{row.Type{Kind: row.Timestamp}, []string{"1970-01-01 00:00:00", "2026-01-02 03:04:05", "2026-01-02 00:00:00", "1969-12-31 23:59:59.999999", "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999"}},
	{row.Type{Kind: row.UUID}, []string{"00000000-0000-0000-0000-000000000000", "80000000-0000-0000-0000-000000000001", "7fffffff-ffff-ffff-ffff-ffffffffffff"}},
	{row.Type{Kind: row.Bytes}, []string{"", "a", "\x00", "\xff", "ab"}},
	{row.Type{Kind: row.JSON}, []string{`{"a": 1}`, `{"a":"b"}`, "1", "null", `"a"`, "[1,2]"}},
	{row.Type{Kind: row.List, Elem: row.Int}, []string{"[]", "[1]", "[1,2,null]", "[null]", "[7]"}},
	{row.Type{Kind: row.List, Elem: row.Text}, []string{"[]", `["a"]`, `["b","ä",null]`}},
}

// filterSchema has the columns <kind>1 and <kind>2, with a number if a kind is there twice.
var filterSchema = func() *row.Schema {
	s := &row.Schema{Version: 1, Key: []row.ColumnID{1}}
	for i, c := range filterColumns {
		for k := range 2 {
			s.Columns = append(s.Columns, row.Column{ID: row.ColumnID(2*i + k + 1), Name: fmt.Sprintf("c%d_%d", i, k), Type: c.typ})
		}
	}
	return s
}()

func filterValue(t testing.TB, typ row.Type, s string) row.Value {
	switch typ.Kind {
	case row.Double, row.Float:
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		if typ.Kind == row.Float {
			return row.FloatValue(float32(f))
		}
		return row.DoubleValue(f)
	case row.Bytes:
		return row.BytesValue([]byte(s))
	case row.JSON:
		return row.JSONValue(s)
	case row.List:
		var parts []any
		if err := json.Unmarshal([]byte(s), &parts); err != nil {
			t.Fatal(s, err)
		}
		var elems []row.Value
		for _, p := range parts {
			if p == nil {
				elems = append(elems, row.NullValue)
				continue
			}
			elems = append(elems, filterValue(t, typ.ElemType(), fmt.Sprint(p)))
		}
		return row.ListValue(elems)
	}
	v, err := row.Coerce(row.TextValue(s), typ)
	if err != nil {
		t.Fatal(typ, s, err)
	}
	return v
}

// A conditioner draws conditions and rows.
type conditioner struct {
	*rand.Rand
	pool  [][]row.Value // per entry of filterColumns
	atoms []string      // of the condition that is drawn
}

func pick[T any](r *conditioner, list []T) T { return list[r.IntN(len(list))] }

func (r *conditioner) row(n int) *row.Row {
	out := &row.Row{Seq: row.Seq(n + 1), Updated: int64(n%3) * 1_000_000, Schema: 1, Deleted: r.IntN(2) == 0}
	for _, values := range r.pool {
		for range 2 {
			if r.IntN(6) == 0 {
				out.Values = append(out.Values, row.NullValue)
				continue
			}
			out.Values = append(out.Values, pick(r, values))
		}
	}
	return out
}

func (r *conditioner) column(i int) string {
	name := fmt.Sprintf("c%d_%d", i, r.IntN(2))
	if r.IntN(8) == 0 {
		return "x." + name
	}
	return name
}

// The columns by class.
var (
	numberColumns = []int{0, 1, 2, 3, 4, 5, 6, 7}
	otherColumns  = []int{9, 10, 11, 12, 13, 14, 15}
)

const textColumn = 8

// literal is a value of a column as a constant, perhaps without its type.
func (r *conditioner) literal(i int) string {
	c := filterColumns[i]
	s := pick(r, c.values)
	switch {
	case c.typ.Kind == row.Boolean:
		return s
	case slices.Contains(numberColumns[:6], i) && r.IntN(3) > 0:
		return s
	case c.typ.Kind == row.Text:
		return quote(s)
	case c.typ.Kind == row.Bytes:
		return pick(r, []string{`'a'::BLOB`, `'\x00'::BLOB`, `'\xFF'::BLOB`, `'ab'`})
	case c.typ.Kind == row.JSON:
		return quote(s) + pick(r, []string{"", "::JSON"})
	case r.IntN(3) == 0 && i > 7:
		return quote(s)
	}
	return "CAST(" + quote(s) + " AS " + c.typ.String() + ")"
}

func (r *conditioner) number(depth int) string {
	if depth <= 0 || r.IntN(3) == 0 {
		switch r.IntN(8) {
		case 0, 1, 2:
			return r.literal(pick(r, numberColumns))
		case 3:
			return pick(r, []string{"_seq", "NULL", "1e2", "0.1", "18446744073709551616", "length(" + r.column(textColumn) + ")"})
		}
		return r.column(pick(r, numberColumns))
	}
	a := r.number(depth - 1)
	switch r.IntN(14) {
	case 0:
		return "(- " + a + ")"
	case 1:
		return "abs(" + a + ")"
	case 2:
		return pick(r, []string{"CAST(", "TRY_CAST("}) + a + " AS " + filterColumns[pick(r, numberColumns)].typ.String() + ")"
	case 3:
		return "CASE WHEN " + r.atom(depth-1) + " THEN " + a + " ELSE " + r.number(depth-1) + " END"
	case 4:
		return "coalesce(" + a + ", " + r.number(depth-1) + ")"
	case 5:
		return pick(r, []string{"greatest(", "least("}) + a + ", " + r.number(depth-1) + ")"
	case 6:
		return "nullif(" + a + ", " + r.number(depth-1) + ")"
	case 7:
		return pick(r, []string{"CAST(", "TRY_CAST(", "TRY_CAST("}) + r.text(depth-1) + " AS " + filterColumns[pick(r, numberColumns)].typ.String() + ")"
	case 8:
		return pick(r, []string{"length(", "strlen("}) + r.text(depth-1) + ")"
	case 9:
		return pick(r, []string{"year(", "month(", "day("}) + r.moment(depth-1) + ")"
	case 10:
		return "round(" + a + ", 1)"
	}
	return "(" + a + " " + pick(r, []string{"+", "-", "*", "/", "//", "%", "+", "-", "*"}) + " " + r.number(depth-1) + ")"
}

func (r *conditioner) text(depth int) string {
	if depth <= 0 || r.IntN(3) == 0 {
		if r.IntN(3) == 0 {
			return pick(r, []string{r.literal(textColumn), "CURRENT_USER()", "CURRENT_ROLE()", "NULL"})
		}
		return r.column(textColumn)
	}
	a := r.text(depth - 1)
	switch r.IntN(9) {
	case 0:
		return pick(r, []string{"lower(", "upper(", "trim(", "ltrim(", "rtrim(", "reverse("}) + a + ")"
	case 1:
		return "(" + a + " || " + r.text(depth-1) + ")"
	case 2:
		return "concat(" + a + ", " + r.text(depth-1) + ")"
	case 3:
		return "substring(" + a + ", " + strconv.Itoa(r.IntN(4)-1) + ", " + strconv.Itoa(r.IntN(4)-1) + ")"
	case 4:
		return pick(r, []string{"left(", "right("}) + a + ", " + strconv.Itoa(r.IntN(4)-1) + ")"
	case 5:
		return "CASE WHEN " + r.atom(depth-1) + " THEN " + a + " ELSE " + r.text(depth-1) + " END"
	case 6:
		return "coalesce(" + a + ", " + r.text(depth-1) + ")"
	case 7:
		return "CAST(" + r.column(pick(r, []int{0, 1, 2, 3, 6, 9, 10, 12, 13})) + " AS VARCHAR)"
	}
	return pick(r, []string{"greatest(", "least(", "nullif("}) + a + ", " + r.text(depth-1) + ")"
}

// moment is a day or a moment.
func (r *conditioner) moment(depth int) string {
	i := pick(r, []int{10, 12})
	if depth <= 0 || r.IntN(2) == 0 {
		if r.IntN(4) == 0 {
			return "CAST(" + quote(pick(r, filterColumns[i].values)) + " AS " + filterColumns[i].typ.String() + ")"
		}
		return pick(r, []string{r.column(i), r.column(i), r.column(i), "_updated"})
	}
	a := r.moment(depth - 1)
	switch r.IntN(4) {
	case 0:
		return "CAST(" + a + " AS " + pick(r, []string{"DATE", "TIMESTAMP", "TIMESTAMPTZ"}) + ")"
	case 1:
		return "date_trunc('day', " + a + ")"
	}
	return "(" + a + pick(r, []string{" + ", " - "}) + "INTERVAL " + pick(r, []string{"1 DAY", "36 HOUR", "1 MONTH", "'90 minutes'", "2 WEEK"}) + ")"
}

// atom is a condition without AND and OR.
func (r *conditioner) atom(depth int) string {
	compare := func(operand func() string) string {
		a := operand()
		switch r.IntN(8) {
		case 0:
			list := []string{operand(), operand()}
			for range r.IntN(7) {
				list = append(list, operand())
			}
			for _, b := range list {
				r.atoms = append(r.atoms, a+" = "+b)
			}
			return a + pick(r, []string{" IN (", " NOT IN ("}) + strings.Join(list, ", ") + ")"
		case 1:
			low, high := operand(), operand()
			r.atoms = append(r.atoms, a+" >= "+low, a+" <= "+high)
			return a + pick(r, []string{" BETWEEN ", " NOT BETWEEN "}) + low + " AND " + high
		case 2:
			return a + pick(r, []string{" IS NULL", " IS NOT NULL"})
		}
		return a + " " + pick(r, []string{"=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"}) + " " + operand()
	}
	switch r.IntN(13) {
	case 0, 1, 2:
		return compare(func() string { return r.number(depth) })
	case 3, 4:
		return compare(func() string { return r.text(depth) })
	case 5:
		return compare(func() string { return r.moment(depth) })
	case 6, 7:
		i := pick(r, otherColumns)
		return compare(func() string {
			if r.IntN(2) == 0 {
				return r.literal(i)
			}
			return r.column(i)
		})
	case 8:
		return r.text(depth) + pick(r, []string{" LIKE ", " NOT LIKE ", " ILIKE "}) + pick(r, []string{"'a%'", "'%b'", "'%a%b%'", "'a_'", "'_'", "'%'", "''", "'A%'", "'%ä%'", "'a!%b' ESCAPE '!'", "'K'", "'.*'"})
	case 9:
		return pick(r, []string{"starts_with(", "ends_with(", "contains(", "prefix("}) + r.text(depth) + ", " + r.text(0) + ")"
	case 10:
		switch r.IntN(3) {
		case 0:
			return "list_contains(" + r.column(16) + ", " + pick(r, []string{"1", "7", r.column(1), "NULL"}) + ")"
		case 1:
			return "list_contains(" + r.column(17) + ", " + r.text(0) + ")"
		}
		return r.column(16) + " = [1]"
	case 11:
		return pick(r, []string{"_deleted", "c9_0", "NOT c9_1", "c9_0 = TRUE", "TRY(c8_0::INT > 1)", "c8_0::BOOLEAN", "(c15_0->>'a') = 'b'", "regexp_matches(c8_0, '[a-z]b')", "c8_0 COLLATE NOCASE = 'AB'", "NULL", "TRUE", "c0_0::BOOLEAN", "c9_0::INT = 1", "c0_0 = c8_0"})
	}
	return "NOT (" + r.atom(depth-1) + ")"
}

func (r *conditioner) condition(depth int) string {
	if depth > 0 {
		switch r.IntN(4) {
		case 0:
			return "(" + r.condition(depth-1) + " AND " + r.condition(depth-1) + ")"
		case 1:
			return "(" + r.condition(depth-1) + " OR " + r.condition(depth-1) + ")"
		case 2:
			return "NOT (" + r.condition(depth-1) + ")"
		}
	}
	a := r.atom(2)
	r.atoms = append(r.atoms, a)
	return a
}

// What DuckDB says beside no and yes.
const (
	failure truth = 9
	unasked truth = 10
)

// duckTruths is what DuckDB says about each row alone; NULL is no. Once it has failed
// often enough, it is not asked about more rows that are in the company of a failure.
func duckTruths(t testing.TB, f *asker, rows []*row.Row, failures *int) []truth {
	out := make([]truth, len(rows))
	if *failures <= 0 {
		for i := range out {
			out[i] = unasked
		}
		return out
	}
	ok, err := f.ask(context.Background(), rows)
	switch {
	case err == nil:
		for i := range ok {
			out[i] = truth(btoi(ok[i]))
		}
	case !fails(err):
		t.Fatal(err)
	case len(rows) == 1:
		*failures--
		out[0] = failure
	default:
		half := len(rows) / 2
		return append(duckTruths(t, f, rows[:half], failures), duckTruths(t, f, rows[half:], failures)...)
	}
	return out
}

var (
	filterRows = flag.Int("filter.rows", 10_000, "how many rows TestFilterAgreesWithDuckDB evaluates")
	filterSeed = flag.Uint64("filter.seed", rand.Uint64(), "of its conditions and rows")
)

// TestFilterAgreesWithDuckDB compares what is compiled with DuckDB's answer, row by row,
// over conditions of all types and rows with the edges of each.
func TestFilterAgreesWithDuckDB(t *testing.T) {
	const rowsEach = 100
	e := open(t, Options{})
	t.Logf("-filter.seed=%d", *filterSeed)
	r := &conditioner{Rand: rand.New(rand.NewPCG(*filterSeed, 0))}
	for _, c := range filterColumns {
		var values []row.Value
		for _, s := range c.values {
			values = append(values, filterValue(t, c.typ, s))
		}
		r.pool = append(r.pool, values)
	}
	var seen struct{ rows, asked, failed, conditions, refused, uncompiled, differ int }
	for seen.rows < *filterRows {
		r.atoms = nil
		where := r.condition(2)
		f, lp := filterOf(t, e, where)
		if f == nil {
			seen.refused++
			continue
		}
		seen.conditions++
		var rows []*row.Row
		for n := range rowsEach {
			rows = append(rows, r.row(n))
		}
		if f.match == nil {
			seen.uncompiled++
			continue
		}
		failures := 4
		want := duckTruths(t, duckOf(e, lp), rows, &failures)
		for i, w := range want {
			if w == unasked {
				continue
			}
			seen.rows++
			switch got := f.match(rows[i]); {
			case got == ask:
				seen.asked++
				if f.duck == nil {
					t.Fatalf("%s on %s asks and was to be sure", where, used(where, rows[i]))
				}
			case w == failure:
				seen.failed++
				if !partFails(t, e, r.atoms, rows[i]) {
					t.Errorf("%s on %s: compiled %d, DuckDB fails", where, used(where, rows[i]), got)
					seen.differ++
				}
			case (got == yes) != (w == yes):
				t.Errorf("%s on %s: compiled %d, DuckDB %d", where, used(where, rows[i]), got, w)
				seen.differ++
			}
			for _, q := range f.Equalities() {
				if w == yes && !slices.Contains(q.Values, rows[i].Values[q.Column]) {
					t.Errorf("%s on %s: DuckDB says yes, and column %d is none of %v", where, used(where, rows[i]), q.Column, q.Values)
					seen.differ++
				}
			}
			if seen.differ > 10 {
				t.FailNow()
			}
		}
	}
	t.Logf("%+v", seen)
	if seen.asked*2 > seen.rows || seen.uncompiled*4 > seen.conditions || seen.refused > seen.conditions {
		t.Errorf("too little was compared: %+v", seen)
	}
}

// filterOf is the filter of a condition, nil if DuckDB refuses it.
func filterOf(t testing.TB, e *Engine, where string) (*Filter, *LivePlan) {
	lp, err := e.PlanLive("SELECT * FROM app.m AS x WHERE " + where)
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	f, err := e.Filter(lp, filterSchema, true, testSession())
	if err != nil {
		return nil, nil
	}
	return f, lp
}

// partFails says whether DuckDB fails for one of the parts of a condition alone, so that
// AND or OR knew its answer without it. A part that is one comparison asks where it fails.
func partFails(t testing.TB, e *Engine, atoms []string, r *row.Row) bool {
	found := false
	for _, where := range atoms {
		f, lp := filterOf(t, e, where)
		once := 1
		if f == nil || duckTruths(t, duckOf(e, lp), []*row.Row{r}, &once)[0] != failure {
			continue
		}
		found = true
		if f.match != nil && f.match(r) != ask && !strings.Contains(where, " BETWEEN ") && !strings.Contains(where, " IN (") {
			t.Errorf("%s on %s: answered, and DuckDB fails", where, used(where, r))
		}
	}
	return found
}

func duckOf(e *Engine, lp *LivePlan) *asker {
	return &asker{e: e, plan: lp.plan, rel: &Relation{Schema: filterSchema, System: true}, session: testSession()}
}

// used are the values of r that a condition names.
func used(where string, r *row.Row) string {
	out := fmt.Sprintf("_seq=%d _updated=%d _deleted=%v", r.Seq, r.Updated, r.Deleted)
	for i, c := range filterSchema.Columns {
		if strings.Contains(where, c.Name) {
			out += " " + c.Name + "=" + string(r.Values[i].AppendJSON(nil))
		}
	}
	return out
}

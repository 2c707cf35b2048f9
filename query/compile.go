package query

import (
	"cmp"
	"encoding/json"
	"math"
	"strings"

	"kalamdb/row"
)

// A truth is SQL's answer to a condition.
type truth uint8

const (
	no truth = iota
	yes
	unknown // NULL
)

// A matcher evaluates a condition for a row.
type matcher func(r *row.Row) truth

// A getter is the value of a column in a row.
type getter func(r *row.Row) row.Value

// A compiler makes matchers out of DuckDB's tree. It knows comparisons of a column
// with a constant or a column of the same type, IN, BETWEEN, IS NULL, and their
// combination by AND, OR and NOT: nothing that can fail, round, overflow or depend on
// a collation. For all else it answers nil, and DuckDB evaluates the whole condition.
type compiler struct {
	schema  *row.Schema
	system  bool
	alias   string
	session Session
}

func (c *compiler) compile(n node) matcher {
	switch n.str("class") {
	case "CONJUNCTION":
		return c.conjunction(n)
	case "COMPARISON":
		return c.comparison(n.str("type"), n.child("left"), n.child("right"))
	case "BETWEEN":
		low := c.comparison("COMPARE_GREATERTHANOREQUALTO", n.child("input"), n.child("lower"))
		high := c.comparison("COMPARE_LESSTHANOREQUALTO", n.child("input"), n.child("upper"))
		if low == nil || high == nil {
			return nil
		}
		return and([]matcher{low, high})
	case "OPERATOR":
		return c.operator(n)
	case "COLUMN_REF":
		get, t := c.column(n)
		if get == nil || t.Kind != row.Boolean {
			return nil
		}
		return func(r *row.Row) truth { return truthOf(get(r)) }
	}
	if v, ok := c.constant(n, row.Type{Kind: row.Boolean}); ok {
		answer := truthOf(v)
		return func(*row.Row) truth { return answer }
	}
	return nil
}

func truthOf(v row.Value) truth {
	switch {
	case v.IsNull():
		return unknown
	case v.Bool():
		return yes
	}
	return no
}

func (c *compiler) conjunction(n node) matcher {
	var parts []matcher
	for _, child := range n.list("children") {
		m := c.compile(child)
		if m == nil {
			return nil
		}
		parts = append(parts, m)
	}
	if n.str("type") == "CONJUNCTION_AND" {
		return and(parts)
	}
	if n.str("type") == "CONJUNCTION_OR" {
		return or(parts)
	}
	return nil
}

func and(parts []matcher) matcher {
	return func(r *row.Row) truth {
		answer := yes
		for _, m := range parts {
			switch m(r) {
			case no:
				return no
			case unknown:
				answer = unknown
			}
		}
		return answer
	}
}

func or(parts []matcher) matcher {
	return func(r *row.Row) truth {
		answer := no
		for _, m := range parts {
			switch m(r) {
			case yes:
				return yes
			case unknown:
				answer = unknown
			}
		}
		return answer
	}
}

func not(m matcher) matcher {
	return func(r *row.Row) truth {
		switch m(r) {
		case yes:
			return no
		case no:
			return yes
		}
		return unknown
	}
}

func (c *compiler) operator(n node) matcher {
	children := n.list("children")
	if len(children) == 0 {
		return nil
	}
	switch n.str("type") {
	case "OPERATOR_NOT":
		if m := c.compile(children[0]); m != nil {
			return not(m)
		}
	case "OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL":
		get, _ := c.column(children[0])
		if get == nil {
			return nil
		}
		wanted := n.str("type") == "OPERATOR_IS_NULL"
		return func(r *row.Row) truth {
			if get(r).IsNull() == wanted {
				return yes
			}
			return no
		}
	case "COMPARE_IN", "COMPARE_NOT_IN":
		var parts []matcher
		for _, v := range children[1:] {
			m := c.comparison("COMPARE_EQUAL", children[0], v)
			if m == nil {
				return nil
			}
			parts = append(parts, m)
		}
		if n.str("type") == "COMPARE_IN" {
			return or(parts)
		}
		return not(or(parts))
	}
	return nil
}

var orders3 = map[string]func(int) bool{
	"COMPARE_EQUAL":                func(o int) bool { return o == 0 },
	"COMPARE_NOTEQUAL":             func(o int) bool { return o != 0 },
	"COMPARE_LESSTHAN":             func(o int) bool { return o < 0 },
	"COMPARE_LESSTHANOREQUALTO":    func(o int) bool { return o <= 0 },
	"COMPARE_GREATERTHAN":          func(o int) bool { return o > 0 },
	"COMPARE_GREATERTHANOREQUALTO": func(o int) bool { return o >= 0 },
}

func (c *compiler) comparison(op string, left, right node) matcher {
	holds, ok := orders3[op]
	if !ok {
		return nil
	}
	a, ta := c.column(left)
	b, tb := c.column(right)
	switch {
	case a == nil && b == nil:
		return nil
	case a != nil && b != nil:
		if comparable3(ta.Kind) == nil || ta.Kind != tb.Kind {
			return nil
		}
	case b == nil:
		v, ok := c.constant(right, ta)
		if !ok {
			return nil
		}
		tb, b = ta, func(*row.Row) row.Value { return v }
	default:
		v, ok := c.constant(left, tb)
		if !ok {
			return nil
		}
		ta, a = tb, func(*row.Row) row.Value { return v }
	}
	compare := comparable3(ta.Kind)
	if compare == nil {
		return nil
	}
	return func(r *row.Row) truth {
		x, y := a(r), b(r)
		switch {
		case x.IsNull() || y.IsNull():
			return unknown
		case holds(compare(x, y)):
			return yes
		}
		return no
	}
}

// comparable3 orders two values of a kind, nil for kinds left to DuckDB.
func comparable3(k row.Kind) func(a, b row.Value) int {
	switch k {
	case row.Boolean:
		return func(a, b row.Value) int { return btoi(a.Bool()) - btoi(b.Bool()) }
	case row.SmallInt, row.Int, row.BigInt, row.Date, row.Time, row.Timestamp:
		return func(a, b row.Value) int { return cmp.Compare(a.Int(), b.Int()) }
	case row.Text:
		return func(a, b row.Value) int { return strings.Compare(a.Str(), b.Str()) }
	case row.UUID:
		return func(a, b row.Value) int {
			ah, al := a.Halves()
			bh, bl := b.Halves()
			return cmp.Or(cmp.Compare(uint64(ah), uint64(bh)), cmp.Compare(al, bl))
		}
	case row.Double:
		return func(a, b row.Value) int { // NaN is equal to itself and above all
			x, y := a.Double(), b.Double()
			switch {
			case math.IsNaN(x) || math.IsNaN(y):
				return btoi(math.IsNaN(x)) - btoi(math.IsNaN(y))
			case x < y:
				return -1
			}
			return btoi(x > y)
		}
	}
	return nil
}

// column finds the column a reference names.
func (c *compiler) column(n node) (getter, row.Type) {
	names := n.names("column_names")
	if n.str("class") != "COLUMN_REF" || len(names) == 0 || len(names) > 2 {
		return nil, row.Type{}
	}
	if len(names) == 2 && !sameName(names[0], c.alias) {
		return nil, row.Type{}
	}
	name := fold(names[len(names)-1])
	if i := c.schema.ByName(name); i >= 0 {
		return func(r *row.Row) row.Value {
			if i >= len(r.Values) {
				return row.NullValue
			}
			return r.Values[i]
		}, c.schema.Columns[i].Type
	}
	if !c.system {
		return nil, row.Type{}
	}
	switch name {
	case row.ColSeq:
		return func(r *row.Row) row.Value { return row.IntValue(row.BigInt, int64(r.Seq)) }, row.Type{Kind: row.BigInt}
	case row.ColUpdated:
		return func(r *row.Row) row.Value { return row.IntValue(row.Timestamp, r.Updated) }, row.Type{Kind: row.Timestamp}
	case row.ColDeleted:
		return func(r *row.Row) row.Value { return row.BoolValue(r.Deleted) }, row.Type{Kind: row.Boolean}
	}
	return nil, row.Type{}
}

// castIDs are the names of the types in the tree's casts.
var castIDs = map[row.Kind]string{
	row.Boolean: "BOOLEAN", row.SmallInt: "SMALLINT", row.Int: "INTEGER", row.BigInt: "BIGINT", row.Double: "DOUBLE",
	row.Text: "VARCHAR", row.Date: "DATE", row.Time: "TIME", row.Timestamp: "TIMESTAMP", row.UUID: "UUID",
}

// constant is n as a value that compares with a column of type t as DuckDB would.
func (c *compiler) constant(n node, t row.Type) (row.Value, bool) {
	want, ok := castIDs[t.Kind]
	if !ok {
		return row.Value{}, false
	}
	if n.str("class") == "CAST" && !n.flag("try_cast") && n.child("cast_type").str("id") == want && n.child("cast_type")["type_info"] == nil {
		s, ok := n.child("child").constText()
		if !ok || !plainText(s, t) {
			return row.Value{}, false
		}
		v, err := row.Coerce(row.TextValue(s), t)
		return v, err == nil
	}
	if n.str("class") == "FUNCTION" && n.str("function_name") == "current_user" && t.Kind == row.Text {
		return row.TextValue(c.session.User), true
	}
	if v := n.child("value"); n.str("class") == "CONSTANT" && v.flag("is_null") {
		return row.NullValue, true
	}
	if i, ok := n.constInt(); ok {
		switch t.Kind {
		case row.SmallInt, row.Int, row.BigInt:
			return row.IntValue(row.BigInt, i), true
		case row.Double:
			return row.DoubleValue(float64(i)), i < 1<<53 && i > -(1<<53)
		}
		return row.Value{}, false
	}
	if s, ok := n.constText(); ok {
		switch t.Kind {
		case row.Text:
			return row.TextValue(s), true
		case row.Date, row.Time, row.Timestamp, row.UUID:
			if !plainText(s, t) {
				return row.Value{}, false
			}
			v, err := row.Coerce(row.TextValue(s), t)
			return v, err == nil
		}
		return row.Value{}, false
	}
	if v := n.child("value"); t.Kind == row.Double && n.str("class") == "CONSTANT" && v.child("type").str("id") == "DOUBLE" {
		num, ok := v["value"].(json.Number)
		if !ok {
			return row.Value{}, false
		}
		f, err := num.Float64()
		return row.DoubleValue(f), err == nil
	}
	return row.Value{}, false
}

// plainText says whether the text of a time is digits in the usual form: about
// offsets and words like infinity, row.Coerce and DuckDB may differ.
func plainText(s string, t row.Type) bool {
	switch t.Kind {
	case row.Date, row.Time, row.Timestamp:
		return strings.Trim(s, "0123456789-:. T") == "" && strings.Count(s, "-") == 2*btoi(t.Kind != row.Time)
	}
	return true
}

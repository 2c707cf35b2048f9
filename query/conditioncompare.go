package query

import (
	"cmp"
	"math"
	"strings"

	"kalamdb/row"
)

// carrier groups the types whose values compare alike.
func (d duckType) carrier() row.Kind {
	switch d.id {
	case "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "BOOLEAN", "DATE", "TIME", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE":
		return row.BigInt
	case "HUGEINT", "DECIMAL":
		return row.HugeInt
	case "FLOAT":
		return row.Float
	case "DOUBLE":
		return row.Double
	case "VARCHAR", "BLOB":
		return row.Text
	case "UUID":
		return row.UUID
	}
	return row.Null
}

// compared says whether values of the types may be compared with each other.
func compared(a, b duckType) bool {
	return a.id == b.id && a.scale == b.scale && a.carrier() != row.Null
}

// compareFloats is DuckDB's order: NaN is equal to itself and above all.
func compareFloats(x, y float64) int {
	if math.IsNaN(x) || math.IsNaN(y) {
		return btoi(math.IsNaN(x)) - btoi(math.IsNaN(y))
	}
	return cmp.Compare(x, y)
}

// comparer orders the values of a carrier, neither of which is NULL or asks.
func comparer(k row.Kind) func(a, b row.Value) int {
	switch k {
	case row.BigInt:
		return func(a, b row.Value) int { return cmp.Compare(a.Int(), b.Int()) }
	case row.HugeInt:
		return func(a, b row.Value) int {
			ah, al := a.Halves()
			bh, bl := b.Halves()
			return cmp.Or(cmp.Compare(ah, bh), cmp.Compare(al, bl))
		}
	case row.UUID:
		return func(a, b row.Value) int {
			ah, al := a.Halves()
			bh, bl := b.Halves()
			return cmp.Or(cmp.Compare(uint64(ah), uint64(bh)), cmp.Compare(al, bl))
		}
	case row.Float:
		return func(a, b row.Value) int { return compareFloats(float64(a.Float()), float64(b.Float())) }
	case row.Double:
		return func(a, b row.Value) int { return compareFloats(a.Double(), b.Double()) }
	}
	return func(a, b row.Value) int { return strings.Compare(a.Str(), b.Str()) }
}

// An outcome says by the order of two values (-1, 0, 1) whether a comparison holds.
type outcome [3]truth

var outcomes = map[string]outcome{
	"COMPARE_EQUAL":                {no, yes, no},
	"COMPARE_NOTEQUAL":             {yes, no, yes},
	"COMPARE_LESSTHAN":             {yes, no, no},
	"COMPARE_LESSTHANOREQUALTO":    {yes, yes, no},
	"COMPARE_GREATERTHAN":          {no, no, yes},
	"COMPARE_GREATERTHANOREQUALTO": {no, yes, yes},
	"COMPARE_DISTINCT_FROM":        {yes, no, yes},
	"COMPARE_NOT_DISTINCT_FROM":    {no, yes, no},
}

func comparison(op string, left, right expression) compiled {
	o, ok := outcomes[op]
	if !ok || left.get == nil || right.get == nil || !compared(left.typ, right.typ) {
		return compiled{}
	}
	if op == "COMPARE_DISTINCT_FROM" || op == "COMPARE_NOT_DISTINCT_FROM" {
		return compiled{distinction(o, left, right), left.sure && right.sure}
	}
	carrier := left.typ.carrier()
	if left.column >= 0 && right.constant && !right.value.IsNull() {
		switch i := left.column; carrier {
		case row.BigInt:
			return compiled{compareInt(o, i, right.value.Int()), true}
		case row.Text:
			return compiled{compareText(o, i, right.value.Str()), true}
		}
	}
	compare := comparer(carrier)
	return compiled{func(r *row.Row) truth {
		a, b := left.get(r), right.get(r)
		switch {
		case asks(a) || asks(b):
			return ask
		case a.IsNull() || b.IsNull():
			return unknown
		}
		return o[compare(a, b)+1]
	}, left.sure && right.sure}
}

// compareInt and compareText compare a column with a constant, the commonest conditions,
// without copying the value.
func compareInt(o outcome, column int, constant int64) matcher {
	return func(r *row.Row) truth {
		if column >= len(r.Values) || r.Values[column].IsNull() {
			return unknown
		}
		return o[cmp.Compare(r.Values[column].Int(), constant)+1]
	}
}

func compareText(o outcome, column int, constant string) matcher {
	return func(r *row.Row) truth {
		if column >= len(r.Values) || r.Values[column].IsNull() {
			return unknown
		}
		s := r.Values[column].Str()
		if o[0] == o[2] { // equality needs no order
			if s == constant {
				return o[1]
			}
			return o[0]
		}
		return o[strings.Compare(s, constant)+1]
	}
}

// distinction is a comparison in which NULL is a value like others.
func distinction(o outcome, left, right expression) matcher {
	compare := comparer(left.typ.carrier())
	return func(r *row.Row) truth {
		a, b := left.get(r), right.get(r)
		switch {
		case asks(a) || asks(b):
			return ask
		case a.IsNull() && b.IsNull():
			return o[1]
		case a.IsNull() || b.IsNull():
			return o[0]
		}
		return o[compare(a, b)+1]
	}
}

// linearMax is up to how many children of an IN the constants are compared one by one.
const linearMax = 4

// in is IN: its first child is looked for among the others.
func (c *compiler) in(children []node) compiled {
	needle := c.expression(children[0])
	if needle.get == nil {
		return compiled{}
	}
	set := map[row.Value]bool{}
	null := false
	var parts []compiled
	for _, child := range children[1:] {
		e := c.expression(child)
		switch {
		case len(children) > linearMax && e.constant && e.value.IsNull():
			null = true
		case len(children) > linearMax && e.constant && compared(needle.typ, e.typ) && exact(e.typ):
			set[canonical(e.value)] = true
		default:
			parts = append(parts, comparison("COMPARE_EQUAL", needle, e))
		}
	}
	if len(set) == 0 && !null {
		return junction(parts, yes, yes, no)
	}
	return junction(append(parts, compiled{func(r *row.Row) truth {
		switch v := needle.get(r); {
		case asks(v):
			return ask
		case v.IsNull():
			return unknown
		case set[canonical(v)]:
			return yes
		case null:
			return unknown
		}
		return no
	}, needle.sure}), yes, yes, no)
}

// exact says whether equal values of the type are the same value.
func exact(d duckType) bool {
	switch d.carrier() {
	case row.BigInt, row.HugeInt, row.Text, row.UUID:
		return true
	}
	return false
}

// canonical is v in a form in which equal values are the same: whole numbers, dates and
// times of all widths are one kind, and so are texts of all kinds.
func canonical(v row.Value) row.Value {
	switch v.Kind() {
	case row.SmallInt, row.Int, row.BigInt, row.Date, row.Time, row.Timestamp, row.Boolean:
		return row.IntValue(row.BigInt, v.Int())
	case row.Text, row.JSON, row.Bytes:
		return row.TextValue(v.Str())
	case row.Decimal, row.HugeInt:
		hi, lo := v.Halves()
		return row.HugeIntValue(hi, lo)
	}
	return v
}

// An Equality says that every row that matches has in a column one of Values: exactly,
// if the row has the column's type. None of them is NULL.
type Equality struct {
	Column int // position in the columns of the schema
	Values []row.Value
}

// equalities are what the parts that AND joins say about single columns.
func (c *compiler) equalities(parts []node) []Equality {
	var out []Equality
	for _, n := range parts {
		if column, values := c.equality(n); len(values) > 0 {
			out = append(out, Equality{Column: column, Values: values})
		}
	}
	return out
}

// equality is the column that n compares with constants alone, and these; no values if
// n is something else.
func (c *compiler) equality(n node) (column int, values []row.Value) {
	var needle expression
	var others []expression
	children := n.list("children")
	switch n.str("type") {
	case "COMPARE_EQUAL":
		needle, others = c.expression(n.child("left")), []expression{c.expression(n.child("right"))}
		if needle.constant {
			needle, others[0] = others[0], needle
		}
	case "COMPARE_IN":
		needle = c.expression(children[0])
		for _, child := range children[1:] {
			others = append(others, c.expression(child))
		}
	case "CONJUNCTION_OR":
		for i, child := range children {
			at, more := c.equality(child)
			if len(more) == 0 || i > 0 && at != column {
				return -1, nil
			}
			column, values = at, append(values, more...)
		}
		return column, values
	}
	if needle.column < 0 || needle.get == nil || !exact(needle.typ) {
		return -1, nil
	}
	for _, o := range others {
		switch {
		case !o.constant || !compared(needle.typ, o.typ):
			return -1, nil
		case !o.value.IsNull():
			values = append(values, plainValue(o.value, c.schema.Columns[needle.column].Type))
		}
	}
	return needle.column, values
}

// plainValue is a carried value as a value of a column's type.
func plainValue(v row.Value, t row.Type) row.Value {
	switch t.Kind {
	case row.Boolean:
		return row.BoolValue(v.Int() != 0)
	case row.Text:
		return row.TextValue(v.Str())
	case row.JSON:
		return row.JSONValue(v.Str())
	case row.Bytes:
		return row.BytesValue([]byte(v.Str()))
	case row.Decimal:
		hi, lo := v.Halves()
		return row.DecimalValue(hi, lo, t.Scale)
	case row.UUID:
		return v
	}
	return row.IntValue(t.Kind, v.Int())
}

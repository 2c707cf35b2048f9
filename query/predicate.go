package query

import (
	"strings"

	"kalamdb/row"
)

// A predicate is a condition every row of a base table must meet to matter: column
// compared with constants. Files that cannot hold such a row are not read.
type predicate struct {
	column string
	op     string // = < <= > >= in
	values []operand
}

// An operand is a constant of the text or a parameter.
type operand struct {
	value row.Value
	param int // 1-based; 0: value
}

var comparisons = map[string]string{
	"COMPARE_EQUAL": "=", "COMPARE_LESSTHAN": "<", "COMPARE_LESSTHANOREQUALTO": "<=",
	"COMPARE_GREATERTHAN": ">", "COMPARE_GREATERTHANOREQUALTO": ">=",
}

var mirrored = map[string]string{"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

// predicates collects the conditions joined by AND in a WHERE. Each rejects a row
// whose column is NULL, so they also hold for the padded side of an outer join.
func (g *gate) predicates(w node) {
	switch w.str("class") {
	case "CONJUNCTION":
		if w.str("type") == "CONJUNCTION_AND" {
			for _, c := range w.list("children") {
				g.predicates(c)
			}
		}
	case "COMPARISON":
		op, ok := comparisons[w.str("type")]
		if !ok {
			return
		}
		l, r := w.child("left"), w.child("right")
		if l.str("class") != "COLUMN_REF" {
			l, r, op = r, l, mirrored[op]
		}
		g.predicate(l, op, r)
	case "BETWEEN":
		g.predicate(w.child("input"), ">=", w.child("lower"))
		g.predicate(w.child("input"), "<=", w.child("upper"))
	case "OPERATOR":
		if c := w.list("children"); w.str("type") == "COMPARE_IN" && len(c) > 1 {
			g.predicate(c[0], "in", c[1:]...)
		}
	}
}

func (g *gate) predicate(col node, op string, values ...node) {
	if col.str("class") != "COLUMN_REF" {
		return
	}
	p := predicate{op: op}
	for _, v := range values {
		o, ok := operandOf(v)
		if !ok {
			return
		}
		p.values = append(p.values, o)
	}
	names := col.names("column_names")
	p.column = fold(names[len(names)-1])
	var target *baseRef
	switch len(names) {
	case 1:
		if g.sel.items != 1 || len(g.sel.tables) != 1 || g.sel.aliases[p.column] {
			return // it may be another table's column, or an alias
		}
		target = g.sel.tables[0]
	case 2:
		for _, r := range g.sel.tables {
			if sameName(r.name, names[0]) {
				if target != nil {
					return
				}
				target = r
			}
		}
	}
	if target != nil && !target.sampled && !target.renamed {
		target.where = append(target.where, p)
	}
}

func operandOf(n node) (operand, bool) {
	if n.str("class") == "PARAMETER" {
		s := n.str("identifier")
		i := 0
		for _, c := range s {
			if c < '0' || c > '9' || i > paramsMax {
				return operand{}, false
			}
			i = 10*i + int(c-'0')
		}
		return operand{param: i}, i > 0
	}
	if i, ok := n.constInt(); ok {
		return operand{value: row.IntValue(row.BigInt, i)}, true
	}
	if s, ok := n.constText(); ok {
		return operand{value: row.TextValue(s)}, true
	}
	return operand{}, false
}

// keyRange turns the predicates on the leading primary key columns into bounds of
// the encoded key: rows outside [from, to) cannot matter; nil is open. exact says
// that from is one whole key.
func keyRange(s *row.Schema, where []predicate, params []row.Value) (from, to []byte, exact bool) {
	var prefix []byte
	idx := s.KeyIndexes()
	for k, i := range idx {
		c := s.Columns[i]
		if eq, ok := bound(c, where, params, "="); ok {
			prefix = row.AppendKey(prefix, eq[0])
			if k == len(idx)-1 {
				return prefix, append(append([]byte(nil), prefix...), 0), true
			}
			continue
		}
		return columnRange(c, prefix, where, params)
	}
	return nil, nil, false
}

// columnRange bounds the column behind an equal prefix.
func columnRange(c row.Column, prefix []byte, where []predicate, params []row.Value) (from, to []byte, exact bool) {
	clip := func(b []byte) []byte { return b[:len(b):len(b)] }
	if len(prefix) > 0 {
		from, to = clip(prefix), successor(prefix)
	}
	for _, op := range []string{">", ">=", "<", "<=", "in"} {
		values, ok := bound(c, where, params, op)
		if !ok {
			continue
		}
		lo, hi := values[0], values[0]
		for _, v := range values {
			if compareKeys(v, lo) < 0 {
				lo = v
			}
			if compareKeys(v, hi) > 0 {
				hi = v
			}
		}
		low := row.AppendKey(clip(prefix), lo)
		high := successor(row.AppendKey(clip(prefix), hi))
		switch op {
		case ">", ">=":
			high = nil
		case "<", "<=":
			low = nil
		}
		if low != nil && string(low) > string(from) {
			from = low
		}
		if high != nil && (to == nil || string(high) < string(to)) {
			to = high
		}
	}
	return from, to, false
}

func compareKeys(a, b row.Value) int {
	return strings.Compare(string(row.AppendKey(nil, a)), string(row.AppendKey(nil, b)))
}

// successor is the first key behind all that start with prefix, nil if there is none.
func successor(prefix []byte) []byte {
	s := append([]byte(nil), prefix...)
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] < 0xFF {
			s[i]++
			return s[:i+1]
		}
	}
	return nil
}

// conditions are the predicates that mean the same in the types of the columns.
func conditions(s *row.Schema, where []predicate, params []row.Value) []Condition {
	var out []Condition
	for i, p := range where {
		at := s.ByName(p.column)
		if at < 0 {
			continue
		}
		if values, ok := bound(s.Columns[at], where[i:i+1], params, p.op); ok {
			out = append(out, Condition{p.column, p.op, values})
		}
	}
	return out
}

// bound is the constants a column is compared with by op, as values of the column's
// type. Only comparisons that mean the same in the column's type count.
func bound(c row.Column, where []predicate, params []row.Value, op string) ([]row.Value, bool) {
next:
	for _, p := range where {
		if p.op != op || p.column != c.Name {
			continue
		}
		values := make([]row.Value, 0, len(p.values))
		for _, o := range p.values {
			v := o.value
			if o.param > 0 {
				if o.param > len(params) {
					continue next
				}
				v = params[o.param-1]
			}
			v, ok := sameType(v, c.Type)
			if !ok {
				continue next
			}
			values = append(values, v)
		}
		return values, true
	}
	return nil, false
}

func sameType(v row.Value, t row.Type) (row.Value, bool) {
	switch t.Kind {
	case row.SmallInt, row.Int, row.BigInt:
		switch v.Kind() {
		case row.SmallInt, row.Int, row.BigInt:
			return row.IntValue(t.Kind, v.Int()), true
		}
	case row.Text, row.UUID, row.Timestamp, row.Date, row.Boolean:
		return v, v.Kind() == t.Kind
	}
	return v, false
}

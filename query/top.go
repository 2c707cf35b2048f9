package query

import (
	"slices"

	"kalamdb/row"
)

// A Top says that of the rows of a relation only the first ones in an order matter. NULL
// comes last.
type Top struct {
	By   []OrderColumn
	Rows int
}

// An OrderColumn is a column to order by.
type OrderColumn struct {
	Column     string
	Descending bool
}

// topRowsMax bounds the rows of a Top: with more there is little to gain.
const topRowsMax = 10_000

// A topOf is the Top of a SELECT whose LIMIT may have parameters.
type topOf struct {
	by            []OrderColumn
	limit, offset *operand // offset: nil for none
}

// top notes that the SELECT n shows the first rows of its one table, as they are, in the
// order of its columns. Whatever may mean another column or other rows keeps it from that.
func (g *gate) top(n node) {
	for k := range n {
		switch k {
		case "type", "modifiers", "select_list", "from_table", "aggregate_handling":
		default:
			return
		}
	}
	modifiers := n.list("modifiers")
	if g.sel.items != 1 || len(g.sel.tables) != 1 || g.sel.odd || n.str("aggregate_handling") != "STANDARD_HANDLING" ||
		len(modifiers) != 2 || modifiers[0].str("type") != "ORDER_MODIFIER" || modifiers[1].str("type") != "LIMIT_MODIFIER" {
		return
	}
	for _, e := range n.list("select_list") {
		plainStar := e.str("class") == "STAR" && !e.flag("columns") && e["expr"] == nil && e["rename_list"] == nil && e["replace_list"] == nil
		if !plainStar && e.str("class") != "COLUMN_REF" {
			return
		}
	}
	t := &topOf{}
	for _, o := range modifiers[0].list("orders") {
		e := o.child("expression")
		names := e.names("column_names")
		if e.str("class") != "COLUMN_REF" || len(names) != 1 || o.str("null_order") != "ORDER_DEFAULT" || g.sel.aliases[fold(names[0])] {
			return
		}
		t.by = append(t.by, OrderColumn{fold(names[0]), o.str("type") == "DESCENDING"})
	}
	var ok bool
	if t.limit, ok = countOf(modifiers[1].child("limit")); !ok || t.limit == nil {
		return
	}
	if t.offset, ok = countOf(modifiers[1].child("offset")); !ok {
		return
	}
	if r := g.sel.tables[0]; !r.sampled && !r.renamed {
		r.top = t
	}
}

// countOf is a number of rows, nil for none.
func countOf(n node) (o *operand, ok bool) {
	if n == nil {
		return nil, true
	}
	v, ok := operandOf(n)
	return &v, ok
}

// with is t with the values of its parameters, nil if there is nothing to gain.
func (t *topOf) with(s *row.Schema, params []row.Value) *Top {
	if t == nil || slices.ContainsFunc(t.by, func(o OrderColumn) bool { return s.ByName(o.Column) < 0 }) {
		return nil
	}
	top := &Top{By: t.by}
	for _, o := range []*operand{t.limit, t.offset} {
		if o == nil {
			continue
		}
		v := o.value
		if o.param > 0 {
			if o.param > len(params) {
				return nil
			}
			v = params[o.param-1]
		}
		switch v.Kind() {
		case row.SmallInt, row.Int, row.BigInt:
		default:
			return nil
		}
		if v.Int() < 0 || v.Int() > topRowsMax {
			return nil
		}
		top.Rows += int(v.Int())
	}
	return top
}

package kalamdb

import (
	"slices"

	"kalamdb/query"
	"kalamdb/row"
)

// A systemHot is the rows of a system table that are made while they are read.
type systemHot interface {
	query.Hot
	// first leaves out rows that are not among the first ones of an order.
	first(columns []row.Column, top *query.Top) systemHot
}

// lazyRows is a query.Hot of rows that are made while they are read: of each thing in
// list that passes the tests the values that are needed. Keys are the numbers in list.
type lazyRows[T any] struct {
	list   []T
	tests  []rowTest
	value  func(of T, column int) row.Value
	width  int   // of a row
	needed []int // columns
}

func (h lazyRows[T]) Len() int                          { return len(h.list) }
func (h lazyRows[T]) Get([]byte) (row.Row, bool, error) { return row.Row{}, false, nil }

// passes says whether the row of x passes the tests.
func (h lazyRows[T]) passes(x T) bool {
	for i := range h.tests {
		if t := &h.tests[i]; !t.passes(h.value(x, t.column)) {
			return false
		}
	}
	return true
}

func (h lazyRows[T]) Project(columns []int) query.Hot {
	h.needed = columns
	return h
}

func (h lazyRows[T]) Scan(from, _ []byte, yield func([]byte, *row.Row) bool) error {
	r := row.Row{Schema: 1, Values: make([]row.Value, h.width)}
	needed := slices.Clone(h.needed)
	for _, t := range h.tests {
		if t.only != nil {
			r.Values[t.column] = *t.only
			needed = slices.DeleteFunc(needed, func(column int) bool { return column == t.column })
		}
	}
	var key [4]byte
	for i := numberAfter(from); i < len(h.list); i++ {
		if !h.passes(h.list[i]) {
			continue
		}
		for _, column := range needed {
			r.Values[column] = h.value(h.list[i], column)
		}
		if !yield(numberKey(&key, i), &r) {
			break
		}
	}
	return nil
}

func (h lazyRows[T]) first(columns []row.Column, top *query.Top) systemHot {
	type key struct {
		column, sign int
		compare      func(a, b row.Value) int
	}
	var keys []key
	for _, by := range top.By {
		k := key{column: slices.IndexFunc(columns, func(c row.Column) bool { return c.Name == by.Column }), sign: 1}
		if k.compare = comparison(columns[k.column].Type.Kind); k.compare == nil {
			return h
		}
		if by.Descending {
			k.sign = -1
		}
		keys = append(keys, k)
	}
	compare := func(a, b T) int {
		for i := range keys {
			k := &keys[i]
			v, w := h.value(a, k.column), h.value(b, k.column)
			switch {
			case v.IsNull() && w.IsNull():
			case v.IsNull():
				return 1
			case w.IsNull():
				return -1
			default:
				if c := k.compare(v, w); c != 0 {
					return k.sign * c
				}
			}
		}
		return 0
	}
	best := make([]T, 0, 2*top.Rows) // the first so far, in front, and those that came since
	for _, x := range h.list {
		if top.Rows == 0 || !h.passes(x) || len(best) >= top.Rows && compare(x, best[top.Rows-1]) >= 0 {
			continue
		}
		if best = append(best, x); len(best) == top.Rows || len(best) == 2*top.Rows {
			slices.SortStableFunc(best, compare)
			best = best[:top.Rows]
		}
	}
	slices.SortStableFunc(best, compare)
	h.list = best[:min(len(best), top.Rows)]
	return h
}

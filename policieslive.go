package kalamdb

import (
	"context"
	"slices"

	"kalamdb/live"
	"kalamdb/query"
	"kalamdb/row"
)

// A guardedFilter is the condition of a live query behind the policies and column grants of
// its table: it sees the rows that they let through, without the hidden columns, so that
// not even its failure tells of another row.
type guardedFilter struct {
	policies *query.Filter // nil: they let all rows through
	none     bool          // they let no row through
	columns  []int         // positions of the columns that filter knows; nil: all
	filter   *query.Filter // nil: the query has no condition
}

// Fast says that no row needs DuckDB.
func (g *guardedFilter) Fast() bool { return g.none || g.policies.Fast() && g.filter.Fast() }

// Match says of each row whether the subscriber sees it.
func (g *guardedFilter) Match(ctx context.Context, rows []*row.Row) ([]bool, error) {
	if g.none {
		return make([]bool, len(rows)), nil
	}
	ok, err := g.policies.Match(ctx, rows)
	if err != nil || g.filter == nil {
		return ok, err
	}
	var seen []*row.Row
	var places []int
	for i, r := range rows {
		if !ok[i] {
			continue
		}
		if g.columns != nil {
			narrow := *r
			narrow.Values = make([]row.Value, len(g.columns))
			for k, j := range g.columns {
				narrow.Values[k] = r.Values[j]
			}
			r = &narrow
		}
		seen, places = append(seen, r), append(places, i)
	}
	if len(seen) == 0 {
		return ok, nil
	}
	matched, err := g.filter.Match(ctx, seen)
	if err != nil {
		return nil, err
	}
	for k, i := range places {
		ok[i] = matched[k]
	}
	return ok, nil
}

// filter gives sel the filter of a live query on the table.
func (r *tableRules) filter(sel *live.Selection, plan *query.LivePlan, s query.Session) error {
	c, err := r.condition("select", false)
	if err != nil {
		return err
	}
	g := &guardedFilter{none: c.none}
	if c.rows != nil {
		g.policies = c.rows.Filter
	}
	seen := sel.Schema
	if len(r.hidden) > 0 {
		narrow := &row.Schema{Version: seen.Version, Columns: nil, Key: seen.Key}
		for j, col := range seen.Columns {
			if !r.hides(col.Name) {
				narrow.Columns = append(narrow.Columns, col)
				g.columns = append(g.columns, j)
			}
		}
		seen = narrow
	}
	if g.filter, err = r.db.engine.Filter(plan, seen, r.table.Versioned(), s); err != nil {
		return err
	}
	for _, e := range g.policies.Equalities() {
		sel.Equal = append(sel.Equal, live.Equality{Column: e.Column, Values: e.Values})
	}
	for _, e := range g.filter.Equalities() {
		column := e.Column
		if g.columns != nil {
			column = g.columns[column]
		}
		sel.Equal = append(sel.Equal, live.Equality{Column: column, Values: e.Values})
	}
	sel.Filter = g
	return nil
}

// hides says whether the role may not read the column.
func (r *tableRules) hides(column string) bool { return r != nil && slices.Contains(r.hidden, column) }

// uses says whether the policies may look at the column to decide what is shown.
func (r *tableRules) uses(column string) bool {
	if r == nil {
		return false
	}
	c, err := r.condition("select", false)
	return err != nil || c.rows != nil && c.rows.Uses(column)
}

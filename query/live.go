package query

import (
	"context"

	"kalamdb/row"
)

// A LivePlan is a live query: some columns of one table, perhaps with a WHERE.
type LivePlan struct {
	Namespace, Table string
	Pos              int      // of the table's name
	Columns          []string // nil = *
	Aliases          []string // parallel to Columns: the names of the result
	Where            string   // text of the condition, "" = none
}

// PlanLive checks text: one SELECT of columns from one table with an optional WHERE.
func (e *Engine) PlanLive(text string) (*LivePlan, error) { return &LivePlan{}, nil }

// A Filter decides which rows a live query sees. A nil Filter sees all.
type Filter struct{}

// Filter compiles the WHERE of lp for rows of the schema.
func (e *Engine) Filter(lp *LivePlan, schema *row.Schema, system bool, s Session) (*Filter, error) {
	return nil, nil
}

// Match says of each row whether the condition is true for it.
func (f *Filter) Match(ctx context.Context, rows []*row.Row) ([]bool, error) {
	ok := make([]bool, len(rows))
	return ok, ctx.Err()
}

package kalamdb

import (
	"context"
	"errors"
	"slices"

	"kalamdb/query"
	"kalamdb/row"
	"kalamdb/sql"
)

// A relocate maps a byte offset of the text given to query to the caller's text.
type relocate func(pos int) int

// plan has text parsed and passed by the gate.
func (db *DB) plan(text string, where relocate) (*query.Plan, error) {
	p, err := db.engine.Plan(text)
	if err != nil {
		return nil, relocated(err, where)
	}
	return p, nil
}

// relocated makes the position of a query's error one of the caller's text.
func relocated(err error, where relocate) error {
	var qe *query.Error
	if !errors.As(err, &qe) {
		return err
	}
	e := asError(err)
	e.Position = where(qe.Pos)
	return e
}

// selectRows runs a SELECT as the caller of s over one snapshot of every table it
// names. Closing the rows gives the snapshot back.
func (db *DB) selectRows(ctx context.Context, s *statement, text string, where relocate) (*Rows, error) {
	plan, err := db.plan(text, where)
	if err != nil {
		return nil, err
	}
	if n := len(s.req.Params); n != plan.Params() {
		return nil, fail(CodeInvalidParams, "the statement uses %d parameters, %d were given", plan.Params(), n)
	}
	return db.planRows(ctx, s, plan, s.req.Params, where)
}

// planRows is selectRows with the plan made and the parameters chosen.
func (db *DB) planRows(ctx context.Context, s *statement, plan *query.Plan, params []row.Value, where relocate) (*Rows, error) {
	sources, release := db.sources(s)
	rows, err := sources.rows(ctx, s, plan, nil, params, where)
	if err != nil {
		release()
		return nil, err
	}
	rows.done = release
	return rows, nil
}

// rows runs plan over the moment of ts, which must stay until the rows are closed.
// affected is the table of that name, nil if the plan does not read it.
func (ts *tableSources) rows(ctx context.Context, s *statement, plan *query.Plan, affected *query.Relation, params []row.Value, where relocate) (*Rows, error) {
	rels, err := ts.relations(ctx, s, plan.Tables(), affected, where)
	if err != nil {
		return nil, err
	}
	res, err := ts.db.engine.Query(ctx, plan, rels, params, ts.db.session(s))
	if err != nil {
		return nil, relocated(err, where)
	}
	columns := make([]Column, len(res.Columns()))
	for i, c := range res.Columns() {
		columns[i] = Column{Name: c.Name, Type: c.Type}
	}
	wrap := func(err error) error { return relocated(err, where) }
	return &Rows{columns: columns, src: res, done: func() {}, wrap: wrap}, nil
}

func (db *DB) runSelect(ctx context.Context, s *statement, sel *sql.Select) (Result, error) {
	rows, err := db.selectRows(ctx, s, sel.Text.Text, fragmentPosition(sel.Text))
	if err != nil {
		return Result{}, err
	}
	return collect(rows)
}

// collect reads all rows and closes them.
func collect(rows *Rows) (Result, error) {
	defer rows.Close()
	res := Result{Columns: rows.Columns(), Rows: [][]row.Value{}}
	for rows.Next() {
		res.Rows = append(res.Rows, slices.Clone(rows.Values()))
	}
	return res, rows.Err()
}

// textTable is a result whose columns are all text.
func textTable(names []string, rows [][]string) Result {
	res := Result{Rows: make([][]row.Value, len(rows))}
	for _, n := range names {
		res.Columns = append(res.Columns, Column{Name: n, Type: row.Text.String()})
	}
	for i, cells := range rows {
		res.Rows[i] = make([]row.Value, len(cells))
		for j, c := range cells {
			res.Rows[i][j] = row.TextValue(c)
		}
	}
	return res
}

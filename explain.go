package kalamdb

import (
	"context"
	"fmt"

	"kalamdb/lake"
	"kalamdb/query"
	"kalamdb/row"
	"kalamdb/sql"
)

// explain answers EXPLAIN, a line in each row: how every table is read, then DuckDB's
// plan. Nothing is written.
func (db *DB) explain(ctx context.Context, s *statement, ex *sql.Explain) (Result, error) {
	inner := *s
	inner.Statement = ex.Inner
	s = &inner
	switch st := ex.Inner.(type) {
	case *sql.Insert:
		t, err := db.writable(s, st.Table)
		if err != nil {
			return Result{}, err
		}
		head := "insert into " + t.Ref.String()
		if st.Query == nil {
			return explained([]string{fmt.Sprintf("%s: %d rows of the statement itself", head, max(len(st.Rows), 1))}), nil
		}
		return db.explainText(ctx, s, head, *st.Query)
	case *sql.Update:
		return db.explainRewrite(ctx, s, "update ", updater(st))
	case *sql.Delete:
		return db.explainRewrite(ctx, s, "delete from ", deleter(st))
	}
	return db.explainText(ctx, s, "", ex.Select)
}

func (db *DB) explainText(ctx context.Context, s *statement, head string, f sql.Fragment) (Result, error) {
	where := fragmentPosition(f)
	plan, err := db.plan(f.Text, where)
	if err != nil {
		return Result{}, err
	}
	if n := len(s.req.Params); n != plan.Params() {
		return Result{}, fail(CodeInvalidParams, "the statement uses %d parameters, %d were given", plan.Params(), n)
	}
	return db.explainPlan(ctx, s, head, plan, where)
}

// explainRewrite explains the query that finds the rows of an UPDATE or a DELETE.
func (db *DB) explainRewrite(ctx context.Context, s *statement, verb string, rw *rewriter) (Result, error) {
	if err := rw.bind(db, s); err != nil {
		return Result{}, err
	}
	head := verb + rw.table.Ref.String()
	if _, ok := rw.wholeKey(); ok {
		return explained([]string{head + ": one row, looked up by its key"}), nil
	}
	if err := rw.prepare(); err != nil {
		return Result{}, err
	}
	return db.explainPlan(ctx, s, head, rw.plan, rw.where)
}

// explainPlan explains plan; head says what is done with its rows, if anything is.
func (db *DB) explainPlan(ctx context.Context, s *statement, head string, plan *query.Plan, where relocate) (Result, error) {
	at, release := db.sources(s)
	defer release()
	rels, err := at.relations(ctx, s, plan.Tables(), nil, where)
	if err != nil {
		return Result{}, err
	}
	if lines := guardedTables(plan.Tables(), rels); lines != nil {
		if head != "" {
			lines = append([]string{head}, lines...)
		}
		return explained(lines), nil
	}
	ctx, tally := lake.Tallied(ctx)
	tables, lines, err := db.engine.Explain(ctx, plan, rels, s.req.Params[:plan.Params()], db.session(s))
	if err != nil {
		return Result{}, relocated(err, where)
	}
	if head != "" {
		tables = append([]string{head}, tables...)
	}
	return explained(append(append(tables, tallied(tally)...), lines...)), nil
}

// tallied says where the files came from, or nothing if there was none.
func tallied(t *lake.Tally) []string {
	cached, linked, fetched, bytes := t.Counts()
	parts, requests, partBytes := t.Parts()
	if cached+linked+fetched+requests == 0 {
		return nil
	}
	lines := []string{fmt.Sprintf("files from the cache: %d, linked from the folder: %d, fetched from the bucket: %d with %d bytes", cached, linked, fetched, bytes)}
	if requests > 0 {
		lines = append(lines, fmt.Sprintf("files fetched in part: %d, with %d requests and %d bytes", parts, requests, partBytes))
	}
	return lines
}

func explained(lines []string) Result {
	res := Result{Columns: []Column{{Name: "plan", Type: row.Text.String()}}, Rows: make([][]row.Value, len(lines))}
	for i, l := range lines {
		res.Rows[i] = []row.Value{row.TextValue(l)}
	}
	return res
}

package kalamdb

import (
	"bytes"
	"context"
	"slices"
	"strings"

	"kalamdb/ingest"
	"kalamdb/query"
	"kalamdb/row"
	"kalamdb/sql"
)

// A rewriter runs an UPDATE or a DELETE. A statement that names one whole key looks the
// row up (single); for every other one a SELECT picks the affected rows, each with the
// Seq of the version it saw and the new values.
type rewriter struct {
	*change
	op      row.Op
	name    sql.Name
	alias   string
	sets    []sql.Set
	targets []int         // the columns they assign to
	others  *sql.Fragment // FROM of UPDATE, USING of DELETE
	cond    *sql.Fragment

	plan  *query.Plan
	where relocate
}

func (db *DB) update(ctx context.Context, s *statement, st *sql.Update) (Result, error) {
	return updater(st).start(ctx, db, s, st.Returning)
}

func (db *DB) delete(ctx context.Context, s *statement, st *sql.Delete) (Result, error) {
	return deleter(st).start(ctx, db, s, st.Returning)
}

func updater(st *sql.Update) *rewriter {
	return &rewriter{op: row.Update, name: st.Table, alias: st.Alias, sets: st.Sets, others: st.From, cond: st.Where}
}

func deleter(st *sql.Delete) *rewriter {
	return &rewriter{op: row.Delete, name: st.Table, alias: st.Alias, others: st.Using, cond: st.Where}
}

// start checks the statement, chooses the way to the rows, and runs.
func (rw *rewriter) start(ctx context.Context, db *DB, s *statement, returning *sql.Fragment) (Result, error) {
	err := rw.bind(db, s)
	if err != nil {
		return Result{}, err
	}
	beside, err := rw.besideTables(ctx, returning)
	if err != nil {
		return Result{}, err
	}
	if rw.returning, err = db.newReturning(s, rw.table, rw.alias, returning, beside); err != nil {
		return Result{}, err
	}
	if key, ok := rw.wholeKey(); ok {
		rw.look = rw.single(key)
	} else {
		if err := rw.prepare(); err != nil {
			return Result{}, err
		}
		rw.look = rw.pick
	}
	return rw.run(ctx)
}

// bind finds the table and the columns of the statement.
func (rw *rewriter) bind(db *DB, s *statement) error {
	t, err := db.writable(s, rw.name)
	if err == nil {
		err = s.checkParams()
	}
	if err != nil {
		return err
	}
	rw.change = &change{db: db, s: s, table: t, rules: db.rulesOf(s, t), locks: true}
	if err := rw.refuseHidden(s.Verb()); err != nil {
		return err
	}
	rw.targets, err = targetsOf(t, rw.sets)
	return err
}

// prepare has the SELECT parsed and passed by the gate.
func (rw *rewriter) prepare() (err error) {
	c, start := rw.compose(), rw.s.Start()
	rw.where = func(pos int) int { return c.position(pos, start) }
	if rw.plan, err = rw.db.plan(c.String(), rw.where); err != nil {
		return err
	}
	if rw.plan.Unnests() {
		return errUnnest().at(start)
	}
	return nil
}

func errUnnest() *Error {
	return fail(CodeSyntax, "a value of an UPDATE gives several rows or columns, expected one value: unnest makes rows, COLUMNS makes columns")
}

// ofValues makes DuckDB's errors about a composed SELECT errors about the assignments in it.
func ofValues(err error) error {
	e := asError(err)
	if name, ok := strings.CutPrefix(e.Message, "Could not find key "); ok { // of excluded
		name, _, _ = strings.Cut(name, " in struct")
		return fail(CodeColumnNotFound, "column %s does not exist", name).at(e.Position)
	}
	if !strings.Contains(e.Message, "must appear in the GROUP BY clause") {
		return err
	}
	return fail(CodeInvalidStatement, "an aggregate function is not possible here, expected a value of one row").
		details("a subquery can have one: SET n = (SELECT count(*) FROM t)").at(e.Position)
}

// compose makes SELECT _seq, _updated, every column, every new value FROM the table.
// A row that several rows of the other tables match comes once, with any one of them.
func (rw *rewriter) compose() *composer {
	var c composer
	alias, as := sql.QuoteIdent(rw.name.Name), "" // without an alias the columns may be qualified by the namespace too
	if rw.alias != "" {
		alias = sql.QuoteIdent(rw.alias)
		as = " AS " + alias
	}
	schema := rw.table.Schema()
	c.text("SELECT ")
	if rw.others != nil {
		c.text("DISTINCT ON (")
		for i, j := range schema.KeyIndexes() {
			if i > 0 {
				c.text(", ")
			}
			c.text(alias, ".", sql.QuoteIdent(schema.Columns[j].Name))
		}
		c.text(") ")
	}
	c.text(alias, "._seq, ", alias, "._updated")
	for _, col := range schema.Columns {
		c.text(", ", alias, ".", sql.QuoteIdent(col.Name))
	}
	for i := range rw.sets {
		c.text(", ").cast(&schema.Columns[rw.targets[i]], &rw.sets[i].Value)
	}
	if rw.returning != nil {
		for _, b := range rw.returning.beside {
			b.pick(&c)
		}
	}
	c.text(" FROM ", sql.QuoteIdent(rw.table.Ref.Namespace), ".", sql.QuoteIdent(rw.table.Ref.Name), as)
	if rw.others != nil {
		c.text(", ").raw(*rw.others)
	}
	// A condition or a value that names _deleted shows deleted rows, which no statement
	// may change.
	c.text("\nWHERE NOT ", alias, ".", row.ColDeleted)
	if rw.cond != nil {
		c.text(" AND ").fragment(*rw.cond)
	}
	return &c
}

// A pickedRow is what becomes of a row, nil if it is deleted, and what it met in the
// other tables.
type pickedRow struct{ changed, beside []row.Value }

// pick runs the SELECT.
func (rw *rewriter) pick(ctx context.Context, at *tableSources) (*effect, error) {
	w := &rewriting{c: rw.change, e: rw.effectOn()}
	rows, err := at.rows(ctx, rw.s, rw.plan, nil, rw.s.req.Params[:rw.plan.Params()], rw.where)
	if err != nil {
		return nil, ofValues(err)
	}
	defer rows.Close()
	schema := rw.table.Schema()
	width := len(schema.Columns)
	var olds []*row.Row
	var picked []pickedRow // parallel to olds
	for rows.Next() {
		values := rows.Values()
		old := &row.Row{Seq: row.Seq(values[0].Int()), Updated: values[1].Int(), Schema: schema.Version, Values: make([]row.Value, width)}
		for j := range old.Values {
			if old.Values[j], err = conform(values[2+j], &schema.Columns[j]); err != nil {
				return nil, err
			}
		}
		var changed []row.Value
		if rw.op == row.Update {
			changed = append(changed, old.Values...)
			for i, j := range rw.targets {
				if changed[j], err = conform(values[2+width+i], &schema.Columns[j]); err != nil {
					return nil, err
				}
			}
		}
		beside, err := rw.besideValues(values[2+width+len(rw.sets):])
		if err != nil {
			return nil, err
		}
		picked, olds = append(picked, pickedRow{changed, beside}), append(olds, old)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	var permitted []bool
	if rw.rules != nil {
		if permitted, err = rw.permitted(ctx, strings.ToLower(rw.op.String()), olds); err != nil {
			return nil, err
		}
	}
	for i, old := range olds {
		if permitted != nil && !permitted[i] {
			continue
		}
		if err := rw.rewrite(w, old, picked[i].changed); err != nil {
			return nil, err
		}
		if picked[i].beside != nil {
			if w.e.beside == nil {
				w.e.beside = map[string][]row.Value{}
			}
			now := old.Values
			if picked[i].changed != nil {
				now = picked[i].changed
			}
			w.e.beside[string(schema.KeyOf(now))] = picked[i].beside
		}
	}
	if rw.returning != nil { // in an order that does not depend on files
		slices.SortFunc(w.e.Mutations, func(a, b ingest.Mutation) int { return bytes.Compare(a.Key, b.Key) })
	}
	return w.finish(ctx, at)
}

// rewrite adds what the statement does to old.
func (rw *rewriter) rewrite(w *rewriting, old *row.Row, changed []row.Value) error {
	if rw.op == row.Delete {
		w.delete(old)
		return nil
	}
	return w.update(old, changed)
}

// wholeKey is the primary key that the condition names, if it is no more than that.
func (rw *rewriter) wholeKey() ([]byte, bool) {
	if rw.others != nil || rw.cond == nil {
		return nil, false
	}
	list, ok := sql.Equalities(*rw.cond)
	schema := rw.table.Schema()
	indexes := schema.KeyIndexes()
	if !ok || len(list) != len(indexes) {
		return nil, false
	}
	called := names(rw.name, rw.alias)[0]
	var key []byte
	for _, j := range indexes {
		found := false
		for _, e := range list {
			if e.Column.Column != schema.Columns[j].Name || e.Column.Qualifier != "" && e.Column.Qualifier != called {
				continue
			}
			v := e.Value.Value
			if e.Value.Kind == sql.Param {
				v = rw.s.req.Params[e.Value.Param-1]
			}
			if v, found = sameKind(v, schema.Columns[j].Type); !found {
				return nil, false
			}
			key = row.AppendKey(key, v)
			break
		}
		if !found {
			return nil, false
		}
	}
	return key, true
}

// sameKind is v as a value of type t if comparing it with one needs no cast that could
// change it.
func sameKind(v row.Value, t row.Type) (row.Value, bool) {
	switch v.Kind() {
	case row.SmallInt, row.Int, row.BigInt:
		switch t.Kind {
		case row.SmallInt, row.Int, row.BigInt:
			v, err := row.Coerce(v, t)
			return v, err == nil
		}
		return v, false
	case row.Text:
		if t.Kind == row.UUID {
			v, err := row.Coerce(v, t)
			return v, err == nil
		}
	}
	return v, v.Kind() == t.Kind && (t.Kind == row.Text || t.Kind == row.UUID)
}

// single looks up the row with the key.
func (rw *rewriter) single(key []byte) func(ctx context.Context, at *tableSources) (*effect, error) {
	set := &setter{c: rw.change, names: names(rw.name, rw.alias), aliased: rw.alias != "", sets: rw.sets, targets: rw.targets}
	return func(ctx context.Context, at *tableSources) (*effect, error) {
		w := &rewriting{c: rw.change, e: rw.effectOn()}
		found, err := at.find(ctx, rw.table, w.e.Partition, [][]byte{key})
		if err != nil {
			return nil, err
		}
		old := found[string(key)]
		if old != nil && rw.rules != nil {
			ok, err := rw.permitted(ctx, strings.ToLower(rw.op.String()), []*row.Row{old})
			if err != nil {
				return nil, err
			}
			if !ok[0] {
				old = nil
			}
		}
		if old == nil || old.Deleted {
			return w.e, set.check(ctx, at)
		}
		var changed []row.Value
		if rw.op == row.Update {
			got, err := set.apply(ctx, at, []pair{{old: old}})
			if err != nil {
				return nil, err
			}
			changed = got[0]
		}
		if err := rw.rewrite(w, old, changed); err != nil {
			return nil, err
		}
		return w.finish(ctx, at)
	}
}

package kalamdb

import (
	"context"

	"kalamdb/catalog"
	"kalamdb/ingest"
	"kalamdb/query"
	"kalamdb/row"
	"kalamdb/sql"
)

// A rewriter runs an UPDATE or a DELETE: one SELECT picks the affected rows, each
// with the Seq of the version it saw and the new values; the commit goes through
// only if none of these rows has changed since, else everything runs again.
type rewriter struct {
	db      *DB
	s       *statement
	table   *catalog.Table
	schema  *row.Schema
	plan    *query.Plan
	where   relocate
	targets []int // columns that the statement sets, in the order of the SELECT; nil for DELETE
	op      row.Op
}

func (db *DB) update(ctx context.Context, s *statement, st *sql.Update) (Result, error) {
	t, err := db.writable(s, st.Table)
	if err != nil {
		return Result{}, err
	}
	rw := &rewriter{db: db, s: s, table: t, schema: t.Schema(), op: row.Update}
	for _, set := range st.Sets {
		j, err := columnOf(t, set.Column, set.Pos)
		if err != nil {
			return Result{}, err
		}
		for _, other := range rw.targets {
			if other == j {
				return Result{}, fail(CodeSyntax, "column %s is set twice", set.Column).at(set.Pos)
			}
		}
		rw.targets = append(rw.targets, j)
	}
	return rw.run(ctx, st.Table, st.Alias, st.Sets, st.Where, st.Start())
}

func (db *DB) delete(ctx context.Context, s *statement, st *sql.Delete) (Result, error) {
	t, err := db.writable(s, st.Table)
	if err != nil {
		return Result{}, err
	}
	rw := &rewriter{db: db, s: s, table: t, schema: t.Schema(), op: row.Delete}
	return rw.run(ctx, st.Table, st.Alias, nil, st.Where, st.Start())
}

// run composes the SELECT, then picks and commits until nobody interferes.
func (rw *rewriter) run(ctx context.Context, name sql.Name, alias string, sets []sql.Set, where *sql.Fragment, start int) (Result, error) {
	c := rw.compose(name, alias, sets, where)
	rw.where = func(pos int) int { return c.position(pos, start) }
	var err error
	if rw.plan, err = rw.db.plan(c.String(), rw.where); err != nil {
		return Result{}, err
	}
	if rw.plan.Unnests() {
		return Result{}, fail(CodeSyntax, "a value of an UPDATE gives several rows, expected one: unnest makes rows").at(start)
	}
	if n := len(rw.s.req.Params); n != rw.plan.Params() {
		return Result{}, fail(CodeInvalidParams, "the statement uses %d parameters, %d were given", rw.plan.Params(), n)
	}
	ctx, cancel := context.WithTimeout(ctx, rw.db.statementTimeout) // the wait for the lock included
	defer cancel()
	p := rw.s.partition(rw.table)
	release, err := rw.db.writers.lock(ctx, p)
	if err != nil {
		return Result{}, err
	}
	defer release()
	var affected int64
	res, err := rw.db.commitRetrying(ctx, func() (ingest.Write, error) {
		w := ingest.Write{Partition: p, Schema: rw.schema, Epoch: rw.db.buffer.Epoch(p)}
		w.Mutations, affected, err = rw.pick(ctx)
		return w, err
	})
	res.Affected = affected
	return res, err
}

// compose makes SELECT _seq, _updated, every column, every new value FROM the table.
func (rw *rewriter) compose(name sql.Name, alias string, sets []sql.Set, where *sql.Fragment) *composer {
	var c composer
	as := "" // without an alias the columns may be qualified by the namespace too
	if alias == "" {
		alias = sql.QuoteIdent(name.Name)
	} else {
		alias = sql.QuoteIdent(alias)
		as = " AS " + alias
	}
	c.text("SELECT ", alias, "._seq, ", alias, "._updated")
	for _, col := range rw.schema.Columns {
		c.text(", ", alias, ".", sql.QuoteIdent(col.Name))
	}
	for i, set := range sets {
		c.text(", ").cast(&rw.schema.Columns[rw.targets[i]], &set.Value)
	}
	c.text(" FROM ", sql.QuoteIdent(rw.table.Ref.Namespace), ".", sql.QuoteIdent(rw.table.Ref.Name), as)
	// A condition or a value that names _deleted shows deleted rows, which no statement
	// may change.
	c.text(" WHERE NOT ", alias, ".", row.ColDeleted)
	if where != nil {
		c.text(" AND ").fragment(*where)
	}
	return &c
}

// pick runs the SELECT and makes a mutation of each row; an update that changes the
// primary key is a delete and an insert.
func (rw *rewriter) pick(ctx context.Context) (muts []ingest.Mutation, affected int64, err error) {
	rows, err := rw.db.planRows(ctx, rw.s, rw.plan, rw.s.req.Params, rw.where)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	var inserts []ingest.Mutation
	width := len(rw.schema.Columns)
	for rows.Next() {
		values := rows.Values()
		old := &row.Row{Seq: row.Seq(values[0].Int()), Updated: values[1].Int(), Schema: rw.schema.Version, Values: make([]row.Value, width)}
		for j := range old.Values {
			if old.Values[j], err = conform(values[2+j], &rw.schema.Columns[j]); err != nil {
				return nil, 0, err
			}
		}
		affected++
		m := ingest.Mutation{Op: rw.op, Key: rw.schema.KeyOf(old.Values), Values: old.Values, OldSeq: old.Seq, Old: old}
		if rw.op == row.Delete {
			muts = append(muts, m)
			continue
		}
		m.Values = append([]row.Value(nil), old.Values...)
		for i, j := range rw.targets {
			if m.Values[j], err = conform(values[2+width+i], &rw.schema.Columns[j]); err != nil {
				return nil, 0, err
			}
		}
		if key := rw.schema.KeyOf(m.Values); string(key) != string(m.Key) {
			if len(key) > keyBytesMax {
				return nil, 0, fail(CodeTooLarge, "a primary key of %d bytes, the limit is %d", len(key), keyBytesMax)
			}
			inserts = append(inserts, ingest.Mutation{Op: row.Insert, Key: key, Values: m.Values})
			m.Op, m.Values = row.Delete, old.Values
		}
		muts = append(muts, m)
	}
	if err := rows.Err(); err != nil {
		return nil, 0, err
	}
	if len(inserts) > 0 {
		if muts, err = rw.withInserts(ctx, muts, inserts); err != nil {
			return nil, 0, err
		}
	}
	return muts, affected, nil
}

// withInserts adds the rows that got a new key, which no other flushed row may have.
func (rw *rewriter) withInserts(ctx context.Context, muts, inserts []ingest.Mutation) ([]ingest.Mutation, error) {
	leaving := map[string]bool{}
	for _, m := range muts {
		if m.Op == row.Delete {
			leaving[string(m.Key)] = true
		}
	}
	check := ingest.Write{Partition: rw.s.partition(rw.table)}
	for _, m := range inserts {
		if !leaving[string(m.Key)] {
			check.Mutations = append(check.Mutations, m)
		}
	}
	if err := rw.db.refuseStored(ctx, rw.schema, &check); err != nil {
		return nil, err
	}
	return append(muts, inserts...), nil
}

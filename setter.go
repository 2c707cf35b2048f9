package kalamdb

import (
	"context"
	"encoding/binary"
	"slices"
	"strconv"
	"sync"

	"kalamdb/query"
	"kalamdb/row"
	"kalamdb/sql"
)

// A setter gives rows that are at hand their new values: those of UPDATE by key and of
// ON CONFLICT DO UPDATE. Literals, parameters, columns, and sums and products of whole
// numbers are computed right here (fast); if an assignment is none of these, DuckDB computes all
// of them over the rows. Both give the same values.
type setter struct {
	c        *change
	names    []string // by which the statement may call the row
	aliased  bool     // that is an alias, to which no namespace belongs
	sets     []sql.Set
	targets  []int         // the columns they assign to
	cond     *sql.Fragment // of DO UPDATE … WHERE: rows for which it is not true stay as they are
	excluded bool          // the row that was to be inserted is there under the name excluded

	plan  *query.Plan // made when it is needed first
	where relocate
}

const excludedName = "excluded"

// A pair is a stored row and, for ON CONFLICT, the row that was to be inserted.
type pair struct {
	old      *row.Row
	excluded []row.Value
}

// apply gives the new values of each row; nil for one that the condition leaves alone.
func (u *setter) apply(ctx context.Context, at *tableSources, rows []pair) ([][]row.Value, error) {
	got := make([][]row.Value, len(rows))
	if len(rows) == 0 {
		return got, nil
	}
	ok := u.cond == nil
	var err error
	for i := 0; i < len(rows) && ok; i++ {
		if got[i], ok, err = u.fast(&rows[i]); err != nil {
			return nil, err
		}
	}
	if ok {
		return got, nil
	}
	return u.evaluate(ctx, at, rows)
}

// check finds what is wrong with the assignments when there is no row to apply them to.
func (u *setter) check(ctx context.Context, at *tableSources) error {
	if len(u.sets) == 0 {
		return nil
	}
	if u.cond != nil {
		return u.checkAll(ctx, at)
	}
	values := make([]row.Value, len(u.c.table.Schema().Columns)) // of a row that is all NULL
	none := pair{old: &row.Row{Values: values}, excluded: values}
	for i := range u.sets {
		_, ok, err := u.fastValue(&none, &u.c.table.Schema().Columns[u.targets[i]], &u.sets[i].Value)
		if err != nil {
			return err
		}
		if !ok {
			return u.checkAll(ctx, at)
		}
	}
	return nil
}

// checkAll has DuckDB check all assignments and the condition over no rows. What names no
// other table stays right as long as the schema is the same.
func (u *setter) checkAll(ctx context.Context, at *tableSources) error {
	if err := u.prepare(); err != nil {
		return err
	}
	good := goodPlan{plan: u.plan, table: u.c.table.Ref.ID, version: u.c.table.Schema().Version}
	if u.c.db.goodPlans.has(good) {
		return nil
	}
	_, err := u.evaluate(ctx, at, nil)
	if err == nil && len(u.plan.Tables()) == 1 {
		u.c.db.goodPlans.add(good)
	}
	return err
}

// goodPlans are plans of assignments that DuckDB has accepted for a version of a table.
type goodPlans struct {
	mu   sync.Mutex // guards good; nothing blocks under it
	good map[goodPlan]struct{}
}

type goodPlan struct {
	plan    *query.Plan
	table   uint64
	version uint32
}

const goodPlansMax = 1024

func (g *goodPlans) has(p goodPlan) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, ok := g.good[p]
	return ok
}

func (g *goodPlans) add(p goodPlan) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.good == nil || len(g.good) >= goodPlansMax {
		g.good = map[goodPlan]struct{}{}
	}
	g.good[p] = struct{}{}
}

// fast is the new values of a row; ok is false if DuckDB has to compute them.
func (u *setter) fast(p *pair) (values []row.Value, ok bool, err error) {
	values = append(values, p.old.Values...)
	for i := range u.sets {
		col := &u.c.table.Schema().Columns[u.targets[i]]
		v, ok, err := u.fastValue(p, col, &u.sets[i].Value)
		if !ok || err != nil {
			return nil, false, err
		}
		if values[u.targets[i]], err = conform(v, col); err != nil {
			return nil, false, err
		}
	}
	return values, true, nil
}

func (u *setter) fastValue(p *pair, col *row.Column, e *sql.Expr) (v row.Value, ok bool, err error) {
	if e.Kind != sql.Other {
		v, err := u.c.db.fastValue(u.c.s, col, e)
		if isSlow(err) {
			return v, false, nil
		}
		return v, true, err
	}
	terms, ok := sql.Arithmetic(e.Text)
	if !ok || len(terms) == 1 && !terms[0].Operand.IsColumn {
		return v, false, nil
	}
	var stack []row.Value
	for i := range terms {
		if terms[i].Op == 0 {
			v, ok = u.operand(p, col, &terms[i].Operand)
		} else {
			n := len(stack) - 2
			v, ok = arithmetic(stack[n], terms[i].Op, stack[n+1])
			stack = stack[:n]
		}
		if !ok {
			return v, false, nil
		}
		stack = append(stack, v)
	}
	return v, true, nil
}

// arithmetic is v + w, v - w or v * w of two values of one kind of whole number; what
// overflows is left to DuckDB, which says so.
func arithmetic(v row.Value, op byte, w row.Value) (_ row.Value, ok bool) {
	kind := v.Kind()
	limit := map[row.Kind]int64{row.SmallInt: 1 << 15, row.Int: 1 << 31, row.BigInt: 1 << 53}[kind]
	switch {
	case v.IsNull() || w.IsNull():
		return row.NullValue, true
	case limit == 0 || w.Kind() != kind || v.Int() <= -limit || v.Int() >= limit || w.Int() <= -limit || w.Int() >= limit:
		return v, false
	}
	n := v.Int() + w.Int()
	switch op {
	case '-':
		n = v.Int() - w.Int()
	case '*':
		n = v.Int() * w.Int()
		if v.Int() != 0 && n/v.Int() != w.Int() {
			return v, false // not even an int64 holds it
		}
	}
	return row.IntValue(kind, n), n > -limit && n < limit
}

// operand is the value of o if it has the type of col.
func (u *setter) operand(p *pair, col *row.Column, o *sql.Operand) (v row.Value, ok bool) {
	if !o.IsColumn {
		v = o.Value.Value
		if o.Value.Kind == sql.Param {
			v = u.c.s.req.Params[o.Value.Param-1]
		}
		switch v.Kind() {
		case row.SmallInt, row.Int, row.BigInt:
			v, err := row.Coerce(v, col.Type)
			return v, err == nil
		}
		return v, false
	}
	values := p.old.Values
	switch {
	case o.Qualifier == excludedName && u.excluded:
		values = p.excluded
	case o.Qualifier != "" && !slices.Contains(u.names, o.Qualifier):
		return v, false
	}
	j := u.c.table.Schema().ByName(o.Column)
	if j < 0 || u.c.table.Schema().Columns[j].Type != col.Type {
		return v, false
	}
	return values[j], true
}

// ordinalName is the column that numbers the rows of the affected table. No column of a
// stored table can have the name.
const ordinalName = "kalamdb n"

// ordinalID and those behind it are the ids of the columns that no stored row has.
const ordinalID row.ColumnID = 1 << 29

// compose makes the SELECT of the new values, over rows as the relation of evaluate has
// them. Bare columns are those of the stored row; those of the other one are in a
// struct, so that only excluded.a reaches them. The stored row as one value, to_json(t), is a
// struct too: the relation has columns that are no business of the caller's.
func (u *setter) compose() *composer {
	var c composer
	if !u.aliased {
		c.table = &u.c.table.Ref
	}
	c.text("SELECT ", sql.QuoteIdent(ordinalName))
	for i := range u.sets {
		c.text(", ").cast(&u.c.table.Schema().Columns[u.targets[i]], &u.sets[i].Value)
	}
	if u.cond != nil {
		c.text(", ").fragment(*u.cond)
	}
	c.text(" FROM (SELECT *, _seq")
	schema := u.c.table.Schema()
	if u.excluded {
		c.text(", {")
		for j, col := range schema.Columns {
			if j > 0 {
				c.text(", ")
			}
			c.text(sql.QuoteIdent(col.Name), ": ", sql.QuoteIdent(excludedColumn(j)))
		}
		c.text("} AS ", excludedName)
	}
	if called := u.names[0]; schema.ByName(called) < 0 {
		c.text(", {")
		for _, col := range schema.Columns {
			c.text(sql.QuoteIdent(col.Name), ": ", sql.QuoteIdent(col.Name), ", ")
		}
		c.text(row.ColUpdated, ": ", row.ColUpdated, ", ", row.ColDeleted, ": ", row.ColDeleted, "} AS ", sql.QuoteIdent(called))
	}
	c.text(" FROM ", sql.QuoteIdent(affectedName), ") AS ", sql.QuoteIdent(u.names[0]))
	return &c
}

func excludedColumn(j int) string { return "kalamdb excluded " + strconv.Itoa(j) }

// prepare makes the plan, if that is not done.
func (u *setter) prepare() error {
	if u.plan != nil {
		return nil
	}
	start := u.sets[0].Value.Text.Pos
	c := u.compose()
	u.where = func(pos int) int { return c.position(pos, start) }
	plan, err := u.c.db.plan(c.String(), u.where)
	if err != nil {
		return err
	}
	if plan.Unnests() {
		return errUnnest().at(start)
	}
	u.plan = plan
	return nil
}

// evaluate has DuckDB compute the values.
func (u *setter) evaluate(ctx context.Context, at *tableSources, rows []pair) ([][]row.Value, error) {
	if err := u.prepare(); err != nil {
		return nil, err
	}
	schema := u.c.table.Schema()
	rel := &query.Relation{Schema: &row.Schema{Version: schema.Version, Key: schema.Key}, System: true}
	rel.Schema.Columns = append(rel.Schema.Columns, schema.Columns...)
	rel.Schema.Columns = append(rel.Schema.Columns, row.Column{ID: ordinalID, Name: ordinalName, Type: row.Type{Kind: row.BigInt}})
	if u.excluded {
		for j, col := range schema.Columns {
			rel.Schema.Columns = append(rel.Schema.Columns, row.Column{ID: ordinalID + 1 + row.ColumnID(j), Name: excludedColumn(j), Type: col.Type})
		}
	}
	list := make(listed, len(rows))
	for i, p := range rows {
		list[i] = *p.old
		list[i].Schema = schema.Version
		list[i].Values = append(append(append([]row.Value(nil), p.old.Values...), row.IntValue(row.BigInt, int64(i))), p.excluded...)
	}
	rel.Hot = list
	res, err := at.rows(ctx, u.c.s, u.plan, rel, u.c.s.req.Params[:u.plan.Params()], u.where)
	if err != nil {
		return nil, ofValues(err)
	}
	defer res.Close()
	got := make([][]row.Value, len(rows))
	for res.Next() {
		v := res.Values()
		n := v[0].Int()
		if u.cond != nil && !v[len(v)-1].Bool() {
			continue
		}
		values := append([]row.Value(nil), rows[n].old.Values...)
		for i, j := range u.targets {
			if values[j], err = conform(v[1+i], &schema.Columns[j]); err != nil {
				return nil, err
			}
		}
		got[n] = values
	}
	return got, res.Err()
}

// listed are rows in memory, whose keys are their places.
type listed []row.Row

func (l listed) Len() int { return len(l) }

func (l listed) Get(key []byte) (row.Row, bool, error) { return row.Row{}, false, nil }

func (l listed) Scan(from, to []byte, yield func(key []byte, r *row.Row) bool) error {
	at := 0
	if from != nil {
		at = int(binary.BigEndian.Uint32(from))
		if len(from) > 4 { // behind that key
			at++
		}
	}
	var key [4]byte
	for ; at < len(l); at++ {
		binary.BigEndian.PutUint32(key[:], uint32(at))
		r := l[at]
		if !yield(key[:], &r) {
			break
		}
	}
	return nil
}

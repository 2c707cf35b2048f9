package kalamdb

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"kalamdb/catalog"
	"kalamdb/ingest"
	"kalamdb/row"
	"kalamdb/sql"
)

const (
	keyBytesMax     = 4 << 10   // one primary key
	valuesRowsMax   = 10_000    // rows of one INSERT … VALUES
	insertedRowsMax = 1_000_000 // rows of one INSERT … SELECT
	keptRowsMax     = 100_000   // rows of one that stay in memory: with RETURNING, ON CONFLICT, in a transaction, into a stream
	arenaRowsMax    = 1024      // rows whose values share one slice
)

// An inserter turns the rows of one INSERT into rows of the table.
//
// Two ways lead there. Literals, parameters and simple defaults become typed values
// right away (fastCell). The cells that need DuckDB's word go through one SELECT of
// casts (evaluate). Both give the same values.
type inserter struct {
	db     *DB
	s      *statement
	table  *catalog.Table
	schema *row.Schema
	cells  []int // per column of the schema: its position in the statement's rows, or -1
	width  int   // of the statement's rows
	named  bool  // the statement names its columns
}

// insert runs an INSERT.
func (db *DB) insert(ctx context.Context, s *statement, st *sql.Insert) (Result, error) {
	t, err := db.writable(s, st.Table)
	if err == nil {
		err = s.checkParams()
	}
	if err != nil {
		return Result{}, err
	}
	ins, err := newInserter(db, s, t, st)
	if err != nil {
		return Result{}, err
	}
	c := &change{db: db, s: s, table: t, rules: db.rulesOf(s, t)}
	c.reads = st.Returning != nil || st.Conflict != nil && len(st.Conflict.Sets) > 0
	if c.reads {
		if err := c.refuseHidden("INSERT with RETURNING or DO UPDATE"); err != nil {
			return Result{}, err
		}
	}
	if c.returning, err = db.newReturning(s, t, st.Alias, st.Returning, nil); err != nil {
		return Result{}, err
	}
	var rows [][]row.Value
	if st.Query != nil {
		got, err := ins.selected(ctx, *st.Query)
		if err != nil {
			return Result{}, err
		}
		defer got.Close()
		most := keptRowsMax
		if c.stageable(st.Conflict != nil) {
			most = stagedFrom
		}
		var more bool
		if rows, more, err = gather(got, most); err != nil {
			return Result{}, err
		}
		switch {
		case more && most == stagedFrom:
			return ins.stage(ctx, c, rows, got)
		case more:
			return Result{}, fail(CodeTooLarge, "the statement inserts more than %d rows, the limit of one that has RETURNING or ON CONFLICT, is part of a transaction, writes to a stream or is bound by policies", keptRowsMax)
		}
		got.Close()
	} else {
		rows, err = ins.values(ctx, st)
	}
	if err == nil {
		err = ins.finish(rows)
	}
	if err == nil && c.rules != nil { // before a key that is taken could tell of a row
		err = c.refuse(ctx, "insert", ins.asRows(rows), c.reads)
	}
	if err != nil {
		return Result{}, err
	}
	inserts := make([]ingest.Mutation, len(rows))
	for i, values := range rows {
		inserts[i] = ingest.Mutation{Op: row.Insert, Values: values}
		if inserts[i].Key, err = c.keyOf(values); err != nil {
			return Result{}, err
		}
	}
	if st.Conflict != nil {
		up, err := newUpsert(c, st, inserts)
		if err != nil {
			return Result{}, err
		}
		c.look, c.again = up.look, true
		return c.run(ctx)
	}
	c.look = func(ctx context.Context, at *tableSources) (*effect, error) {
		e := c.effectOn()
		e.Mutations = inserts
		return e, c.refuseTaken(ctx, at, inserts)
	}
	return c.run(ctx)
}

func newInserter(db *DB, s *statement, t *catalog.Table, st *sql.Insert) (*inserter, error) {
	schema := t.Schema()
	ins := &inserter{db: db, s: s, table: t, schema: schema, cells: make([]int, len(schema.Columns)), width: len(st.Columns), named: st.Columns != nil}
	if st.Columns == nil && !st.DefaultValues {
		ins.width = len(schema.Columns)
		for i := range ins.cells {
			ins.cells[i] = i
		}
		return ins, nil
	}
	for i := range ins.cells {
		ins.cells[i] = -1
	}
	for i, c := range st.Columns {
		j, err := columnOf(t, c.Name, c.Pos)
		if err != nil {
			return nil, err
		}
		if ins.cells[j] >= 0 {
			return nil, fail(CodeSyntax, "column %s is named twice", c.Name).at(c.Pos)
		}
		ins.cells[j] = i
	}
	return ins, nil
}

// fit makes rows of n values fit a statement that names no columns, if they are one
// short: they leave out the AUTO_INCREMENT column, which the user may not even have
// declared.
func (ins *inserter) fit(n int) {
	auto := slices.IndexFunc(ins.schema.Columns, func(c row.Column) bool { return c.AutoIncrement })
	if auto < 0 || n != len(ins.cells)-1 || ins.width != len(ins.cells) || ins.named {
		return
	}
	ins.width = n
	for i := range ins.cells {
		switch {
		case i == auto:
			ins.cells[i] = -1
		case i > auto:
			ins.cells[i] = i - 1
		}
	}
}

// columnOf is the position of a declared column. Writes to system columns are refused
// before, see refuseClauses.
func columnOf(t *catalog.Table, name string, pos int) (int, error) {
	schema := t.Schema()
	if j := schema.ByName(name); j >= 0 {
		return j, nil
	}
	names := make([]string, len(schema.Columns))
	for i, c := range schema.Columns {
		names[i] = c.Name
	}
	nearest, _ := sql.Nearest(name, names)
	return 0, fail(CodeColumnNotFound, "column %s does not exist in %s", name, t.Ref).details(didYouMean(nearest)).at(pos)
}

// values are the rows of INSERT … VALUES.
func (ins *inserter) values(ctx context.Context, st *sql.Insert) ([][]row.Value, error) {
	list := st.Rows
	if st.DefaultValues {
		list = [][]sql.Expr{nil}
	}
	if n := len(list); n > valuesRowsMax {
		return nil, fail(CodeTooLarge, "%d rows in one INSERT, the limit is %d", n, valuesRowsMax)
	}
	if len(list) > 0 {
		ins.fit(len(list[0]))
	}
	for _, exprs := range list {
		if len(exprs) != ins.width {
			return nil, fail(CodeSyntax, "a row has %d values, expected %d", len(exprs), ins.width).at(rowPosition(st, exprs))
		}
	}
	rows := make([][]row.Value, len(list))
	var slow []slowCell
	for i, exprs := range list {
		rows[i] = make([]row.Value, len(ins.schema.Columns))
		for j := range ins.schema.Columns {
			v, err := ins.fastCell(j, exprs)
			if errors.Is(err, row.ErrSlow) {
				slow = append(slow, slowCell{i, j})
			} else if err != nil {
				return nil, err
			}
			rows[i][j] = v
		}
	}
	if len(slow) == 0 {
		return rows, nil
	}
	start := st.Start()
	if i := ins.cells[slow[0].col]; i >= 0 {
		start = list[slow[0].row][i].Text.Pos // where DuckDB does not say more
	}
	return rows, ins.evaluate(ctx, list, rows, slow, start)
}

func rowPosition(st *sql.Insert, exprs []sql.Expr) int {
	if len(exprs) > 0 {
		return exprs[0].Text.Pos
	}
	return st.Start()
}

// fastCell is the value of a literal, a parameter or a simple default; row.ErrSlow
// says that DuckDB has to evaluate the cell.
func (ins *inserter) fastCell(j int, exprs []sql.Expr) (row.Value, error) {
	col := &ins.schema.Columns[j]
	i := ins.cells[j]
	if i < 0 {
		return ins.db.defaultValue(ins.s, col)
	}
	return ins.db.fastValue(ins.s, col, &exprs[i])
}

// fastValue is what e, a literal, a parameter or DEFAULT, gives to col; row.ErrSlow says
// that DuckDB has to evaluate it.
func (db *DB) fastValue(s *statement, col *row.Column, e *sql.Expr) (v row.Value, err error) {
	switch e.Kind {
	case sql.Literal:
		v, err = row.Coerce(e.Value, col.Type)
	case sql.Param:
		v, err = row.CoerceParam(s.req.Params[e.Param-1], col.Type)
	case sql.DefaultValue:
		v, err = db.defaultValue(s, col)
	default:
		return v, row.ErrSlow
	}
	if err != nil && !isSlow(err) {
		return v, fail(CodeInvalidValue, "column %s: %s", col.Name, err).at(e.Text.Pos)
	}
	return v, err
}

func isSlow(err error) bool { return errors.Is(err, row.ErrSlow) }

// A slowCell is a cell of INSERT … VALUES that only DuckDB can evaluate.
type slowCell struct{ row, col int }

// slowCellsMax is how many cells go through one SELECT, far below the limits on the
// shape of a statement.
const slowCellsMax = 500

// evaluate has DuckDB evaluate the slow cells, which are ascending by row, some rows
// at a time.
func (ins *inserter) evaluate(ctx context.Context, list [][]sql.Expr, rows [][]row.Value, slow []slowCell, start int) error {
	for len(slow) > 0 {
		n := min(len(slow), slowCellsMax)
		for n < len(slow) && slow[n].row == slow[n-1].row {
			n++ // a row stays whole
		}
		if err := ins.evaluateSome(ctx, list, rows, slow[:n], start); err != nil {
			return err
		}
		slow = slow[n:]
	}
	return nil
}

// evaluateSome is one SELECT: a line per row, a column per column of the table that
// has a slow cell, NULL where the value is known.
func (ins *inserter) evaluateSome(ctx context.Context, list [][]sql.Expr, rows [][]row.Value, slow []slowCell, start int) error {
	var columns []int
	for _, s := range slow {
		if !slices.Contains(columns, s.col) {
			columns = append(columns, s.col)
		}
	}
	var c composer
	c.text("SELECT * FROM (VALUES ")
	for k := 0; k < len(slow); {
		if k > 0 {
			c.text(", ")
		}
		at := slow[k].row
		c.text("(", fmt.Sprint(at))
		end := k
		for end < len(slow) && slow[end].row == at {
			end++
		}
		for _, j := range columns {
			c.text(", ")
			if slices.Contains(slow[k:end], slowCell{at, j}) {
				var e *sql.Expr // nil: the statement leaves the column to its default
				if i := ins.cells[j]; i >= 0 {
					e = &list[at][i]
				}
				c.cast(&ins.schema.Columns[j], e)
			} else {
				c.text("NULL")
			}
		}
		c.text(")")
		k = end
	}
	c.text(") AS kalamdb_rows")
	evaluated, err := ins.query(ctx, &c, start)
	if err != nil {
		return err
	}
	defer evaluated.Close()
	got, _, err := gather(evaluated, valuesRowsMax)
	if err != nil {
		return err
	}
	line := make(map[int64][]row.Value, len(got))
	for _, values := range got {
		line[values[0].Int()] = values[1:]
	}
	for _, s := range slow {
		rows[s.row][s.col] = line[int64(s.row)][slices.Index(columns, s.col)]
	}
	return nil
}

// selected are the rows of INSERT … SELECT.
func (ins *inserter) selected(ctx context.Context, q sql.Fragment) (*Rows, error) {
	if err := ins.checkWidth(ctx, q); err != nil {
		return nil, err
	}
	var c composer
	c.text("SELECT ")
	for j := range ins.schema.Columns {
		if j > 0 {
			c.text(", ")
		}
		col := &ins.schema.Columns[j]
		if i := ins.cells[j]; i >= 0 {
			c.text("CAST(c", fmt.Sprint(i), " AS ", col.Type.String(), ")")
		} else {
			c.cast(col, nil)
		}
	}
	c.text(" FROM ").fragment(q).text(" AS kalamdb_rows(")
	for i := range ins.width {
		if i > 0 {
			c.text(", ")
		}
		c.text("c", fmt.Sprint(i))
	}
	c.text(")")
	return ins.query(ctx, &c, q.Pos)
}

// checkWidth refuses a query with too few or too many columns. Those that SELECT * of
// a table adds to the declared ones do not count.
func (ins *inserter) checkWidth(ctx context.Context, q sql.Fragment) error {
	var c composer
	c.text("SELECT * FROM ").fragment(q).text(" AS kalamdb_rows LIMIT 0")
	rows, err := ins.query(ctx, &c, q.Pos)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns := rows.Columns()
	n := len(columns)
	if n == ins.width+2 && columns[n-2].Name == row.ColUpdated && columns[n-1].Name == row.ColDeleted {
		n = ins.width
	}
	if ins.fit(n); n != ins.width {
		return fail(CodeSyntax, "the query has %d columns, expected %d", n, ins.width).at(q.Pos)
	}
	return rows.Err()
}

// gather reads rows, at most that many. more says that the next one is already current.
func gather(rows *Rows, most int) (got [][]row.Value, more bool, err error) {
	var arena []row.Value
	for rows.Next() {
		if len(got) == most {
			return got, true, nil
		}
		values := rows.Values()
		if len(arena)+len(values) > cap(arena) {
			arena = make([]row.Value, 0, len(values)*min(max(len(got), 1), arenaRowsMax))
		}
		from := len(arena)
		arena = append(arena, values...)
		got = append(got, arena[from:len(arena):len(arena)])
	}
	return got, false, rows.Err()
}

// query runs a composed SELECT; the parameters of the request may have other uses too.
func (ins *inserter) query(ctx context.Context, c *composer, start int) (*Rows, error) {
	where := func(pos int) int { return c.position(pos, start) }
	plan, err := ins.db.plan(c.String(), where)
	if err != nil {
		return nil, err
	}
	return ins.db.planRows(ctx, ins.s, plan, ins.s.req.Params[:plan.Params()], where)
}

// finish fills in the values that the server makes, and checks types and NOT NULL.
func (ins *inserter) finish(rows [][]row.Value) error {
	for _, values := range rows {
		if err := ins.finishRow(values); err != nil {
			return err
		}
	}
	return nil
}

// asRows are the values as new rows.
func (ins *inserter) asRows(values [][]row.Value) []*row.Row {
	rows := make([]*row.Row, len(values))
	for i := range rows {
		rows[i] = &row.Row{Schema: ins.schema.Version, Values: values[i]}
	}
	return rows
}

func (ins *inserter) finishRow(values []row.Value) (err error) {
	for j := range values {
		col := &ins.schema.Columns[j]
		if col.AutoIncrement && values[j].IsNull() {
			values[j] = row.IntValue(col.Type.Kind, ins.db.buffer.NextID())
		}
		if values[j], err = conform(values[j], col); err != nil {
			return err
		}
	}
	return nil
}

// conform makes sure that v may stand in col.
func conform(v row.Value, col *row.Column) (row.Value, error) {
	if v.IsNull() {
		if col.NotNull {
			return v, fail(CodeNotNull, "column %s must not be NULL", col.Name)
		}
		return v, nil
	}
	if v.Kind() == col.Type.Kind {
		switch v.Kind() {
		case row.JSON: // DuckDB lets NaN into JSON; Coerce does not
		case row.Decimal:
			if v.Scale() == col.Type.Scale {
				return v, nil
			}
		case row.Embedding:
			if v.Len() == int(col.Type.Dim) {
				return v, nil
			}
		default:
			return v, nil
		}
	}
	v, err := row.Coerce(v, col.Type)
	if err != nil {
		return v, fail(CodeInvalidValue, "column %s: %s", col.Name, err)
	}
	return v, nil
}

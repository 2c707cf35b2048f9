package kalamdb

import (
	"context"
	"slices"

	"kalamdb/row"
	"kalamdb/sql"
)

// A writableTable is a system table that DML can write. Its rows are documents of the
// catalog: what is written is worked out by a SELECT and given to the catalog.
type writableTable struct {
	name    string
	columns []string // that a statement may write; the first is the key, which UPDATE does not change
	kept    []string // that the server keeps
	json    string   // one of columns: any JSON
	rowsMax int      // that one statement changes
	audited bool     // in the audit log before it runs
	insert  func(context.Context, *DB, *statement, *sql.Insert) (int, error)
	update  func(context.Context, *DB, *statement, *sql.Update) (int, error)
	delete  func(context.Context, *DB, *statement, *sql.Delete) (int, error)
}

// writableTables are the tables of the namespace system that DML can write.
var writableTables map[string]*writableTable

func init() { // not an initialiser: the functions of the tables use the map itself
	writableTables = map[string]*writableTable{usersTable: writableUsers(), locationsTable: writableLocations()}
}

// full is the name of w with its namespace.
func (w *writableTable) full() string { return systemNS + "." + w.name }

// column is the position of a column in w.columns.
func (w *writableTable) column(name string, pos int) (int, error) {
	if i := slices.Index(w.columns, name); i >= 0 {
		return i, nil
	}
	if slices.Contains(w.kept, name) {
		return 0, fail(CodeForbidden, "column %s is kept by the server and cannot be written", name).at(pos)
	}
	nearest, _ := sql.Nearest(name, w.columns)
	return 0, fail(CodeColumnNotFound, "column %s does not exist in %s", name, w.full()).details(didYouMean(nearest)).at(pos)
}

// systemTarget is the system table that a DML statement writes to.
func systemTarget(s *statement) (name sql.Name, is bool) {
	if name, is = changedTable(s.Statement); !is {
		return name, false
	}
	if name.Namespace == "" {
		name.Namespace = s.namespace
	}
	return name, name.Namespace == systemNS || name.Namespace == infoSchemaNS
}

// authoriseSystemWrite refuses DML on system tables other than writableTables, and that to
// who is no dba. A table that the caller may not see reads as not found.
func authoriseSystemWrite(s *statement) error {
	name, is := systemTarget(s)
	if !is {
		return nil
	}
	if _, err := systemTableFor(s.req.As, name.String()); err != nil {
		return asError(err).at(name.Pos)
	}
	if name.Namespace != systemNS || writableTables[name.Name] == nil {
		return fail(CodeForbidden, "%s is kept by the server and cannot be written", name).
			details("of the system tables system.users and system.storage_locations can").at(name.Pos)
	}
	if what, clause := extraClause(s.Statement); clause != nil {
		return fail(CodeNotSupportedYet, "%s is not supported with %s", what, name).at(clause.Pos)
	}
	return nil
}

// refuseSystemTables refuses what changes or moves a table if that is one of the server's.
func refuseSystemTables(s *statement) error {
	var name sql.Name
	switch st := s.Statement.(type) {
	case *sql.AlterTable:
		name = st.Table
	case *sql.DropTable:
		name = st.Table
	case *sql.FlushTable:
		name = st.Table
	case *sql.CompactTable:
		name = st.Table
	}
	if name.Namespace == "" {
		name.Namespace = s.namespace
	}
	if name.Namespace != systemNS && name.Namespace != infoSchemaNS {
		return nil
	}
	if _, err := systemTableFor(s.req.As, name.String()); err != nil {
		return nil // there is none: what follows says so
	}
	return fail(CodeForbidden, "%s is kept by the server, so %s is not possible", name, s.Verb()).at(name.Pos)
}

// extraClause is the first clause of a DML statement that system tables do not have.
func extraClause(s sql.Statement) (what string, clause *sql.Fragment) {
	switch st := s.(type) {
	case *sql.Insert:
		if st.OnConflict != nil {
			return "ON CONFLICT", st.OnConflict
		}
		return "RETURNING", st.Returning
	case *sql.Update:
		if st.From != nil {
			return "UPDATE … FROM", st.From
		}
		return "RETURNING", st.Returning
	case *sql.Delete:
		if st.Using != nil {
			return "DELETE … USING", st.Using
		}
		return "RETURNING", st.Returning
	}
	return "", nil
}

// writeSystem runs DML on a system table.
func (db *DB) writeSystem(ctx context.Context, s *statement, w *writableTable) (Result, error) {
	if w.audited {
		if err := db.record(s, s.Verb()+" "+w.full(), ""); err != nil {
			return Result{}, err
		}
	}
	n := 0
	err := retryConflicts(func() (err error) {
		switch st := s.Statement.(type) {
		case *sql.Insert:
			n, err = w.insert(ctx, db, s, st)
		case *sql.Update:
			n, err = w.update(ctx, db, s, st)
		case *sql.Delete:
			n, err = w.delete(ctx, db, s, st)
		}
		return err
	})
	if err != nil {
		e := *asError(err)
		if e.Position < 0 {
			e.Position = s.Start()
		}
		return Result{}, &e
	}
	return Result{IsWrite: true, Affected: int64(n)}, nil
}

// insertedRows gives add the values of each row of an INSERT, and which of w.columns they
// are for. Without a list of columns those are the first ones.
func (w *writableTable) insertedRows(ctx context.Context, db *DB, s *statement, st *sql.Insert, add func(columns []int, values []row.Value) error) error {
	columns := make([]int, 0, len(w.columns))
	for _, c := range st.Columns {
		i, err := w.column(c.Name, c.Pos)
		if err != nil {
			return err
		}
		if slices.Contains(columns, i) {
			return fail(CodeSyntax, "column %s is named twice", c.Name).at(c.Pos)
		}
		columns = append(columns, i)
	}
	if st.Columns == nil {
		for i := range w.columns {
			columns = append(columns, i)
		}
	}
	if !slices.Contains(columns, 0) || st.DefaultValues {
		return fail(CodeNotNull, "column %s must not be NULL", w.columns[0]).at(st.Start())
	}
	var c composer
	c.text("SELECT ")
	for i, column := range columns {
		if i > 0 {
			c.text(", ")
		}
		w.text(&c, column, func() { c.text(w.columns[column]) })
	}
	if st.Query != nil {
		c.text(" FROM ").fragment(*st.Query)
	} else if err := writtenValues(&c, st, len(columns)); err != nil {
		return err
	}
	c.text(" AS kalamdb_rows(")
	for i, column := range columns {
		if i > 0 {
			c.text(", ")
		}
		c.text(w.columns[column])
	}
	c.text(")")
	return w.rows(ctx, db, s, &c, func(values []row.Value) error { return add(columns, values) })
}

// text writes a value of the caller as the text of a column; that of the JSON column may be
// anything that is JSON.
func (w *writableTable) text(c *composer, column int, value func()) {
	json := w.columns[column] == w.json
	if json {
		c.text("CAST(")
	}
	c.text("CAST(")
	value()
	if json {
		c.text(" AS JSON)")
	}
	c.text(" AS TEXT)")
}

// writtenValues writes FROM (VALUES …).
func writtenValues(c *composer, st *sql.Insert, width int) error {
	if n := len(st.Rows); n > valuesRowsMax {
		return fail(CodeTooLarge, "%d rows in one INSERT, the limit is %d", n, valuesRowsMax)
	}
	c.text(" FROM (VALUES ")
	for i, exprs := range st.Rows {
		if len(exprs) != width {
			return fail(CodeSyntax, "a row has %d values, expected %d", len(exprs), width).at(rowPosition(st, exprs))
		}
		if i > 0 {
			c.text(", ")
		}
		for j := range exprs {
			if c.text([]string{"(", ", "}[min(j, 1)]); exprs[j].Kind == sql.DefaultValue {
				c.text("NULL")
			} else {
				c.fragment(exprs[j].Text)
			}
		}
		c.text(")")
	}
	c.text(")")
	return nil
}

// updatedRows gives add the rows that an UPDATE picks, as picked by key and time of their
// last change, with the new values of columns, positions in w.columns.
func (w *writableTable) updatedRows(ctx context.Context, db *DB, s *statement, st *sql.Update, add func(columns []int, picked, values []row.Value) error) error {
	var c composer
	pick := w.pick(&c, st.Alias)
	columns := make([]int, 0, len(st.Sets))
	for _, set := range st.Sets {
		i, err := w.column(set.Column, set.Pos)
		if err != nil {
			return err
		}
		if i == 0 {
			return fail(CodeForbidden, "column %s cannot be changed: delete the row and insert another", w.columns[0]).at(set.Pos)
		}
		if slices.Contains(columns, i) {
			return fail(CodeSyntax, "column %s is set twice", set.Column).at(set.Pos)
		}
		columns = append(columns, i)
		c.text(", ")
		w.text(&c, i, func() {
			if set.Value.Kind == sql.DefaultValue {
				c.text("NULL")
			} else {
				c.fragment(set.Value.Text)
			}
		})
	}
	pick.from(st.Where)
	return w.rows(ctx, db, s, &c, func(values []row.Value) error { return add(columns, values[:2], values[2:]) })
}

// deletedRows gives add the rows that a DELETE picks, by key and time of their last change.
func (w *writableTable) deletedRows(ctx context.Context, db *DB, s *statement, st *sql.Delete, add func(picked []row.Value) error) error {
	var c composer
	w.pick(&c, st.Alias).from(st.Where)
	return w.rows(ctx, db, s, &c, add)
}

// A rowPick composes SELECT key, updated_at, … FROM a system table.
type rowPick struct {
	c    *composer
	full string
	as   string
}

func (w *writableTable) pick(c *composer, alias string) rowPick {
	p, name := rowPick{c: c, full: w.full()}, w.name
	if alias != "" {
		name = sql.QuoteIdent(alias)
		p.as = " AS " + name
	}
	c.text("SELECT ", name, ".", w.columns[0], ", ", name, ".updated_at")
	return p
}

func (p rowPick) from(where *sql.Fragment) {
	p.c.text(" FROM ", p.full, p.as)
	if where != nil {
		p.c.text(" WHERE ").fragment(*where)
	}
}

// rows runs a composed SELECT and gives each of its rows to add.
func (w *writableTable) rows(ctx context.Context, db *DB, s *statement, c *composer, add func(values []row.Value) error) error {
	rows, err := db.selectRows(ctx, s, c.String(), func(pos int) int { return c.position(pos, s.Start()) })
	if err != nil {
		return err
	}
	defer rows.Close()
	for n := 0; rows.Next(); n++ {
		if n == w.rowsMax {
			return fail(CodeTooLarge, "the statement changes more than %d rows of %s, the limit of one statement", w.rowsMax, w.full())
		}
		if err := add(rows.Values()); err != nil {
			return err
		}
	}
	return rows.Err()
}

package kalamdb

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"kalamdb/catalog"
	"kalamdb/live"
	"kalamdb/row"
	"kalamdb/sql"
)

// An alterer works out the new definition of a table, one action after the other. All
// of them become true with one write to the catalog.
//
// Rows are not touched: each keeps the schema version it was written with, and readers
// map it by column id (row.Mapping). From the moment the catalog has the new version,
// ingest refuses what was planned with an older one (ingest.ErrAltered), and the
// statement is planned again: see [DB.unaltered].
type alterer struct {
	db      *DB
	s       *statement
	table   *catalog.Table
	columns []row.Column
	nextID  row.ColumnID
	taken   []row.ColumnID // columns that live queries must not use: dropped, renamed, modified
	changes []string       // for the history
	options catalog.Table  // its flush policy, retention and options
}

// alterTable runs ALTER TABLE.
func (db *DB) alterTable(ctx context.Context, s *statement, st *sql.AlterTable) error {
	t, err := db.table(s, st.Table)
	if err != nil {
		if st.IfExists && asError(err).Code == CodeTableNotFound {
			return nil
		}
		return err
	}
	switch {
	case st.Type != "" && st.Type != string(t.Type):
		return fail(CodeInvalidDefinition, "%s is a %s table, not a %s table", t.Ref, strings.ToUpper(string(t.Type)), strings.ToUpper(st.Type)).at(st.Table.Pos)
	case t.Type == catalog.Stream:
		return refuseStream(t, "ALTER TABLE").at(st.Table.Pos)
	}
	a := &alterer{db: db, s: s, table: t, columns: slices.Clone(t.Schema().Columns), nextID: t.NextColumnID(), options: *t}
	set := false
	for i := range st.Actions {
		action := &st.Actions[i]
		set = set || action.Kind == sql.SetOptions
		if err := a.apply(ctx, action); err != nil {
			return err
		}
	}
	if len(a.changes) == 0 && !set {
		return nil // of IF EXISTS, IF NOT EXISTS, or a type the column has
	}
	alteration := catalog.Alteration{Flush: a.options.Flush, DeletedRetention: a.options.DeletedRetention, Options: a.options.Options}
	if len(a.changes) > 0 {
		alteration.Schema = &row.Schema{Columns: a.columns, Key: t.Schema().Key}
		alteration.Changes = strings.Join(a.changes, ", ")
	}
	altered, err := db.catalog.AlterTable(ctx, t, alteration)
	if err != nil {
		return asError(err).at(st.Table.Pos)
	}
	// Live queries that began in between go on with what is left, as if they had lagged.
	db.hub.EndUsing(t.Ref.ID, a.taken, live.ReasonLagged)
	if altered.Access() != t.Access() {
		db.endUnreadable(altered)
	}
	return nil
}

func (a *alterer) apply(ctx context.Context, action *sql.AlterAction) error {
	switch action.Kind {
	case sql.AddColumn:
		return a.add(ctx, action)
	case sql.DropColumn:
		return a.drop(action)
	case sql.RenameColumn:
		return a.rename(action)
	case sql.ModifyColumn:
		return a.modify(action)
	}
	return a.set(action)
}

func (a *alterer) changed(format string, args ...any) {
	a.changes = append(a.changes, fmt.Sprintf(format, args...))
}

// add adds a column. The rows that are there get the value that its DEFAULT has now.
func (a *alterer) add(ctx context.Context, action *sql.AlterAction) error {
	d := action.Column
	col := row.Column{ID: a.nextID, Name: d.Name, Type: d.Type, NotNull: d.NotNull, Default: d.Default}
	if a.index(d.Name) >= 0 {
		if action.IfNotExists {
			return nil
		}
		return fail(CodeAlreadyExists, "column %s of %s already exists", d.Name, a.table.Ref).at(d.Pos)
	}
	what := fmt.Sprintf("ADD COLUMN %s %s", d.Name, d.Type)
	if d.NotNull {
		what += " NOT NULL"
	}
	if d.Default != "" {
		what += " DEFAULT " + d.Default
		var err error
		if col.Initial, err = a.db.evaluateDefault(ctx, a.s, col, d.Pos); err != nil {
			return err
		}
		col.Initial = col.Initial.Clone()
	} else if d.NotNull {
		return fail(CodeInvalidDefinition, "column %s is NOT NULL and has no DEFAULT, so the rows that are there would have no value", d.Name).at(d.Pos)
	}
	a.nextID++
	a.columns = append(a.columns, col)
	if err := (&row.Schema{Columns: a.columns, Key: a.table.Schema().Key}).Valid(); err != nil {
		return fail(CodeInvalidDefinition, "%s", err).at(d.Pos) // too many columns
	}
	a.changed("%s", what)
	return nil
}

func (a *alterer) drop(action *sql.AlterAction) error {
	if action.IfExists && a.index(action.Column.Name) < 0 {
		return nil
	}
	i, err := a.column(action, "dropped")
	if err != nil {
		return err
	}
	a.columns = slices.Delete(a.columns, i, i+1)
	a.changed("DROP COLUMN %s", action.Column.Name)
	return nil
}

func (a *alterer) rename(action *sql.AlterAction) error {
	i, err := a.column(action, "renamed")
	if err != nil {
		return err
	}
	if a.index(action.NewName) >= 0 {
		return fail(CodeAlreadyExists, "column %s of %s already exists", action.NewName, a.table.Ref).at(action.NewPos)
	}
	if isSystemColumn(action.NewName) {
		return fail(CodeInvalidDefinition, "column %s is kept by the server, choose another name", action.NewName).at(action.NewPos)
	}
	a.columns[i].Name = action.NewName
	a.changed("RENAME COLUMN %s TO %s", action.Column.Name, action.NewName)
	return nil
}

// modify widens the type of a column: every value there is must be one of the new type,
// unchanged, because no row is written again.
func (a *alterer) modify(action *sql.AlterAction) error {
	to := action.Column.Type
	if i := a.index(action.Column.Name); i >= 0 && a.columns[i].Type == to {
		return nil
	}
	i, err := a.column(action, "modified")
	if err != nil {
		return err
	}
	col := &a.columns[i]
	if col.AutoIncrement {
		return fail(CodeInvalidDefinition, "column %s is AUTO_INCREMENT, its type stays %s", col.Name, col.Type).at(action.Column.Pos)
	}
	if err := col.Type.WidensTo(to); err != nil {
		return fail(CodeInvalidDefinition, "column %s cannot become %s: %s", col.Name, to, err).
			details("MODIFY widens: SMALLINT, INTEGER, BIGINT, DECIMAL; FLOAT, DOUBLE; a DECIMAL gets more digits. For another type add a column and UPDATE it").at(action.Column.Pos)
	}
	if col.Initial, err = row.Coerce(col.Initial, to); err != nil {
		return fail(CodeInvalidDefinition, "column %s: %s", col.Name, err).at(action.Column.Pos)
	}
	col.Type = to
	a.changed("MODIFY COLUMN %s %s", col.Name, to)
	return nil
}

// set changes the flush policy and the options; columns and rows are not concerned.
func (a *alterer) set(action *sql.AlterAction) error {
	if action.HasFlush {
		a.options.Flush = catalog.FlushPolicy{Rows: action.FlushRows, Interval: action.FlushInterval}
	}
	for _, name := range slices.Sorted(maps.Keys(action.Options)) {
		if err := setOption(&a.options, name, action.Options[name]); err != nil {
			return asError(err).at(action.Pos)
		}
	}
	return nil
}

func (a *alterer) index(name string) int {
	return slices.IndexFunc(a.columns, func(c row.Column) bool { return c.Name == name })
}

// column finds a column that may be dropped, renamed or modified, and notes that it is.
func (a *alterer) column(action *sql.AlterAction, what string) (int, error) {
	name, pos := action.Column.Name, action.Column.Pos
	if isSystemColumn(name) {
		return 0, fail(CodeInvalidDefinition, "column %s is kept by the server and cannot be %s", name, what).at(pos)
	}
	i := a.index(name)
	if i < 0 {
		names := make([]string, len(a.columns))
		for i, c := range a.columns {
			names[i] = c.Name
		}
		nearest, _ := sql.Nearest(name, names)
		return 0, fail(CodeColumnNotFound, "column %s does not exist in %s", name, a.table.Ref).details(didYouMean(nearest)).at(pos)
	}
	id := a.columns[i].ID
	if slices.Contains(a.table.Schema().Key, id) {
		return 0, fail(CodeInvalidDefinition, "column %s is part of the primary key and cannot be %s", name, what).at(pos)
	}
	if q, used := a.db.hub.Using(a.table.Ref.ID, []row.ColumnID{id}); used {
		return 0, fail(CodeInUse, "column %s of %s is used by the live query %s", name, a.table.Ref, q.ID).
			details("end it or KILL LIVE QUERY it first; SELECT * uses every column").at(pos)
	}
	if err := a.db.refuseRuled(a.s, a.table, name, what, pos); err != nil {
		return 0, err
	}
	a.taken = append(a.taken, id)
	return i, nil
}

func isSystemColumn(name string) bool {
	return name == row.ColSeq || name == row.ColUpdated || name == row.ColDeleted
}

// open takes the view, if that is not done. Before a table is looked up: then no row of
// the view is of a newer schema version than the table the caller finds.
func (ts *tableSources) open() {
	if ts.view == nil {
		ts.view = ts.db.buffer.View()
	}
}

// schemaAt finds every schema version of t, also those that come later.
func (db *DB) schemaAt(t *catalog.Table) func(version uint32) *row.Schema {
	return func(version uint32) *row.Schema {
		if s := t.SchemaAt(version); s != nil {
			return s
		}
		if now, ok := db.catalog.TableByID(t.Ref.ID); ok {
			return now.SchemaAt(version)
		}
		return nil
	}
}

// schemaVersion tells ingest what the newest schema version of a table is.
func (db *DB) schemaVersion(t row.TableRef) uint32 {
	table, ok := db.catalog.TableByID(t.ID)
	if !ok {
		return 0
	}
	return table.Schema().Version
}

// alteredTriesMax is how often a statement is planned again while its table is altered
// under it, before it makes ALTER TABLE wait.
const alteredTriesMax = 3

// unaltered runs a statement that writes to the table of that name, and again each time
// the table is altered while it runs: what failed may have failed by that, because the
// statement was planned with columns that are no more. A failed statement has written
// nothing. In a transaction the failure stands: what came before it is of the old table.
func (db *DB) unaltered(ctx context.Context, s *statement, name sql.Name, run func() (Result, error)) (Result, error) {
	for try := 1; ; try++ {
		if try > alteredTriesMax { // no ALTER from here on: this try is the last
			release, err := db.lockDefinitions(ctx)
			if err != nil {
				return Result{}, err
			}
			defer release()
		}
		before, _ := db.table(s, name)
		res, err := run()
		if err == nil || s.txn != nil || ctx.Err() != nil || try > alteredTriesMax {
			return res, err
		}
		now, _ := db.table(s, name)
		if before == nil || now == nil || before.Ref != now.Ref || before.Schema().Version == now.Schema().Version {
			return res, err
		}
	}
}

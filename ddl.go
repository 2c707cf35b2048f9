package kalamdb

import (
	"context"
	"errors"
	"time"

	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/sql"
)

// define runs one statement that changes the catalog, one at a time: what it finds
// when it looks is still so when it acts.
func (db *DB) define(ctx context.Context, s *statement) error {
	release, err := db.lockDefinitions(ctx)
	if err != nil {
		return err
	}
	defer release()
	switch st := s.Statement.(type) {
	case *sql.CreateNamespace:
		return db.createNamespace(ctx, st)
	case *sql.AlterNamespace:
		return db.catalog.AlterNamespace(ctx, st.Name, st.Options)
	case *sql.DropNamespace:
		return db.dropNamespace(ctx, st)
	case *sql.CreateTable:
		return db.createTable(ctx, s, st)
	case *sql.AlterTable:
		return db.alterTable(ctx, s, st)
	case *sql.DropTable:
		return db.dropTable(ctx, s, st)
	case *sql.CreatePolicy:
		return db.createPolicy(ctx, s, st)
	case *sql.DropPolicy:
		return db.dropPolicy(ctx, s, st)
	case *sql.Grant:
		return db.grant(ctx, s, st)
	}
	panic("kalamdb: broken invariant: " + s.Verb() + " is no definition")
}

// lockDefinitions waits until nobody changes the catalog; nobody does until release.
func (db *DB) lockDefinitions(ctx context.Context) (release func(), err error) {
	select {
	case db.definitions <- struct{}{}:
		return func() { <-db.definitions }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (db *DB) createNamespace(ctx context.Context, st *sql.CreateNamespace) error {
	err := db.catalog.CreateNamespace(ctx, catalog.Namespace{Name: st.Name, Options: st.Options})
	if st.IfNotExists && errors.Is(err, catalog.ErrExists) {
		return nil
	}
	if err != nil {
		return asError(err).at(st.Pos)
	}
	return nil
}

func (db *DB) createTable(ctx context.Context, s *statement, st *sql.CreateTable) error {
	t := catalog.Table{Ref: row.TableRef{Namespace: st.Table.Namespace, Name: st.Table.Name}, Type: catalog.TableType(st.Type)}
	if t.Ref.Namespace == "" {
		t.Ref.Namespace = s.namespace
	}
	if _, err := db.catalog.Table(t.Ref.Namespace, t.Ref.Name); err == nil && st.IfNotExists {
		return nil
	}
	schema, err := db.tableSchema(ctx, s, st)
	if err != nil {
		return err
	}
	t.Versions = []catalog.SchemaVersion{{Schema: schema, Changes: "CREATE TABLE", Created: time.Now()}}
	if err := setTableOptions(&t, st); err != nil {
		return err
	}
	if err := db.tablePlace(ctx, &t, st); err != nil {
		return err
	}
	made, err := db.catalog.CreateTable(ctx, t)
	if err != nil {
		if st.IfNotExists && errors.Is(err, catalog.ErrExists) {
			return nil
		}
		return asError(err).at(st.Table.Pos)
	}
	// A caller that leaves now must not leave a table behind that cannot be flushed.
	return db.lake.AddTable(context.WithoutCancel(ctx), made)
}

// tableSchema is the first schema of a new table. Without a declared key the
// AUTO_INCREMENT column is the key, else an added column id, or _id if that is taken.
func (db *DB) tableSchema(ctx context.Context, s *statement, st *sql.CreateTable) (*row.Schema, error) {
	schema := &row.Schema{Version: 1}
	key := st.Key
	for i, d := range st.Columns {
		col := row.Column{ID: row.ColumnID(i + 1), Name: d.Name, Type: d.Type, NotNull: d.NotNull, AutoIncrement: d.AutoIncrement, Default: d.Default}
		switch col.Name {
		case row.ColSeq, row.ColUpdated, row.ColDeleted:
			return nil, fail(CodeInvalidDefinition, "column %s is kept by the server, choose another name", col.Name).at(d.Pos)
		}
		if col.AutoIncrement {
			if col.Type.Kind != row.BigInt {
				return nil, fail(CodeInvalidDefinition, "AUTO_INCREMENT column %s is %s, expected BIGINT: its values need 53 bits", col.Name, col.Type).at(d.Pos)
			}
			if col.Default != "" {
				return nil, fail(CodeInvalidDefinition, "column %s has both AUTO_INCREMENT and DEFAULT, expected one", col.Name).at(d.Pos)
			}
			for _, other := range schema.Columns {
				if other.AutoIncrement {
					return nil, fail(CodeInvalidDefinition, "columns %s and %s are both AUTO_INCREMENT, expected at most one", other.Name, col.Name).at(d.Pos)
				}
			}
			if key == nil {
				key = []string{col.Name}
			}
		}
		if col.Default != "" {
			if _, err := db.evaluateDefault(ctx, s, col, d.Pos); err != nil {
				return nil, err
			}
		}
		schema.Columns = append(schema.Columns, col)
	}
	if key == nil {
		name := "id"
		if schema.ByName(name) >= 0 {
			name = "_id"
		}
		schema.Columns = append(schema.Columns, row.Column{ID: row.ColumnID(len(schema.Columns) + 1), Name: name, Type: row.Type{Kind: row.BigInt}, NotNull: true, AutoIncrement: true})
		key = []string{name}
	}
	for _, name := range key {
		j := schema.ByName(name)
		if j < 0 {
			return nil, fail(CodeColumnNotFound, "the primary key names column %s, which is not declared", name).at(st.Table.Pos)
		}
		schema.Columns[j].NotNull = true
		schema.Key = append(schema.Key, schema.Columns[j].ID)
	}
	for j := range schema.Columns {
		if schema.Columns[j].AutoIncrement {
			schema.Columns[j].NotNull = true
		}
	}
	if err := schema.Valid(); err != nil {
		return nil, fail(CodeInvalidDefinition, "%s", err).at(st.Table.Pos)
	}
	return schema, nil
}

// evaluateDefault is the value of a DEFAULT at this moment. It also finds whatever is
// wrong with it.
func (db *DB) evaluateDefault(ctx context.Context, s *statement, col row.Column, pos int) (row.Value, error) {
	here := func(int) int { return pos }
	plan, err := db.plan("SELECT CAST(("+col.Default+") AS "+col.Type.String()+")", here)
	if err != nil {
		return row.NullValue, err
	}
	if len(plan.Tables()) > 0 || plan.Params() > 0 {
		return row.NullValue, fail(CodeInvalidDefinition, "the DEFAULT of column %s is no expression of constants and functions", col.Name).at(pos)
	}
	rows, err := db.planRows(ctx, s, plan, nil, here)
	if err != nil {
		return row.NullValue, err
	}
	res, err := collect(rows)
	if err != nil {
		return row.NullValue, err
	}
	if len(res.Rows) != 1 {
		return row.NullValue, fail(CodeInvalidDefinition, "the DEFAULT of column %s gives %d rows, expected one value", col.Name, len(res.Rows)).at(pos)
	}
	v, err := conform(res.Rows[0][0], &col)
	if err != nil {
		return row.NullValue, asError(err).at(pos)
	}
	return v, nil
}

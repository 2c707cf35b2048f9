package kalamdb

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"kalamdb/row"
	"kalamdb/sql"
)

// A besideTable is a table of UPDATE … FROM or DELETE … USING, whose columns RETURNING may
// name as well. Their values come with the rows that the statement picks, and are further
// columns of the affected rows: the SELECT of RETURNING takes them apart again.
type besideTable struct {
	name    string
	columns []row.Column // under the names of the affected table's columns
	shown   []string     // as the caller knows them
}

// besideTables finds the tables of others and their columns, if the list of RETURNING is
// more than columns of the changed table. A type that no table can have becomes one that
// holds its values.
func (rw *rewriter) besideTables(ctx context.Context, list *sql.Fragment) ([]besideTable, error) {
	if list == nil || rw.others == nil {
		return nil, nil
	}
	if !strings.Contains(list.Text, "*") && (&returning{table: rw.table}).pick(list.Text) {
		return nil, nil
	}
	var c composer
	c.text("SELECT 1 FROM ").raw(*rw.others)
	where := func(pos int) int { return c.position(pos, rw.others.Pos) }
	plan, err := rw.db.plan(c.String(), where)
	if err != nil {
		return nil, err
	}
	var tables []besideTable
	n := 0
	for _, name := range plan.From() {
		var c composer
		c.text("SELECT ", sql.QuoteIdent(name), ".* FROM ").raw(*rw.others).text(" LIMIT 0")
		where := func(pos int) int { return c.position(pos, rw.others.Pos) }
		plan, err := rw.db.plan(c.String(), where)
		if err != nil {
			return nil, err
		}
		rows, err := rw.db.planRows(ctx, rw.s, plan, rw.s.req.Params[:plan.Params()], where)
		if err != nil {
			return nil, err
		}
		columns := rows.Columns()
		rows.Close()
		b := besideTable{name: name}
		for _, column := range columns {
			if column.Name == row.ColDeleted || slices.Contains(b.shown, column.Name) {
				continue // a statement that names _deleted sees deleted rows
			}
			var typ row.Type
			if typ.UnmarshalText([]byte(column.Type)) != nil {
				typ = row.Type{Kind: row.Text}
				if strings.HasSuffix(column.Type, "INT") || column.Type == "UINTEGER" { // what sum gives
					typ = row.Type{Kind: row.Decimal, Precision: 38}
				}
			}
			b.columns = append(b.columns, row.Column{ID: ordinalID + 1 + row.ColumnID(n), Name: "kalamdb beside " + strconv.Itoa(n), Type: typ})
			b.shown = append(b.shown, column.Name)
			n++
		}
		if len(b.columns) > 0 {
			tables = append(tables, b)
		}
	}
	return tables, nil
}

// pick adds the columns to the SELECT of the affected rows.
func (b *besideTable) pick(c *composer) {
	for i, name := range b.shown {
		c.text(", CAST(", sql.QuoteIdent(b.name), ".", sql.QuoteIdent(name), " AS ", b.columns[i].Type.String(), ")")
	}
}

// compose adds the table to a FROM, row by row beside the changed one.
func (b *besideTable) compose(c *composer) {
	c.text(" POSITIONAL JOIN (SELECT ")
	for i := range b.columns {
		if i > 0 {
			c.text(", ")
		}
		c.text(sql.QuoteIdent(b.columns[i].Name), " AS ", sql.QuoteIdent(b.shown[i]))
	}
	c.text(" FROM ", sql.QuoteIdent(affectedName), " ORDER BY ", sql.QuoteIdent(ordinalName), ") AS ", sql.QuoteIdent(b.name))
}

// split adds the columns of the changed table alone, in the same order of rows.
func (r *returning) split(c *composer, list string) {
	c.text("(SELECT ")
	for _, col := range r.table.Schema().Columns {
		c.text(sql.QuoteIdent(col.Name), ", ")
	}
	if strings.Contains(list, row.ColSeq) {
		c.text(row.ColSeq, ", ")
	}
	c.text(row.ColUpdated, ", ", row.ColDeleted, " FROM ", sql.QuoteIdent(affectedName), " ORDER BY ", sql.QuoteIdent(ordinalName), ")")
}

// schema is that of the affected rows.
func (r *returning) schema() *row.Schema {
	schema := r.table.Schema()
	if r.beside == nil {
		return schema
	}
	wide := &row.Schema{Version: schema.Version, Key: schema.Key}
	wide.Columns = append(wide.Columns, schema.Columns...)
	wide.Columns = append(wide.Columns, row.Column{ID: ordinalID, Name: ordinalName, Type: row.Type{Kind: row.BigInt}})
	for _, b := range r.beside {
		wide.Columns = append(wide.Columns, b.columns...)
	}
	return wide
}

// besideValues are those of the other tables that the row of a pick met.
func (rw *rewriter) besideValues(values []row.Value) ([]row.Value, error) {
	if rw.returning == nil {
		return nil, nil
	}
	var got []row.Value
	for _, b := range rw.returning.beside {
		for i := range b.columns {
			v, err := conform(values[len(got)], &b.columns[i])
			if err != nil {
				return nil, err
			}
			got = append(got, v)
		}
	}
	return got, nil
}

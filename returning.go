package kalamdb

import (
	"context"
	"slices"
	"strings"
	"time"

	"kalamdb/catalog"
	"kalamdb/ingest"
	"kalamdb/query"
	"kalamdb/row"
	"kalamdb/sql"
)

// A returning is the RETURNING list of a statement. Columns and * are taken from the rows
// as they are; every other list is a SELECT over them, with the caller's other tables
// as they were before the statement.
type returning struct {
	s     *statement
	table *catalog.Table
	// committed says that the answer may show _seq or _updated, which are known after the
	// commit only.
	committed bool

	columns []Column
	picks   []int // of the columns: the position in the schema, or one of the pick… constants

	plan   *query.Plan // nil if picks say it all
	where  relocate
	beside []besideTable // of FROM or USING, whose columns the list may name too
}

const (
	pickSeq     = -1
	pickUpdated = -2
	pickDeleted = -3
)

// newReturning prepares RETURNING list; nil for nil. The row goes by the alias, or by the
// name of the table.
func (db *DB) newReturning(s *statement, t *catalog.Table, alias string, list *sql.Fragment, beside []besideTable) (*returning, error) {
	if list == nil {
		return nil, nil
	}
	r := &returning{s: s, table: t, beside: beside}
	if beside == nil && r.pick(list.Text) {
		return r, nil
	}
	var c composer
	if alias == "" {
		alias, c.table = t.Ref.Name, &t.Ref
	}
	lower := strings.ToLower(list.Text)
	r.committed = strings.Contains(lower, row.ColSeq) || strings.Contains(lower, row.ColUpdated) || strings.Contains(lower, "*")
	c.text("SELECT ").raw(*list).text("\nFROM ")
	if beside == nil {
		c.text(sql.QuoteIdent(affectedName))
	} else {
		r.split(&c, lower)
	}
	c.text(" AS ", sql.QuoteIdent(alias))
	for _, b := range beside {
		b.compose(&c)
	}
	r.where = func(pos int) int { return c.position(pos, list.Pos) }
	var err error
	r.plan, err = db.plan(c.String(), r.where)
	return r, err
}

// pick takes a list of * and names of columns.
func (r *returning) pick(list string) bool {
	schema := r.table.Schema()
	for item := range strings.SplitSeq(list, ",") {
		item = strings.ToLower(strings.TrimSpace(item))
		j := schema.ByName(item)
		switch {
		case item == "*":
			for j, col := range schema.Columns {
				r.column(col.Name, col.Type.String(), j)
			}
			if r.table.Versioned() {
				r.column(row.ColUpdated, "TIMESTAMP", pickUpdated)
				r.column(row.ColDeleted, "BOOLEAN", pickDeleted)
			}
		case j >= 0:
			r.column(item, schema.Columns[j].Type.String(), j)
		case !r.table.Versioned():
			return false
		case item == row.ColSeq:
			r.column(item, "BIGINT", pickSeq)
		case item == row.ColUpdated:
			r.column(item, "TIMESTAMP", pickUpdated)
		case item == row.ColDeleted:
			r.column(item, "BOOLEAN", pickDeleted)
		default:
			return false
		}
	}
	return true
}

func (r *returning) column(name, typ string, pick int) {
	r.columns = append(r.columns, Column{Name: name, Type: typ})
	r.picks = append(r.picks, pick)
	r.committed = r.committed || pick == pickSeq || pick == pickUpdated
}

// pending is the commit of an effect that is not committed: its rows have no Seq.
func pending(now time.Time) ingest.Commit { return ingest.Commit{Time: now} }

// result is what the list gives for the rows of e, committed as done says.
func (r *returning) result(ctx context.Context, at *tableSources, e *effect, done ingest.Commit) (Result, error) {
	rows := r.rows(e, done)
	if r.plan != nil {
		rel := &query.Relation{Schema: r.schema(), System: r.table.Versioned(), ShowDeleted: true, Hot: listed(rows)}
		got, err := at.rows(ctx, r.s, r.plan, rel, r.s.req.Params[:r.plan.Params()], r.where)
		if err != nil {
			return Result{}, err
		}
		return collect(got)
	}
	res := Result{Columns: r.columns, Rows: make([][]row.Value, len(rows))}
	for i := range rows {
		values := make([]row.Value, len(r.picks))
		for k, j := range r.picks {
			switch j {
			case pickSeq:
				if rows[i].Seq != 0 {
					values[k] = row.IntValue(row.BigInt, int64(rows[i].Seq))
				}
			case pickUpdated:
				values[k] = row.IntValue(row.Timestamp, rows[i].Updated)
			case pickDeleted:
				values[k] = row.BoolValue(rows[i].Deleted)
			default:
				values[k] = rows[i].Values[j]
			}
		}
		res.Rows[i] = values
	}
	return res, nil
}

// rows are the affected rows of e: what they are now or, if they are deleted, were.
func (r *returning) rows(e *effect, done ingest.Commit) []row.Row {
	rows := make([]row.Row, e.affected())
	for i := range rows {
		j := i
		if e.shown != nil {
			j = e.shown[i]
		}
		m := &e.Mutations[j]
		rows[i] = row.Row{Updated: done.Time.UnixMicro(), Deleted: m.Op == row.Delete, Schema: r.table.Schema().Version, Values: m.Values}
		if done.First != 0 {
			rows[i].Seq = done.First + row.Seq(j)
		}
		if r.beside != nil {
			rows[i].Values = append(append(slices.Clone(m.Values), row.IntValue(row.BigInt, int64(i))), e.beside[string(m.Key)]...)
		}
	}
	return rows
}

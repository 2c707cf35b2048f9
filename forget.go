package kalamdb

import (
	"context"
	"errors"
	"fmt"

	"kalamdb/catalog"
	"kalamdb/jobs"
	"kalamdb/lake"
	"kalamdb/live"
	"kalamdb/row"
	"kalamdb/sql"
)

// userTables are the tables in which users have rows of their own.
func (db *DB) userTables() []*catalog.Table {
	var list []*catalog.Table
	for _, t := range db.catalog.Tables() {
		if t.Type == catalog.User {
			list = append(list, t)
		}
	}
	return list
}

// A receipt is what FORGET USER has removed.
type receipt struct {
	rows [][]row.Value
}

func (r *receipt) add(t *catalog.Table, what, name string, rows int, bytes int64) {
	r.rows = append(r.rows, []row.Value{
		row.TextValue(t.Ref.Namespace), row.TextValue(t.Ref.Name), row.TextValue(what), textOrNull(name),
		row.IntValue(row.BigInt, int64(rows)), row.IntValue(row.BigInt, bytes),
	})
}

// forgetUser runs FORGET USER 'id': the rows of one user leave files, buffer and change log of
// every USER table.
func (db *DB) forgetUser(ctx context.Context, s *statement, st *sql.ForgetUser) (Result, error) {
	id := row.UserID(st.User)
	if err := db.record(s, s.Verb(), id); err != nil {
		return Result{}, err
	}
	r := &receipt{rows: [][]row.Value{}}
	err := db.transferring(ctx, jobs.Job{Type: "forget", User: st.User}, func(ctx context.Context, job *jobs.Running) (string, error) {
		tables := db.userTables()
		for i, t := range tables {
			err := db.forgetIn(ctx, row.Partition{Table: t.Ref, User: id}, t, r)
			if err != nil && !errors.Is(err, lake.ErrUnknownTable) { // it was dropped meanwhile
				return fmt.Sprintf("%d of %d tables", i, len(tables)), err
			}
			job.Report(fmt.Sprintf("%d of %d tables", i+1, len(tables)), nil)
		}
		return fmt.Sprintf("%d things removed from %d tables", len(r.rows), len(tables)), nil
	})
	if err != nil {
		return Result{}, err
	}
	return Result{
		Columns: []Column{{"namespace", "VARCHAR"}, {"table_name", "VARCHAR"}, {"removed", "VARCHAR"}, {"name", "VARCHAR"}, {"rows", "BIGINT"}, {"bytes", "BIGINT"}},
		Rows:    r.rows,
	}, nil
}

// forgetIn removes one partition.
func (db *DB) forgetIn(ctx context.Context, p row.Partition, t *catalog.Table, r *receipt) error {
	f, err := db.buffer.Forget(ctx, p, func() error {
		files, err := db.lake.Forget(ctx, p)
		for _, f := range files {
			r.add(t, "file", f.Name, int(f.Rows), f.Bytes)
		}
		return err
	})
	if err != nil {
		return err
	}
	if f.Rows > 0 || f.Changes > 0 {
		r.add(t, "buffered rows and changes", "", f.Rows+f.Changes, f.Bytes)
	}
	db.hub.End(live.ReasonKilled, func(q *live.Spec) bool { return q.Partition == p })
	return db.buffer.Erase(ctx, p)
}

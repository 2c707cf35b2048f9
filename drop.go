package kalamdb

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"kalamdb/catalog"
	"kalamdb/jobs"
	"kalamdb/lake"
	"kalamdb/row"
	"kalamdb/sql"
)

func (db *DB) dropNamespace(ctx context.Context, st *sql.DropNamespace) error {
	if _, err := db.catalog.Namespace(st.Name); err != nil {
		if st.IfExists && errors.Is(err, catalog.ErrNotFound) {
			return nil
		}
		return asError(err).at(st.Pos)
	}
	if st.Cascade {
		tables := db.catalog.TablesIn(st.Name)
		for _, t := range tables {
			if err := db.refuseWatched(t); err != nil {
				return err // before anything is dropped
			}
		}
		for _, t := range tables {
			if err := db.drop(ctx, t); err != nil {
				return err
			}
		}
	}
	return db.catalog.DropNamespace(ctx, st.Name)
}

func (db *DB) dropTable(ctx context.Context, s *statement, st *sql.DropTable) error {
	t, err := db.table(s, st.Table)
	if err != nil {
		if st.IfExists && asError(err).Code == CodeTableNotFound {
			return nil
		}
		return err
	}
	if st.Type != "" && st.Type != string(t.Type) {
		return fail(CodeInvalidDefinition, "%s is a %s table, not a %s table", t.Ref, strings.ToUpper(string(t.Type)), strings.ToUpper(st.Type)).at(st.Table.Pos)
	}
	return db.drop(ctx, t)
}

// drop makes a table invisible at once and removes its rows in the background.
func (db *DB) drop(ctx context.Context, t *catalog.Table) error {
	if err := db.refuseWatched(t); err != nil {
		return err
	}
	dropped, err := db.catalog.DropTable(ctx, t.Ref.Namespace, t.Ref.Name)
	if err != nil {
		return err
	}
	db.hub.EndTable(t.Ref.ID, "table_dropped") // of those that came in between
	db.removeDropped(dropped)
	return nil
}

func (db *DB) refuseWatched(t *catalog.Table) error {
	if n := db.hub.CountTable(t.Ref.ID); n > 0 {
		what := "live queries"
		if n == 1 {
			what = "live query"
		}
		return fail(CodeInUse, "table %s has %d %s", t.Ref, n, what).details("end them or KILL LIVE QUERY them first; system.live_queries lists them")
	}
	return nil
}

const (
	removeRetryMax = time.Minute
	removalsAtOnce = 4 // dropped tables whose rows are removed at the same time
)

// A removal takes the rows of a dropped table out of buffer and bucket. Its life: 1. the
// catalog says that the table is dropped, and nobody can see it. 2. the buffer has none
// of its rows. 3. the bucket has none of its files, then no log. 4. the catalog forgets
// it. A crash or a dead bucket between any two repeats from 2.
type removal struct {
	db    *DB
	table *catalog.Table
	job   *jobs.Running
	users []row.UserID // with rows that were buffered: a flush may have begun for them
}

// removeDropped removes the rows of a dropped table, and tries again until buffer and
// bucket have answered. Open starts it again after a restart.
func (db *DB) removeDropped(t *catalog.Table) {
	r := &removal{db: db, table: t}
	r.job = db.jobs.Enqueue(jobs.Job{Type: "cleanup", Namespace: t.Ref.Namespace, Table: t.Ref.Name, Parameters: []string{"DROP TABLE"}})
	db.chores.Go(r.run)
}

func (r *removal) run() {
	ctx := r.job.Context(r.db.ctx)
	stopped := func(err error) {
		r.job.Finish("", fmt.Errorf("stopped before the rows were removed, the next start goes on: %w", err))
	}
	select {
	case r.db.removals <- struct{}{}:
		defer func() { <-r.db.removals }()
	case <-ctx.Done():
		stopped(ctx.Err())
		return
	}
	r.job.Begin()
	for wait := time.Second; ; wait = min(2*wait, removeRetryMax) {
		err := r.try(ctx)
		if err == nil {
			r.job.Finish("rows and files removed", nil)
			return
		}
		if ctx.Err() != nil {
			stopped(err)
			return
		}
		r.job.Report(fmt.Sprintf("will be tried again in %s", wait), err)
		r.db.log.Warn("rows of a dropped table are not removed yet", "table", r.table.Ref.String(), "err", err, "retry_in", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			stopped(err)
			return
		}
	}
}

func (r *removal) try(ctx context.Context) error {
	id := r.table.Ref.ID
	for _, p := range r.db.buffer.Partitions() {
		if p.Partition.Table.ID == id {
			r.users = append(r.users, p.Partition.User)
		}
	}
	if err := r.db.buffer.DropTable(ctx, id); err != nil {
		return err
	}
	drop := lake.Drop{Users: r.users, Progress: func(done, total int) {
		r.job.Report(fmt.Sprintf("files of %d of %d users removed", done, total), nil)
	}}
	if err := r.db.lake.DropTable(ctx, r.table, drop); err != nil {
		return err
	}
	return r.db.catalog.ForgetTable(ctx, r.table)
}

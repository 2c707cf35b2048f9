package kalamdb

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"kalamdb/catalog"
	"kalamdb/ingest"
	"kalamdb/jobs"
	"kalamdb/lake"
	"kalamdb/row"
	"kalamdb/sql"
)

// flushPolicy tells ingest when the rows of a table are due.
func (db *DB) flushPolicy(t row.TableRef) (rows int, age time.Duration) {
	table, ok := db.catalog.TableByID(t.ID)
	if !ok {
		return 0, 0
	}
	return table.Flush.Rows, table.Flush.Interval
}

// streamPolicy tells ingest which tables are streams.
func (db *DB) streamPolicy(t row.TableRef) (ingest.StreamPolicy, bool) {
	table, ok := db.catalog.TableByID(t.ID)
	if !ok {
		return ingest.StreamPolicy{}, false
	}
	p, ok := table.StreamPolicy()
	return ingest.StreamPolicy(p), ok
}

// flushJobs shows each flush of a table as a job.
func (db *DB) flushJobs() ingest.Events {
	var mu sync.Mutex // guards running
	running := map[row.TableRef]*jobs.Running{}
	return ingest.Events{
		FlushStarted: func(f ingest.FlushInfo) {
			mu.Lock()
			defer mu.Unlock()
			running[f.Table] = db.jobs.Start(jobs.Job{Type: "flush", Namespace: f.Table.Namespace, Table: f.Table.Name,
				Parameters: []string{fmt.Sprintf("partitions=%d", f.Partitions)}})
		},
		Flushed: func(f ingest.FlushInfo) {
			mu.Lock()
			defer mu.Unlock()
			if job := running[f.Table]; job != nil {
				delete(running, f.Table)
				job.Finish(fmt.Sprintf("%d rows of %d partitions, %d bytes, %s", f.Rows, f.Partitions, f.Bytes, f.Took.Round(time.Millisecond)), f.Err)
			}
			if f.Err != nil {
				db.log.Warn("flush failed, it will be tried again", "table", f.Table.String(), "err", f.Err)
			}
		},
	}
}

func (db *DB) flushTable(ctx context.Context, s *statement, st *sql.FlushTable) (Result, error) {
	t, err := db.table(s, st.Table)
	if err != nil {
		return Result{}, err
	}
	if t.Type == catalog.Stream {
		return Result{}, refuseStream(t, s.Verb()).at(st.Table.Pos)
	}
	return db.flush(ctx, t.Ref.Namespace, t.Ref.Name, func(p row.Partition) bool { return p.Table.ID == t.Ref.ID })
}

// flushAll flushes all tables. One that is dropped, also while the flush runs, is none
// of them: its rows go in another way.
func (db *DB) flushAll(ctx context.Context) (Result, error) {
	stored := func(p row.Partition) bool {
		t, ok := db.catalog.TableByID(p.Table.ID)
		return ok && !t.Dropped
	}
	for try := 1; ; try++ {
		res, err := db.flush(ctx, "", "", stored)
		dropped := errors.Is(err, lake.ErrUnknownTable) || errors.Is(err, ingest.ErrDropped)
		if !dropped || try == commitTriesMax {
			return res, err
		}
	}
}

// flush writes what the chosen partitions have buffered to files, and waits.
func (db *DB) flush(ctx context.Context, namespace, table string, match func(row.Partition) bool) (Result, error) {
	stats, err := db.buffer.Flush(ctx, match)
	if err != nil {
		return Result{}, err
	}
	return Result{
		Columns: []Column{{"namespace", "VARCHAR"}, {"table_name", "VARCHAR"}, {"status", "VARCHAR"}, {"partitions", "BIGINT"}, {"rows", "BIGINT"}, {"bytes", "BIGINT"}},
		Rows: [][]row.Value{{
			textOrNull(namespace), textOrNull(table), row.TextValue("completed"),
			row.IntValue(row.BigInt, int64(stats.Partitions)), row.IntValue(row.BigInt, int64(stats.Rows)), row.IntValue(row.BigInt, stats.Bytes),
		}},
	}, nil
}

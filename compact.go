package kalamdb

import (
	"context"
	"fmt"

	"kalamdb/jobs"
	"kalamdb/lake"
	"kalamdb/row"
	"kalamdb/sql"
)

// compactJob shows a round of compaction as a job, which KILL JOB ends.
func (db *DB) compactJob(ctx context.Context, c lake.CompactInfo) (context.Context, func(lake.CompactInfo, error)) {
	job := db.jobs.Start(jobs.Job{Type: "compaction", Namespace: c.Table.Namespace, Table: c.Table.Name,
		Parameters: []string{fmt.Sprintf("partitions=%d", c.Partitions), fmt.Sprintf("files=%d", c.FilesIn)}})
	return job.Context(ctx), func(c lake.CompactInfo, err error) {
		job.Finish(fmt.Sprintf("%d partitions, %d failed; files %d → %d, rows %d → %d, bytes %d → %d", c.Partitions, c.Failed,
			c.FilesIn, c.FilesOut, c.RowsIn, c.RowsOut, c.BytesIn, c.BytesOut), err)
	}
}

// collectJob shows a round of deleting files that nothing needs any more as a job.
func (db *DB) collectJob(c lake.CollectInfo) {
	what := "replaced by compaction"
	if c.Orphans {
		what = "left by interrupted work"
	}
	job := db.jobs.Start(jobs.Job{Type: "cleanup", Namespace: c.Table.Namespace, Table: c.Table.Name, Parameters: []string{what}})
	job.Finish(fmt.Sprintf("%d files, %d bytes deleted", c.Files, c.Bytes), c.Err)
}

// compactTable merges the files of a table as far as it makes sense, and waits.
func (db *DB) compactTable(ctx context.Context, s *statement, st *sql.CompactTable) (Result, error) {
	t, err := db.table(s, st.Table)
	if err != nil {
		return Result{}, err
	}
	if !t.Versioned() {
		return Result{}, refuseStream(t, s.Verb()).at(st.Table.Pos)
	}
	info, err := db.lake.Compact(ctx, t.Ref)
	if err != nil {
		return Result{}, err
	}
	res := Result{
		Columns: []Column{{"namespace", "VARCHAR"}, {"table_name", "VARCHAR"}, {"status", "VARCHAR"}, {"partitions", "BIGINT"}},
		Rows:    [][]row.Value{{row.TextValue(t.Ref.Namespace), row.TextValue(t.Ref.Name), row.TextValue("completed"), row.IntValue(row.BigInt, int64(info.Partitions))}},
	}
	for _, c := range []struct {
		name  string
		count int64
	}{
		{"files_in", info.FilesIn}, {"files_out", info.FilesOut}, {"rows_in", info.RowsIn}, {"rows_out", info.RowsOut},
		{"bytes_in", info.BytesIn}, {"bytes_out", info.BytesOut},
	} {
		res.Columns = append(res.Columns, Column{c.name, "BIGINT"})
		res.Rows[0] = append(res.Rows[0], row.IntValue(row.BigInt, c.count))
	}
	return res, nil
}

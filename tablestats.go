package kalamdb

import (
	"context"
	"time"

	"kalamdb/auth"
	"kalamdb/lake"
	"kalamdb/live"
	"kalamdb/row"
	"kalamdb/sql"
)

// showTableStats answers SHOW TABLE STATS: the numbers of the whole table for operators,
// those of one's own partition for everyone else.
func (db *DB) showTableStats(ctx context.Context, s *statement, st *sql.ShowTableStats) (Result, error) {
	t, err := db.table(s, st.Table)
	if err != nil {
		return Result{}, err
	}
	if err := db.refuseRuledNumbers(s, t, "SHOW TABLE STATS"); err != nil {
		return Result{}, err
	}
	own, all := s.partition(t), s.req.As.Role >= auth.DBA
	partitions := map[row.UserID]struct{}{}
	var buffered, bufferedBytes, files, fileRows, fileBytes int64
	var oldest time.Time
	var newest row.Seq
	for _, p := range db.buffer.Partitions() {
		if p.Partition.Table.ID != t.Ref.ID || !all && p.Partition.User != own.User {
			continue
		}
		partitions[p.Partition.User] = struct{}{}
		buffered += int64(p.Rows)
		bufferedBytes += p.Bytes
		if oldest.IsZero() || p.Oldest.Before(oldest) {
			oldest = p.Oldest
		}
		newest = max(newest, p.Seq)
	}
	db.lake.FilesOf(t.Ref.ID, func(f *lake.File) bool {
		if all || f.Partition.User == own.User {
			partitions[f.Partition.User] = struct{}{}
			files++
			fileRows += f.Rows
			fileBytes += f.Bytes
			newest = max(newest, f.MaxSeq)
		}
		return true
	})
	watching := len(db.hub.Select(func(q *live.Spec) bool {
		return q.Partition.Table.ID == t.Ref.ID && (all || q.User == string(s.req.As.User))
	}))
	age, last := row.NullValue, row.NullValue
	if !oldest.IsZero() {
		age = number(max(0, time.Since(oldest).Milliseconds()))
	}
	if newest > 0 {
		last = number(int64(newest))
	}
	res := textTable([]string{"namespace", "table_name", "table_type"}, nil)
	for _, name := range []string{"partitions", "buffered_rows", "buffered_bytes", "files", "file_rows", "file_bytes", "oldest_unflushed_ms", "max_seq", "live_queries"} {
		res.Columns = append(res.Columns, Column{name, "BIGINT"})
	}
	res.Rows = [][]row.Value{{text(t.Ref.Namespace), text(t.Ref.Name), text(string(t.Type)), number(int64(len(partitions))), number(buffered), number(bufferedBytes),
		number(files), number(fileRows), number(fileBytes), age, last, number(int64(watching))}}
	return res, nil
}

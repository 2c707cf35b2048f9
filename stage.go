package kalamdb

import (
	"context"
	"errors"

	"kalamdb/ingest"
	"kalamdb/lake"
	"kalamdb/row"
)

// stagedFrom is from how many rows on an INSERT … SELECT does not keep them in memory.
const stagedFrom = 10_000

// stageable says whether the rows of c need not be in memory: nothing asks for them again.
func (c *change) stageable(conflict bool) bool {
	return c.returning == nil && !conflict && c.rules == nil && c.s.txn == nil && c.table.Versioned()
}

// stage inserts rows and those that follow in more. They go to the buffer as they come,
// and are committed all together at the end, or not at all.
func (ins *inserter) stage(ctx context.Context, c *change, rows [][]row.Value, more *Rows) (_ Result, err error) {
	p := ins.s.partition(ins.table)
	st, err := ins.db.buffer.Stage(ctx, p, ins.schema)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	n := 0
	add := func(values []row.Value) error {
		n++
		if err := ins.finishRow(values); err != nil {
			return err
		}
		key, err := c.keyOf(values)
		if err != nil {
			return err
		}
		return st.Add(key, values)
	}
	for i, values := range rows {
		if err := add(values); err != nil {
			return Result{}, err
		}
		rows[i] = nil
	}
	for ok := true; ok; ok = more.Next() {
		if err := add(more.Values()); err != nil {
			return Result{}, err
		}
		if n%1024 == 0 && ctx.Err() != nil {
			return Result{}, ctx.Err()
		}
	}
	if err := more.Err(); err != nil {
		return Result{}, err
	}
	more.Close()
	for try := 1; ; try++ {
		if err := ins.checkStaged(ctx, st, p); err != nil {
			return Result{}, err
		}
		done, err := st.Commit(ctx)
		if err == nil {
			return Result{IsWrite: true, Affected: int64(n), Seq: done.Last}, nil
		}
		if !errors.Is(err, ingest.ErrConflict) || try == commitTriesMax {
			return Result{}, err
		}
	}
}

// checkStaged makes sure that no row of this moment has a key of st.
func (ins *inserter) checkStaged(ctx context.Context, st *ingest.Staging, p row.Partition) error {
	at, release := ins.db.sources(ins.s)
	defer release()
	m, err := at.at(ctx, p)
	if err != nil {
		return err
	}
	return st.Check(ctx, m.snap, func(keys [][]byte) (live [][]byte, err error) {
		found, err := ins.db.lake.Find(ctx, &lake.Manifest{Files: m.files}, ins.schema, keys)
		for key, r := range found {
			if !r.Deleted {
				live = append(live, []byte(key))
			}
		}
		return live, err
	})
}

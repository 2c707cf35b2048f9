package kalamdb

import (
	"context"

	"kalamdb/sql"
)

// showTableStats answers SHOW TABLE STATS.
func (db *DB) showTableStats(ctx context.Context, s *statement, st *sql.ShowTableStats) (Result, error) {
	return Result{}, fail(CodeNotSupportedYet, "SHOW TABLE STATS is not supported yet").at(st.Start())
}

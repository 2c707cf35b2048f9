package kalamdb

import (
	"context"

	"kalamdb/sql"
)

// executeAs runs the statement inside as another user.
func (db *DB) executeAs(ctx context.Context, s *statement, st *sql.ExecuteAs) (Result, error) {
	return Result{}, fail(CodeNotSupportedYet, "EXECUTE AS USER is not supported yet").at(st.Start())
}

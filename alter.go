package kalamdb

import (
	"context"

	"kalamdb/sql"
)

// alterTable runs ALTER TABLE.
func (db *DB) alterTable(ctx context.Context, s *statement, st *sql.AlterTable) error {
	return fail(CodeNotSupportedYet, "ALTER TABLE is not supported yet").at(st.Start())
}

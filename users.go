package kalamdb

import (
	"context"

	"kalamdb/sql"
)

func (db *DB) createUser(ctx context.Context, s *statement, st *sql.CreateUser) error {
	return fail(CodeNotSupportedYet, "CREATE USER is not supported yet").at(st.Start())
}

func (db *DB) alterUser(ctx context.Context, s *statement, st *sql.AlterUser) error {
	return fail(CodeNotSupportedYet, "ALTER USER is not supported yet").at(st.Start())
}

func (db *DB) dropUser(ctx context.Context, s *statement, st *sql.DropUser) error {
	return fail(CodeNotSupportedYet, "DROP USER is not supported yet").at(st.Start())
}

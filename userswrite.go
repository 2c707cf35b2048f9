package kalamdb

import (
	"context"
	"errors"
	"time"

	"kalamdb/auth"
	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/sql"
)

const (
	usersTable   = "users" // of the namespace system
	usersRowsMax = 100_000 // that one statement changes
)

// userColumns are the columns of system.users that a statement may write.
var userColumns = []string{"user_id", "username", "role", "metadata"}

func writableUsers() *writableTable {
	return &writableTable{
		name: usersTable, columns: userColumns, kept: []string{"created_at", "updated_at"}, json: "metadata", rowsMax: usersRowsMax, audited: true,
		insert: insertUsers, update: updateUsers, delete: deleteUsers,
	}
}

// setUserCell is setUserColumn with a value of a statement; NULL is the default.
func setUserCell(u *catalog.UserRow, column int, v row.Value) error {
	name, value := userColumns[column], ""
	if !v.IsNull() {
		value = string(v.AppendText(nil))
	}
	switch {
	case name != "user_id":
		if name == "role" && v.IsNull() {
			value = auth.User.String()
		}
		return setUserColumn(u, name, value)
	case v.IsNull():
		return fail(CodeNotNull, "column user_id must not be NULL")
	}
	id, err := row.ParseUserID(value)
	if err != nil {
		return fail(CodeInvalidValue, "column user_id: %s", err)
	}
	u.ID = id
	return nil
}

// insertUsers runs INSERT INTO system.users.
func insertUsers(ctx context.Context, db *DB, s *statement, st *sql.Insert) (int, error) {
	var users []catalog.UserRow
	err := writableTables[usersTable].insertedRows(ctx, db, s, st, func(columns []int, values []row.Value) error {
		u := catalog.UserRow{}
		for i, column := range columns {
			if err := setUserCell(&u, column, values[i]); err != nil {
				return err
			}
		}
		users = append(users, u)
		return db.mayChangeUser(s, u.ID, u.Role)
	})
	if err != nil {
		return 0, err
	}
	err = db.catalog.CreateUsers(ctx, users)
	if errors.Is(err, catalog.ErrExists) {
		return 0, fail(CodeDuplicateKey, "%s", err)
	}
	return len(users), invalidUser(err, st.Start())
}

// updateUsers runs UPDATE system.users.
func updateUsers(ctx context.Context, db *DB, s *statement, st *sql.Update) (int, error) {
	var changed []catalog.UserRow
	err := writableTables[usersTable].updatedRows(ctx, db, s, st, func(columns []int, picked, values []row.Value) error {
		u, err := db.pickedUser(picked)
		if err != nil {
			return err
		}
		for i, column := range columns {
			if err := setUserCell(&u, column, values[i]); err != nil {
				return err
			}
		}
		changed = append(changed, u)
		return db.mayChangeUser(s, u.ID, u.Role)
	})
	if err != nil {
		return 0, err
	}
	return len(changed), invalidUser(db.catalog.UpdateUsers(ctx, changed), st.Start())
}

// deleteUsers runs DELETE FROM system.users.
func deleteUsers(ctx context.Context, db *DB, s *statement, st *sql.Delete) (int, error) {
	var gone []catalog.UserRow
	err := writableTables[usersTable].deletedRows(ctx, db, s, st, func(picked []row.Value) error {
		u, err := db.pickedUser(picked)
		if err != nil {
			return err
		}
		gone = append(gone, u)
		return db.mayChangeUser(s, u.ID, auth.User)
	})
	if err != nil {
		return 0, err
	}
	return len(gone), db.dropUsers(ctx, gone)
}

// pickedUser is the user of a picked row; it is catalog.ErrConflict if he has changed
// since.
func (db *DB) pickedUser(picked []row.Value) (catalog.UserRow, error) {
	u, ok := db.catalog.User(row.UserID(picked[0].Str()))
	if !ok || !u.Updated.Equal(time.UnixMicro(picked[1].Int())) {
		return catalog.UserRow{}, catalog.ErrConflict
	}
	return *u, nil
}

package kalamdb

import (
	"context"
	"errors"
	"strings"

	"kalamdb/auth"
	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/sql"
)

// Users may be changed by dba and above. Nobody below system gives the role system, takes
// it, or touches a user who has it. A dba may take the role from himself and from the last
// dba: who has the secret of the server makes himself a token with any role.
//
// Every statement that changes users is in the audit log before it runs.

// createUser runs CREATE USER.
func (db *DB) createUser(ctx context.Context, s *statement, st *sql.CreateUser) error {
	u := catalog.UserRow{ID: row.UserID(st.User)}
	if err := setUserOptions(&u, st.Options, st.Start()); err != nil {
		return err
	}
	if _, exists := db.catalog.User(u.ID); exists && st.IfNotExists {
		return nil
	}
	if err := db.mayChangeUser(s, u.ID, u.Role); err != nil {
		return asError(err).at(st.Pos)
	}
	if err := db.record(s, s.Verb(), u.ID); err != nil {
		return err
	}
	err := db.catalog.CreateUsers(ctx, []catalog.UserRow{u})
	if errors.Is(err, catalog.ErrExists) {
		if st.IfNotExists {
			return nil
		}
		return asError(err).at(st.Pos)
	}
	return invalidUser(err, st.Start())
}

// alterUser runs ALTER USER.
func (db *DB) alterUser(ctx context.Context, s *statement, st *sql.AlterUser) error {
	if len(st.Options) == 0 {
		return fail(CodeSyntax, "ALTER USER sets nothing, expected SET (role = …), username or metadata").at(st.Start())
	}
	id := row.UserID(st.User)
	if err := db.record(s, s.Verb(), id); err != nil {
		return err
	}
	return retryConflicts(func() error {
		old, ok := db.catalog.User(id)
		if !ok {
			return userNotFound(id).at(st.Pos)
		}
		u := *old
		if err := setUserOptions(&u, st.Options, st.Start()); err != nil {
			return err
		}
		if err := db.mayChangeUser(s, id, u.Role); err != nil {
			return asError(err).at(st.Pos)
		}
		return invalidUser(db.catalog.UpdateUsers(ctx, []catalog.UserRow{u}), st.Start())
	})
}

// dropUser runs DROP USER.
func (db *DB) dropUser(ctx context.Context, s *statement, st *sql.DropUser) error {
	id := row.UserID(st.User)
	if err := db.record(s, s.Verb(), id); err != nil {
		return err
	}
	return retryConflicts(func() error {
		old, ok := db.catalog.User(id)
		if !ok {
			if st.IfExists {
				return nil
			}
			return userNotFound(id).at(st.Pos)
		}
		if err := db.mayChangeUser(s, id, auth.User); err != nil {
			return asError(err).at(st.Pos)
		}
		return db.dropUsers(ctx, []catalog.UserRow{*old})
	})
}

// retryConflicts runs change again while others change the same documents in between.
func retryConflicts(change func() error) error {
	for try := 1; ; try++ {
		err := change()
		if !errors.Is(err, catalog.ErrConflict) || try == commitTriesMax {
			return err
		}
	}
}

// mayChangeUser refuses to change the user, or to give him the role to, if the caller may not.
func (db *DB) mayChangeUser(s *statement, id row.UserID, to auth.Role) error {
	if s.req.As.Role >= auth.System {
		return nil
	}
	if u, ok := db.catalog.User(id); ok && u.Role >= auth.System {
		return fail(CodeForbidden, "user %s has the role system: only another one of that role may change him, the caller is %s", id, s.req.As.Role)
	}
	if to >= auth.System {
		return fail(CodeForbidden, "only the role system may give the role system, the caller is %s", s.req.As.Role)
	}
	return nil
}

// setUserOptions gives u the options of CREATE USER and ALTER USER.
func setUserOptions(u *catalog.UserRow, options map[string]string, pos int) error {
	for key, value := range options {
		if err := setUserColumn(u, key, value); err != nil {
			return asError(err).at(pos)
		}
	}
	return nil
}

// setUserColumn gives u a value by the name of a column.
func setUserColumn(u *catalog.UserRow, column, value string) (err error) {
	switch column {
	case "role":
		if u.Role, err = auth.ParseRole(value); err != nil {
			return fail(CodeInvalidValue, "role %q is unknown, expected user, service, dba or system", value)
		}
	case "username":
		u.Name = value
	case "metadata":
		u.Metadata = value
	default:
		nearest, _ := sql.Nearest(column, userColumns[1:])
		return fail(CodeInvalidDefinition, "a user has no option %s, expected role, username or metadata", column).details(didYouMean(nearest))
	}
	return nil
}

func userNotFound(id row.UserID) *Error {
	return fail(CodeUserNotFound, "user %s does not exist in system.users", id)
}

// invalidUser makes what the catalog does not accept in a user an error of the value.
func invalidUser(err error, pos int) error {
	if errors.Is(err, catalog.ErrInvalid) {
		return fail(CodeInvalidValue, "%s", strings.TrimPrefix(err.Error(), catalog.ErrInvalid.Error()+": ")).at(pos)
	}
	return err
}

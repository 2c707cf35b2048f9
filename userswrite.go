package kalamdb

import (
	"context"
	"errors"
	"slices"
	"time"

	"kalamdb/auth"
	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/sql"
)

const (
	usersTable   = "users" // of the namespace system: the one system table that DML can write
	usersRowsMax = 100_000 // that one statement changes
)

// userColumns are the columns of system.users that a statement may write.
var userColumns = []string{"user_id", "username", "role", "metadata"}

// userColumn is the position of a column in userColumns.
func userColumn(name string, pos int) (int, error) {
	if i := slices.Index(userColumns, name); i >= 0 {
		return i, nil
	}
	if name == "created_at" || name == "updated_at" {
		return 0, fail(CodeForbidden, "column %s is kept by the server and cannot be written", name).at(pos)
	}
	nearest, _ := sql.Nearest(name, userColumns)
	return 0, fail(CodeColumnNotFound, "column %s does not exist in system.users", name).details(didYouMean(nearest)).at(pos)
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

// systemTarget is the system table that a DML statement writes to.
func systemTarget(s *statement) (name sql.Name, is bool) {
	switch st := s.Statement.(type) {
	case *sql.Insert:
		name = st.Table
	case *sql.Update:
		name = st.Table
	case *sql.Delete:
		name = st.Table
	default:
		return name, false
	}
	if name.Namespace == "" {
		name.Namespace = s.namespace
	}
	return name, name.Namespace == systemNS || name.Namespace == infoSchemaNS
}

// authoriseSystemWrite refuses DML on system tables other than users, and that to who is
// no dba. A table that the caller may not see reads as not found.
func authoriseSystemWrite(s *statement) error {
	name, is := systemTarget(s)
	if !is {
		return nil
	}
	if _, err := systemTableFor(s.req.As, name.String()); err != nil {
		return asError(err).at(name.Pos)
	}
	if name.Namespace != systemNS || name.Name != usersTable {
		return fail(CodeForbidden, "%s is kept by the server and cannot be written", name).details("of the system tables system.users can").at(name.Pos)
	}
	if what, clause := extraClause(s.Statement); clause != nil {
		return fail(CodeNotSupportedYet, "%s is not supported with system.users", what).at(clause.Pos)
	}
	return nil
}

// extraClause is the first clause of a DML statement that system.users does not have.
func extraClause(s sql.Statement) (what string, clause *sql.Fragment) {
	switch st := s.(type) {
	case *sql.Insert:
		if st.OnConflict != nil {
			return "ON CONFLICT", st.OnConflict
		}
		return "RETURNING", st.Returning
	case *sql.Update:
		if st.From != nil {
			return "UPDATE … FROM", st.From
		}
		return "RETURNING", st.Returning
	case *sql.Delete:
		if st.Using != nil {
			return "DELETE … USING", st.Using
		}
		return "RETURNING", st.Returning
	}
	return "", nil
}

// writeUsers runs DML on system.users.
func (db *DB) writeUsers(ctx context.Context, s *statement) (Result, error) {
	if err := db.record(s, s.Verb()+" system.users", ""); err != nil {
		return Result{}, err
	}
	n := 0
	err := retryUsers(func() (err error) {
		switch st := s.Statement.(type) {
		case *sql.Insert:
			n, err = db.insertUsers(ctx, s, st)
		case *sql.Update:
			n, err = db.updateUsers(ctx, s, st)
		case *sql.Delete:
			n, err = db.deleteUsers(ctx, s, st)
		}
		return err
	})
	if err != nil {
		e := *asError(err)
		if e.Position < 0 {
			e.Position = s.Start()
		}
		return Result{}, &e
	}
	return Result{IsWrite: true, Affected: int64(n)}, nil
}

// insertUsers runs INSERT INTO system.users. Without a list of columns the values are
// those of userColumns.
func (db *DB) insertUsers(ctx context.Context, s *statement, st *sql.Insert) (int, error) {
	columns := make([]int, 0, len(userColumns))
	for _, c := range st.Columns {
		i, err := userColumn(c.Name, c.Pos)
		if err != nil {
			return 0, err
		}
		if slices.Contains(columns, i) {
			return 0, fail(CodeSyntax, "column %s is named twice", c.Name).at(c.Pos)
		}
		columns = append(columns, i)
	}
	if st.Columns == nil {
		columns = append(columns, 0, 1, 2, 3)
	}
	if !slices.Contains(columns, 0) || st.DefaultValues {
		return 0, fail(CodeNotNull, "column user_id must not be NULL").at(st.Start())
	}
	var c composer
	c.text("SELECT ")
	for i, column := range columns {
		if i > 0 {
			c.text(", ")
		}
		userText(&c, column, func() { c.text(userColumns[column]) })
	}
	if st.Query != nil {
		c.text(" FROM ").fragment(*st.Query)
	} else if err := userValues(&c, st, len(columns)); err != nil {
		return 0, err
	}
	c.text(" AS kalamdb_rows(")
	for i, column := range columns {
		if i > 0 {
			c.text(", ")
		}
		c.text(userColumns[column])
	}
	c.text(")")
	var users []catalog.UserRow
	err := db.userRows(ctx, s, &c, func(values []row.Value) error {
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

// userText writes a value of the caller as the text of a column; one of metadata may be
// anything that is JSON.
func userText(c *composer, column int, value func()) {
	json := userColumns[column] == "metadata"
	if json {
		c.text("CAST(")
	}
	c.text("CAST(")
	value()
	if json {
		c.text(" AS JSON)")
	}
	c.text(" AS TEXT)")
}

// userValues writes FROM (VALUES …).
func userValues(c *composer, st *sql.Insert, width int) error {
	if n := len(st.Rows); n > valuesRowsMax {
		return fail(CodeTooLarge, "%d rows in one INSERT, the limit is %d", n, valuesRowsMax)
	}
	c.text(" FROM (VALUES ")
	for i, exprs := range st.Rows {
		if len(exprs) != width {
			return fail(CodeSyntax, "a row has %d values, expected %d", len(exprs), width).at(rowPosition(st, exprs))
		}
		if i > 0 {
			c.text(", ")
		}
		for j := range exprs {
			if c.text([]string{"(", ", "}[min(j, 1)]); exprs[j].Kind == sql.DefaultValue {
				c.text("NULL")
			} else {
				c.fragment(exprs[j].Text)
			}
		}
		c.text(")")
	}
	c.text(")")
	return nil
}

// updateUsers runs UPDATE system.users.
func (db *DB) updateUsers(ctx context.Context, s *statement, st *sql.Update) (int, error) {
	var c composer
	users := pickUsers(&c, st.Alias)
	columns := make([]int, 0, len(st.Sets))
	for _, set := range st.Sets {
		i, err := userColumn(set.Column, set.Pos)
		if err != nil {
			return 0, err
		}
		if i == 0 {
			return 0, fail(CodeForbidden, "column user_id cannot be changed: delete the user and create another").at(set.Pos)
		}
		if slices.Contains(columns, i) {
			return 0, fail(CodeSyntax, "column %s is set twice", set.Column).at(set.Pos)
		}
		columns = append(columns, i)
		c.text(", ")
		userText(&c, i, func() {
			if set.Value.Kind == sql.DefaultValue {
				c.text("NULL")
			} else {
				c.fragment(set.Value.Text)
			}
		})
	}
	users.from(st.Where)
	var changed []catalog.UserRow
	err := db.userRows(ctx, s, &c, func(values []row.Value) error {
		u, err := db.pickedUser(values)
		if err != nil {
			return err
		}
		for i, column := range columns {
			if err := setUserCell(&u, column, values[2+i]); err != nil {
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
func (db *DB) deleteUsers(ctx context.Context, s *statement, st *sql.Delete) (int, error) {
	var c composer
	pickUsers(&c, st.Alias).from(st.Where)
	var gone []catalog.UserRow
	err := db.userRows(ctx, s, &c, func(values []row.Value) error {
		u, err := db.pickedUser(values)
		if err != nil {
			return err
		}
		gone = append(gone, u)
		return db.mayChangeUser(s, u.ID, auth.User)
	})
	if err != nil {
		return 0, err
	}
	return len(gone), db.catalog.DropUsers(ctx, gone)
}

// A userPick composes SELECT user_id, updated_at, … FROM system.users.
type userPick struct {
	c  *composer
	as string
}

func pickUsers(c *composer, alias string) userPick {
	p, name := userPick{c: c}, usersTable
	if alias != "" {
		name = sql.QuoteIdent(alias)
		p.as = " AS " + name
	}
	c.text("SELECT ", name, ".user_id, ", name, ".updated_at")
	return p
}

func (p userPick) from(where *sql.Fragment) {
	p.c.text(" FROM ", systemNS, ".", usersTable, p.as)
	if where != nil {
		p.c.text(" WHERE ").fragment(*where)
	}
}

// pickedUser is the user of a row of a userPick; it is catalog.ErrConflict if he has
// changed since.
func (db *DB) pickedUser(values []row.Value) (catalog.UserRow, error) {
	u, ok := db.catalog.User(row.UserID(values[0].Str()))
	if !ok || !u.Updated.Equal(time.UnixMicro(values[1].Int())) {
		return catalog.UserRow{}, catalog.ErrConflict
	}
	return *u, nil
}

// userRows runs a composed SELECT and gives each of its rows to add.
func (db *DB) userRows(ctx context.Context, s *statement, c *composer, add func(values []row.Value) error) error {
	rows, err := db.selectRows(ctx, s, c.String(), func(pos int) int { return c.position(pos, s.Start()) })
	if err != nil {
		return err
	}
	defer rows.Close()
	for n := 0; rows.Next(); n++ {
		if n == usersRowsMax {
			return fail(CodeTooLarge, "the statement changes more than %d users, the limit of one statement", usersRowsMax)
		}
		if err := add(rows.Values()); err != nil {
			return err
		}
	}
	return rows.Err()
}

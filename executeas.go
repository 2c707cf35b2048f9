package kalamdb

import (
	"context"

	"kalamdb/auth"
	"kalamdb/row"
	"kalamdb/sql"
)

// executeAs runs the statement inside as another user, after the audit log has it.
func (db *DB) executeAs(ctx context.Context, s *statement, st *sql.ExecuteAs) (Result, error) {
	inner, err := db.impersonate(s, st)
	if err != nil {
		return Result{}, err
	}
	return db.run1(ctx, inner)
}

// impersonate is the statement inside EXECUTE AS USER, with the other user as its
// caller. Its role is that user's, but no higher than the caller's own: nobody gains
// rights by it. The audit log has it when impersonate returns.
func (db *DB) impersonate(s *statement, st *sql.ExecuteAs) (*statement, error) {
	if err := db.record(s, "EXECUTE AS USER", row.UserID(st.User)); err != nil {
		return nil, err
	}
	inner := db.acting(s, st)
	return &inner, nil
}

// acting is the statement inside EXECUTE AS USER as it will run.
func (db *DB) acting(s *statement, st *sql.ExecuteAs) statement {
	id := row.UserID(st.User)
	req := *s.req
	req.As.User = id
	req.As.Role = min(s.req.As.Role, db.roleOf(id, auth.User))
	inner := *s
	inner.Statement, inner.req = st.Inner, &req
	return inner
}

// authoriseExecuteAs is authorise for EXECUTE AS USER: what is inside has to be allowed to
// the one who will run it.
func (db *DB) authoriseExecuteAs(s *statement, st *sql.ExecuteAs, early bool) error {
	if s.req.As.Role < auth.Service {
		return fail(CodeForbidden, "EXECUTE AS USER needs the role service, the caller is %s", s.req.As.Role).at(s.Start())
	}
	inner := db.acting(s, st)
	if err := db.authorise(&inner, early); err != nil {
		return err
	}
	return db.authoriseWrite(&inner)
}

// selected is the SELECT of a statement, also of one inside EXECUTE AS USER.
func selected(s sql.Statement) (*sql.Select, bool) {
	if as, ok := s.(*sql.ExecuteAs); ok {
		s = as.Inner
	}
	sel, ok := s.(*sql.Select)
	return sel, ok
}

// streamed runs the SELECT sel of s.
func (db *DB) streamed(ctx context.Context, s *statement, sel *sql.Select) (*Rows, error) {
	if as, ok := s.Statement.(*sql.ExecuteAs); ok {
		var err error
		if s, err = db.impersonate(s, as); err != nil {
			return nil, err
		}
	}
	return db.selectRows(ctx, s, sel.Text.Text, fragmentPosition(sel.Text))
}

package kalamdb

import (
	"kalamdb/auth"
	"kalamdb/catalog"
	"kalamdb/live"
	"kalamdb/row"
	"kalamdb/sql"
)

// Who may do what with a table, by its type and, for a SHARED table, its access level:
//
//	                    user              service and above
//	USER                own rows          own rows
//	SHARED public       read, write       read, write
//	SHARED read         read              read, write
//	SHARED private      it is not there   read, write
//	STREAM              read, insert      read, insert
//
// Policies and column grants of a SHARED table narrow that down, see policies.go.
//
// A table that one may not read is never named: not by an error, not as a near name,
// not by a list.

// mayRead says whether a statement of the principal may see t.
func mayRead(as auth.Principal, t *catalog.Table) bool {
	switch {
	case t.Type != catalog.Shared:
		return true
	case as.Role < auth.DBA && t.ReadsNothing(as.Role):
		return false
	}
	return t.Access() != catalog.Private || as.Role >= auth.Service
}

// mayWrite says whether a statement of the principal may change rows of t.
func mayWrite(as auth.Principal, t *catalog.Table) bool {
	return t.Type != catalog.Shared || t.Access() == catalog.Public || as.Role >= auth.Service
}

// readable finds a table that the principal may see.
func (db *DB) readable(as auth.Principal, namespace, name string) (*catalog.Table, error) {
	t, err := db.catalog.Table(namespace, name)
	if err == nil && mayRead(as, t) {
		return t, nil
	}
	var names []string
	for _, t := range db.catalog.Tables() {
		if mayRead(as, t) {
			names = append(names, t.Ref.String())
		}
	}
	full := namespace + "." + name
	nearest, _ := sql.Nearest(full, names)
	return nil, &catalog.NotFoundError{Kind: "table", Name: full, Nearest: nearest}
}

// allowWrite refuses a statement that changes rows of a table the caller can see, if
// he may not, or if the table is of a type that has no such statement.
func (s *statement) allowWrite(t *catalog.Table, pos int) error {
	if !mayWrite(s.req.As, t) {
		return fail(CodeForbidden, "%s is a SHARED table with access '%s', which the role %s cannot write", t.Ref, t.Access(), s.req.As.Role).
			details("the role service and above may write it; ALTER TABLE … SET (access = 'public') opens it to everybody").at(pos)
	}
	if t.Type != catalog.Stream {
		return nil
	}
	what := s.Verb()
	if st, ok := s.Statement.(*sql.Insert); ok {
		if st.OnConflict == nil {
			return nil
		}
		what = "INSERT … ON CONFLICT"
	}
	return refuseStream(t, what).at(pos)
}

// refuseStream is the error of a statement that a STREAM table does not have.
func refuseStream(t *catalog.Table, what string) *Error {
	return fail(CodeWrongTableType, "%s is a STREAM table: its events come by INSERT and go by themselves, %s is not possible", t.Ref, what)
}

// endUnreadable ends the live queries of those who may not see t any more. For them it
// is gone.
func (db *DB) endUnreadable(t *catalog.Table) {
	db.hub.End(live.ReasonTableDropped, func(q *live.Spec) bool {
		return q.Partition.Table.ID == t.Ref.ID && !mayRead(auth.Principal{User: row.UserID(q.User), Role: q.Role}, t)
	})
}

// partition is the slice of t that the caller's statements touch: the own one of a
// USER table, the only one of others.
func (s *statement) partition(t *catalog.Table) row.Partition {
	p := row.Partition{Table: t.Ref}
	if t.Type == catalog.User {
		p.User = s.req.As.User
	}
	return p
}

// authoriseWrite is allowWrite before anything of the request runs. A table that is
// not there may be the work of an earlier statement: the statement itself will say.
func (db *DB) authoriseWrite(s *statement) error {
	name, ok := changedTable(s.Statement)
	if !ok {
		return nil
	}
	t, err := db.table(s, name)
	if err != nil {
		return nil
	}
	return s.allowWrite(t, name.Pos)
}

package kalamdb

import (
	"context"
	"maps"
	"slices"

	"kalamdb/auth"
	"kalamdb/catalog"
	"kalamdb/lake"
	"kalamdb/query"
	"kalamdb/row"
)

// mayReadAllUsers refuses a statement that names ALL_USERS if its caller is no operator.
func (s *statement) mayReadAllUsers() error {
	if s.req.As.Role < auth.DBA {
		return fail("FORBIDDEN_FUNCTION", "ALL_USERS needs the role %s, the caller is %s", auth.DBA, s.req.As.Role)
	}
	return nil
}

// gateAllUsers refuses a plan with ALL_USERS before anything of the request runs.
func (s *statement) gateAllUsers(p *query.Plan, where relocate) error {
	for _, t := range p.Tables() {
		if t.AllUsers {
			if err := s.mayReadAllUsers(); err != nil {
				return asError(err).at(where(t.Pos))
			}
		}
	}
	return nil
}

// everyone is the relation of ALL_USERS(table): the rows of all users, after the audit
// log has the statement. They are all of one moment: the view of the buffer is taken
// first, then the users of buffered rows are listed, then those of files, so that one
// whose rows a flush moves in between is in at least one of the lists.
func (ts *tableSources) everyone(ctx context.Context, s *statement, namespace, name string) (*query.Relation, error) {
	if err := s.mayReadAllUsers(); err != nil {
		return nil, err
	}
	if namespace == systemNS || namespace == infoSchemaNS {
		return nil, fail(CodeWrongTableType, "%s.%s is a system table, expected a USER table", namespace, name)
	}
	ts.open()
	t, err := ts.db.readable(s.req.As, namespace, name)
	if err != nil {
		return nil, err
	}
	if t.Type != catalog.User {
		return nil, fail(CodeWrongTableType, "%s is a %s table, expected a USER table: its rows are the same for everyone", t.Ref, t.Type)
	}
	if !s.audited {
		if err := ts.db.record(s, "ALL_USERS", ""); err != nil {
			return nil, err
		}
		s.audited = true
	}
	users := map[row.UserID]struct{}{}
	for _, p := range ts.db.buffer.Partitions() {
		if p.Partition.Table.ID == t.Ref.ID {
			users[p.Partition.User] = struct{}{}
		}
	}
	ts.db.lake.FilesOf(t.Ref.ID, func(f *lake.File) bool {
		users[f.Partition.User] = struct{}{}
		return true
	})
	rel := &query.Relation{Schema: t.Schema(), SchemaAt: t.SchemaAt, System: t.Versioned(), Users: make([]query.UserRows, 0, len(users))}
	for _, id := range slices.Sorted(maps.Keys(users)) {
		one, _, err := ts.stored(ctx, t, row.Partition{Table: t.Ref, User: id})
		if err != nil {
			return nil, err
		}
		rel.Users = append(rel.Users, query.UserRows{User: string(id), Hot: one.Hot, Files: one.Files})
	}
	return rel, nil
}

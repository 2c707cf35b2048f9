package kalamdb

import (
	"slices"

	"kalamdb/audit"
	"kalamdb/auth"
	"kalamdb/catalog"
	"kalamdb/query"
	"kalamdb/row"
)

func userTableColumns() []row.Column {
	return append(texts(userColumns...), col("created_at", row.Timestamp), col("updated_at", row.Timestamp))
}

// userTableRows are the rows of system.users. Of 100,000 users only those are looked at
// whose ids a condition names, and a row is kept only if it passes the other conditions.
func userTableRows(db *DB, _ auth.Principal, where []query.Condition, add func(...row.Value)) {
	users := db.catalog.Users()
	tests := rowTests(userTableColumns(), where)
	for _, u := range namedUsers(users, where) {
		values := [...]row.Value{text(string(u.ID)), textOrNull(u.Name), text(u.Role.String()), textOrNull(u.Metadata), moment(u.Created), moment(u.Updated)}
		if !slices.ContainsFunc(tests, func(t rowTest) bool { return !t.passes(values[t.column]) }) {
			add(slices.Clone(values[:])...)
		}
	}
}

// namedUsers are the users with the ids that a condition names, else all.
func namedUsers(users catalog.UserList, where []query.Condition) []*catalog.UserRow {
	i := slices.IndexFunc(where, func(c query.Condition) bool { return c.Column == "user_id" && (c.Op == "=" || c.Op == "in") })
	if i < 0 {
		return users.All()
	}
	var named []*catalog.UserRow
	for _, v := range where[i].Values {
		if u, ok := users.Find(row.UserID(v.Str())); ok && !slices.Contains(named, u) {
			named = append(named, u)
		}
	}
	return named
}

// auditRows are the entries of the audit log.
func auditRows(db *DB, _ auth.Principal, add func(...row.Value)) {
	err := db.audit.Each(func(e audit.Entry) bool {
		add(moment(e.Time), text(e.Action), text(e.User), text(e.Role), textOrNull(e.AsUser), text(e.Statement), textOrNull(e.RequestID), textOrNull(e.Remote))
		return true
	})
	if err != nil {
		db.log.Error("audit log", "err", err)
	}
}

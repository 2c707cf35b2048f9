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
// whose ids a condition names, and only those are shown that pass the other conditions.
func userTableRows(db *DB, _ auth.Principal, where []query.Condition) systemHot {
	return lazyRows[*catalog.UserRow]{
		list:  namedUsers(db.catalog.Users(), where),
		tests: rowTests(userTableColumns(), where),
		value: userValue, width: len(userColumns) + 2,
	}
}

// userValue is a value of a row of system.users.
func userValue(u *catalog.UserRow, column int) row.Value {
	switch column {
	case 0:
		return text(string(u.ID))
	case 1:
		return textOrNull(u.Name)
	case 2:
		return text(u.Role.String())
	case 3:
		return textOrNull(u.Metadata)
	case 4:
		return moment(u.Created)
	default:
		return moment(u.Updated)
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

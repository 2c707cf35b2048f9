package kalamdb

import (
	"slices"

	"kalamdb/auth"
	"kalamdb/live"
	"kalamdb/query"
	"kalamdb/row"
)

func liveQueryColumns() []row.Column {
	return append(texts("live_id", "connection_id", "table_id", "query_id", "user_id", "query", "options"),
		col("created_at", row.Timestamp), col("updated_at", row.Timestamp), col("changes", row.BigInt), col("node", row.Text))
}

// liveQueryTexts are the columns of system.live_queries that tell one from another.
var liveQueryTexts = map[string]func(*live.Spec) string{
	"live_id":       func(s *live.Spec) string { return s.ID },
	"connection_id": func(s *live.Spec) string { return s.ConnectionID },
	"table_id":      func(s *live.Spec) string { return s.Partition.Table.Colon() },
	"query_id":      func(s *live.Spec) string { return s.QueryID },
	"user_id":       func(s *live.Spec) string { return s.User },
}

// liveQueryRows are all live queries for operators, one's own for everyone else.
func liveQueryRows(db *DB, as auth.Principal, where []query.Condition) systemHot {
	tests := []func(*live.Spec) bool{func(s *live.Spec) bool { return as.Role >= auth.DBA || s.User == string(as.User) }}
	for _, c := range where {
		of := liveQueryTexts[c.Column]
		if of == nil {
			continue
		}
		if passes := valueTest(row.Text, c); passes != nil {
			tests = append(tests, func(s *live.Spec) bool { return passes(text(of(s))) })
		}
	}
	list := db.hub.Select(func(s *live.Spec) bool {
		return !slices.ContainsFunc(tests, func(passes func(*live.Spec) bool) bool { return !passes(s) })
	})
	return lazyRows[live.Info]{list: list, value: liveQueryValue, width: len(liveQueryColumns())}
}

// liveQueryValue is a value of a row of system.live_queries.
func liveQueryValue(q live.Info, column int) row.Value {
	switch column {
	case 0:
		return text(q.ID)
	case 1:
		return text(q.ConnectionID)
	case 2:
		return text(q.Partition.Table.Colon())
	case 3:
		return text(q.QueryID)
	case 4:
		return text(q.User)
	case 5:
		return text(q.Query)
	case 6:
		return text(q.Options)
	case 7:
		return moment(q.Created)
	case 8:
		return moment(q.Updated)
	case 9:
		return number(q.Changes)
	default:
		return text(q.Node)
	}
}

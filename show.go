package kalamdb

import (
	"strconv"

	"kalamdb/auth"
	"kalamdb/row"
	"kalamdb/sql"
)

func (db *DB) showNamespaces() (Result, error) {
	var rows [][]string
	for _, n := range db.catalog.Namespaces() {
		rows = append(rows, []string{n.Name})
	}
	return textTable([]string{"namespace"}, rows), nil
}

func (db *DB) showTables(s *statement, st *sql.ShowTables) (Result, error) {
	namespace := st.Namespace
	if namespace == "" {
		namespace = s.namespace
	}
	tables := db.catalog.Tables()
	if !st.All {
		if _, err := db.catalog.Namespace(namespace); err != nil {
			return Result{}, asError(err).at(st.Start())
		}
		tables = db.catalog.TablesIn(namespace)
	}
	var rows [][]string
	for _, t := range tables {
		if mayRead(s.req.As, t) {
			rows = append(rows, []string{t.Ref.Namespace, t.Ref.Name, string(t.Type)})
		}
	}
	return textTable([]string{"namespace", "table_name", "table_type"}, rows), nil
}

// describe has DuckDB's columns of DESCRIBE.
func (db *DB) describe(s *statement, st *sql.Describe) (Result, error) {
	t, err := db.table(s, st.Table)
	if err != nil {
		return Result{}, err
	}
	if st.History {
		var rows [][]string
		for _, v := range t.Versions {
			rows = append(rows, []string{strconv.Itoa(int(v.Version)), v.Changes, v.Created.UTC().Format(timeFormat)})
		}
		return textTable([]string{"version", "changes", "created_at"}, rows), nil
	}
	schema := t.Schema()
	res := textTable([]string{"column_name", "column_type", "null", "key", "default", "extra"}, nil)
	add := func(name, typ string, notNull bool, key, def, extra string) {
		null := "YES"
		if notNull {
			null = "NO"
		}
		res.Rows = append(res.Rows, []row.Value{row.TextValue(name), row.TextValue(typ), row.TextValue(null), textOrNull(key), textOrNull(def), textOrNull(extra)})
	}
	for _, c := range schema.Columns {
		if s.req.As.Role < auth.DBA && !t.Rules.Readable(s.req.As.Role, c.ID) {
			continue
		}
		key, extra := "", ""
		for _, id := range schema.Key {
			if id == c.ID {
				key = "PRI"
			}
		}
		if c.AutoIncrement {
			extra = "AUTO_INCREMENT"
		}
		add(c.Name, c.Type.String(), c.NotNull, key, c.Default, extra)
	}
	if !t.Versioned() {
		return res, nil
	}
	add(row.ColUpdated, "TIMESTAMP", true, "", "", "SYSTEM")
	add(row.ColDeleted, "BOOLEAN", true, "", "", "SYSTEM")
	return res, nil
}

const timeFormat = "2006-01-02T15:04:05.000000Z"

func textOrNull(s string) row.Value {
	if s == "" {
		return row.NullValue
	}
	return row.TextValue(s)
}

package kalamdb

import (
	"fmt"
	"slices"
	"time"

	"kalamdb/auth"
	"kalamdb/catalog"
	"kalamdb/query"
	"kalamdb/row"
	"kalamdb/sql"
)

// A systemTable shows the state of a room as rows, made anew for each statement.
type systemTable struct {
	columns []row.Column
	role    auth.Role // who may see it; for others it does not exist
	rows    func(db *DB, as auth.Principal, add func(values ...row.Value))
}

// col is a column of a system table.
func col(name string, k row.Kind) row.Column { return row.Column{Name: name, Type: row.Type{Kind: k}} }

// texts are columns of type TEXT.
func texts(names ...string) []row.Column {
	cols := make([]row.Column, len(names))
	for i, n := range names {
		cols[i] = col(n, row.Text)
	}
	return cols
}

// systemTables by their qualified name.
var systemTables map[string]systemTable

// laterSystemTables arrive with the features they show.
var laterSystemTables = []string{"system.users", "system.columns", "system.queries", "system.settings", "system.nodes"}

func init() { // not an initialiser: information_schema lists the map itself
	systemTables = map[string]systemTable{
		"system.namespaces": {
			columns: append(texts("namespace", "options"), col("table_count", row.BigInt), col("created_at", row.Timestamp), col("updated_at", row.Timestamp)),
			role:    auth.DBA, rows: namespaceRows,
		},
		"system.tables": {
			columns: append(texts("table_id", "namespace", "table_name", "table_type", "storage_location", "flush_policy", "deleted_retention", "options"),
				col("schema_version", row.Int), col("created_at", row.Timestamp), col("updated_at", row.Timestamp)),
			role: auth.DBA, rows: tableRows,
		},
		"system.table_schemas": {
			columns: append(append(texts("table_id", "namespace", "table_name"), col("version", row.Int)), append(texts("arrow_schema", "changes"), col("created_at", row.Timestamp))...),
			role:    auth.DBA, rows: schemaRows,
		},
		"system.storage_locations": {
			columns: append(texts("location_name", "location_type", "path", "credentials_ref"), col("usage_count", row.BigInt), col("created_at", row.Timestamp), col("updated_at", row.Timestamp)),
			role:    auth.DBA, rows: locationRows,
		},
		"system.jobs": {
			columns: append(append(texts("job_id", "job_type", "namespace", "table_name", "user_id", "status"),
				col("start_time", row.Timestamp), col("end_time", row.Timestamp), row.Column{Name: "parameters", Type: row.Type{Kind: row.List, Elem: row.Text}}),
				append(texts("result", "trace", "error_message"), col("memory_used_mb", row.Double), col("cpu_used_percent", row.Double), col("node_id", row.Text))...),
			role: auth.DBA, rows: jobRows,
		},
		"system.live_queries": {
			columns: append(texts("live_id", "connection_id", "table_id", "query_id", "user_id", "query", "options"),
				col("created_at", row.Timestamp), col("updated_at", row.Timestamp), col("changes", row.BigInt), col("node", row.Text)),
			role: auth.User, rows: liveQueryRows,
		},
		"system.partitions": {
			columns: append(texts("namespace", "table_name", "user_id"), col("buffered_rows", row.BigInt), col("buffered_bytes", row.BigInt),
				col("files", row.BigInt), col("file_bytes", row.BigInt), col("oldest_unflushed_ms", row.BigInt)),
			role: auth.DBA, rows: partitionRows,
		},
		"system.files": {
			columns: append(append(texts("namespace", "table_name", "user_id", "path"), col("rows", row.BigInt), col("bytes", row.BigInt), col("min_seq", row.BigInt), col("max_seq", row.BigInt)),
				append(texts("min_key", "max_key"), col("schema_version", row.Int), col("created_at", row.Timestamp))...),
			role: auth.DBA, rows: fileRows,
		},
		"information_schema.tables": {
			columns: texts("table_catalog", "table_schema", "table_name", "table_type"),
			role:    auth.User, rows: infoTableRows,
		},
		"information_schema.columns": {
			columns: append(texts("table_catalog", "table_schema", "table_name", "column_name"), col("ordinal_position", row.Int), col("column_default", row.Text), col("is_nullable", row.Text), col("data_type", row.Text)),
			role:    auth.User, rows: infoColumnRows,
		},
	}
}

// systemRelation is a system table as the principal may see it. One he may not see
// reads as not found.
func (db *DB) systemRelation(as auth.Principal, namespace, name string) (*query.Relation, error) {
	full := namespace + "." + name
	st, ok := systemTables[full]
	if !ok && as.Role >= auth.DBA && slices.Contains(laterSystemTables, full) {
		return nil, fail(CodeNotSupportedYet, "%s is not supported yet", full)
	}
	if !ok || as.Role < st.role {
		var names []string
		for n, t := range systemTables {
			if as.Role >= t.role {
				names = append(names, n)
			}
		}
		slices.Sort(names)
		nearest, _ := sql.Nearest(full, names)
		return nil, &catalog.NotFoundError{Kind: "table", Name: full, Nearest: nearest}
	}
	schema := &row.Schema{Version: 1, Columns: slices.Clone(st.columns)}
	for i := range schema.Columns {
		schema.Columns[i].ID = row.ColumnID(i + 1)
	}
	hot := &heldRows{}
	st.rows(db, as, func(values ...row.Value) {
		hot.rows = append(hot.rows, row.Row{Schema: 1, Values: values})
	})
	return &query.Relation{Schema: schema, Hot: hot}, nil
}

// heldRows is a query.Hot of rows without keys.
type heldRows struct{ rows []row.Row }

func (h *heldRows) Len() int                          { return len(h.rows) }
func (h *heldRows) Get([]byte) (row.Row, bool, error) { return row.Row{}, false, nil }
func (h *heldRows) Scan(_, _ []byte, yield func([]byte, *row.Row) bool) error {
	for i := range h.rows {
		if !yield(nil, &h.rows[i]) {
			break
		}
	}
	return nil
}

func text(s string) row.Value   { return row.TextValue(s) }
func number(n int64) row.Value  { return row.IntValue(row.BigInt, n) }
func integer(n int64) row.Value { return row.IntValue(row.Int, n) }

// moment is a time, NULL for the zero time.
func moment(t time.Time) row.Value {
	if t.IsZero() {
		return row.NullValue
	}
	return row.IntValue(row.Timestamp, t.UnixMicro())
}

func namespaceRows(db *DB, _ auth.Principal, add func(...row.Value)) {
	tables := map[string]int64{}
	for _, t := range db.catalog.Tables() {
		tables[t.Ref.Namespace]++
	}
	for _, n := range db.catalog.Namespaces() {
		add(text(n.Name), jsonText(n.Options), number(tables[n.Name]), moment(n.Created), moment(n.Updated))
	}
}

func tableRows(db *DB, _ auth.Principal, add func(...row.Value)) {
	for _, t := range db.catalog.Tables() {
		retention := t.DeletedRetention.String()
		if t.DeletedRetention < 0 {
			retention = "off"
		}
		policy := fmt.Sprintf("rows:%d,interval:%d", t.Flush.Rows, int64(t.Flush.Interval/time.Second))
		add(text(t.Ref.Colon()), text(t.Ref.Namespace), text(t.Ref.Name), text(string(t.Type)), text(tablePlaceText(t)), text(policy), text(retention),
			jsonText(t.Options), integer(int64(t.Schema().Version)), moment(t.Created), moment(t.Updated))
	}
}

// tablePlaceText is the name of the table's location, or the LOCATION it was given.
func tablePlaceText(t *catalog.Table) string {
	if t.Location != "" {
		return t.Location
	}
	return t.Root + "/" + string(t.Path)
}

func schemaRows(db *DB, _ auth.Principal, add func(...row.Value)) {
	for _, t := range db.catalog.Tables() {
		for _, v := range t.Versions {
			add(text(t.Ref.Colon()), text(t.Ref.Namespace), text(t.Ref.Name), integer(int64(v.Version)), text(arrowSchemaJSON(v.Schema)), text(v.Changes), moment(v.Created))
		}
	}
}

func locationRows(db *DB, _ auth.Principal, add func(...row.Value)) {
	for _, l := range db.catalog.Locations() {
		path := l.Path
		if l.Name == catalog.DefaultName {
			path = db.bucket.URL()
		}
		add(text(l.Name), text(l.Type), text(path), textOrNull(l.CredentialsRef), number(int64(db.catalog.Usage(l.Name))), moment(l.Created), moment(l.Updated))
	}
}

func jobRows(db *DB, _ auth.Principal, add func(...row.Value)) {
	for _, j := range db.jobs.List() {
		params := make([]row.Value, len(j.Parameters))
		for i, p := range j.Parameters {
			params[i] = text(p)
		}
		add(text(j.ID), text(j.Type), textOrNull(j.Namespace), textOrNull(j.Table), textOrNull(j.User), text(string(j.Status)), moment(j.Started), moment(j.Ended),
			row.ListValue(params), textOrNull(j.Result), textOrNull(j.Trace), textOrNull(j.Error), row.DoubleValue(j.MemoryUsedMB), row.DoubleValue(j.CPUUsedPercent), text(j.Node))
	}
}

// liveQueryRows are all live queries for operators, one's own for everyone else.
func liveQueryRows(db *DB, as auth.Principal, add func(...row.Value)) {
	for _, q := range db.hub.List() {
		if as.Role < auth.DBA && q.User != string(as.User) {
			continue
		}
		add(text(q.ID), text(q.ConnectionID), text(q.Partition.Table.Colon()), text(q.QueryID), text(q.User), text(q.Query),
			text(q.Options), moment(q.Created), moment(q.Updated), number(q.Changes), text(q.Node))
	}
}

func infoTableRows(db *DB, as auth.Principal, add func(...row.Value)) {
	for _, t := range db.catalog.Tables() {
		add(text("kalamdb"), text(t.Ref.Namespace), text(t.Ref.Name), text("BASE TABLE"))
	}
	for full, st := range systemTables {
		if as.Role >= st.role {
			namespace, name := splitName(full)
			add(text("kalamdb"), text(namespace), text(name), text("SYSTEM VIEW"))
		}
	}
}

func infoColumnRows(db *DB, as auth.Principal, add func(...row.Value)) {
	columns := func(namespace, name string, cols []row.Column) {
		for i, c := range cols {
			nullable := "YES"
			if c.NotNull {
				nullable = "NO"
			}
			add(text("kalamdb"), text(namespace), text(name), text(c.Name), integer(int64(i+1)), textOrNull(c.Default), text(nullable), text(c.Type.String()))
		}
	}
	for _, t := range db.catalog.Tables() {
		columns(t.Ref.Namespace, t.Ref.Name, append(slices.Clone(t.Schema().Columns),
			row.Column{Name: row.ColUpdated, Type: row.Type{Kind: row.Timestamp}, NotNull: true}, row.Column{Name: row.ColDeleted, Type: row.Type{Kind: row.Boolean}, NotNull: true}))
	}
	for full, st := range systemTables {
		if as.Role >= st.role {
			namespace, name := splitName(full)
			columns(namespace, name, st.columns)
		}
	}
}

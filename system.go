package kalamdb

import (
	"slices"
	"time"

	"kalamdb/auth"
	"kalamdb/catalog"
	"kalamdb/query"
	"kalamdb/row"
	"kalamdb/sql"
)

// A systemTable shows the state of a room as rows.
type systemTable struct {
	columns []row.Column
	role    auth.Role // who may see it; for others it does not exist
	// ofTable are the rows about one stored table, shown to who may see that table. They
	// are kept for as long as the table stays as it is.
	ofTable func(db *DB, t *catalog.Table, add func(values ...row.Value))
	// rows are all others, made anew for each statement.
	rows func(db *DB, as auth.Principal, add func(values ...row.Value))
	// hot, in the place of both, makes at least the rows that meet the conditions, and
	// only while they are read.
	hot func(db *DB, as auth.Principal, where []query.Condition) systemHot
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

func init() { // not an initialiser: information_schema lists the map itself
	systemTables = map[string]systemTable{
		"system.namespaces": {
			columns: append(texts("namespace", "options"), col("table_count", row.BigInt), col("created_at", row.Timestamp), col("updated_at", row.Timestamp)),
			role:    auth.DBA, rows: namespaceRows,
		},
		"system.tables": {
			columns: append(texts("table_id", "namespace", "table_name", "table_type", "storage_location", "flush_policy", "deleted_retention", "options"),
				col("schema_version", row.Int), col("created_at", row.Timestamp), col("updated_at", row.Timestamp)),
			role: auth.DBA, ofTable: tableRows,
		},
		"system.table_schemas": {
			columns: append(append(texts("table_id", "namespace", "table_name"), col("version", row.Int)), append(texts("arrow_schema", "changes"), col("created_at", row.Timestamp))...),
			role:    auth.DBA, ofTable: schemaRows,
		},
		"system.storage_locations": {
			columns: append(texts("location_name", "location_type", "path", "credentials_ref"), col("usage_count", row.BigInt), col("created_at", row.Timestamp), col("updated_at", row.Timestamp), col("options", row.Text)),
			role:    auth.DBA, rows: locationRows,
		},
		"system.columns": {
			columns: append(append(texts("table_id", "namespace", "table_name", "column_name"), col("ordinal_position", row.Int), col("data_type", row.Text), col("is_nullable", row.Boolean),
				col("key_position", row.Int), col("auto_increment", row.Boolean)), col("column_default", row.Text), col("system", row.Boolean)),
			role: auth.DBA, ofTable: columnRows,
		},
		"system.policies": {
			columns: append(append(texts("table_id", "namespace", "table_name", "policy_name", "command"), row.Column{Name: "roles", Type: row.Type{Kind: row.List, Elem: row.Text}}),
				append(texts("using_condition", "check_condition"), col("created_at", row.Timestamp))...),
			role: auth.DBA, ofTable: policyRows,
		},
		"system.column_grants": {
			columns: append(texts("table_id", "namespace", "table_name", "role"), row.Column{Name: "columns", Type: row.Type{Kind: row.List, Elem: row.Text}}),
			role:    auth.DBA, ofTable: grantRows,
		},
		"system.queries": {
			columns: append(texts("query_id", "user_id", "role", "statement", "query", "status"), col("started_at", row.Timestamp), col("duration_ms", row.Double),
				col("rows", row.BigInt), col("error_code", row.Text), col("error_message", row.Text), col("node", row.Text)),
			role: auth.User, rows: queryRows,
		},
		"system.settings": {
			columns: texts("name", "value", "default_value"),
			role:    auth.DBA, rows: settingRows,
		},
		"system.nodes": {
			columns: append(texts("node", "node_id", "status"), col("started_at", row.Timestamp), col("uptime_ms", row.BigInt), col("durable_seq", row.BigInt),
				col("buffered_rows", row.BigInt), col("buffered_bytes", row.BigInt), col("partitions", row.BigInt), col("change_log_bytes", row.BigInt),
				col("live_queries", row.BigInt), col("memory_used_mb", row.Double)),
			role: auth.DBA, rows: nodeRows,
		},
		"system.jobs": {
			columns: append(append(texts("job_id", "job_type", "namespace", "table_name", "user_id", "status"),
				col("start_time", row.Timestamp), col("end_time", row.Timestamp), row.Column{Name: "parameters", Type: row.Type{Kind: row.List, Elem: row.Text}}),
				append(texts("result", "trace", "error_message"), col("memory_used_mb", row.Double), col("cpu_used_percent", row.Double), col("node_id", row.Text))...),
			role: auth.DBA, rows: jobRows,
		},
		"system.live_queries": {
			columns: liveQueryColumns(), role: auth.User, hot: liveQueryRows,
		},
		"system.partitions": {
			columns: append(texts("namespace", "table_name", "user_id"), col("buffered_rows", row.BigInt), col("buffered_bytes", row.BigInt),
				col("files", row.BigInt), col("file_bytes", row.BigInt), col("oldest_unflushed_ms", row.BigInt), col("quarantined", row.Boolean)),
			role: auth.DBA, rows: partitionRows,
		},
		"system.files": {
			columns: append(append(texts("namespace", "table_name", "user_id", "path"), col("rows", row.BigInt), col("bytes", row.BigInt), col("min_seq", row.BigInt), col("max_seq", row.BigInt)),
				append(texts("min_key", "max_key"), col("schema_version", row.Int), col("created_at", row.Timestamp))...),
			role: auth.DBA, rows: fileRows,
		},
		"system.users": {columns: userTableColumns(), role: auth.DBA, hot: userTableRows},
		"system.api_keys": {
			columns: append(texts("key_id", "name", "user_id", "role", "created_by"), col("created_at", row.Timestamp), col("expires_at", row.Timestamp)),
			role:    auth.DBA, rows: apiKeyRows,
		},
		"system.audit": {
			columns: append(append([]row.Column{col("time", row.Timestamp)}, texts("action", "user_id", "role", "as_user")...), texts("statement", "request_id", "remote")...),
			role:    auth.DBA, rows: auditRows,
		},
		"information_schema.tables": {
			columns: texts("table_catalog", "table_schema", "table_name", "table_type"),
			role:    auth.User, ofTable: infoTableRows, rows: infoViewRows,
		},
		"information_schema.columns": {
			columns: append(texts("table_catalog", "table_schema", "table_name", "column_name"), col("ordinal_position", row.Int), col("column_default", row.Text), col("is_nullable", row.Text), col("data_type", row.Text)),
			role:    auth.User, ofTable: infoColumnRows, rows: infoViewColumnRows,
		},
	}
}

// systemRelation is a system table as the principal may see it. One he may not see
// reads as not found.
func (db *DB) systemRelation(as auth.Principal, namespace, name string) (*query.Relation, error) {
	full := namespace + "." + name
	st, err := systemTableFor(as, full)
	if err != nil {
		return nil, err
	}
	schema := &row.Schema{Version: 1, Columns: slices.Clone(st.columns)}
	for i := range schema.Columns {
		schema.Columns[i].ID = row.ColumnID(i + 1)
	}
	return &query.Relation{Schema: schema, Narrow: db.systemRows(full, &st, as)}, nil
}

// systemTableFor finds a system table that the principal may see.
func systemTableFor(as auth.Principal, full string) (systemTable, error) {
	st, ok := systemTables[full]
	if !ok || as.Role < st.role {
		var names []string
		for n, t := range systemTables {
			if as.Role >= t.role {
				names = append(names, n)
			}
		}
		slices.Sort(names)
		nearest, _ := sql.Nearest(full, names)
		return systemTable{}, &catalog.NotFoundError{Kind: "table", Name: full, Nearest: nearest}
	}
	return st, nil
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

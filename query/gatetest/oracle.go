// Package gatetest judges the text that reaches DuckDB, for the tests of the gate.
//
// It shares no code with the gate and knows nothing of its lists of allowed things: it
// looks at every object of the tree, wherever it stands, for what must never be there.
package gatetest

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	_ "github.com/duckdb/duckdb-go/v2" // its parser
)

// An Oracle says whether a text that reaches DuckDB is one that may. It is safe for
// concurrent use.
type Oracle struct {
	db      *sql.DB
	refused map[string]bool // functions nobody may call
	catalog map[string]bool // names that DuckDB knows by itself
}

// splicedFunctions make the rows of the tables of a statement. The first takes its files
// as a parameter, the second the number of a source.
const (
	filesFunction = "read_parquet"
	rowsFunction  = "kalamdb_rows"
)

// New starts an oracle. refused is the file with the functions that are refused.
func New(t testing.TB, refused string) *Oracle {
	t.Helper()
	list, err := os.ReadFile(refused)
	if err != nil {
		t.Fatal(err)
	}
	o := &Oracle{refused: map[string]bool{}, catalog: map[string]bool{}}
	for line := range strings.Lines(string(list)) {
		for _, name := range strings.Fields(line) {
			if line[0] != '#' {
				o.refused[name] = true
			}
		}
	}
	if o.db, err = sql.Open("duckdb", ""); err != nil {
		t.Fatal(err)
	}
	o.db.SetMaxOpenConns(1)
	t.Cleanup(func() { o.db.Close() })
	rows, err := o.db.Query("SELECT lower(view_name) FROM duckdb_views()")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		o.catalog[name] = true
	}
	if len(o.refused) < 100 || len(o.catalog) < 10 {
		t.Fatalf("%d functions are refused, %d views are known", len(o.refused), len(o.catalog))
	}
	return o
}

// Check says what is wrong with text, nil if nothing is.
func (o *Oracle) Check(text string) error {
	var raw string
	text = strings.TrimPrefix(text, "EXPLAIN ") // our own
	if err := o.db.QueryRowContext(context.Background(), "SELECT json_serialize_sql($1::VARCHAR)::VARCHAR", text).Scan(&raw); err != nil {
		return fmt.Errorf("%q: %w", text, err)
	}
	var tree map[string]any
	if err := json.Unmarshal([]byte(raw), &tree); err != nil {
		return fmt.Errorf("%q: %w", text, err)
	}
	if tree["error"] == true {
		return fmt.Errorf("%q is no SELECT: %v", text, tree["error_message"])
	}
	if list, _ := tree["statements"].([]any); len(list) != 1 {
		return fmt.Errorf("%q: %d statements", text, len(list))
	}
	j := judge{Oracle: o, with: map[string]bool{}}
	j.names(tree)
	j.look(tree)
	if len(j.found) > 0 {
		return fmt.Errorf("%q reached DuckDB: %s", text, strings.Join(j.found, "; "))
	}
	return nil
}

// A judge looks at one text.
type judge struct {
	*Oracle
	with  map[string]bool // names that a WITH defines somewhere
	found []string
}

func (j *judge) report(format string, args ...any) {
	j.found = append(j.found, fmt.Sprintf(format, args...))
}

func text(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return strings.ToLower(s)
}

// names finds what WITH defines.
func (j *judge) names(v any) {
	switch v := v.(type) {
	case map[string]any:
		if ctes, ok := v["cte_map"].(map[string]any); ok {
			list, _ := ctes["map"].([]any)
			for _, e := range list {
				if m, ok := e.(map[string]any); ok {
					j.with[text(m, "key")] = true
				}
			}
		}
		if name := text(v, "cte_name"); name != "" {
			j.with[name] = true
		}
		for _, c := range v {
			j.names(c)
		}
	case []any:
		for _, c := range v {
			j.names(c)
		}
	}
}

func (j *judge) look(v any) {
	switch v := v.(type) {
	case map[string]any:
		j.object(v)
		for _, c := range v {
			j.look(c)
		}
	case []any:
		for _, c := range v {
			j.look(c)
		}
	}
}

func (j *judge) object(m map[string]any) {
	switch m["type"] {
	case "BASE_TABLE":
		name, schema := text(m, "table_name"), text(m, "schema_name")
		switch {
		case text(m, "catalog_name") != "" || schema != "" && schema != "recurring":
			j.report("the table %s.%s.%s", text(m, "catalog_name"), schema, name)
		case !j.with[name]:
			j.report("the table %s, which nothing stands for", name)
		case j.catalog[name] || strings.ContainsAny(name, `./\*?[]:{}`):
			j.report("the name %s in WITH", name)
		}
	case "SHOW_REF":
		j.report("SHOW, DESCRIBE or SUMMARIZE")
	case "TABLE_FUNCTION":
		f, _ := m["function"].(map[string]any)
		args, _ := f["children"].([]any)
		first := map[string]any{}
		if len(args) > 0 {
			first, _ = args[0].(map[string]any)
		}
		switch name := text(f, "function_name"); name {
		case filesFunction:
			if first["class"] != "PARAMETER" {
				j.report("files that are no parameter")
			}
			delete(m, "function")
			j.look(args)
		case rowsFunction:
			if first["class"] != "CONSTANT" || len(args) != 1 {
				j.report("rows of no constant source")
			}
			delete(m, "function")
		case "range", "generate_series", "unnest", "json_each":
		default:
			j.report("the table function %s", name)
		}
	}
	name, ok := m["function_name"].(string)
	if !ok {
		return
	}
	name = strings.ToLower(name)
	if j.refused[name] || name == rowsFunction {
		j.report("the function %s", name)
	}
	for _, key := range []string{"schema", "catalog"} {
		switch text(m, key) {
		case "system", "pg_catalog", "temp", "memory", "information_schema":
			j.report("the function %s of %s", name, text(m, key))
		}
	}
}

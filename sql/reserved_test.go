package sql

import (
	stdsql "database/sql"
	"strings"
	"testing"

	_ "github.com/duckdb/duckdb-go/v2"
)

// TestReserved: a name is refused without quotes where DuckDB would not take it so.
func TestReserved(t *testing.T) {
	d := newDuckParser(t)
	db, err := stdsql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var list string
	if err := db.QueryRow("SELECT string_agg(keyword_name, ' ') FROM duckdb_keywords()").Scan(&list); err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(list)
	if len(words) < 300 {
		t.Fatalf("DuckDB has the keywords %v", words)
	}
	for _, w := range words {
		if w == "if" { // ADD COLUMN IF NOT EXISTS
			continue
		}
		_, column := d.count("CREATE TABLE t (" + w + " INT)")
		_, table := d.count("SELECT * FROM " + w + " JOIN " + w + " AS y ON true")
		_, namespace := d.count("SELECT * FROM " + w + ".t")
		usable := column && table && namespace
		for _, text := range []string{
			"CREATE USER TABLE t (" + w + " INT)", "CREATE USER TABLE " + w + " (a INT)", "CREATE NAMESPACE " + w,
			"ALTER TABLE t ADD COLUMN " + w + " INT", "ALTER TABLE t RENAME COLUMN a TO " + w,
		} {
			_, err := Parse(text)
			if err == nil && !usable || err != nil && usable {
				t.Errorf("%s: %v, DuckDB takes it: %v", text, err, usable)
			}
		}
		for _, text := range []string{
			`CREATE USER TABLE t ("` + w + `" INT)`, `CREATE USER TABLE "` + w + `" (a INT)`, "CREATE USER TABLE app." + w + " (a INT)", `CREATE NAMESPACE "` + w + `"`,
		} {
			if _, err := Parse(text); err != nil {
				t.Errorf("%s: %v", text, err)
			}
		}
	}
}

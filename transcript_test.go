package kalamdb_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"kalamdb"
	"kalamdb/auth"
	"kalamdb/row"
)

// Each transcript runs four times: with every row buffered, with every row flushed, with
// a flush after every other write, and with all files merged after every flush. The
// answers are the same file.
func TestTranscripts(t *testing.T) {
	for _, mode := range []string{"buffered", "flushed", "half", "compacted"} {
		t.Run(mode, func(t *testing.T) {
			datadriven.Walk(t, "testdata/sql", func(t *testing.T, path string) {
				db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
				writes := 0
				play(t, path, db, func() {
					writes++
					if mode == "flushed" || mode == "half" && writes%2 == 0 {
						mustExec(t, db, "root", "FLUSH ALL")
					}
					if mode == "compacted" {
						compactAll(t, db)
					}
				})
			})
		})
	}
}

// play runs the transcript at path and calls wrote after each write.
func play(t *testing.T, path string, db *kalamdb.DB, wrote func()) {
	datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
		as, namespace, expr := "root", "", ""
		for _, arg := range d.CmdArgs {
			switch arg.Key {
			case "as":
				as = arg.Vals[0]
			case "ns":
				namespace = arg.Vals[0]
			case "params":
				expr = strings.Join(arg.Vals, ",")
			}
		}
		req := kalamdb.Request{SQL: d.Input, Namespace: namespace, As: principal(as), Params: testParams(t, expr)}
		results, err := db.Exec(context.Background(), req)
		out := transcript(results, err)
		for _, r := range results {
			if r.IsWrite && r.Affected > 0 {
				wrote()
			}
		}
		return out
	})
}

// compactAll flushes all rows and merges all files.
func compactAll(t testing.TB, db *kalamdb.DB) {
	t.Helper()
	mustExec(t, db, "root", "FLUSH ALL")
	for _, r := range mustExec(t, db, "root", "SELECT namespace, table_name FROM system.tables WHERE table_type <> 'stream'")[0].Rows {
		mustExec(t, db, "root", fmt.Sprintf("COMPACT TABLE %q.%q", r[0].Str(), r[1].Str()))
	}
}

// principal is the user of that name; root is the operator, service a service.
func principal(name string) auth.Principal {
	switch name {
	case "root":
		return auth.Principal{User: "root", Role: auth.DBA}
	case "service":
		return auth.Principal{User: "service", Role: auth.Service}
	case "system":
		return auth.Principal{User: "system", Role: auth.System}
	}
	return auth.Principal{User: row.UserID(name), Role: auth.User}
}

func testParams(t *testing.T, list string) []row.Value {
	if list == "" {
		return nil
	}
	var params []row.Value
	for _, p := range strings.Split(list, ",") {
		var n int64
		switch _, err := fmt.Sscanf(p, "%d", &n); {
		case p == "null":
			params = append(params, row.NullValue)
		case err == nil:
			params = append(params, row.IntValue(row.BigInt, n))
		default:
			params = append(params, row.TextValue(p))
		}
	}
	return params
}

// transcript shows results without what differs from run to run.
func transcript(results []kalamdb.Result, err error) string {
	var b strings.Builder
	for _, r := range results {
		if r.IsWrite {
			fmt.Fprintf(&b, "%s %d\n", r.Statement, r.Affected)
		} else if r.Columns == nil {
			fmt.Fprintf(&b, "%s\n", r.Statement)
		}
		if r.Columns != nil {
			for i, c := range r.Columns {
				if i > 0 {
					b.WriteString(" | ")
				}
				fmt.Fprintf(&b, "%s %s", c.Name, c.Type)
			}
			b.WriteByte('\n')
			for _, values := range r.Rows {
				for i, v := range values {
					if i > 0 {
						b.WriteString(" | ")
					}
					b.Write(v.AppendJSON(nil))
				}
				b.WriteByte('\n')
			}
		}
	}
	var e *kalamdb.Error
	switch {
	case errors.As(err, &e):
		fmt.Fprintf(&b, "%s at %d.%d: %s", e.Code, e.Statement, e.Position, e.Message)
		if e.Details != "" {
			fmt.Fprintf(&b, " (%s)", e.Details)
		}
		b.WriteByte('\n')
	case err != nil:
		fmt.Fprintf(&b, "NOT A *kalamdb.Error: %v\n", err)
	}
	return b.String()
}

func openDB(t testing.TB, o kalamdb.Options) *kalamdb.DB {
	t.Helper()
	db, err := kalamdb.Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return db
}

func mustExec(t testing.TB, db *kalamdb.DB, as, text string, params ...row.Value) []kalamdb.Result {
	t.Helper()
	results, err := db.Exec(context.Background(), kalamdb.Request{SQL: text, As: principal(as), Params: params})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return results
}

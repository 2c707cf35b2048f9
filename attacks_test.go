package kalamdb_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/datadriven"

	"kalamdb"
	"kalamdb/query"
	"kalamdb/query/gatetest"
	"kalamdb/row"
)

// canary stands in everything that mallory must never see.
const canary = "CANARY-6b1f"

// An attackTarget is a database with rows of a victim, files of his in the cache, and
// mallory, a plain user.
type attackTarget struct {
	t      *testing.T
	db     *kalamdb.DB
	dir    string
	oracle *gatetest.Oracle

	mu     sync.Mutex // guards traced
	traced []string   // what DuckDB got since the last look
}

func newAttackTarget(t *testing.T) *attackTarget {
	a := &attackTarget{t: t, dir: t.TempDir(), oracle: gatetest.New(t, "query/testdata/refused_functions")}
	a.db = openDB(t, kalamdb.Options{DataDir: a.dir, Query: query.Options{Trace: func(text string) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.traced = append(a.traced, text)
	}}})
	mustExec(t, a.db, "root", `CREATE NAMESPACE app;
		CREATE USER TABLE app.t (id INT PRIMARY KEY, a TEXT, n INT, l INT[], j JSON);
		CREATE SHARED TABLE app.board (id INT PRIMARY KEY, a TEXT) WITH (access = 'read');
		CREATE SHARED TABLE app.vault (id INT PRIMARY KEY, secret TEXT) WITH (access = 'private');
		CREATE STREAM TABLE app.s (a TEXT) WITH (retention = '1h')`)
	fill := func(user string, from int, text string) {
		for i := range 2 {
			mustExec(t, a.db, user, fmt.Sprintf("INSERT INTO app.t VALUES (%d, '%s', 1, [1, 2], '{\"k\": \"%[2]s\"}')", from+i, text))
		}
	}
	mustExec(t, a.db, "root", "INSERT INTO app.vault VALUES (1, '"+canary+"'); INSERT INTO app.board VALUES (1, 'hello')")
	fill("victim", 1, canary)
	fill("mallory", 11, "mine")
	mustExec(t, a.db, "root", "FLUSH ALL")
	fill("victim", 21, canary)
	fill("mallory", 31, "mine")
	mustExec(t, a.db, "root", "INSERT INTO app.vault VALUES (2, '"+canary+"')")
	mustExec(t, a.db, "victim", "SELECT * FROM app.t") // into the cache
	for _, path := range []string{"cache/" + strings.Repeat("5e", 16) + ".parquet", "cache/marker.csv", "marker.csv", "temp/marker.csv"} {
		if err := os.WriteFile(filepath.Join(a.dir, path), []byte("a\n"+canary+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a.reached()
	return a
}

// reached are the texts DuckDB got since the last call. Each is one that may reach it.
func (a *attackTarget) reached() []string {
	a.mu.Lock()
	texts := a.traced
	a.traced = nil
	a.mu.Unlock()
	for _, text := range texts {
		if err := a.oracle.Check(text); err != nil {
			a.t.Error(err)
		}
	}
	return texts
}

// exec runs text as the user and shows what he got. None of it is a secret.
func (a *attackTarget) exec(as, text string, params ...row.Value) (string, error) {
	results, err := a.db.Exec(context.Background(), kalamdb.Request{SQL: text, As: principal(as), Namespace: "app", Params: params})
	out := transcript(results, err)
	for _, secret := range []string{canary, a.dir, "kalamdb_rows", "read_parquet"} {
		if strings.Contains(out, secret) && !strings.Contains(strings.ToLower(text), secret) {
			a.t.Errorf("%q gave away %s:\n%s", text, secret, out)
		}
	}
	return strings.TrimSuffix(out, "\n"), err
}

// refusals are the codes an attack may be refused with. INTERNAL is none of them.
var refusals = map[string]bool{
	"FORBIDDEN_FUNCTION": true, "FORBIDDEN_STATEMENT": true, kalamdb.CodeForbidden: true, kalamdb.CodeSyntax: true,
	kalamdb.CodeTableNotFound: true, "COLUMN_NOT_FOUND": true, kalamdb.CodeNotSupportedYet: true, "INVALID_STATEMENT": true,
	kalamdb.CodeNamespaceNotFound: true, kalamdb.CodeTransactionNotFinished: true, kalamdb.CodeInvalidParams: true, "TOO_LARGE": true, "INVALID_VALUE": true, "TYPE_MISMATCH": true,
}

// refused fails unless the attack was refused as it should be: with a known code, at a
// place in its text, before anything of it ran.
func (a *attackTarget) refused(text string, err error) {
	a.t.Helper()
	var e *kalamdb.Error
	switch {
	case !errors.As(err, &e):
		a.t.Errorf("%q passed: %v", text, err)
	case !refusals[e.Code]:
		a.t.Errorf("%q: %s, %s", text, e.Code, e.Message)
	case e.Position < 0 || e.Position > len(text):
		a.t.Errorf("%q: %s at %d", text, e.Code, e.Position)
	}
}

// places are where an expression can stand. The role is the one that may say so.
var places = []struct {
	as, before, after string
	elsewhere         bool // the place that is named may be another one
}{
	{"mallory", "SELECT 1, ", " FROM t", false},
	{"mallory", "SELECT 1 FROM t WHERE (", ") IS NOT NULL", false},
	{"mallory", "SELECT count(*) FROM t GROUP BY ", "", false},
	{"mallory", "SELECT n FROM t ORDER BY ", " LIMIT 1", false},
	{"mallory", "SELECT max(n) FILTER (WHERE (", ") IS NULL) OVER () FROM t", false},
	{"mallory", "SELECT n FROM t QUALIFY (", ") IS NULL", false},
	{"mallory", "SELECT list_transform([1], lambda x: ", ") FROM t", true},
	{"mallory", "WITH w AS (SELECT ", " FROM t) SELECT 1 FROM w", false},
	{"mallory", "SELECT 1 FROM t x JOIN t y ON (", ") IS NULL", false},
	{"mallory", "EXPLAIN SELECT ", " FROM t", false},
	{"mallory", "INSERT INTO t (id, a) VALUES (90, ", ")", false},
	{"mallory", "INSERT INTO t (id, a) SELECT 90, ", " FROM t", false},
	{"mallory", "INSERT INTO t (id, a) VALUES (11, 'x') ON CONFLICT (id) DO UPDATE SET a = ", "", false},
	{"mallory", "INSERT INTO t (id, a) VALUES (90, 'x') RETURNING id, ", "", false},
	{"mallory", "UPDATE t SET a = ", "", false},
	{"mallory", "UPDATE t SET a = 'x' WHERE (", ") IS NOT NULL", false},
	{"mallory", "UPDATE t SET a = 'x' FROM (SELECT 1 AS n, ", " AS b FROM t) y WHERE t.n = y.n", false},
	{"mallory", "UPDATE t SET a = 'x' RETURNING ", "", false},
	{"mallory", "DELETE FROM t WHERE (", ") IS NOT NULL", false},
	{"mallory", "DELETE FROM t RETURNING ", "", false},
	{"mallory", "BEGIN; UPDATE t SET a = ", "; COMMIT", false},
	{"mallory", "EXPLAIN UPDATE t SET a = ", "", false},
	{"service", "EXECUTE AS USER 'mallory' (SELECT ", " FROM t)", false},
	{"root", "CREATE USER TABLE app.fresh (id INT PRIMARY KEY, b TEXT DEFAULT (", "))", true},
	{"root", "ALTER TABLE app.t ADD COLUMN fresh TEXT DEFAULT (", ")", true},
	{"root", "EXPORT (SELECT ", " FROM app.board) TO 'file:///nowhere/x.parquet'", false},
}

// TestAttacks: every line of testdata/attacks is tried by a plain user on the real
// database, an expression in every place where one can stand. Nothing succeeds, what
// is refused is refused at its place, before anything ran, and what reaches DuckDB has
// nothing in it but the tables of the statement and harmless functions.
func TestAttacks(t *testing.T) {
	a := newAttackTarget(t)
	count := 0
	datadriven.Walk(t, "testdata/attacks", func(t *testing.T, path string) {
		a.t = t
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			a.t = t
			var out strings.Builder
			for _, line := range strings.Split(d.Input, "\n") {
				text, err := strconv.Unquote(`"` + strings.ReplaceAll(line, `"`, `\"`) + `"`)
				if err != nil {
					d.Fatalf(t, "%s: %v", line, err)
				}
				count++
				switch d.Cmd {
				case "statements":
					shown, err := a.exec("mallory", text)
					a.refused(text, err)
					a.reached()
					fmt.Fprintln(&out, shown)
				case "expressions":
					fmt.Fprintln(&out, a.everywhere(text))
				case "live":
					err := a.subscribe(text)
					a.refused(text, err)
					fmt.Fprintln(&out, strings.TrimSuffix(transcript(nil, err), "\n"))
				case "harmless": // looks like an attack, and is answered
					shown, err := a.exec("mallory", text)
					if err != nil || len(a.reached()) == 0 {
						t.Errorf("%q: %v", text, err)
					}
					fmt.Fprintln(&out, shown)
				default:
					d.Fatalf(t, "unknown command %s", d.Cmd)
				}
			}
			return out.String()
		})
	})
	a.t = t
	if count < 300 {
		t.Errorf("only %d attacks", count)
	}
	for table, want := range map[string]string{"t": "4 4\n", "board": "1 1\n"} {
		if got := answer(t, a.db, "mallory", "SELECT count(*), count(a) FROM app."+table); got != want {
			t.Errorf("%s has %s rows after the attacks, expected %s", table, got, want)
		}
	}
	if got := answer(t, a.db, "mallory", "SELECT DISTINCT a FROM app.t"); got != "\"mine\"\n" {
		t.Errorf("rows were changed: %s", got)
	}
}

// everywhere tries an expression in every place, and shows what the first one says.
func (a *attackTarget) everywhere(expr string) string {
	first := ""
	at := 0
	for i, p := range places {
		text := p.before + expr + p.after
		shown, err := a.exec(p.as, text)
		a.refused(text, err)
		if texts := a.reached(); len(texts) > 0 && i > 0 {
			a.t.Errorf("%q: DuckDB got %q", text, texts)
		}
		var e *kalamdb.Error
		if !errors.As(err, &e) {
			continue
		}
		if i == 0 {
			at = e.Position - len(p.before)
			first = strings.Replace(shown, fmt.Sprintf("at 0.%d:", e.Position), fmt.Sprintf("at %d:", at), 1)
			continue
		}
		if same := strings.HasPrefix(first, e.Code+" ") && e.Position-len(p.before) == at; !same && !p.elsewhere {
			a.t.Errorf("%q: %s, expected it at %d as in a SELECT: %s", text, shown, len(p.before)+at, first)
		}
	}
	if err := a.subscribe("SELECT * FROM app.t WHERE (" + expr + ") IS NULL"); err == nil {
		a.t.Errorf("%q passed as the condition of a live query", expr)
	}
	return first
}

// subscribe tries a live query.
func (a *attackTarget) subscribe(text string) error {
	sub, err := a.db.Subscribe(context.Background(), kalamdb.SubscribeRequest{SQL: text, As: principal("mallory"), Namespace: "app", QueryID: "q", LastRows: 10})
	a.reached()
	if err == nil {
		sub.Close()
	}
	return err
}

package kalamdb_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"kalamdb"
	"kalamdb/auth"
	"kalamdb/row"
)

// TestKillQuery: one ends one's own statements, an operator those of all, and nobody
// another's.
func TestKillQuery(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	for _, by := range []string{"alice", "root"} {
		ended := make(chan error, 1)
		go func() {
			_, err := db.Exec(t.Context(), kalamdb.Request{SQL: "SELECT count(*) FROM range(1000000000) a(x), range(1000000000) b(y) WHERE x * y = -1", As: auth.Principal{User: "alice"}})
			ended <- err
		}()
		id := ""
		for id == "" {
			id = strings.Trim(answer(t, db, "alice", "SELECT query_id FROM system.queries WHERE status = 'running' AND statement = 'SELECT' AND query LIKE '%range(1000000000) b%' AND query NOT LIKE '%system%'"), "\"\n")
		}
		wantCode(t, execAs(db, "bob", "KILL QUERY '"+id+"'"), kalamdb.CodeNotFound)
		if err := execAs(db, by, "KILL QUERY '"+id+"'"); err != nil {
			t.Fatal(by, err)
		}
		wantCode(t, <-ended, kalamdb.CodeKilled)
		if got := answer(t, db, "alice", "SELECT status, error_code FROM system.queries WHERE query_id = '"+id+"'"); got != "\"failed\" \"KILLED\"\n" {
			t.Error(got)
		}
		wantCode(t, execAs(db, by, "KILL QUERY '"+id+"'"), kalamdb.CodeNotFound)
	}
}

// TestRate: a user who sends too many statements is told when to go on; services and
// other users are not concerned.
func TestRate(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir(), UserStatementsPerSecond: 1})
	ask := func(user string, role auth.Role, text string) error {
		_, err := db.Exec(t.Context(), kalamdb.Request{SQL: text, As: auth.Principal{User: row.UserID(user), Role: role}})
		return err
	}
	if err := ask("mal", auth.User, strings.Repeat("SHOW NAMESPACES;", 1000)); err != nil { // what he has is enough to begin
		t.Fatal(err)
	}
	err := ask("mal", auth.User, "SHOW NAMESPACES")
	var e *kalamdb.Error
	if !errors.As(err, &e) || e.Code != "RATE_LIMITED" || e.RetryAfter < 800*time.Second || !strings.Contains(e.Message, "1 statements a second") {
		t.Errorf("%#v", err)
	}
	if err := ask("ana", auth.User, "SHOW NAMESPACES"); err != nil {
		t.Error(err)
	}
	if err := ask("app", auth.Service, strings.Repeat("SHOW NAMESPACES;", 100)+"SHOW NAMESPACES"); err != nil {
		t.Error(err)
	}
	if err := ask("app", auth.Service, "SHOW NAMESPACES"); err != nil {
		t.Error(fmt.Sprint("service: ", err))
	}
}

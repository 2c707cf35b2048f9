package kalamdb_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kalamdb"
	"kalamdb/auth"
)

func TestIdentify(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, kalamdb.Options{DataDir: dir})
	told := 0
	stop := db.OnUsersChanged(func() { told++ })
	claim := auth.Principal{User: "ana", Role: auth.Service, Issued: time.Now()}
	role := func(db *kalamdb.DB) string {
		p, err := db.Identify(claim)
		if err != nil {
			return wantCode(t, err, kalamdb.CodeUnauthenticated).Code
		}
		return p.Role.String()
	}
	for _, step := range []struct{ sql, role string }{
		{"SELECT 1", "service"},
		{"CREATE USER 'ana'", "user"},
		{"UPDATE system.users SET role = 'dba'", "dba"},
		{"DROP USER 'ana'", "UNAUTHENTICATED"},
		{"CREATE USER 'ana' WITH (role = 'dba')", "UNAUTHENTICATED"},
	} {
		mustExec(t, db, "root", step.sql)
		if got := role(db); got != step.role {
			t.Errorf("after %s: %s, expected %s", step.sql, got, step.role)
		}
	}
	if told != 4 {
		t.Errorf("told of %d changes, expected 4", told)
	}
	stop()
	mustExec(t, db, "root", "CREATE USER 'ben'")
	if told != 4 {
		t.Error("told after stop")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	again := openDB(t, kalamdb.Options{DataDir: dir})
	if got := role(again); got != "UNAUTHENTICATED" {
		t.Errorf("after a restart: %s", got)
	}
	claim.Issued = time.Time{} // a token that does not say when it was made
	if got := role(again); got != "UNAUTHENTICATED" {
		t.Errorf("a token without iat: %s", got)
	}
	claim.Issued = time.Now()
	if got := role(again); got != "dba" {
		t.Errorf("a new token: %s", got)
	}
	if got := answer(t, again, "root", "SELECT count(*) FROM system.audit"); got != "5\n" {
		t.Errorf("the audit log has %s entries, expected 5", got)
	}
}

// Without the audit log nothing runs that belongs into it.
func TestNoAuditNoExecution(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, kalamdb.Options{DataDir: dir})
	mustExec(t, db, "root", createMessages)
	if err := os.RemoveAll(filepath.Join(dir, "audit")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "audit"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"EXECUTE AS USER 'ana' (INSERT INTO app.messages (text) VALUES ('x'))", "EXECUTE AS USER 'ana' (SELECT 1)",
		"CREATE USER 'ana'", "INSERT INTO system.users (user_id) VALUES ('ana')",
	} {
		if e := wantCode(t, execAs(db, "root", text), kalamdb.CodeNotReady); strings.Contains(e.Message+e.Details, dir) {
			t.Errorf("%s tells a path of the server: %v", text, e)
		}
	}
	if _, err := db.Query(context.Background(), kalamdb.Request{SQL: "EXECUTE AS USER 'ana' (SELECT 1)", As: principal("root")}); err == nil {
		t.Error("streamed without an audit log")
	}
	if got := answer(t, db, "ana", "SELECT count(*) FROM app.messages") + answer(t, db, "root", "SELECT count(*) FROM system.users"); got != "0\n0\n" {
		t.Errorf("something ran: %s", got)
	}
}

// Changes of the same users at the same time: none is lost, none is half done.
func TestConcurrentUserChanges(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", "INSERT INTO system.users (user_id, metadata) SELECT 'u' || i, '0' FROM range(3) t(i)")
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 25 {
				mustExec(t, db, "root", "UPDATE system.users SET metadata = CAST(CAST(metadata AS INT) + 1 AS TEXT) WHERE user_id <> 'x'")
				mustExec(t, db, "root", fmt.Sprintf("CREATE USER 'w%d_%d'; DELETE FROM system.users WHERE user_id = 'w%[1]d_%[2]d'", w, i))
			}
		})
	}
	wg.Wait()
	got := answer(t, db, "root", "SELECT user_id, metadata FROM system.users WHERE user_id LIKE 'u%' ORDER BY 1")
	if want := "\"u0\" \"100\"\n\"u1\" \"100\"\n\"u2\" \"100\"\n"; got != want {
		t.Errorf("users are\n%sexpected\n%s", got, want)
	}
}

// BenchmarkUsers are statements about 100,000 users.
func BenchmarkUsers(b *testing.B) {
	db := openDB(b, kalamdb.Options{DataDir: b.TempDir()})
	start := time.Now()
	mustExec(b, db, "root", "INSERT INTO system.users (user_id, username, metadata) SELECT 'user-' || i, 'User ' || i, '{\"plan\":\"free\"}' FROM range(100000) t(i)")
	b.Logf("100,000 users made in %v", time.Since(start))
	mustExec(b, db, "root", "ALTER USER 'user-77' SET (role = 'dba')")
	for _, text := range []string{
		"SELECT * FROM system.users WHERE user_id = 'user-50000'",
		"SELECT user_id FROM system.users WHERE role = 'dba'",
		"SELECT count(*) FROM system.users",
		"SELECT * FROM system.users ORDER BY user_id LIMIT 20",
		"ALTER USER 'user-50000' SET (username = 'x')",
		"UPDATE system.users SET username = 'y' WHERE user_id = 'user-50000'",
		"EXECUTE AS USER 'user-5' (SELECT 1)",
		"SELECT 1",
	} {
		b.Run(text, func(b *testing.B) {
			for b.Loop() {
				mustExec(b, db, "root", text)
			}
		})
	}
	b.Run("Identify", func(b *testing.B) {
		claim := auth.Principal{User: "user-4711", Issued: time.Now()}
		for b.Loop() {
			if _, err := db.Identify(claim); err != nil {
				b.Fatal(err)
			}
		}
	})
}

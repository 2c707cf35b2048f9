package kalamdb_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kalamdb"
	"kalamdb/auth"
)

// newKey makes an API key and returns its id and its text.
func newKey(t *testing.T, db *kalamdb.DB, sql string) (id, key string) {
	t.Helper()
	row := mustExec(t, db, "root", sql)[0].Rows[0]
	return row[0].Str(), row[len(row)-1].Str()
}

// acts is whom the key is for the database now: his role, or the code of the error.
func acts(t *testing.T, db *kalamdb.DB, key string) string {
	t.Helper()
	p, err := db.APIKey(key)
	if err == nil {
		p, err = db.Identify(p)
	}
	if err != nil {
		return wantCode(t, err, kalamdb.CodeUnauthenticated).Code
	}
	return string(p.User) + " " + p.Role.String()
}

func TestAPIKeys(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, kalamdb.Options{DataDir: dir})
	told := 0
	defer db.OnUsersChanged(func() { told++ })()
	id, key := newKey(t, db, "CREATE API KEY 'nightly job' FOR USER 'ana'")
	_, plain := newKey(t, db, "CREATE API KEY 'device' FOR USER 'ana' WITH (role = 'user', ttl = '90d')")
	for _, step := range []struct{ sql, key, plain string }{
		{"SELECT 1", "ana service", "ana user"},
		{"CREATE USER 'ana' WITH (role = 'dba')", "ana service", "ana user"}, // a key never does more than it was made for
		{"ALTER USER 'ana' SET (role = 'user')", "ana user", "ana user"},
		{"ALTER USER 'ana' SET (role = 'service')", "ana service", "ana user"},
		{"DROP API KEY '" + id + "'", "UNAUTHENTICATED", "ana user"},
		{"DROP API KEY IF EXISTS '" + id + "'", "UNAUTHENTICATED", "ana user"},
	} {
		mustExec(t, db, "root", step.sql)
		if got := acts(t, db, key); got != step.key {
			t.Errorf("after %s: %s, expected %s", step.sql, got, step.key)
		}
		if got := acts(t, db, plain); got != step.plain {
			t.Errorf("after %s the other key: %s, expected %s", step.sql, got, step.plain)
		}
	}
	if told < 6 {
		t.Errorf("told of %d changes, expected all 6 of keys and users", told)
	}
	if got := answer(t, db, "root", "SELECT name, user_id, role, created_by, expires_at - created_at = INTERVAL 90 DAY AS days FROM system.api_keys"); got != `"device" "ana" "user" "root" true`+"\n" {
		t.Errorf("system.api_keys: %s", got)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	again := openDB(t, kalamdb.Options{DataDir: dir})
	if got := acts(t, again, key) + ", " + acts(t, again, plain); got != "UNAUTHENTICATED, ana user" {
		t.Errorf("after a restart: %s", got)
	}
	mustExec(t, again, "root", "DROP USER 'ana'; CREATE USER 'ana'")
	if got := acts(t, again, plain); got != "UNAUTHENTICATED" {
		t.Errorf("after its user was dropped: %s", got)
	}
	if got := answer(t, again, "root", "SELECT count(*) FROM system.api_keys"); got != "0\n" {
		t.Errorf("%s keys are listed", got)
	}
	if got := answer(t, again, "root", "SELECT action, as_user FROM system.audit WHERE action LIKE '%API KEY' ORDER BY time"); got != strings.Repeat("\"CREATE API KEY\" \"ana\"\n", 2)+"\"DROP API KEY\" \"ana\"\n" {
		t.Errorf("the audit log: %s", got)
	}
	_, secret, _ := strings.Cut(strings.TrimPrefix(key, "kalam_"), "_")
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), secret) {
			t.Errorf("%s holds the key", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Whoever has no key, or one that is not quite right, is nobody.
func TestWrongAPIKeys(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	id, key := newKey(t, db, "CREATE API KEY 'k' FOR USER 'ana'")
	other, _ := newKey(t, db, "CREATE API KEY 'k' FOR USER 'ben'")
	for _, wrong := range []string{
		"", "kalam_", "kalam_" + id, "kalam_" + id + "_", key[:len(key)-1], key + "A", strings.ToLower(key), strings.ToUpper(key), " " + key, key + "\n",
		strings.Replace(key, id, other, 1), "kalam_aaaaaaaaaaaa_" + strings.Repeat("A", 26), "kalam_../../../x_y", strings.Repeat(key, 1000),
	} {
		p, err := db.APIKey(wrong)
		if err == nil {
			t.Errorf("%q is taken for the key of %s", wrong, p.User)
			continue
		}
		if e := wantCode(t, err, kalamdb.CodeUnauthenticated); strings.Contains(e.Error(), id) || strings.Contains(e.Error(), "ana") {
			t.Errorf("%q: %v", wrong, e)
		}
	}
}

func TestWhoMayMakeAPIKeys(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	as := func(role auth.Role, sql string) error {
		_, err := db.Exec(t.Context(), kalamdb.Request{SQL: sql, As: auth.Principal{User: "op", Role: role}})
		return err
	}
	res, err := db.Exec(t.Context(), kalamdb.Request{SQL: "CREATE API KEY 'root of all' FOR USER 'god' WITH (role = 'system')", As: auth.Principal{User: "op", Role: auth.System}})
	if err != nil {
		t.Fatal(err)
	}
	id := res[0].Rows[0][0].Str()
	for _, c := range []struct {
		role      auth.Role
		sql, code string
	}{
		{auth.User, "CREATE API KEY 'k' FOR USER 'op'", kalamdb.CodeForbidden},
		{auth.Service, "CREATE API KEY 'k' FOR USER 'op' WITH (role = 'user')", kalamdb.CodeForbidden},
		{auth.Service, "DROP API KEY '" + id + "'", kalamdb.CodeForbidden},
		{auth.Service, "EXECUTE AS USER 'god' (CREATE API KEY 'k' FOR USER 'god')", kalamdb.CodeSyntax},
		{auth.Service, "SELECT * FROM system.api_keys", kalamdb.CodeTableNotFound},
		{auth.DBA, "CREATE API KEY 'k' FOR USER 'op' WITH (role = 'system')", kalamdb.CodeForbidden},
		{auth.DBA, "DROP API KEY '" + id + "'", kalamdb.CodeForbidden},
		{auth.DBA, "DROP API KEY 'aaaaaaaaaaaa'", kalamdb.CodeNotFound},
		{auth.DBA, "DROP API KEY '../users/00'", kalamdb.CodeNotFound},
		{auth.DBA, "CREATE API KEY '' FOR USER 'op'", kalamdb.CodeInvalidValue},
		{auth.DBA, "CREATE API KEY 'k' FOR USER 'a/b'", kalamdb.CodeInvalidValue},
		{auth.DBA, "CREATE API KEY 'k' FOR USER 'op' WITH (role = 'king')", kalamdb.CodeInvalidValue},
		{auth.DBA, "CREATE API KEY 'k' FOR USER 'op' WITH (ttl = '1s')", kalamdb.CodeInvalidValue},
		{auth.DBA, "CREATE API KEY 'k' FOR USER 'op' WITH (ttl = 'soon')", kalamdb.CodeInvalidValue},
		{auth.DBA, "CREATE API KEY 'k' FOR USER 'op' WITH (rol = 'user')", kalamdb.CodeInvalidDefinition},
		{auth.DBA, "CREATE API KEY k FOR USER 'op'", kalamdb.CodeSyntax},
		{auth.DBA, "CREATE API KEY 'k'", kalamdb.CodeSyntax},
		{auth.DBA, "CREATE API 'k' FOR USER 'op'", kalamdb.CodeSyntax},
		{auth.DBA, "INSERT INTO system.api_keys (key_id) VALUES ('x')", kalamdb.CodeForbidden},
	} {
		if err := as(c.role, c.sql); err == nil {
			t.Errorf("%s may %s", c.role, c.sql)
		} else {
			wantCode(t, err, c.code)
		}
	}
	if err := as(auth.System, "DROP API KEY '"+id+"'"); err != nil {
		t.Error(err)
	}
}

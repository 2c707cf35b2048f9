package kalamdb_test

import (
	"context"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"kalamdb"
)

// objects are the names of everything in a folder, with times and sizes.
func objects(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			info, err := d.Info()
			if err != nil {
				return err
			}
			b.WriteString(path + " " + info.ModTime().String() + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestReadOnly(t *testing.T) {
	storage := t.TempDir()
	owner := openDB(t, kalamdb.Options{DataDir: t.TempDir(), Storage: "file://" + storage})
	mustExec(t, owner, "root", createMessages)
	mustExec(t, owner, "alice", "INSERT INTO app.messages (text) VALUES ('a'), ('b')")
	mustExec(t, owner, "root", "FLUSH ALL")
	mustExec(t, owner, "alice", "INSERT INTO app.messages (text) VALUES ('not flushed')")
	before := objects(t, storage)

	dir := t.TempDir()
	follower := openDB(t, kalamdb.Options{DataDir: dir, Storage: "file://" + storage, ReadOnly: true})
	const question = "SELECT text FROM app.messages ORDER BY text"
	if got := answer(t, follower, "alice", question); got != "\"a\"\n\"b\"\n" {
		t.Errorf("the follower has %s", got)
	}
	if got := answer(t, follower, "bob", question); got != "" {
		t.Errorf("of bob the follower has %s", got)
	}
	for _, text := range []string{
		"INSERT INTO app.messages (text) VALUES ('x')", "UPDATE app.messages SET text = 'x'", "DELETE FROM app.messages",
		"CREATE NAMESPACE x", "DROP TABLE app.messages", "ALTER TABLE app.messages ADD COLUMN x INT", "FLUSH ALL",
		"COMPACT TABLE app.messages", "CREATE USER 'x'", "INSERT INTO system.users (user_id, role) VALUES ('x', 'dba')",
		"EXECUTE AS USER 'alice' (DELETE FROM app.messages)", "BEGIN; INSERT INTO app.messages (text) VALUES ('x'); COMMIT",
		"EXPORT (SELECT 1) TO 'x.csv'", "EXPLAIN DELETE FROM app.messages; DROP NAMESPACE app CASCADE",
	} {
		wantCode(t, execAs(follower, "root", text), kalamdb.CodeReadOnly)
	}
	_, err := follower.Subscribe(context.Background(), kalamdb.SubscribeRequest{SQL: "SELECT * FROM app.messages", As: principal("alice"), ConnectionID: "c", QueryID: "q"})
	wantCode(t, err, kalamdb.CodeReadOnly)
	mustExec(t, follower, "root", "EXECUTE AS USER 'alice' (SELECT * FROM app.messages); SHOW TABLES IN app; SELECT * FROM system.files; BEGIN; SELECT 1; COMMIT")
	if after := objects(t, storage); after != before {
		t.Errorf("the storage had\n%sand has\n%s", before, after)
	}

	mustExec(t, owner, "root", "FLUSH ALL; ALTER TABLE app.messages ADD COLUMN extra INT DEFAULT 7; CREATE SHARED TABLE app.plans (name TEXT PRIMARY KEY)")
	mustExec(t, owner, "alice", "DELETE FROM app.messages WHERE text = 'a'")
	mustExec(t, owner, "root", "INSERT INTO app.plans VALUES ('pro'); FLUSH ALL; COMPACT TABLE app.messages")
	waitFor(t, func() bool {
		return execAs(follower, "alice", "SELECT extra FROM app.messages, app.plans") == nil &&
			answer(t, follower, "alice", "SELECT text, extra, name FROM app.messages, app.plans ORDER BY text") == "\"b\" 7 \"pro\"\n\"not flushed\" 7 \"pro\"\n"
	})
	mustExec(t, owner, "root", "DROP TABLE app.plans")
	waitFor(t, func() bool { return execAs(follower, "alice", "SELECT * FROM app.plans") != nil })
	if err := follower.Close(); err != nil {
		t.Fatal(err)
	}
	mustExec(t, owner, "alice", "INSERT INTO app.messages (text) VALUES ('the owner goes on')")
	mustExec(t, owner, "root", "FLUSH ALL")
	again := openDB(t, kalamdb.Options{DataDir: dir, Storage: "file://" + storage, ReadOnly: true})
	if got := answer(t, again, "alice", "SELECT count(*) FROM app.messages"); got != "3\n" {
		t.Errorf("after a restart the follower has %s rows", got)
	}
}

func TestReadOnlyNeedsAStorage(t *testing.T) {
	db, err := kalamdb.Open(context.Background(), kalamdb.Options{DataDir: t.TempDir(), ReadOnly: true})
	if err == nil {
		_ = db.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "Storage") {
		t.Errorf("without a storage: %v", err)
	}
}

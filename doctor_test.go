package kalamdb_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kalamdb"
)

// doctored are the findings, a line each, those that are not good with an exclamation mark.
func doctored(t *testing.T, dir string, rebuild bool) string {
	t.Helper()
	findings, err := kalamdb.Doctor(context.Background(), kalamdb.Options{DataDir: dir}, rebuild)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range findings {
		if !f.OK {
			b.WriteString("! ")
		}
		fmt.Fprintf(&b, "%s: %s\n", f.What, f.Text)
	}
	return b.String()
}

func TestDoctorRebuildsALog(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, kalamdb.Options{DataDir: dir})
	mustExec(t, db, "root", createMessages)
	for _, user := range []string{"alice", "bob"} {
		mustExec(t, db, user, "INSERT INTO app.messages (text) VALUES ('a'), ('b')")
		mustExec(t, db, "root", "FLUSH ALL")
		mustExec(t, db, user, "DELETE FROM app.messages WHERE text = 'b'")
		mustExec(t, db, "root", "FLUSH ALL")
	}
	mustExec(t, db, "alice", "INSERT INTO app.messages (text) VALUES ('buffered')")
	if _, err := kalamdb.Doctor(context.Background(), kalamdb.Options{DataDir: dir}, true); !errors.Is(err, kalamdb.ErrLocked) {
		t.Errorf("beside a server: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if got := doctored(t, dir, false); strings.Contains(got, "! ") || !strings.Contains(got, "log of app.messages: whole") || !strings.Contains(got, "write buffer: 1 rows") {
		t.Fatal(got)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "storage/_kalamdb/log/app/messages/*/*2.json"))
	if err != nil || len(logs) != 1 {
		t.Fatal(logs, err)
	}
	if err := os.WriteFile(logs[0], []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if again, err := kalamdb.Open(context.Background(), kalamdb.Options{DataDir: dir}); err == nil {
		_ = again.Close()
		t.Fatal("a server started on a damaged log")
	}
	for range 2 {
		if got := doctored(t, dir, false); !strings.Contains(got, "! log of app.messages: it cannot be replayed; --rebuild makes a new one: 4 files with 6 rows, 1 of the files from their footers alone") {
			t.Fatal(got)
		}
	}
	if got := doctored(t, dir, true); strings.Contains(got, "! ") || !strings.Contains(got, "log of app.messages: rebuilt: 4 files with 6 rows") {
		t.Fatal(got)
	}
	if got := doctored(t, dir, false); !strings.Contains(got, "log of app.messages: whole") {
		t.Fatal(got)
	}
	if r := verified(t, dir, kalamdb.VerifyMode{}); len(r.Problems) > 0 {
		t.Fatal(r.Problems)
	}
	db = openDB(t, kalamdb.Options{DataDir: dir})
	mustExec(t, db, "alice", "INSERT INTO app.messages (text) VALUES ('new')")
	mustExec(t, db, "root", "FLUSH ALL")
	if got := answer(t, db, "alice", "SELECT text FROM app.messages ORDER BY text"); got != "\"a\"\n\"buffered\"\n\"new\"\n" {
		t.Errorf("alice has %s", got)
	}
	if got := answer(t, db, "bob", "SELECT text FROM app.messages ORDER BY text"); got != "\"a\"\n" {
		t.Errorf("bob has %s", got)
	}
}

func TestDoctorFindsWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, kalamdb.Options{DataDir: dir})
	mustExec(t, db, "root", createMessages)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	document := filepath.Join(dir, "storage/_kalamdb/catalog/tables/app/messages.json")
	if err := os.WriteFile(document, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := doctored(t, dir, true)
	for _, want := range []string{"! data directory: ", "is open to others", "! catalog: ", "tables/app/messages.json", "storage: file://", "clock: 0s", "disk: "} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

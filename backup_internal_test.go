package kalamdb

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kalamdb/auth"
	"kalamdb/lake"
	"kalamdb/storagelocations"
)

// A backup whose table is dropped while it is copied says so: nothing is wrong with the storage.
func TestBackupOfATableThatIsDropped(t *testing.T) {
	ctx, data := context.Background(), t.TempDir()
	db, err := Open(ctx, Options{DataDir: data})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	exec := func(text string) {
		t.Helper()
		if _, err := db.Exec(ctx, Request{SQL: text, As: auth.Principal{User: "root", Role: auth.DBA}}); err != nil {
			t.Fatal(err)
		}
	}
	exec("CREATE NAMESPACE app; CREATE USER TABLE app.kept (id INT PRIMARY KEY); CREATE USER TABLE app.gone (id INT PRIMARY KEY); INSERT INTO app.kept VALUES (1); INSERT INTO app.gone VALUES (1); FLUSH ALL")
	n, err := db.catalog.Namespace("app")
	if err != nil {
		t.Fatal(err)
	}
	now, err := db.moment(ctx, "app")
	if err != nil {
		t.Fatal(err)
	}
	defer now.release()
	exec("DROP TABLE app.gone")
	if err := os.RemoveAll(filepath.Join(data, "storage/users/root/app/gone")); err != nil { // as the cleaner does sooner or later
		t.Fatal(err)
	}
	_, err = db.copyMoment(ctx, n, now, &lake.CopyOut{Lake: db.lake, To: storagelocations.NewMemory()}, nil)
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeTableNotFound || !strings.Contains(e.Message, "app.gone was dropped") {
		t.Errorf("%v, expected %s about app.gone", err, CodeTableNotFound)
	}
}

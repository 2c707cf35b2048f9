package kalamdb_test

import (
	"errors"
	"strings"
	"testing"

	"kalamdb"
)

// TestSubscribeFailingRow: a live query gets what matched before the row for which its
// condition fails, then the error of the SELECT.
func TestSubscribeFailingRow(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE USER TABLE app.t (id BIGINT PRIMARY KEY, n TEXT)")
	strict := subscribe(t, db, "ana", kalamdb.SubscribeRequest{SQL: "SELECT n FROM app.t WHERE CAST(n AS INTEGER) > 3", QueryID: "strict"})
	tried := subscribe(t, db, "ana", kalamdb.SubscribeRequest{SQL: "SELECT n FROM app.t WHERE TRY(CAST(n AS INTEGER) > 3)", QueryID: "tried"})
	mustExec(t, db, "ana", "INSERT INTO app.t VALUES (1, '4')")
	for _, sub := range []*kalamdb.Subscription{strict, tried} {
		if e, err := sub.Next(t.Context()); err != nil || len(e.Rows) != 1 || string(e.Rows[0]) != `{"n":"4"}` {
			t.Fatalf("%+v, %v", e, err)
		}
	}
	mustExec(t, db, "ana", "INSERT INTO app.t VALUES (2, 'four')")
	mustExec(t, db, "ana", "INSERT INTO app.t VALUES (3, '5')")
	var failed *kalamdb.Error
	if _, err := strict.Next(t.Context()); !errors.As(err, &failed) || failed.Code != "INVALID_VALUE" || !strings.HasPrefix(failed.Details, "the row with _seq ") {
		t.Errorf("%#v", err)
	}
	if e, err := tried.Next(t.Context()); err != nil || len(e.Rows) != 1 || string(e.Rows[0]) != `{"n":"5"}` {
		t.Errorf("%+v, %v", e, err)
	}
}

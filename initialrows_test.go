package kalamdb_test

import (
	"errors"
	"fmt"
	"testing"

	"kalamdb"
	"kalamdb/query"
)

// TestInitialRowsAreNotHeldTwice: initial rows that clients do not take count with the
// answers that are being read, until they are taken or the live query is closed, read to
// its end or not.
func TestInitialRowsAreNotHeldTwice(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir(), Query: query.Options{OpenResultBytesMax: 4 << 20}})
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE USER TABLE app.big (id BIGINT PRIMARY KEY, text TEXT)")
	const rows = 3000
	mustExec(t, db, "ana", fmt.Sprintf("INSERT INTO app.big SELECT i, repeat('x', 1000) FROM range(%d) AS r(i)", rows))
	open := func(i int) (*kalamdb.Subscription, error) {
		return db.Subscribe(t.Context(), kalamdb.SubscribeRequest{
			As: principal("ana"), ConnectionID: fmt.Sprint(i), QueryID: "q", SQL: "SELECT * FROM app.big", LastRows: rows, BatchRows: 700})
	}
	var subs []*kalamdb.Subscription
	var busy *kalamdb.Error
	for len(subs) < 10 {
		sub, err := open(len(subs))
		if errors.As(err, &busy) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		defer sub.Close()
		subs = append(subs, sub)
	}
	if busy == nil || busy.Code != "BUSY" {
		t.Fatalf("%d live queries have initial rows that nobody takes, then %v; expected BUSY before", len(subs), busy)
	}
	for i, sub := range subs {
		if i == 0 {
			sub.Close() // nothing taken
			continue
		}
		for n, more := 0, true; more; {
			ev, err := sub.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf(`{"id":%d,`, n); len(ev.Rows) == 0 || string(ev.Rows[0][:len(want)]) != want {
				t.Fatalf("a page of %d rows begins with %.40s, expected %s", len(ev.Rows), ev.Rows, want)
			}
			n += len(ev.Rows)
			if more = ev.HasMore; !more && n != rows {
				t.Fatalf("%d initial rows, expected %d", n, rows)
			}
		}
	}
	again, err := open(len(subs))
	if err != nil {
		t.Fatalf("all initial rows were given back, still: %v", err)
	}
	if _, err := again.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	again.Close()
	if ev, err := again.Next(t.Context()); err == nil && len(ev.Rows) > 0 {
		t.Errorf("a closed live query gives %d more rows", len(ev.Rows))
	}
}

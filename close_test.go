package kalamdb_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"kalamdb"
)

// Close comes in the middle of all kinds of statements: each of them is done and durable,
// or refused, and nothing of it is there.
func TestCloseWhileStatementsRun(t *testing.T) {
	o := kalamdb.Options{DataDir: t.TempDir()}
	const writers = 4
	for round := range 2 {
		db, err := kalamdb.Open(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE USER TABLE app.k (id BIGINT PRIMARY KEY, who BIGINT)")
		}
		var wg sync.WaitGroup
		begun := make(chan struct{}, 4*writers)
		rows := make([]int64, writers) // acknowledged, by user
		refused := func(err error) bool {
			var e *kalamdb.Error
			if !errors.As(err, &e) || e.Code != kalamdb.CodeNotReady {
				t.Errorf("%v, expected success or %s", err, kalamdb.CodeNotReady)
			}
			return true
		}
		for w := range writers {
			user := fmt.Sprintf("user%d", w)
			wg.Go(func() {
				for n := 0; ; n++ {
					text := fmt.Sprintf("INSERT INTO app.k VALUES (%d, 1)", round*1_000_000+n)
					if n%8 == 4 { // more than 1,000 rows are staged
						text = fmt.Sprintf("INSERT INTO app.k SELECT %d + i, 1 FROM range(2000) AS r(i)", round*1_000_000+500_000+n*2000)
					}
					res, err := db.Exec(context.Background(), kalamdb.Request{SQL: text, As: principal(user)})
					if err != nil && refused(err) {
						return
					}
					rows[w] += res[0].Affected
					begun <- struct{}{}
					all, err := db.Query(context.Background(), kalamdb.Request{SQL: "SELECT * FROM app.k", As: principal(user)})
					if err != nil && refused(err) {
						return
					}
					for all.Next() {
					}
					if err := all.Err(); err != nil {
						t.Error(err)
					}
					all.Close()
				}
			})
		}
		drained := make(chan struct{})
		for range 8 * writers {
			<-begun
		}
		go func() {
			defer close(drained)
			for range begun {
			}
		}()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		close(begun)
		<-drained

		db = openDB(t, o)
		for w := range writers {
			got := answer(t, db, fmt.Sprintf("user%d", w), fmt.Sprintf("SELECT count(*) FROM app.k WHERE id >= %d", round*1_000_000))
			if got != fmt.Sprintf("%d\n", rows[w]) {
				t.Errorf("user %d has %s rows, %d are acknowledged", w, got, rows[w])
			}
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

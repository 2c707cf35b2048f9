package kalamdb_test

import (
	"testing"
	"time"

	"kalamdb"
)

// While a transaction is busy, others commit to a table that it looks at later, and that
// table is flushed: the transaction sees it as it was when it began.
func TestTransactionSeesTheMomentOfBegin(t *testing.T) {
	for name, test := range map[string]struct{ meanwhile, end, want, code string }{
		"read":     {"UPDATE app.s SET v = 'new'; DELETE FROM app.s WHERE k = 2; INSERT INTO app.s VALUES (3, 'three')", "SELECT k, v FROM app.s ORDER BY k", "1 \"old\"\n2 \"old\"\n", ""},
		"write":    {"UPDATE app.s SET v = 'new' WHERE k = 1", "UPDATE app.s SET v = 'mine' WHERE k = 1", "", kalamdb.CodeTransactionConflict},
		"insert":   {"INSERT INTO app.s VALUES (3, 'theirs')", "INSERT INTO app.s VALUES (3, 'mine')", "", kalamdb.CodeTransactionConflict},
		"comes":    {"INSERT INTO app.s VALUES (3, 'theirs'); DELETE FROM app.s WHERE k = 3", "INSERT INTO app.s VALUES (3, 'mine')", "", kalamdb.CodeTransactionConflict},
		"other":    {"UPDATE app.s SET v = 'new' WHERE k = 2", "UPDATE app.s SET v = 'mine' WHERE k = 1", "", ""},
		"unharmed": {"SELECT 1", "UPDATE app.s SET v = 'mine'; DELETE FROM app.s WHERE k = 2", "", ""},
		"altered":  {"ALTER TABLE app.s ADD COLUMN w INT", "INSERT INTO app.s (k) VALUES (4)", "", ""},
	} {
		for _, flush := range []string{"", "; FLUSH ALL"} {
			t.Run(name+flush, func(t *testing.T) {
				db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
				mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE SHARED TABLE app.s (k INT PRIMARY KEY, v TEXT) WITH (access = 'public'); INSERT INTO app.s VALUES (1, 'old'), (2, 'old')"+flush)
				written := make(chan error, 1)
				go func() {
					time.Sleep(30 * time.Millisecond)
					written <- execAs(db, "root", test.meanwhile+flush)
				}()
				const busy = "SELECT count(*) FROM range(60000000) AS r(i) WHERE hash(i) % 7 = 0"
				res, err := db.Exec(t.Context(), kalamdb.Request{SQL: "BEGIN; " + busy + "; " + test.end + "; COMMIT", As: principal("root")})
				select {
				case err := <-written:
					if err != nil {
						t.Fatal(err)
					}
				default:
					<-written
					t.Fatal("the transaction was over before the others had written")
				}
				if test.code != "" {
					wantCode(t, err, test.code)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				got := ""
				for _, values := range res[2].Rows {
					got += string(values[0].AppendJSON(nil)) + " " + string(values[1].AppendJSON(nil)) + "\n"
				}
				if got != test.want {
					t.Errorf("the transaction read %s, expected %s", got, test.want)
				}
			})
		}
	}
}

package kalamdb_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"kalamdb"
	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/storagelocations"
)

const (
	manyTables      = 10_000
	manyUsers       = 100_000
	manyLiveQueries = 10_000
)

// manyOfAll is a database with a large catalog and many who listen.
func manyOfAll(b *testing.B) *kalamdb.DB {
	dir := b.TempDir()
	bucket, err := storagelocations.NewDir(dir + "/storage")
	if err != nil {
		b.Fatal(err)
	}
	c, err := catalog.Open(b.Context(), bucket)
	if err != nil {
		b.Fatal(err)
	}
	for n := range 10 {
		if err := c.CreateNamespace(b.Context(), catalog.Namespace{Name: fmt.Sprintf("app%d", n)}); err != nil {
			b.Fatal(err)
		}
	}
	for i := range manyTables {
		schema := &row.Schema{Key: []row.ColumnID{1}}
		for j, name := range []string{"id", "conversation", "text", "n", "created"} {
			schema.Columns = append(schema.Columns, row.Column{ID: row.ColumnID(j + 1), Name: name, Type: row.Type{Kind: row.Text}, NotNull: j == 0})
		}
		t := catalog.Table{Ref: row.TableRef{Namespace: fmt.Sprintf("app%d", i%10), Name: fmt.Sprintf("t%d", i)}, Type: catalog.User, Versions: []catalog.SchemaVersion{{Schema: schema}}}
		if _, err := c.CreateTable(b.Context(), t); err != nil {
			b.Fatal(err)
		}
	}
	users := make([]catalog.UserRow, manyUsers)
	for i := range users {
		users[i] = catalog.UserRow{ID: row.UserID(fmt.Sprintf("user%d", i)), Name: fmt.Sprintf("User %d", i), Metadata: `{"plan":"free"}`}
	}
	if err := c.CreateUsers(b.Context(), users); err != nil {
		b.Fatal(err)
	}
	db := openDB(b, kalamdb.Options{DataDir: dir})
	for i := range manyLiveQueries {
		s, err := db.Subscribe(b.Context(), kalamdb.SubscribeRequest{ConnectionID: fmt.Sprintf("c%d", i/10), QueryID: fmt.Sprintf("q%d", i), Namespace: "app1",
			SQL: "SELECT * FROM t1 WHERE conversation = 'c'", As: principal(fmt.Sprintf("user%d", i))})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(s.Close)
	}
	return db
}

// BenchmarkManyOfAll asks what operators and tools ask. p50 is what the contract bounds.
func BenchmarkManyOfAll(b *testing.B) {
	db := manyOfAll(b)
	for _, q := range []struct{ as, text string }{
		{"root", "SHOW NAMESPACES"},
		{"root", "SHOW TABLES IN app1"},
		{"root", "SELECT * FROM system.tables WHERE namespace = 'app1' AND table_name = 't501'"},
		{"root", "SELECT count(*) FROM system.tables WHERE namespace = 'app1'"},
		{"root", "SELECT table_type, count(*) FROM system.tables GROUP BY 1"},
		{"root", "SELECT * FROM system.table_schemas WHERE table_id = 'app1:t501'"},
		{"root", "SELECT * FROM system.columns WHERE table_id = 'app1:t501'"},
		{"root", "SELECT * FROM system.namespaces"},
		{"root", "SELECT * FROM system.storage_locations"},
		{"alice", "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'app1' AND table_name = 't501'"},
		{"alice", "SELECT count(*) FROM information_schema.tables"},
		{"root", "SELECT * FROM system.users WHERE user_id = 'user77777'"},
		{"root", "SELECT * FROM system.users WHERE username = 'User 77777'"},
		{"root", "SELECT count(*) FROM system.users WHERE role = 'user'"},
		{"root", "SELECT * FROM system.users ORDER BY user_id LIMIT 20"},
		{"root", "SELECT * FROM system.live_queries WHERE user_id = 'user777'"},
		{"root", "SELECT * FROM system.live_queries WHERE live_id = 'c77-q777'"},
		{"root", "SELECT table_id, count(*) FROM system.live_queries GROUP BY 1"},
		{"user777", "SELECT * FROM system.live_queries"},
		{"root", "SELECT * FROM system.partitions WHERE table_name = 't501'"},
	} {
		b.Run(q.as+" "+q.text, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				start := time.Now()
				mustExec(b, db, q.as, q.text)
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
		})
	}
}

package kalamdb_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"kalamdb"
)

// What ben can find out about ana is what differs between two databases, of which one has
// never heard of her. Everything that ben can do is done to both, and every answer must be
// the same, errors and their positions included.
//
// Known and left out: Seq is a counter of the whole node, so its values say how much all
// users together have written (SECURITY.md).

// tenantTables are tables with rows of ana in every place that rows can be in.
var tenantTables = []string{"app.buffered", "app.flushed", "app.packed", "app.changed", "app.cached"}

// A tenant database, with ana or without her.
type tenantDB struct {
	*kalamdb.DB
	ana bool
}

func openTenants(t *testing.T, ana bool) tenantDB {
	t.Helper()
	db := tenantDB{openDB(t, kalamdb.Options{DataDir: t.TempDir()}), ana}
	do := func(as, text string) {
		t.Helper()
		if as != "ana" || ana {
			mustExec(t, db.DB, as, text)
		}
	}
	do("root", "CREATE NAMESPACE app; CREATE NAMESPACE own; CREATE SHARED TABLE app.news (id INT PRIMARY KEY, secret TEXT); CREATE USER 'ben'")
	for _, table := range tenantTables {
		with := ""
		if table == "app.packed" {
			with = " WITH (pack = '10')"
		}
		do("root", "CREATE USER TABLE "+table+" (id INT PRIMARY KEY, secret TEXT, n INT, due TIMESTAMP)"+with)
		for _, user := range []string{"ana", "ben", "cy"} {
			do(user, fmt.Sprintf("INSERT INTO %s VALUES (1, 'of %s', 1, NULL), (3, '7', 3, NULL)", table, user))
		}
		do("ana", "INSERT INTO "+table+" VALUES (41, 'SECRET41', 41, '2020-01-01'), (42, 'SECRET42', 42, NULL)")
		if table == "app.buffered" {
			continue
		}
		do("root", "FLUSH TABLE "+table)
		if table == "app.changed" {
			do("ana", "UPDATE "+table+" SET secret = 'SECRET43' WHERE id = 42; DELETE FROM "+table+" WHERE id = 41")
		}
		if table == "app.cached" {
			do("ana", "SELECT * FROM "+table)
			do("ben", "SELECT * FROM "+table)
		}
	}
	if ana {
		mustExec(t, db.DB, "root", `CREATE USER 'ana' WITH (role = 'user', metadata = '{"x": "SECRET"}'); CREATE API KEY 'SECRET' FOR USER 'ana';
			CREATE SHARED TABLE app.vault (id INT PRIMARY KEY, secret TEXT) WITH (access = 'private'); INSERT INTO app.vault VALUES (1, 'SECRET vault')`)
		subscribe(t, db.DB, "ana", kalamdb.SubscribeRequest{SQL: "SELECT * FROM app.buffered WHERE secret <> 'SECRET'", ConnectionID: "anas"})
	}
	return db
}

// tenantProbes are what ben tries on each table, T. Rows 41 and 42 are ana's, 1 and 3
// both have.
var tenantProbes = []string{
	"SELECT * FROM T",
	"SELECT id, secret, _deleted, _updated IS NULL AS u, _seq > 0 AS s FROM T ORDER BY id",
	"SELECT count(*) AS c, max(id) AS a, min(secret) AS b, sum(n) AS s FROM T",
	"SELECT * FROM T WHERE id = 41", "SELECT * FROM T WHERE id IN (1, 41, 42) ORDER BY id",
	"SELECT * FROM T WHERE id = 41 AND (_deleted OR NOT _deleted)",
	"SELECT count(*) AS c FROM T WHERE secret LIKE 'SECRET%'",
	"SELECT a.id, b.secret FROM T a FULL JOIN T b ON a.id = b.id + 40 ORDER BY ALL",
	"WITH x AS (SELECT * FROM T) SELECT count(*) AS c FROM x UNION ALL SELECT n FROM T ORDER BY 1",
	"SELECT id, row_number() OVER (ORDER BY id) AS r, lag(secret) OVER (ORDER BY id) AS l FROM T ORDER BY id",
	"SELECT * FROM T ORDER BY id DESC LIMIT 1", "SELECT secret FROM T ORDER BY id OFFSET 2",
	"SELECT 1 // (n - 41) AS x FROM T ORDER BY x",                      // would fail for ana's row
	"SELECT CAST(secret AS INT) AS x FROM T WHERE id <> 1 ORDER BY id", // and this
	"SELECT CAST(secret AS INT) AS x FROM T",
	"SELECT (SELECT secret FROM T WHERE id > 3) AS x",
	"SELECT (SELECT id FROM T) AS x",
	"SELECT * FROM ALL_USERS(T)", "SELECT _user_id FROM T",
	"DESCRIBE T", "DESCRIBE T HISTORY", "SHOW TABLE STATS T",
	"EXPLAIN SELECT * FROM T WHERE id = 41", "EXPLAIN INSERT INTO T VALUES (41, 'b', 1, NULL)", "EXPLAIN DELETE FROM T WHERE id = 41",
	"UPDATE T SET secret = 'ben' WHERE id >= 41 RETURNING *", "DELETE FROM T WHERE id >= 41 RETURNING id",
	"UPDATE T SET n = n + 1 WHERE id = 41 OR secret LIKE 'SECRET%'",
	"INSERT INTO T VALUES (41, 'ben', 1, NULL)", // her key is free for him
	"INSERT INTO T VALUES (41, 'ben', 1, NULL)", // and now it is his
	"INSERT INTO T VALUES (42, 'ben', 1, NULL) ON CONFLICT (id) DO UPDATE SET secret = T.secret || '!' RETURNING id, secret",
	"INSERT INTO T VALUES (42, 'ben', 1, NULL), (41, 'x', 1, NULL) ON CONFLICT (id) DO NOTHING RETURNING id, secret",
	"UPDATE T SET secret = secret || '?' WHERE id IN (41, 42) RETURNING id, secret",
	"INSERT INTO T (id, secret) SELECT id + 100, secret FROM T RETURNING id, secret",
	"DELETE FROM T WHERE id > 3 RETURNING id, secret, _deleted",
	"SELECT id, secret FROM T WHERE _deleted ORDER BY id",
	"BEGIN; INSERT INTO T VALUES (41, 'ben', 1, NULL); SELECT id, secret FROM T ORDER BY id; ROLLBACK",
	"BEGIN; UPDATE T SET n = 0; DELETE FROM T WHERE id = 42; SELECT count(*) AS c FROM T; COMMIT",
	"EXECUTE AS USER 'ana' (SELECT * FROM T)", "EXECUTE AS USER 'ana' (DELETE FROM T)",
}

// tenantRefusals are what ben tries once.
var tenantRefusals = []string{
	"SELECT * FROM app.vault", "SELECT * FROM app.vaul", "DESCRIBE app.vault", "SHOW TABLE STATS app.vault", "INSERT INTO app.vault VALUES (1, 'x')",
	"UPDATE app.vault SET id = 1", "DELETE FROM app.vault", "EXPLAIN SELECT * FROM app.vault", "EXPLAIN DELETE FROM app.vault", "SELECT * FROM ALL_USERS(app.vault)",
	"SELECT (SELECT max(secret) FROM app.vault) AS x", "INSERT INTO app.buffered SELECT id, secret, 1, NULL FROM app.vault",
	"INSERT INTO app.vault SELECT id, secret FROM app.buffered", "UPDATE app.buffered SET n = 1 FROM app.vault WHERE true", "SELECT 1; SELECT * FROM app.vault",
	"DROP TABLE app.vault", "ALTER TABLE app.vault ADD COLUMN x INT", "FLUSH TABLE app.vault", "COMPACT TABLE app.vault", "CREATE USER TABLE app.vault (id INT PRIMARY KEY)",
	"SHOW TABLES", "SHOW TABLES IN app", "SHOW NAMESPACES", "SELECT * FROM information_schema.tables ORDER BY ALL", "SELECT * FROM information_schema.columns ORDER BY ALL",
	"SELECT user_id, query, options FROM system.live_queries", "SELECT count(*) AS c FROM system.live_queries", "SELECT DISTINCT user_id FROM system.queries",
	"SELECT * FROM system.users", "SELECT * FROM system.api_keys", "SELECT * FROM system.audit", "SELECT * FROM system.files", "SELECT * FROM system.partitions",
	"SELECT * FROM system.tables", "SELECT * FROM system.columns", "SELECT * FROM system.jobs", "SELECT * FROM system.nodes", "SELECT * FROM system.settings", "SELECT * FROM system.user",
	"KILL LIVE QUERY 'anas-q'", "KILL LIVE QUERY 'anaz-q'", "KILL JOB 'x'",
	"CREATE USER 'ana'", "CREATE USER IF NOT EXISTS 'ana'", "ALTER USER 'ana' SET (role = 'dba')", "DROP USER 'ana'", "CREATE API KEY 'k' FOR USER 'ana'", "DROP API KEY 'x'",
	"EXPORT (SELECT * FROM app.buffered) TO '/tmp/x.csv'", "EXPORT USER 'ana' TO '/tmp/x/'", "FORGET USER 'ana'", "BACKUP DATABASE app TO '/tmp/b'", "SHOW BACKUP '/tmp/b'",
	"SELECT * FROM read_parquet('users/ana/app/flushed/*.parquet')", "SELECT * FROM 'users/ana/app/flushed/x.parquet'", "SELECT * FROM glob('*')", "SELECT * FROM duckdb_tables()",
	"SELECT * FROM sqlite_master", "SELECT * FROM main.flushed", "SELECT * FROM memory.main.flushed", "FROM query('SELECT 1')", "SELECT error(secret) AS e FROM app.buffered",
}

// variables are what differs from run to run: times, Seqs, and the bytes of ben's own files,
// which hold both.
var variables = []struct {
	text   *regexp.Regexp
	become string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z`), "(time)"},
	{regexp.MustCompile(`of \d+ bytes`), "of (bytes)"},
	{regexp.MustCompile(`("user"(?: \| \d+){5}) \| \d+ \| (?:\d+|null) \| (?:\d+|null) \|`), "$1 | (file_bytes) | (oldest_unflushed_ms) | (max_seq) |"},
}

// tried is what ben hears of it.
func (db tenantDB) tried(text string) string {
	results, err := db.Exec(context.Background(), kalamdb.Request{SQL: text, As: principal("ben"), Namespace: "own"})
	heard := transcript(results, err)
	for _, v := range variables {
		heard = v.text.ReplaceAllString(heard, v.become)
	}
	return heard
}

// same has ben try text in both databases.
func same(t *testing.T, with, without tenantDB, text string) {
	t.Helper()
	got, want := with.tried(text), without.tried(text)
	if got != want {
		t.Errorf("%s\nwith ana:\n%s\nwithout:\n%s", text, got, want)
	}
	if strings.Contains(got, "SECRET") && !strings.Contains(text, "SECRET") {
		t.Errorf("%s\nshows what is ana's:\n%s", text, got)
	}
}

// hers is all that ana has.
func (db tenantDB) hers(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, table := range tenantTables {
		b.WriteString(answer(t, db.DB, "ana", "SELECT *, _seq FROM "+table+" WHERE _deleted OR NOT _deleted ORDER BY id"))
	}
	return b.String() + answer(t, db.DB, "root", "SELECT query FROM system.live_queries WHERE user_id = 'ana'")
}

func TestCrossTenant(t *testing.T) {
	with, without := openTenants(t, true), openTenants(t, false)
	hers := with.hers(t)
	if hers == without.hers(t) || !strings.Contains(hers, "SECRET42") || !strings.Contains(hers, "SECRET43") {
		t.Fatalf("the databases are the same, so the test shows nothing:\n%s", hers)
	}
	for _, table := range tenantTables {
		for _, probe := range tenantProbes {
			same(t, with, without, tableIn(probe, table))
		}
	}
	for _, text := range tenantRefusals {
		same(t, with, without, text)
	}
	if now := with.hers(t); now != hers {
		t.Errorf("ana had\n%s\nand has now\n%s", hers, now)
	}
}

// tableIn is probe on a table.
func tableIn(probe, table string) string { return tableWord.ReplaceAllString(probe, table) }

var tableWord = regexp.MustCompile(`\bT\b`)

// Live queries of ben hear of his own changes, from now on and from the change log.
func TestCrossTenantLive(t *testing.T) {
	heard := func(db tenantDB) string {
		var b strings.Builder
		for _, table := range tenantTables {
			from := mustExec(t, db.DB, "ben", "UPDATE "+table+" SET n = 100 WHERE id = 1")[0].Seq
			now := subscribe(t, db.DB, "ben", kalamdb.SubscribeRequest{SQL: "SELECT id, secret, n FROM " + table, QueryID: "now" + table, LastRows: 100})
			for _, text := range []string{
				"INSERT INTO " + table + " VALUES (50, 'SECRET50', 50, NULL)", "UPDATE " + table + " SET secret = 'SECRET1' WHERE id = 1", "DELETE FROM " + table + " WHERE id = 3",
			} {
				if db.ana {
					mustExec(t, db.DB, "ana", text)
				}
			}
			mustExec(t, db.DB, "ben", "INSERT INTO "+table+" VALUES (60, 'the end', 1, NULL)")
			resumed := subscribe(t, db.DB, "ben", kalamdb.SubscribeRequest{SQL: "SELECT id, secret, n FROM " + table, QueryID: "then" + table, FromSeq: &from})
			for which, sub := range []*kalamdb.Subscription{now, resumed} {
				for i := 0; ; i++ {
					event := next(t, sub)
					b.WriteString(fmt.Sprintln(table, []string{"now:", "resumed:"}[which], event))
					if strings.Contains(event, "the end") {
						break
					}
					if i > 10 {
						t.Fatalf("%s: no end of events:\n%s", table, b.String())
					}
				}
			}
		}
		return b.String()
	}
	with, without := heard(openTenants(t, true)), heard(openTenants(t, false))
	if with != without || strings.Contains(with, "SECRET") {
		t.Errorf("ben hears\n%s\nand without ana\n%s", with, without)
	}
}

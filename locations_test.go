package kalamdb_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kalamdb"
	"kalamdb/storagelocations"
	"kalamdb/storagelocations/buckettest"
)

const locationsQuestion = "SELECT location_name, location_type, path, credentials_ref, usage_count, options FROM system.storage_locations WHERE location_name <> 'default' ORDER BY 1"

// Locations of folders, in SQL and by DML: what can be done with them, and what not.
func TestStorageLocations(t *testing.T) {
	dir, root := t.TempDir(), t.TempDir()
	place := func(name string) string { return filepath.Join(root, name) }
	db := openDB(t, kalamdb.Options{DataDir: dir})
	mustExec(t, db, "root", fmt.Sprintf(`CREATE NAMESPACE app;
		CREATE STORAGE LOCATION cold WITH (path = '%s');
		CREATE STORAGE LOCATION IF NOT EXISTS cold WITH (path = '/elsewhere');
		CREATE STORAGE LOCATION "by-user.1" WITH (type = 'filesystem', path = '%s/${user_id}/${namespace}/${table}');
		INSERT INTO system.storage_locations (location_name, path) VALUES ('warm', '%s'), ('spare', '%s')`,
		place("cold"), place("by-user"), place("warm"), place("spare")))
	mustExec(t, db, "root", `
		CREATE USER TABLE app.a (id INT PRIMARY KEY) LOCATION REFERENCE 'cold';
		CREATE SHARED TABLE app.s (id INT PRIMARY KEY) LOCATION REFERENCE 'cold';
		CREATE USER TABLE app.u (id INT PRIMARY KEY) LOCATION REFERENCE 'by-user.1';
		CREATE USER TABLE app.w (id INT PRIMARY KEY) LOCATION REFERENCE 'warm'`)
	want := fmt.Sprintf(`"by-user.1" "filesystem" "%s/${user_id}/${namespace}/${table}" null 1 "{}"
"cold" "filesystem" "%s" null 2 "{}"
"spare" "filesystem" "%s" null 0 "{}"
"warm" "filesystem" "%s" null 1 "{}"
`, place("by-user"), place("cold"), place("spare"), place("warm"))
	if got := answer(t, db, "root", locationsQuestion); got != want {
		t.Fatalf("the locations are\n%swant\n%s", got, want)
	}

	for text, want := range map[string]struct{ code, part string }{
		"CREATE STORAGE LOCATION cold WITH (path = '/x')":                                                 {kalamdb.CodeAlreadyExists, "cold"},
		"INSERT INTO system.storage_locations (location_name, path) VALUES ('cold', '/x')":                {kalamdb.CodeDuplicateKey, "cold"},
		"INSERT INTO system.storage_locations (location_name, path) VALUES ('x1', '/x'), ('x1', '/y')":    {kalamdb.CodeDuplicateKey, "x1"},
		"INSERT INTO system.storage_locations (path) VALUES ('/x')":                                       {kalamdb.CodeNotNull, "location_name"},
		"INSERT INTO system.storage_locations (location_name, usage_count) VALUES ('x', 1)":               {kalamdb.CodeForbidden, "usage_count"},
		"CREATE STORAGE LOCATION x WITH (type = 'filesystem')":                                            {kalamdb.CodeInvalidLocation, "expected s3://"},
		"CREATE STORAGE LOCATION \"Bad Name\" WITH (path = '/x')":                                         {kalamdb.CodeInvalidLocation, "lower-case"},
		"CREATE STORAGE LOCATION x WITH (path = '/x', typ = 's3')":                                        {kalamdb.CodeInvalidLocation, "did you mean type?"},
		"CREATE STORAGE LOCATION x WITH (path = '/x', type = 's3')":                                       {kalamdb.CodeInvalidLocation, "expected filesystem"},
		"CREATE STORAGE LOCATION x WITH (path = '/x', credentials_ref = 'iam')":                           {kalamdb.CodeInvalidLocation, "filesystem has no credentials_ref"},
		"CREATE STORAGE LOCATION x WITH (path = '/x/${userid}')":                                          {kalamdb.CodeInvalidLocation, "did you mean ${user_id}?"},
		"CREATE STORAGE LOCATION x WITH (path = '/proc/x')":                                               {kalamdb.CodeInvalidLocation, "storage location x cannot be used"},
		"CREATE STORAGE LOCATION x WITH (path = 's3://b', credentials_ref = 'env:KALAMDB_TEST_NO')":       {kalamdb.CodeInvalidLocation, "environment variable KALAMDB_TEST_NO_ACCESS_KEY_ID is not set"},
		"CREATE STORAGE LOCATION x WITH (path = 's3://b', endpoint = 'http://u:hush@h')":                  {kalamdb.CodeInvalidLocation, "endpoint"},
		"CREATE STORAGE LOCATION x WITH (path = 's3://u:hush@b')":                                         {kalamdb.CodeInvalidLocation, "s3://bucket/prefix"},
		"SELECT 1; CREATE STORAGE LOCATION x WITH (path = 's3://b', secret_key = 'hush')":                 {kalamdb.CodeInvalidLocation, "keys are never kept"},
		"SELECT 1; CREATE STORAGE LOCATION x WITH (path = 's3://b', credentials_ref = 'hush')":            {kalamdb.CodeInvalidLocation, "no reference"},
		`INSERT INTO system.storage_locations VALUES ('x', 's3', 's3://b', '', '{"secret_key": "hush"}')`: {kalamdb.CodeInvalidLocation, "keys are never kept"},
		`INSERT INTO system.storage_locations VALUES ('x', 's3', 's3://b', '', '{"regoin": "r"}')`:        {kalamdb.CodeInvalidLocation, "did you mean region?"},
		`INSERT INTO system.storage_locations VALUES ('x', 's3', 's3://b', '', '["region"]')`:             {kalamdb.CodeInvalidValue, "JSON object"},
		"ALTER STORAGE LOCATION clod SET (path = '/x')":                                                   {kalamdb.CodeLocationNotFound, "did you mean cold?"},
		"ALTER STORAGE LOCATION default SET (path = '/x')":                                                {kalamdb.CodeForbidden, "settings"},
		"UPDATE system.storage_locations SET path = '/x' WHERE location_name = 'default'":                 {kalamdb.CodeForbidden, "settings"},
		"UPDATE system.storage_locations SET location_name = 'x'":                                         {kalamdb.CodeForbidden, "location_name"},
		"DROP STORAGE LOCATION clod":                                                                      {kalamdb.CodeLocationNotFound, "did you mean cold?"},
		"DROP STORAGE LOCATION default":                                                                   {kalamdb.CodeForbidden, "catalog"},
		"DROP STORAGE LOCATION cold":                                                                      {kalamdb.CodeInUse, "in use by app.a, app.s"},
		"DELETE FROM system.storage_locations WHERE location_name IN ('cold', 'spare')":                   {kalamdb.CodeInUse, "in use by app.a, app.s"},
		"CREATE USER TABLE app.b (id INT PRIMARY KEY) LOCATION REFERENCE 'clod'":                          {kalamdb.CodeLocationNotFound, "did you mean cold?"},
		"CREATE SHARED TABLE app.b (id INT PRIMARY KEY) LOCATION REFERENCE 'by-user.1'":                   {kalamdb.CodeInvalidLocation, "USER tables only"},
		"BEGIN; CREATE STORAGE LOCATION x WITH (path = '/x'); COMMIT":                                     {kalamdb.CodeInvalidStatement, ""},
		"INSERT INTO system.storage_locations (location_name, path) VALUES ('x', '/x') RETURNING path":    {kalamdb.CodeNotSupportedYet, "RETURNING"},
	} {
		e := wantCode(t, execAs(db, "root", text), want.code)
		if said := e.Message + " " + e.Details; !strings.Contains(said, want.part) || strings.Contains(said, "hush") {
			t.Errorf("%s: %s, expected something with %q and no secret", text, said, want.part)
		}
	}
	for _, text := range []string{"CREATE STORAGE LOCATION x WITH (path = '/x')", "ALTER STORAGE LOCATION cold SET (path = '/x')", "DROP STORAGE LOCATION spare"} {
		for _, as := range []string{"alice", "service"} {
			wantCode(t, execAs(db, as, text), kalamdb.CodeForbidden)
		}
	}
	wantCode(t, execAs(db, "alice", "DELETE FROM system.storage_locations"), kalamdb.CodeTableNotFound)
	if got := answer(t, db, "root", locationsQuestion); got != want {
		t.Fatalf("after statements that failed the locations are\n%s", got)
	}

	// A change of the path is for new tables.
	insert := func(table string) { mustExec(t, db, "alice", "INSERT INTO "+table+" VALUES (1)") }
	mustExec(t, db, "root", fmt.Sprintf("ALTER STORAGE LOCATION cold SET (path = '%s'); UPDATE system.storage_locations SET path = path || '-2' WHERE location_name = 'warm'", place("cold-2")))
	mustExec(t, db, "root", "CREATE USER TABLE app.a2 (id INT PRIMARY KEY) LOCATION REFERENCE 'cold'; CREATE USER TABLE app.w2 (id INT PRIMARY KEY) LOCATION REFERENCE 'warm'")
	for _, table := range []string{"app.a", "app.u", "app.w", "app.a2", "app.w2"} {
		insert(table)
	}
	mustExec(t, db, "root", "INSERT INTO app.s VALUES (1); FLUSH ALL")
	for table, pattern := range map[string]string{
		"app.a": "cold/users/alice/app/a", "app.s": "cold/shared/app/s", "app.u": "by-user/alice/app/u", "app.w": "warm/users/alice/app/w",
		"app.a2": "cold-2/users/alice/app/a2", "app.w2": "warm-2/users/alice/app/w2",
	} {
		if files, err := filepath.Glob(place(pattern + "/batch-*.parquet")); err != nil || len(files) != 1 {
			t.Errorf("%s: %d files in %s, expected one (%v)", table, len(files), pattern, err)
		}
	}
	count := "SELECT (SELECT count(*) FROM app.a) + (SELECT count(*) FROM app.u) + (SELECT count(*) FROM app.w) + (SELECT count(*) FROM app.a2) + (SELECT count(*) FROM app.w2) + (SELECT count(*) FROM app.s)"
	if got := answer(t, db, "alice", count); got != "6\n" {
		t.Fatalf("%s rows, expected 6", got)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	// The bucket alone has it all.
	storage := "file://" + filepath.Join(dir, "storage")
	db = openDB(t, kalamdb.Options{DataDir: t.TempDir(), Storage: storage})
	if got := answer(t, db, "alice", count); got != "6\n" {
		t.Fatalf("%s rows after the loss of the data directory, expected 6", got)
	}
	mustExec(t, db, "alice", "INSERT INTO app.a VALUES (2)")
	mustExec(t, db, "root", "FLUSH ALL; DROP TABLE app.a; DROP TABLE app.s; DROP TABLE app.a2")
	waitFor(t, func() bool { return execAs(db, "root", "DROP STORAGE LOCATION IF EXISTS cold") == nil })
	mustExec(t, db, "root", "DROP STORAGE LOCATION IF EXISTS cold; DELETE FROM system.storage_locations WHERE location_name = 'spare'")
	wantCode(t, execAs(db, "alice", "SELECT * FROM app.a"), kalamdb.CodeTableNotFound)
	for _, name := range []string{"cold", "cold-2"} {
		for _, file := range filesBelow(t, place(name)) {
			if strings.HasSuffix(file, ".parquet") {
				t.Errorf("%s is left of a dropped table", file)
			}
		}
	}
}

func filesBelow(t *testing.T, folder string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// Two stores, each with keys of its own, and the catalog in neither.
func TestStorageLocationsOnTwoStores(t *testing.T) {
	one, two := buckettest.StartOwnMinIO(t), buckettest.StartOwnMinIO(t)
	t.Setenv("KALAMDB_TEST_ONE_ACCESS_KEY_ID", one.AccessKey)
	t.Setenv("KALAMDB_TEST_ONE_SECRET_ACCESS_KEY", one.SecretKey)
	keys := filepath.Join(t.TempDir(), "keys")
	write := func(o storagelocations.S3Options) {
		t.Helper()
		if err := os.WriteFile(keys, []byte("[default]\naws_access_key_id = "+o.AccessKey+"\naws_secret_access_key = "+o.SecretKey+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(two)
	dir := t.TempDir()
	db := openDB(t, kalamdb.Options{DataDir: dir})
	mustExec(t, db, "root", fmt.Sprintf(`CREATE NAMESPACE app;
		CREATE STORAGE LOCATION one WITH (path = 's3://%s/data', endpoint = '%s', credentials_ref = 'env:KALAMDB_TEST_ONE', region = 'us-east-1');
		INSERT INTO system.storage_locations (location_name, location_type, path, credentials_ref, options)
			VALUES ('two', 's3', 's3://%s/data', 'file:%s', '{"endpoint": "%s", "path_style": true}');
		CREATE USER TABLE app.plain (id INT PRIMARY KEY);
		CREATE USER TABLE app.a (id INT PRIMARY KEY) LOCATION REFERENCE 'one';
		CREATE SHARED TABLE app.b (id INT PRIMARY KEY) LOCATION REFERENCE 'two'`, one.Bucket, one.Endpoint, two.Bucket, keys, two.Endpoint))
	all := "SELECT (SELECT list(id ORDER BY id) FROM app.plain), (SELECT list(id ORDER BY id) FROM app.a), (SELECT list(id ORDER BY id) FROM app.b)"
	add := func(id int) {
		t.Helper()
		mustExec(t, db, "alice", fmt.Sprintf("INSERT INTO app.plain VALUES (%d); INSERT INTO app.a VALUES (%d)", id, id))
		mustExec(t, db, "root", fmt.Sprintf("INSERT INTO app.b VALUES (%d); FLUSH ALL", id))
	}
	check := func(want string) {
		t.Helper()
		if got := answer(t, db, "alice", all); got != want+"\n" {
			t.Fatalf("the rows are %swant %s", got, want)
		}
	}
	add(1)
	check("[1] [1] [1]")

	// What does not work changes nothing, and says which step failed.
	for text, want := range map[string]string{
		"ALTER STORAGE LOCATION one SET (credentials_ref = 'file:" + keys + "')":                                                                 "write: put _kalamdb/probe/",
		"ALTER STORAGE LOCATION one SET (endpoint = '" + two.Endpoint + "')":                                                                     "403",
		"ALTER STORAGE LOCATION one SET (path = 's3://no-such-bucket/data')":                                                                     "404 NoSuchBucket",
		"ALTER STORAGE LOCATION one SET (endpoint = 'http://127.0.0.1:1')":                                                                       "connection refused",
		"ALTER STORAGE LOCATION one SET (credentials_ref = 'file:/nowhere/keys')":                                                                "no such file",
		"ALTER STORAGE LOCATION one SET (credentials_ref = 'profile:kalamdb-test-none')":                                                         "profile",
		"ALTER STORAGE LOCATION one SET (sse = 'aws:kms', sse_kms_key_id = 'k')":                                                                 "write: put",
		"CREATE STORAGE LOCATION three WITH (path = 's3://kalamdb/x', endpoint = '" + one.Endpoint + "', credentials_ref = 'file:" + keys + "')": "403",
	} {
		e := wantCode(t, execAs(db, "root", text), kalamdb.CodeInvalidLocation)
		if !strings.Contains(e.Message, want) {
			t.Errorf("%s: %s, expected something with %q", text, e.Message, want)
		}
	}
	add(2)
	check("[1,2] [1,2] [1,2]")

	// Another bucket at the other store: for tables that come. Then keys change places.
	mustExec(t, db, "root", fmt.Sprintf("ALTER STORAGE LOCATION one SET (path = 's3://%s/other', endpoint = '%s', credentials_ref = 'file:%s')", buckettest.SecondBucket, two.Endpoint, keys))
	mustExec(t, db, "root", "CREATE USER TABLE app.c (id INT PRIMARY KEY) LOCATION REFERENCE 'one'")
	mustExec(t, db, "alice", "INSERT INTO app.c VALUES (7)")
	add(3)
	check("[1,2,3] [1,2,3] [1,2,3]")
	paths := answer(t, db, "root", "SELECT DISTINCT table_name, split_part(path, '/', 3) || '/' || split_part(path, '/', 4) FROM system.files WHERE table_name <> 'plain' ORDER BY 1")
	if want := fmt.Sprintf("\"a\" \"%s/data\"\n\"b\" \"%s/data\"\n\"c\" \"%s/other\"\n", one.Bucket, two.Bucket, buckettest.SecondBucket); paths != want {
		t.Fatalf("the files are at\n%swant\n%s", paths, want)
	}
	t.Setenv("KALAMDB_TEST_TWO_ACCESS_KEY_ID", two.AccessKey)
	t.Setenv("KALAMDB_TEST_TWO_SECRET_ACCESS_KEY", two.SecretKey)
	mustExec(t, db, "root", "UPDATE system.storage_locations SET credentials_ref = 'env:KALAMDB_TEST_TWO' WHERE location_name = 'two'")
	write(one) // nobody uses them for table b any more
	add(4)
	check("[1,2,3,4] [1,2,3,4] [1,2,3,4]")
	write(two)

	// Keys are nowhere but where they were put.
	if shown := answer(t, db, "root", locationsQuestion) + answer(t, db, "root", "SELECT query FROM system.queries"); strings.Contains(shown, one.SecretKey) || strings.Contains(shown, two.SecretKey) || !strings.Contains(shown, "env:KALAMDB_TEST_TWO") {
		t.Errorf("a secret is shown, or a reference is not:\n%s", shown)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, file := range filesBelow(t, dir) {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range []storagelocations.S3Options{one, two} {
			if strings.Contains(string(body), o.SecretKey) {
				t.Errorf("%s has a secret key", file)
			}
		}
	}

	// From the bucket alone, while the keys of one place are missing: the others work.
	t.Setenv("KALAMDB_TEST_ONE_SECRET_ACCESS_KEY", "")
	options := kalamdb.Options{DataDir: t.TempDir(), Storage: "file://" + filepath.Join(dir, "storage")}
	db = openDB(t, options)
	if got := answer(t, db, "alice", "SELECT (SELECT count(*) FROM app.plain), (SELECT count(*) FROM app.b), (SELECT count(*) FROM app.c)"); got != "4 4 1\n" {
		t.Fatalf("without the keys of one place the others have %s", got)
	}
	e := wantCode(t, execAs(db, "alice", "SELECT * FROM app.a"), kalamdb.CodeNotReady)
	if strings.Contains(e.Message+e.Details, "KALAMDB_TEST") {
		t.Errorf("a plain user reads %s %s", e.Message, e.Details)
	}
	mustExec(t, db, "alice", "INSERT INTO app.c VALUES (8)") // and writes too
	t.Setenv("KALAMDB_TEST_ONE_SECRET_ACCESS_KEY", one.SecretKey)
	check("[1,2,3,4] [1,2,3,4] [1,2,3,4]")
	mustExec(t, db, "root", "DROP TABLE app.a; DROP TABLE app.c")
	waitFor(t, func() bool { return execAs(db, "root", "DROP STORAGE LOCATION one") == nil })
	first, err := storagelocations.NewS3(context.Background(), one)
	if err != nil {
		t.Fatal(err)
	}
	defer first.(interface{ Close() error }).Close()
	for info, err := range first.List(context.Background(), "") {
		t.Errorf("%s is left in the first store (%v)", info.Name, err)
	}
}

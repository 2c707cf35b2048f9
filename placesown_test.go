package kalamdb_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kalamdb"
)

// The data directory holds keys, the buffer and the log of operators: nobody puts tables there,
// under whatever name; the storage in it is where tables are anyway.
func TestOwnFoldersAreNoPlaces(t *testing.T) {
	base := t.TempDir()
	data, alias := filepath.Join(base, "data"), filepath.Join(base, "alias")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(data, alias); err != nil {
		t.Fatal(err)
	}
	db := openDB(t, kalamdb.Options{DataDir: data})
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE STORAGE LOCATION fine WITH (path = '"+base+"/fine')")
	for _, folder := range []string{data, data + "/buffer", data + "/cache/x", data + "/transfer", data + "/new", alias + "/buffer"} {
		for _, text := range []string{
			"CREATE STORAGE LOCATION x WITH (path = '" + folder + "')",
			"CREATE STORAGE LOCATION x WITH (path = 'file://" + folder + "/${user_id}')",
			"INSERT INTO system.storage_locations (location_name, path) VALUES ('x', '" + folder + "')",
			"ALTER STORAGE LOCATION fine SET (path = '" + folder + "')",
			"UPDATE system.storage_locations SET path = '" + folder + "' WHERE location_name = 'fine'",
			"CREATE SHARED TABLE app.t (id INT PRIMARY KEY) LOCATION '" + folder + "'",
			"CREATE USER TABLE app.t (id INT PRIMARY KEY) LOCATION '" + folder + "/${user_id}'",
		} {
			for _, as := range []string{"root", "system"} {
				wantCode(t, execAs(db, as, text), kalamdb.CodeForbidden)
			}
		}
	}
	mustExec(t, db, "root", "CREATE STORAGE LOCATION within WITH (path = '"+data+"/storage/more'); CREATE SHARED TABLE app.t (id INT PRIMARY KEY) LOCATION '"+base+"/beside'")
	wantCode(t, execAs(db, "system", "EXPORT (SELECT 1 AS a) TO '"+alias+"/a.csv'"), kalamdb.CodeForbidden)
	wantCode(t, execAs(db, "system", "EXPORT (SELECT 1 AS a) TO '"+base+"/beside/a.csv'"), kalamdb.CodeForbidden)
	mustExec(t, db, "system", "EXPORT (SELECT 1 AS a) TO '"+alias+"/transfer/a.csv'")
	wide := openDB(t, kalamdb.Options{DataDir: filepath.Join(base, "wide"), Transfer: transferTo(base)})
	wantCode(t, execAs(wide, "system", "EXPORT (SELECT 1 AS a) TO '"+base+"/wide/buffer/a.csv'"), kalamdb.CodeForbidden)
	mustExec(t, wide, "root", "EXPORT (SELECT 1 AS a) TO '"+base+"/open.csv'")
}

// What is wrong with the place of a table is said where its name stands.
func TestPositionOfALocation(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", "CREATE NAMESPACE app")
	for text, code := range map[string]string{
		"CREATE USER TABLE app.t (id INT PRIMARY KEY) LOCATION REFERENCE 'here'":        kalamdb.CodeLocationNotFound,
		"CREATE USER TABLE app.t (id INT PRIMARY KEY) LOCATION '/tmp/x/here'":           kalamdb.CodeInvalidLocation,
		"CREATE USER TABLE app.t (id INT PRIMARY KEY) LOCATION '/proc/here/${user_id}'": kalamdb.CodeInvalidLocation,
	} {
		if e := wantCode(t, execAs(db, "root", text), code); e.Position != strings.LastIndexByte(text[:len(text)-1], '\'') {
			t.Errorf("%s: position %d", text, e.Position)
		}
	}
}

package kalamdb_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"kalamdb/lake"
)

// TestAnswersFromParts: what statements answer does not depend on how much of the files
// they fetched. Every file is read in part here that can be, and kept by nobody.
func TestAnswersFromParts(t *testing.T) {
	place := newS3Place(t)
	parts := int64(0)
	datadriven.Walk(t, "testdata/sql", func(t *testing.T, path string) {
		if filepath.Base(path) == "system" {
			return // it names the type of the location
		}
		o := place.database(t.TempDir())
		o.Storage = place.at("parts-of-" + t.Name())
		o.Lake = lake.Options{PartialBytesMin: 1, RequestBytes: 1, CacheBytesMax: 1}
		db := openDB(t, o)
		play(t, path, db, func() { mustExec(t, db, "root", "FLUSH ALL") })
		parts += db.Stats().Cache.Parts
	})
	if parts < 500 {
		t.Errorf("parts of files were fetched %d times: the test tests nothing", parts)
	}
}

// TestExplainTellsOfParts: a fresh server reads one column of a file of many.
func TestExplainTellsOfParts(t *testing.T) {
	place := newS3Place(t)
	dir := t.TempDir()
	o := place.database(dir)
	o.Lake = lake.Options{PartialBytesMin: 1 << 20, CacheBytesMax: 1}
	db := openDB(t, o)
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE SHARED TABLE app.t (id BIGINT PRIMARY KEY, a BIGINT, s TEXT)")
	mustExec(t, db, "root", "INSERT INTO app.t SELECT i, i % 7, md5(i::TEXT) || md5((-i)::TEXT) || md5((2 * i)::TEXT) || md5((3 * i)::TEXT) FROM range(40000) r(i)")
	mustExec(t, db, "root", "FLUSH ALL")
	before := db.Stats().Cache
	if got := mustExec(t, db, "root", "SELECT sum(a)::BIGINT AS n FROM app.t")[0].Rows[0][0].Int(); got != 119_995 {
		t.Errorf("the sum is %d", got)
	}
	after := db.Stats().Cache
	file := mustExec(t, db, "root", "SELECT sum(bytes)::BIGINT AS n FROM system.files WHERE table_name = 't'")[0].Rows[0][0].Int()
	if parts, bytes := after.Parts-before.Parts, after.Fetched-before.Fetched; parts != 1 || bytes == 0 || bytes > file/4 {
		t.Errorf("%d parts and %d bytes fetched of %d", parts, bytes, file)
	}
	var lines []string
	for _, r := range mustExec(t, db, "root", "EXPLAIN SELECT sum(a) AS n FROM app.t")[0].Rows {
		lines = append(lines, r[0].Str())
	}
	if text := strings.Join(lines, "\n"); !strings.Contains(text, "files fetched in part: 1, with ") {
		t.Errorf("EXPLAIN does not tell of the part:\n%s", text)
	}
	if got := mustExec(t, db, "root", "SELECT a, s FROM app.t WHERE id = 30001")[0].Rows; len(got) != 1 || got[0][0].Int() != 30001%7 {
		t.Errorf("one row by its key: %v", got)
	}
}

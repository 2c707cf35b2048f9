package lake

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/storagelocations"
	"kalamdb/storagelocations/buckettest"
)

const (
	wideRows   = 12_288
	wideGroups = 6
)

// wide is a table with a small column and some that are far larger.
func wide() *catalog.Table {
	s := &row.Schema{Version: 1, Key: []row.ColumnID{1}, Columns: []row.Column{
		{ID: 1, Name: "id", Type: row.Type{Kind: row.BigInt}, NotNull: true},
		{ID: 2, Name: "a", Type: row.Type{Kind: row.BigInt}},
		{ID: 3, Name: "t", Type: row.Type{Kind: row.Text}},
		{ID: 4, Name: "b", Type: row.Type{Kind: row.BigInt}},
		{ID: 5, Name: "u", Type: row.Type{Kind: row.Text}},
		{ID: 6, Name: "l", Type: row.Type{Kind: row.List, Elem: row.Int}},
	}}
	return tableOf(9, "wide", s)
}

// wideObjects are the objects of a bucket with one large file of 12,288 rows with even keys.
var wideObjects = sync.OnceValue(func() map[string][]byte {
	table := wide()
	bucket := storagelocations.NewMemory()
	random := rand.New(rand.NewPCG(1, 2))
	text := func() row.Value {
		b := make([]byte, 100)
		for i := range b {
			b[i] = byte(32 + random.IntN(95))
		}
		return row.TextValue(string(b))
	}
	rows := make([]row.Row, wideRows)
	for i := range rows {
		rows[i] = row.Row{Seq: row.Seq(i + 1), Updated: int64(i), Schema: 1, Deleted: i%1000 == 1, Values: []row.Value{
			row.IntValue(row.BigInt, int64(2*i)), row.IntValue(row.BigInt, int64(i)), text(), row.IntValue(row.BigInt, int64(3*i)), text(),
			row.ListValue([]row.Value{row.IntValue(row.Int, int64(i)), row.NullValue})}}
	}
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "wide")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	w, err := Open(ctx, Options{Meta: bucket, CacheDir: dir, RowGroupRows: wideRows / wideGroups, PartialBytesMin: 1}, []*catalog.Table{table})
	if err != nil {
		panic(err)
	}
	if err := w.Flush(ctx, table.Ref, []row.Segment{segment(table, "ana", rows...)}); err != nil {
		panic(err)
	}
	objects := map[string][]byte{}
	for info, err := range bucket.List(ctx, "") {
		if err == nil {
			objects[info.Name], err = read(ctx, bucket, info.Name)
		}
		if err != nil {
			panic(err)
		}
	}
	return objects
})

// wideFile is a Lake that has not read the file of wideObjects yet.
func wideFile(t *testing.T, o Options) (*Lake, *buckettest.Trace, *catalog.Table, *Manifest) {
	t.Helper()
	table := wide()
	trace := buckettest.NewTrace(storagelocations.NewMemory())
	for name, body := range wideObjects() {
		if _, err := trace.Put(context.Background(), name, body, storagelocations.Cond{}); err != nil {
			t.Fatal(err)
		}
	}
	if o.PartialBytesMin == 0 {
		o.PartialBytesMin = 1
	}
	l := openLake(t, trace, o, table)
	m := l.Manifest(row.Partition{Table: table.Ref, User: "ana"})
	t.Cleanup(m.Release)
	if len(m.Files) != 1 || m.Files[0].Footer.Bytes == 0 {
		t.Fatalf("%d files, footer %+v", len(m.Files), m.Files[0].Footer)
	}
	trace.Log()
	return l, trace, table, m
}

// mustPart reads the part of f and gives its path; it is released at once.
func mustPart(t *testing.T, l *Lake, f *File, p Part, partial bool) string {
	t.Helper()
	path, isPart, release, err := l.Part(context.Background(), f, p)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if isPart != partial {
		t.Fatalf("partial: %t, expected %t", isPart, partial)
	}
	return path
}

func duckText(t *testing.T, db *sql.DB, query string) string {
	t.Helper()
	var text sql.NullString
	if err := db.QueryRow(query).Scan(&text); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return text.String
}

func TestPartHasTheColumnsOneNeeds(t *testing.T) {
	l, trace, _, m := wideFile(t, Options{})
	f := m.Files[0]
	db := duckDB(t)
	before := l.CacheStats()
	path := mustPart(t, l, f, Part{Columns: []row.ColumnID{2}}, true)
	// A Parquet file of one column, all of which can be read.
	if got := duckText(t, db, fmt.Sprintf("SELECT string_agg(name, ' ') FROM parquet_schema('%s')", path)); got != "kalamdb a" {
		t.Errorf("columns %q, expected a", got)
	}
	if got, want := duckText(t, db, fmt.Sprintf("SELECT count(*) || ' ' || sum(a) FROM '%s'", path)), fmt.Sprint(wideRows, " ", wideRows*(wideRows-1)/2); got != want {
		t.Errorf("count and sum %s, expected %s", got, want)
	}
	stats := l.CacheStats()
	if gets, bytes := stats.Gets-before.Gets, stats.Fetched-before.Fetched; gets != wideGroups+1 || bytes > f.Bytes/20 || stats.Parts != 1 {
		t.Errorf("%d requests, %d of %d bytes, %d parts, expected %d requests, a fraction, 1 part", gets, bytes, f.Bytes, stats.Parts, wideGroups+1)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != stats.Bytes {
		t.Errorf("the cache counts %d bytes of a copy of %d (%v)", stats.Bytes, info.Size(), err)
	}
	trace.Log()
	if again := mustPart(t, l, f, Part{Columns: []row.ColumnID{2}}, true); again != path || len(trace.Log()) != 0 {
		t.Errorf("the same part again is %s, was %s, or asked the bucket", again, path)
	}
	// More columns: only what is missing is fetched, and the smaller part goes.
	path = mustPart(t, l, f, Part{Columns: []row.ColumnID{4, 2, row.IDDeleted, 6}}, true)
	if _, err := os.Stat(path); err != nil || onDisk(t, l.opts.CacheDir) != 1 {
		t.Errorf("%d copies, expected 1 (%v)", onDisk(t, l.opts.CacheDir), err)
	}
	if n := len(trace.Log()); n == 0 || n > 2*wideGroups {
		t.Errorf("%d requests for three more columns", n)
	}
	want := fmt.Sprint("a b l _deleted ", wideRows*(wideRows-1)/2, " ", 3*wideRows*(wideRows-1)/2, " ", wideRows*(wideRows-1)/2, " ", (wideRows+998)/1000)
	got := duckText(t, db, fmt.Sprintf("SELECT string_agg(column_name, ' ') FROM (DESCRIBE FROM '%s')", path)) + " " +
		duckText(t, db, fmt.Sprintf("SELECT concat_ws(' ', sum(a), sum(b), sum(l[1]), count(*) FILTER (WHERE _deleted)) FROM '%s'", path))
	if got != want {
		t.Errorf("the part has %s, expected %s", got, want)
	}
	// A column that the file does not have yet needs nothing.
	mustPart(t, l, f, Part{Columns: []row.ColumnID{2, 77}}, true)
}

func TestPartHasTheKeysOneNeeds(t *testing.T) {
	l, trace, _, m := wideFile(t, Options{})
	f := m.Files[0]
	db := duckDB(t)
	key := func(i int64) []byte { return row.AppendKey(nil, row.IntValue(row.BigInt, i)) }
	path := mustPart(t, l, f, Part{From: key(4000), To: key(4001)}, true)
	if got := duckText(t, db, fmt.Sprintf("SELECT count(*) || ' ' || sum(a) FILTER (WHERE id = 4000) FROM '%s'", path)); got != fmt.Sprint(wideRows/wideGroups, " ", 2000) {
		t.Errorf("rows and a of one row: %s", got)
	}
	if log := trace.Log(); len(log) > 3 {
		t.Errorf("%d requests for one row group: %v", len(log), log)
	}
	for from := int64(-10); from < 2*wideRows+10; from += 1111 {
		to := from + 700
		path := mustPart(t, l, f, Part{Columns: []row.ColumnID{1}, From: key(from), To: key(to)}, true)
		want := 0
		for i := max(from, 0); i < min(to, 2*wideRows); i++ {
			if i%2 == 0 {
				want++
			}
		}
		if got := duckText(t, db, fmt.Sprintf("SELECT count(*) FROM '%s' WHERE id >= %d AND id < %d", path, from, to)); got != fmt.Sprint(want) {
			t.Errorf("%s keys from %d to %d, expected %d", got, from, to, want)
		}
	}
}

// TestPartOfMostIsTheWhole: and the parts are in nobody's way then.
func TestPartOfMostIsTheWhole(t *testing.T) {
	l, trace, _, m := wideFile(t, Options{})
	f := m.Files[0]
	mustPart(t, l, f, Part{Columns: []row.ColumnID{2}}, true)
	path := mustPart(t, l, f, Part{}, false)
	copied, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(copied, body(t, trace, f.Name)) || onDisk(t, l.opts.CacheDir) != 1 {
		t.Errorf("%d copies, or the whole differs (%v)", onDisk(t, l.opts.CacheDir), err)
	}
	if got := mustPart(t, l, f, Part{Columns: []row.ColumnID{2}}, false); got != path {
		t.Errorf("a part is not read from the whole copy")
	}
}

func TestPartIsFetchedOnceForMany(t *testing.T) {
	l, trace, _, m := wideFile(t, Options{})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			_, partial, release, err := l.Part(context.Background(), m.Files[0], Part{Columns: []row.ColumnID{row.ColumnID(2 + 2*(i%2))}})
			if err != nil || !partial {
				t.Errorf("partial %t, %v", partial, err)
				return
			}
			release()
		})
	}
	wg.Wait()
	if n := len(trace.Log()); n != 1+2*wideGroups {
		t.Errorf("%d requests, expected %d", n, 1+2*wideGroups)
	}
}

func TestPartIsEvictedAndForgotten(t *testing.T) {
	l, _, _, m := wideFile(t, Options{CacheBytesMax: 1})
	f := m.Files[0]
	ctx := context.Background()
	_, _, release, err := l.Part(ctx, f, Part{Columns: []row.ColumnID{2}})
	if err != nil {
		t.Fatal(err)
	}
	path, _, release2, err := l.Part(ctx, f, Part{Columns: []row.ColumnID{4}})
	if err != nil {
		t.Fatal(err)
	}
	if n := onDisk(t, l.opts.CacheDir); n != 2 {
		t.Errorf("%d copies while two are held", n)
	}
	release()
	if n := onDisk(t, l.opts.CacheDir); n != 1 {
		t.Errorf("%d copies while one is held", n)
	}
	l.cache.forget(l.opts.Meta, f.Name)
	if _, err := os.Stat(path); err != nil {
		t.Errorf("a part that is held is gone: %v", err)
	}
	release2()
	if n := onDisk(t, l.opts.CacheDir); n != 0 || l.cache.bytes != 0 || len(l.cache.copies) != 0 || len(l.cache.divided) != 0 {
		t.Errorf("%d copies, %d bytes, %d and %d known in the end", n, l.cache.bytes, len(l.cache.copies), len(l.cache.divided))
	}
}

// TestDamageInPartsIsFound flips a byte of each piece of the object that a part is made of.
func TestDamageInPartsIsFound(t *testing.T) {
	l, trace, table, m := wideFile(t, Options{})
	f := m.Files[0]
	good := body(t, trace, f.Name)
	o, err := newOutline(f, good[f.Bytes-f.Footer.Bytes:], newLayout(table.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	leaves := len(o.layout.leaves)
	for _, c := range []struct {
		what string
		at   int64
	}{
		{"the footer", f.Bytes - f.Footer.Bytes/2}, {"its length", f.Bytes - 8},
		{"the first chunk", o.span(1).from + 3}, {"the last chunk", o.span((wideGroups-1)*leaves+1).from + o.span(1).n/2},
	} {
		bad := bytes.Clone(good)
		bad[c.at] ^= 4
		put := func(b []byte) {
			if _, err := trace.Put(context.Background(), f.Name, b, storagelocations.Cond{}); err != nil {
				t.Fatal(err)
			}
		}
		put(bad)
		if _, _, _, err := l.Part(context.Background(), f, Part{Columns: []row.ColumnID{2}}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("damage in %s: %v, expected ErrCorrupt", c.what, err)
		}
		if n := onDisk(t, l.opts.CacheDir); n != 0 {
			t.Errorf("damage in %s left %d files", c.what, n)
		}
		put(good)
		if _, _, release, err := l.Part(context.Background(), f, Part{Columns: []row.ColumnID{2}}); err != nil {
			t.Errorf("after damage in %s was repaired: %v", c.what, err)
		} else {
			release()
		}
		l.cache.forget(l.opts.Meta, f.Name)
	}
	trace.Fail(buckettest.Range, "users/*", 2)
	for range 2 {
		if _, _, _, err := l.Part(context.Background(), f, Part{Columns: []row.ColumnID{2}}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("a failed request: %v, expected ErrUnavailable", err)
		}
	}
	mustPart(t, l, f, Part{Columns: []row.ColumnID{2}}, true)
}

func TestFindReadsLittleOfALargeFile(t *testing.T) {
	l, trace, table, m := wideFile(t, Options{})
	f := m.Files[0]
	found := findAll(t, l, table, "ana", 4000, 4001)
	if len(found) != 1 || found[4000].Values[1].Int() != 2000 || found[4000].Seq != 2001 {
		t.Fatalf("found %v", found)
	}
	stats := l.CacheStats()
	if log := trace.Log(); len(log) > 4 || stats.Fetched > f.Bytes/wideGroups*5/4+f.Footer.Bytes {
		t.Errorf("%d requests, %d of %d bytes for one row: %v", len(log), stats.Fetched, f.Bytes, log)
	}
	// Absent keys cost at most the bloom filters of their row group.
	before := stats.Fetched
	for i := range int64(100) {
		if n := len(findAll(t, l, table, "ana", 20_001+2*i)); n != 0 {
			t.Fatalf("%d rows with an odd key", n)
		}
	}
	if stats = l.CacheStats(); stats.Fetched-before > 2*f.Bytes/wideGroups {
		t.Errorf("%d bytes for absent keys", stats.Fetched-before)
	}
	if found := findAll(t, l, table, "ana", 2, 22_000, -1, 30_000); len(found) != 2 || !found[2].Deleted {
		t.Errorf("found %v", found)
	}
}

// TestSmallAndOldFilesAreReadWhole: they have no sums, or would be little work anyway.
func TestSmallAndOldFilesAreReadWhole(t *testing.T) {
	l, m := fiveFiles(t, storagelocations.NewMemory(), Options{})
	if f := m.Files[0]; f.Footer != (Footer{}) || l.Divisible(f) {
		t.Errorf("a small file has the footer %+v", f.Footer)
	}
	l, _, _, m = wideFile(t, Options{PartialBytesMin: 16 << 20})
	if l.Divisible(m.Files[0]) {
		t.Errorf("a file of %d bytes is divisible", m.Files[0].Bytes)
	}
	l, _, _, m = wideFile(t, Options{PartialBytesMin: -1})
	if l.Divisible(m.Files[0]) {
		t.Error("a file is divisible although that is off")
	}
}

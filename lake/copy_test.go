package lake

import (
	"bytes"
	"testing"

	"github.com/parquet-go/parquet-go"

	"kalamdb/row"
	"kalamdb/storagelocations"
)

// A file with another table in its footer has the same rows, and is known as that table's.
func TestRetag(t *testing.T) {
	from, to := notes(7), notes(8)
	to.Ref.Namespace, to.Ref.Name = "other", "restored_notes"
	l, err := Open(t.Context(), Options{Meta: storagelocations.NewMemory(), CacheDir: t.TempDir()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var body []byte
	w := l.newWriter(newTable(from, l.opts.Meta), "ana", from.Schema(), func(_ *fileEntry, b []byte) error { body = b; return nil })
	for i := range int64(5000) {
		r := note(i, row.Seq(i+1), "text")
		if err := w.write(from.Schema().KeyOf(r.Values), &r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.finish(); err != nil {
		t.Fatal(err)
	}
	tagged, err := retag(body, newTable(to, l.opts.Meta))
	if err != nil {
		t.Fatal(err)
	}
	open := func(b []byte) *parquet.File {
		f, err := parquet.OpenFile(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	old, f := open(body), open(tagged)
	for key, want := range map[string]string{"kalamdb.table": "other.restored_notes", metaTableID: tableID(8), "kalamdb.user": "ana", "kalamdb.max_seq": "5000"} {
		if got, _ := f.Lookup(key); got != want {
			t.Errorf("%s is %q, expected %q", key, got, want)
		}
	}
	if f.NumRows() != 5000 || len(f.RowGroups()) != len(old.RowGroups()) || f.Schema().String() != old.Schema().String() {
		t.Errorf("%d rows in %d groups of %s", f.NumRows(), len(f.RowGroups()), f.Schema())
	}
	a, b := old.Metadata(), f.Metadata()
	if len(a.ColumnOrders) != len(b.ColumnOrders) || a.RowGroups[1].Columns[0].MetaData.Statistics.NullCount != b.RowGroups[1].Columns[0].MetaData.Statistics.NullCount ||
		len(b.RowGroups[0].SortingColumns) != len(a.RowGroups[0].SortingColumns) || b.RowGroups[1].Columns[0].MetaData.BloomFilterOffset != a.RowGroups[1].Columns[0].MetaData.BloomFilterOffset {
		t.Error("the footer lost something")
	}
	for _, damaged := range [][]byte{nil, body[:8], append(bytes.Clone(body[:len(body)-8]), "\xff\xff\xff\x7fPAR1"...), append(bytes.Clone(body[:len(body)-8]), "\x03\x00\x00\x00PAR1"...)} {
		if _, err := retag(damaged, newTable(to, l.opts.Meta)); !isCorrupt(err) {
			t.Errorf("a damaged file: %v", err)
		}
	}
}

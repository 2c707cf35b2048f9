package lake

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/storagelocations"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// notes is a USER table with a BIGINT key and two more columns.
func notes(id uint64) *catalog.Table {
	s := &row.Schema{Version: 1, Key: []row.ColumnID{1}, Columns: []row.Column{
		{ID: 1, Name: "id", Type: row.Type{Kind: row.BigInt}, NotNull: true},
		{ID: 2, Name: "text", Type: row.Type{Kind: row.Text}},
		{ID: 3, Name: "kind", Type: row.Type{Kind: row.Text}},
	}}
	return tableOf(id, "notes", s)
}

func tableOf(id uint64, name string, schemas ...*row.Schema) *catalog.Table {
	t := &catalog.Table{
		Ref: row.TableRef{Namespace: "app", Name: name, ID: id}, Type: catalog.User, Path: storagelocations.DefaultUser,
	}
	for _, s := range schemas {
		t.Versions = append(t.Versions, catalog.SchemaVersion{Schema: s})
	}
	return t
}

func note(id int64, seq row.Seq, text string) row.Row {
	return row.Row{Seq: seq, Updated: 1_700_000_000_000_000 + int64(seq), Schema: 1,
		Values: []row.Value{row.IntValue(row.BigInt, id), row.TextValue(text), row.TextValue("k")}}
}

// segment makes a segment of rows, sorted by key; of several versions of a key it keeps the newest.
func segment(t *catalog.Table, user row.UserID, rows ...row.Row) row.Segment {
	type keyed struct {
		key []byte
		row row.Row
	}
	var sorted []keyed
	for _, r := range rows {
		sorted = append(sorted, keyed{t.SchemaAt(r.Schema).KeyOf(r.Values), r})
	}
	slices.SortFunc(sorted, func(a, b keyed) int {
		return cmp.Or(bytes.Compare(a.key, b.key), -cmp.Compare(a.row.Seq, b.row.Seq))
	})
	sorted = slices.CompactFunc(sorted, func(a, b keyed) bool { return bytes.Equal(a.key, b.key) })
	seg := row.Segment{Partition: row.Partition{Table: t.Ref, User: user}, Rows: len(sorted), First: row.SeqMax}
	for _, k := range sorted {
		seg.First, seg.Last = min(seg.First, k.row.Seq), max(seg.Last, k.row.Seq)
		seg.Bytes += int64(k.row.Bytes())
	}
	seg.Scan = func(yield func([]byte, *row.Row) error) error {
		var r row.Row // reused, as the contract allows
		var buf []byte
		for _, k := range sorted {
			buf = row.AppendRow(buf[:0], &k.row)
			if _, err := row.DecodeRow(buf, &r); err != nil {
				return err
			}
			if err := yield(k.key, &r); err != nil {
				return err
			}
			clear(buf)
		}
		return nil
	}
	return seg
}

func openLake(t testing.TB, b storagelocations.Bucket, o Options, tables ...*catalog.Table) *Lake {
	t.Helper()
	o.Meta = b
	if o.CacheDir == "" {
		o.CacheDir = t.TempDir()
	}
	l, err := Open(context.Background(), o, tables)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.cache.close)
	return l
}

func mustFlush(t testing.TB, l *Lake, segs ...row.Segment) {
	t.Helper()
	if err := l.Flush(context.Background(), segs[0].Partition.Table, segs); err != nil {
		t.Fatal(err)
	}
}

func names(t testing.TB, b storagelocations.Bucket, prefix string) []string {
	t.Helper()
	var list []string
	for info, err := range b.List(context.Background(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, info.Name)
	}
	return list
}

func body(t testing.TB, b storagelocations.Bucket, name string) []byte {
	t.Helper()
	body, err := read(context.Background(), b, name)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// findAll looks the given keys up in the files of a partition.
func findAll(t testing.TB, l *Lake, c *catalog.Table, user row.UserID, ids ...int64) map[int64]row.Row {
	t.Helper()
	m := l.Manifest(row.Partition{Table: c.Ref, User: user})
	defer m.Release()
	keys := make([][]byte, len(ids))
	for i, id := range ids {
		keys[i] = row.AppendKey(nil, row.IntValue(row.BigInt, id))
	}
	found, err := l.Find(context.Background(), m, c.Schema(), keys)
	if err != nil {
		t.Fatal(err)
	}
	out := map[int64]row.Row{}
	for i, id := range ids {
		if r, ok := found[string(keys[i])]; ok {
			out[id] = r
		}
	}
	return out
}

// state describes everything a Lake knows, for comparing two.
func state(l *Lake) string {
	var b bytes.Buffer
	for f := range l.Files {
		g := *f
		if g.pack != nil {
			fmt.Fprintf(&b, "%+v ", *g.pack)
			g.pack = nil
		}
		g.Created = g.Created.Truncate(time.Microsecond)
		fmt.Fprintf(&b, "%+v\n", g)
	}
	for _, t := range l.sorted() {
		for _, u := range t.users() {
			fmt.Fprintf(&b, "%s/%s through %d\n", t.ref, u, t.through(u))
		}
	}
	fmt.Fprintf(&b, "max seq %d\n", l.MaxSeq())
	return b.String()
}

func writeFile(t testing.TB, path string, body []byte) {
	t.Helper()
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
}

// seqs are the Seqs of the rows of f, in the order of the file.
func seqs(t testing.TB, l *Lake, f *File) []row.Seq {
	t.Helper()
	e, err := l.local(context.Background(), f)
	if err != nil {
		t.Fatal(err)
	}
	defer l.cache.release(e)
	r, err := l.cache.acquire(e, l.schemaAt(l.table(f.Partition.Table.ID), f.SchemaVersion))
	if err != nil {
		t.Fatal(err)
	}
	defer l.cache.drop(r)
	var list []row.Seq
	for i := range r.groups {
		values, release, err := readRows(r.groups[i].chunks[r.layout.seqLeaf()], 0, r.groups[i].rows)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			list = append(list, row.Seq(v.Int64()))
		}
		release()
	}
	if int64(len(list)) != f.Rows {
		t.Errorf("%s has %d rows, the manifest says %d", f.Name, len(list), f.Rows)
	}
	return list
}

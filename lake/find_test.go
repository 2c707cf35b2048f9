package lake

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kalamdb/row"
	"kalamdb/storagelocations"
)

// TestFindAgainstModel looks random keys of composite type up in overlapping files of random
// sizes, alone and many at once, and compares with a map.
func TestFindAgainstModel(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	s := &row.Schema{Version: 1, Key: []row.ColumnID{2, 1}, Columns: []row.Column{
		{ID: 1, Name: "n", Type: row.Type{Kind: row.Int}, NotNull: true},
		{ID: 2, Name: "name", Type: row.Type{Kind: row.Text}, NotNull: true},
		{ID: 3, Name: "body", Type: row.Type{Kind: row.Text}},
		{ID: 4, Name: "list", Type: row.Type{Kind: row.List, Elem: row.BigInt}},
	}}
	table := tableOf(9, "pairs", s)
	l := openLake(t, storagelocations.NewMemory(), Options{RowGroupRows: 300}, table)
	random := func() row.Row {
		values := []row.Value{row.IntValue(row.Int, rnd.Int64N(40)-20), row.TextValue(strings.Repeat("x", rnd.IntN(30)) + fmt.Sprint(rnd.IntN(30))),
			row.NullValue, row.NullValue}
		if rnd.IntN(3) > 0 {
			values[2] = row.TextValue(strings.Repeat("long text ", rnd.IntN(100)))
			values[3] = row.ListValue(ints(row.BigInt, make([]int64, rnd.IntN(5))...))
		}
		return row.Row{Schema: 1, Values: values, Deleted: rnd.IntN(4) == 0}
	}
	model := map[string]row.Row{}
	seq := row.Seq(0)
	for _, n := range []int{1, 10, 299, 2000, 5, 3000} {
		var rows []row.Row
		for range n {
			r := random()
			seq++
			r.Seq, r.Updated = seq, int64(seq)*10
			rows = append(rows, r)
			model[string(s.KeyOf(r.Values))] = r
		}
		mustFlush(t, l, segment(table, "ana", rows...))
	}
	m := l.Manifest(row.Partition{Table: table.Ref, User: "ana"})
	defer m.Release()
	check := func(keys [][]byte) {
		t.Helper()
		found, err := l.Find(context.Background(), m, s, keys)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			got, ok := found[string(k)]
			want, exists := model[string(k)]
			if ok != exists || ok && (got.Seq != want.Seq || got.Updated != want.Updated || got.Deleted != want.Deleted || !slices.Equal(got.Values, want.Values)) {
				t.Fatalf("key %x: %+v (found %t), expected %+v (exists %t)", k, got, ok, want, exists)
			}
		}
		if len(found) > len(keys) {
			t.Errorf("%d keys found, %d asked for", len(found), len(keys))
		}
	}
	hits := 0
	for range 300 {
		k := s.KeyOf(random().Values)
		if _, ok := model[string(k)]; ok {
			hits++
		}
		check([][]byte{k})
	}
	if hits == 0 || hits == 300 {
		t.Errorf("%d of 300 keys exist: the test asks for one kind only", hits)
	}
	for range 5 {
		var keys [][]byte
		for range rnd.IntN(2000) {
			keys = append(keys, s.KeyOf(random().Values))
		}
		check(keys)
	}
}

// TestFindReadsOldSchemaVersions flushes a segment whose rows follow two schema versions.
func TestFindReadsOldSchemaVersions(t *testing.T) {
	v1 := notes(3).Versions[0].Schema
	v2 := &row.Schema{Version: 2, Key: v1.Key, Columns: append(slices.Clone(v1.Columns), row.Column{ID: 4, Name: "extra", Type: row.Type{Kind: row.Double}})}
	table := tableOf(3, "notes", v1, v2)
	l := openLake(t, storagelocations.NewMemory(), Options{}, table)
	newer := note(2, 2, "new")
	newer.Schema, newer.Values = 2, append(newer.Values, row.DoubleValue(1.5))
	mustFlush(t, l, segment(table, "ana", note(1, 1, "old"), newer, note(3, 3, "old too")))
	m := l.Manifest(row.Partition{Table: table.Ref, User: "ana"})
	defer m.Release()
	if len(m.Files) != 2 {
		t.Fatalf("%d files, expected one per schema version", len(m.Files))
	}
	found := findAll(t, l, table, "ana", 1, 2, 3)
	if r := found[1]; r.Schema != 1 || len(r.Values) != 3 {
		t.Errorf("row 1 is %+v, expected one of schema version 1", r)
	}
	if r := found[2]; r.Schema != 2 || len(r.Values) != 4 || r.Values[3] != row.DoubleValue(1.5) {
		t.Errorf("row 2 is %+v, expected one of schema version 2", r)
	}
	unknown := note(4, 4, "x")
	unknown.Schema = 1
	seg := segment(table, "ana", unknown)
	scan := seg.Scan
	seg.Scan = func(yield func([]byte, *row.Row) error) error {
		return scan(func(key []byte, r *row.Row) error {
			r.Schema = 9
			return yield(key, r)
		})
	}
	if err := l.Flush(context.Background(), table.Ref, []row.Segment{seg}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a row of an unknown schema version: %v, expected ErrCorrupt", err)
	}
}

// TestLargeSegmentsBecomeSeveralFiles: the files of one segment are committed together and their keys do not overlap.
func TestLargeSegmentsBecomeSeveralFiles(t *testing.T) {
	table := notes(3)
	commits := 0
	l := openLake(t, storagelocations.NewMemory(), Options{RowGroupRows: 100, FileBytesMax: 1, Events: Events{Committed: func(CommitInfo) { commits++ }}}, table)
	var rows []row.Row
	var ids []int64
	for i := range int64(450) {
		rows = append(rows, note(i, row.Seq(1000-i), fmt.Sprint("text ", i)))
		ids = append(ids, i)
	}
	mustFlush(t, l, segment(table, "ana", rows...))
	m := l.Manifest(row.Partition{Table: table.Ref, User: "ana"})
	defer m.Release()
	if len(m.Files) != 5 || commits != 1 || m.Through != 1000 {
		t.Fatalf("%d files, %d commits, through %d, expected 5, 1, 1000", len(m.Files), commits, m.Through)
	}
	for i := range m.Files[1:] { // ascending by Seq, so descending by key here
		if string(m.Files[i+1].MaxKey) >= string(m.Files[i].MinKey) {
			t.Errorf("the keys of files %d and %d overlap", i, i+1)
		}
	}
	if found := findAll(t, l, table, "ana", ids...); len(found) != 450 || found[17].Values[1] != row.TextValue("text 17") {
		t.Errorf("%d rows found, row 17 is %+v", len(found), found[17])
	}
}

// TestCorruptFile flips each of many bytes of a file: reading it is always an error, never a wrong answer.
func TestCorruptFile(t *testing.T) {
	table := notes(3)
	b := storagelocations.NewMemory()
	mustFlush(t, openLake(t, b, Options{}, table), segment(table, "ana", note(1, 1, "milk"), note(2, 2, "bread")))
	var name string
	for _, n := range names(t, b, "users/") {
		name = n
	}
	good := body(t, b, name)
	ctx := context.Background()
	for _, at := range []int{0, 5, len(good) / 3, len(good) / 2, len(good) - 9, len(good) - 1, -1} {
		bad := slices.Clone(good)
		if at < 0 {
			bad = bad[:len(bad)-1]
		} else {
			bad[at] ^= 0x10
		}
		if _, err := b.Put(ctx, name, bad, storagelocations.Cond{}); err != nil {
			t.Fatal(err)
		}
		var told []CorruptInfo
		l := openLake(t, b, Options{Events: Events{Corrupt: func(i CorruptInfo) { told = append(told, i) }}}, table)
		m := l.Manifest(row.Partition{Table: table.Ref, User: "ana"})
		if _, _, err := l.Local(ctx, m.Files[0]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("byte %d: Local = %v, expected ErrCorrupt", at, err)
		}
		if _, err := l.Find(ctx, m, table.Schema(), [][]byte{m.Files[0].MinKey}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("byte %d: Find = %v, expected ErrCorrupt", at, err)
		}
		if len(told) != 2 || told[0].Name != name {
			t.Errorf("byte %d: events %v, expected two about %s", at, told, name)
		}
		m.Release()
	}
}

package query

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"kalamdb/row"
)

// TestMergeAgreesWithModel: whatever versions lie in whatever files and in the buffer,
// a query sees the newest of each key.
func TestMergeAgreesWithModel(t *testing.T) {
	dir := t.TempDir()
	e := open(t, Options{CacheDir: dir})
	schema := &row.Schema{Version: 1, Key: []row.ColumnID{2, 1}, Columns: []row.Column{
		{ID: 1, Name: "k", Type: row.Type{Kind: row.Text}, NotNull: true}, {ID: 2, Name: "g", Type: row.Type{Kind: row.BigInt}, NotNull: true},
		{ID: 3, Name: "v", Type: row.Type{Kind: row.BigInt}}}}
	names := []string{"", "a", "ab", "a\x00b", "ä", "z"}
	rapid.Check(t, func(rt *rapid.T) {
		model := &memHot{}
		var versions []row.Row
		for seq := range rapid.IntRange(1, 60).Draw(rt, "versions") {
			r := row.Row{Seq: row.Seq(seq + 1), Schema: 1, Deleted: rapid.IntRange(0, 4).Draw(rt, "deleted") == 0, Values: []row.Value{
				row.TextValue(strings.ReplaceAll(rapid.SampledFrom(names).Draw(rt, "k"), "\x00", "\x01")),
				row.IntValue(row.BigInt, int64(rapid.IntRange(-3, 3).Draw(rt, "g"))), row.IntValue(row.BigInt, int64(seq))}}
			versions = append(versions, r)
			model.put(schema.KeyOf(r.Values), r)
		}
		// Flushes take the versions in order; compactions then join files at random, which
		// may leave a file whose sequence numbers lie around those of another.
		cold := rapid.IntRange(0, len(versions)).Draw(rt, "cold")
		var segments [][]row.Row
		for rest := versions[:cold]; len(rest) > 0; {
			n := min(len(rest), rapid.IntRange(1, 12).Draw(rt, "flush"))
			segments, rest = append(segments, rest[:n]), rest[n:]
		}
		if len(segments) > 2 && rapid.Bool().Draw(rt, "compact") {
			i := rapid.IntRange(1, len(segments)-1).Draw(rt, "with")
			segments[0] = slices.Concat(segments[0], segments[i])
			segments = slices.Delete(segments, i, i+1)
		}
		rel := &Relation{Schema: schema, System: true}
		for _, s := range segments {
			rel.Files = append(rel.Files, writeFile(t, dir, schema, s))
		}
		h := &memHot{}
		for _, r := range versions[cold:] {
			h.put(schema.KeyOf(r.Values), r)
		}
		rel.Hot = h
		g := int64(rapid.IntRange(-3, 3).Draw(rt, "asked"))
		for text, keep := range map[string]func(r row.Row) bool{
			"SELECT g, k, v FROM t": func(r row.Row) bool { return !r.Deleted },
			"SELECT g, k, v FROM t WHERE _seq > 0 AND _deleted IN (true, false)": func(row.Row) bool { return true },
			fmt.Sprintf("SELECT g, k, v FROM t WHERE g = %d", g):                 func(r row.Row) bool { return !r.Deleted && r.Values[1].Int() == g },
			fmt.Sprintf("SELECT g, k, v FROM t WHERE g = %d AND k = 'a'", g):     func(r row.Row) bool { return !r.Deleted && r.Values[1].Int() == g && r.Values[0].Str() == "a" },
			fmt.Sprintf("SELECT g, k, v FROM t WHERE g > %d AND k >= 'a'", g):    func(r row.Row) bool { return !r.Deleted && r.Values[1].Int() > g && r.Values[0].Str() >= "a" },
		} {
			var want []string
			for _, r := range model.rows {
				if keep(r) {
					want = append(want, fmt.Sprintf("%d %s %d", r.Values[1].Int(), row.AppendJSONString(nil, r.Values[0].Str()), r.Values[2].Int()))
				}
			}
			got, _, err := run(e, text, func(TableRef) *Relation { return rel })
			if err != nil {
				rt.Fatal(err)
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				rt.Fatalf("%s: %v, expected %v", text, got, want)
			}
		}
	})
}

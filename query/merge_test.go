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
// a query sees the newest of each key; those from before an ALTER TABLE as if they had
// been rewritten.
func TestMergeAgreesWithModel(t *testing.T) {
	dir := t.TempDir()
	e := open(t, Options{CacheDir: dir})
	old := &row.Schema{Version: 1, Key: []row.ColumnID{2, 1}, Columns: []row.Column{
		{ID: 1, Name: "k", Type: row.Type{Kind: row.Text}, NotNull: true}, {ID: 2, Name: "g", Type: row.Type{Kind: row.BigInt}, NotNull: true},
		{ID: 3, Name: "was", Type: row.Type{Kind: row.SmallInt}}, {ID: 4, Name: "x", Type: row.Type{Kind: row.Text}}}}
	schema := &row.Schema{Version: 2, Key: old.Key, Columns: []row.Column{
		{ID: 5, Name: "x", Type: row.Type{Kind: row.SmallInt}, Initial: row.IntValue(row.SmallInt, 7)},
		old.Columns[0], old.Columns[1], {ID: 3, Name: "v", Type: row.Type{Kind: row.BigInt}}}}
	schemaAt := func(v uint32) *row.Schema { return map[uint32]*row.Schema{1: old, 2: schema}[v] }
	names := []string{"", "a", "ab", "a\x00b", "ä", "z"}
	rapid.Check(t, func(rt *rapid.T) {
		model := &memHot{}
		var versions []row.Row
		altered := rapid.SampledFrom([]int{0, 5, 20, 60}).Draw(rt, "altered")
		for seq := range rapid.IntRange(1, 60).Draw(rt, "versions") {
			k := row.TextValue(strings.ReplaceAll(rapid.SampledFrom(names).Draw(rt, "k"), "\x00", "\x01"))
			g := row.IntValue(row.BigInt, int64(rapid.IntRange(-3, 3).Draw(rt, "g")))
			r := row.Row{Seq: row.Seq(seq + 1), Schema: 2, Deleted: rapid.IntRange(0, 4).Draw(rt, "deleted") == 0,
				Values: []row.Value{row.IntValue(row.SmallInt, int64(seq%3)), k, g, row.IntValue(row.BigInt, int64(seq))}}
			rewritten := r
			if seq < altered {
				rewritten.Values = append([]row.Value{row.IntValue(row.SmallInt, 7)}, r.Values[1:]...)
				r.Schema, r.Values = 1, []row.Value{k, g, row.IntValue(row.SmallInt, int64(seq)), row.TextValue("of a dropped column")}
			}
			versions = append(versions, r)
			model.put(schema.KeyOf(rewritten.Values), rewritten)
		}
		// Flushes take the versions in order; compactions then join files at random, which
		// may leave a file whose sequence numbers lie around those of another.
		cold := rapid.IntRange(0, len(versions)).Draw(rt, "cold")
		var segments [][]row.Row
		for rest := versions[:cold]; len(rest) > 0; {
			n := min(len(rest), rapid.IntRange(1, 12).Draw(rt, "flush"))
			segments, rest = append(segments, rest[:n]), rest[n:]
		}
		if altered == 0 && len(segments) > 2 && rapid.Bool().Draw(rt, "compact") {
			i := rapid.IntRange(1, len(segments)-1).Draw(rt, "with")
			segments[0] = slices.Concat(segments[0], segments[i])
			segments = slices.Delete(segments, i, i+1)
		}
		rel := &Relation{Schema: schema, SchemaAt: schemaAt, System: true}
		for _, s := range segments { // one file per schema version
			at := 0
			for at < len(s) && s[at].Schema == 1 {
				at++
			}
			if at > 0 {
				rel.Files = append(rel.Files, writeFile(t, dir, old, s[:at]))
			}
			if at < len(s) {
				rel.Files = append(rel.Files, writeFile(t, dir, schema, s[at:]))
			}
		}
		h := &memHot{}
		for _, r := range versions[cold:] {
			h.put(schemaAt(r.Schema).KeyOf(r.Values), r)
		}
		rel.Hot = h
		g := int64(rapid.IntRange(-3, 3).Draw(rt, "asked"))
		for text, keep := range map[string]func(r row.Row) bool{
			"SELECT g, k, v, x FROM t": func(r row.Row) bool { return !r.Deleted },
			"SELECT g, k, v, x FROM t WHERE _seq > 0 AND _deleted IN (true, false)": func(row.Row) bool { return true },
			"SELECT g, k, v, x FROM t WHERE x = 7":                                  func(r row.Row) bool { return !r.Deleted && r.Values[0].Int() == 7 },
			"SELECT g, k, v, x FROM t WHERE v >= 10 AND x < 7":                      func(r row.Row) bool { return !r.Deleted && r.Values[0].Int() < 7 && r.Values[3].Int() >= 10 },
			fmt.Sprintf("SELECT g, k, v, x FROM t WHERE g = %d", g):                 func(r row.Row) bool { return !r.Deleted && r.Values[2].Int() == g },
			fmt.Sprintf("SELECT g, k, v, x FROM t WHERE g = %d AND k = 'a'", g):     func(r row.Row) bool { return !r.Deleted && r.Values[2].Int() == g && r.Values[1].Str() == "a" },
			fmt.Sprintf("SELECT g, k, v, x FROM t WHERE g > %d AND k >= 'a'", g):    func(r row.Row) bool { return !r.Deleted && r.Values[2].Int() > g && r.Values[1].Str() >= "a" },
		} {
			var want []string
			for _, r := range model.rows {
				if keep(r) {
					want = append(want, fmt.Sprintf("%d %s %d %d", r.Values[2].Int(), row.AppendJSONString(nil, r.Values[1].Str()), r.Values[3].Int(), r.Values[0].Int()))
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

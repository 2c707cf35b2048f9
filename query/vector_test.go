package query

import (
	"slices"
	"testing"

	"kalamdb/row"
)

// TestVectors: the distances between an EMBEDDING and another one, a parameter, a list.
func TestVectors(t *testing.T) {
	e := open(t, Options{})
	h := &memHot{}
	for id, v := range [][]float32{{1, 0, 0}, {0, 1, 0}, {0.6, 0.8, 0}} {
		key := row.IntValue(row.BigInt, int64(id))
		h.put(row.AppendKey(nil, key), row.Row{Schema: 1, Seq: 1, Values: []row.Value{key, row.EmbeddingValue(v)}})
	}
	rel := &Relation{Schema: &row.Schema{Version: 1, Key: []row.ColumnID{1}, Columns: []row.Column{
		{ID: 1, Name: "id", Type: row.Type{Kind: row.BigInt}}, {ID: 2, Name: "e", Type: row.Type{Kind: row.Embedding, Dim: 3}}}}, System: true, Hot: h}
	list := row.ListValue([]row.Value{row.DoubleValue(1), row.IntValue(row.BigInt, 0), row.DoubleValue(0)})
	for _, f := range []struct {
		name string
		want []string // by id
	}{
		{"array_cosine_similarity", []string{`"1.0"`, `"0.0"`, `"0.6"`}},
		{"array_cosine_distance", []string{`"0.0"`, `"1.0"`, `"0.4"`}},
		{"array_inner_product", []string{`"1.0"`, `"0.0"`, `"0.6"`}},
		{"array_dot_product", []string{`"1.0"`, `"0.0"`, `"0.6"`}},
		{"array_negative_inner_product", []string{`"-1.0"`, `"-0.0"`, `"-0.6"`}},
		{"array_distance", []string{`"0.0"`, `"1.41421"`, `"0.89443"`}},
		{"list_cosine_similarity", []string{`"1.0"`, `"0.0"`, `"0.6"`}},
		{"list_distance", []string{`"0.0"`, `"1.41421"`, `"0.89443"`}},
		{"list_inner_product", []string{`"1.0"`, `"0.0"`, `"0.6"`}},
	} {
		for _, arg := range []string{"$1", "$1::FLOAT[3]", "[1, 0, 0]", "[1.0, 0.0, 0.0]", "[(1), abs(0), [0][1]]", "[1, 0, 0]::FLOAT[3]", "(SELECT e FROM t WHERE id = 0)"} {
			var params []row.Value
			if arg[0] == '$' {
				params = []row.Value{list}
			}
			got, _, err := run(e, "SELECT round("+f.name+"(e, "+arg+")::DOUBLE, 5)::VARCHAR FROM t ORDER BY id", func(TableRef) *Relation { return rel }, params...)
			if err != nil {
				t.Errorf("%s(e, %s): %v", f.name, arg, err)
				continue
			}
			if !slices.Equal(got, f.want) {
				t.Errorf("%s(e, %s): %v, expected %v", f.name, arg, got, f.want)
			}
		}
	}
}

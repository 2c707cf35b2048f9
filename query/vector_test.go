package query

import (
	"slices"
	"strings"
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
	array, err := row.Coerce(row.TextValue("[1, 0.0, 0]"), row.Type{Kind: row.JSON}) // as a request has it
	if err != nil {
		t.Fatal(err)
	}
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
		for _, arg := range []string{"$1", "$1 ", "$1::FLOAT[3]", "[1, 0, 0]", "[1.0, 0.0, 0.0]", "[(1), abs(0), [0][1]]", "[1, 0, 0]::FLOAT[3]", "(SELECT e FROM t WHERE id = 0)"} {
			var params []row.Value
			if arg[0] == '$' {
				params = []row.Value{list}
			}
			if arg == "$1 " {
				params = []row.Value{array}
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

// TestTexts: strings of every length come out of DuckDB as they went in, in columns, in
// lists, over several chunks.
func TestTexts(t *testing.T) {
	e := open(t, Options{})
	schema := &row.Schema{Version: 1, Key: []row.ColumnID{1}, Columns: []row.Column{
		{ID: 1, Name: "id", Type: row.Type{Kind: row.BigInt}}, {ID: 2, Name: "t", Type: row.Type{Kind: row.Text}},
		{ID: 3, Name: "b", Type: row.Type{Kind: row.Bytes}}, {ID: 4, Name: "l", Type: row.Type{Kind: row.List, Elem: row.Text}}}}
	h := &memHot{}
	want := map[int64][]row.Value{}
	for id := range int64(5000) {
		n := int(id % 40)
		switch id {
		case 100:
			n = collectedBytesMax + 1
		case 101:
			n = collectedBytesMax
		}
		s := strings.Repeat("é€x", n)[:n]
		valid := row.TextValue(strings.ToValidUTF8(s, "y"))
		text := valid
		if id%100 == 99 {
			text = row.NullValue
		}
		values := []row.Value{row.IntValue(row.BigInt, id), text, row.BytesValue([]byte(s)), row.ListValue([]row.Value{valid, row.NullValue, row.TextValue("short"), valid})}
		want[id] = values
		h.put(row.AppendKey(nil, values[0]), row.Row{Schema: 1, Seq: 1, Values: values})
	}
	rel := &Relation{Schema: schema, System: true, Hot: h}
	p, err := e.Plan("SELECT * FROM t")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := e.Query(t.Context(), p, []*Relation{rel}, nil, Session{})
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		got := rows.Values()
		if id := got[0].Int(); !slices.Equal(got[:4], want[id]) {
			t.Fatalf("row %d: %v, expected %v", id, got[:4], want[id])
		}
	}
	if n != len(want) || rows.Err() != nil {
		t.Errorf("%d rows, %v, expected %d", n, rows.Err(), len(want))
	}
}

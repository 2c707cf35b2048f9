package query

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"kalamdb/row"
)

func castType(k row.Kind) row.Type {
	switch k {
	case row.Decimal:
		return row.Type{Kind: k, Precision: 38, Scale: 7}
	case row.Embedding:
		return row.Type{Kind: k, Dim: 3}
	}
	return row.Type{Kind: k}
}

// castable draws values that a column can hold, the strange ones often.
func castable(typ row.Type) *rapid.Generator[row.Value] {
	return rapid.Custom(func(t *rapid.T) row.Value {
		switch k := typ.Kind; k {
		case row.Boolean:
			return row.BoolValue(rapid.Bool().Draw(t, "bool"))
		case row.SmallInt:
			return row.IntValue(k, int64(rapid.Int16().Draw(t, "n")))
		case row.Int:
			return row.IntValue(k, int64(rapid.Int32().Draw(t, "n")))
		case row.BigInt:
			return row.IntValue(k, rapid.Int64().Draw(t, "n"))
		case row.Float:
			return row.FloatValue(rapid.OneOf(rapid.Float32(), rapid.SampledFrom([]float32{float32(math.NaN()), float32(math.Inf(-1)), 1e-40, float32(math.Copysign(0, -1))})).Draw(t, "f"))
		case row.Double:
			return row.DoubleValue(rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), 5e-324, math.Copysign(0, -1)})).Draw(t, "f"))
		case row.Decimal:
			return row.DecimalValue(rapid.Int64Range(-1e18, 1e18).Draw(t, "hi"), rapid.Uint64().Draw(t, "lo"), typ.Scale)
		case row.Text:
			return row.TextValue(rapid.OneOf(rapid.StringMatching(`[ -~äé😀\n]{0,8}`), rapid.SampledFrom([]string{"", "NULL", "[", `\`, `'`, `"`, `\'`, ",", " x ", "''"})).Draw(t, "text"))
		case row.JSON:
			return row.JSONValue(rapid.SampledFrom([]string{`{"a": ["it's", "\"", "\\"]}`, `"x"`, "null", "[]", "1.50"}).Draw(t, "json"))
		case row.Bytes:
			return row.BytesValue(rapid.SliceOfN(rapid.Byte(), 0, 6).Draw(t, "bytes"))
		case row.Date: // within the days that DuckDB knows
			return row.IntValue(k, rapid.OneOf(rapid.Int64Range(-2147483646+2, 2147483646-719163*4), rapid.Int64Range(-800000, 800000), rapid.SampledFrom([]int64{math.MaxInt32, -math.MaxInt32})).Draw(t, "days"))
		case row.Time:
			return row.IntValue(k, rapid.OneOf(rapid.Int64Range(0, 86_400_000_000), rapid.Just(int64(86_400_000_000))).Draw(t, "µs"))
		case row.Timestamp:
			return row.IntValue(k, rapid.OneOf(rapid.Int64Range(-9223372022400000000/4, 9223372036854775806/4), rapid.SampledFrom([]int64{math.MaxInt64, -math.MaxInt64, 0, -1})).Draw(t, "µs"))
		case row.UUID:
			return row.UUIDValue([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uuid")))
		case row.Embedding:
			return row.EmbeddingValue(rapid.SliceOfN(rapid.Float32(), 3, 3).Draw(t, "floats"))
		}
		elems := make([]row.Value, rapid.IntRange(0, 4).Draw(t, "n"))
		for i := range elems {
			if rapid.IntRange(0, 3).Draw(t, "null") > 0 {
				elems[i] = castable(typ.ElemType()).Draw(t, "element")
			}
		}
		return row.ListValue(elems)
	})
}

// TestInitialValues: a file that is older than a column gives the column's initial
// value, whatever its type; filters and the buffer agree with it.
func TestInitialValues(t *testing.T) {
	dir := t.TempDir()
	e := open(t, Options{CacheDir: dir})
	old := &row.Schema{Version: 1, Key: []row.ColumnID{1}, Columns: []row.Column{{ID: 1, Name: "id", Type: row.Type{Kind: row.BigInt}, NotNull: true}, {ID: 2, Name: "gone", Type: row.Type{Kind: row.Text}}}}
	one := row.Row{Seq: 1, Schema: 1, Values: []row.Value{row.IntValue(row.BigInt, 1), row.TextValue("x")}}
	file := writeFile(t, dir, old, []row.Row{one})
	hot := &memHot{}
	two := row.Row{Seq: 2, Schema: 1, Values: []row.Value{row.IntValue(row.BigInt, 2), row.TextValue("y")}}
	hot.put(old.KeyOf(two.Values), two)

	kinds := []row.Kind{row.Boolean, row.SmallInt, row.Int, row.BigInt, row.Float, row.Double, row.Decimal, row.Text, row.Bytes, row.Date, row.Time, row.Timestamp, row.JSON, row.UUID}
	var types []row.Type
	for _, k := range kinds {
		list := castType(k)
		types = append(types, list)
		list.Kind, list.Elem = row.List, k
		types = append(types, list)
	}
	types = append(types, castType(row.Embedding))
	for _, typ := range types {
		t.Run(typ.String(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				initial := castable(typ).Draw(t, "initial")
				now := &row.Schema{Version: 2, Key: old.Key, Columns: []row.Column{old.Columns[0], {ID: 3, Name: "gone", Type: typ, Initial: initial}}}
				rel := &Relation{Schema: now, System: true, Hot: hot, Files: []File{file}, SchemaAt: func(v uint32) *row.Schema { return map[uint32]*row.Schema{1: old, 2: now}[v] }}
				p, err := e.Plan("SELECT id, gone FROM t ORDER BY id")
				if err != nil {
					t.Fatal(err)
				}
				rows, err := e.Query(t.Context(), p, []*Relation{rel}, nil, testSession())
				if err != nil {
					t.Fatal(err)
				}
				defer rows.Close()
				n := 0
				for ; rows.Next(); n++ {
					got := rows.Values()[1]
					if string(got.AppendJSON(nil)) != string(initial.AppendJSON(nil)) {
						t.Fatalf("row %d has %s, expected %s", n+1, got.AppendJSON(nil), initial.AppendJSON(nil))
					}
				}
				if err := rows.Err(); err != nil || n != 2 {
					t.Fatalf("%d rows, %v; the initial value is %q", n, err, castText(initial))
				}
			})
		})
	}
}

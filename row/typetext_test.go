package row

import (
	"encoding/json"
	"testing"
)

func TestTypeText(t *testing.T) {
	scalars := []Kind{Boolean, SmallInt, Int, BigInt, Float, Double, Text, Bytes, Date, Time, Timestamp, JSON, UUID}
	types := []Type{{Kind: Decimal, Precision: 38, Scale: 0}, {Kind: Decimal, Precision: 10, Scale: 2}, {Kind: Embedding, Dim: 1},
		{Kind: Embedding, Dim: EmbeddingDimMax}, {Kind: List, Elem: Decimal, Precision: 5, Scale: 5}}
	for _, k := range scalars {
		types = append(types, Type{Kind: k}, Type{Kind: List, Elem: k})
	}
	for _, want := range types {
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if string(b) != `"`+want.String()+`"` {
			t.Errorf("%v is written %s", want, b)
		}
		var got Type
		if err := json.Unmarshal(b, &got); err != nil || got != want {
			t.Errorf("%s reads back as %#v, %v; want %#v", b, got, err, want)
		}
	}
	for _, bad := range []string{"", "NULL", "HUGEINT", "LIST", "EMBEDDING", "DECIMAL", "DECIMAL(39,0)", "DECIMAL(5,6)", "DECIMAL(5,2", "DECIMAL(05,2)",
		"FLOAT[0]", "FLOAT[65536]", "FLOAT[3", "FLOAT[3][]", "VARCHAR[][]", "varchar", "VARCHAR)", "VARCHAR(3)", "FLOAT[03]", "[]"} {
		var got Type
		if err := got.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q was taken for %#v", bad, got)
		}
	}
}

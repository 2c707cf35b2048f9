package row_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"kalamdb/row"
)

// scalar draws a value of a kind that columns may have and that is no list.
func scalar(k row.Kind) *rapid.Generator[row.Value] {
	return rapid.Custom(func(t *rapid.T) row.Value {
		small := rapid.Int64Range(-3, 3) // equal and neighbouring values are the interesting ones
		switch k {
		case row.Boolean:
			return row.BoolValue(rapid.Bool().Draw(t, "bool"))
		case row.SmallInt:
			return row.IntValue(k, int64(rapid.OneOf(rapid.Int16(), rapid.SampledFrom([]int16{-1 << 15, -1, 0, 1<<15 - 1})).Draw(t, "smallint")))
		case row.Int, row.Date:
			return row.IntValue(k, int64(rapid.OneOf(rapid.Int32(), rapid.SampledFrom([]int32{-1 << 31, -1, 0, 1<<31 - 1})).Draw(t, "int")))
		case row.BigInt, row.Timestamp:
			return row.IntValue(k, rapid.OneOf(rapid.Int64(), small, rapid.SampledFrom([]int64{-1 << 63, 1<<63 - 1})).Draw(t, "bigint"))
		case row.Time:
			return row.IntValue(k, rapid.Int64Range(0, 86_400_000_000).Draw(t, "time"))
		case row.Float:
			return row.FloatValue(rapid.OneOf(rapid.Float32(), rapid.SampledFrom(floats32)).Draw(t, "float"))
		case row.Double:
			return row.DoubleValue(rapid.OneOf(rapid.Float64(), rapid.SampledFrom(floats64)).Draw(t, "double"))
		case row.Decimal:
			hi := rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{-1, 0})).Draw(t, "hi")
			return row.DecimalValue(hi, rapid.Uint64().Draw(t, "lo"), decimalType.Scale)
		case row.UUID:
			return row.UUIDValue([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uuid")))
		case row.Text:
			return row.TextValue(rapid.OneOf(rapid.String(), zeros()).Draw(t, "text"))
		case row.Bytes:
			return row.BytesValue(rapid.OneOf(rapid.SliceOf(rapid.Byte()), rapid.Map(zeros(), func(s string) []byte { return []byte(s) })).Draw(t, "bytes"))
		case row.JSON:
			return row.JSONValue(rapid.SampledFrom([]string{"null", `{"a":[1,2]}`, `"x"`, "[]"}).Draw(t, "json"))
		}
		panic("no scalar " + k.String())
	})
}

// zeros draws short texts of the bytes that the key encoding treats in a special way.
func zeros() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return string(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0xFE, 0xFF, 'a'}), 0, 5).Draw(t, "bytes"))
	})
}

var scalarKinds = []row.Kind{
	row.Boolean, row.SmallInt, row.Int, row.BigInt, row.Float, row.Double, row.Decimal,
	row.Text, row.Bytes, row.Date, row.Time, row.Timestamp, row.JSON, row.UUID,
}

func anyValue() *rapid.Generator[row.Value] {
	return rapid.Custom(func(t *rapid.T) row.Value {
		switch n := rapid.IntRange(0, len(scalarKinds)+3).Draw(t, "kind"); n {
		case len(scalarKinds):
			return row.NullValue
		case len(scalarKinds) + 1:
			return row.EmbeddingValue(rapid.SliceOf(rapid.Float32()).Draw(t, "embedding"))
		case len(scalarKinds) + 2:
			elem := scalar(rapid.SampledFrom(scalarKinds).Draw(t, "elem"))
			return row.ListValue(rapid.SliceOf(rapid.OneOf(elem, rapid.Just(row.NullValue))).Draw(t, "list"))
		case len(scalarKinds) + 3:
			return row.HugeIntValue(rapid.Int64().Draw(t, "hi"), rapid.Uint64().Draw(t, "lo"))
		default:
			return scalar(scalarKinds[n]).Draw(t, "scalar")
		}
	})
}

func anyRow() *rapid.Generator[row.Row] {
	return rapid.Custom(func(t *rapid.T) row.Row {
		return row.Row{
			Seq:     row.Seq(rapid.Uint64Range(0, uint64(row.SeqMax)-1).Draw(t, "seq")),
			Updated: rapid.Int64().Draw(t, "updated"),
			Deleted: rapid.Bool().Draw(t, "deleted"),
			Schema:  rapid.Uint32().Draw(t, "schema"),
			Values:  rapid.SliceOfN(anyValue(), 0, 8).Draw(t, "values"),
		}
	})
}

func sameRow(a, b *row.Row) bool {
	return a.Seq == b.Seq && a.Updated == b.Updated && a.Deleted == b.Deleted && a.Schema == b.Schema && slices.Equal(a.Values, b.Values)
}

func TestRowRoundTrip(t *testing.T) {
	var reused row.Row
	rapid.Check(t, func(t *rapid.T) {
		want := anyRow().Draw(t, "row")
		tail := rapid.SliceOf(rapid.Byte()).Draw(t, "behind")
		encoded := row.AppendRow(nil, &want)
		rest, err := row.DecodeRow(append(slices.Clone(encoded), tail...), &reused)
		if err != nil {
			t.Fatal(err)
		}
		if !sameRow(&reused, &want) || !bytes.Equal(rest, tail) {
			t.Fatalf("%+v became %+v with %x behind it", want, reused, rest)
		}
		for n := range encoded { // no part of a row is a row
			if _, err := row.DecodeRow(encoded[:n], &row.Row{}); err == nil {
				t.Fatalf("the first %d of %d bytes are taken for a row", n, len(encoded))
			}
		}
		parts := row.AppendRowTail(row.AppendRowHead(nil, want.Seq, want.Updated, want.Deleted), want.Schema, want.Values)
		if !bytes.Equal(parts, encoded) {
			t.Fatalf("in parts %x, whole %x", parts, encoded)
		}
		if seq, updated, deleted, err := row.DecodeRowHead(encoded); err != nil || seq != want.Seq || updated != want.Updated || deleted != want.Deleted {
			t.Fatalf("head %d, %t, %v of %+v", seq, deleted, err, want)
		}
	})
}

// A clone does not change when the bytes it was decoded from are used again.
func TestCloneOwnsItsMemory(t *testing.T) {
	want := row.Row{Seq: 1, Values: []row.Value{row.TextValue("text"), row.BytesValue([]byte("bytes")), row.ListValue([]row.Value{row.TextValue("elem")})}}
	b := row.AppendRow(nil, &want)
	var r row.Row
	if _, err := row.DecodeRow(b, &r); err != nil {
		t.Fatal(err)
	}
	c := r.Clone()
	clear(b)
	clear(r.Values)
	if !sameRow(&c, &want) {
		t.Errorf("the clone became %+v", c)
	}
}

func TestValuesInsideValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		elems := rapid.SliceOf(anyValue()).Draw(t, "elems")
		list := row.ListValue(elems)
		if got := list.List(); list.Len() != len(elems) || !slices.Equal(got, elems) {
			t.Fatalf("%v became %v", elems, got)
		}
		floats := rapid.SliceOf(rapid.Float32()).Draw(t, "floats")
		e := row.EmbeddingValue(floats)
		if got := e.Floats(nil); e.Len() != len(floats) || !slices.Equal(got, floats) {
			t.Fatalf("%v became %v", floats, got)
		}
	})
}

func FuzzDecodeRow(f *testing.F) {
	f.Add(row.AppendRow(nil, &row.Row{}))
	for _, k := range scalarKinds {
		v := scalar(k).Example(1)
		f.Add(row.AppendRow(nil, &row.Row{Seq: 7, Updated: -5, Deleted: true, Schema: 3, Values: []row.Value{v, row.NullValue, row.ListValue([]row.Value{v})}}))
	}
	f.Add(row.AppendRow(nil, &row.Row{Values: []row.Value{row.EmbeddingValue([]float32{1, 2})}}))
	f.Add([]byte("\x01\x00\x00\x00\x00\xff\xff\xff\xff\x0f"))                         // more values than bytes
	f.Add([]byte("\x01\x00\x00\x00\x00\x01\x08\xff\xff\xff\xff\xff\xff\xff\xff\x01")) // a text longer than memory
	nested := row.ListValue(nil)
	for range 100 { // deeper than allowed
		nested = row.ListValue([]row.Value{nested})
	}
	f.Add(row.AppendRow(nil, &row.Row{Values: []row.Value{nested}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r, again row.Row
		rest, err := row.DecodeRow(b, &r)
		if err != nil {
			return
		}
		encoded := row.AppendRow(nil, &r)
		if len(encoded) > len(b)-len(rest) {
			t.Fatalf("%d bytes became %d", len(b)-len(rest), len(encoded))
		}
		if left, err := row.DecodeRow(encoded, &again); err != nil || len(left) != 0 || !sameRow(&r, &again) {
			t.Fatalf("%+v became %+v, %d bytes left, %v", r, again, len(left), err)
		}
		c := r.Clone()
		if !sameRow(&r, &c) || r.Bytes() < len(r.Values) {
			t.Fatalf("clone %+v of %+v", c, r)
		}
		for _, v := range r.Values { // no accessor panics on what was accepted
			v.AppendText(v.AppendJSON(nil))
		}
	})
}

func TestTooDeepListIsRefused(t *testing.T) {
	nested := row.ListValue(nil)
	for range 40 {
		nested = row.ListValue([]row.Value{nested})
	}
	_, err := row.DecodeRow(row.AppendRow(nil, &row.Row{Values: []row.Value{nested}}), &row.Row{})
	if err == nil || !strings.Contains(err.Error(), "nested") {
		t.Errorf("%v, expected a refusal of the depth", err)
	}
}

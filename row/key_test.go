package row_test

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"kalamdb/row"
)

var (
	decimalType = row.Type{Kind: row.Decimal, Precision: 38, Scale: 4}
	keyKinds    = slices.DeleteFunc(slices.Clone(scalarKinds), func(k row.Kind) bool { return k == row.JSON })
	floats32    = []float32{0, float32(math.Copysign(0, -1)), 1, -1, math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32, float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN())}
	floats64    = []float64{0, math.Copysign(0, -1), 1, -1, math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, math.Inf(1), math.Inf(-1), math.NaN()}
)

func keyType(k row.Kind) row.Type {
	if k == row.Decimal {
		return decimalType
	}
	return row.Type{Kind: k}
}

// compare orders values as SQL does: numbers by size, NaN above everything and equal to
// itself, texts by bytes. It knows nothing of the key encoding.
func compare(a, b row.Value) int {
	switch a.Kind() {
	case row.Boolean:
		if a.Bool() == b.Bool() {
			return 0
		}
		if b.Bool() {
			return -1
		}
		return 1
	case row.Float, row.Double:
		x, y := number(a), number(b)
		if math.IsNaN(x) || math.IsNaN(y) {
			return -cmp.Compare(x, y) // cmp puts NaN below everything
		}
		return cmp.Compare(x, y)
	case row.Decimal:
		return a.Big().Cmp(b.Big())
	case row.UUID:
		x, y := a.UUID(), b.UUID()
		return bytes.Compare(x[:], y[:])
	case row.Text, row.Bytes:
		return cmp.Compare(a.Str(), b.Str())
	}
	return cmp.Compare(a.Int(), b.Int())
}

func number(v row.Value) float64 {
	if v.Kind() == row.Float {
		return float64(v.Float())
	}
	return v.Double()
}

func TestKeyOrderIsValueOrder(t *testing.T) {
	for _, k := range keyKinds {
		t.Run(k.String(), func(t *testing.T) {
			if !keyType(k).Keyable() {
				t.Fatal("not keyable")
			}
			rapid.Check(t, func(t *rapid.T) {
				a, b := scalar(k).Draw(t, "a"), scalar(k).Draw(t, "b")
				if got, want := bytes.Compare(row.AppendKey(nil, a), row.AppendKey(nil, b)), compare(a, b); got != want {
					t.Fatalf("the keys compare %d, the values %d", got, want)
				}
			})
		})
	}
}

// drawKey draws the types of a primary key of one to four columns, and n keys of it.
func drawKey(t *rapid.T, n int) ([]row.Type, [][]row.Value) {
	kinds := rapid.SliceOfN(rapid.SampledFrom(keyKinds), 1, 4).Draw(t, "kinds")
	types := make([]row.Type, len(kinds))
	keys := make([][]row.Value, n)
	for i, k := range kinds {
		types[i] = keyType(k)
		v := scalar(k).Draw(t, "first")
		for j := range keys { // columns are often equal, so that the next one decides
			if j > 0 && rapid.Bool().Draw(t, "other") {
				v = scalar(k).Draw(t, "value")
			}
			keys[j] = append(keys[j], v)
		}
	}
	return types, keys
}

func appendKey(values []row.Value) (b []byte) {
	for _, v := range values {
		b = row.AppendKey(b, v)
	}
	return b
}

func TestCompositeKeyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, keys := drawKey(t, 2)
		want := slices.CompareFunc(keys[0], keys[1], compare)
		a, b := appendKey(keys[0]), appendKey(keys[1])
		if got := bytes.Compare(a, b); got != want {
			t.Fatalf("%x and %x compare %d, their values %d", a, b, got, want)
		}
		if want != 0 && (bytes.HasPrefix(a, b) || bytes.HasPrefix(b, a)) {
			t.Fatalf("%x and %x: one starts with the other", a, b)
		}
	})
}

func TestKeyRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		types, keys := drawKey(t, 1)
		b := appendKey(keys[0])
		got, err := row.DecodeKey(types, b)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range got {
			want := keys[0][i]
			if v.Kind() != want.Kind() || compare(v, want) != 0 || v.Scale() != want.Scale() {
				t.Fatalf("column %d: %s became %s", i, want.AppendText(nil), v.AppendText(nil))
			}
		}
		if again := appendKey(got); !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
		if _, err := row.DecodeKey(types, append(b, 0)); err == nil {
			t.Fatal("a byte too many was accepted")
		}
		if _, err := row.DecodeKey(types, b[:len(b)-1]); err == nil {
			t.Fatal("a byte too few was accepted")
		}
	})
}

func FuzzDecodeKey(f *testing.F) {
	types := []row.Type{{Kind: row.Text}, {Kind: row.Double}, decimalType, {Kind: row.Boolean}, {Kind: row.Float}}
	f.Add(appendKey([]row.Value{row.TextValue("a\x00b"), row.DoubleValue(1), row.DecimalValue(0, 1, 4), row.BoolValue(true), row.FloatValue(-2)}))
	f.Add([]byte{0, 0xFF, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		values, err := row.DecodeKey(types, b)
		if err != nil {
			return
		}
		again, err := row.DecodeKey(types, appendKey(values))
		if err != nil {
			t.Fatal(err)
		}
		for i := range values {
			if compare(values[i], again[i]) != 0 {
				t.Fatalf("%v became %v", values, again)
			}
		}
	})
}

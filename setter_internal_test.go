package kalamdb

import (
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"kalamdb/row"
)

// What is computed without DuckDB is exact, and left to it where it may not fit.
func TestArithmetic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]row.Kind{row.SmallInt, row.Int, row.BigInt}).Draw(t, "kind")
		bits := map[row.Kind]uint{row.SmallInt: 15, row.Int: 31, row.BigInt: 63}[kind]
		whole := rapid.OneOf(rapid.Int64Range(-100, 100), rapid.Int64Range(-1<<bits, 1<<bits-1))
		a, b := whole.Draw(t, "a"), whole.Draw(t, "b")
		op := rapid.SampledFrom([]byte("+-*")).Draw(t, "op")
		x, y := big.NewInt(a), big.NewInt(b)
		want := map[byte]*big.Int{'+': new(big.Int).Add(x, y), '-': new(big.Int).Sub(x, y), '*': new(big.Int).Mul(x, y)}[op]
		got, ok := arithmetic(row.IntValue(kind, a), op, row.IntValue(kind, b))
		small := a > -100 && a < 100 && b > -100 && b < 100
		if ok && (!want.IsInt64() || got.Int() != want.Int64() || got.Kind() != kind) || !ok && small {
			t.Fatalf("%d %c %d: %v %t, expected %s", a, op, b, got, ok, want)
		}
	})
}

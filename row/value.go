package row

import (
	"encoding/binary"
	"math"
	"math/big"
	"unsafe"
)

// A Value is one SQL value. It knows its kind (and a decimal its scale), so it can
// be written as bytes or JSON without a schema. Values are comparable with ==:
// equal bits of the same kind. The zero Value is NULL.
type Value struct {
	kind  Kind
	scale uint8
	hi    int64  // high half of DECIMAL, HUGEINT and UUID
	lo    uint64 // integers, floats as bits, dates and times; low half of the 128-bit kinds
	s     string // TEXT, BLOB, JSON; elements of LIST as codec.go writes them; EMBEDDING as little-endian floats
}

// NullValue is NULL.
var NullValue Value

// Kind is the kind of v, Null for NULL.
func (v Value) Kind() Kind { return v.kind }

// IsNull says whether v is NULL.
func (v Value) IsNull() bool { return v.kind == Null }

// BoolValue makes a BOOLEAN.
func BoolValue(b bool) Value {
	v := Value{kind: Boolean}
	if b {
		v.lo = 1
	}
	return v
}

// IntValue makes a value of an integer, date or time kind: SMALLINT, INTEGER,
// BIGINT, DATE (days), TIME (µs since midnight) or TIMESTAMP (µs since 1970, UTC).
// The caller has checked the range of the kind.
func IntValue(k Kind, n int64) Value { return Value{kind: k, lo: uint64(n)} }

// FloatValue makes a FLOAT.
func FloatValue(f float32) Value { return Value{kind: Float, lo: uint64(math.Float32bits(f))} }

// DoubleValue makes a DOUBLE.
func DoubleValue(f float64) Value { return Value{kind: Double, lo: math.Float64bits(f)} }

// TextValue makes a TEXT.
func TextValue(s string) Value { return Value{kind: Text, s: s} }

// JSONValue makes a JSON value from its text, which the caller has checked.
func JSONValue(s string) Value { return Value{kind: JSON, s: s} }

// BytesValue makes a BLOB of a copy of b.
func BytesValue(b []byte) Value { return Value{kind: Bytes, s: string(b)} }

// UUIDValue makes a UUID.
func UUIDValue(u [16]byte) Value {
	return Value{kind: UUID, hi: int64(binary.BigEndian.Uint64(u[:8])), lo: binary.BigEndian.Uint64(u[8:])}
}

// DecimalValue makes a DECIMAL of unscaled·10^-scale, the unscaled number given as
// the two halves of a 128-bit two's complement integer.
func DecimalValue(hi int64, lo uint64, scale uint8) Value {
	return Value{kind: Decimal, scale: scale, hi: hi, lo: lo}
}

// HugeIntValue makes a HUGEINT from the two halves of a 128-bit integer.
func HugeIntValue(hi int64, lo uint64) Value { return Value{kind: HugeInt, hi: hi, lo: lo} }

// ListValue makes a LIST of the given elements.
func ListValue(elems []Value) Value {
	b := binary.AppendUvarint(nil, uint64(len(elems)))
	for _, e := range elems {
		b = AppendValue(b, e)
	}
	return Value{kind: List, s: string(b)}
}

// EmbeddingValue makes an EMBEDDING of the given floats.
func EmbeddingValue(f []float32) Value {
	b := make([]byte, 0, 4*len(f))
	for _, x := range f {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return Value{kind: Embedding, s: string(b)}
}

// Bool is the value of a BOOLEAN.
func (v Value) Bool() bool { return v.lo != 0 }

// Int is the number of an integer, date or time kind.
func (v Value) Int() int64 { return int64(v.lo) }

// Float is the number of a FLOAT.
func (v Value) Float() float32 { return math.Float32frombits(uint32(v.lo)) }

// Double is the number of a DOUBLE.
func (v Value) Double() float64 { return math.Float64frombits(v.lo) }

// Str is the text of a TEXT or JSON and the bytes of a BLOB.
func (v Value) Str() string { return v.s }

// Halves are the two halves of the 128-bit number of a DECIMAL, HUGEINT or UUID.
func (v Value) Halves() (hi int64, lo uint64) { return v.hi, v.lo }

// Scale is the number of digits after the point of a DECIMAL.
func (v Value) Scale() uint8 { return v.scale }

// UUID is the value of a UUID.
func (v Value) UUID() (u [16]byte) {
	binary.BigEndian.PutUint64(u[:8], uint64(v.hi))
	binary.BigEndian.PutUint64(u[8:], v.lo)
	return u
}

// Big is the unscaled number of a DECIMAL or the number of a HUGEINT.
func (v Value) Big() *big.Int {
	b := big.NewInt(v.hi)
	b.Lsh(b, 64)
	return b.Add(b, new(big.Int).SetUint64(v.lo))
}

// Halves128 splits b into the two halves of a 128-bit two's complement number; ok
// is false if b does not fit.
func Halves128(b *big.Int) (hi int64, lo uint64, ok bool) {
	h := new(big.Int).Rsh(b, 64)
	if !h.IsInt64() {
		return 0, 0, false
	}
	low := new(big.Int).Sub(b, new(big.Int).Lsh(h, 64))
	return h.Int64(), low.Uint64(), true
}

// Len is the number of elements of a LIST or floats of an EMBEDDING.
func (v Value) Len() int {
	if v.kind == Embedding {
		return len(v.s) / 4
	}
	n, _ := binary.Uvarint(v.bytes())
	return int(n)
}

// List are the elements of a LIST; their text shares memory with v.
func (v Value) List() []Value {
	b := v.bytes()
	n, w := binary.Uvarint(b)
	b = b[w:]
	elems := make([]Value, n)
	for i := range elems {
		e, rest, err := DecodeValue(b)
		invariant(err == nil, "list value holds broken elements")
		elems[i], b = e, rest
	}
	return elems
}

// Floats appends the floats of an EMBEDDING to dst.
func (v Value) Floats(dst []float32) []float32 {
	for i := 0; i+4 <= len(v.s); i += 4 {
		bits := uint32(v.s[i]) | uint32(v.s[i+1])<<8 | uint32(v.s[i+2])<<16 | uint32(v.s[i+3])<<24
		dst = append(dst, math.Float32frombits(bits))
	}
	return dst
}

// Bytes is the memory v needs, in bytes, for limits and accounting.
func (v Value) Bytes() int { return int(unsafe.Sizeof(v)) + len(v.s) }

// Clone is v with memory of its own: see [DecodeRow] for when that matters.
func (v Value) Clone() Value {
	if v.s != "" {
		v.s = string(append([]byte(nil), v.s...))
	}
	return v
}

func (v Value) bytes() []byte { return unsafe.Slice(unsafe.StringData(v.s), len(v.s)) }

// invariant stops the program at a bug of ours; faults of the world are errors.
func invariant(ok bool, what string) {
	if !ok {
		panic("row: broken invariant: " + what)
	}
}

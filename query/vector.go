package query

import (
	"fmt"
	"unicode/utf8"
	"unsafe"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"kalamdb/row"
)

// hugeInt and listEntry are DuckDB's layout of a 128-bit number and of a list.
type (
	hugeInt struct {
		lower uint64
		upper int64
	}
	listEntry struct{ offset, length uint64 }
)

var scalarTypes = map[row.Kind]mapping.Type{
	row.Boolean: mapping.TypeBoolean, row.SmallInt: mapping.TypeSmallInt, row.Int: mapping.TypeInteger,
	row.BigInt: mapping.TypeBigInt, row.Float: mapping.TypeFloat, row.Double: mapping.TypeDouble,
	row.Text: mapping.TypeVarchar, row.JSON: mapping.TypeVarchar, row.Bytes: mapping.TypeBlob,
	row.Date: mapping.TypeDate, row.Time: mapping.TypeTime, row.Timestamp: mapping.TypeTimestamp,
	row.UUID: mapping.TypeUUID, row.HugeInt: mapping.TypeHugeInt, row.Null: mapping.TypeSQLNull,
}

// logicalType is DuckDB's type of a column; the caller destroys it.
func logicalType(t row.Type) mapping.LogicalType {
	switch t.Kind {
	case row.Decimal:
		return mapping.CreateDecimalType(t.Precision, t.Scale)
	case row.List:
		child := logicalType(t.ElemType())
		defer mapping.DestroyLogicalType(&child)
		return mapping.CreateListType(child)
	case row.Embedding:
		child := mapping.CreateLogicalType(mapping.TypeFloat)
		defer mapping.DestroyLogicalType(&child)
		return mapping.CreateArrayType(child, mapping.IdxT(t.Dim))
	case row.JSON:
		lt := mapping.CreateLogicalType(mapping.TypeVarchar)
		mapping.LogicalTypeSetAlias(lt, "JSON")
		return lt
	}
	return mapping.CreateLogicalType(scalarTypes[t.Kind])
}

// A vectorWriter writes values of one column type into one vector.
type vectorWriter struct {
	vec      mapping.Vector
	typ      row.Type
	data     unsafe.Pointer
	validity unsafe.Pointer // nil until the first NULL
	child    *vectorWriter  // LIST, EMBEDDING
	used     int            // LIST: elements written
	room     int            // LIST: elements there is room for
	floats   []float32
	text     []byte     // of the long strings that are not in the vector yet
	long     []textPart // where they belong
}

// A textPart is the string that the i-th value of a vector is: text[from:to].
type textPart struct{ i, from, to int }

// Each string that DuckDB takes costs a call into C, so that short ones are written into
// the vector here and the long ones of a chunk become parts of one.
const (
	inlineMax         = 12       // bytes of a string that lies in the vector itself
	collectedBytesMax = 64 << 10 // of the long strings that are collected
)

func (w *vectorWriter) init(vec mapping.Vector, t row.Type) {
	w.vec, w.typ, w.validity, w.used, w.room = vec, t, nil, 0, 0
	w.text, w.long = w.text[:0], w.long[:0]
	w.data = mapping.VectorGetData(vec)
	switch t.Kind {
	case row.List:
		w.child = &vectorWriter{typ: t.ElemType()}
	case row.Embedding:
		w.child = &vectorWriter{}
		w.child.init(mapping.ArrayVectorGetChild(vec), row.Type{Kind: row.Float})
	}
}

// at is a pointer to the i-th element of w.data.
func at[T any](p unsafe.Pointer, i int) *T {
	var z T
	return (*T)(unsafe.Add(p, uintptr(i)*unsafe.Sizeof(z)))
}

func (w *vectorWriter) setNull(i int) {
	if w.validity == nil {
		mapping.VectorEnsureValidityWritable(w.vec)
		w.validity = mapping.VectorGetValidity(w.vec)
	}
	*at[uint64](w.validity, i/64) &^= 1 << (i % 64)
}

// set writes v as the i-th value. Rows come from our own storage, so a value of
// another kind than the column's is a fault worth stopping for.
func (w *vectorWriter) set(i int, v row.Value) error {
	if v.IsNull() {
		w.setNull(i)
		return nil
	}
	k := v.Kind()
	if k != w.typ.Kind && !widens(k, w.typ.Kind) {
		return fmt.Errorf("a %s where the column is %s", k, w.typ)
	}
	switch w.typ.Kind {
	case row.Boolean:
		*at[bool](w.data, i) = v.Bool()
	case row.SmallInt:
		*at[int16](w.data, i) = int16(v.Int())
	case row.Int, row.Date:
		*at[int32](w.data, i) = int32(v.Int())
	case row.BigInt, row.Time, row.Timestamp:
		*at[int64](w.data, i) = v.Int()
	case row.Float:
		*at[float32](w.data, i) = v.Float()
	case row.Double:
		if k == row.Float {
			*at[float64](w.data, i) = float64(v.Float())
		} else {
			*at[float64](w.data, i) = v.Double()
		}
	case row.Decimal:
		return w.setDecimal(i, v)
	case row.HugeInt:
		hi, lo := v.Halves()
		*at[hugeInt](w.data, i) = hugeInt{lower: lo, upper: hi}
	case row.UUID:
		hi, lo := v.Halves()
		*at[hugeInt](w.data, i) = hugeInt{lower: lo, upper: hi ^ (-1 << 63)}
	case row.Text, row.JSON, row.Bytes:
		w.setText(i, v.Str())
	case row.Embedding:
		w.floats = v.Floats(w.floats[:0])
		if len(w.floats) != int(w.typ.Dim) {
			return fmt.Errorf("%d floats where the column is %s", len(w.floats), w.typ)
		}
		copy(unsafe.Slice((*float32)(unsafe.Add(w.child.data, i*int(w.typ.Dim)*4)), w.typ.Dim), w.floats)
	case row.List:
		return w.setList(i, v.List())
	default:
		return fmt.Errorf("a column of type %s", w.typ)
	}
	return nil
}

// widens says whether a value of kind k may stand in a column of kind t: the
// widenings that ALTER TABLE allows.
func widens(k, t row.Kind) bool {
	switch t {
	case row.Int:
		return k == row.SmallInt
	case row.BigInt:
		return k == row.SmallInt || k == row.Int
	case row.Double:
		return k == row.Float
	}
	return false
}

func (w *vectorWriter) setDecimal(i int, v row.Value) error {
	if v.Scale() != w.typ.Scale {
		return fmt.Errorf("a decimal of scale %d where the column is %s", v.Scale(), w.typ)
	}
	hi, lo := v.Halves()
	switch p := w.typ.Precision; {
	case p <= 4:
		*at[int16](w.data, i) = int16(lo)
	case p <= 9:
		*at[int32](w.data, i) = int32(lo)
	case p <= 18:
		*at[int64](w.data, i) = int64(lo)
	default:
		*at[hugeInt](w.data, i) = hugeInt{lower: lo, upper: hi}
	}
	return nil
}

func (w *vectorWriter) setList(i int, elems []row.Value) error {
	if need := w.used + len(elems); need > w.room {
		w.room = max(2*w.room, need, 256)
		mapping.ListVectorReserve(w.vec, mapping.IdxT(w.room))
		c := w.child
		typ, validity := c.typ, c.validity != nil
		c.vec = mapping.ListVectorGetChild(w.vec)
		c.typ, c.data = typ, mapping.VectorGetData(c.vec)
		if validity {
			c.validity = mapping.VectorGetValidity(c.vec)
		}
	}
	*at[listEntry](w.data, i) = listEntry{offset: uint64(w.used), length: uint64(len(elems))}
	for _, e := range elems {
		if err := w.child.set(w.used, e); err != nil {
			return err
		}
		w.used++
	}
	return nil
}

// setText writes a string; one that is no text in a column of text becomes NULL.
func (w *vectorWriter) setText(i int, s string) {
	if w.typ.Kind != row.Bytes && !utf8.ValidString(s) {
		w.setNull(i)
		return
	}
	if len(s) <= inlineMax {
		short := inlineString{length: uint32(len(s))}
		copy(short.bytes[:], s)
		*at[inlineString](w.data, i) = short
		return
	}
	if len(w.text)+len(s) > collectedBytesMax {
		w.flushText()
	}
	w.long = append(w.long, textPart{i, len(w.text), len(w.text) + len(s)})
	w.text = append(w.text, s...)
}

// flushText hands the collected strings to DuckDB as one, which it copies to memory that
// lives as long as the vector, and makes of each the part that it is.
func (w *vectorWriter) flushText() {
	if len(w.long) == 0 {
		return
	}
	first := w.long[0].i
	mapping.VectorAssignStringElementLen(w.vec, mapping.IdxT(first), w.text)
	start := at[outlineString](w.data, first).start
	for _, p := range w.long {
		part := outlineString{length: uint32(p.to - p.from), start: start + uintptr(p.from)}
		copy(part.prefix[:], w.text[p.from:])
		*at[outlineString](w.data, p.i) = part
	}
	w.text, w.long = w.text[:0], w.long[:0]
}

// finish ends a chunk.
func (w *vectorWriter) finish() {
	w.flushText()
	if w.typ.Kind == row.List {
		w.child.finish()
		mapping.ListVectorSetSize(w.vec, mapping.IdxT(w.used))
	}
}

// inlineString and outlineString are the two forms of DuckDB's string when it is written: where it
// goes there may be anything before, so that no field may be a pointer to Go.
type (
	inlineString struct {
		length uint32
		bytes  [inlineMax]byte // zero behind the string
	}
	outlineString struct {
		length uint32
		prefix [4]byte
		start  uintptr
	}
)

// stringT is DuckDB's string when it is read: up to 12 bytes inline, else a pointer.
type stringT struct {
	length uint32
	prefix [4]byte
	ptr    unsafe.Pointer
}

// stringAt copies the i-th string of a vector's data.
func stringAt(data unsafe.Pointer, i int) string {
	s := at[stringT](data, i)
	if s.length <= 12 {
		return string(unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(s), 4)), s.length))
	}
	return string(unsafe.Slice((*byte)(s.ptr), s.length))
}

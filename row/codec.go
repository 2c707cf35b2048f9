package row

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"
)

// A stored row:
//
//	version:1 (1)  flags:1 (bit 0 deleted)  seq:uvarint  updated:varint  schema:uvarint  n:uvarint  n values
//
// and a value is kind:1 followed by
//
//	NULL nothing · BOOLEAN 1 byte · integers, DATE, TIME, TIMESTAMP varint · FLOAT 4 bytes LE · DOUBLE 8 bytes LE
//	DECIMAL scale:1 then 16 bytes BE · HUGEINT, UUID 16 bytes BE · TEXT, BLOB, JSON, LIST, EMBEDDING length:uvarint, bytes
//
// The bytes of a LIST are n:uvarint and n values; those of an EMBEDDING its floats, 4 bytes LE each.

const rowVersion = 1

// listDepthMax bounds lists in lists, so that broken bytes cannot exhaust the stack.
const listDepthMax = 32

var errCorrupt = errors.New("corrupt row")

// AppendRow appends r to dst.
func AppendRow(dst []byte, r *Row) []byte {
	var flags byte
	if r.Deleted {
		flags = 1
	}
	dst = append(dst, rowVersion, flags)
	dst = binary.AppendUvarint(dst, uint64(r.Seq))
	dst = binary.AppendVarint(dst, r.Updated)
	dst = binary.AppendUvarint(dst, uint64(r.Schema))
	dst = binary.AppendUvarint(dst, uint64(len(r.Values)))
	for _, v := range r.Values {
		dst = AppendValue(dst, v)
	}
	return dst
}

// DecodeRow reads into r what AppendRow wrote, reusing r.Values, and returns the
// bytes behind it. The text of the values shares memory with b: a row that
// outlives b needs [Row.Clone].
func DecodeRow(b []byte, r *Row) (rest []byte, err error) {
	if len(b) < 2 {
		return nil, fmt.Errorf("%w: %d bytes", errCorrupt, len(b))
	}
	if b[0] != rowVersion {
		return nil, fmt.Errorf("%w: version %d, expected %d", errCorrupt, b[0], rowVersion)
	}
	if b[1] > 1 {
		return nil, fmt.Errorf("%w: flags %x", errCorrupt, b[1])
	}
	r.Deleted = b[1] == 1
	b = b[2:]
	var seq, schema, n uint64
	if seq, b, err = uvarint(b); err != nil {
		return nil, err
	}
	if r.Updated, b, err = varint(b); err != nil {
		return nil, err
	}
	if schema, b, err = uvarint(b); err != nil {
		return nil, err
	}
	if n, b, err = uvarint(b); err != nil {
		return nil, err
	}
	if n > uint64(len(b)) || seq >= uint64(SeqMax) || schema > 1<<32-1 {
		return nil, fmt.Errorf("%w: %d values in %d bytes, seq %d, schema %d", errCorrupt, n, len(b), seq, schema)
	}
	r.Seq, r.Schema = Seq(seq), uint32(schema)
	r.Values = r.Values[:0]
	for i := range int(n) {
		r.Values = append(r.Values, Value{})
		if b, err = decodeValue(&r.Values[i], b, 0); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// AppendValue appends v to dst.
func AppendValue(dst []byte, v Value) []byte {
	dst = append(dst, byte(v.kind))
	switch v.kind {
	case Null:
		return dst
	case Boolean:
		return append(dst, byte(v.lo))
	case SmallInt, Int, BigInt, Date, Time, Timestamp:
		return binary.AppendVarint(dst, int64(v.lo))
	case Float:
		return binary.LittleEndian.AppendUint32(dst, uint32(v.lo))
	case Double:
		return binary.LittleEndian.AppendUint64(dst, v.lo)
	case Decimal:
		dst = append(dst, v.scale)
		fallthrough
	case HugeInt, UUID:
		dst = binary.BigEndian.AppendUint64(dst, uint64(v.hi))
		return binary.BigEndian.AppendUint64(dst, v.lo)
	}
	dst = binary.AppendUvarint(dst, uint64(len(v.s)))
	return append(dst, v.s...)
}

// DecodeValue reads what AppendValue wrote and returns the bytes behind it. The
// text of the value shares memory with b.
func DecodeValue(b []byte) (v Value, rest []byte, err error) {
	rest, err = decodeValue(&v, b, 0)
	return v, rest, err
}

// decodeValue reads into v, which is NULL.
func decodeValue(v *Value, b []byte, depth int) (rest []byte, err error) {
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: value missing", errCorrupt)
	}
	v.kind = Kind(b[0])
	b = b[1:]
	need := 0
	switch v.kind {
	case Null:
		return b, nil
	case SmallInt, Int, BigInt, Date, Time, Timestamp:
		n, w := binary.Varint(b)
		if w <= 0 {
			return nil, fmt.Errorf("%w: broken number", errCorrupt)
		}
		v.lo = uint64(n)
		return b[w:], nil
	case Boolean:
		need = 1
	case Float:
		need = 4
	case Double:
		need = 8
	case Decimal:
		need = 17
	case HugeInt, UUID:
		need = 16
	case Text, Bytes, JSON, List, Embedding:
		return decodeTextValue(v, b, depth)
	default:
		return nil, fmt.Errorf("%w: unknown kind %d", errCorrupt, v.kind)
	}
	if len(b) < need {
		return nil, fmt.Errorf("%w: %d bytes for a %s, expected %d", errCorrupt, len(b), v.kind, need)
	}
	switch v.kind {
	case Boolean:
		if b[0] > 1 {
			return nil, fmt.Errorf("%w: boolean %d", errCorrupt, b[0])
		}
		v.lo = uint64(b[0])
	case Float:
		v.lo = uint64(binary.LittleEndian.Uint32(b))
	case Double:
		v.lo = binary.LittleEndian.Uint64(b)
	case Decimal:
		v.scale = b[0]
		v.hi, v.lo = int64(binary.BigEndian.Uint64(b[1:])), binary.BigEndian.Uint64(b[9:])
	case HugeInt, UUID:
		v.hi, v.lo = int64(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint64(b[8:])
	}
	return b[need:], nil
}

func decodeTextValue(v *Value, b []byte, depth int) (rest []byte, err error) {
	n, w := binary.Uvarint(b)
	if w <= 0 {
		return nil, fmt.Errorf("%w: broken number", errCorrupt)
	}
	b = b[w:]
	if n > uint64(len(b)) {
		return nil, fmt.Errorf("%w: %s of %d bytes, %d left", errCorrupt, v.kind, n, len(b))
	}
	v.s = unsafe.String(unsafe.SliceData(b), n)
	switch v.kind {
	case Embedding:
		if n%4 != 0 {
			return nil, fmt.Errorf("%w: embedding of %d bytes", errCorrupt, n)
		}
	case List:
		if err := checkList(b[:n], depth+1); err != nil {
			return nil, err
		}
	}
	return b[n:], nil
}

// checkList makes sure that [Value.List] cannot fail on a value that was decoded.
func checkList(b []byte, depth int) error {
	if depth > listDepthMax {
		return fmt.Errorf("%w: lists nested deeper than %d", errCorrupt, listDepthMax)
	}
	n, b, err := uvarint(b)
	if err != nil {
		return err
	}
	if n > uint64(len(b)) {
		return fmt.Errorf("%w: list of %d elements in %d bytes", errCorrupt, n, len(b))
	}
	for range n {
		var v Value
		if b, err = decodeValue(&v, b, depth); err != nil {
			return err
		}
	}
	if len(b) != 0 {
		return fmt.Errorf("%w: %d bytes behind a list", errCorrupt, len(b))
	}
	return nil
}

func uvarint(b []byte) (uint64, []byte, error) {
	n, w := binary.Uvarint(b)
	if w <= 0 {
		return 0, nil, fmt.Errorf("%w: broken number", errCorrupt)
	}
	return n, b[w:], nil
}

func varint(b []byte) (int64, []byte, error) {
	n, w := binary.Varint(b)
	if w <= 0 {
		return 0, nil, fmt.Errorf("%w: broken number", errCorrupt)
	}
	return n, b[w:], nil
}

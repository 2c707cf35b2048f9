package row

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Primary keys are written so that bytes.Compare orders them as SQL orders the
// values (text by bytes), one column after the other:
//
//	BOOLEAN                        1 byte, 0 or 1
//	SMALLINT … BIGINT, DATE, TIME,
//	TIMESTAMP                      8 bytes big-endian, sign bit flipped
//	FLOAT, DOUBLE                  8 bytes big-endian of the double, sign bit flipped if positive, all bits if negative
//	DECIMAL                        16 bytes big-endian, sign bit flipped
//	UUID                           16 bytes
//	TEXT, BLOB                     the bytes with 00 written as 00 FF, then 00 01
//
// All zeros of the floats are one key (-0.0 is written as 0.0), all NaNs too.

// AppendKey appends v, which is not NULL and of a keyable type, to dst.
func AppendKey(dst []byte, v Value) []byte {
	switch v.kind {
	case Boolean:
		return append(dst, byte(v.lo))
	case SmallInt, Int, BigInt, Date, Time, Timestamp:
		return binary.BigEndian.AppendUint64(dst, v.lo^(1<<63))
	case Float:
		return appendFloatKey(dst, float64(v.Float()))
	case Double:
		return appendFloatKey(dst, v.Double())
	case Decimal:
		dst = binary.BigEndian.AppendUint64(dst, uint64(v.hi)^(1<<63))
		return binary.BigEndian.AppendUint64(dst, v.lo)
	case UUID:
		dst = binary.BigEndian.AppendUint64(dst, uint64(v.hi))
		return binary.BigEndian.AppendUint64(dst, v.lo)
	case Text, Bytes:
		for i := 0; i < len(v.s); i++ {
			if dst = append(dst, v.s[i]); v.s[i] == 0 {
				dst = append(dst, 0xFF)
			}
		}
		return append(dst, 0, 1)
	}
	panic("row: broken invariant: a value of kind " + v.kind.String() + " in a primary key")
}

func appendFloatKey(dst []byte, f float64) []byte {
	switch {
	case f == 0:
		f = 0 // -0.0 too
	case f != f:
		f = math.NaN()
	}
	bits := math.Float64bits(f)
	if bits>>63 == 0 {
		bits ^= 1 << 63
	} else {
		bits = ^bits
	}
	return binary.BigEndian.AppendUint64(dst, bits)
}

var errKey = errors.New("broken primary key")

// DecodeKey reads back what AppendKey wrote for columns of the given types.
func DecodeKey(types []Type, b []byte) ([]Value, error) {
	values := make([]Value, 0, len(types))
	for _, t := range types {
		v, rest, err := decodeKeyValue(t, b)
		if err != nil {
			return nil, err
		}
		values, b = append(values, v), rest
	}
	if len(b) != 0 {
		return nil, fmt.Errorf("%w: %d bytes too many", errKey, len(b))
	}
	return values, nil
}

func decodeKeyValue(t Type, b []byte) (Value, []byte, error) {
	need := 8
	switch t.Kind {
	case Boolean:
		need = 1
	case Decimal, UUID:
		need = 16
	case Text, Bytes:
		return decodeKeyText(t.Kind, b)
	}
	if len(b) < need {
		return Value{}, nil, fmt.Errorf("%w: %d bytes for a %s, expected %d", errKey, len(b), t, need)
	}
	rest := b[need:]
	switch t.Kind {
	case Boolean:
		return BoolValue(b[0] != 0), rest, nil
	case SmallInt, Int, BigInt, Date, Time, Timestamp:
		return IntValue(t.Kind, int64(binary.BigEndian.Uint64(b)^(1<<63))), rest, nil
	case Float, Double:
		bits := binary.BigEndian.Uint64(b)
		if bits>>63 == 1 {
			bits ^= 1 << 63
		} else {
			bits = ^bits
		}
		if f := math.Float64frombits(bits); t.Kind == Double {
			return DoubleValue(f), rest, nil
		} else {
			return FloatValue(float32(f)), rest, nil
		}
	case Decimal:
		return DecimalValue(int64(binary.BigEndian.Uint64(b)^(1<<63)), binary.BigEndian.Uint64(b[8:]), t.Scale), rest, nil
	case UUID:
		return UUIDValue([16]byte(b[:16])), rest, nil
	}
	return Value{}, nil, fmt.Errorf("%w: %s is not a key type", errKey, t)
}

func decodeKeyText(k Kind, b []byte) (Value, []byte, error) {
	var s []byte
	for i := 0; i+1 < len(b); i++ {
		switch {
		case b[i] != 0:
			s = append(s, b[i])
		case b[i+1] == 0xFF:
			s = append(s, 0)
			i++
		case b[i+1] == 1:
			return Value{kind: k, s: string(s)}, b[i+2:], nil
		default:
			return Value{}, nil, fmt.Errorf("%w: 00 %02X inside a text", errKey, b[i+1])
		}
	}
	return Value{}, nil, fmt.Errorf("%w: a text without its end", errKey)
}

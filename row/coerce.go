package row

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
)

var (
	// ErrValue is wrapped by errors about a value that certainly does not fit its type.
	ErrValue = errors.New("invalid value")
	// ErrSlow says that only DuckDB can tell whether and how a value converts.
	ErrSlow = errors.New("conversion is left to DuckDB")
)

func valueError(v Value, t Type, why string) error {
	const textMax = 60
	text := v.AppendText(nil)
	if len(text) > textMax {
		for text = text[:textMax]; len(text) > 0 && !utf8.Valid(text); {
			text = text[:len(text)-1]
		}
		text = append(text, "…"...)
	}
	return fmt.Errorf("%w: %s %q does not fit %s: %s", ErrValue, v.kind, text, t, why)
}

// Coerce converts a literal to a column's type, as DuckDB's CAST does. It knows
// the conversions of every day; for the others, and wherever it is not certain to
// agree with DuckDB, it says [ErrSlow]. Values that no conversion can fit wrap
// [ErrValue]. One difference is intended: a JSON column takes standard JSON only,
// where DuckDB also takes NaN and trailing commas that no answer could carry.
func Coerce(v Value, t Type) (Value, error) {
	if v.kind == Null {
		return v, nil
	}
	switch t.Kind {
	case Boolean:
		return toBoolean(v)
	case SmallInt, Int, BigInt:
		return toInteger(v, t)
	case Float:
		return toFloat(v)
	case Double:
		return toDouble(v)
	case Decimal:
		return toDecimal(v, t)
	case Text:
		return toText(v, t)
	case Bytes:
		return toBytes(v)
	case Date, Time, Timestamp:
		return toTime(v, t, false)
	case JSON:
		return toJSON(v, t)
	case UUID:
		return toUUID(v)
	case List, Embedding:
		return toList(v, t, Coerce)
	}
	return Value{}, ErrSlow
}

// CoerceParam converts a parameter to a column's type. It differs from [Coerce]
// where JSON has no better way to say a thing: the text for a BLOB is base64, an
// array becomes a LIST or an EMBEDDING, a number becomes the nearest FLOAT or
// DOUBLE, and a number for a TEXT or JSON column is itself. And the offset of a
// timestamp counts: "…T05:00:00+02:00" is 03:00 UTC, where DuckDB's cast of a text
// drops the offset and keeps 05:00.
func CoerceParam(v Value, t Type) (Value, error) {
	switch t.Kind {
	case Bytes:
		if v.kind == Text {
			return fromBase64(v, t)
		}
	case Timestamp:
		return toTime(v, t, true)
	case Float, Double:
		if v.kind == Decimal || v.kind == HugeInt {
			return nearest(v, t)
		}
	case Text:
		if v.kind == Decimal {
			return TextValue(string(v.AppendText(nil))), nil
		}
	case JSON:
		switch v.kind {
		case Decimal, Double, HugeInt:
			if v.kind != Double || !math.IsNaN(v.Double()) && !math.IsInf(v.Double(), 0) {
				return JSONValue(string(v.AppendText(nil))), nil
			}
		}
	case List, Embedding:
		if v.kind == JSON {
			return listFromJSON(v, t)
		}
		return toList(v, t, CoerceParam)
	}
	return Coerce(v, t)
}

func toBoolean(v Value) (Value, error) {
	switch v.kind {
	case Boolean:
		return v, nil
	case SmallInt, Int, BigInt, HugeInt:
		return BoolValue(v.hi != 0 || v.lo != 0), nil
	case Text:
		switch v.s {
		case "true", "TRUE", "True", "t", "1":
			return BoolValue(true), nil
		case "false", "FALSE", "False", "f", "0":
			return BoolValue(false), nil
		}
	}
	return Value{}, ErrSlow
}

// intMax are the largest numbers of the integer kinds.
func intMax(k Kind) int64 {
	switch k {
	case SmallInt:
		return math.MaxInt16
	case Int:
		return math.MaxInt32
	}
	return math.MaxInt64
}

func toInteger(v Value, t Type) (Value, error) {
	n, fits := int64(0), true
	switch v.kind {
	case Boolean, SmallInt, Int, BigInt:
		n = v.Int()
	case HugeInt:
		n, fits = small(v.hi, v.lo)
	case Decimal:
		hi, lo, ok := rescale(v.hi, v.lo, v.scale, 0, decimalPrecisionMax)
		n, fits = small(hi, lo)
		fits = fits && ok
	case Text:
		if !plainInteger(v.s) {
			return Value{}, ErrSlow
		}
		var err error
		n, err = strconv.ParseInt(v.s, 10, 64)
		fits = err == nil
	case Double:
		if f := v.Double(); f != math.Trunc(f) || math.Abs(f) >= 1<<53 {
			return Value{}, ErrSlow
		} else {
			n = int64(f)
		}
	default:
		return Value{}, ErrSlow
	}
	if most := intMax(t.Kind); !fits || n > most || n < -most-1 {
		return Value{}, valueError(v, t, "out of range")
	}
	return IntValue(t.Kind, n), nil
}

// plainInteger says whether s is digits with an optional minus.
func plainInteger(s string) bool {
	if s != "" && s[0] == '-' {
		s = s[1:]
	}
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != "" && len(s) <= 40
}

func toFloat(v Value) (Value, error) {
	switch v.kind {
	case Float:
		return v, nil
	case Boolean, SmallInt, Int, BigInt:
		return FloatValue(float32(v.Int())), nil
	case Decimal:
		if n, ok := small(v.hi, v.lo); ok && -1<<24 <= n && n <= 1<<24 && v.scale <= 18 {
			return FloatValue(float32(n) / float32(smallPowers[v.scale])), nil
		}
	case Double:
		if f := float32(v.Double()); !math.IsInf(float64(f), 0) || math.IsInf(v.Double(), 0) {
			return FloatValue(f), nil
		}
	}
	return Value{}, ErrSlow
}

func toDouble(v Value) (Value, error) {
	switch v.kind {
	case Double:
		return v, nil
	case Float:
		return DoubleValue(float64(v.Float())), nil
	case Boolean, SmallInt, Int, BigInt:
		return DoubleValue(float64(v.Int())), nil
	case Decimal:
		if n, ok := small(v.hi, v.lo); ok && v.scale <= 18 {
			p := smallPowers[v.scale]
			if -1<<53 <= n && n <= 1<<53 {
				return DoubleValue(float64(n) / float64(p)), nil
			}
			if n < 0 {
				// DuckDB rounds it in another way if the literal had more than 18 digits,
				// zeros in front included.
				return Value{}, ErrSlow
			}
			fraction := float64(n%p) / float64(p)
			return DoubleValue(float64(n/p) + fraction), nil
		}
	}
	return Value{}, ErrSlow
}

// nearest is the FLOAT or DOUBLE nearest to a parameter's number.
func nearest(v Value, t Type) (Value, error) {
	size := 64
	if t.Kind == Float {
		size = 32
	}
	f, err := strconv.ParseFloat(string(v.AppendText(nil)), size)
	switch {
	case err != nil:
		return Value{}, valueError(v, t, "out of range")
	case t.Kind == Float:
		return FloatValue(float32(f)), nil
	}
	return DoubleValue(f), nil
}

func toDecimal(v Value, t Type) (Value, error) {
	from := v
	switch v.kind {
	case Boolean, SmallInt, Int, BigInt:
		n := v.Int()
		from = DecimalValue(n>>63, uint64(n), 0)
	case HugeInt:
		from = DecimalValue(v.hi, v.lo, 0)
	case Decimal:
	case Text:
		number, ok := NumberValue(v.s)
		if !ok || number.kind == Double || v.s[0] == '+' {
			return Value{}, ErrSlow
		}
		from = number // of kind BIGINT, HUGEINT or DECIMAL
		if number.kind == BigInt {
			from = DecimalValue(number.Int()>>63, number.lo, 0)
		}
	default:
		return Value{}, ErrSlow
	}
	hi, lo, ok := rescale(from.hi, from.lo, from.scale, t.Scale, t.Precision)
	if !ok {
		if v.kind == Boolean {
			return Value{}, ErrSlow // DuckDB makes TRUE 0.1 in DECIMAL(1,1)
		}
		return Value{}, valueError(v, t, "out of range")
	}
	return DecimalValue(hi, lo, t.Scale), nil
}

func toText(v Value, t Type) (Value, error) {
	switch v.kind {
	case Text:
		if !utf8.ValidString(v.s) {
			return Value{}, valueError(v, t, "it is not UTF-8")
		}
		return v, nil
	case Boolean, SmallInt, Int, BigInt, HugeInt:
		return TextValue(string(v.AppendText(nil))), nil
	case Decimal:
		if text := v.AppendText(nil); text[0] != '0' && !bytes.HasPrefix(text, []byte("-0")) {
			return TextValue(string(text)), nil
		} // 0.5 and .5 keep what they were written as in DuckDB
	case JSON:
		return TextValue(v.s), nil
	}
	return Value{}, ErrSlow
}

func toBytes(v Value) (Value, error) {
	switch v.kind {
	case Bytes:
		return v, nil
	case Text:
		for i := 0; i < len(v.s); i++ {
			if v.s[i] == '\\' || v.s[i] >= utf8.RuneSelf {
				return Value{}, ErrSlow
			}
		}
		v.kind = Bytes
		return v, nil
	}
	return Value{}, ErrSlow
}

func fromBase64(v Value, t Type) (Value, error) {
	b, err := base64.StdEncoding.DecodeString(v.s)
	if err != nil {
		if b, err = base64.RawStdEncoding.DecodeString(v.s); err != nil {
			return Value{}, valueError(v, t, "expected base64")
		}
	}
	return BytesValue(b), nil
}

func toJSON(v Value, t Type) (Value, error) {
	switch v.kind {
	case Text, JSON:
		if !json.Valid(v.bytes()) {
			return Value{}, valueError(v, t, "expected JSON")
		}
		if v.kind == Text && (len(v.s) > jsonFastMax || hasSurrogate(v.s) || !utf8.ValidString(v.s)) {
			return Value{}, ErrSlow
		}
		return JSONValue(v.s), nil
	case Boolean, SmallInt, Int, BigInt:
		return JSONValue(string(v.appendPlain(nil))), nil
	}
	return Value{}, ErrSlow
}

// jsonFastMax bounds, in bytes, the JSON that is not handed to DuckDB for a check:
// deep nesting needs many bytes.
const jsonFastMax = 1 << 20

func (v Value) appendPlain(dst []byte) []byte {
	if v.kind == Boolean {
		return strconv.AppendBool(dst, v.Bool())
	}
	return strconv.AppendInt(dst, v.Int(), 10)
}

// hasSurrogate says whether s has an escape of half a UTF-16 pair, which DuckDB
// checks more strictly than Go.
func hasSurrogate(s string) bool {
	for i := 0; i+3 < len(s); i++ {
		if s[i] == '\\' && s[i+1] == 'u' && s[i+2]|0x20 == 'd' && s[i+3] >= '8' {
			return true
		}
	}
	return false
}

func toUUID(v Value) (Value, error) {
	if v.kind == UUID {
		return v, nil
	}
	if v.kind != Text || len(v.s) != 36 {
		return Value{}, ErrSlow
	}
	var u [16]byte
	for i, n := 0, 0; i < 36; i++ {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if v.s[i] != '-' {
				return Value{}, ErrSlow
			}
			continue
		}
		d, ok := hexDigit(v.s[i])
		if !ok {
			return Value{}, ErrSlow
		}
		u[n/2] = u[n/2]<<4 | d
		n++
	}
	return UUIDValue(u), nil
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	}
	return 0, false
}

// toList converts the elements of a LIST one by one.
func toList(v Value, t Type, coerce func(Value, Type) (Value, error)) (Value, error) {
	switch {
	case v.kind == Embedding && t.Kind == Embedding:
		if v.Len() != int(t.Dim) {
			return Value{}, dimError(v.Len(), t)
		}
		return v, nil
	case v.kind != List:
		return Value{}, ErrSlow
	}
	elems := v.List()
	elemType := t.ElemType()
	if t.Kind == Embedding {
		elemType = Type{Kind: Float}
	}
	for i, e := range elems {
		var err error
		if elems[i], err = coerce(e, elemType); err != nil {
			return Value{}, err
		}
	}
	return listOrEmbedding(elems, t)
}

func listOrEmbedding(elems []Value, t Type) (Value, error) {
	if t.Kind == List {
		return ListValue(elems), nil
	}
	if len(elems) != int(t.Dim) {
		return Value{}, dimError(len(elems), t)
	}
	floats := make([]float32, len(elems))
	for i, e := range elems {
		if e.kind == Null {
			return Value{}, fmt.Errorf("%w: number %d of %s is NULL", ErrValue, i+1, t)
		}
		floats[i] = e.Float()
	}
	return EmbeddingValue(floats), nil
}

func dimError(n int, t Type) error {
	return fmt.Errorf("%w: %d numbers for %s, expected %d", ErrValue, n, t, t.Dim)
}

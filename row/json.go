package row

import (
	"encoding/base64"
	"encoding/hex"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// jsonIntMax is the largest whole number JavaScript keeps exact: 2^53-1.
const jsonIntMax = 1<<53 - 1

// AppendJSON appends v as JSON to dst in the form every answer of the server uses:
// numbers JavaScript would round become strings (BIGINT beyond ±(2^53-1), DECIMAL,
// HUGEINT), NaN and infinities too; times are UTC with microseconds; BLOB is base64;
// a JSON value is itself.
func (v Value) AppendJSON(dst []byte) []byte {
	switch v.kind {
	case Null:
		return append(dst, "null"...)
	case Boolean:
		return strconv.AppendBool(dst, v.lo != 0)
	case SmallInt, Int:
		return strconv.AppendInt(dst, v.Int(), 10)
	case BigInt:
		if n := v.Int(); n > jsonIntMax || n < -jsonIntMax {
			dst = append(dst, '"')
			return append(strconv.AppendInt(dst, n, 10), '"')
		}
		return strconv.AppendInt(dst, v.Int(), 10)
	case Float:
		return appendJSONFloat(dst, float64(v.Float()), 32)
	case Double:
		return appendJSONFloat(dst, v.Double(), 64)
	case Text:
		return AppendJSONString(dst, v.s)
	case JSON:
		return append(dst, v.s...)
	case List:
		dst = append(dst, '[')
		for i, e := range v.List() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = e.AppendJSON(dst)
		}
		return append(dst, ']')
	case Embedding:
		dst = append(dst, '[')
		for i, f := range v.Floats(nil) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendJSONFloat(dst, float64(f), 32)
		}
		return append(dst, ']')
	}
	dst = append(dst, '"')
	dst = v.AppendText(dst)
	return append(dst, '"')
}

// AppendText appends v as people read it: the JSON form without quotes around
// texts, numbers and times.
func (v Value) AppendText(dst []byte) []byte {
	switch v.kind {
	case BigInt:
		return strconv.AppendInt(dst, v.Int(), 10)
	case Text:
		return append(dst, v.s...)
	case Bytes:
		return base64.StdEncoding.AppendEncode(dst, v.bytes())
	case Date:
		return time.Unix(v.Int()*86400, 0).UTC().AppendFormat(dst, "2006-01-02")
	case Time:
		n := v.Int()
		if n == 86_400_000_000 { // DuckDB allows 24:00:00
			return append(dst, "24:00:00.000000"...)
		}
		return time.UnixMicro(n).UTC().AppendFormat(dst, "15:04:05.000000")
	case Timestamp:
		switch v.Int() {
		case math.MaxInt64:
			return append(dst, "infinity"...)
		case -math.MaxInt64:
			return append(dst, "-infinity"...)
		}
		return time.UnixMicro(v.Int()).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000Z")
	case UUID:
		u := v.UUID()
		dst = append(hex.AppendEncode(dst, u[:4]), '-')
		dst = append(hex.AppendEncode(dst, u[4:6]), '-')
		dst = append(hex.AppendEncode(dst, u[6:8]), '-')
		dst = append(hex.AppendEncode(dst, u[8:10]), '-')
		return hex.AppendEncode(dst, u[10:])
	case HugeInt:
		return v.Big().Append(dst, 10)
	case Decimal:
		return v.appendDecimal(dst)
	}
	return v.AppendJSON(dst)
}

func (v Value) appendDecimal(dst []byte) []byte {
	b := v.Big()
	if b.Sign() < 0 {
		dst = append(dst, '-')
		b.Neg(b)
	}
	digits := b.String()
	scale := int(v.scale)
	for len(digits) <= scale {
		digits = "0" + digits
	}
	dst = append(dst, digits[:len(digits)-scale]...)
	if scale > 0 {
		dst = append(dst, '.')
		dst = append(dst, digits[len(digits)-scale:]...)
	}
	return dst
}

func appendJSONFloat(dst []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(dst, `"-Infinity"`...)
	}
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		return strconv.AppendFloat(dst, f, 'e', -1, bits)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, bits)
}

const hexDigits = "0123456789abcdef"

// AppendJSONString appends s as a JSON string; bytes that are not UTF-8 become U+FFFD.
func AppendJSONString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, w := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || w > 1 {
				i += w
				continue
			}
			dst = append(append(dst, s[start:i]...), `\ufffd`...)
			i++
			start = i
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

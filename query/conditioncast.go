package query

import (
	"encoding/json"
	"math"
	"math/bits"
	"strconv"

	"kalamdb/row"
)

// whole is a whole number of the tree, 0 if it is left out.
func whole(v any) int64 {
	num, _ := v.(json.Number)
	n, _ := strconv.ParseInt(num.String(), 10, 64)
	return n
}

// constantValue is the value of a BOUND_CONSTANT.
func constantValue(v node, t duckType) row.Value {
	if v.flag("is_null") {
		return row.NullValue
	}
	num, _ := v["value"].(json.Number)
	if v["value"] == nil {
		num = "0"
	}
	switch t.id {
	case "VARCHAR":
		s, ok := v["value"].(string)
		if !ok && v["value"] != nil {
			return askValue
		}
		return row.TextValue(s)
	case "BOOLEAN":
		return row.BoolValue(v.flag("value"))
	case "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER":
		if n, err := strconv.ParseInt(num.String(), 10, 64); err == nil {
			return row.IntValue(row.BigInt, n)
		}
	case "DOUBLE":
		if f, err := strconv.ParseFloat(num.String(), 64); err == nil {
			return row.DoubleValue(f)
		}
	case "HUGEINT", "DECIMAL":
		if n, err := strconv.ParseInt(num.String(), 10, 64); err == nil {
			return wide(n)
		}
		half := v.child("value")
		upper, _ := half["upper"].(json.Number)
		lower, _ := half["lower"].(json.Number)
		hi, err1 := strconv.ParseInt(upper.String(), 10, 64)
		lo, err2 := strconv.ParseUint(lower.String(), 10, 64)
		if err1 == nil && err2 == nil {
			return row.HugeIntValue(hi, lo)
		}
	}
	return askValue
}

// wide is n as a number of 128 bits.
func wide(n int64) row.Value { return row.HugeIntValue(n>>63, uint64(n)) }

// narrow is a number of 128 bits as one of 64, if it is one.
func narrow(v row.Value) (int64, bool) {
	hi, lo := v.Halves()
	return int64(lo), hi == int64(lo)>>63
}

// A span is the least and the largest number of a type.
type span struct{ least, most int64 }

var spans = map[string]span{
	"TINYINT": {math.MinInt8, math.MaxInt8}, "SMALLINT": {math.MinInt16, math.MaxInt16},
	"INTEGER": {math.MinInt32, math.MaxInt32}, "BIGINT": {math.MinInt64, math.MaxInt64},
	"UTINYINT": {0, math.MaxUint8}, "USMALLINT": {0, math.MaxUint16}, "UINTEGER": {0, math.MaxUint32},
}

func (s span) holds(n int64) bool { return s.least <= n && n <= s.most }

var powers10 = [19]int64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18}

const (
	dayMicros = 86_400_000_000
	// daysMax bounds the days that are computed here: about the years 1 to 9999.
	daysMin, daysMax = -719_162, 2_932_896
	exactDouble      = 1 << 53 // up to here a DOUBLE is every whole number
)

// cast compiles a BOUND_CAST. A value that does not fit asks: whether that is an error
// or NULL, and what the optimizer made of it, is for DuckDB to say.
func (c *compiler) cast(e *expression, n node) {
	child := c.expression(n.child("child"))
	if child.constant && child.value.IsNull() {
		e.fold(row.NullValue)
		return
	}
	if child.constant && child.typ.id == "VARCHAR" && child.typ.alias == "" && e.typ.foldable() && !n.flag("try_cast") {
		if v, ok := c.casts[constantCast{child.value.Str(), e.typ.sql()}]; ok {
			e.fold(v)
			return
		}
	}
	convert := conversion(child.typ, e.typ)
	if convert == nil || child.get == nil {
		return
	}
	e.apply1(child, convert)
	if e.constant {
		return
	}
	e.sure = child.sure && total(child.typ, e.typ)
	if e.typ == child.typ {
		e.column = child.column
	}
}

// apply1 makes e the result of f for an argument that is neither NULL nor asks.
func (e *expression) apply1(arg expression, f func(row.Value) row.Value) {
	get := arg.get
	e.get = func(r *row.Row) row.Value {
		v := get(r)
		if v.IsNull() || asks(v) {
			return v
		}
		return f(v)
	}
	if arg.constant {
		e.fold(e.get(nil))
	}
}

// apply2 is apply1 for two arguments.
func (e *expression) apply2(left, right expression, f func(a, b row.Value) row.Value) {
	e.get = func(r *row.Row) row.Value {
		a, b := left.get(r), right.get(r)
		switch {
		case asks(a) || asks(b):
			return askValue
		case a.IsNull() || b.IsNull():
			return row.NullValue
		}
		return f(a, b)
	}
	if left.constant && right.constant {
		e.fold(e.get(nil))
	}
}

func same(v row.Value) row.Value { return v }

// conversion casts values of one type to another; nil is left to DuckDB.
func conversion(from, to duckType) func(row.Value) row.Value {
	if from == to && to.id != "DECIMAL" && to.carrier() != row.Null {
		return same
	}
	if from.alias != "" && from.alias != "JSON" || to.alias != "" {
		return nil
	}
	target, toWhole := spans[to.id]
	_, fromWhole := spans[from.id]
	switch {
	case from.id == "VARCHAR" && to.id == "VARCHAR":
		return same // JSON to text
	case from.id == "VARCHAR":
		return fromText(to)
	case fromWhole && toWhole:
		return func(v row.Value) row.Value {
			if n := v.Int(); target.holds(n) {
				return row.IntValue(row.BigInt, n)
			}
			return askValue
		}
	case fromWhole && to.id == "BOOLEAN":
		return func(v row.Value) row.Value { return row.BoolValue(v.Int() != 0) }
	case from.id == "BOOLEAN" && toWhole:
		return func(v row.Value) row.Value { return row.IntValue(row.BigInt, v.Int()) }
	case fromWhole && to.id == "HUGEINT":
		return func(v row.Value) row.Value { return wide(v.Int()) }
	case fromWhole && to.id == "DOUBLE":
		return func(v row.Value) row.Value { return row.DoubleValue(float64(v.Int())) }
	case fromWhole && to.id == "FLOAT":
		return func(v row.Value) row.Value { return row.FloatValue(float32(v.Int())) }
	case fromWhole && to.id == "VARCHAR":
		return func(v row.Value) row.Value { return row.TextValue(strconv.FormatInt(v.Int(), 10)) }
	case fromWhole && to.id == "DECIMAL":
		return func(v row.Value) row.Value { return scaled(wide(v.Int()), 0, to) }
	case from.id == "DECIMAL" && to.id == "DECIMAL":
		return func(v row.Value) row.Value { return scaled(v, from.scale, to) }
	case from.id == "DECIMAL" && toWhole:
		return func(v row.Value) row.Value {
			v = scaled(v, from.scale, duckType{width: 38})
			if n, ok := narrow(v); ok && !asks(v) && target.holds(n) {
				return row.IntValue(row.BigInt, n)
			}
			return askValue
		}
	case from.id == "DECIMAL" && to.id == "DOUBLE":
		return func(v row.Value) row.Value {
			n, ok := narrow(v)
			if !ok || n > exactDouble || n < -exactDouble || from.scale > 18 {
				return askValue
			}
			return row.DoubleValue(float64(n) / float64(powers10[from.scale]))
		}
	case from.id == "FLOAT" && to.id == "DOUBLE":
		return func(v row.Value) row.Value { return row.DoubleValue(float64(v.Float())) }
	case from.id == "DOUBLE" && to.id == "FLOAT":
		return func(v row.Value) row.Value {
			if f := v.Double(); math.Abs(f) <= math.MaxFloat32 {
				return row.FloatValue(float32(f))
			}
			return askValue
		}
	case (from.id == "DOUBLE" || from.id == "FLOAT") && toWhole:
		return func(v row.Value) row.Value {
			f := v.Double()
			if from.id == "FLOAT" {
				f = float64(v.Float())
			}
			if math.Abs(f) < exactDouble && target.holds(int64(math.RoundToEven(f))) {
				return row.IntValue(row.BigInt, int64(math.RoundToEven(f)))
			}
			return askValue
		}
	}
	return betweenTimes(from.id, to.id)
}

// total says whether conversion has a result for every value.
func total(from, to duckType) bool {
	f, fromWhole := spans[from.id]
	t, toWhole := spans[to.id]
	switch {
	case from == to, fromWhole && toWhole && t.holds(f.least) && t.holds(f.most):
		return true
	case fromWhole || from.id == "BOOLEAN":
		return toWhole && from.id == "BOOLEAN" || to.id == "HUGEINT" || to.id == "DOUBLE" || to.id == "FLOAT" || to.id == "VARCHAR" || to.id == "BOOLEAN"
	}
	return from.id == "FLOAT" && to.id == "DOUBLE" || from.alias == "JSON" && to.id == "VARCHAR"
}

// betweenTimes casts dates and times that are within the years 1 to 9999.
func betweenTimes(from, to string) func(row.Value) row.Value {
	stamp := func(s string) bool { return s == "TIMESTAMP" || s == "TIMESTAMP WITH TIME ZONE" } // sessions are in UTC
	switch {
	case stamp(from) && stamp(to):
		return same
	case from == "DATE" && stamp(to):
		return func(v row.Value) row.Value {
			if n := v.Int(); daysMin <= n && n <= daysMax {
				return row.IntValue(row.BigInt, n*dayMicros)
			}
			return askValue
		}
	case stamp(from) && (to == "DATE" || to == "TIME"):
		return func(v row.Value) row.Value {
			day, micros := split(v.Int())
			switch {
			case day < daysMin || day > daysMax:
				return askValue
			case to == "DATE":
				return row.IntValue(row.BigInt, day)
			}
			return row.IntValue(row.BigInt, micros)
		}
	}
	return nil
}

// split is a moment as a day and the microseconds of that day.
func split(micros int64) (day, rest int64) {
	day = micros / dayMicros
	if rest = micros % dayMicros; rest < 0 {
		day, rest = day-1, rest+dayMicros
	}
	return day, rest
}

// scaled is a decimal of one scale as one of type to, rounded half away from zero.
func scaled(v row.Value, scale uint8, to duckType) row.Value {
	hi, lo := v.Halves()
	negative := hi < 0
	if negative {
		hi, lo = negate(hi, lo)
	}
	a, b := uint64(hi), lo
	for ; scale < to.scale; scale++ {
		over, high := bits.Mul64(a, 10)
		carry, low := bits.Mul64(b, 10)
		sum, c := bits.Add64(high, carry, 0)
		if over != 0 || c != 0 || sum >= 1<<63 {
			return askValue
		}
		a, b = sum, low
	}
	if scale > to.scale {
		if a != 0 || scale-to.scale > 18 {
			return askValue
		}
		unit := uint64(powers10[scale-to.scale])
		b = b/unit + uint64(btoi(b%unit >= unit-unit/2))
	}
	if !within(a, b, to.width) {
		return askValue
	}
	hi, lo = int64(a), b
	if negative {
		hi, lo = negate(hi, lo)
	}
	return row.HugeIntValue(hi, lo)
}

func negate(hi int64, lo uint64) (int64, uint64) {
	low, borrow := bits.Sub64(0, lo, 0)
	high, _ := bits.Sub64(0, uint64(hi), borrow)
	return int64(high), low
}

// within says whether a number without sign is below 10^width.
func within(hi, lo uint64, width uint8) bool {
	limitHi, limitLo := uint64(0), uint64(1)
	for range width {
		over, low := bits.Mul64(limitLo, 10)
		limitHi, limitLo = limitHi*10+over, low
	}
	return hi < limitHi || hi == limitHi && lo < limitLo
}

// fromText casts the texts that can mean one thing only.
func fromText(to duckType) func(row.Value) row.Value {
	if target, ok := spans[to.id]; ok {
		return func(v row.Value) row.Value {
			s := v.Str()
			if n, err := strconv.ParseInt(s, 10, 64); err == nil && len(s) < 19 && s[0] != '+' && target.holds(n) {
				return row.IntValue(row.BigInt, n)
			}
			return askValue
		}
	}
	switch to.id {
	case "BOOLEAN":
		return func(v row.Value) row.Value {
			switch v.Str() {
			case "true":
				return row.BoolValue(true)
			case "false":
				return row.BoolValue(false)
			}
			return askValue
		}
	case "DOUBLE":
		return func(v row.Value) row.Value {
			s := v.Str()
			if !plainNumber(s) {
				return askValue
			}
			f, err := strconv.ParseFloat(s, 64)
			if err != nil {
				return askValue
			}
			return row.DoubleValue(f)
		}
	}
	return nil
}

// plainNumber says whether s is a number of up to 15 digits, perhaps with a sign before
// and a point between them.
func plainNumber(s string) bool {
	if s != "" && s[0] == '-' {
		s = s[1:]
	}
	digits, point := 0, -1
	for i := range len(s) {
		switch {
		case s[i] >= '0' && s[i] <= '9':
			digits++
		case s[i] == '.' && point < 0 && i > 0 && i < len(s)-1:
			point = i
		default:
			return false
		}
	}
	return digits > 0 && digits <= 15
}

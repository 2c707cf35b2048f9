package query

import (
	"math"
	"math/bits"
	"slices"
	"time"

	"kalamdb/row"
)

// function compiles a BOUND_FUNCTION, if it is one that is known here for these types.
func (c *compiler) function(e *expression, name string, args []expression) {
	switch name {
	case "kalamdb_user":
		e.fold(row.TextValue(c.session.User))
		return
	case "kalamdb_role":
		e.fold(row.TextValue(c.session.Role))
		return
	}
	if slices.ContainsFunc(args, func(a expression) bool { return a.get == nil }) {
		return
	}
	sure := totalFunctions[name] && !slices.ContainsFunc(args, func(a expression) bool { return !a.sure })
	defer func() { e.sure = e.constant || sure && e.get != nil }()
	switch len(args) {
	case 1:
		if f := function1(name, args[0].typ, e.typ); f != nil {
			e.apply1(args[0], f)
			return
		}
	case 2:
		if f := arithmetic(name, args[0].typ, args[1].typ, e.typ); f != nil {
			e.apply2(args[0], args[1], f)
			return
		}
		if f := textFunction2(name, args); f != nil {
			e.apply2(args[0], args[1], f)
			return
		}
		if f := listFunction(name, args); f != nil {
			e.apply2(args[0], args[1], f)
			return
		}
	}
	c.several(e, name, args)
}

// totalFunctions have a result for all arguments: they do not ask.
var totalFunctions = nameSet(`length len char_length character_length strlen starts_with prefix ^@ ends_with suffix contains || ~~ !~~ concat
	greatest least list_contains list_has array_contains array_has`)

// function1 are the functions of one argument.
func function1(name string, from, to duckType) func(row.Value) row.Value {
	span, isWhole := spans[from.id]
	switch name {
	case "-":
		switch {
		case isWhole && from.id == to.id:
			return func(v row.Value) row.Value {
				if n := v.Int(); n != math.MinInt64 && span.holds(-n) {
					return row.IntValue(row.BigInt, -n)
				}
				return askValue
			}
		case from.id == "DOUBLE":
			return func(v row.Value) row.Value { return row.DoubleValue(-v.Double()) }
		case from.id == "DECIMAL" && from == to:
			return func(v row.Value) row.Value { return row.HugeIntValue(negate(v.Halves())) }
		}
	case "abs", "@":
		switch {
		case isWhole && from.id == to.id:
			return func(v row.Value) row.Value {
				n := v.Int()
				if n < 0 {
					if n = -n; n < 0 || !span.holds(n) {
						return askValue
					}
				}
				return row.IntValue(row.BigInt, n)
			}
		case from.id == "DOUBLE":
			return func(v row.Value) row.Value { return row.DoubleValue(math.Abs(v.Double())) }
		case from.id == "DECIMAL" && from == to:
			return func(v row.Value) row.Value {
				hi, lo := v.Halves()
				if hi < 0 {
					hi, lo = negate(hi, lo)
				}
				return row.HugeIntValue(hi, lo)
			}
		}
	case "trunc":
		if from.id == "DOUBLE" && to.id == "DOUBLE" {
			return func(v row.Value) row.Value { return row.DoubleValue(math.Trunc(v.Double())) }
		}
	case "year", "month", "day", "hour", "minute":
		return datePart(name, from)
	case "to_days", "to_weeks", "to_hours", "to_minutes":
		return toInterval(name, from)
	}
	return textFunction1(name, from)
}

// datePart is a part of a day or moment of the years 1 to 9999.
func datePart(name string, from duckType) func(row.Value) row.Value {
	if from.id != "DATE" && from.id != "TIMESTAMP" {
		return nil
	}
	return func(v row.Value) row.Value {
		day, micros := v.Int(), int64(0)
		if from.id == "TIMESTAMP" {
			day, micros = split(day)
		}
		if day < daysMin || day > daysMax {
			return askValue
		}
		t := time.Unix(day*86400, 0).UTC()
		n := 0
		switch name {
		case "year":
			n = t.Year()
		case "month":
			n = int(t.Month())
		case "day":
			n = t.Day()
		case "hour":
			n = int(micros / 3_600_000_000)
		case "minute":
			n = int(micros / 60_000_000 % 60)
		}
		return row.IntValue(row.BigInt, int64(n))
	}
}

// intervalValue carries an INTERVAL without months.
func intervalValue(days, micros int64) row.Value { return row.HugeIntValue(days, uint64(micros)) }

// toInterval makes an INTERVAL of a number of units.
func toInterval(name string, from duckType) func(row.Value) row.Value {
	if _, ok := spans[from.id]; !ok {
		return nil
	}
	return func(v row.Value) row.Value {
		n := v.Int()
		if n > 1_000_000 || n < -1_000_000 {
			return askValue
		}
		switch name {
		case "to_days":
			return intervalValue(n, 0)
		case "to_weeks":
			return intervalValue(7*n, 0)
		case "to_hours":
			return intervalValue(0, n*3_600_000_000)
		}
		return intervalValue(0, n*60_000_000)
	}
}

// arithmetic are the operators of two numbers or times.
func arithmetic(name string, a, b, to duckType) func(a, b row.Value) row.Value {
	_, whole1 := spans[a.id]
	_, whole2 := spans[b.id]
	target, toWhole := spans[to.id]
	switch {
	case whole1 && whole2 && toWhole && a.id == b.id:
		return wholeArithmetic(name, target)
	case a.id == "DOUBLE" && b.id == "DOUBLE" && to.id == "DOUBLE":
		return doubleArithmetic(name)
	case a.id == "DECIMAL" && b.id == "DECIMAL" && to.id == "DECIMAL":
		return decimalArithmetic(name, a, b, to)
	case b.id == "INTERVAL" && (to.id == "TIMESTAMP" || to.id == "TIMESTAMP WITH TIME ZONE") && (a.id == "DATE" || a.id == to.id):
		return shift(name, a)
	case a.id == "DATE" && b.id == "INTEGER" && to.id == "DATE" && (name == "+" || name == "-"):
		return func(a, b row.Value) row.Value {
			n := a.Int() + b.Int()
			if name == "-" {
				n = a.Int() - b.Int()
			}
			if a.Int() < daysMin || a.Int() > daysMax || n < daysMin || n > daysMax {
				return askValue
			}
			return row.IntValue(row.BigInt, n)
		}
	case a.id == "DATE" && b.id == "DATE" && to.id == "BIGINT" && name == "-":
		return func(a, b row.Value) row.Value {
			if a.Int() < daysMin || a.Int() > daysMax || b.Int() < daysMin || b.Int() > daysMax {
				return askValue
			}
			return row.IntValue(row.BigInt, a.Int()-b.Int())
		}
	}
	return nil
}

// shift moves a day or moment by an interval.
func shift(name string, from duckType) func(a, b row.Value) row.Value {
	if name != "+" && name != "-" {
		return nil
	}
	return func(a, b row.Value) row.Value {
		days, rest := b.Halves()
		micros := int64(rest)
		if name == "-" {
			days, micros = -days, -micros
		}
		day, clock := a.Int(), int64(0)
		if from.id != "DATE" {
			day, clock = split(day)
		}
		if day < daysMin || day > daysMax {
			return askValue
		}
		if day += days; day < daysMin || day > daysMax {
			return askValue
		}
		sum := day*dayMicros + clock + micros
		if day, _ = split(sum); day < daysMin || day > daysMax {
			return askValue
		}
		return row.IntValue(row.BigInt, sum)
	}
}

func wholeArithmetic(name string, target span) func(a, b row.Value) row.Value {
	var compute func(a, b int64) (int64, bool)
	switch name {
	case "+", "add":
		compute = func(a, b int64) (int64, bool) { s := a + b; return s, (s > a) == (b > 0) }
	case "-", "subtract":
		compute = func(a, b int64) (int64, bool) { s := a - b; return s, (s < a) == (b > 0) }
	case "*", "multiply":
		compute = func(a, b int64) (int64, bool) {
			hi, lo := bits.Mul64(magnitude(a), magnitude(b))
			return a * b, hi == 0 && lo < 1<<63
		}
	case "%", "mod":
		compute = func(a, b int64) (int64, bool) {
			if b == 0 || b == -1 { // the least number by -1 overflows
				return 0, false
			}
			return a % b, true
		}
	case "//", "divide":
		compute = func(a, b int64) (int64, bool) {
			if b == 0 || a == math.MinInt64 {
				return 0, false
			}
			return a / b, true
		}
	default:
		return nil
	}
	return func(a, b row.Value) row.Value {
		if n, ok := compute(a.Int(), b.Int()); ok && target.holds(n) {
			return row.IntValue(row.BigInt, n)
		}
		return askValue
	}
}

func magnitude(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}

func doubleArithmetic(name string) func(a, b row.Value) row.Value {
	var compute func(a, b float64) float64
	switch name {
	case "+", "add":
		compute = func(a, b float64) float64 { return a + b }
	case "-", "subtract":
		compute = func(a, b float64) float64 { return a - b }
	case "*", "multiply":
		compute = func(a, b float64) float64 { return a * b }
	case "/":
		compute = func(a, b float64) float64 { return a / b }
	default:
		return nil
	}
	return func(a, b row.Value) row.Value {
		f := compute(a.Double(), b.Double())
		if math.IsInf(f, 0) || math.IsNaN(f) { // overflow, division by zero
			return askValue
		}
		return row.DoubleValue(f)
	}
}

func decimalArithmetic(name string, a, b, to duckType) func(a, b row.Value) row.Value {
	aligned := a.scale == to.scale && b.scale == to.scale
	switch {
	case aligned && (name == "+" || name == "-"):
		return func(a, b row.Value) row.Value {
			bh, bl := b.Halves()
			if name == "-" {
				bh, bl = negate(bh, bl)
			}
			ah, al := a.Halves()
			lo, carry := bits.Add64(al, bl, 0)
			hi, _ := bits.Add64(uint64(ah), uint64(bh), carry) // of 38 digits each: no overflow
			return bounded128(int64(hi), lo, to.width)
		}
	case a.scale+b.scale == to.scale && name == "*":
		return func(a, b row.Value) row.Value {
			x, ok1 := narrow(a)
			y, ok2 := narrow(b)
			if !ok1 || !ok2 {
				return askValue
			}
			high, lo := bits.Mul64(magnitude(x), magnitude(y))
			hi := int64(high)
			if (x < 0) != (y < 0) {
				hi, lo = negate(hi, lo)
			}
			return bounded128(hi, lo, to.width)
		}
	case aligned && name == "%":
		return func(a, b row.Value) row.Value {
			x, ok1 := narrow(a)
			y, ok2 := narrow(b)
			if !ok1 || !ok2 || y == 0 || y == -1 {
				return askValue
			}
			return wide(x % y)
		}
	}
	return nil
}

// bounded128 is a decimal, if it has no more digits than width.
func bounded128(hi int64, lo uint64, width uint8) row.Value {
	h, l := hi, lo
	if h < 0 {
		h, l = negate(h, l)
	}
	if !within(uint64(h), l, width) {
		return askValue
	}
	return row.HugeIntValue(hi, lo)
}

// listFunction are the functions of a list and an element.
func listFunction(name string, args []expression) func(a, b row.Value) row.Value {
	list, elem := args[0].typ, args[1].typ
	switch name {
	case "list_contains", "list_has", "array_contains", "array_has":
	default:
		return nil
	}
	if list.id != "LIST" || list.elem != elem.id || elem.alias != "" || elem.carrier() == row.Null {
		return nil
	}
	compare := comparer(elem.carrier())
	return func(a, b row.Value) row.Value {
		for _, v := range a.List() {
			if !v.IsNull() && compare(v, b) == 0 {
				return row.BoolValue(true)
			}
		}
		return row.BoolValue(false)
	}
}

package row

import (
	"math/big"
	"math/bits"
	"strconv"
	"strings"
)

// NumberValue is the value of a number as SQL and JSON write it, with the kind
// DuckDB gives it: BIGINT, or HUGEINT if it needs more; DECIMAL with a point and
// at most 38 digits; DOUBLE with an exponent or more digits. ok is false for
// anything else, also for what is too large for its kind.
func NumberValue(s string) (v Value, ok bool) {
	digits, negative := s, false
	if digits != "" && (digits[0] == '-' || digits[0] == '+') {
		negative = digits[0] == '-'
		digits = digits[1:]
	}
	point := -1
	n, count := uint64(0), 0
	for i := 0; i < len(digits); i++ {
		switch c := digits[i]; {
		case '0' <= c && c <= '9':
			n = n*10 + uint64(c-'0') // wraps with more than 19 digits, then it is not used
			count++
		case c == '.' && point < 0:
			point = i
		case (c == 'e' || c == 'E') && count > 0:
			return doubleValue(s)
		default:
			return Value{}, false
		}
	}
	if count == 0 {
		return Value{}, false
	}
	if point >= 0 {
		return decimalNumber(s, digits, point, count, n, negative)
	}
	if count <= 18 {
		if negative {
			return IntValue(BigInt, -int64(n)), true
		}
		return IntValue(BigInt, int64(n)), true
	}
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return IntValue(BigInt, i), true
	}
	hi, lo, ok := parseHalves(digits, negative)
	return HugeIntValue(hi, lo), ok
}

func decimalNumber(s, digits string, point, count int, n uint64, negative bool) (Value, bool) {
	if count > decimalPrecisionMax {
		return doubleValue(s)
	}
	scale := uint8(len(digits) - point - 1)
	if count <= 18 {
		if negative && n != 0 {
			return DecimalValue(-1, -n, scale), true
		}
		return DecimalValue(0, n, scale), true
	}
	hi, lo, ok := parseHalves(strings.Replace(digits, ".", "", 1), negative)
	return DecimalValue(hi, lo, scale), ok
}

func doubleValue(s string) (Value, bool) {
	if strings.ContainsAny(s, "_xX") {
		return Value{}, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return DoubleValue(f), err == nil
}

// parseHalves reads digits as a 128-bit number; ok is false if it does not fit.
func parseHalves(digits string, negative bool) (hi int64, lo uint64, ok bool) {
	b, ok := new(big.Int).SetString(digits, 10)
	if !ok {
		return 0, 0, false
	}
	if negative {
		b.Neg(b)
	}
	return Halves128(b)
}

// powers are 10^0 to 10^38.
var powers = func() (p [decimalPrecisionMax + 1]*big.Int) {
	for i := range p {
		p[i] = new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(i)), nil)
	}
	return p
}()

// smallPowers are 10^0 to 10^18.
var smallPowers = func() (p [19]int64) {
	for i, n := 0, int64(1); i < len(p); i, n = i+1, n*10 {
		p[i] = n
	}
	return p
}()

// small is the number of the two halves, if it fits in 64 bits.
func small(hi int64, lo uint64) (int64, bool) {
	return int64(lo), hi == int64(lo)>>63
}

// rescale changes the unscaled number of a decimal from one scale to another,
// rounding half away from zero, and says whether it has at most precision digits.
func rescale(hi int64, lo uint64, from, to, precision uint8) (rhi int64, rlo uint64, ok bool) {
	if n, fits := small(hi, lo); fits && from <= 18 && to <= 18 {
		if to <= from {
			n = divideAway(n, smallPowers[from-to])
			return n >> 63, uint64(n), precision > 18 || -smallPowers[precision] < n && n < smallPowers[precision]
		}
		if over, p := bits.Mul64(magnitude(n), uint64(smallPowers[to-from])); over == 0 && p < 1<<63 {
			if n *= smallPowers[to-from]; precision > 18 || -smallPowers[precision] < n && n < smallPowers[precision] {
				return n >> 63, uint64(n), true
			}
			return 0, 0, false
		}
	}
	b := DecimalValue(hi, lo, 0).Big()
	if to >= from {
		b.Mul(b, powers[to-from])
	} else {
		b = divideAwayBig(b, powers[from-to])
	}
	if b.CmpAbs(powers[precision]) >= 0 {
		return 0, 0, false
	}
	return Halves128(b)
}

func magnitude(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}

// divideAway is n/by rounded half away from zero; by is a power of ten.
func divideAway(n, by int64) int64 {
	q, r := n/by, n%by
	switch {
	case by == 1:
	case r >= by/2:
		q++
	case r <= -by/2:
		q--
	}
	return q
}

func divideAwayBig(n, by *big.Int) *big.Int {
	q, r := new(big.Int).QuoRem(n, by, new(big.Int))
	if by.Cmp(powers[0]) > 0 && r.Lsh(r, 1).CmpAbs(by) >= 0 {
		q.Add(q, big.NewInt(int64(n.Sign())))
	}
	return q
}

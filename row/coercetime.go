package row

import "time"

const (
	dayMicros    = 86_400_000_000
	secondMicros = 1_000_000
)

// toTime converts to DATE, TIME and TIMESTAMP; zoned says whether the offset of a
// timestamp's text counts.
func toTime(v Value, t Type, zoned bool) (Value, error) {
	switch {
	case v.kind == t.Kind:
		return v, nil
	case v.kind == Text:
		return timeFromText(v, t, zoned)
	case v.kind == Date && t.Kind == Timestamp:
		if n := v.Int(); -daysFast < n && n < daysFast {
			return IntValue(Timestamp, n*dayMicros), nil
		}
	}
	return Value{}, ErrSlow
}

// daysFast bounds the dates we convert to timestamps: some 270,000 years.
const daysFast = 100_000_000

// timeFromText reads the ISO forms 2026-01-02, 03:04:05[.123456] and both with a
// space or T between them; behind a timestamp Z or +hh, +hh:mm. Everything else is
// DuckDB's.
func timeFromText(v Value, t Type, zoned bool) (Value, error) {
	s := v.s
	days, micros := int64(0), int64(0)
	var ok, valid bool
	if t.Kind != Time {
		if days, s, ok, valid = isoDate(s); !ok {
			return Value{}, ErrSlow
		}
		if !valid {
			return Value{}, valueError(v, t, "no such day")
		}
		if t.Kind == Date {
			if s != "" {
				return Value{}, ErrSlow
			}
			return IntValue(Date, days), nil
		}
		if s == "" {
			return IntValue(Timestamp, days*dayMicros), nil
		}
		if s[0] != ' ' && s[0] != 'T' {
			return Value{}, ErrSlow
		}
		s = s[1:]
	}
	if micros, s, ok = isoTime(s); !ok {
		return Value{}, ErrSlow
	}
	if t.Kind == Time {
		if s != "" {
			return Value{}, ErrSlow
		}
		return IntValue(Time, micros), nil
	}
	offset, ok := isoOffset(s)
	if !ok || offset != 0 && !zoned {
		return Value{}, ErrSlow
	}
	return IntValue(Timestamp, days*dayMicros+micros-offset), nil
}

// isoDate reads yyyy-mm-dd of the years 1 to 9999 as days since 1970; valid is false
// for the 30th of February and the like.
func isoDate(s string) (days int64, rest string, ok, valid bool) {
	if len(s) < 10 || s[4] != '-' || s[7] != '-' {
		return 0, s, false, false
	}
	century, ok1 := twoDigits(s)
	year, ok2 := twoDigits(s[2:])
	month, ok3 := twoDigits(s[5:])
	day, ok4 := twoDigits(s[8:])
	year += century * 100
	if !ok1 || !ok2 || !ok3 || !ok4 || year == 0 || len(s) > 10 && '0' <= s[10] && s[10] <= '9' {
		return 0, s, false, false
	}
	if month < 1 || month > 12 || day < 1 || day > 31 {
		return 0, s, true, false
	}
	at := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	return at.Unix() / 86400, s[10:], true, at.Day() == day
}

// isoTime reads hh:mm:ss with up to six digits of a fraction as microseconds.
func isoTime(s string) (micros int64, rest string, ok bool) {
	if len(s) < 8 || s[2] != ':' || s[5] != ':' {
		return 0, s, false
	}
	hour, ok1 := twoDigits(s)
	minute, ok2 := twoDigits(s[3:])
	second, ok3 := twoDigits(s[6:])
	if !ok1 || !ok2 || !ok3 || hour > 23 || minute > 59 || second > 59 {
		return 0, s, false
	}
	micros = int64(hour*3600+minute*60+second) * secondMicros
	s = s[8:]
	if s == "" || s[0] != '.' {
		return micros, s, true
	}
	i := 1
	for unit := int64(100_000); i < len(s) && '0' <= s[i] && s[i] <= '9'; i++ {
		micros += int64(s[i]-'0') * unit
		unit /= 10
	}
	return micros, s[i:], 2 <= i && i <= 7
}

// isoOffset reads nothing, Z, +hh or +hh:mm as microseconds.
func isoOffset(s string) (int64, bool) {
	if s == "" || s == "Z" {
		return 0, true
	}
	if s[0] != '+' && s[0] != '-' || len(s) != 3 && (len(s) != 6 || s[3] != ':') {
		return 0, false
	}
	hour, ok := twoDigits(s[1:])
	minute := 0
	if ok && len(s) == 6 {
		minute, ok = twoDigits(s[4:])
	}
	offset := int64(hour*3600+minute*60) * secondMicros
	if s[0] == '-' {
		offset = -offset
	}
	return offset, ok && hour <= 15 && minute <= 59
}

func twoDigits(s string) (int, bool) {
	a, b := s[0]-'0', s[1]-'0'
	return int(a)*10 + int(b), a <= 9 && b <= 9
}

package sql

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Duration reads a length of time: "5 minutes", "10s", "7d", "1 hour 30 minutes",
// "1h30m". A plain number is seconds.
func Duration(s string) (time.Duration, error) {
	rest := strings.TrimSpace(s)
	if rest == "" {
		return 0, durationError(s)
	}
	var total time.Duration
	for first := true; rest != ""; first = false {
		digits := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if digits < 0 {
			digits = len(rest)
		}
		var n int64
		for i := range digits {
			if n = n*10 + int64(rest[i]-'0'); n > math.MaxInt64/100 {
				return 0, durationError(s)
			}
		}
		rest = strings.TrimLeft(rest[digits:], " ")
		letters := strings.IndexFunc(rest, func(r rune) bool { return r < 'A' || r > 'z' || r > 'Z' && r < 'a' })
		if letters < 0 {
			letters = len(rest)
		}
		unit, ok := durationUnit(fold(rest[:letters]))
		if letters == 0 {
			unit, ok = time.Second, first && rest == ""
		}
		if digits == 0 || !ok || n > int64((math.MaxInt64-total)/unit) {
			return 0, durationError(s)
		}
		total += time.Duration(n) * unit
		rest = strings.TrimLeft(rest[letters:], " ")
	}
	return total, nil
}

func durationError(s string) error {
	return fmt.Errorf("found the length of time %s, expected for example '5 minutes', '10s', '24h' or '7d'", clip(QuoteString(s)))
}

func durationUnit(word string) (time.Duration, bool) {
	switch word {
	case "ms", "millisecond", "milliseconds":
		return time.Millisecond, true
	case "s", "sec", "secs", "second", "seconds":
		return time.Second, true
	case "m", "min", "mins", "minute", "minutes":
		return time.Minute, true
	case "h", "hr", "hrs", "hour", "hours":
		return time.Hour, true
	case "d", "day", "days":
		return 24 * time.Hour, true
	case "w", "week", "weeks":
		return 7 * 24 * time.Hour, true
	}
	return 0, false
}

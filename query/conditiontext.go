package query

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"kalamdb/row"
)

// ascii says whether s has only characters of one byte, zero bytes not among them.
func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf || s[i] == 0 {
			return false
		}
	}
	return true
}

// textFunction1 are the functions of one text. Letters beyond ASCII have case and
// combine by rules that are DuckDB's own.
func textFunction1(name string, from duckType) func(row.Value) row.Value {
	if from.id != "VARCHAR" || from.alias != "" {
		return nil
	}
	var f func(string) string
	switch name {
	case "lower", "lcase":
		f = strings.ToLower
	case "upper", "ucase":
		f = strings.ToUpper
	case "trim":
		f = func(s string) string { return strings.Trim(s, " ") }
	case "ltrim":
		f = func(s string) string { return strings.TrimLeft(s, " ") }
	case "rtrim":
		f = func(s string) string { return strings.TrimRight(s, " ") }
	case "length", "len", "char_length", "character_length":
		return func(v row.Value) row.Value {
			return row.IntValue(row.BigInt, int64(utf8.RuneCountInString(v.Str())))
		}
	case "strlen":
		return func(v row.Value) row.Value { return row.IntValue(row.BigInt, int64(len(v.Str()))) }
	default:
		return nil
	}
	return func(v row.Value) row.Value {
		if s := v.Str(); ascii(s) {
			return row.TextValue(f(s))
		}
		return askValue
	}
}

// textFunction2 are the functions of two texts.
func textFunction2(name string, args []expression) func(a, b row.Value) row.Value {
	for _, a := range args {
		if a.typ.id != "VARCHAR" || a.typ.alias != "" {
			return nil
		}
	}
	about := func(f func(s, t string) bool) func(a, b row.Value) row.Value {
		return func(a, b row.Value) row.Value { return row.BoolValue(f(a.Str(), b.Str())) }
	}
	switch name {
	case "starts_with", "prefix", "^@":
		return about(strings.HasPrefix)
	case "ends_with", "suffix":
		return about(strings.HasSuffix)
	case "contains":
		return about(strings.Contains)
	case "||":
		return func(a, b row.Value) row.Value { return row.TextValue(a.Str() + b.Str()) }
	case "~~", "!~~":
		if !args[1].constant || args[1].value.IsNull() || strings.Contains(args[1].value.Str(), "_") {
			return nil
		}
		pieces, wanted := strings.Split(args[1].value.Str(), "%"), name == "~~"
		return func(a, _ row.Value) row.Value { return row.BoolValue(like(a.Str(), pieces) == wanted) }
	case "regexp_full_match":
		if args[1].constant && !args[1].value.IsNull() {
			return fullMatch(args[1].value.Str())
		}
	}
	return nil
}

// like says whether s is the pieces in their order with anything between them.
func like(s string, pieces []string) bool {
	last := len(pieces) - 1
	if last == 0 {
		return s == pieces[0]
	}
	if !strings.HasPrefix(s, pieces[0]) {
		return false
	}
	s = s[len(pieces[0]):]
	for _, p := range pieces[1:last] {
		i := strings.Index(s, p)
		if i < 0 {
			return false
		}
		s = s[i+len(p):]
	}
	return strings.HasSuffix(s, pieces[last])
}

// fullMatch matches the patterns that the gate makes of LIKE: literals, one character,
// and anything.
func fullMatch(pattern string) func(a, b row.Value) row.Value {
	body, ignoreCase := strings.CutPrefix(pattern, "(?is)")
	if !ignoreCase {
		var ok bool
		if body, ok = strings.CutPrefix(pattern, "(?s)"); !ok {
			return nil
		}
	}
	literal := strings.NewReplacer(".*", "", ".", "").Replace(strings.ReplaceAll(body, `\.`, ""))
	for i := 0; i < len(literal); i++ {
		if literal[i] == '\\' && i+1 < len(literal) && strings.IndexByte(`\+*?()|[]{}^$`, literal[i+1]) >= 0 {
			i++
		} else if strings.IndexByte(`\+*?()|[]{}^$`, literal[i]) >= 0 {
			return nil
		}
	}
	re, err := regexp.Compile(pattern[:strings.IndexByte(pattern, ')')+1] + "^(?:" + body + ")$")
	if err != nil || ignoreCase && !ascii(body) {
		return nil
	}
	return func(a, _ row.Value) row.Value {
		s := a.Str()
		if ignoreCase && !ascii(s) {
			return askValue
		}
		return row.BoolValue(re.MatchString(s))
	}
}

// several are the functions that take any number of arguments.
func (c *compiler) several(e *expression, name string, args []expression) {
	switch name {
	case "concat":
		for _, a := range args {
			if a.typ.id != "VARCHAR" {
				return
			}
		}
		e.get = func(r *row.Row) row.Value {
			s := ""
			for _, a := range args {
				v := a.get(r)
				if asks(v) {
					return askValue
				}
				s += v.Str()
			}
			return row.TextValue(s)
		}
	case "greatest", "least":
		for _, a := range args {
			if a.typ != e.typ || a.typ.carrier() == row.Null {
				return
			}
		}
		wanted := 1
		if name == "least" {
			wanted = -1
		}
		compare := comparer(e.typ.carrier())
		e.get = func(r *row.Row) row.Value {
			best := row.NullValue
			for _, a := range args {
				v := a.get(r)
				if asks(v) {
					return askValue
				}
				if !v.IsNull() && (best.IsNull() || compare(v, best) == wanted) {
					best = v
				}
			}
			return best
		}
	case "substring", "substr", "left", "right":
		c.slice(e, name, args)
	}
}

// slice are the functions that cut a part out of a text.
func (c *compiler) slice(e *expression, name string, args []expression) {
	if len(args) < 2 || len(args) > 3 || args[0].typ.id != "VARCHAR" {
		return
	}
	e.get = func(r *row.Row) row.Value {
		s := args[0].get(r)
		nums := [2]int64{1, 1 << 30}
		null := s.IsNull()
		for i, a := range args[1:] {
			n := a.get(r)
			if asks(n) {
				return askValue
			}
			null = null || n.IsNull()
			nums[i] = n.Int()
		}
		switch {
		case asks(s):
			return askValue
		case null:
			return row.NullValue
		}
		text := s.Str()
		if !ascii(text) || nums[0] < 1 || nums[1] < 0 {
			return askValue
		}
		size := int64(len(text))
		from, to := min(nums[0]-1, size), size
		switch name {
		case "left":
			from, to = 0, min(nums[0], size)
		case "right":
			from = max(size-nums[0], 0)
		default:
			to = min(from+min(nums[1], size), size)
		}
		return row.TextValue(text[from:to])
	}
}

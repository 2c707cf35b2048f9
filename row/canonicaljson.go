package row

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// AppendCanonicalJSON appends the JSON value in src in the form of RFC 8785: no spaces, the
// members of objects in the order of their names as UTF-16, and numbers and strings as
// ECMAScript writes them. Any two texts that JSON.parse takes for the same value become
// the same bytes: of a repeated name the last one counts, and a number beyond DOUBLE is null.
func AppendCanonicalJSON(dst, src []byte) ([]byte, error) {
	c := canonicaliser{b: src}
	dst, err := c.value(dst, 0)
	if err == nil && c.next() != 0 {
		err = c.broken()
	}
	return dst, err
}

// canonicalNestingMax bounds arrays and objects inside each other.
const canonicalNestingMax = 10_000

type canonicaliser struct {
	b []byte
	i int
}

func (c *canonicaliser) broken() error { return fmt.Errorf("broken JSON at byte %d", c.i) }

// next is the first byte of what comes next, 0 at the end.
func (c *canonicaliser) next() byte {
	for ; c.i < len(c.b); c.i++ {
		if b := c.b[c.i]; b != ' ' && b != '\t' && b != '\n' && b != '\r' {
			return b
		}
	}
	return 0
}

func (c *canonicaliser) value(dst []byte, depth int) ([]byte, error) {
	switch b := c.next(); {
	case depth > canonicalNestingMax:
		return dst, fmt.Errorf("JSON is nested deeper than %d", canonicalNestingMax)
	case b == '{':
		return c.object(dst, depth+1)
	case b == '[':
		return c.array(dst, depth+1)
	case b == '"':
		s, err := c.string(nil)
		return appendCanonicalString(dst, s), err
	case b == '-' || '0' <= b && b <= '9':
		return c.number(dst)
	}
	for _, word := range []string{"null", "true", "false"} {
		if len(c.b)-c.i >= len(word) && string(c.b[c.i:c.i+len(word)]) == word {
			c.i += len(word)
			return append(dst, word...), nil
		}
	}
	return dst, c.broken()
}

func (c *canonicaliser) array(dst []byte, depth int) (_ []byte, err error) {
	c.i++
	dst = append(dst, '[')
	for first := true; ; first = false {
		switch b := c.next(); {
		case b == ']': // behind a comma it is read as a value, and is none
			c.i++
			return append(dst, ']'), nil
		case !first:
			if b != ',' {
				return dst, c.broken()
			}
			c.i++
			dst = append(dst, ',')
		}
		if dst, err = c.value(dst, depth); err != nil {
			return dst, err
		}
	}
}

// A member of an object: its name as UTF-16, and where its text is in the scratch space.
type member struct {
	name     []uint16
	from, to int
}

func (c *canonicaliser) object(dst []byte, depth int) (_ []byte, err error) {
	c.i++
	var members []member
	var text []byte
	for first := true; ; first = false {
		b := c.next()
		if b == '}' && first {
			break
		}
		if !first {
			if b == '}' {
				break
			}
			if b != ',' {
				return dst, c.broken()
			}
			c.i++
			b = c.next()
		}
		if b != '"' {
			return dst, c.broken()
		}
		m := member{from: len(text)}
		if m.name, err = c.string(nil); err != nil {
			return dst, err
		}
		if c.next() != ':' {
			return dst, c.broken()
		}
		c.i++
		text = append(appendCanonicalString(text, m.name), ':')
		if text, err = c.value(text, depth); err != nil {
			return dst, err
		}
		m.to = len(text)
		members = append(members, m)
	}
	c.i++
	slices.SortStableFunc(members, func(a, b member) int { return slices.Compare(a.name, b.name) })
	dst = append(dst, '{')
	for i, m := range members {
		if i+1 < len(members) && slices.Equal(m.name, members[i+1].name) {
			continue
		}
		dst = append(append(dst, text[m.from:m.to]...), ',')
	}
	if len(members) > 0 {
		dst = dst[:len(dst)-1]
	}
	return append(dst, '}'), nil
}

// string reads a string as UTF-16, which is what JSON strings are: they may hold halves of
// pairs.
func (c *canonicaliser) string(s []uint16) ([]uint16, error) {
	for c.i++; c.i < len(c.b); {
		switch b := c.b[c.i]; {
		case b == '"':
			c.i++
			return s, nil
		case b < ' ':
			return s, c.broken()
		case b != '\\':
			r, n := utf8.DecodeRune(c.b[c.i:])
			s = utf16.AppendRune(s, r)
			c.i += n
		default:
			u, n, ok := escaped(c.b[c.i+1:])
			if !ok {
				return s, c.broken()
			}
			s = append(s, u)
			c.i += 1 + n
		}
	}
	return s, c.broken()
}

// escaped is what stands behind a backslash, and how many bytes it takes.
func escaped(b []byte) (u uint16, n int, ok bool) {
	if len(b) == 0 {
		return 0, 0, false
	}
	switch b[0] {
	case '"', '\\', '/':
		return uint16(b[0]), 1, true
	case 'b':
		return '\b', 1, true
	case 'f':
		return '\f', 1, true
	case 'n':
		return '\n', 1, true
	case 'r':
		return '\r', 1, true
	case 't':
		return '\t', 1, true
	case 'u':
		if len(b) < 5 {
			return 0, 0, false
		}
		v, err := strconv.ParseUint(string(b[1:5]), 16, 16)
		return uint16(v), 5, err == nil
	}
	return 0, 0, false
}

// shortEscape is the letter of an escape of two characters, 0 if u has none.
func shortEscape(u uint16) byte {
	switch u {
	case '"', '\\':
		return byte(u)
	case '\b':
		return 'b'
	case '\f':
		return 'f'
	case '\n':
		return 'n'
	case '\r':
		return 'r'
	case '\t':
		return 't'
	}
	return 0
}

func appendCanonicalString(dst []byte, s []uint16) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		u := s[i]
		switch short := shortEscape(u); {
		case short != 0:
			dst = append(dst, '\\', short)
		case u < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[u>>4], hexDigits[u&15])
		case !utf16.IsSurrogate(rune(u)):
			dst = utf8.AppendRune(dst, rune(u))
		default:
			if i+1 < len(s) {
				if r := utf16.DecodeRune(rune(u), rune(s[i+1])); r != utf8.RuneError {
					dst = utf8.AppendRune(dst, r)
					i++
					continue
				}
			}
			dst = append(dst, '\\', 'u', hexDigits[u>>12], hexDigits[u>>8&15], hexDigits[u>>4&15], hexDigits[u&15])
		}
	}
	return append(dst, '"')
}

func (c *canonicaliser) number(dst []byte) ([]byte, error) {
	from := c.i
	for c.i < len(c.b) && (c.b[c.i] >= '0' && c.b[c.i] <= '9' || slices.Contains([]byte("+-.eE"), c.b[c.i])) {
		c.i++
	}
	f, err := strconv.ParseFloat(string(c.b[from:c.i]), 64)
	switch {
	case math.IsInf(f, 0):
		return append(dst, "null"...), nil
	case err != nil:
		c.i = from
		return dst, c.broken()
	case f == 0: // also -0
		return append(dst, '0'), nil
	}
	format := byte('f')
	if abs := math.Abs(f); abs < 1e-6 || abs >= 1e21 {
		format = 'e'
	}
	dst = strconv.AppendFloat(dst, f, format, -1, 64)
	if n := len(dst); format == 'e' && dst[n-2] == '0' && (dst[n-3] == '-' || dst[n-3] == '+') { // 1e-07
		dst = append(dst[:n-2], dst[n-1])
	}
	return dst, nil
}

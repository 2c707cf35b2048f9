package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"kalamdb"
	"kalamdb/row"
	"kalamdb/sql"
)

// nestingMax bounds arrays and objects inside each other in what clients send.
const nestingMax = 100

// A reader reads one JSON document strictly: what encoding/json quietly repairs
// (unknown and repeated fields, other capitals, broken UTF-8, half surrogates,
// rounded numbers) is an error that says where. It keeps no reference to its bytes
// in what it returns.
type reader struct {
	b     []byte
	i     int
	depth int
}

// newReader reads b, which is what the client calls what: "body" or "frame".
func newReader(b []byte, what string) (*reader, error) {
	if !utf8.Valid(b) {
		at := 0
		for at < len(b) {
			c, w := utf8.DecodeRune(b[at:])
			if c == utf8.RuneError && w == 1 {
				break
			}
			at += w
		}
		return nil, invalidAt(at, "the %s is not UTF-8 at byte %d", what, at)
	}
	r := &reader{b: b}
	if r.space(); r.i == len(b) {
		return nil, invalidAt(-1, "the %s is empty, expected a JSON object", what)
	}
	return r, nil
}

// invalidAt is an INVALID_REQUEST with the offset of the fault in the document.
func invalidAt(pos int, format string, args ...any) *kalamdb.Error {
	return &kalamdb.Error{Code: kalamdb.CodeInvalidRequest, Message: fmt.Sprintf(format, args...), Statement: -1, Position: pos}
}

func (r *reader) space() {
	for r.i < len(r.b) {
		switch r.b[r.i] {
		case ' ', '\t', '\n', '\r':
			r.i++
		default:
			return
		}
	}
}

// peek is the first byte of what comes next, 0 at the end.
func (r *reader) peek() byte {
	r.space()
	if r.i == len(r.b) {
		return 0
	}
	return r.b[r.i]
}

// unexpected describes the byte at the current place.
func (r *reader) unexpected(expected string) error {
	if r.i >= len(r.b) {
		return invalidAt(r.i, "broken JSON at byte %d: it ends where %s is expected", r.i, expected)
	}
	c, _ := utf8.DecodeRune(r.b[r.i:])
	return invalidAt(r.i, "broken JSON at byte %d: found %q, expected %s", r.i, c, expected)
}

// end makes sure that nothing follows the document.
func (r *reader) end() error {
	if r.peek() != 0 || r.i < len(r.b) {
		return invalidAt(r.i, "byte %d: more data behind the JSON object, expected one object", r.i)
	}
	return nil
}

func (r *reader) enter() error {
	if r.depth++; r.depth > nestingMax {
		return invalidAt(r.i, "byte %d: arrays and objects are nested deeper than %d", r.i, nestingMax)
	}
	r.i++
	return nil
}

// object reads an object that may have the given fields, each at most once; read
// is called with the index of each one when its value comes next. name is what the
// client calls the object.
func (r *reader) object(name string, fields []string, read func(field int) error) error {
	if r.peek() != '{' {
		return r.wrongType(name, "an object")
	}
	var seen uint64
	return r.members(func(key string, pos int) error {
		for f, known := range fields {
			if key != known {
				continue
			}
			if seen&(1<<f) != 0 {
				return invalidAt(pos, "field %q is given twice in %s", key, name)
			}
			seen |= 1 << f
			return read(f)
		}
		e := invalidAt(pos, "unknown field %q in %s", key, name)
		if near, ok := sql.Nearest(strings.ToLower(key), fields); ok {
			e.Details = "did you mean " + near + "?"
		} else {
			e.Details = "the fields are " + strings.Join(fields, ", ")
		}
		return e
	})
}

// members reads an object whatever its fields; read is called with each key when
// its value comes next.
func (r *reader) members(read func(key string, pos int) error) error {
	if err := r.enter(); err != nil {
		return err
	}
	if r.peek() == '}' {
		r.i++
		r.depth--
		return nil
	}
	for {
		if r.peek() != '"' {
			return r.unexpected("a field name")
		}
		pos := r.i
		key, err := r.text()
		if err != nil {
			return err
		}
		if r.peek() != ':' {
			return r.unexpected("':'")
		}
		r.i++
		r.space()
		if err := read(key, pos); err != nil {
			return err
		}
		switch r.peek() {
		case ',':
			r.i++
		case '}':
			r.i++
			r.depth--
			return nil
		default:
			return r.unexpected("',' or '}'")
		}
	}
}

// array reads an array; read is called when an element comes next.
func (r *reader) array(name string, read func() error) error {
	if r.peek() != '[' {
		return r.wrongType(name, "an array")
	}
	if err := r.enter(); err != nil {
		return err
	}
	if r.peek() == ']' {
		r.i++
		r.depth--
		return nil
	}
	for {
		r.space()
		if err := read(); err != nil {
			return err
		}
		switch r.peek() {
		case ',':
			r.i++
		case ']':
			r.i++
			r.depth--
			return nil
		default:
			return r.unexpected("',' or ']'")
		}
	}
}

// wrongType says that the value that comes next is not what name takes; a value
// that is no JSON at all is a broken document.
func (r *reader) wrongType(name, expected string) error {
	pos := r.i
	var found string
	switch c := r.peek(); {
	case c == '{':
		found = "an object"
	case c == '[':
		found = "an array"
	case c == '"':
		found = "a string"
	case c == 't' || c == 'f':
		found = "a boolean"
	case c == 'n':
		found = "null"
	case c == '-' || c >= '0' && c <= '9':
		found = "a number"
	}
	if found == "" {
		return r.unexpected(expected)
	}
	if _, err := r.raw(); err != nil {
		return err
	}
	return invalidAt(pos, "%s must be %s, not %s", name, expected, found)
}

// str reads a string.
func (r *reader) str(name string) (string, error) {
	if r.peek() != '"' {
		return "", r.wrongType(name, "a string")
	}
	return r.text()
}

// integer reads a whole number from 0 to most.
func (r *reader) integer(name string, most int64) (int64, error) {
	c := r.peek()
	if c != '-' && (c < '0' || c > '9') {
		return 0, r.wrongType(name, "a whole number")
	}
	pos := r.i
	raw, err := r.raw()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || n < 0 || n > most {
		return 0, invalidAt(pos, "%s is %.40s, expected a whole number from 0 to %d", name, raw, most)
	}
	return n, nil
}

// boolean reads true or false.
func (r *reader) boolean(name string) (bool, error) {
	if c := r.peek(); c != 't' && c != 'f' {
		return false, r.wrongType(name, "true or false")
	}
	yes := r.b[r.i] == 't'
	return yes, r.word()
}

// null reads null if it comes next.
func (r *reader) null() bool {
	if r.peek() == 'n' && bytes.HasPrefix(r.b[r.i:], []byte("null")) {
		r.i += 4
		return true
	}
	return false
}

// value reads a value that a statement will bind.
func (r *reader) value() (row.Value, error) {
	c, pos := r.peek(), r.i
	if c == '"' {
		s, err := r.text()
		return row.TextValue(s), err
	}
	raw, err := r.raw()
	if err != nil {
		return row.NullValue, err
	}
	switch c {
	case 'n':
		return row.NullValue, nil
	case 't', 'f':
		return row.BoolValue(c == 't'), nil
	case '[', '{':
		var compact bytes.Buffer
		if err := json.Compact(&compact, raw); err != nil {
			return row.NullValue, invalidAt(pos, "broken JSON at byte %d: %s", pos, err)
		}
		return row.JSONValue(compact.String()), nil
	}
	v, err := row.FromJSON(json.Number(raw))
	if err != nil {
		return row.NullValue, invalidAt(pos, "byte %d: %s", pos, err)
	}
	return v, nil
}

// raw reads any value and returns its bytes, which share the reader's memory.
func (r *reader) raw() ([]byte, error) {
	c := r.peek()
	start := r.i
	var err error
	switch {
	case c == '"':
		_, err = r.text()
	case c == '{':
		err = r.members(func(string, int) error { _, err := r.raw(); return err })
	case c == '[':
		err = r.array("", func() error { _, err := r.raw(); return err })
	case c == '-' || c >= '0' && c <= '9':
		err = r.number()
	default:
		err = r.word()
	}
	return r.b[start:r.i], err
}

func (r *reader) word() error {
	for _, w := range []string{"true", "false", "null"} {
		if bytes.HasPrefix(r.b[r.i:], []byte(w)) {
			r.i += len(w)
			return nil
		}
	}
	return r.unexpected("a value")
}

func (r *reader) number() error {
	if r.b[r.i] == '-' {
		r.i++
	}
	if r.i < len(r.b) && r.b[r.i] == '0' {
		r.i++
	} else if !r.digits() {
		return r.unexpected("a digit")
	}
	if r.i < len(r.b) && r.b[r.i] == '.' {
		r.i++
		if !r.digits() {
			return r.unexpected("a digit")
		}
	}
	if r.i < len(r.b) && r.b[r.i]|0x20 == 'e' {
		r.i++
		if r.i < len(r.b) && (r.b[r.i] == '+' || r.b[r.i] == '-') {
			r.i++
		}
		if !r.digits() {
			return r.unexpected("a digit")
		}
	}
	if r.i < len(r.b) && r.b[r.i] >= '0' && r.b[r.i] <= '9' {
		return r.unexpected("no digit behind a leading zero")
	}
	return nil
}

func (r *reader) digits() bool {
	start := r.i
	for r.i < len(r.b) && r.b[r.i] >= '0' && r.b[r.i] <= '9' {
		r.i++
	}
	return r.i > start
}

// text reads the string that comes next.
func (r *reader) text() (string, error) {
	r.i++
	start := r.i
	for r.i < len(r.b) {
		switch c := r.b[r.i]; {
		case c == '"':
			s := string(r.b[start:r.i])
			r.i++
			return s, nil
		case c == '\\':
			return r.escaped(start)
		case c < 0x20:
			return "", r.unexpected("an escape such as \\n for a control character")
		}
		r.i++
	}
	return "", r.unexpected("'\"'")
}

// escaped goes on with a string that began at start, from its first escape.
func (r *reader) escaped(start int) (string, error) {
	out := append(make([]byte, 0, 2*(r.i-start)+64), r.b[start:r.i]...)
	for r.i < len(r.b) {
		c := r.b[r.i]
		switch {
		case c == '"':
			r.i++
			return string(out), nil
		case c < 0x20:
			return "", r.unexpected("an escape such as \\n for a control character")
		case c != '\\':
			out = append(out, c)
			r.i++
			continue
		}
		if r.i++; r.i == len(r.b) {
			break
		}
		if at := strings.IndexByte(`"\/bfnrt`, r.b[r.i]); at >= 0 {
			out = append(out, "\"\\/\b\f\n\r\t"[at])
			r.i++
			continue
		}
		if r.b[r.i] != 'u' {
			return "", r.unexpected(`one of "\/bfnrtu behind a backslash`)
		}
		c1, err := r.unit()
		if err != nil {
			return "", err
		}
		if utf16.IsSurrogate(c1) {
			pos := r.i - 5
			c2 := rune(utf8.RuneError)
			if bytes.HasPrefix(r.b[r.i:], []byte(`\u`)) {
				r.i++
				if c2, err = r.unit(); err != nil {
					return "", err
				}
			}
			if c1 = utf16.DecodeRune(c1, c2); c1 == utf8.RuneError {
				return "", invalidAt(pos, "broken JSON at byte %d: half of a surrogate pair", pos)
			}
		}
		out = utf8.AppendRune(out, c1)
	}
	return "", r.unexpected("'\"'")
}

// unit reads u and four hex digits.
func (r *reader) unit() (rune, error) {
	r.i++
	var c rune
	for range 4 {
		if r.i == len(r.b) {
			return 0, r.unexpected("a hex digit")
		}
		d := strings.IndexByte("0123456789abcdef", r.b[r.i]|0x20)
		if d < 0 || r.b[r.i] < '0' {
			return 0, r.unexpected("a hex digit")
		}
		c = c<<4 | rune(d)
		r.i++
	}
	return c, nil
}

package sql

import (
	"strings"
	"unicode/utf8"
)

// Limits of one text.
const (
	tokensMax     = 1_000_000 // of all its statements
	nestingMax    = 500       // brackets open at once
	statementsMax = 1_000
	paramMax      = 65_535 // the largest n of $n
)

type tokenKind uint8

const (
	tokEnd    tokenKind = iota // end of the text
	tokBad                     // lexer.err says why
	tokWord                    // unquoted identifier or keyword
	tokQuoted                  // "identifier"
	tokString                  // '…'
	tokEscape                  // E'…'
	tokDollar                  // $$…$$, $tag$…$tag$
	tokOther                   // a quoted thing we leave to DuckDB: X'…', B'…', U&'…', U&"…"
	tokNumber                  // 1, 1.5, .5, 1e3, 1_000
	tokParam                   // $1
	tokSymbol                  // one character of an operator or a bracket, see token.sym
)

type token struct {
	kind       tokenKind
	sym        byte // of tokSymbol
	start, end int
}

// lexer cuts a text into the tokens DuckDB's lexer sees. Operators come one
// character at a time: only the parser of DuckDB needs to know where they end.
//
// What DuckDB would read differently depending on the state of a quirk is refused
// instead: Unicode spaces outside quotes (DuckDB replaces them before it lexes,
// with a simpler idea of quotes), zero bytes (its texts end there), a number glued
// to a quoted string (1e'…').
type lexer struct {
	text   string
	pos    int
	tokens int // cut so far
	err    *Error
}

// Classes of bytes.
const (
	isSpace byte = 1 << iota
	isDigit
	isWordStart
	isWord // and $
)

var classes = func() (t [256]byte) {
	for _, c := range " \t\n\r\f" {
		t[c] = isSpace
	}
	for c := range 256 {
		switch {
		case '0' <= c && c <= '9':
			t[c] = isDigit | isWord
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_', c >= 0x80:
			t[c] = isWordStart | isWord
		case c == '$':
			t[c] = isWord
		}
	}
	return t
}()

// newLexer checks what has to hold for the whole text.
func newLexer(text string) lexer {
	l := lexer{text: text}
	if i := strings.IndexByte(text, 0); i >= 0 {
		l.fail(i, "found a zero byte", "send it in a parameter")
	} else if !utf8.ValidString(text) {
		for i, r := range text {
			if _, n := utf8.DecodeRuneInString(text[i:]); r == utf8.RuneError && n == 1 {
				l.fail(i, "found a byte that is not UTF-8", "")
				break
			}
		}
	}
	return l
}

// at is the byte i places ahead, 0 behind the end.
func (l *lexer) at(i int) byte {
	if i += l.pos; i < len(l.text) {
		return l.text[i]
	}
	return 0
}

func (l *lexer) fail(pos int, message, hint string) token {
	l.err = &Error{Pos: pos, Code: CodeSyntax, Message: message, Hint: hint}
	l.pos = len(l.text)
	return token{kind: tokBad, start: pos, end: pos}
}

// next cuts the next token. After tokEnd and tokBad it gives the same again.
func (l *lexer) next() token {
	if l.err != nil {
		return token{kind: tokBad, start: l.err.Pos, end: l.err.Pos}
	}
	if open := l.space(); open >= 0 {
		return l.fail(open, "comment without its end, expected */", "")
	}
	start := l.pos
	if start >= len(l.text) {
		return token{kind: tokEnd, start: start, end: start}
	}
	if l.tokens++; l.tokens > tokensMax {
		return l.fail(start, "the text has too many words, expected at most 1000000", "send it in several requests")
	}
	c := l.text[start]
	switch {
	case classes[c]&isWordStart != 0:
		switch {
		case l.at(1) == '\'' && (c|0x20 == 'e'):
			return l.escapeString(start)
		case l.at(1) == '\'' && (c|0x20 == 'x' || c|0x20 == 'b'):
			l.pos++
			return l.quoted(start, '\'', tokOther)
		case l.at(1) == '&' && (l.at(2) == '\'' || l.at(2) == '"') && c|0x20 == 'u':
			l.pos += 2
			return l.quoted(start, l.text[l.pos], tokOther)
		}
		return l.word(start)
	case classes[c]&isDigit != 0 || c == '.' && classes[l.at(1)]&isDigit != 0:
		return l.number(start)
	}
	switch c {
	case '\'':
		return l.quoted(start, '\'', tokString)
	case '"':
		if t := l.quoted(start, '"', tokQuoted); t.kind == tokBad || t.end-t.start > 2 {
			return t
		}
		return l.fail(start, `found the empty name ""`, "")
	case '$':
		return l.dollar(start)
	case '?':
		return l.fail(start, "found ?, expected a parameter as $1", "parameters are numbered: $1, $2")
	}
	l.pos++
	return token{kind: tokSymbol, sym: c, start: start, end: l.pos}
}

// space skips white space and comments. It returns where a comment without an end
// begins, else -1.
func (l *lexer) space() int {
	for l.pos < len(l.text) {
		c := l.text[l.pos]
		switch {
		case classes[c]&isSpace != 0:
			l.pos++
		case c == '-' && l.at(1) == '-':
			l.pos = lineEnd(l.text, l.pos)
		case c == '/' && l.at(1) == '*':
			start := l.pos
			if !l.comment() {
				return start
			}
		default:
			return -1
		}
	}
	return -1
}

// lineEnd is where the line of position i ends.
func lineEnd(text string, i int) int {
	if n := strings.IndexAny(text[i:], "\n\r"); n >= 0 {
		return i + n
	}
	return len(text)
}

// comment skips a comment in slashes and stars; they nest.
func (l *lexer) comment() bool {
	depth := 0
	for l.pos+1 < len(l.text) {
		switch l.text[l.pos : l.pos+2] {
		case "/*":
			depth++
			l.pos += 2
		case "*/":
			depth--
			l.pos += 2
			if depth == 0 {
				return true
			}
		default:
			l.pos++
		}
	}
	return false
}

func (l *lexer) word(start int) token {
	i, ascii := start, byte(0)
	for i < len(l.text) && classes[l.text[i]]&isWord != 0 {
		ascii |= l.text[i]
		i++
	}
	if ascii >= 0x80 {
		if at, r := unicodeSpace(l.text[start:i]); at >= 0 {
			return l.failSpace(start+at, r)
		}
	}
	l.pos = i
	return token{kind: tokWord, start: start, end: i}
}

func (l *lexer) failSpace(pos int, r rune) token {
	return l.fail(pos, "found the invisible character "+codepoint(r), "use a plain space")
}

// unicodeSpace finds the first character that DuckDB takes for a space though it is
// not ASCII; -1 if there is none.
func unicodeSpace(s string) (int, rune) {
	for i, r := range s {
		switch {
		case r == 0xA0, 0x2000 <= r && r <= 0x200B, r == 0x202F, r == 0x205F, r == 0x2060, r == 0x3000, r == 0xFEFF:
			return i, r
		}
	}
	return -1, 0
}

func codepoint(r rune) string {
	const hex = "0123456789ABCDEF"
	return "U+" + string([]byte{hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15]})
}

// number reads digits, a fraction and an exponent. "1..2" is 1, two points and 2.
func (l *lexer) number(start int) token {
	l.digits()
	if l.at(0) == '.' && (l.at(1) != '.' || l.pos == start) {
		l.pos++
		l.digits()
	}
	if l.at(0)|0x20 == 'e' {
		sign := 0
		if l.at(1) == '+' || l.at(1) == '-' {
			sign = 1
		}
		if classes[l.at(1+sign)]&isDigit != 0 {
			l.pos += 1 + sign
			l.digits()
		}
	}
	end := l.pos
	for l.pos < len(l.text) && classes[l.text[l.pos]]&isWord != 0 {
		l.pos++
	}
	if l.pos > end && l.at(0) == '\'' {
		return l.fail(start, "found a number glued to a quoted text", "put a space between them")
	}
	l.pos = end
	return token{kind: tokNumber, start: start, end: end}
}

// digits skips digits, and single underscores between them.
func (l *lexer) digits() {
	if classes[l.at(0)]&isDigit == 0 {
		return
	}
	for l.pos++; classes[l.at(0)]&isDigit != 0 || l.at(0) == '_' && classes[l.at(1)]&isDigit != 0; {
		l.pos++
	}
}

// quoted reads to the closing quote, where a doubled quote does not close.
func (l *lexer) quoted(start int, quote byte, kind tokenKind) token {
	for l.pos++; ; {
		n := strings.IndexByte(l.text[l.pos:], quote)
		if n < 0 {
			return l.unclosed(start, string(quote))
		}
		l.pos += n + 1
		if l.at(0) != quote {
			return token{kind: kind, start: start, end: l.pos}
		}
		l.pos++
	}
}

func (l *lexer) unclosed(start int, quote string) token {
	hint := ""
	if quote == "'" {
		hint = "a ' inside a text is written twice: 'it''s'"
	}
	return l.fail(start, "quote without its end, expected "+quote, hint)
}

// escapeString reads E'…', in which a backslash takes the next byte with it. A
// quoted string on a later line continues it, with backslashes.
func (l *lexer) escapeString(start int) token {
	for l.pos += 2; l.pos < len(l.text); {
		switch l.text[l.pos] {
		case '\\':
			l.pos += 2
		case '\'':
			if l.at(1) == '\'' {
				l.pos += 2
				continue
			}
			l.pos++
			if next := continuation(l.text, l.pos); next > 0 {
				l.pos = next
				continue
			}
			return token{kind: tokEscape, start: start, end: l.pos}
		default:
			l.pos++
		}
	}
	return l.unclosed(start, "'")
}

// continuation says whether a quote follows position i with nothing between but
// white space with a newline in it, and is the position behind that quote, else 0.
func continuation(text string, i int) int {
	newline := false
	for i < len(text) {
		switch c := text[i]; {
		case c == '\n' || c == '\r':
			newline = true
			i++
		case classes[c]&isSpace != 0:
			i++
		case c == '-' && i+1 < len(text) && text[i+1] == '-':
			i = lineEnd(text, i)
		case c == '\'' && newline:
			return i + 1
		default:
			return 0
		}
	}
	return 0
}

// dollar reads $1, $$…$$ and $tag$…$tag$.
func (l *lexer) dollar(start int) token {
	if classes[l.at(1)]&isDigit != 0 {
		l.pos++
		l.digits()
		t := token{kind: tokParam, start: start, end: l.pos}
		if _, ok := paramNumber(l.text[t.start:t.end]); !ok {
			return l.fail(start, "found the parameter "+clip(l.text[t.start:t.end])+", expected $1 to $65535", "")
		}
		return t
	}
	i := start + 1
	for i < len(l.text) && l.text[i] != '$' && classes[l.text[i]]&isWord != 0 {
		i++
	}
	if i >= len(l.text) || l.text[i] != '$' {
		if i > start+1 {
			return l.fail(start, "found the parameter "+clip(l.text[start:i])+", expected a number as in $1", "parameters are numbered: $1, $2")
		}
		return l.fail(start, "found $, expected a parameter as $1", "")
	}
	tag := l.text[start : i+1]
	if at, r := unicodeSpace(tag); at >= 0 {
		return l.failSpace(start+at, r)
	}
	n := strings.Index(l.text[i+1:], tag)
	if n < 0 {
		return l.unclosed(start, clip(tag))
	}
	l.pos = i + 1 + n + len(tag)
	return token{kind: tokDollar, start: start, end: l.pos}
}

// paramNumber is n of "$n".
func paramNumber(s string) (n int, ok bool) {
	for i := 1; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' || n > paramMax {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, n >= 1 && n <= paramMax
}

// clip shortens s for a message.
func clip(s string) string {
	const max = 40
	if len(s) <= max {
		return s
	}
	n := max
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// Params is the highest number n of the parameters $n of text, 0 if there are none.
func Params(text string) (highest int, err error) {
	l := newLexer(text)
	for {
		t := l.next()
		switch t.kind {
		case tokEnd:
			return highest, nil
		case tokBad:
			return 0, l.err
		case tokParam:
			n, _ := paramNumber(text[t.start:t.end])
			highest = max(highest, n)
		}
	}
}

package sql

import "strings"

// WithoutLiterals is text with ? in the place of every string and number and without
// comments, for those who may know what was asked but not about which values. What
// cannot be read, such as the end of a text that was cut, is left out.
func WithoutLiterals(text string) string {
	l := newLexer(text)
	var b strings.Builder
	end := 0
	for {
		t := l.next()
		if t.kind == tokEnd || t.kind == tokBad {
			return b.String()
		}
		if t.start > end {
			b.WriteByte(' ')
		}
		end = t.end
		switch t.kind {
		case tokString, tokEscape, tokDollar, tokOther, tokNumber:
			b.WriteByte('?')
		default:
			b.WriteString(text[t.start:t.end])
		}
	}
}

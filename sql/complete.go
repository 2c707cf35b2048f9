package sql

import "strings"

// Complete says whether a person who types text at a prompt is done: its last token
// is a semicolon, and no quote or comment is open. A text with another mistake is
// complete too, so that the mistake is reported.
func Complete(text string) bool {
	l := newLexer(text)
	var last token
	for {
		t := l.next()
		switch t.kind {
		case tokEnd:
			return last.kind == tokSymbol && last.sym == ';'
		case tokBad:
			return !strings.Contains(l.err.Message, "without its end")
		}
		last = t
	}
}

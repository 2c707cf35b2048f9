package sql

// A TokenKind is what sort of word a [Token] is.
type TokenKind uint8

const (
	TokenWord   TokenKind = iota // an unquoted name or a keyword
	TokenQuoted                  // "a name"
	TokenString                  // 'a text', E'a text', $$a text$$
	TokenNumber
	TokenParam // $1
	TokenOther // one byte of an operator or a bracket; X'…', B'…', U&'…' and U&"…" whole
)

// A Token is one word of a text: its bytes from Start to End.
type Token struct {
	Kind       TokenKind
	Start, End int
}

var tokenKinds = [...]TokenKind{tokWord: TokenWord, tokQuoted: TokenQuoted, tokString: TokenString, tokEscape: TokenString,
	tokDollar: TokenString, tokOther: TokenOther, tokNumber: TokenNumber, tokParam: TokenParam, tokSymbol: TokenOther}

// Tokens calls each for every word of text, not for comments and spaces. Whoever cuts
// statements does it with this lexer: where two disagree about the end of a quote, one
// takes for a text what the other runs. The error is an [*Error].
func Tokens(text string, each func(Token)) error {
	l := newLexer(text)
	for {
		switch t := l.next(); t.kind {
		case tokEnd:
			return nil
		case tokBad:
			return l.err
		default:
			each(Token{tokenKinds[t.kind], t.start, t.end})
		}
	}
}

package sql

import (
	"slices"
	"strings"
)

// parser holds one token of look-ahead; the one before it tells keywords from
// names ("t.from", "IS DISTINCT FROM").
type parser struct {
	lexer
	tok  token // the current one
	last token // the one before
}

// Parse parses every statement of text. The error is an [*Error]; the statements
// before the one it is about come with it.
func Parse(text string) ([]Statement, error) {
	p := parser{lexer: newLexer(text)}
	p.advance()
	var list []Statement
	for {
		for p.sym(';') {
			p.advance()
		}
		if p.tok.kind == tokEnd {
			break
		}
		if len(list) == statementsMax {
			return nil, p.syntax("the text has too many statements, expected at most 1000", "send it in several requests")
		}
		start := p.tok.start
		s, err := p.statement()
		if err == nil && p.tok.kind != tokEnd && !p.sym(';') {
			err = p.unexpected("the end of the statement")
		}
		if err != nil {
			return list, err
		}
		s.(placed).place(start, text[start:p.last.end])
		list = append(list, s)
	}
	if len(list) == 0 {
		return nil, p.syntax("the text holds no statement", "")
	}
	return list, nil
}

func (p *parser) advance() {
	p.last = p.tok
	p.tok = p.next()
}

// raw is the text of the current token.
func (p *parser) raw() string { return p.text[p.tok.start:p.tok.end] }

// is says whether the current token is the keyword (in upper case).
func (p *parser) is(keyword string) bool { return p.tokenIs(p.tok, keyword) }

func (p *parser) tokenIs(t token, keyword string) bool {
	if t.kind != tokWord || t.end-t.start != len(keyword) {
		return false
	}
	for i := 0; i < len(keyword); i++ {
		c := p.text[t.start+i]
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != keyword[i] {
			return false
		}
	}
	return true
}

// isAny says whether the current token is one of the keywords.
func (p *parser) isAny(keywords ...string) bool {
	for _, k := range keywords {
		if p.is(k) {
			return true
		}
	}
	return false
}

func (p *parser) sym(c byte) bool { return p.tok.kind == tokSymbol && p.tok.sym == c }

// accept goes past the keyword if it is there.
func (p *parser) accept(keyword string) bool {
	if !p.is(keyword) {
		return false
	}
	p.advance()
	return true
}

func (p *parser) acceptSym(c byte) bool {
	if !p.sym(c) {
		return false
	}
	p.advance()
	return true
}

// expect goes past the keywords, one after the other.
func (p *parser) expect(keywords ...string) error {
	for _, k := range keywords {
		if !p.accept(k) {
			return p.unexpected(k)
		}
	}
	return nil
}

func (p *parser) expectSym(c byte) error {
	if !p.acceptSym(c) {
		return p.unexpected(string(c))
	}
	return nil
}

// ahead is the token behind the current one.
func (p *parser) ahead() token {
	l := p.lexer
	return l.next()
}

// name reads a name, quoted or not, and folds it.
func (p *parser) name(what string) (name string, pos int, err error) {
	pos = p.tok.start
	switch p.tok.kind {
	case tokWord:
		name = fold(p.raw())
	case tokQuoted:
		raw := p.raw()
		name = fold(strings.ReplaceAll(raw[1:len(raw)-1], `""`, `"`))
	default:
		return "", pos, p.unexpected(what)
	}
	p.advance()
	return name, pos, nil
}

// newName reads a name that is to be stored.
func (p *parser) newName(what string) (string, int, error) {
	tok := p.tok
	name, pos, err := p.name(what)
	if err == nil {
		err = p.refuseReserved(tok, name)
	}
	if err == nil && !IdentOK(name) {
		err = &Error{Pos: pos, Code: CodeInvalidName, Message: "found the name " + clip(QuoteIdent(name)) +
			", expected at most 63 letters a-z, digits and _, not a digit first"}
	}
	return name, pos, err
}

// tableName reads [namespace.]table.
func (p *parser) tableName() (Name, error) {
	first, pos, err := p.name("a table")
	if err != nil || !p.acceptSym('.') {
		return Name{Name: first, Pos: pos}, err
	}
	second, _, err := p.name("a table behind the namespace " + first)
	if err == nil && p.sym('.') {
		err = p.syntax("found a name of three parts, expected namespace.table", "")
	}
	return Name{Namespace: first, Name: second, Pos: pos}, err
}

// str reads a string literal.
func (p *parser) str(what string) (s string, pos int, err error) {
	pos = p.tok.start
	s, ok := stringValue(p.tok.kind, p.raw())
	if !ok {
		return "", pos, p.unexpected(what)
	}
	p.advance()
	return s, pos, nil
}

// stringValue is the text a string token stands for; ok is false if t is no string
// or one with escapes.
func stringValue(kind tokenKind, raw string) (s string, ok bool) {
	switch kind {
	case tokEscape:
		if strings.IndexByte(raw, '\\') >= 0 || continued(raw) {
			return "", false
		}
		raw = raw[1:]
		fallthrough
	case tokString:
		s = raw[1 : len(raw)-1]
		if strings.IndexByte(s, '\'') >= 0 {
			s = strings.ReplaceAll(s, "''", "'")
		}
		return s, true
	case tokDollar:
		tag := strings.IndexByte(raw[1:], '$') + 2
		return raw[tag : len(raw)-tag], true
	}
	return "", false
}

// continued says whether E'…' without backslashes goes on behind an inner quote.
func continued(raw string) bool {
	for i := 2; i < len(raw)-1; i++ {
		if raw[i] == '\'' {
			if raw[i+1] != '\'' || i+1 == len(raw)-1 {
				return true
			}
			i++
		}
	}
	return false
}

// syntax is an error at the current token.
func (p *parser) syntax(message, hint string) error {
	return p.errorAt(p.tok.start, CodeSyntax, message, hint)
}

func (p *parser) notSupported(what, hint string) error {
	return p.errorAt(p.tok.start, CodeNotSupported, what+" is not supported yet", hint)
}

// errorAt is the lexer's error if the text breaks off at the current token, else
// the given one.
func (p *parser) errorAt(pos int, code, message, hint string) error {
	if p.tok.kind == tokBad {
		return p.err
	}
	return &Error{Pos: pos, Code: code, Message: message, Hint: hint}
}

// unexpected says what the current token is and what it should have been. Words
// in upper case among expected are keywords: the nearest is the hint.
func (p *parser) unexpected(expected ...string) error {
	hint := ""
	if p.tok.kind == tokWord {
		var keywords []string
		for _, e := range expected {
			if e == strings.ToUpper(e) && classes[e[0]]&isWordStart != 0 {
				first, _, _ := strings.Cut(e, " ")
				keywords = append(keywords, first)
			}
		}
		if near, ok := Nearest(p.raw(), keywords); ok {
			hint = "did you mean " + near + "?"
		}
	}
	return p.syntax("found "+p.found()+", expected "+orList(expected), hint)
}

func (p *parser) found() string {
	switch {
	case p.tok.kind == tokEnd:
		return "the end of the text"
	case p.sym(';'):
		return "the end of the statement"
	case p.tok.kind == tokSymbol:
		return `"` + p.raw() + `"`
	}
	return clip(p.raw())
}

// orList joins words; punctuation is quoted.
func orList(words []string) string {
	words = slices.Clone(words)
	for i, w := range words {
		if len(w) == 1 {
			words[i] = `"` + w + `"`
		}
	}
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

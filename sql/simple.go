package sql

import "strings"

// The shapes of expressions that need no DuckDB. What is not certainly one of them is
// left to it.

// An Operand is a column, or else a literal or a parameter.
type Operand struct {
	IsColumn          bool
	Qualifier, Column string // folded to lower case; Qualifier may be empty
	Value             Expr   // of kind Literal or Param
}

// An Equality is column = value.
type Equality struct {
	Column Operand
	Value  Expr
}

// Equalities takes apart a condition of the shape a = 1 AND b = $1 AND ….
func Equalities(f Fragment) ([]Equality, bool) {
	p := parser{lexer: newLexer(f.Text)}
	p.advance()
	var list []Equality
	for {
		left, ok := p.operand()
		if !ok || !p.acceptSym('=') {
			return nil, false
		}
		right, ok := p.operand()
		if !ok || left.IsColumn == right.IsColumn {
			return nil, false
		}
		if right.IsColumn {
			left, right = right, left
		}
		list = append(list, Equality{Column: left, Value: right.Value})
		if p.tok.kind == tokEnd {
			return list, true
		}
		if !p.accept("AND") {
			return nil, false
		}
	}
}

// A Term is a step of a computation in postfix order: an operand, or an operator on the
// results of the two terms before it.
type Term struct {
	Op      byte // '+', '-', '*', or 0 for an operand
	Operand Operand
}

// termsMax is how many terms an expression may have that needs no DuckDB.
const termsMax = 32

// Arithmetic takes apart an expression of columns, literals, parameters, +, -, * and
// parentheses.
func Arithmetic(f Fragment) ([]Term, bool) {
	p := parser{lexer: newLexer(f.Text)}
	p.advance()
	terms, ok := p.sum(nil, 0)
	return terms, ok && p.tok.kind == tokEnd
}

// sum appends the terms of products with + or - between them, inside so many parentheses.
func (p *parser) sum(terms []Term, depth int) (_ []Term, ok bool) {
	for op := byte(0); ; p.advance() {
		if terms, ok = p.product(terms, depth); !ok {
			return nil, false
		}
		if op != 0 {
			terms = append(terms, Term{Op: op})
		}
		if !p.sym('+') && !p.sym('-') {
			return terms, len(terms) <= termsMax
		}
		op = p.tok.sym
	}
}

// product appends the terms of factors with * between them.
func (p *parser) product(terms []Term, depth int) (_ []Term, ok bool) {
	for first := true; ; first = false {
		if p.acceptSym('(') {
			if depth == termsMax {
				return nil, false
			}
			if terms, ok = p.sum(terms, depth+1); !ok || !p.acceptSym(')') {
				return nil, false
			}
		} else {
			o, ok := p.operand()
			if !ok || len(terms) > termsMax {
				return nil, false
			}
			terms = append(terms, Term{Operand: o})
		}
		if !first {
			terms = append(terms, Term{Op: '*'})
		}
		if !p.acceptSym('*') {
			return terms, true
		}
	}
}

// operand takes a column, a literal or a parameter.
func (p *parser) operand() (o Operand, ok bool) {
	before := *p
	if o.Value, ok = p.literal(); ok {
		return o, o.Value.Kind == Literal || o.Value.Kind == Param
	}
	*p = before
	if p.tok.kind != tokWord && p.tok.kind != tokQuoted {
		return o, false
	}
	o.IsColumn = true
	o.Column, _, _ = p.name("a column")
	if p.acceptSym('.') {
		var err error
		o.Qualifier = o.Column
		if o.Column, _, err = p.name("a column"); err != nil {
			return o, false
		}
	}
	return o, true
}

// Unqualified is f in pieces, without the namespace of columns that are written as
// namespace.table.column.
func Unqualified(f Fragment, namespace, table string) []Fragment {
	var pieces []Fragment
	from := 0
	var window [4]token // the last tokens, the newest last
	named := func(t token, name string) bool {
		return (t.kind == tokWord || t.kind == tokQuoted) && strings.EqualFold(strings.Trim(f.Text[t.start:t.end], `"`), name)
	}
	point := func(t token) bool { return t.kind == tokSymbol && t.sym == '.' }
	l := newLexer(f.Text)
	for t := l.next(); t.kind != tokEnd && t.kind != tokBad; t = l.next() {
		before := window[0]
		copy(window[:], window[1:])
		window[3] = t
		if point(t) && named(window[2], table) && point(window[1]) && named(window[0], namespace) && !point(before) {
			pieces = append(pieces, Fragment{Text: f.Text[from:window[0].start], Pos: f.Pos + from})
			from = window[2].start
		}
	}
	return append(pieces, Fragment{Text: f.Text[from:], Pos: f.Pos + from})
}

// ParamsOf is the highest n of the parameters $n in text.
func ParamsOf(text string) int {
	if strings.IndexByte(text, '$') < 0 {
		return 0
	}
	highest := 0
	l := newLexer(text)
	for t := l.next(); t.kind != tokEnd && t.kind != tokBad; t = l.next() {
		if t.kind != tokParam {
			continue
		}
		if n, ok := paramNumber(text[t.start:t.end]); ok {
			highest = max(highest, n)
		}
	}
	return highest
}

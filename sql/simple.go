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

// Arithmetic takes apart an expression of the shape a, a + b, a - b or a * b; op is 0, '+',
// '-' or '*'.
func Arithmetic(f Fragment) (left Operand, op byte, right Operand, ok bool) {
	p := parser{lexer: newLexer(f.Text)}
	p.advance()
	if left, ok = p.operand(); !ok || p.tok.kind == tokEnd {
		return left, 0, right, ok
	}
	if !p.sym('+') && !p.sym('-') && !p.sym('*') {
		return left, 0, right, false
	}
	op = p.tok.sym
	p.advance()
	right, ok = p.operand()
	return left, op, right, ok && p.tok.kind == tokEnd
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

package sql

import "kalamdb/row"

// expr parses one value up to a comma, a closing bracket or the next clause.
func (p *parser) expr() (Expr, error) {
	before := *p
	if e, ok := p.literal(); ok && p.endOfLiteral() {
		e.Text = Fragment{Text: p.text[before.tok.start:p.last.end], Pos: before.tok.start}
		return e, nil
	}
	*p = before
	text, err := p.fragment("a value", endOfExpr)
	return Expr{Kind: Other, Text: text}, err
}

// endOfLiteral says whether the literal before the current token is the whole expression.
func (p *parser) endOfLiteral() bool {
	switch p.tok.kind {
	case tokEnd:
		return true
	case tokSymbol:
		return p.tok.sym == ',' || p.tok.sym == ')' || p.tok.sym == ';'
	case tokWord:
		return endOfExpr(p)
	}
	return false
}

// literal takes a literal, a parameter or DEFAULT, if one is there.
func (p *parser) literal() (Expr, bool) {
	switch p.tok.kind {
	case tokString, tokEscape, tokDollar:
		s, ok := stringValue(p.tok.kind, p.raw())
		p.advance()
		return Expr{Kind: Literal, Value: row.TextValue(s)}, ok
	case tokNumber:
		v, ok := row.NumberValue(p.raw())
		p.advance()
		return Expr{Kind: Literal, Value: v}, ok
	case tokParam:
		n, ok := paramNumber(p.raw())
		p.advance()
		return Expr{Kind: Param, Param: n}, ok
	case tokSymbol:
		return p.signed()
	case tokWord:
		return p.wordLiteral()
	}
	return Expr{}, false
}

// signed takes -1 and +1.
func (p *parser) signed() (Expr, bool) {
	sign := p.tok.sym
	if sign != '-' && sign != '+' {
		return Expr{}, false
	}
	if p.advance(); p.tok.kind != tokNumber {
		return Expr{}, false
	}
	number := p.raw()
	p.advance()
	if sign == '-' {
		number = "-" + number
	}
	v, ok := row.NumberValue(number)
	return Expr{Kind: Literal, Value: v}, ok
}

func (p *parser) wordLiteral() (Expr, bool) {
	e := Expr{Kind: Literal}
	switch {
	case p.is("NULL"):
	case p.is("TRUE"):
		e.Value = row.BoolValue(true)
	case p.is("FALSE"):
		e.Value = row.BoolValue(false)
	case p.is("DEFAULT"):
		e.Kind = DefaultValue
	case p.is("TIMESTAMP"), p.is("DATETIME"):
		return p.timeLiteral(row.Timestamp)
	case p.is("DATE"):
		return p.timeLiteral(row.Date)
	case p.is("TIME"):
		return p.timeLiteral(row.Time)
	default:
		return e, false
	}
	p.advance()
	return e, true
}

// timeLiteral takes TIMESTAMP '…' if the text is of a form that needs no DuckDB.
func (p *parser) timeLiteral(kind row.Kind) (Expr, bool) {
	if p.advance(); p.tok.kind != tokString {
		return Expr{}, false
	}
	s, _ := stringValue(tokString, p.raw())
	p.advance()
	v, err := row.Coerce(row.TextValue(s), row.Type{Kind: kind})
	return Expr{Kind: Literal, Value: v}, err == nil
}

package sql

// bracket is one that is open.
type bracket struct {
	close byte
	pos   int
}

// fragment reads on until a token outside brackets that stop says yes to, a closing
// bracket without its opening one, or the end of the statement.
func (p *parser) fragment(what string, stop func(*parser) bool) (Fragment, error) {
	start := p.tok.start
	var few [16]bracket
	open := few[:0]
	for {
		if p.tok.kind == tokBad {
			return Fragment{}, p.err
		}
		if p.tok.kind == tokEnd || p.sym(';') {
			break
		}
		if len(open) == 0 && stop(p) {
			break
		}
		if p.tok.kind == tokSymbol {
			if c := closing(p.tok.sym); c != 0 {
				if len(open) == nestingMax {
					return Fragment{}, p.syntax("found brackets nested deeper than 500", "")
				}
				open = append(open, bracket{close: c, pos: p.tok.start})
			} else if isClosing(p.tok.sym) {
				if len(open) == 0 {
					break
				}
				if open[len(open)-1].close != p.tok.sym {
					return Fragment{}, p.unexpected(string(open[len(open)-1].close))
				}
				open = open[:len(open)-1]
			}
		}
		p.advance()
	}
	if n := len(open); n > 0 {
		return Fragment{}, p.errorAt(open[n-1].pos, CodeSyntax,
			"found "+p.text[open[n-1].pos:open[n-1].pos+1]+" without its "+string(open[n-1].close), "")
	}
	if p.tok.start == start {
		return Fragment{}, p.unexpected(what)
	}
	return Fragment{Text: p.text[start:p.last.end], Pos: start}, nil
}

// optional is a fragment behind a keyword, nil if the keyword is not there.
func (p *parser) optional(keyword, what string, stop func(*parser) bool) (*Fragment, error) {
	if !p.accept(keyword) {
		return nil, nil
	}
	f, err := p.fragment(what, stop)
	if err != nil {
		return nil, err
	}
	return &f, nil
}

func closing(c byte) byte {
	switch c {
	case '(':
		return ')'
	case '[':
		return ']'
	case '{':
		return '}'
	}
	return 0
}

func isClosing(c byte) bool { return c == ')' || c == ']' || c == '}' }

// nothing stops only at the end of the statement.
func nothing(*parser) bool { return false }

// clauseAt says whether the current token is one of the reserved words that begin
// a clause. Behind a point it is the name of a column, and IS DISTINCT FROM and
// WITHIN GROUP are parts of expressions.
func (p *parser) clauseAt(words ...string) bool {
	if p.tok.kind != tokWord || p.last.kind == tokSymbol && p.last.sym == '.' {
		return false
	}
	for _, w := range words {
		if p.is(w) {
			return (w != "FROM" || !p.tokenIs(p.last, "DISTINCT")) && (w != "GROUP" || !p.tokenIs(p.last, "WITHIN"))
		}
	}
	return false
}

// clauses are the reserved words that no expression has outside brackets.
var clauses = []string{
	"FROM", "WHERE", "RETURNING", "SELECT", "UNION", "INTERSECT", "EXCEPT", "ORDER", "LIMIT", "OFFSET", "FETCH", "GROUP",
	"HAVING", "WINDOW", "QUALIFY", "INTO",
}

// endOfExpr is where an expression outside brackets ends: at a comma or at a clause.
func endOfExpr(p *parser) bool {
	if p.tok.kind == tokSymbol {
		return p.tok.sym == ','
	}
	return p.clauseAt(clauses...) || p.clauseAt("USING", "ON")
}

// endOfFrom is where the tables of UPDATE … FROM and DELETE … USING end.
func endOfFrom(p *parser) bool { return p.clauseAt(clauses...) }

// endOfReturning is where the columns of RETURNING have to end; an alias may be any word.
func endOfReturning(p *parser) bool { return p.clauseAt(clauses...) && !p.tokenIs(p.last, "AS") }

// endOfQuery is where the query of INSERT … SELECT ends. ON also joins tables, and
// a column may be called conflict.
func endOfQuery(p *parser) bool { return p.clauseAt("RETURNING") || p.is("ON") && p.atConflict() }

// atConflict says whether ON CONFLICT begins at the current token: DO, ON
// CONSTRAINT, or columns in parentheses with DO or WHERE behind them follow.
func (p *parser) atConflict() bool {
	look := *p
	if look.advance(); !look.accept("CONFLICT") {
		return false
	}
	if look.isAny("DO", "ON") {
		return true
	}
	if !look.acceptSym('(') {
		return false
	}
	if _, err := look.fragment("a column", nothing); err != nil || !look.acceptSym(')') {
		return false
	}
	return look.isAny("DO", "WHERE")
}

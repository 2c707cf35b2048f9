package sql

import "strings"

// begin parses what follows BEGIN or START.
func (p *parser) begin(verb token) (Statement, error) {
	if p.tokenIs(verb, "START") {
		return &Begin{}, p.expect("TRANSACTION")
	}
	if !p.accept("TRANSACTION") {
		p.accept("WORK")
	}
	if p.isAny("ISOLATION", "READ", "DEFERRED", "IMMEDIATE", "EXCLUSIVE") {
		return nil, p.syntax("found "+strings.ToUpper(p.raw())+", expected the end of the statement", "every transaction sees one snapshot and may write")
	}
	return &Begin{}, nil
}

// finish parses what follows COMMIT, END, ROLLBACK or ABORT, which is s.
func (p *parser) finish(s Statement) (Statement, error) {
	if !p.accept("TRANSACTION") {
		p.accept("WORK")
	}
	if p.isAny("TO", "AND", "PREPARED") {
		return nil, p.notSupported(s.Verb()+" "+strings.ToUpper(p.raw()), "write "+s.Verb())
	}
	return s, nil
}

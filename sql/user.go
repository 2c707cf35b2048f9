package sql

import "kalamdb/row"

// userID reads 'id'.
func (p *parser) userID() (string, int, error) {
	if p.tok.kind == tokWord || p.tok.kind == tokQuoted {
		return "", 0, p.syntax("found "+p.found()+", expected the 'id' of a user", "the id is a text: 'ana'")
	}
	id, pos, err := p.str("the 'id' of a user")
	if err != nil {
		return "", pos, err
	}
	if _, err := row.ParseUserID(id); err != nil {
		return "", pos, p.errorAt(pos, CodeInvalidValue, err.Error(), "")
	}
	return id, pos, nil
}

// createUser parses what follows CREATE USER.
func (p *parser) createUser() (Statement, error) {
	s := &CreateUser{}
	var err error
	if s.IfNotExists, err = p.ifNotExists(); err != nil {
		return nil, err
	}
	if s.User, s.Pos, err = p.userID(); err != nil || !p.accept("WITH") {
		return s, err
	}
	o, err := p.options()
	s.Options = o.strings()
	return s, err
}

// alterUser parses what follows ALTER USER.
func (p *parser) alterUser() (Statement, error) {
	s := &AlterUser{}
	var err error
	if s.User, s.Pos, err = p.userID(); err != nil {
		return nil, err
	}
	if err = p.expect("SET"); err != nil {
		return nil, err
	}
	o, err := p.options()
	s.Options = o.strings()
	return s, err
}

// dropUser parses what follows DROP USER.
func (p *parser) dropUser() (Statement, error) {
	s := &DropUser{}
	var err error
	if s.IfExists, err = p.ifExists(); err != nil {
		return nil, err
	}
	s.User, s.Pos, err = p.userID()
	return s, err
}

// executeAs parses what follows EXECUTE, from AS on.
func (p *parser) executeAs() (Statement, error) {
	if err := p.expect("AS", "USER"); err != nil {
		return nil, err
	}
	s := &ExecuteAs{}
	var err error
	if s.User, s.Pos, err = p.userID(); err != nil {
		return nil, err
	}
	if err = p.expectSym('('); err != nil {
		return nil, err
	}
	start := p.tok.start
	if !p.startsQuery() && !p.isAny("INSERT", "UPDATE", "DELETE") {
		return nil, p.unexpected("SELECT", "INSERT", "UPDATE", "DELETE")
	}
	if s.Inner, err = p.statement(); err != nil {
		return nil, err
	}
	s.Inner.(placed).place(start, p.text[start:p.last.end])
	if err = p.expectSym(')'); err != nil {
		return nil, err
	}
	if later, ok := s.Inner.(*Unsupported); ok {
		return later, nil
	}
	return s, nil
}

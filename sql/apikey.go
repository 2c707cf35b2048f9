package sql

// createAPIKey parses what follows CREATE API.
func (p *parser) createAPIKey() (Statement, error) {
	s := &CreateAPIKey{}
	err := p.expect("KEY")
	if err != nil {
		return nil, err
	}
	if s.Name, s.NamePos, err = p.str("the 'name' of the key, for people"); err != nil {
		return nil, err
	}
	if err = p.expect("FOR", "USER"); err != nil {
		return nil, err
	}
	if s.User, s.Pos, err = p.userID(); err != nil || !p.accept("WITH") {
		return s, err
	}
	o, err := p.options()
	s.Options = o.strings()
	return s, err
}

// dropAPIKey parses what follows DROP API.
func (p *parser) dropAPIKey() (Statement, error) {
	s := &DropAPIKey{}
	err := p.expect("KEY")
	if err != nil {
		return nil, err
	}
	if s.IfExists, err = p.ifExists(); err != nil {
		return nil, err
	}
	s.ID, s.Pos, err = p.str("the 'id' of a key")
	return s, err
}

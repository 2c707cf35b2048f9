package sql

func (p *parser) createNamespace() (Statement, error) {
	s := &CreateNamespace{}
	var err error
	if s.IfNotExists, err = p.ifNotExists(); err != nil {
		return nil, err
	}
	if s.Name, s.Pos, err = p.newName("a namespace"); err != nil {
		return nil, err
	}
	if p.accept("WITH") {
		var o options
		if o, err = p.options(); err != nil {
			return nil, err
		}
		s.Options = o.strings()
	}
	return s, nil
}

func (p *parser) alterNamespace() (Statement, error) {
	s := &AlterNamespace{}
	var err error
	if s.Name, s.Pos, err = p.name("a namespace"); err != nil {
		return nil, err
	}
	if err = p.expect("SET", "OPTIONS"); err != nil {
		return nil, err
	}
	o, err := p.options()
	if err != nil {
		return nil, err
	}
	s.Options = o.strings()
	return s, nil
}

func (p *parser) dropNamespace() (Statement, error) {
	s := &DropNamespace{}
	var err error
	if s.IfExists, err = p.ifExists(); err != nil {
		return nil, err
	}
	if s.Name, s.Pos, err = p.name("a namespace"); err != nil {
		return nil, err
	}
	if p.tok.kind == tokWord && !p.is("CASCADE") {
		return nil, p.unexpected("CASCADE", "the end of the statement")
	}
	s.Cascade = p.accept("CASCADE")
	return s, nil
}

func (p *parser) ifNotExists() (bool, error) {
	if !p.is("IF") || p.ahead().kind != tokWord { // a name like any other
		return false, nil
	}
	return true, p.expect("IF", "NOT", "EXISTS")
}

func (p *parser) ifExists() (bool, error) {
	if !p.is("IF") {
		return false, nil
	}
	return true, p.expect("IF", "EXISTS")
}

// option is one k = v of WITH (…).
type option struct {
	key, value string
	pos        int // of the value
}

// options are the k = v of a WITH (…), in their order; keys differ.
type options []option

func (o options) strings() map[string]string {
	m := make(map[string]string, len(o))
	for _, x := range o {
		m[x.key] = x.value
	}
	return m
}

const optionsMax = 100 // of one WITH (…)

// options reads (k = v, …). A value is a text, a number, or a word such as true;
// words are folded.
func (p *parser) options() (options, error) {
	if err := p.expectSym('('); err != nil {
		return nil, err
	}
	var list options
	for {
		pos := p.tok.start
		key, _, err := p.name("an option")
		if err != nil {
			return nil, err
		}
		for _, o := range list {
			if o.key == key {
				return nil, p.errorAt(pos, CodeSyntax, "found the option "+clip(key)+" twice", "")
			}
		}
		if err := p.expectSym('='); err != nil {
			return nil, err
		}
		if len(list) == optionsMax {
			return nil, p.errorAt(pos, CodeSyntax, "found too many options, expected at most 100", "")
		}
		o := option{key: key, pos: p.tok.start}
		if o.value, err = p.optionValue(); err != nil {
			return nil, err
		}
		list = append(list, o)
		if p.acceptSym(',') {
			continue
		}
		if p.acceptSym(')') {
			return list, nil
		}
		return nil, p.unexpected(",", ")")
	}
}

func (p *parser) optionValue() (string, error) {
	const what = "a text, a number or a word"
	switch p.tok.kind {
	case tokWord, tokQuoted:
		value, _, err := p.name(what)
		return value, err
	case tokNumber:
		value := p.raw()
		p.advance()
		return value, nil
	}
	if p.acceptSym('-') {
		if p.tok.kind != tokNumber {
			return "", p.unexpected("a number")
		}
		value := "-" + p.raw()
		p.advance()
		return value, nil
	}
	value, _, err := p.str(what)
	return value, err
}

package sql

import "strings"

// show parses what follows SHOW.
func (p *parser) show() (Statement, error) {
	switch {
	case p.accept("NAMESPACES"):
		return &ShowNamespaces{}, nil
	case p.accept("ALL"):
		return &ShowTables{All: true}, p.expect("TABLES")
	case p.accept("TABLES"):
		s := &ShowTables{}
		if !p.accept("IN") && !p.accept("FROM") {
			return s, nil
		}
		var err error
		s.Namespace, s.Pos, err = p.name("a namespace")
		return s, err
	case p.accept("TABLE"):
		if err := p.expect("STATS"); err != nil {
			return nil, err
		}
		name, err := p.tableName()
		return &ShowTableStats{Table: name}, err
	case p.accept("BACKUP"):
		url, pos, err := p.str(placeHint)
		return &ShowBackup{URL: url, URLPos: pos}, err
	case p.isAny("DATABASES", "SCHEMAS"):
		return nil, p.syntax("found "+p.raw()+", expected NAMESPACES", "write SHOW NAMESPACES")
	}
	return nil, p.unexpected("NAMESPACES", "TABLES", "TABLE STATS", "BACKUP")
}

// describe parses what follows DESCRIBE.
func (p *parser) describe() (Statement, error) {
	if p.isAny("SELECT", "WITH", "FROM", "VALUES") || p.sym('(') {
		return nil, p.notSupported("DESCRIBE of a query", "")
	}
	p.accept("TABLE")
	s := &Describe{}
	var err error
	if s.Table, err = p.tableName(); err != nil {
		return nil, err
	}
	if p.tok.kind == tokWord && !p.is("HISTORY") {
		return nil, p.unexpected("HISTORY", "the end of the statement")
	}
	s.History = p.accept("HISTORY")
	return s, nil
}

// flush parses what follows FLUSH.
func (p *parser) flush() (Statement, error) {
	switch {
	case p.accept("ALL"):
		p.accept("TABLES")
		return &FlushAll{}, nil
	case p.accept("TABLE"):
		name, err := p.tableName()
		return &FlushTable{Table: name}, err
	}
	return nil, p.unexpected("TABLE", "ALL")
}

// compact parses what follows COMPACT.
func (p *parser) compact() (Statement, error) {
	if err := p.expect("TABLE"); err != nil {
		return nil, err
	}
	name, err := p.tableName()
	return &CompactTable{Table: name}, err
}

// kill parses what follows KILL.
func (p *parser) kill() (Statement, error) {
	switch {
	case p.accept("LIVE"):
		if err := p.expect("QUERY"); err != nil {
			return nil, err
		}
		id, err := p.id("'id' of a live query")
		return &KillLiveQuery{ID: id}, err
	case p.accept("QUERY"):
		id, err := p.id("'id' of a statement")
		return &KillQuery{ID: id}, err
	case p.accept("JOB"):
		id, err := p.id("'id' of a job")
		return &KillJob{ID: id}, err
	}
	return nil, p.unexpected("LIVE QUERY", "QUERY", "JOB")
}

func (p *parser) id(what string) (string, error) {
	id, pos, err := p.str(what)
	if err == nil && strings.TrimSpace(id) == "" {
		err = p.errorAt(pos, CodeInvalidValue, "found an empty text, expected the "+what, "")
	}
	return id, err
}

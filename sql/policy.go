package sql

import (
	"slices"
	"strings"
)

// roles are those that a policy or a grant can be for.
var roles = []string{"user", "service", "dba", "system"}

// createPolicy parses what follows CREATE [OR REPLACE] POLICY.
func (p *parser) createPolicy(replace bool) (Statement, error) {
	s := &CreatePolicy{Replace: replace, Command: "all"}
	var err error
	if !replace {
		if s.IfNotExists, err = p.ifNotExists(); err != nil {
			return nil, err
		}
	}
	if s.Name, s.Pos, err = p.newName("a policy"); err != nil {
		return nil, err
	}
	if err = p.expect("ON"); err != nil {
		return nil, err
	}
	if s.Table, err = p.tableName(); err != nil {
		return nil, err
	}
	if p.accept("FOR") {
		if !p.isAny("ALL", "SELECT", "INSERT", "UPDATE", "DELETE") {
			return nil, p.unexpected("ALL", "SELECT", "INSERT", "UPDATE", "DELETE")
		}
		s.Command = strings.ToLower(p.raw())
		p.advance()
	}
	if p.accept("TO") {
		if s.Roles, err = p.roles(); err != nil {
			return nil, err
		}
	}
	if p.accept("USING") {
		if s.Using, err = p.condition(); err != nil {
			return nil, err
		}
	}
	if p.is("WITH") {
		p.advance()
		if err = p.expect("CHECK"); err != nil {
			return nil, err
		}
		if s.Check, err = p.condition(); err != nil {
			return nil, err
		}
	}
	switch {
	case s.Using == nil && s.Check == nil:
		return nil, p.unexpected("USING", "WITH CHECK")
	case s.Check != nil && (s.Command == "select" || s.Command == "delete"):
		return nil, p.errorAt(s.Check.Pos, CodeSyntax, "found WITH CHECK in a policy for "+strings.ToUpper(s.Command)+", which makes no rows", "USING says which rows it is for")
	case s.Using == nil && s.Command != "insert":
		return nil, p.unexpected("USING")
	}
	return s, nil
}

// condition reads an expression in parentheses, which are not part of it.
func (p *parser) condition() (*Fragment, error) {
	if err := p.expectSym('('); err != nil {
		return nil, err
	}
	f, err := p.fragment("a condition", nothing)
	if err != nil {
		return nil, err
	}
	return &f, p.expectSym(')')
}

// roles reads the names of roles. PUBLIC is every role, for which the list is empty.
func (p *parser) roles() ([]string, error) {
	if p.accept("PUBLIC") {
		return nil, nil
	}
	var list []string
	for {
		at := p.tok
		name, pos, err := p.name("a role")
		if err != nil {
			return nil, err
		}
		if !slices.Contains(roles, name) {
			hint := ""
			if near, ok := Nearest(name, roles); ok {
				hint = "did you mean " + near + "?"
			}
			return nil, p.errorAt(pos, CodeInvalidValue, "found the role "+clip(p.text[at.start:at.end])+", expected "+orList(roles), hint)
		}
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
		if !p.acceptSym(',') {
			return list, nil
		}
	}
}

// dropPolicy parses what follows DROP POLICY.
func (p *parser) dropPolicy() (Statement, error) {
	s := &DropPolicy{}
	var err error
	if s.IfExists, err = p.ifExists(); err != nil {
		return nil, err
	}
	if s.Name, s.Pos, err = p.name("a policy"); err != nil {
		return nil, err
	}
	if err = p.expect("ON"); err != nil {
		return nil, err
	}
	s.Table, err = p.tableName()
	return s, err
}

// grant parses what follows GRANT or REVOKE. Columns and SELECT are all that can be given:
// the other rights follow from the role, the access level and the policies of a table.
func (p *parser) grant(verb token, revoke bool) (Statement, error) {
	s := &Grant{Revoke: revoke}
	if !p.accept("SELECT") {
		return nil, p.syntax("found "+p.found()+" behind "+strings.ToUpper(p.text[verb.start:verb.end])+", expected SELECT",
			"other rights follow from the role (CREATE USER), ALTER TABLE … SET (access = …) and CREATE POLICY")
	}
	if p.acceptSym('(') {
		for {
			name, pos, err := p.name("a column")
			if err != nil {
				return nil, err
			}
			s.Columns = append(s.Columns, ColumnRef{Name: name, Pos: pos})
			if !p.acceptSym(',') {
				break
			}
		}
		if err := p.expectSym(')'); err != nil {
			return nil, err
		}
	}
	if err := p.expect("ON"); err != nil {
		return nil, err
	}
	if p.is("TABLE") {
		p.advance()
	}
	var err error
	if s.Table, err = p.tableName(); err != nil {
		return nil, err
	}
	to := "TO"
	if revoke {
		to = "FROM"
	}
	if err = p.expect(to); err != nil {
		return nil, err
	}
	if s.Roles, err = p.roles(); err == nil && s.Roles == nil {
		s.Roles = roles[:len(roles)-1] // system reads everything
	}
	return s, err
}

package sql

import "strings"

// verbs are the words a statement may begin with, for hints.
var verbs = []string{
	"SELECT", "WITH", "FROM", "VALUES", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "DROP", "SHOW", "USE",
	"DESCRIBE", "EXPLAIN", "FLUSH", "COMPACT", "KILL", "BEGIN", "COMMIT", "ROLLBACK", "EXECUTE", "BACKUP", "RESTORE", "EXPORT", "FORGET", "GRANT", "REVOKE",
}

// forbidden are the verbs that reach files, settings, extensions, the network or
// SQL made at run time. They stay refused.
var forbidden = map[string]bool{
	"COPY": true, "ATTACH": true, "DETACH": true, "INSTALL": true, "LOAD": true, "PRAGMA": true, "SET": true,
	"RESET": true, "CALL": true, "CHECKPOINT": true, "FORCE": true, "IMPORT": true, "PREPARE": true, "DEALLOCATE": true,
	"EXPORT": true, "EXECUTE": true, "VACUUM": true, "ANALYZE": true, "ANALYSE": true, "COMMENT": true, "DO": true,
	"LISTEN": true, "NOTIFY": true, "LOCK": true, "CLUSTER": true, "REINDEX": true,
}

// unsupported are verbs that are understood and arrive later.
var unsupported = map[string]bool{
	"SAVEPOINT": true, "RELEASE": true, "TRUNCATE": true, "MERGE": true, "SUMMARIZE": true,
}

// statement parses one statement, beginning at its first token.
func (p *parser) statement() (Statement, error) {
	if p.startsQuery() {
		return p.query()
	}
	verb := p.tok
	switch {
	case p.accept("INSERT"):
		return p.insert()
	case p.accept("UPDATE"):
		return p.update(verb)
	case p.accept("DELETE"):
		return p.delete()
	case p.accept("CREATE"):
		return p.create(verb)
	case p.accept("ALTER"):
		return p.alter()
	case p.accept("DROP"):
		return p.drop()
	case p.accept("SHOW"):
		return p.show()
	case p.accept("USE"):
		name, pos, err := p.name("a namespace")
		return &Use{Namespace: name, Pos: pos}, err
	case p.accept("DESCRIBE"), p.accept("DESC"):
		return p.describe()
	case p.accept("EXPLAIN"):
		return p.explain()
	case p.accept("FLUSH"):
		return p.flush()
	case p.accept("COMPACT"):
		return p.compact()
	case p.accept("KILL"):
		return p.kill()
	case p.accept("BACKUP"):
		return p.backup()
	case p.accept("RESTORE"):
		return p.restore()
	case p.accept("FORGET"):
		return p.forget()
	case p.accept("GRANT"):
		return p.grant(verb, false)
	case p.accept("REVOKE"):
		return p.grant(verb, true)
	case p.accept("BEGIN"), p.accept("START"):
		return p.begin(verb)
	case p.accept("COMMIT"), p.accept("END"):
		return p.finish(&Commit{})
	case p.accept("ROLLBACK"), p.accept("ABORT"):
		return p.finish(&Rollback{})
	}
	return p.otherVerb(verb)
}

func (p *parser) otherVerb(verb token) (Statement, error) {
	if verb.kind != tokWord {
		return nil, p.unexpected("a statement")
	}
	word := strings.ToUpper(p.raw())
	switch word {
	case "EXECUTE":
		if p.advance(); p.is("AS") {
			return p.executeAs()
		}
	case "EXPORT":
		if p.advance(); p.sym('(') || p.is("USER") {
			return p.export()
		}
	case "REPLACE":
		return nil, p.unexpected("INSERT")
	}
	switch {
	case forbidden[word]:
		return nil, p.forbid(verb, word)
	case unsupported[word]:
		return p.later(word)
	}
	return nil, p.unknownVerb()
}

func (p *parser) unknownVerb() error {
	hint := ""
	if near, ok := Nearest(p.raw(), verbs); ok {
		hint = "did you mean " + near + "?"
	}
	return p.syntax("found "+p.found()+", expected a statement", hint)
}

func (p *parser) forbid(verb token, what string) error {
	return p.errorAt(verb.start, CodeForbidden,
		what+" is not allowed: statements that reach files, settings, extensions or the network are refused", "")
}

// later takes the rest of a statement that is understood and cannot be run yet.
func (p *parser) later(what string) (Statement, error) {
	if p.tok.kind != tokEnd && !p.sym(';') {
		if _, err := p.fragment("", nothing); err != nil {
			return nil, err
		}
	}
	return &Unsupported{What: what}, nil
}

// startsQuery says whether a query begins at the current token.
func (p *parser) startsQuery() bool {
	return p.sym('(') || p.tok.kind == tokWord && p.isAny("SELECT", "WITH", "FROM", "VALUES", "TABLE", "PIVOT", "UNPIVOT")
}

// query takes a query as it is.
func (p *parser) query() (Statement, error) {
	if p.is("WITH") {
		if verb := p.verbBehindWith(); verb != "" {
			return p.later("WITH … " + verb)
		}
	}
	text, err := p.fragment("a query", nothing)
	return &Select{Text: text}, err
}

// verbBehindWith finds what WITH a AS (…), b AS (…) is for: the word behind the last
// closing parenthesis. It is "" if that is a query.
func (p *parser) verbBehindWith() string {
	look := *p
	for depth := 0; ; {
		look.advance()
		switch {
		case look.tok.kind == tokEnd || look.tok.kind == tokBad || look.sym(';'):
			return ""
		case look.tok.kind == tokSymbol && closing(look.tok.sym) != 0:
			depth++
		case look.tok.kind == tokSymbol && isClosing(look.tok.sym):
			if depth--; depth < 0 {
				return ""
			}
		case depth == 0 && look.isAny("SELECT", "FROM", "VALUES", "TABLE", "PIVOT", "UNPIVOT"):
			return ""
		case depth == 0 && look.last.kind == tokSymbol && look.last.sym == ')' && look.isAny("INSERT", "UPDATE", "DELETE", "MERGE"):
			return strings.ToUpper(look.raw())
		}
	}
}

func (p *parser) explain() (Statement, error) {
	if p.isAny("ANALYZE", "ANALYSE") {
		return p.later("EXPLAIN ANALYZE")
	}
	if p.isAny("INSERT", "UPDATE", "DELETE") {
		start := p.tok.start
		inner, err := p.statement()
		if err != nil {
			return nil, err
		}
		inner.(placed).place(start, p.text[start:p.last.end])
		return &Explain{Inner: inner}, nil
	}
	if !p.startsQuery() {
		return nil, p.unexpected("SELECT", "INSERT", "UPDATE", "DELETE")
	}
	if p.is("WITH") {
		if verb := p.verbBehindWith(); verb != "" {
			return p.later("EXPLAIN WITH … " + verb)
		}
	}
	text, err := p.fragment("a query", nothing)
	return &Explain{Select: text}, err
}

// create parses what follows CREATE.
func (p *parser) create(verb token) (Statement, error) {
	if p.is("OR") {
		if p.advance(); !p.is("REPLACE") || !p.tokenIs(p.ahead(), "POLICY") {
			return nil, p.errorAt(p.last.start, CodeSyntax, "found OR, expected NAMESPACE or TABLE", "")
		}
		p.advance()
		p.advance()
		return p.createPolicy(true)
	}
	switch {
	case p.accept("POLICY"):
		return p.createPolicy(false)
	case p.accept("NAMESPACE"):
		return p.createNamespace()
	case p.is("TABLE"):
		return p.createTable("")
	case p.is("SHARED"), p.is("STREAM"), p.is("USER") && p.tokenIs(p.ahead(), "TABLE"):
		kind := fold(p.raw())
		p.advance()
		return p.createTable(kind)
	case p.accept("USER"):
		return p.createUser()
	case p.accept("API"):
		return p.createAPIKey()
	case p.is("STORAGE"):
		return p.createLocation()
	case p.isAny("VIEW", "INDEX", "UNIQUE", "SEQUENCE"):
		return p.later("CREATE " + strings.ToUpper(p.raw()))
	case p.isAny("MACRO", "FUNCTION", "TYPE", "SECRET", "PERSISTENT", "TEMP", "TEMPORARY", "TRIGGER"):
		return nil, p.forbid(verb, "CREATE "+strings.ToUpper(p.raw()))
	case p.isAny("SCHEMA", "DATABASE"):
		return nil, p.syntax("found "+p.raw()+", expected NAMESPACE", "write CREATE NAMESPACE")
	}
	return nil, p.unexpected("NAMESPACE", "USER", "SHARED", "STREAM", "TABLE", "STORAGE", "API KEY")
}

func (p *parser) alter() (Statement, error) {
	switch {
	case p.accept("NAMESPACE"):
		return p.alterNamespace()
	case p.accept("TABLE"):
		return p.alterTable("")
	case p.isAny("USER", "SHARED", "STREAM") && p.tokenIs(p.ahead(), "TABLE"):
		kind := fold(p.raw())
		p.advance()
		p.advance()
		return p.alterTable(kind)
	case p.accept("USER"):
		return p.alterUser()
	case p.is("STORAGE"):
		return p.alterLocation()
	}
	return nil, p.unexpected("NAMESPACE", "TABLE", "USER", "STORAGE")
}

func (p *parser) drop() (Statement, error) {
	switch {
	case p.accept("NAMESPACE"):
		return p.dropNamespace()
	case p.accept("TABLE"):
		return p.dropTable("")
	case p.isAny("USER", "SHARED", "STREAM") && p.tokenIs(p.ahead(), "TABLE"):
		kind := fold(p.raw())
		p.advance()
		p.advance()
		return p.dropTable(kind)
	case p.accept("USER"):
		return p.dropUser()
	case p.accept("API"):
		return p.dropAPIKey()
	case p.is("STORAGE"):
		return p.dropLocation()
	case p.accept("BACKUP"):
		return p.dropBackup()
	case p.accept("POLICY"):
		return p.dropPolicy()
	case p.isAny("VIEW", "INDEX", "SEQUENCE"):
		return p.later("DROP " + strings.ToUpper(p.raw()))
	case p.isAny("SCHEMA", "DATABASE"):
		return nil, p.syntax("found "+p.raw()+", expected NAMESPACE", "write DROP NAMESPACE")
	}
	return nil, p.unexpected("NAMESPACE", "TABLE", "USER", "SHARED", "STREAM", "STORAGE", "API KEY", "BACKUP")
}

package sql

import "strconv"

// rowsMax bounds the rows of one INSERT … VALUES; a server may set a lower limit.
const rowsMax = 100_000

// insert parses what follows INSERT.
func (p *parser) insert() (Statement, error) {
	if p.is("OR") {
		return nil, p.notSupported("INSERT OR", "write INSERT INTO … ON CONFLICT")
	}
	if err := p.expect("INTO"); err != nil {
		return nil, err
	}
	s := &Insert{}
	var err error
	if s.Table, err = p.tableName(); err != nil {
		return nil, err
	}
	if p.accept("AS") {
		if s.Alias, _, err = p.name("an alias"); err != nil {
			return nil, err
		}
	}
	if p.sym('(') && !p.queryInParens() {
		if s.Columns, err = p.columnList(); err != nil {
			return nil, err
		}
	}
	if p.is("BY") {
		return nil, p.notSupported("INSERT … BY NAME", "name the columns: INSERT INTO t (a, b)")
	}
	if err = p.insertSource(s); err != nil {
		return nil, err
	}
	if p.accept("ON") {
		if err = p.expect("CONFLICT"); err != nil {
			return nil, err
		}
		if err = p.onConflict(s); err != nil {
			return nil, err
		}
	}
	s.Returning, err = p.returning()
	return s, err
}

// insertSource parses DEFAULT VALUES, VALUES or a query.
func (p *parser) insertSource(s *Insert) error {
	switch {
	case p.accept("DEFAULT"):
		s.DefaultValues = true
		return p.expect("VALUES")
	case p.is("VALUES"):
		before := *p
		p.advance()
		if err := p.rows(s); err != nil {
			return err
		}
		if p.endOfInsert() {
			return nil
		}
		*p, s.Rows = before, nil // VALUES … ORDER BY, UNION: a query
	case !p.startsQuery() || p.tok.kind == tokBad:
		return p.unexpected("VALUES", "SELECT", "DEFAULT VALUES")
	}
	if p.is("WITH") {
		if verb := p.verbBehindWith(); verb != "" {
			return p.unexpected("a query")
		}
	}
	q, err := p.fragment("a query", endOfQuery)
	if err != nil {
		return err
	}
	s.Query = &q
	return nil
}

// endOfInsert says whether the rows of VALUES are the whole source of an INSERT.
func (p *parser) endOfInsert() bool {
	switch p.tok.kind {
	case tokEnd, tokBad:
		return true
	case tokWord:
		return !p.isAny("UNION", "INTERSECT", "EXCEPT", "ORDER", "LIMIT", "OFFSET", "FETCH")
	}
	return true
}

// queryInParens says whether the parenthesis at the current token holds a query,
// not column names.
func (p *parser) queryInParens() bool {
	look := *p
	for look.acceptSym('(') {
	}
	return look.isAny("SELECT", "WITH", "FROM", "TABLE", "PIVOT", "UNPIVOT") || look.is("VALUES") && look.ahead().sym == '('
}

// columnList parses (a, b, …).
func (p *parser) columnList() ([]ColumnRef, error) {
	if err := p.expectSym('('); err != nil {
		return nil, err
	}
	list := make([]ColumnRef, 0, 8)
	for {
		if len(list) == columnsMax {
			return nil, p.syntax("found too many columns, expected at most "+strconv.Itoa(columnsMax), "")
		}
		name, pos, err := p.name("a column")
		if err != nil {
			return nil, err
		}
		for _, c := range list {
			if c.Name == name {
				return nil, p.errorAt(pos, CodeSyntax, "found the column "+clip(name)+" twice", "")
			}
		}
		list = append(list, ColumnRef{Name: name, Pos: pos})
		if p.acceptSym(',') {
			continue
		}
		if p.acceptSym(')') {
			return list, nil
		}
		return nil, p.unexpected(",", ")")
	}
}

// rows parses (1, 'a'), (2, 'b'), …. All rows are as long as the first.
func (p *parser) rows(s *Insert) error {
	width := len(s.Columns)
	for {
		pos := p.tok.start
		if err := p.expectSym('('); err != nil {
			return err
		}
		exprs := make([]Expr, 0, max(width, 4))
		for {
			e, err := p.expr()
			if err != nil {
				return err
			}
			exprs = append(exprs, e)
			if p.acceptSym(',') {
				continue
			}
			if p.acceptSym(')') {
				break
			}
			return p.unexpected(",", ")")
		}
		if width == 0 {
			width = len(exprs)
		}
		if len(exprs) != width {
			return p.errorAt(pos, CodeSyntax, "found a row of "+strconv.Itoa(len(exprs))+" values, expected "+strconv.Itoa(width), "")
		}
		if len(s.Rows) == rowsMax {
			return p.errorAt(pos, CodeSyntax, "found too many rows, expected at most "+strconv.Itoa(rowsMax), "send them in several requests")
		}
		s.Rows = append(s.Rows, exprs)
		if !p.acceptSym(',') {
			return nil
		}
	}
}

// onConflict parses what follows ON CONFLICT.
func (p *parser) onConflict(s *Insert) error {
	start := *p
	if p.is("ON") {
		return p.notSupported("ON CONFLICT ON CONSTRAINT", "name the columns of the primary key: ON CONFLICT (id)")
	}
	c := &Conflict{}
	var err error
	if p.sym('(') {
		if c.Columns, err = p.columnList(); err != nil {
			return err
		}
		if p.is("WHERE") {
			return p.notSupported("ON CONFLICT (…) WHERE", "")
		}
	}
	if err = p.expect("DO"); err != nil {
		return err
	}
	switch {
	case p.accept("NOTHING"):
	case p.accept("UPDATE"):
		if err = p.expect("SET"); err != nil {
			return err
		}
		if c.Sets, err = p.sets(s.Table.Name, s.Alias); err != nil {
			return err
		}
		if c.Where, err = p.optional("WHERE", "a condition", endOfExpr); err != nil {
			return err
		}
	default:
		return p.unexpected("NOTHING", "UPDATE")
	}
	s.Conflict = c
	s.OnConflict = &Fragment{Text: p.text[start.tok.start:p.last.end], Pos: start.tok.start}
	return nil
}

// returning parses RETURNING … at the end of a statement.
func (p *parser) returning() (*Fragment, error) {
	return p.optional("RETURNING", "a column", endOfReturning)
}

// update parses what follows UPDATE.
func (p *parser) update(verb token) (Statement, error) {
	if p.is("EXTENSIONS") && !p.tokenIs(p.ahead(), "SET") {
		return nil, p.forbid(verb, "UPDATE EXTENSIONS")
	}
	s := &Update{}
	var err error
	if s.Table, err = p.tableName(); err != nil {
		return nil, err
	}
	if s.Alias, err = p.alias("SET"); err != nil {
		return nil, err
	}
	if err = p.expect("SET"); err != nil {
		return nil, err
	}
	if s.Sets, err = p.sets(s.Table.Name, s.Alias); err != nil {
		return nil, err
	}
	if s.From, err = p.optional("FROM", "a table", endOfFrom); err != nil {
		return nil, err
	}
	if s.Where, err = p.optional("WHERE", "a condition", endOfExpr); err != nil {
		return nil, err
	}
	s.Returning, err = p.returning()
	return s, err
}

// delete parses what follows DELETE.
func (p *parser) delete() (Statement, error) {
	if err := p.expect("FROM"); err != nil {
		return nil, err
	}
	s := &Delete{}
	var err error
	if s.Table, err = p.tableName(); err != nil {
		return nil, err
	}
	if s.Alias, err = p.alias("USING", "WHERE", "RETURNING"); err != nil {
		return nil, err
	}
	if s.Using, err = p.optional("USING", "a table", endOfFrom); err != nil {
		return nil, err
	}
	if s.Where, err = p.optional("WHERE", "a condition", endOfExpr); err != nil {
		return nil, err
	}
	s.Returning, err = p.returning()
	return s, err
}

// alias parses [AS] alias; the given keywords, one of which has to follow unless the
// statement ends, are none.
func (p *parser) alias(keywords ...string) (string, error) {
	if p.accept("AS") {
		alias, _, err := p.name("an alias")
		return alias, err
	}
	if p.tok.kind != tokWord && p.tok.kind != tokQuoted || p.isAny(keywords...) {
		return "", nil
	}
	if next := p.ahead(); next.kind != tokEnd && !p.oneOf(next, keywords) && next.sym != ';' && next.sym != ')' {
		return "", p.unexpected(keywords...)
	}
	alias, _, err := p.name("an alias")
	return alias, err
}

func (p *parser) oneOf(t token, keywords []string) bool {
	for _, k := range keywords {
		if p.tokenIs(t, k) {
			return true
		}
	}
	return false
}

// sets parses a = expr, x.a = expr, (a, b) = (e1, e2), ….
func (p *parser) sets(table, alias string) ([]Set, error) {
	var list []Set
	for {
		from := len(list)
		var err error
		if p.sym('(') {
			list, err = p.setTuple(list)
		} else {
			list, err = p.setOne(list, table, alias)
		}
		if err != nil {
			return nil, err
		}
		if len(list) > columnsMax {
			return nil, p.syntax("found too many assignments, expected at most "+strconv.Itoa(columnsMax), "")
		}
		for i := from; i < len(list); i++ {
			for _, s := range list[:i] {
				if s.Column == list[i].Column {
					return nil, p.errorAt(list[i].Pos, CodeSyntax, "found two assignments to the column "+clip(s.Column), "")
				}
			}
		}
		if !p.acceptSym(',') {
			return list, nil
		}
	}
}

func (p *parser) setOne(list []Set, table, alias string) ([]Set, error) {
	column, pos, err := p.name("a column")
	if err != nil {
		return nil, err
	}
	if p.acceptSym('.') {
		if column != alias && (alias != "" || column != table) {
			want := alias
			if want == "" {
				want = table
			}
			return nil, p.errorAt(pos, CodeSyntax, "found "+clip(column)+" before a column to set, expected "+clip(want), "")
		}
		if column, _, err = p.name("a column"); err != nil {
			return nil, err
		}
	}
	if p.sym('[') || p.sym('.') {
		return nil, p.notSupported("setting a part of a column", "set the whole column")
	}
	if err = p.expectSym('='); err != nil {
		return nil, err
	}
	if p.sym('=') {
		return nil, p.unexpected("a value")
	}
	value, err := p.expr()
	return append(list, Set{Column: column, Pos: pos, Value: value}), err
}

func (p *parser) setTuple(list []Set) ([]Set, error) {
	pos := p.tok.start
	columns, err := p.columnList()
	if err != nil {
		return nil, err
	}
	if err = p.expectSym('='); err != nil {
		return nil, err
	}
	p.accept("ROW")
	if p.sym('(') && p.queryInParens() {
		return nil, p.notSupported("setting columns to a subquery's", "write one assignment for each column")
	}
	if err = p.expectSym('('); err != nil {
		return nil, err
	}
	for i := 0; ; i++ {
		value, err := p.expr()
		if err != nil {
			return nil, err
		}
		if i < len(columns) {
			list = append(list, Set{Column: columns[i].Name, Pos: columns[i].Pos, Value: value})
		}
		if p.acceptSym(',') {
			continue
		}
		if i+1 != len(columns) {
			return nil, p.errorAt(pos, CodeSyntax, "found "+strconv.Itoa(len(columns))+" columns and "+strconv.Itoa(i+1)+" values", "")
		}
		return list, p.expectSym(')')
	}
}

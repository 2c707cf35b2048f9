package sql

import (
	"strconv"
	"strings"
	"time"

	"kalamdb/row"
)

// Limits of CREATE TABLE.
const (
	columnsMax       = 1_000
	flushRowsMax     = 100_000_000
	flushIntervalMin = time.Second
	flushIntervalMax = 365 * 24 * time.Hour
)

// tableTypes are the words before TABLE.
var tableTypes = []string{"USER", "SHARED", "STREAM"}

// createTable parses from the word before TABLE on; kind is "" for plain CREATE TABLE.
func (p *parser) createTable(kind string) (Statement, error) {
	if err := p.expect("TABLE"); err != nil {
		return nil, err
	}
	s := &CreateTable{Type: kind}
	var err error
	if s.IfNotExists, err = p.ifNotExists(); err != nil {
		return nil, err
	}
	first := p.tok
	if s.Table, err = p.tableName(); err != nil {
		return nil, err
	}
	if s.Table.Namespace == "" {
		if err = p.refuseReserved(first, s.Table.Name); err != nil {
			return nil, err
		}
	}
	if !IdentOK(s.Table.Name) {
		return nil, p.errorAt(s.Table.Pos, CodeInvalidName, "found the table name "+clip(QuoteIdent(s.Table.Name))+
			", expected at most 63 letters a-z, digits and _, not a digit first", "")
	}
	if p.is("AS") {
		return nil, p.notSupported("CREATE TABLE AS", "create the table, then INSERT INTO … SELECT")
	}
	if err = p.columns(s); err != nil {
		return nil, err
	}
	if err = p.tableClauses(s); err != nil {
		return nil, err
	}
	if s.Type == "" {
		return nil, p.errorAt(s.Table.Pos, CodeSyntax, "CREATE TABLE does not say which type of table",
			"write CREATE USER TABLE, CREATE SHARED TABLE or CREATE STREAM TABLE, or WITH (type = 'user')")
	}
	return s, nil
}

// columns parses ( column, …, PRIMARY KEY (a, b) ).
func (p *parser) columns(s *CreateTable) error {
	if err := p.expectSym('('); err != nil {
		return err
	}
	keyPos := -1 // where a primary key was declared
	for {
		if p.is("PRIMARY") && p.tokenIs(p.ahead(), "KEY") {
			pos := p.tok.start
			if keyPos >= 0 {
				return p.syntax("found a second primary key", "write PRIMARY KEY (a, b) for a key of several columns")
			}
			key, err := p.keyColumns(s)
			if err != nil {
				return err
			}
			s.Key, keyPos = key, pos
		} else if err := p.column(s, &keyPos); err != nil {
			return err
		}
		if p.acceptSym(',') {
			continue
		}
		if p.acceptSym(')') {
			break
		}
		return p.unexpected(",", ")", "NOT NULL", "DEFAULT", "PRIMARY KEY", "AUTO_INCREMENT")
	}
	if len(s.Columns) == 0 {
		return p.errorAt(s.Table.Pos, CodeSyntax, "found a table without columns", "")
	}
	return p.checkKey(s, keyPos)
}

// keyColumns parses PRIMARY KEY (a, b).
func (p *parser) keyColumns(s *CreateTable) ([]string, error) {
	if err := p.expect("PRIMARY", "KEY"); err != nil {
		return nil, err
	}
	refs, err := p.columnList()
	if err != nil {
		return nil, err
	}
	key := make([]string, len(refs))
	for i, r := range refs {
		key[i] = r.Name
	}
	return key, nil
}

// checkKey holds the key against the columns, now that all are known.
func (p *parser) checkKey(s *CreateTable, pos int) error {
	for _, k := range s.Key {
		c := columnNamed(s.Columns, k)
		if c == nil {
			hint := ""
			names := make([]string, len(s.Columns))
			for i := range s.Columns {
				names[i] = s.Columns[i].Name
			}
			if near, ok := Nearest(k, names); ok {
				hint = "did you mean " + near + "?"
			}
			return p.errorAt(pos, CodeSyntax, "the primary key names the column "+clip(k)+", which the table does not have", hint)
		}
		if !c.Type.Keyable() {
			return p.errorAt(c.Pos, CodeInvalidType, "column "+c.Name+" of type "+c.Type.String()+" cannot be part of a primary key", "")
		}
	}
	return nil
}

func columnNamed(columns []ColumnDef, name string) *ColumnDef {
	for i := range columns {
		if columns[i].Name == name {
			return &columns[i]
		}
	}
	return nil
}

// tableConstraints begin table constraints that we do not have.
var tableConstraints = []string{"UNIQUE", "CHECK", "FOREIGN", "CONSTRAINT", "REFERENCES", "GENERATED", "COLLATE"}

// column parses one column of CREATE TABLE.
func (p *parser) column(s *CreateTable, keyPos *int) error {
	for _, w := range tableConstraints[:4] {
		if p.is(w) {
			return p.notSupported(w, "")
		}
	}
	if len(s.Columns) == columnsMax {
		return p.syntax("the table has too many columns, expected at most "+strconv.Itoa(columnsMax), "")
	}
	var c ColumnDef
	var err error
	if c.Name, c.Pos, err = p.newName("a column"); err != nil {
		return err
	}
	if columnNamed(s.Columns, c.Name) != nil {
		return p.errorAt(c.Pos, CodeSyntax, "column "+c.Name+" is declared twice", "")
	}
	switch c.Name {
	case row.ColSeq, row.ColUpdated, row.ColDeleted:
		return p.errorAt(c.Pos, CodeInvalidName, "column "+c.Name+" is a system column, which every table has", "leave it out")
	}
	if c.Type, err = p.columnType(); err != nil {
		return err
	}
	if err = p.constraints(s, &c, keyPos); err != nil {
		return err
	}
	s.Columns = append(s.Columns, c)
	return nil
}

// constraints parses what follows the type of a column.
func (p *parser) constraints(s *CreateTable, c *ColumnDef, keyPos *int) error {
	for p.tok.kind == tokWord {
		pos := p.tok.start
		switch {
		case p.accept("NOT"):
			if err := p.expect("NULL"); err != nil {
				return err
			}
			c.NotNull = true
		case p.accept("NULL"):
		case p.accept("PRIMARY"):
			if err := p.expect("KEY"); err != nil {
				return err
			}
			if *keyPos >= 0 {
				return p.errorAt(pos, CodeSyntax, "found a second primary key", "write PRIMARY KEY (a, b) for a key of several columns")
			}
			*keyPos = pos
			c.PrimaryKey, s.Key = true, []string{c.Name}
		case p.accept("AUTO_INCREMENT"), p.accept("AUTOINCREMENT"):
			if c.Type.Kind != row.BigInt {
				return p.errorAt(pos, CodeInvalidType, "found AUTO_INCREMENT on column "+c.Name+" of type "+c.Type.String()+", expected BIGINT", "")
			}
			for i := range s.Columns {
				if s.Columns[i].AutoIncrement {
					return p.errorAt(pos, CodeSyntax, "found a second AUTO_INCREMENT column, the first is "+s.Columns[i].Name, "")
				}
			}
			c.AutoIncrement = true
		case p.accept("DEFAULT"):
			if c.Default != "" {
				return p.errorAt(pos, CodeSyntax, "found a second DEFAULT of column "+c.Name, "")
			}
			f, err := p.fragment("an expression", endOfDefault)
			if err != nil {
				return err
			}
			c.Default = f.Text
		case p.isAny(tableConstraints...):
			return p.notSupported(strings.ToUpper(p.raw()), "")
		default:
			return p.unexpected(",", ")", "NOT NULL", "DEFAULT", "PRIMARY KEY", "AUTO_INCREMENT")
		}
	}
	if c.AutoIncrement && c.Default != "" {
		return p.errorAt(c.Pos, CodeSyntax, "column "+c.Name+" has AUTO_INCREMENT and a DEFAULT", "leave one out")
	}
	return nil
}

// endOfDefault is where the expression of DEFAULT ends: at the next constraint. A
// NULL that follows a whole operand is one.
func endOfDefault(p *parser) bool {
	if endOfExpr(p) {
		return true
	}
	if p.tok.kind != tokWord || p.tokenIs(p.last, "DEFAULT") {
		return false
	}
	switch {
	case p.is("NOT"):
		return p.tokenIs(p.ahead(), "NULL") && !p.tokenIs(p.last, "IS")
	case p.is("NULL"):
		return p.operandBefore()
	case p.is("PRIMARY"):
		return p.tokenIs(p.ahead(), "KEY")
	}
	return p.isAny("AUTO_INCREMENT", "AUTOINCREMENT", "DEFAULT") || p.clauseAt(tableConstraints...)
}

// operandBefore says whether the token before the current one ends an operand.
func (p *parser) operandBefore() bool {
	switch p.last.kind {
	case tokSymbol:
		return isClosing(p.last.sym)
	case tokWord:
		for _, operator := range []string{"IS", "NOT", "AND", "OR", "LIKE", "ILIKE", "IN", "FROM", "ELSE", "THEN", "WHEN", "CASE"} {
			if p.tokenIs(p.last, operator) {
				return false
			}
		}
	}
	return true
}

// tableClauses parses what follows the columns, in any order.
func (p *parser) tableClauses(s *CreateTable) error {
	for p.tok.kind == tokWord {
		pos := p.tok.start
		switch {
		case p.accept("LOCATION"):
			if s.Location != "" || s.LocationRef != "" {
				return p.errorAt(pos, CodeSyntax, "found a second LOCATION", "")
			}
			target := &s.Location
			if p.accept("REFERENCE") {
				target = &s.LocationRef
			}
			text, at, err := p.str("a quoted location")
			if err == nil && text == "" {
				err = p.errorAt(at, CodeInvalidValue, "found an empty location", "")
			}
			if err != nil {
				return err
			}
			*target, s.LocationPos = text, at
		case p.accept("FLUSH"):
			if err := p.flushPolicy(s, pos); err != nil {
				return err
			}
		case p.accept("WITH"):
			if s.Options != nil {
				return p.errorAt(pos, CodeSyntax, "found a second WITH", "")
			}
			o, err := p.options()
			if err == nil {
				err = p.tableOptions(s, o)
			}
			if err != nil {
				return err
			}
		default:
			return p.unexpected("LOCATION", "FLUSH POLICY", "WITH", "the end of the statement")
		}
	}
	return nil
}

// flushPolicy parses what follows FLUSH: POLICY, then ROWS n, ROW_LIMIT n and
// INTERVAL '…' in any combination.
func (p *parser) flushPolicy(s *CreateTable, pos int) error {
	if err := p.expect("POLICY"); err != nil {
		return err
	}
	if s.HasFlush {
		return p.errorAt(pos, CodeSyntax, "found a second flush policy", "")
	}
	s.HasFlush = true
	for {
		at := p.tok.start
		switch {
		case p.is("ROWS"), p.is("ROW_LIMIT"):
			p.advance()
			if s.FlushRows != 0 {
				return p.errorAt(at, CodeSyntax, "the flush policy has ROWS twice", "")
			}
			at, text := p.tok.start, p.raw()
			if p.tok.kind != tokNumber {
				return p.unexpected("a number of rows")
			}
			p.advance()
			rows, err := p.flushRows(at, text)
			if err != nil {
				return err
			}
			s.FlushRows = rows
		case p.accept("INTERVAL"):
			if s.FlushInterval != 0 {
				return p.errorAt(at, CodeSyntax, "the flush policy has INTERVAL twice", "")
			}
			at, text := p.tok.start, p.raw()
			if p.tok.kind == tokNumber {
				p.advance()
			} else {
				var err error
				if text, at, err = p.str("a length of time such as '5 minutes'"); err != nil {
					return err
				}
			}
			interval, err := p.flushInterval(at, text)
			if err != nil {
				return err
			}
			s.FlushInterval = interval
		default:
			if s.FlushRows == 0 && s.FlushInterval == 0 {
				return p.unexpected("ROWS", "ROW_LIMIT", "INTERVAL")
			}
			return nil
		}
	}
}

func (p *parser) flushRows(pos int, text string) (int, error) {
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || n < 1 || n > flushRowsMax {
		return 0, p.errorAt(pos, CodeInvalidValue, "found a flush policy of "+clip(text)+" rows, expected 1 to "+strconv.Itoa(flushRowsMax), "")
	}
	return n, nil
}

func (p *parser) flushInterval(pos int, text string) (time.Duration, error) {
	d, err := Duration(text)
	if err != nil {
		return 0, p.errorAt(pos, CodeInvalidValue, err.Error(), "")
	}
	if d < flushIntervalMin || d > flushIntervalMax {
		return 0, p.errorAt(pos, CodeInvalidValue, "found a flush interval of "+clip(text)+", expected 1 second to 365 days", "")
	}
	return d, nil
}

// tableOptions takes type and flush_policy out of the WITH options.
func (p *parser) tableOptions(s *CreateTable, o options) error {
	s.Options = o.strings()
	for _, x := range o {
		switch x.key {
		case "type":
			kind := fold(x.value)
			if kind != "user" && kind != "shared" && kind != "stream" {
				hint := ""
				if near, ok := Nearest(kind, tableTypes); ok {
					hint = "did you mean '" + fold(near) + "'?"
				}
				return p.errorAt(x.pos, CodeInvalidValue, "found the table type "+clip(QuoteString(x.value))+", expected 'user', 'shared' or 'stream'", hint)
			}
			if s.Type != "" && s.Type != kind {
				return p.errorAt(x.pos, CodeInvalidValue, "found type = '"+kind+"' in CREATE "+strings.ToUpper(s.Type)+" TABLE", "leave one out")
			}
			s.Type = kind
		case "flush_policy":
			if s.HasFlush {
				return p.errorAt(x.pos, CodeSyntax, "found a second flush policy", "")
			}
			if err := p.flushOption(s, x); err != nil {
				return err
			}
		default:
			continue
		}
		delete(s.Options, x.key)
	}
	return nil
}

// flushOption parses 'rows:1000,interval:60'.
func (p *parser) flushOption(s *CreateTable, x option) error {
	s.HasFlush = true
	for part := range strings.SplitSeq(x.value, ",") {
		key, value, _ := strings.Cut(part, ":")
		var err error
		switch key = fold(strings.TrimSpace(key)); {
		case (key == "rows" || key == "row_limit") && s.FlushRows == 0:
			s.FlushRows, err = p.flushRows(x.pos, value)
		case key == "interval" && s.FlushInterval == 0:
			s.FlushInterval, err = p.flushInterval(x.pos, value)
		default:
			err = p.errorAt(x.pos, CodeInvalidValue, "found the flush policy "+clip(QuoteString(x.value))+", expected for example 'rows:1000,interval:60'", "")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// dropTable parses what follows DROP … TABLE.
func (p *parser) dropTable(kind string) (Statement, error) {
	s := &DropTable{Type: kind}
	var err error
	if s.IfExists, err = p.ifExists(); err != nil {
		return nil, err
	}
	s.Table, err = p.tableName()
	return s, err
}

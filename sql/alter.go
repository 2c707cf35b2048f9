package sql

import (
	"strconv"
	"strings"
)

// alterActionsMax bounds the actions of one ALTER TABLE.
const alterActionsMax = 1_000

// alterTable parses what follows ALTER … TABLE; kind is "" for plain ALTER TABLE.
func (p *parser) alterTable(kind string) (Statement, error) {
	s := &AlterTable{Type: kind}
	var err error
	if s.IfExists, err = p.ifExists(); err != nil {
		return nil, err
	}
	if s.Table, err = p.tableName(); err != nil {
		return nil, err
	}
	for {
		if len(s.Actions) == alterActionsMax {
			return nil, p.syntax("found too many changes of one table, expected at most "+strconv.Itoa(alterActionsMax), "")
		}
		a, err := p.alterAction()
		if err != nil {
			return nil, err
		}
		s.Actions = append(s.Actions, a)
		if !p.acceptSym(',') {
			return s, nil
		}
	}
}

func (p *parser) alterAction() (AlterAction, error) {
	a := AlterAction{Pos: p.tok.start}
	switch {
	case p.accept("ADD"):
		return a, p.addColumn(&a)
	case p.accept("DROP"):
		a.Kind = DropColumn
		if p.isAny("CONSTRAINT", "PRIMARY") {
			return a, p.notSupported("DROP "+strings.ToUpper(p.raw()), "")
		}
		p.accept("COLUMN")
		var err error
		if a.IfExists, err = p.ifExists(); err != nil {
			return a, err
		}
		return a, p.alteredColumn(&a)
	case p.accept("RENAME"):
		return a, p.renameColumn(&a)
	case p.accept("MODIFY"):
		p.accept("COLUMN")
		return a, p.modifyColumn(&a)
	case p.accept("ALTER"):
		return a, p.alterColumn(&a)
	case p.accept("SET"):
		return a, p.setTableOptions(&a)
	}
	return a, p.unexpected("ADD COLUMN", "DROP COLUMN", "RENAME COLUMN", "MODIFY COLUMN", "ALTER COLUMN", "SET")
}

// alteredColumn reads the name of a column that is there.
func (p *parser) alteredColumn(a *AlterAction) (err error) {
	a.Column.Name, a.Column.Pos, err = p.name("a column")
	return err
}

// addColumn parses ADD [COLUMN] [IF NOT EXISTS] name TYPE [NOT NULL] [DEFAULT expr].
func (p *parser) addColumn(a *AlterAction) (err error) {
	a.Kind = AddColumn
	if p.isAny("PRIMARY") && p.tokenIs(p.ahead(), "KEY") {
		return p.notSupported("ADD PRIMARY KEY", "the primary key is fixed when the table is created")
	}
	p.accept("COLUMN")
	if a.IfNotExists, err = p.ifNotExists(); err != nil {
		return err
	}
	pos := p.tok.start
	var table CreateTable // of this one column
	keyPos := -1
	if err := p.column(&table, &keyPos); err != nil {
		return err
	}
	a.Column = table.Columns[0]
	switch {
	case a.Column.PrimaryKey:
		return p.errorAt(keyPos, CodeNotSupported, "adding a PRIMARY KEY is not supported yet", "the primary key is fixed when the table is created")
	case a.Column.AutoIncrement:
		return p.errorAt(pos, CodeNotSupported, "adding an AUTO_INCREMENT column is not supported yet", "DEFAULT SNOWFLAKE_ID() gives new rows an id")
	}
	return nil
}

// renameColumn parses RENAME [COLUMN] a TO b.
func (p *parser) renameColumn(a *AlterAction) (err error) {
	a.Kind = RenameColumn
	if p.is("TO") && !p.tokenIs(p.ahead(), "TO") {
		return p.notSupported("renaming a table", "")
	}
	p.accept("COLUMN")
	if err = p.alteredColumn(a); err != nil {
		return err
	}
	if err = p.expect("TO"); err != nil {
		return err
	}
	a.NewName, a.NewPos, err = p.newName("the new name of the column")
	return err
}

// modifyColumn parses the name and the type of MODIFY COLUMN.
func (p *parser) modifyColumn(a *AlterAction) (err error) {
	a.Kind = ModifyColumn
	if err = p.alteredColumn(a); err != nil {
		return err
	}
	return p.newType(a)
}

func (p *parser) newType(a *AlterAction) (err error) {
	if a.Column.Type, err = p.columnType(); err != nil {
		return err
	}
	if p.isAny("USING", "NOT", "NULL", "DEFAULT", "PRIMARY", "AUTO_INCREMENT", "COLLATE") {
		return p.notSupported(strings.ToUpper(p.raw())+" behind the new type", "MODIFY changes the type alone, to one that holds every value of the old one")
	}
	return nil
}

// alterColumn parses ALTER [COLUMN] c [SET DATA] TYPE t, PostgreSQL's MODIFY.
func (p *parser) alterColumn(a *AlterAction) (err error) {
	a.Kind = ModifyColumn
	p.accept("COLUMN")
	if err = p.alteredColumn(a); err != nil {
		return err
	}
	switch {
	case p.accept("TYPE"):
		return p.newType(a)
	case p.is("SET") && p.tokenIs(p.ahead(), "DATA"):
		p.advance()
		p.advance()
		if err = p.expect("TYPE"); err != nil {
			return err
		}
		return p.newType(a)
	case p.isAny("SET", "DROP"):
		what := "ALTER COLUMN " + strings.ToUpper(p.raw())
		p.advance()
		return p.notSupported(what+" "+strings.ToUpper(p.raw()), "")
	}
	return p.unexpected("TYPE", "SET DATA TYPE")
}

// setTableOptions parses SET (option = value, …).
func (p *parser) setTableOptions(a *AlterAction) error {
	a.Kind = SetOptions
	given, err := p.options()
	if err != nil {
		return err
	}
	for _, o := range given {
		if o.key == "type" {
			return p.errorAt(o.pos, CodeInvalidValue, "the type of a table cannot be changed", "")
		}
	}
	var table CreateTable
	if err := p.tableOptions(&table, given); err != nil {
		return err
	}
	a.HasFlush, a.FlushRows, a.FlushInterval, a.Options = table.HasFlush, table.FlushRows, table.FlushInterval, table.Options
	return nil
}

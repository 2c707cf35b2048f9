package kalamdb

import (
	"kalamdb/auth"
	"kalamdb/row"
	"kalamdb/sql"
)

// authorise refuses what the role may not do and what can be refused by the text
// alone. With early, the caller's expressions pass the gate too, because an earlier
// statement would otherwise run first.
func (db *DB) authorise(s *statement, early bool) error {
	if err := db.refuseReadOnly(s); err != nil {
		return err
	}
	need := auth.User
	switch st := s.Statement.(type) {
	case *sql.Unsupported:
		return fail(CodeNotSupportedYet, "%s is not supported yet", st.What).at(st.Start())
	case *sql.Select:
		return db.gateText(s, st.Text, early)
	case *sql.Explain:
		if st.Inner != nil {
			inner := *s
			inner.Statement = st.Inner
			return db.authorise(&inner, early)
		}
		return db.gateText(s, st.Select, early)
	case *sql.Insert, *sql.Update, *sql.Delete:
		if err := authoriseSystemWrite(s); err != nil {
			return err
		}
		if err := refuseSystemColumns(st); err != nil || !early {
			return err
		}
		return db.gateExpressions(s)
	case *sql.ExecuteAs:
		return db.authoriseExecuteAs(s, st, early)
	case *sql.Begin, *sql.Commit, *sql.Rollback, *sql.ShowNamespaces, *sql.ShowTables, *sql.ShowTableStats, *sql.Describe, *sql.Use, *sql.KillLiveQuery, *sql.KillQuery:
		return nil
	default:
		need = auth.DBA
	}
	if s.req.As.Role < need {
		return fail(CodeForbidden, "%s needs the role %s, the caller is %s", s.Verb(), need, s.req.As.Role).at(s.Start())
	}
	if err := refuseSystemTables(s); err != nil {
		return err
	}
	if err := refuseKeys(s.Statement); err != nil {
		return err
	}
	if !early {
		return nil
	}
	switch st := s.Statement.(type) {
	case *sql.Export:
		return db.gateText(s, st.Query, early)
	case *sql.CreateTable:
		return db.gateDefaults(st.Columns)
	case *sql.AlterTable:
		for _, a := range st.Actions {
			if err := db.gateDefaults([]sql.ColumnDef{a.Column}); err != nil {
				return err
			}
		}
	}
	return nil
}

// refuseSystemColumns refuses writes to system columns.
func refuseSystemColumns(s sql.Statement) error {
	var columns []sql.ColumnRef
	var sets []sql.Set
	switch st := s.(type) {
	case *sql.Insert:
		columns = st.Columns
		if st.Conflict != nil {
			sets = st.Conflict.Sets
		}
	case *sql.Update:
		sets = st.Sets
	}
	for _, set := range sets {
		columns = append(columns[:len(columns):len(columns)], sql.ColumnRef{Name: set.Column, Pos: set.Pos})
	}
	for _, c := range columns {
		if err := refuseSystemColumn(c.Name, c.Pos); err != nil {
			return err
		}
	}
	return nil
}

// refuseSystemColumn refuses to write a column that the server keeps.
func refuseSystemColumn(name string, pos int) error {
	switch name {
	case row.ColSeq, row.ColUpdated, row.ColDeleted:
		return fail(CodeForbidden, "column %s is kept by the server and cannot be written", name).at(pos)
	}
	return nil
}

func (db *DB) gateText(s *statement, f sql.Fragment, early bool) error {
	if !early {
		return nil
	}
	return db.gate(s, f.Text, fragmentPosition(f))
}

// gate plans text for the caller of s and forgets the plan.
func (db *DB) gate(s *statement, text string, where relocate) error {
	p, err := db.plan(text, where)
	if err != nil {
		return err
	}
	return s.gateAllUsers(p, where)
}

func (db *DB) gateDefaults(columns []sql.ColumnDef) error {
	for _, d := range columns {
		if d.Default == "" {
			continue
		}
		if _, err := db.plan("SELECT ("+d.Default+")", func(int) int { return d.Pos }); err != nil {
			return err
		}
	}
	return nil
}

// gateExpressions has the gate look at the caller's expressions of a DML statement
// before anything of the request runs. It needs no table to exist.
func (db *DB) gateExpressions(s *statement) error {
	var c composer
	item := func(f sql.Fragment) { c.text(", ").fragment(f) }
	values := func(sets []sql.Set) {
		for _, set := range sets {
			if set.Value.Kind == sql.Other {
				item(set.Value.Text)
			}
		}
	}
	var from, where, returning *sql.Fragment
	c.text("SELECT 1")
	switch st := s.Statement.(type) {
	case *sql.Insert:
		for _, exprs := range st.Rows {
			for _, e := range exprs {
				if e.Kind == sql.Other {
					item(e.Text)
				}
			}
		}
		if st.Conflict != nil {
			values(st.Conflict.Sets)
			if st.Conflict.Where != nil {
				item(*st.Conflict.Where)
			}
		}
		if st.Query != nil {
			c.text(" FROM ").fragment(*st.Query).text(" AS kalamdb_rows")
		}
		returning = st.Returning
	case *sql.Update:
		values(st.Sets)
		from, where, returning = st.From, st.Where, st.Returning
	case *sql.Delete:
		from, where, returning = st.Using, st.Where, st.Returning
	}
	if from != nil {
		c.text(" FROM ").raw(*from)
	}
	if where != nil {
		c.text("\nWHERE ").fragment(*where)
	}
	if len(c.segs) > 0 {
		if err := db.gate(s, c.String(), func(pos int) int { return c.position(pos, s.Start()) }); err != nil {
			return err
		}
	}
	if returning == nil {
		return nil
	}
	return db.gate(s, "SELECT "+returning.Text, func(pos int) int { return returning.Pos + max(pos-len("SELECT "), 0) })
}

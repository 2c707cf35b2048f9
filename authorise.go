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
	need := auth.User
	switch st := s.Statement.(type) {
	case *sql.Unsupported:
		return fail(CodeNotSupportedYet, "%s is not supported yet", st.What).at(st.Start())
	case *sql.Select:
		return db.gateText(st.Text, early)
	case *sql.Explain:
		return db.gateText(st.Select, early)
	case *sql.Insert, *sql.Update, *sql.Delete:
		if err := authoriseSystemWrite(s); err != nil {
			return err
		}
		if err := refuseClauses(st); err != nil || !early {
			return err
		}
		return db.gateExpressions(st)
	case *sql.ExecuteAs:
		return db.authoriseExecuteAs(s, st, early)
	case *sql.Begin, *sql.Commit, *sql.Rollback:
		return refuseTransaction(st)
	case *sql.ShowNamespaces, *sql.ShowTables, *sql.ShowTableStats, *sql.Describe, *sql.Use, *sql.KillLiveQuery:
		return nil
	default:
		need = auth.DBA
	}
	if s.req.As.Role < need {
		return fail(CodeForbidden, "%s needs the role %s, the caller is %s", s.Verb(), need, s.req.As.Role).at(s.Start())
	}
	if !early {
		return nil
	}
	switch st := s.Statement.(type) {
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

// refuseClauses refuses the parts of a DML statement that arrive later, and writes to
// system columns.
func refuseClauses(s sql.Statement) error {
	type clause struct {
		what string
		part *sql.Fragment
	}
	var later []clause
	var columns []sql.ColumnRef
	switch st := s.(type) {
	case *sql.Insert:
		later = []clause{{"INSERT … ON CONFLICT", st.OnConflict}, {"INSERT … RETURNING", st.Returning}}
		columns = st.Columns
	case *sql.Update:
		later = []clause{{"UPDATE … FROM", st.From}, {"UPDATE … RETURNING", st.Returning}}
		for _, set := range st.Sets {
			columns = append(columns, sql.ColumnRef{Name: set.Column, Pos: set.Pos})
		}
	case *sql.Delete:
		later = []clause{{"DELETE … USING", st.Using}, {"DELETE … RETURNING", st.Returning}}
	}
	for _, c := range later {
		if c.part != nil {
			return fail(CodeNotSupportedYet, "%s is not supported yet", c.what).at(c.part.Pos)
		}
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

func (db *DB) gateText(f sql.Fragment, early bool) error {
	if !early {
		return nil
	}
	_, err := db.plan(f.Text, fragmentPosition(f))
	return err
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
func (db *DB) gateExpressions(s sql.Statement) error {
	var c composer
	item := func(f sql.Fragment) { c.text(", ").fragment(f) }
	c.text("SELECT 1")
	switch st := s.(type) {
	case *sql.Insert:
		for _, exprs := range st.Rows {
			for _, e := range exprs {
				if e.Kind == sql.Other {
					item(e.Text)
				}
			}
		}
		if st.Query != nil {
			c.text(" FROM ").fragment(*st.Query).text(" AS kalamdb_rows")
		}
	case *sql.Update:
		for _, set := range st.Sets {
			if set.Value.Kind == sql.Other {
				item(set.Value.Text)
			}
		}
		if st.Where != nil {
			c.text(" WHERE ").fragment(*st.Where)
		}
	case *sql.Delete:
		if st.Where != nil {
			c.text(" WHERE ").fragment(*st.Where)
		}
	}
	if len(c.segs) == 0 {
		return nil
	}
	_, err := db.plan(c.String(), func(pos int) int { return c.position(pos, s.Start()) })
	return err
}

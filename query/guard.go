package query

import (
	"strings"

	"kalamdb/row"
)

// A Guard stands between a relation and the statements that name it: they see the rows
// that Rows holds for, without the hidden columns.
//
// The statement's own conditions must not run on other rows, not even to fail there: the
// message of a cast tells the value. DuckDB runs conditions in the order it likes and
// moves them as near to the files as it can, but never through a LIMIT. So the guarded
// rows are those of a subquery with a LIMIT that is never reached.
type Guard struct {
	Rows   *RowRule // nil: all rows
	Hidden []string // names of columns
}

// A RowRule is a condition about one row. It is a trusted part of a statement, and yet it
// passes the gate.
type RowRule struct {
	Filter *Filter
	plan   *Plan           // SELECT kalamdb_ordinal FROM table WHERE condition
	uses   map[string]bool // names in the condition that may be columns
}

// barrier ends the subquery of guarded rows.
const barrier = " LIMIT 9223372036854775807"

// RowRule compiles a condition about the columns of one row of the table. A condition that
// fails for a row is not true for it: what is said of the failure would tell the row. The
// error is an *Error about the text of the condition.
func (e *Engine) RowRule(table, condition string, schema *row.Schema, s Session) (*RowRule, error) {
	r, err := e.rowRule(table, " WHERE (", condition, "\n)", schema, s)
	if err != nil || r.Filter.Fast() {
		return r, err
	}
	return e.rowRule(table, " WHERE TRY(", condition, "\n)", schema, s)
}

func (e *Engine) rowRule(table, before, condition, behind string, schema *row.Schema, s Session) (*RowRule, error) {
	head := "SELECT * FROM " + quoteName(table) + before
	lp, err := e.PlanLive(head + condition + behind)
	if err == nil && lp.plan == nil {
		err = &Error{Code: "SYNTAX_ERROR", Message: "expected a condition about one row", Pos: -1}
	}
	var f *Filter
	if err == nil {
		f, err = e.Filter(lp, schema, false, s)
	}
	if err != nil {
		if qe, ok := err.(*Error); ok {
			moved := *qe
			if strings.HasPrefix(moved.Message, liveShape) {
				moved.Message = "expected a condition about the columns of one row, without other tables and parameters"
			}
			if moved.Pos >= 0 {
				moved.Pos = min(max(moved.Pos-len(head), 0), len(condition))
			}
			return nil, &moved
		}
		return nil, err
	}
	r := &RowRule{Filter: f, plan: lp.plan, uses: map[string]bool{}}
	for _, name := range lp.Uses {
		r.uses[name] = true
	}
	return r, nil
}

// Uses says whether the condition may use the column.
func (r *RowRule) Uses(column string) bool { return r.uses[column] }

// uses says whether the guard needs the column of the rows it lets pass.
func (g *Guard) uses(column string) bool { return g != nil && g.Rows != nil && g.Rows.uses[column] }

// open begins the subquery around what m writes. A file is read whole if columns are
// hidden: which of them the statement names must make no difference.
func (g *Guard) open(m *merge) {
	m.out.WriteString("SELECT ")
	if len(g.Hidden) == 0 {
		m.out.WriteString("* FROM (")
		return
	}
	whole := *m.ref
	whole.used = nil
	m.ref = &whole
	n := 0
	show := func(name string) {
		if n++; n > 1 {
			m.out.WriteString(", ")
		}
		m.out.WriteString(quoteName(name))
	}
	for _, c := range m.rel.Schema.Columns {
		if !g.hides(c.Name) {
			show(c.Name)
		}
	}
	for _, name := range []string{row.ColSeq, row.ColUpdated, row.ColDeleted} {
		if m.shown(name) {
			show(name)
		}
	}
	m.out.WriteString(" FROM (")
}

func (g *Guard) close(out *strings.Builder) {
	out.WriteString(")")
	if g.Rows == nil {
		return
	}
	p := g.Rows.plan
	ref := p.refs[0]
	out.WriteString(" AS " + quoteName(ref.name))
	from := ref.end
	for _, c := range p.cuts {
		out.WriteString(p.text[from:c.start] + c.insert)
		from = c.end
	}
	out.WriteString(p.text[from:p.end] + barrier)
}

func (g *Guard) hides(column string) bool {
	if g == nil {
		return false
	}
	for _, name := range g.Hidden {
		if name == column {
			return true
		}
	}
	return false
}

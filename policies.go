package kalamdb

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"kalamdb/auth"
	"kalamdb/catalog"
	"kalamdb/query"
	"kalamdb/row"
)

// Policies and column grants of SHARED tables. What a caller may know of such a table, and
// do to it, is decided here and nowhere else:
//
//	SELECT in any statement   rows of a SELECT policy, readable columns     query.Guard, in tableSources.relation
//	live queries              the same, of old and new versions alike       guardedFilter
//	UPDATE, DELETE            rows of SELECT and of its own policies        change.permitted
//	new rows                  WITH CHECK; SELECT too where the statement    change.refuse
//	                          reads them (UPDATE, RETURNING, DO UPDATE)
//
// Conditions look at one row alone, in its newest version. Several policies for the same
// command let through what one of them does; a table with policies, none of which is for
// the command and the role, lets nothing through.
//
// The role system is not bound, nor dba with Options.DBABypassesPolicies.

// tableRules are what the rules of a table mean for one user in one role.
type tableRules struct {
	db      *DB
	table   *catalog.Table
	session query.Session
	role    auth.Role
	hidden  []string // columns the role may not read

	mu       sync.Mutex // guards compiled; conditions are compiled under it
	compiled map[conditionOf]*condition
}

type conditionOf struct {
	command string
	check   bool // WITH CHECK, else USING
}

// A condition is what the policies for one command say about rows.
type condition struct {
	all, none bool
	rows      *query.RowRule // if it is neither
}

// rulesOf are the rules of t that bind the principal, nil if none do.
func (db *DB) rulesOf(s *statement, t *catalog.Table) *tableRules {
	as := s.req.As
	if t.Type != catalog.Shared || as.Role >= auth.System || as.Role >= auth.DBA && db.dbaBypasses {
		return nil
	}
	if len(t.Rules.Policies) == 0 && !t.Rules.Limits(as.Role) {
		return nil
	}
	return db.rules.of(rulesKey{t, as.User, as.Role}, func() *tableRules {
		r := &tableRules{db: db, table: t, session: db.session(s), role: as.Role, compiled: map[conditionOf]*condition{}}
		for _, c := range t.Schema().Columns {
			if !t.Rules.Readable(as.Role, c.ID) {
				r.hidden = append(r.hidden, c.Name)
			}
		}
		return r
	})
}

// keptRules are the rules that were compiled last, for tables as they are now.
type keptRules struct {
	mu   sync.Mutex // guards kept; nothing blocks under it
	kept map[rulesKey]*tableRules
}

type rulesKey struct {
	table *catalog.Table // which never changes
	user  row.UserID
	role  auth.Role
}

const keptRulesMax = 1024

func (k *keptRules) of(key rulesKey, build func() *tableRules) *tableRules {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r := k.kept[key]; r != nil {
		return r
	}
	if k.kept == nil || len(k.kept) >= keptRulesMax {
		k.kept = map[rulesKey]*tableRules{}
	}
	r := build()
	k.kept[key] = r
	return r
}

// condition is what the policies of the table say for the command.
func (r *tableRules) condition(command string, check bool) (*condition, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := conditionOf{command, check}
	if c := r.compiled[of]; c != nil {
		return c, nil
	}
	c := &condition{}
	policies := r.table.Rules.Policies
	if len(policies) == 0 {
		c.all = true
	} else {
		text := policyText(policies, command, check, r.role)
		c.all, c.none = text == "true", text == ""
		if c.none {
			text = "false"
		}
		if !c.all {
			var err error
			if c.rows, err = r.db.engine.RowRule(r.table.Ref.Name, text, r.table.Schema(), r.session); err != nil {
				return nil, &Error{Code: CodeInternal, Message: fmt.Sprintf("a policy of %s cannot be evaluated", r.table.Ref), Position: -1, Cause: err}
			}
		}
	}
	r.compiled[of] = c
	return c, nil
}

// policyText is the condition of all policies for the command: "" if there is none, "true"
// if one of them is always true.
func policyText(policies []catalog.Policy, command string, check bool, role auth.Role) string {
	var b strings.Builder
	for i := range policies {
		p := &policies[i]
		if !p.For(command, role) {
			continue
		}
		text := p.Using
		if (check || text == "") && p.Check != "" {
			text = p.Check
		}
		if strings.EqualFold(strings.TrimSpace(text), "true") {
			return "true"
		}
		if b.Len() > 0 {
			b.WriteString(" OR ")
		}
		b.WriteString("(" + text + "\n)") // the text may end with a comment
	}
	return b.String()
}

// match says of each row whether the policies let it through.
func (r *tableRules) match(ctx context.Context, command string, check bool, rows []*row.Row) ([]bool, error) {
	c, err := r.condition(command, check)
	if err != nil {
		return nil, err
	}
	if c.all || c.none {
		ok := make([]bool, len(rows))
		for i := range ok {
			ok[i] = c.all
		}
		return ok, nil
	}
	return c.rows.Filter.Match(ctx, rows)
}

// guard is what statements see the table through.
func (r *tableRules) guard() (*query.Guard, error) {
	if r == nil {
		return nil, nil
	}
	if len(r.hidden) == len(r.table.Schema().Columns) {
		return nil, fail(CodeForbidden, "the role %s may read no column of %s", r.role, r.table.Ref)
	}
	c, err := r.condition("select", false)
	if err != nil {
		return nil, err
	}
	return &query.Guard{Rows: c.rows, Hidden: r.hidden}, nil
}

// permitted says which of the rows that are there the statement may change.
func (c *change) permitted(ctx context.Context, command string, rows []*row.Row) ([]bool, error) {
	ok, err := c.rules.match(ctx, "select", false, rows)
	if err != nil {
		return nil, err
	}
	also, err := c.rules.match(ctx, command, false, rows)
	for i := range also {
		ok[i] = ok[i] && also[i]
	}
	return ok, err
}

// refuse refuses new rows that the policies for the command do not let be, and with read
// those that the caller could not read.
func (c *change) refuse(ctx context.Context, command string, rows []*row.Row, read bool) error {
	if c.rules == nil || len(rows) == 0 {
		return nil
	}
	ok, err := c.rules.match(ctx, command, true, rows)
	if err == nil && read {
		var also []bool
		also, err = c.rules.match(ctx, "select", false, rows)
		for i := range also {
			ok[i] = ok[i] && also[i]
		}
	}
	if err != nil {
		return err
	}
	for i := range ok {
		if !ok[i] {
			return fail(CodeForbidden, "a new row breaks the policies of %s", c.table.Ref).at(c.s.Start())
		}
	}
	return nil
}

// refuseEffect is refuse for the rows that e changes or shows.
func (c *change) refuseEffect(ctx context.Context, e *effect) error {
	if c.rules == nil {
		return nil
	}
	var updated, inserted []*row.Row
	version := c.table.Schema().Version
	for i := range e.Mutations {
		m := &e.Mutations[i]
		r := &row.Row{Schema: version, Values: m.Values}
		switch {
		case m.Op == row.Update, m.Op == row.Insert && i >= len(e.Mutations)-e.moved:
			updated = append(updated, r)
		case m.Op == row.Insert && c.reads:
			inserted = append(inserted, r)
		}
	}
	if err := c.refuse(ctx, "update", updated, true); err != nil {
		return err
	}
	return c.refuse(ctx, "insert", inserted, true)
}

// refuseHidden refuses a statement that has to read whole rows of a table of which its
// caller may read some columns.
func (c *change) refuseHidden(what string) error {
	if c.rules == nil || len(c.rules.hidden) == 0 {
		return nil
	}
	return fail(CodeForbidden, "%s needs all columns of %s, of which the role %s may read some", what, c.table.Ref, c.rules.role).at(c.s.Start())
}

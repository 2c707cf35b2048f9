package kalamdb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"kalamdb/auth"
	"kalamdb/catalog"
	"kalamdb/live"
	"kalamdb/query"
	"kalamdb/row"
	"kalamdb/sql"
)

// ruled finds the table of a policy or a grant.
func (db *DB) ruled(s *statement, name sql.Name, what string) (*catalog.Table, error) {
	t, err := db.table(s, name)
	if err == nil && t.Type != catalog.Shared {
		err = fail(CodeWrongTableType, "%s is a %s table, %s is for SHARED tables", t.Ref, t.Type, what).
			details("a USER table shows everybody the own rows only").at(name.Pos)
	}
	return t, err
}

// createPolicy runs CREATE POLICY.
func (db *DB) createPolicy(ctx context.Context, s *statement, st *sql.CreatePolicy) error {
	t, err := db.ruled(s, st.Table, "a policy")
	if err != nil {
		return err
	}
	p := catalog.Policy{Name: st.Name, Command: st.Command, Roles: st.Roles, Created: time.Now().UTC()}
	for _, part := range []struct {
		from *sql.Fragment
		to   *string
	}{{st.Using, &p.Using}, {st.Check, &p.Check}} {
		if part.from == nil {
			continue
		}
		if _, err := db.engine.RowRule(t.Ref.Name, part.from.Text, t.Schema(), db.session(s)); err != nil {
			return relocated(err, fragmentPosition(*part.from))
		}
		*part.to = part.from.Text
	}
	rules := t.Rules
	rules.Policies = slices.Clone(rules.Policies)
	i := slices.IndexFunc(rules.Policies, func(o catalog.Policy) bool { return o.Name == p.Name })
	switch {
	case i < 0:
		rules.Policies = append(rules.Policies, p)
	case st.IfNotExists:
		return nil
	case !st.Replace:
		return fail(CodeAlreadyExists, "%s has a policy %s already", t.Ref, p.Name).details("CREATE OR REPLACE POLICY puts another in its place at once").at(st.Pos)
	default:
		rules.Policies[i] = p
	}
	return db.setRules(ctx, t, rules, st.Pos)
}

// dropPolicy runs DROP POLICY. Without its last policy a table is open to everybody again
// whom its access level lets in.
func (db *DB) dropPolicy(ctx context.Context, s *statement, st *sql.DropPolicy) error {
	t, err := db.ruled(s, st.Table, "a policy")
	if err != nil {
		return err
	}
	rules := t.Rules
	i := slices.IndexFunc(rules.Policies, func(p catalog.Policy) bool { return p.Name == st.Name })
	if i < 0 {
		if st.IfExists {
			return nil
		}
		var names []string
		for _, p := range rules.Policies {
			names = append(names, p.Name)
		}
		nearest, _ := sql.Nearest(st.Name, names)
		return fail(CodeNotFound, "%s has no policy %s", t.Ref, st.Name).details(didYouMean(nearest)).at(st.Pos)
	}
	rules.Policies = slices.Delete(slices.Clone(rules.Policies), i, i+1)
	return db.setRules(ctx, t, rules, st.Pos)
}

// grant runs GRANT SELECT and REVOKE SELECT. A role that no grant names reads all columns.
func (db *DB) grant(ctx context.Context, s *statement, st *sql.Grant) error {
	t, err := db.ruled(s, st.Table, "GRANT SELECT")
	if err != nil {
		return err
	}
	var ids []row.ColumnID
	for _, c := range st.Columns {
		j, err := columnOf(t, c.Name, c.Pos)
		if err != nil {
			return err
		}
		ids = append(ids, t.Schema().Columns[j].ID)
	}
	rules := t.Rules
	rules.Grants = slices.Clone(rules.Grants)
	for _, role := range st.Roles {
		i := slices.IndexFunc(rules.Grants, func(g catalog.ColumnGrant) bool { return g.Role == role })
		grant := catalog.ColumnGrant{Role: role, Columns: []row.ColumnID{}}
		switch {
		case !st.Revoke && ids == nil: // all columns
			if i >= 0 {
				rules.Grants = slices.Delete(rules.Grants, i, i+1)
			}
			continue
		case !st.Revoke:
			if i >= 0 {
				grant.Columns = append(grant.Columns, rules.Grants[i].Columns...)
			}
			grant.Columns = append(grant.Columns, ids...)
			slices.Sort(grant.Columns)
			grant.Columns = slices.Compact(grant.Columns)
		case ids != nil: // what is left
			for _, c := range t.Schema().Columns {
				if !slices.Contains(ids, c.ID) && (i < 0 || slices.Contains(rules.Grants[i].Columns, c.ID)) {
					grant.Columns = append(grant.Columns, c.ID)
				}
			}
		}
		if i < 0 {
			rules.Grants = append(rules.Grants, grant)
		} else {
			rules.Grants[i] = grant
		}
	}
	return db.setRules(ctx, t, rules, st.Table.Pos)
}

// setRules gives t the rules and has its live queries begin anew: what they have sent was
// by the rules of before, and no change tells a row that is shown or hidden by new ones.
func (db *DB) setRules(ctx context.Context, t *catalog.Table, rules catalog.Rules, pos int) error {
	rules.Since = db.buffer.Durable()
	changed, err := db.catalog.SetRules(ctx, t, rules)
	if err != nil {
		return asError(err).at(pos)
	}
	db.endUnreadable(changed)
	db.hub.EndTable(t.Ref.ID, live.ReasonLagged)
	return nil
}

// refuseOldRules refuses to resume a live query from before the rules of its table changed.
func refuseOldRules(t *catalog.Table, from row.Seq) error {
	if t.Rules.Version == 0 || from > t.Rules.Since {
		return nil
	}
	return fail(CodeCursorExpired, "what may be read of %s has changed since %d", t.Ref, from).details("subscribe again with last_rows to get a new snapshot")
}

// refuseRuled refuses to change a column that a policy of the table names.
func (db *DB) refuseRuled(s *statement, t *catalog.Table, column, what string, pos int) error {
	for _, p := range t.Rules.Policies {
		for _, text := range []string{p.Using, p.Check} {
			if text == "" {
				continue
			}
			r, err := db.engine.RowRule(t.Ref.Name, text, t.Schema(), db.session(s))
			var qe *query.Error
			if err != nil && !errors.As(err, &qe) {
				return err
			}
			if err != nil || r.Uses(column) {
				return fail(CodeInUse, "column %s of %s is used by the policy %s and cannot be %s", column, t.Ref, p.Name, what).
					details("DROP POLICY " + p.Name + " first").at(pos)
			}
		}
	}
	return nil
}

func policyRows(_ *DB, t *catalog.Table, add func(...row.Value)) {
	for _, p := range t.Rules.Policies {
		roles := make([]row.Value, len(p.Roles))
		for i, r := range p.Roles {
			roles[i] = text(r)
		}
		add(text(t.Ref.Colon()), text(t.Ref.Namespace), text(t.Ref.Name), text(p.Name), text(p.Command), row.ListValue(roles), textOrNull(p.Using), textOrNull(p.Check), moment(p.Created))
	}
}

func grantRows(_ *DB, t *catalog.Table, add func(...row.Value)) {
	for _, g := range t.Rules.Grants {
		columns := []row.Value{}
		for _, c := range t.Schema().Columns {
			if slices.Contains(g.Columns, c.ID) {
				columns = append(columns, text(c.Name))
			}
		}
		add(text(t.Ref.Colon()), text(t.Ref.Namespace), text(t.Ref.Name), text(g.Role), row.ListValue(columns))
	}
}

// refuseRuledNumbers refuses to tell, of a table whose policies bind the caller, numbers
// about all rows.
func (db *DB) refuseRuledNumbers(s *statement, t *catalog.Table, what string) error {
	if s.req.As.Role >= auth.DBA || db.rulesOf(s, t) == nil {
		return nil
	}
	return fail(CodeForbidden, "%s of %s would tell about rows that its policies keep from the role %s", what, t.Ref, s.req.As.Role).at(s.Start())
}

// guardedTables are the lines of EXPLAIN for a statement that reads tables with policies
// which bind the caller; nil if it reads none. More would tell about rows he must not know of.
func guardedTables(tables []query.TableRef, rels []*query.Relation) []string {
	var lines []string
	for i, rel := range rels {
		if rel.Guard != nil {
			lines = append(lines, fmt.Sprintf("table %s: rows and columns by its policies, of which a plan would tell too much", tables[i].Name))
		}
	}
	return lines
}

package catalog

import (
	"context"
	"fmt"
	"slices"
	"time"

	"kalamdb/auth"
	"kalamdb/row"
)

const (
	policiesMax      = 64       // of one table
	policyTextMax    = 16 << 10 // bytes of one condition
	policyCommandAll = "all"
)

// policyCommands are what a policy can be for.
var policyCommands = []string{policyCommandAll, "select", "insert", "update", "delete"}

// Rules say which rows and columns of a SHARED table a role may read and write. They are
// not part of the schema: changing them changes no row.
type Rules struct {
	Version  uint64  // grows with every change; 0: the table never had any
	Since    row.Seq // the newest commit when they were changed last
	Policies []Policy
	Grants   []ColumnGrant
}

// A Policy lets some roles do something with the rows that its conditions hold for. A
// table that has one gives nobody anything that no policy lets him have.
type Policy struct {
	Name    string    `json:"name"`
	Command string    `json:"command"`         // all, select, insert, update or delete
	Roles   []string  `json:"roles,omitempty"` // none: every role
	Using   string    `json:"using,omitempty"` // a condition about rows that are there
	Check   string    `json:"check,omitempty"` // a condition about rows to be; "": Using
	Created time.Time `json:"created"`
}

// For says whether the policy is for the command (select, insert, …) of the role.
func (p *Policy) For(command string, role auth.Role) bool {
	return (p.Command == policyCommandAll || p.Command == command) && (len(p.Roles) == 0 || slices.Contains(p.Roles, role.String()))
}

// A ColumnGrant limits what a role reads of a table to some of the columns. A role without
// one reads all.
type ColumnGrant struct {
	Role    string         `json:"role"`
	Columns []row.ColumnID `json:"columns"` // those of dropped columns do no harm
}

// Readable says whether the role may read the column.
func (r *Rules) Readable(role auth.Role, id row.ColumnID) bool {
	g := r.grant(role)
	return g == nil || slices.Contains(g.Columns, id)
}

// ReadsNothing says that the role may read none of the columns of t.
func (t *Table) ReadsNothing(role auth.Role) bool {
	return t.Rules.grant(role) != nil && !slices.ContainsFunc(t.Schema().Columns, func(c row.Column) bool { return t.Rules.Readable(role, c.ID) })
}

// Limits says whether the role may read some columns only.
func (r *Rules) Limits(role auth.Role) bool { return r.grant(role) != nil }

func (r *Rules) grant(role auth.Role) *ColumnGrant {
	for i := range r.Grants {
		if r.Grants[i].Role == role.String() {
			return &r.Grants[i]
		}
	}
	return nil
}

// valid says what is wrong with the rules of t, or nil.
func (r *Rules) valid(t *Table) error {
	if len(r.Policies)+len(r.Grants) > 0 && t.Type != Shared {
		return fmt.Errorf("%w: policies and column grants of the %s table %s, expected a shared table", ErrInvalid, t.Type, t.Ref)
	}
	if n := len(r.Policies); n > policiesMax {
		return fmt.Errorf("%w: table %s has %d policies, the limit is %d", ErrInvalid, t.Ref, n, policiesMax)
	}
	for i, p := range r.Policies {
		if err := checkName("policy", p.Name); err != nil {
			return err
		}
		switch {
		case slices.ContainsFunc(r.Policies[:i], func(o Policy) bool { return o.Name == p.Name }):
			return fmt.Errorf("%w: table %s has two policies %s", ErrInvalid, t.Ref, p.Name)
		case !slices.Contains(policyCommands, p.Command):
			return fmt.Errorf("%w: policy %s is for %q, expected one of %v", ErrInvalid, p.Name, p.Command, policyCommands)
		case p.Using == "" && p.Check == "":
			return fmt.Errorf("%w: policy %s has no condition", ErrInvalid, p.Name)
		case len(p.Using) > policyTextMax || len(p.Check) > policyTextMax:
			return fmt.Errorf("%w: a condition of policy %s is longer than %d bytes", ErrInvalid, p.Name, policyTextMax)
		}
		for _, role := range p.Roles {
			if _, err := auth.ParseRole(role); err != nil {
				return fmt.Errorf("%w: policy %s: %w", ErrInvalid, p.Name, err)
			}
		}
	}
	for i, g := range r.Grants {
		if _, err := auth.ParseRole(g.Role); err != nil {
			return fmt.Errorf("%w: column grant: %w", ErrInvalid, err)
		}
		if slices.ContainsFunc(r.Grants[:i], func(o ColumnGrant) bool { return o.Role == g.Role }) {
			return fmt.Errorf("%w: table %s has two column grants of the role %s", ErrInvalid, t.Ref, g.Role)
		}
	}
	return nil
}

// SetRules gives t, as the caller saw it, new rules; their Version is the catalog's to
// say. ErrConflict if t is not the newest any more.
func (c *Catalog) SetRules(ctx context.Context, t *Table, rules Rules) (*Table, error) {
	end, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	now, err := c.Table(t.Ref.Namespace, t.Ref.Name)
	if err != nil {
		return nil, err
	}
	if now != t {
		return nil, fmt.Errorf("table %s was %w", t.Ref, ErrConflict)
	}
	changed := *t
	changed.Updated = time.Now().UTC()
	changed.Rules = rules
	changed.Rules.Version = t.Rules.Version + 1
	if err := changed.valid(); err != nil {
		return nil, err
	}
	object := tableDoc(t.Ref.Namespace, t.Ref.Name)
	if err := c.write(ctx, object, &document{Table: newTableJSON(&changed)}); err != nil {
		return nil, err
	}
	return c.entries[object].doc.table, nil
}

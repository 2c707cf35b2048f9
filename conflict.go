package kalamdb

import (
	"context"
	"slices"

	"kalamdb/catalog"
	"kalamdb/ingest"
	"kalamdb/row"
	"kalamdb/sql"
)

// An upsert is INSERT … ON CONFLICT: rows whose key is taken are left out, or change the
// row that has it.
type upsert struct {
	c       *change
	inserts []ingest.Mutation
	set     *setter // nil for DO NOTHING
}

func newUpsert(c *change, st *sql.Insert, inserts []ingest.Mutation) (*upsert, error) {
	if err := checkConflictTarget(c.table, st); err != nil {
		return nil, err
	}
	u := &upsert{c: c, inserts: inserts}
	taken := make(map[string]bool, len(inserts))
	kept := inserts[:0]
	for _, m := range inserts {
		key := string(m.Key)
		if !taken[key] {
			kept = append(kept, m)
		} else if len(st.Conflict.Sets) > 0 {
			return nil, fail(CodeDuplicateKey, "two rows of the INSERT have the same primary key, and DO UPDATE can change a row only once").
				at(st.OnConflict.Pos)
		}
		taken[key] = true
	}
	u.inserts = kept
	if len(st.Conflict.Sets) == 0 {
		return u, nil
	}
	targets, err := targetsOf(c.table, st.Conflict.Sets)
	u.set = &setter{c: c, names: names(st.Table, st.Alias), aliased: st.Alias != "", sets: st.Conflict.Sets, targets: targets, cond: st.Conflict.Where, excluded: true}
	return u, err
}

// names are what a statement may call the rows of its table: the alias alone, if there is
// one.
func names(table sql.Name, alias string) []string {
	if alias != "" {
		return []string{alias}
	}
	return []string{table.Name}
}

// checkConflictTarget makes sure that ON CONFLICT (…) names the primary key, if it
// names anything.
func checkConflictTarget(t *catalog.Table, st *sql.Insert) error {
	schema := t.Schema()
	key := schema.KeyIndexes()
	for _, ref := range st.Conflict.Columns {
		j, err := columnOf(t, ref.Name, ref.Pos)
		if err != nil {
			return err
		}
		if !slices.Contains(key, j) {
			return conflictTarget(t, ref.Pos)
		}
	}
	if n := len(st.Conflict.Columns); n != 0 && n != len(key) {
		return conflictTarget(t, st.Conflict.Columns[0].Pos)
	}
	return nil
}

func conflictTarget(t *catalog.Table, pos int) error {
	schema := t.Schema()
	list := ""
	for i, j := range schema.KeyIndexes() {
		if i > 0 {
			list += ", "
		}
		list += schema.Columns[j].Name
	}
	return fail(CodeInvalidStatement, "ON CONFLICT names columns that are not the primary key of %s, expected ON CONFLICT (%s)", t.Ref, list).at(pos)
}

// look sorts the rows into those that are new and those that meet a row.
func (u *upsert) look(ctx context.Context, at *tableSources) (*effect, error) {
	e := u.c.effectOn()
	keys := make([][]byte, len(u.inserts))
	for i := range u.inserts {
		keys[i] = u.inserts[i].Key
	}
	found, err := at.find(ctx, u.c.table, e.Partition, keys)
	if err != nil {
		return nil, err
	}
	if u.set != nil {
		if err := u.refuseMet(ctx, found); err != nil {
			return nil, err
		}
	}
	var met []pair
	for _, m := range u.inserts {
		if r := found[string(m.Key)]; r != nil && !r.Deleted {
			met = append(met, pair{old: r, excluded: m.Values})
		}
	}
	values := make([][]row.Value, len(met))
	if u.set != nil {
		if len(met) == 0 {
			err = u.set.check(ctx, at)
		} else {
			values, err = u.set.apply(ctx, at, met)
		}
		if err != nil {
			return nil, err
		}
	}
	w := &rewriting{c: u.c, e: e}
	for _, m := range u.inserts { // in the order of the statement
		r := found[string(m.Key)]
		if r == nil || r.Deleted {
			e.Mutations = append(e.Mutations, m)
			continue
		}
		changed := values[0]
		values = values[1:]
		if changed != nil {
			if err := w.update(r, changed); err != nil {
				return nil, err
			}
		}
	}
	return w.finish(ctx, at)
}

// refuseMet refuses to change rows that the policies keep from the caller. DO UPDATE cannot
// leave them as they are without a word, as UPDATE does: the row of the statement would be
// lost.
func (u *upsert) refuseMet(ctx context.Context, found map[string]*row.Row) error {
	if u.c.rules == nil {
		return nil
	}
	var met []*row.Row
	for _, m := range u.inserts {
		if r := found[string(m.Key)]; r != nil && !r.Deleted {
			met = append(met, r)
		}
	}
	ok, err := u.c.permitted(ctx, "update", met)
	if err == nil && slices.Contains(ok, false) {
		err = fail(CodeForbidden, "ON CONFLICT DO UPDATE meets a row that the policies of %s do not let the caller change", u.c.table.Ref).at(u.c.s.Start())
	}
	return err
}

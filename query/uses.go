package query

import (
	"slices"

	"kalamdb/row"
)

// A uses is which columns a whole statement may name. A table whose file is read in part
// has no other columns in the statement that DuckDB gets, so a name that is missing here
// would be an error there, never a wrong row.
type uses struct {
	names map[string]bool // every part of every column reference, folded
	last  map[string]bool // the last parts: t may be the whole row of a table t
	stars map[string]bool // the t of t.*
	all   bool            // a * without a table, COLUMNS(…), #1
}

// usesOf walks the tree of a statement.
func usesOf(tree node) *uses {
	u := &uses{map[string]bool{}, map[string]bool{}, map[string]bool{}, false}
	u.walk(tree)
	return u
}

func (u *uses) walk(n node) {
	switch n.str("class") {
	case "COLUMN_REF":
		names := n.names("column_names")
		for i, name := range names {
			u.names[fold(name)] = true
			if i == len(names)-1 {
				u.last[fold(name)] = true
			}
		}
	case "STAR":
		if t := n.str("relation_name"); t != "" && !n.flag("columns") {
			u.stars[fold(t)] = true
		} else {
			u.all = true
		}
	case "POSITIONAL_REFERENCE":
		u.all = true
	}
	for _, name := range n.names("using_columns") {
		u.names[fold(name)] = true
	}
	for k, v := range n {
		if k == "function" && n.str("type") == "TABLE_FUNCTION" && fold(n.child(k).str("function_name")) == "all_users" {
			continue // its argument is a table
		}
		u.value(v)
	}
}

func (u *uses) value(v any) {
	switch v := v.(type) {
	case map[string]any:
		u.walk(v)
	case []any:
		for _, e := range v {
			u.value(e)
		}
	}
}

// of are the names that the statement may use of the table at r; nil: any.
func (u *uses) of(r *baseRef) map[string]bool {
	name := fold(r.name)
	if u.all || r.renamed || r.command || r.bare || u.stars[name] || u.last[name] {
		return nil
	}
	return u.names
}

// uses says whether the statement may use the column.
func (r *baseRef) uses(column string) bool { return r.used == nil || r.used[column] }

// needed are the columns that m names of the files of g, nil if it is all of them.
func (m *merge) needed(g *fileGroup) []row.ColumnID {
	if m.ref.used == nil {
		return nil
	}
	ids := []row.ColumnID{}
	joined := g.hasJoin()
	for _, c := range m.rel.Schema.Columns {
		if m.ref.used[c.Name] || m.rel.Guard.uses(c.Name) || joined && slices.Contains(m.rel.Schema.Key, c.ID) {
			ids = append(ids, c.ID)
		}
	}
	if m.shown(row.ColSeq) || len(g.files) > 1 {
		ids = append(ids, row.IDSeq)
	}
	if m.shown(row.ColUpdated) && m.ref.used[row.ColUpdated] {
		ids = append(ids, row.IDUpdated)
	}
	if m.ref.deleted || m.rel.ShowDeleted || slices.ContainsFunc(g.files, func(f *mergeFile) bool { return f.Deleted > 0 }) {
		ids = append(ids, row.IDDeleted)
	}
	return ids
}

package query

import (
	"slices"

	"kalamdb/row"
)

// A baseRef is one place where the statement reads a base table.
type baseRef struct {
	table      int  // position in Plan.tables
	start, end int  // of its name in the text
	command    bool // TABLE t: start is at the word TABLE
	nameStart  int
	name       string // its alias, else its name
	aliased    bool
	bare       bool // no system columns unless named: inside NATURAL JOIN or PIVOT
	sampled    bool
	renamed    bool            // its columns have other names here: t AS x(a, b)
	seq        bool            // the statement mentions its _seq
	deleted    bool            // the statement mentions its _deleted, so it also sees deleted rows
	used       map[string]bool // names of columns the statement may use; nil: any
	where      []predicate
	top        *topOf // nil: all rows may matter
}

// A starRef is a * of a select list and the tables it may show.
type starRef struct {
	end    int // behind the star
	tables []*baseRef
}

// A cut is a piece of the text to leave out, and what comes in its place.
type cut struct {
	start, end int
	insert     string
}

// cut notes an edit of the text.
func (g *gate) cut(c cut) {
	g.p.cuts = append(g.p.cuts, c)
	g.edited(c.start)
}

// table notes the base table n, unless a WITH defined its name.
func (g *gate) table(n node) {
	ns, name := fold(n.str("schema_name")), fold(n.str("table_name"))
	if ns == "" || ns == "recurring" {
		for c := g.ctes; c != nil; c = c.parent {
			if c.name == name && (ns == "" || c.recursive) {
				return
			}
		}
	}
	if n.str("catalog_name") != "" {
		g.unknown(n.pos(), "a table name of three parts")
	}
	for _, r := range g.p.refs {
		if r.nameStart == n.pos() { // DuckDB copies what a named window holds
			g.sel.tables = append(g.sel.tables, r)
			return
		}
	}
	g.add(g.locate(n), n, TableRef{Namespace: ns, Name: name, Pos: n.pos()}, n.str("table_name"))
}

// add notes the place r where the node n reads the table t, which is called name
// without an alias.
func (g *gate) add(r *baseRef, n node, t TableRef, name string) {
	r.sampled = n["sample"] != nil
	r.renamed = n["column_name_alias"] != nil
	r.bare = g.sel.natural > 0
	r.name, r.aliased = name, n.str("alias") != ""
	if r.aliased {
		r.name = n.str("alias")
	}
	r.table = slices.IndexFunc(g.p.tables, func(o TableRef) bool {
		return o.Namespace == t.Namespace && o.Name == t.Name && o.AllUsers == t.AllUsers
	})
	if r.table < 0 {
		r.table = len(g.p.tables)
		g.p.tables = append(g.p.tables, t)
	}
	g.p.refs = append(g.p.refs, r)
	g.sel.tables = append(g.sel.tables, r)
	g.edited(r.start)
}

// locate finds the words of a base table in the text. They must be identifiers and
// exactly the names of the tree.
func (g *gate) locate(n node) *baseRef {
	pos := n.pos()
	names := []string{n.str("table_name")}
	if s := n.str("schema_name"); s != "" {
		names = []string{s, names[0]}
	}
	i := g.tokenAt(pos)
	if i < 0 {
		g.unknown(pos, "this table name")
	}
	if g.tokens[i].kind == tokenString {
		g.refuse("FORBIDDEN_STATEMENT", pos, "a string is not a table name: files cannot be read")
	}
	first := i
	for k, name := range names {
		if k > 0 {
			if i >= len(g.tokens) || g.word(i) != "." {
				g.unknown(pos, "this table name")
			}
			i++
		}
		if i >= len(g.tokens) || g.tokens[i].kind > tokenQuoted || identifier(g.text, g.tokens[i]) != name {
			g.unknown(pos, "this table name")
		}
		i++
	}
	r := &baseRef{start: pos, nameStart: pos, end: g.tokens[i-1].end}
	if first > 0 && g.tokens[first-1].kind == tokenWord && sameName(g.word(first-1), "TABLE") {
		r.command, r.start = true, g.tokens[first-1].start
	}
	return r
}

// tokenAt is the token that starts at pos, -1 if none does.
func (g *gate) tokenAt(pos int) int {
	lo, hi := 0, len(g.tokens)
	for lo < hi {
		mid := (lo + hi) / 2
		if g.tokens[mid].start < pos {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(g.tokens) && g.tokens[lo].start == pos {
		return lo
	}
	return -1
}

func (g *gate) word(i int) string { return g.text[g.tokens[i].start:g.tokens[i].end] }

// column looks at a column reference: does it name a system column, and does it
// spell out the namespace of a table, which the spliced subquery does not have?
func (g *gate) column(n node) {
	names := n.names("column_names")
	g.mention(names)
	if len(names) < 3 {
		return
	}
	for s := g.sel; s != nil; s = s.parent {
		for _, r := range s.tables {
			t := g.p.tables[r.table]
			if r.aliased || !sameName(t.Namespace, names[0]) || !sameName(t.Name, names[1]) {
				continue
			}
			i := g.tokenAt(n.pos())
			if i < 0 || i+2 >= len(g.tokens) || identifier(g.text, g.tokens[i]) != names[0] || g.word(i+1) != "." {
				g.unknown(n.pos(), "this column name")
			}
			g.cut(cut{g.tokens[i].start, g.tokens[i+2].start, ""})
			return
		}
	}
}

// mention marks the table whose _seq or _deleted a column reference names.
func (g *gate) mention(names []string) {
	for i, name := range names {
		if i > 2 {
			return
		}
		seq, deleted := sameName(name, row.ColSeq), sameName(name, row.ColDeleted)
		if !seq && !deleted {
			continue
		}
		table := ""
		if i > 0 {
			table = names[i-1]
		}
		for s := g.sel; s != nil; s = s.parent {
			found := false
			for _, r := range s.tables {
				if table == "" || sameName(r.name, table) {
					r.seq, r.deleted, found = r.seq || seq, r.deleted || deleted, true
				}
			}
			if found {
				return
			}
			if table == "" && s.items > 0 {
				break // it comes out of a subquery or a WITH
			}
		}
		g.seqAll, g.deletedAll = g.seqAll || seq, g.deletedAll || deleted
		return
	}
}

// star notes a plain * or t.* of a select list, so that a _seq which the statement
// names elsewhere does not appear in it.
func (g *gate) star(e node) {
	if e.str("class") != "STAR" || e.flag("columns") || e["expr"] != nil || len(g.sel.tables) == 0 {
		return
	}
	for _, k := range []string{"exclude_list", "qualified_exclude_list", "replace_list", "rename_list"} {
		if e[k] != nil {
			return
		}
	}
	i := g.tokenAt(e.pos())
	rel := e.str("relation_name")
	if rel != "" {
		i += 2
	}
	if i < 0 || i >= len(g.tokens) || g.word(i) != "*" {
		return // FROM t without a SELECT
	}
	s := starRef{end: g.tokens[i].end}
	for _, r := range g.sel.tables {
		if rel == "" || sameName(r.name, rel) {
			s.tables = append(s.tables, r)
		}
	}
	g.p.stars = append(g.p.stars, s)
}

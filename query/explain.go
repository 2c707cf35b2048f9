package query

import (
	"context"
	"fmt"
	"strings"

	"kalamdb/row"
)

// A reading is how one base table of a statement is read, for EXPLAIN.
type reading struct {
	table TableRef
	alias string

	files, readFiles        int
	bytes, readBytes        int64
	outside, deleted, byKey int // files outside the key range, of deleted rows only; rows found by their key
	plain, less, versions   int // files read as they are, less the keys of the buffer, with several versions of a row
	rows                    int // buffered
}

func (r *reading) consider(f *File) {
	r.files++
	r.bytes += f.Bytes
}

func (r *reading) note(groups []*fileGroup, hot Hot) {
	for _, g := range groups {
		r.readFiles += len(g.files)
		for _, f := range g.files {
			r.readBytes += f.Bytes
		}
		switch {
		case len(g.files) > 1:
			r.versions += len(g.files)
		case g.source >= 0:
			r.less++
		default:
			r.plain++
		}
	}
	r.buffered(hot)
}

func (r *reading) buffered(hot Hot) {
	if hot != nil {
		r.rows += hot.Len()
	}
}

// lines tell it to a person.
func (r *reading) lines() []string {
	name := r.table.Name
	if r.table.Namespace != "" {
		name = r.table.Namespace + "." + name
	}
	if r.table.AllUsers {
		name = "ALL_USERS(" + name + ")"
	}
	if r.alias != r.table.Name {
		name += " AS " + r.alias
	}
	list := []string{"table " + name}
	add := func(format string, args ...any) { list = append(list, "  "+fmt.Sprintf(format, args...)) }
	if r.byKey > 0 {
		add("found by key in the buffer: %d, no file of it needed", r.byKey)
	}
	if r.files > 0 {
		add("files: %d of %d, %d of %d bytes", r.readFiles, r.files, r.readBytes, r.bytes)
	}
	for _, part := range []struct {
		n    int
		what string
	}{
		{r.outside, "left out, outside the key range"}, {r.deleted, "left out, all rows deleted"},
		{r.plain, "read as they are"}, {r.less, "read less the keys of the buffer"}, {r.versions, "read for the newest version of each key"},
	} {
		if part.n > 0 {
			add("files %s: %d", part.what, part.n)
		}
	}
	add("buffered rows: %d", r.rows)
	return list
}

// Explain says how p reads each of its tables, and how DuckDB would run it.
func (e *Engine) Explain(ctx context.Context, p *Plan, rels []*Relation, params []row.Value, s Session) (tables, plan []string, err error) {
	rows, reads, err := e.query(ctx, p, "EXPLAIN ", rels, params, s)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for i := range reads {
		tables = append(tables, reads[i].lines()...)
	}
	var b strings.Builder
	for rows.Next() {
		v := rows.Values()
		b.WriteString(v[len(v)-1].Str())
	}
	text := strings.ReplaceAll(b.String(), e.o.CacheDir, "")
	text = strings.ReplaceAll(text, strings.ToUpper(scanFunction), "   BUFFER   ") // as wide
	return tables, strings.Split(strings.TrimSpace(text), "\n"), rows.Err()
}

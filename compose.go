package kalamdb

import (
	"strings"

	"kalamdb/row"
	"kalamdb/sql"
)

// A composer builds a SELECT around pieces of the caller's text, and knows for
// each of its bytes where in the caller's text it came from, so that an error
// points at what the caller wrote.
type composer struct {
	b    strings.Builder
	segs []composedSegment
	// table is one whose columns the caller may qualify by its namespace too, though the
	// composed text has not the table but rows that go by its name.
	table *row.TableRef
}

type composedSegment struct{ from, to, source int }

// text adds words of our own.
func (c *composer) text(s ...string) *composer {
	for _, s := range s {
		c.b.WriteString(s)
	}
	return c
}

// fragment adds a piece of the caller's text, in parentheses.
func (c *composer) fragment(f sql.Fragment) *composer {
	return c.text("(").raw(f).text(")")
}

// raw adds a piece of the caller's text that is no single expression.
func (c *composer) raw(f sql.Fragment) *composer {
	pieces := []sql.Fragment{f}
	if c.table != nil {
		pieces = sql.Unqualified(f, c.table.Namespace, c.table.Name)
	}
	for _, f := range pieces {
		from := c.b.Len()
		c.b.WriteString(f.Text)
		c.segs = append(c.segs, composedSegment{from: from, to: c.b.Len(), source: f.Pos})
	}
	return c
}

// cast adds the value that e, nil for none, gives to col: the caller's expression, the
// column's default or NULL, cast to the column's type.
func (c *composer) cast(col *row.Column, e *sql.Expr) {
	c.text("CAST(")
	switch {
	case e != nil && e.Kind != sql.DefaultValue:
		c.fragment(e.Text)
	case col.Default != "":
		c.text("(", col.Default, ")")
	default:
		c.text("NULL")
	}
	c.text(" AS ", col.Type.String(), ")")
}

func (c *composer) String() string { return c.b.String() }

// position maps a byte offset of the composed text to the caller's, or fallback if
// the byte is ours.
func (c *composer) position(offset, fallback int) int {
	for _, s := range c.segs {
		if offset >= s.from && offset < s.to {
			return s.source + offset - s.from
		}
	}
	return fallback
}

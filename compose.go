package kalamdb

import (
	"strings"

	"kalamdb/sql"
)

// A composer builds a SELECT around pieces of the caller's text, and knows for
// each of its bytes where in the caller's text it came from, so that an error
// points at what the caller wrote.
type composer struct {
	b    strings.Builder
	segs []composedSegment
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
	c.b.WriteByte('(')
	from := c.b.Len()
	c.b.WriteString(f.Text)
	c.segs = append(c.segs, composedSegment{from: from, to: c.b.Len(), source: f.Pos})
	c.b.WriteByte(')')
	return c
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

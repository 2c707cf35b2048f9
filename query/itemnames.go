package query

import (
	"sort"
	"strings"
)

// DuckDB names an unnamed item of a select list by its text, which after a splice would
// show the splice. So an item whose text is edited gets the client's own text as its name.
//
// The tree knows whether an item has a name, the words know where it ends: an edit is
// inside as many items of the one as of the other, or no name is given.

// An item is the words tokens[from:to] of a select list.
type item struct {
	from, to int
	outer    int // the item around the list, -1: none
}

// nameBytesMax bounds a name that is made of text: items lie in one another.
const nameBytesMax = 200

// listEnds are the words behind a select list.
var listEnds = nameSet("from where group having window qualify union intersect except order limit offset fetch using into select values")

// selectItems finds the items of all select lists, each list in order, a list before the
// ones inside it.
func selectItems(text string, tokens []token) []item {
	type bracket struct{ at, outer int } // the item that began last and the one around it, -1: none
	var items []item
	open := []bracket{{-1, -1}}
	word := func(i int) string {
		if i < 0 || i >= len(tokens) || tokens[i].kind != tokenWord && tokens[i].kind != tokenOther {
			return ""
		}
		return fold(text[tokens[i].start:tokens[i].end])
	}
	end := func(i int) {
		if b := &open[len(open)-1]; b.at >= 0 {
			items[b.at].to = i
			b.at = -1
		}
	}
	begin := func(i int) {
		b := &open[len(open)-1]
		b.at = len(items)
		items = append(items, item{from: i, outer: b.outer})
	}
	for i := 0; i < len(tokens); i++ {
		b := open[len(open)-1]
		w := word(i)
		switch w {
		case "(", "[", "{":
			outer := b.at
			if outer < 0 {
				outer = b.outer
			}
			open = append(open, bracket{-1, outer})
			continue
		case ")", "]", "}":
			end(i)
			if len(open) > 1 {
				open = open[:len(open)-1]
			}
			continue
		case ",":
			if b.at >= 0 {
				end(i)
				begin(i + 1)
			}
			continue
		case ";":
			end(i)
			continue
		}
		before := word(i - 1)
		if !listEnds[w] || before == "." || before == "as" || w == "from" && before == "distinct" || w == "group" && before == "within" {
			continue
		}
		end(i)
		if w != "select" {
			continue
		}
		switch word(i + 1) {
		case "all":
			i++
		case "distinct":
			if i++; word(i+1) == "on" && word(i+2) == "(" {
				depth := 0
				for i += 2; i < len(tokens); i++ {
					switch word(i) {
					case "(", "[", "{":
						depth++
					case ")", "]", "}":
						depth--
					}
					if depth == 0 {
						break
					}
				}
			}
		}
		begin(i + 1)
	}
	end(len(tokens))
	return items
}

// selectList walks the items of a select list.
func (g *gate) selectList(list []node) {
	for _, e := range list {
		class := e.str("class")
		g.named = append(g.named, e.str("alias") != "" || class == "COLUMN_REF" || class == "STAR")
		g.expression(e)
		g.named = g.named[:len(g.named)-1]
	}
}

// edited names the items around the edit at pos, if they have no name.
func (g *gate) edited(pos int) {
	if len(g.named) == 0 || pos < 0 {
		return
	}
	if g.items == nil {
		g.items = selectItems(g.text, g.tokens)
	}
	i := sort.Search(len(g.items), func(i int) bool { return g.items[i].from >= len(g.tokens) || g.tokens[g.items[i].from].start > pos }) - 1
	var around []item // from the inside
	for ; i >= 0; i = g.items[i].outer {
		if it := g.items[i]; it.from < it.to && pos < g.tokens[it.to-1].end {
			around = append(around, it)
		}
	}
	if len(around) != len(g.named) {
		return
	}
	for i, it := range around {
		if !g.named[len(g.named)-1-i] {
			end := g.tokens[it.to-1].end
			g.p.cuts = append(g.p.cuts, cut{end, end, " AS " + quoteName(g.words(it))})
		}
	}
}

// words is the text of an item without comments, in one line.
func (g *gate) words(it item) string {
	var b strings.Builder
	for i := it.from; i < it.to; i++ {
		if i > it.from && g.tokens[i-1].end < g.tokens[i].start {
			b.WriteByte(' ')
		}
		b.WriteString(g.word(i))
		if b.Len() > nameBytesMax {
			return strings.ToValidUTF8(b.String()[:nameBytesMax], "") + "…"
		}
	}
	return b.String()
}

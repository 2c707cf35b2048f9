package sql

import "strings"

// reserved are the words that DuckDB takes for a name only in double quotes, or behind a
// point. To refuse them when something gets its name spares everyone who uses it an error
// that says "syntax error" and no more.
var reserved = func() map[string]bool {
	words := map[string]bool{}
	for _, w := range strings.Fields(`
		all analyse analyze and anti any array as asc asof asymmetric at authorization binary both by case cast check
		collate collation column concurrently constraint create cross default deferrable desc describe distinct do else
		end except false fetch for foreign freeze from full glob group having ilike in initially inner intersect into is
		isnull join lambda lateral leading left like limit natural not notnull null offset on only or order outer overlaps
		pivot pivot_longer pivot_wider placing positional primary qualify references returning right select semi show
		similar some summarize symmetric table tablesample then to trailing true union unique unpack unpivot using
		variadic verbose when where window with`) {
		words[w] = true
	}
	return words
}()

// refuseReserved refuses the name that t is to be the name of something, unless it is quoted.
func (p *parser) refuseReserved(t token, name string) error {
	if t.kind != tokWord || !reserved[name] {
		return nil
	}
	return p.errorAt(t.start, CodeInvalidName, "found the reserved word "+name+", expected a name",
		"choose another name, or write it in double quotes here and everywhere: "+QuoteIdent(name))
}

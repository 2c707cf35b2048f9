package query

import (
	"slices"
	"strconv"

	"kalamdb/row"
)

// builtin says whether f names a function of DuckDB or calls one as a method of a
// column; functions of a catalog, as in system.main.now(), would go behind ours.
func builtin(f node) bool {
	switch fold(f.str("catalog")) {
	case "system", "memory", "temp":
		return false
	}
	switch fold(f.str("schema")) {
	case "pg_catalog", "information_schema", "system", "memory", "temp":
		return false
	}
	return true
}

func (g *gate) function(n node) {
	name := fold(n.str("function_name"))
	args := n.list("children")
	if ignoreCase, ok := likeFunctions[name]; ok {
		g.like(n, ignoreCase)
		return
	}
	if name == "~~~" {
		g.glob(n)
		return
	}
	if (g.lambdas > 0 || g.recursive > 0) && growing[name] {
		g.refuse("FORBIDDEN_FUNCTION", n.pos(), "the function %s is not allowed inside a lambda or the recursive part of WITH RECURSIVE", name)
	}
	if g.lambdas > 0 && lambdaFunctions[name] {
		g.refuse("FORBIDDEN_FUNCTION", n.pos(), "a lambda inside a lambda is not allowed")
	}
	if jsonPaths[name] {
		g.jsonPath(n, args)
	}
	if check, ok := bounded[name]; ok {
		if limits := boundedArgs[name]; builtin(n) && len(args) >= limits[0] && len(args) <= limits[1] && check(args) {
			for _, a := range args {
				if id, err := strconv.Atoi(a.str("identifier")); err == nil && growing[name] {
					g.p.short = append(g.p.short, id)
				}
			}
			return
		}
		g.refuse("FORBIDDEN_FUNCTION", n.pos(), "the function %s is allowed with small constant arguments only", name)
	}
	if vectorFunctions[name] {
		g.vectors(args)
	}
	if !allowedFunctions[name] || !builtin(n) {
		g.refuse("FORBIDDEN_FUNCTION", n.pos(), "the function %s is not allowed", strconv.Quote(name))
	}
	// x.f(): the schema is a column or a table, the catalog a table.
	if s := n.str("schema"); s != "" && s != "main" {
		g.mention([]string{n.str("catalog"), s}[btoi(n.str("catalog") == ""):])
	}
}

// vectors lets a vector be written as a plain list or a parameter: DuckDB takes neither
// for the FLOAT[n] that an EMBEDDING is.
func (g *gate) vectors(args []node) {
	for _, a := range args {
		if id, err := strconv.Atoi(a.str("identifier")); err == nil && a.str("class") == "PARAMETER" {
			g.p.vectors = append(g.p.vectors, id)
			continue
		}
		elems := a.list("children")
		i := g.tokenAt(a.pos()) - 1 // [a, b] is main.list_value(a, b) at a
		if a.str("function_name") != "list_value" || a.str("schema") != "main" || i < 0 || g.word(i) != "[" {
			continue
		}
		for depth := 0; i < len(g.tokens); i++ {
			switch g.word(i) {
			case "[", "(", "{":
				depth++
			case "]", ")", "}":
				depth--
			}
			if depth == 0 {
				end := g.tokens[i].end
				g.cut(cut{end, end, "::FLOAT[" + strconv.Itoa(len(elems)) + "]"})
				break
			}
		}
	}
}

// vectorValues are params with the lists that are vectors as such.
func (p *Plan) vectorValues(params []row.Value) []row.Value {
	copied := false
	for _, id := range p.vectors {
		list := params[id-1]
		if list.Kind() == row.JSON { // an array of a request
			if l, err := row.CoerceParam(list, row.Type{Kind: row.List, Elem: row.Double}); err == nil {
				list = l
			}
		}
		if list.Kind() != row.List || len(list.List()) == 0 || len(list.List()) > row.EmbeddingDimMax {
			continue
		}
		v, err := row.Coerce(list, row.Type{Kind: row.Embedding, Dim: uint16(len(list.List()))})
		if err != nil {
			continue // DuckDB says what does not fit
		}
		if !copied {
			params, copied = slices.Clone(params), true
		}
		params[id-1] = v
	}
	return params
}

// lambdaCall walks a call with a list and a lambda; of l.list_filter(lambda x: …) the
// lambda is the first argument.
func (g *gate) lambdaCall(n node, allowed map[string]field) {
	for _, c := range n.list("children") {
		if c.str("class") != "LAMBDA" {
			g.expression(c)
			continue
		}
		g.enter(c.pos())
		g.lambdas++
		g.fields(c, expressionFields["LAMBDA"], expressionCommon, c.pos())
		g.lambdas--
		g.depth--
	}
	g.fields(n, allowed, expressionCommon, n.pos(), "children")
}

package query

import "strings"

// jsonPath makes sure that a JSON path has one wildcard at most: each of them multiplies
// the work, and DuckDB does all of it within one call. A path that is not constant has
// none, DuckDB sees to that.
func (g *gate) jsonPath(n node, args []node) {
	if len(args) < 2 {
		return
	}
	paths := args[1:]
	if p := args[1]; p.str("type") == "ARRAY_CONSTRUCTOR" || p.str("function_name") == "list_value" {
		paths = p.list("children")
	}
	for _, p := range paths {
		if s, ok := p.constText(); ok {
			if strings.Count(s, "*")+strings.Count(s, "..") > 1 {
				g.refuse("FORBIDDEN_FUNCTION", n.pos(), "a JSON path may have one wildcard")
			}
			continue
		}
		if _, ok := p.constInt(); !ok && constant(p) {
			g.refuse("FORBIDDEN_FUNCTION", n.pos(), "write the JSON path as one literal")
		}
	}
}

// constant says whether DuckDB can compute n before it runs the statement.
func constant(n node) bool {
	switch n.str("class") {
	case "COLUMN_REF", "PARAMETER", "SUBQUERY", "LAMBDA":
		return false
	}
	for _, v := range n {
		switch v := v.(type) {
		case map[string]any:
			if !constant(v) {
				return false
			}
		case []any:
			for _, c := range v {
				if m, ok := c.(map[string]any); ok && !constant(m) {
					return false
				}
			}
		}
	}
	return true
}

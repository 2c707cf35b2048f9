package query

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// The gate walks DuckDB's own parse tree. What a node may be and which fields it may
// have is listed below; anything else, also what a newer DuckDB might add, is refused.
//
// It trusts the tree for meaning and the lexer only for offsets: a base table is
// replaced only where the words at its offset are exactly its name.

// A field says what stands under one key of a node.
type field uint8

const (
	plain   field = iota // text, numbers, constant values, types: nothing that runs
	expr                 // an expression
	exprs                // a list of expressions
	orders               // a list of {expression, …}
	keyed                // a list of {key, value: expression}
	checks               // a list of {when_expr, then_expr}
	query                // a query node, perhaps inside {"node": …}
	ref                  // a table reference
	refused              // known, and not for clients
)

var expressionFields = map[string]map[string]field{
	"COLUMN_REF":           {"column_names": plain},
	"CONSTANT":             {"value": plain},
	"PARAMETER":            {"identifier": plain},
	"POSITIONAL_REFERENCE": {"index": plain},
	"COMPARISON":           {"left": expr, "right": expr},
	"CONJUNCTION":          {"children": exprs},
	"OPERATOR":             {"children": exprs},
	"BETWEEN":              {"input": expr, "lower": expr, "upper": expr},
	"CASE":                 {"case_checks": checks, "else_expr": expr},
	"CAST":                 {"child": expr, "cast_type": plain, "try_cast": plain},
	"COLLATE":              {"child": expr, "collation": plain},
	"LAMBDA":               {"lhs": expr, "expr": expr},
	"SUBQUERY":             {"subquery_type": plain, "subquery": query, "child": expr, "comparison_type": plain},
	"STAR": {"relation_name": plain, "exclude_list": plain, "qualified_exclude_list": plain, "replace_list": keyed,
		"rename_list": plain, "columns": plain, "expr": expr, "unpacked": plain},
	"FUNCTION": {"function_name": plain, "schema": plain, "catalog": plain, "children": exprs, "filter": expr,
		"order_bys": orders, "distinct": plain, "is_operator": plain, "export_state": refused},
	"WINDOW": {"function_name": plain, "schema": plain, "catalog": plain, "children": exprs, "partitions": exprs,
		"orders": orders, "start": plain, "end": plain, "start_expr": expr, "end_expr": expr, "offset_expr": expr,
		"default_expr": expr, "ignore_nulls": plain, "filter_expr": expr, "exclude_clause": plain, "distinct": plain,
		"arg_orders": orders},
}

// operatorTypes are the types an OPERATOR may have; those of the other classes
// follow from the class.
var operatorTypes = nameSet(`OPERATOR_NOT OPERATOR_IS_NULL OPERATOR_IS_NOT_NULL OPERATOR_COALESCE OPERATOR_NULLIF
	OPERATOR_TRY OPERATOR_UNPACK COMPARE_IN COMPARE_NOT_IN ARRAY_EXTRACT ARRAY_SLICE ARRAY_CONSTRUCTOR STRUCT_EXTRACT
	GROUPING_FUNCTION`)

var queryFields = map[string]map[string]field{
	"SELECT_NODE": {"modifiers": plain, "cte_map": plain, "select_list": exprs, "from_table": ref, "where_clause": expr,
		"group_expressions": exprs, "group_sets": plain, "aggregate_handling": plain, "having": expr, "sample": plain,
		"qualify": expr},
	"SET_OPERATION_NODE": {"modifiers": plain, "cte_map": plain, "setop_type": plain, "left": query, "right": query, "setop_all": plain},
	"RECURSIVE_CTE_NODE": {"modifiers": plain, "cte_map": plain, "cte_name": plain, "union_all": plain, "left": query,
		"right": query, "aliases": plain, "key_targets": exprs},
}

var modifierFields = map[string]map[string]field{
	"ORDER_MODIFIER":         {"orders": orders},
	"LIMIT_MODIFIER":         {"limit": expr, "offset": expr},
	"LIMIT_PERCENT_MODIFIER": {"limit": expr, "offset": expr},
	"DISTINCT_MODIFIER":      {"distinct_on_targets": exprs},
}

var refFields = map[string]map[string]field{
	"EMPTY":           {},
	"BASE_TABLE":      {"schema_name": plain, "table_name": plain, "catalog_name": plain, "at_clause": refused},
	"SUBQUERY":        {"subquery": query},
	"JOIN":            {"left": ref, "right": ref, "condition": expr, "join_type": plain, "ref_type": plain, "using_columns": plain},
	"TABLE_FUNCTION":  {"function": plain, "with_ordinality": plain},
	"EXPRESSION_LIST": {"values": plain, "expected_names": plain, "expected_types": plain},
	"PIVOT": {"source": ref, "aggregates": exprs, "unpivot_names": plain, "pivots": plain, "groups": plain,
		"include_nulls": plain},
	"SHOW_REF": {"query": refused, "table_name": refused, "show_type": refused},
}

// depthMax bounds the recursion of the walk.
const depthMax = 300

// A gate is one walk over one statement.
type gate struct {
	text               string
	tokens             []token
	p                  *Plan
	ctes               *cteScope
	sel                *selectScope
	depth              int
	at                 int  // where the walk came by last, for nodes that have no place
	lambdas            int  // inside how many
	recursive          int  // inside how many recursive halves of WITH RECURSIVE
	seqAll, deletedAll bool // _seq, _deleted mentioned where their table cannot be told

	named []bool // the select items that the walk is in: do they have a name?
	items []item // of all select lists, nil until they are needed
}

// A cteScope is a name that WITH defined.
type cteScope struct {
	parent    *cteScope
	name      string
	recursive bool
}

// A selectScope is one SELECT with the base tables directly in its FROM.
type selectScope struct {
	parent  *selectScope
	tables  []*baseRef
	aliases map[string]bool // of the select list
	items   int             // table references of any sort in FROM
	odd     bool            // FROM has a join whose result depends on more than matching rows
	natural int             // inside NATURAL JOIN or PIVOT
}

type refusal = *Error

func (g *gate) refuse(code string, pos int, format string, args ...any) {
	if pos < 0 {
		pos = g.at
	}
	panic(refusal(&Error{Code: code, Message: fmt.Sprintf(format, args...), Pos: pos}))
}

func (g *gate) unknown(pos int, what string) {
	g.refuse("FORBIDDEN_STATEMENT", pos, "%s is not allowed", what)
}

// fields walks the children of n that allowed names; skip lists the keys the caller
// has dealt with.
func (g *gate) fields(n node, allowed map[string]field, common map[string]bool, pos int, skip ...string) {
	for _, k := range slices.Sorted(maps.Keys(n)) {
		v := n[k]
		if slices.Contains(skip, k) {
			continue
		}
		f, ok := allowed[k]
		if !ok {
			if common[k] {
				continue
			}
			g.unknown(pos, "this use of "+k)
		}
		switch f {
		case expr:
			g.expression(n.child(k))
		case exprs:
			g.expressions(n.list(k))
		case orders:
			list := n.list(k)
			if o := n.child(k); o != nil { // the ORDER BY inside an aggregate
				list = o.list("orders")
			}
			for _, o := range list {
				g.expression(o.child("expression"))
			}
		case keyed:
			for _, kv := range n.list(k) {
				g.expression(kv.child("value"))
			}
		case checks:
			for _, c := range n.list(k) {
				g.expression(c.child("when_expr"))
				g.expression(c.child("then_expr"))
			}
		case query:
			g.query(unwrap(n.child(k)))
		case ref:
			g.ref(n.child(k))
		case refused:
			g.unknown(pos, strings.ReplaceAll(k, "_", " "))
		case plain:
			g.harmless(v, pos)
		}
	}
}

// harmless makes sure that nothing under a plain field is an expression or a query.
func (g *gate) harmless(v any, pos int) {
	g.enter(pos)
	defer func() { g.depth-- }()
	switch v := v.(type) {
	case map[string]any:
		if id, ok := v["id"].(string); ok {
			g.typ(v, id, pos)
		}
		if _, ok := v["class"]; ok {
			g.unknown(pos, "an expression here")
		}
		if _, ok := v["node"]; ok {
			g.unknown(pos, "a query here")
		}
		for _, c := range v {
			g.harmless(c, pos)
		}
	case []any:
		for _, c := range v {
			g.harmless(c, pos)
		}
	}
}

// typ checks a type: a cast to one that is not listed may do anything.
func (g *gate) typ(t node, id string, pos int) {
	info := t.child("type_info")
	if id == "UNBOUND" && info.str("schema") == "" && info.str("catalog") == "" {
		id = fold(info.str("name"))
	}
	if !allowedTypes[id] {
		g.refuse("NOT_SUPPORTED_YET", pos, "the type %s is not supported", id)
	}
}

func unwrap(n node) node {
	if inner := n.child("node"); inner != nil {
		return inner
	}
	return n
}

func (g *gate) enter(pos int) {
	if pos >= 0 {
		g.at = pos
	}
	if g.depth++; g.depth > depthMax {
		g.refuse("SYNTAX_ERROR", pos, "the statement is nested deeper than %d levels", depthMax)
	}
}

var queryCommon = map[string]bool{"type": true}

func (g *gate) query(n node) {
	if n == nil {
		g.unknown(-1, "an empty query")
	}
	allowed, ok := queryFields[n.str("type")]
	if !ok {
		g.unknown(-1, "a "+fold(n.str("type")))
	}
	g.enter(-1)
	defer func(c *cteScope, s *selectScope) { g.ctes, g.sel = c, s; g.depth-- }(g.ctes, g.sel)
	g.with(n.child("cte_map"))
	switch n.str("type") {
	case "SELECT_NODE":
		g.selectNode(n, allowed)
		return
	case "RECURSIVE_CTE_NODE":
		g.query(unwrap(n.child("left")))
		if name := n.str("cte_name"); duckName(name) {
			g.unknown(-1, "the name "+strconv.Quote(name)+" in WITH")
		}
		g.ctes = &cteScope{parent: g.ctes, name: fold(n.str("cte_name")), recursive: true}
		g.recursive++
		g.query(unwrap(n.child("right")))
		g.recursive--
		g.fields(n, allowed, queryCommon, -1, "left", "right", "modifiers", "cte_map")
	default:
		g.fields(n, allowed, queryCommon, -1, "modifiers", "cte_map")
	}
	g.sel = &selectScope{parent: g.sel}
	g.modifiers(n)
}

// with defines the names of a WITH, each visible to those behind it.
func (g *gate) with(m node) {
	for k := range m {
		if k != "map" {
			g.unknown(-1, "this WITH")
		}
	}
	for _, e := range m.list("map") {
		name := e.str("key")
		if strings.ContainsAny(name, `./\*?[]:{}`) || duckName(name) {
			g.unknown(-1, "the name "+strconv.Quote(name)+" in WITH")
		}
		v := e.child("value")
		for _, k := range slices.Sorted(maps.Keys(v)) {
			switch k {
			case "query":
				g.query(unwrap(v.child(k)))
			case "key_targets":
				sel := g.sel
				g.sel = &selectScope{}
				g.expressions(v.list(k))
				g.sel = sel
			case "aliases", "materialized":
			default:
				g.unknown(-1, "this WITH")
			}
		}
		g.ctes = &cteScope{parent: g.ctes, name: fold(name)}
	}
}

// duckName says whether name may be one of DuckDB's own catalog, which stands where no
// WITH defines it: our scopes need not be right for that catalog to stay closed.
func duckName(name string) bool {
	name = fold(name)
	for _, prefix := range []string{"duckdb_", "pg_", "sqlite_", "pragma_", "kalamdb_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

func (g *gate) selectNode(n node, allowed map[string]field) {
	g.sel = &selectScope{parent: g.sel, aliases: map[string]bool{}}
	for _, e := range n.list("select_list") {
		g.sel.aliases[fold(e.str("alias"))] = true
	}
	g.ref(n.child("from_table")) // first: what the columns mean depends on it
	for _, e := range n.list("select_list") {
		g.star(e)
	}
	g.selectList(n.list("select_list"))
	g.fields(n, allowed, queryCommon, -1, "from_table", "select_list", "modifiers", "cte_map")
	g.modifiers(n)
	if n["sample"] == nil && !g.sel.odd {
		g.predicates(n.child("where_clause"))
	}
	g.top(n)
}

func (g *gate) modifiers(n node) {
	for _, m := range n.list("modifiers") {
		allowed, ok := modifierFields[m.str("type")]
		if !ok {
			g.unknown(-1, "a "+fold(m.str("type")))
		}
		g.fields(m, allowed, queryCommon, -1)
	}
}

var refCommon = map[string]bool{"type": true, "alias": true, "sample": true, "query_location": true, "column_name_alias": true}

func (g *gate) ref(n node) {
	kind := n.str("type")
	allowed, ok := refFields[kind]
	if !ok {
		g.unknown(n.pos(), "a "+fold(kind)+" in FROM")
	}
	g.enter(n.pos())
	defer func() { g.depth-- }()
	if kind != "JOIN" && kind != "EMPTY" {
		g.sel.items++
	}
	g.harmless(n["sample"], n.pos())
	switch kind {
	case "BASE_TABLE":
		g.fields(n, allowed, refCommon, n.pos())
		g.table(n)
	case "SHOW_REF":
		g.unknown(n.pos(), "DESCRIBE, SHOW or SUMMARIZE inside a SELECT")
	case "TABLE_FUNCTION":
		f := n.child("function")
		name := fold(f.str("function_name"))
		if name == "all_users" && f.str("schema") == "" && f.str("catalog") == "" {
			g.allUsers(n, f)
			g.fields(n, allowed, refCommon, n.pos(), "function")
			return
		}
		if !allowedTableFunctions[name] || !builtin(f) {
			g.refuse("FORBIDDEN_FUNCTION", n.pos(), "the table function %s is not allowed", strconv.Quote(name))
		}
		g.fields(f, expressionFields["FUNCTION"], expressionCommon, n.pos())
		g.fields(n, allowed, refCommon, n.pos(), "function")
	case "EXPRESSION_LIST":
		rows, _ := n["values"].([]any)
		for _, r := range rows {
			list, _ := r.([]any)
			for _, e := range list {
				m, _ := e.(map[string]any)
				g.expression(m)
			}
		}
		g.fields(n, allowed, refCommon, n.pos(), "values")
	case "PIVOT":
		g.sel.natural++
		g.ref(n.child("source"))
		g.sel.natural--
		g.sel.odd = true
		g.pivots(n)
		g.fields(n, allowed, refCommon, n.pos(), "source", "pivots")
	case "JOIN":
		switch n.str("ref_type") {
		case "REGULAR", "CROSS":
		case "NATURAL":
			g.sel.natural++
			defer func() { g.sel.natural-- }()
		case "ASOF", "POSITIONAL", "DEPENDENT":
			g.sel.odd = true
		default:
			g.unknown(n.pos(), "a "+fold(n.str("ref_type"))+" join")
		}
		g.ref(n.child("left"))
		g.ref(n.child("right"))
		g.fields(n, allowed, refCommon, n.pos(), "left", "right")
	default:
		g.fields(n, allowed, refCommon, n.pos())
	}
}

func (g *gate) pivots(n node) {
	for _, p := range n.list("pivots") {
		for _, k := range slices.Sorted(maps.Keys(p)) {
			switch k {
			case "pivot_expressions":
				g.expressions(p.list(k))
			case "unpivot_names":
			case "entries":
				for _, e := range p.list(k) {
					for k := range e {
						switch k {
						case "values", "alias":
							g.harmless(e[k], n.pos())
						case "expr", "star_expr":
							g.expression(e.child(k))
						default:
							g.unknown(n.pos(), "this PIVOT")
						}
					}
				}
			default:
				g.unknown(n.pos(), "this PIVOT")
			}
		}
	}
}

var expressionCommon = map[string]bool{"class": true, "type": true, "alias": true, "query_location": true}

func (g *gate) expressions(list []node) {
	for _, e := range list {
		g.expression(e)
	}
}

func (g *gate) expression(n node) {
	class := n.str("class")
	allowed, ok := expressionFields[class]
	if !ok {
		g.unknown(n.pos(), "this expression ("+fold(class)+")")
	}
	g.enter(n.pos())
	defer func() { g.depth-- }()
	switch class {
	case "OPERATOR":
		if !operatorTypes[n.str("type")] {
			g.unknown(n.pos(), "the operator "+n.str("type"))
		}
	case "FUNCTION", "WINDOW":
		g.function(n)
	case "LAMBDA": // also json -> path
		g.jsonPath(n, []node{n.child("lhs"), n.child("expr")})
	case "COLUMN_REF":
		g.column(n)
	case "PARAMETER":
		id, err := strconv.Atoi(n.str("identifier"))
		if err != nil || id < 1 || id > paramsMax {
			g.refuse("SYNTAX_ERROR", -1, "parameters are written $1 to $%d", paramsMax)
		}
		if !slices.ContainsFunc(g.p.uses, func(u paramUse) bool { return u.n == id }) {
			g.unknown(n.pos(), "this parameter") // one that the lexer did not see would get a value of ours
		}
	}
	if class == "FUNCTION" && lambdaFunctions[fold(n.str("function_name"))] {
		g.lambdaCall(n, allowed)
		return
	}
	g.fields(n, allowed, expressionCommon, n.pos())
}

// paramsMax is the number of parameters of a statement.
const paramsMax = 10_000

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

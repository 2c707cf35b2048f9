package query

import "kalamdb/row"

// A truth is the answer of a condition for one row.
type truth uint8

const (
	no truth = iota
	yes
	unknown // NULL
	ask     // only DuckDB can tell
)

// kindAsk is the kind of a value that only DuckDB can tell.
const kindAsk row.Kind = 255

var askValue = row.IntValue(kindAsk, 0)

func asks(v row.Value) bool { return v.Kind() == kindAsk }

func truthOf(v row.Value) truth {
	switch {
	case v.IsNull():
		return unknown
	case asks(v):
		return ask
	case v.Bool():
		return yes
	}
	return no
}

func valueOf(t truth) row.Value {
	switch t {
	case unknown:
		return row.NullValue
	case ask:
		return askValue
	}
	return row.BoolValue(t == yes)
}

// A matcher evaluates a condition for a row.
type matcher func(r *row.Row) truth

// A compiled is a condition that is compiled: get is nil where always DuckDB is asked.
type compiled struct {
	get  matcher
	sure bool // it asks for no row
}

// A getter is the value of an expression for a row: NULL, one that asks, or what the
// carriers of duckType say.
type getter func(r *row.Row) row.Value

// A duckType is a type as the binder of DuckDB has chosen it. Values of it are carried
// as: whole numbers of up to 64 bits, times and dates in [row.Value.Int], HUGEINT and
// DECIMAL in the two halves, texts and blobs in Str, INTERVAL as [intervalValue].
type duckType struct {
	id           string
	alias        string // JSON is a VARCHAR with that alias
	width, scale uint8  // DECIMAL
	elem         string // LIST: the id of a plain element type
}

func typeIn(t node) duckType {
	d := duckType{id: t.str("id")}
	info := t.child("type_info")
	if info == nil {
		return d
	}
	d.alias = info.str("alias")
	d.width, d.scale = uint8(whole(info["width"])), uint8(whole(info["scale"]))
	if child := info.child("child_type"); child != nil && child.child("type_info") == nil {
		d.elem = child.str("id")
	}
	return d
}

// An expression is compiled: get is nil where always DuckDB is asked.
type expression struct {
	typ      duckType
	get      getter
	sure     bool // it asks for no row
	constant bool
	value    row.Value // of a constant
	column   int       // of a column of the schema by itself, else -1
}

// A compiler makes matchers out of DuckDB's bound tree, in which every name, every
// overload and every implicit cast is resolved. What it makes of a node is either what
// DuckDB computes or asks; that holds for parts of a condition and for single rows:
// overflow, division by zero, letters beyond ASCII where case counts. AND and OR
// know their answer without the parts that ask, if the others decide it. Where they ask,
// and for all that is not known here, the row goes to DuckDB with the whole condition.
type compiler struct {
	schema  *row.Schema
	session Session
	casts   map[constantCast]row.Value // of constants, as DuckDB computed them
}

// condition compiles a node of type BOOLEAN.
func (c *compiler) condition(n node) compiled {
	children := n.list("children")
	switch kind := n.str("type"); n.str("expression_class") {
	case "BOUND_CONJUNCTION":
		parts := make([]compiled, len(children))
		for i, child := range children {
			parts[i] = c.condition(child)
		}
		if kind == "CONJUNCTION_AND" {
			return junction(parts, no, no, yes)
		}
		return junction(parts, yes, yes, no)
	case "BOUND_COMPARISON":
		return comparison(kind, c.expression(n.child("left")), c.expression(n.child("right")))
	case "BOUND_OPERATOR":
		if len(children) == 0 {
			return compiled{}
		}
		switch kind {
		case "OPERATOR_NOT":
			return not(c.condition(children[0]))
		case "OPERATOR_IS_NULL":
			return isNull(c.expression(children[0]), yes, no)
		case "OPERATOR_IS_NOT_NULL":
			return isNull(c.expression(children[0]), no, yes)
		case "COMPARE_IN":
			return c.in(children)
		case "COMPARE_NOT_IN":
			return not(c.in(children))
		}
	}
	e := c.expression(n)
	if e.get == nil || e.typ.id != "BOOLEAN" {
		return compiled{}
	}
	return compiled{func(r *row.Row) truth { return truthOf(e.get(r)) }, e.sure}
}

// junction is AND with decisive = no, OR with decisive = yes. also is a second answer
// of a part that needs no other part.
func junction(parts []compiled, decisive, also, neutral truth) compiled {
	var known []matcher
	sure, otherwise := true, neutral
	for _, p := range parts {
		sure = sure && p.sure
		if p.get == nil {
			otherwise = ask
			continue
		}
		known = append(known, p.get)
	}
	if len(known) == 0 {
		return compiled{}
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return compiled{func(r *row.Row) truth {
		answer := otherwise
		for _, m := range known {
			switch t := m(r); {
			case t == decisive || t == also:
				return t
			case t == ask || t == unknown && answer != ask:
				answer = t
			}
		}
		return answer
	}, sure}
}

func not(p compiled) compiled {
	if p.get == nil {
		return p
	}
	return compiled{func(r *row.Row) truth {
		switch t := p.get(r); t {
		case yes:
			return no
		case no:
			return yes
		default:
			return t
		}
	}, p.sure}
}

func isNull(e expression, null, other truth) compiled {
	if e.get == nil {
		return compiled{}
	}
	return compiled{func(r *row.Row) truth {
		switch v := e.get(r); {
		case v.IsNull():
			return null
		case asks(v):
			return ask
		}
		return other
	}, e.sure}
}

// expression compiles a node of any type.
func (c *compiler) expression(n node) expression {
	e := expression{column: -1}
	children := n.list("children")
	switch class := n.str("expression_class"); class {
	case "BOUND_REF":
		return c.column(int(whole(n["index"])), typeIn(n.child("return_type")))
	case "BOUND_CONSTANT":
		v := n.child("value")
		e.typ = typeIn(v.child("type"))
		e.fold(constantValue(v, e.typ))
	case "BOUND_CAST":
		e.typ = typeIn(n.child("return_type"))
		c.cast(&e, n)
	case "BOUND_FUNCTION":
		e.typ = typeIn(n.child("return_type"))
		args := make([]expression, len(children))
		for i, child := range children {
			args[i] = c.expression(child)
		}
		c.function(&e, n.str("name"), args)
	case "BOUND_CASE":
		e.typ = typeIn(n.child("return_type"))
		e.get = c.cases(n)
	case "BOUND_COMPARISON", "BOUND_CONJUNCTION", "BOUND_OPERATOR":
		if n.str("type") == "OPERATOR_COALESCE" {
			e.typ = typeIn(n.child("return_type"))
			e.get, e.sure = c.coalesce(children)
			break
		}
		if class == "BOUND_OPERATOR" && !booleanOperators[n.str("type")] {
			break // condition would come back here
		}
		e.typ = duckType{id: "BOOLEAN"}
		if p := c.condition(n); p.get != nil {
			e.sure, e.get = p.sure, func(r *row.Row) row.Value { return valueOf(p.get(r)) }
		}
	}
	return e
}

var booleanOperators = map[string]bool{"OPERATOR_NOT": true, "OPERATOR_IS_NULL": true, "OPERATOR_IS_NOT_NULL": true, "COMPARE_IN": true, "COMPARE_NOT_IN": true}

// fold makes e a constant, or asks if v does.
func (e *expression) fold(v row.Value) {
	if asks(v) {
		e.get = nil
		return
	}
	e.constant, e.sure, e.value, e.get = true, true, v, func(*row.Row) row.Value { return v }
}

// column is a column of the schema, or one of the system columns behind them.
func (c *compiler) column(i int, t duckType) expression {
	e := expression{typ: t, column: i, sure: true}
	if i < len(c.schema.Columns) {
		e.get = func(r *row.Row) row.Value {
			if i >= len(r.Values) {
				return row.NullValue
			}
			return r.Values[i]
		}
		if plain := e.get; t.id == "DOUBLE" { // the column may have been a FLOAT
			e.get = func(r *row.Row) row.Value {
				v := plain(r)
				if v.Kind() == row.Float {
					return row.DoubleValue(float64(v.Float()))
				}
				return v
			}
		}
		return e
	}
	e.column = -1
	switch i - len(c.schema.Columns) {
	case 0:
		e.get = func(r *row.Row) row.Value {
			if r.Seq == 0 { // not committed yet
				return row.NullValue
			}
			return row.IntValue(row.BigInt, int64(r.Seq))
		}
	case 1:
		e.get = func(r *row.Row) row.Value { return row.IntValue(row.Timestamp, r.Updated) }
	case 2:
		e.get = func(r *row.Row) row.Value { return row.BoolValue(r.Deleted) }
	}
	return e
}

// cases is a CASE: the first branch whose condition is true.
func (c *compiler) cases(n node) getter {
	otherwise := c.expression(n.child("else_expr")).orAsk()
	type branch struct {
		when matcher
		then getter
	}
	var branches []branch
	for _, check := range n.list("case_checks") {
		b := branch{c.condition(check.child("when_expr")).get, c.expression(check.child("then_expr")).orAsk()}
		if b.when == nil {
			if len(branches) == 0 {
				return nil
			}
			b.when = func(*row.Row) truth { return ask }
		}
		branches = append(branches, b)
	}
	return func(r *row.Row) row.Value {
		for i := range branches {
			switch branches[i].when(r) {
			case yes:
				return branches[i].then(r)
			case ask:
				return askValue
			}
		}
		return otherwise(r)
	}
}

func (e expression) orAsk() getter {
	if e.get == nil {
		return func(*row.Row) row.Value { return askValue }
	}
	return e.get
}

func (c *compiler) coalesce(children []node) (get getter, sure bool) {
	var parts []getter
	sure = true
	for _, child := range children {
		part := c.expression(child)
		sure = sure && part.sure
		parts = append(parts, part.orAsk())
	}
	return func(r *row.Row) row.Value {
		for _, get := range parts {
			if v := get(r); !v.IsNull() {
				return v
			}
		}
		return row.NullValue
	}, sure
}

package query

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"kalamdb/row"
)

// A LivePlan is a live query: some columns of one table, perhaps with a WHERE.
type LivePlan struct {
	Namespace, Table string   // in lower case; Namespace "" = unqualified
	Pos              int      // of the table's name in the text
	Columns          []string // in lower case, nil = *
	Aliases          []string // parallel to Columns: the names in the result
	Where            string   // text of the condition, "" = none
	From             string   // text of the table, its alias and the condition: what follows FROM
	Alias            string   // the name by which the condition may qualify columns
	Uses             []string // in lower case: names in the condition that may be columns

	tree node  // of the condition
	plan *Plan // of a SELECT that the condition's text is part of
	try  *Plan // the same with TRY(condition); nil if DuckDB's parser does not take that
}

// liveFields are what the SELECT of a live query may have.
var liveFields = map[string]bool{"type": true, "select_list": true, "from_table": true, "where_clause": true, "aggregate_handling": true}

// PlanLive checks text: one SELECT of columns or * from one table with an optional
// WHERE over its columns. The error is an *Error.
func (e *Engine) PlanLive(text string) (*LivePlan, error) {
	p, tree, err := e.plan(text)
	if err != nil {
		return nil, err
	}
	refuse := func(pos int, what string) (*LivePlan, error) {
		return nil, &Error{Code: "FORBIDDEN_STATEMENT", Message: "a live query is SELECT columns FROM one table WHERE condition: " + what, Pos: pos}
	}
	for k := range tree {
		if !liveFields[k] {
			return refuse(-1, strings.ReplaceAll(k, "_", " ")+" is not possible")
		}
	}
	from := tree.child("from_table")
	tokens := lex(text)
	switch {
	case tree.str("type") != "SELECT_NODE" || tree.str("aggregate_handling") != "STANDARD_HANDLING":
		return refuse(-1, "this is another kind of SELECT")
	case from.str("type") != "BASE_TABLE" || len(p.refs) != 1 || p.refs[0].command || p.refs[0].sampled || from["column_name_alias"] != nil:
		return refuse(from.pos(), "expected one table in FROM")
	case !sameName(text[tokens[0].start:tokens[0].end], "SELECT"):
		return refuse(tokens[0].start, "it starts with SELECT")
	case p.params > 0:
		return refuse(-1, "parameters are not possible")
	}
	lp := &LivePlan{Namespace: p.tables[0].Namespace, Table: p.tables[0].Name, Pos: p.tables[0].Pos, tree: tree.child("where_clause")}
	lp.From, lp.Alias = text[p.refs[0].start:p.end], p.refs[0].name
	list := tree.list("select_list")
	for _, c := range list {
		if c.str("class") == "STAR" && len(list) == 1 && len(p.stars) == 1 {
			break
		}
		names := c.names("column_names")
		if c.str("class") != "COLUMN_REF" || len(names) > 3 {
			return refuse(c.pos(), "only columns and * can be selected")
		}
		name := fold(names[len(names)-1])
		alias := c.str("alias")
		if alias == "" {
			alias = name
		}
		lp.Columns, lp.Aliases = append(lp.Columns, name), append(lp.Aliases, alias)
	}
	if lp.tree == nil {
		return lp, nil
	}
	if bad := notLive(lp.tree); bad != nil {
		return refuse(bad.pos(), "the condition is about the columns of the row alone")
	}
	for _, t := range tokens {
		if t.start >= p.refs[0].end && sameName(text[t.start:t.end], "WHERE") {
			lp.Where = strings.TrimSpace(text[t.end:p.end])
			break
		}
	}
	lp.Uses = columnNames(lp.tree, nil)
	// The condition's own text, in a statement that returns the rows it holds for.
	lp.plan, _, err = e.plan("SELECT " + ordinalColumn + " FROM " + lp.From)
	if err != nil || len(lp.plan.refs) != 1 {
		return refuse(-1, "the condition cannot be cut out of the text")
	}
	if n := len(lp.From) - len(lp.Where); lp.Where != "" && strings.HasSuffix(lp.From, lp.Where) {
		lp.try, _, err = e.plan("SELECT " + ordinalColumn + " FROM " + lp.From[:n] + "TRY(" + lp.Where + ")")
		if err != nil || len(lp.try.refs) != 1 {
			lp.try = nil
		}
	}
	return lp, nil
}

// columnNames appends every part of the column references in n: which part names the
// column, and which a table or a member of a struct, shows only with a schema.
func columnNames(n node, names []string) []string {
	if n.str("class") == "COLUMN_REF" {
		for _, name := range n.names("column_names") {
			names = append(names, fold(name))
		}
	}
	for _, v := range n {
		switch v := v.(type) {
		case map[string]any:
			names = columnNames(v, names)
		case []any:
			for _, c := range v {
				if m, ok := c.(map[string]any); ok {
					names = columnNames(m, names)
				}
			}
		}
	}
	return names
}

// ordinalColumn is the number of the row in a batch of [Filter.Match].
const ordinalColumn = "kalamdb_ordinal"

// notLive is a part of a condition that looks at more than one row, or nil.
func notLive(n node) node {
	switch n.str("class") {
	case "SUBQUERY", "WINDOW", "STAR", "POSITIONAL_REFERENCE":
		return n
	}
	for _, v := range n {
		switch v := v.(type) {
		case map[string]any:
			if bad := notLive(v); bad != nil {
				return bad
			}
		case []any:
			for _, c := range v {
				if m, ok := c.(map[string]any); ok {
					if bad := notLive(m); bad != nil {
						return bad
					}
				}
			}
		}
	}
	return nil
}

// A Filter decides which rows a live query sees. A nil *Filter sees all. It is safe
// for concurrent use.
type Filter struct {
	e       *Engine
	plan    *Plan
	try     *Plan // plan for rows whose condition fails, may be nil
	rel     *Relation
	session Session
	match   matcher // nil: DuckDB decides
}

// Filter compiles the WHERE of lp for rows of the schema, nil if there is none. What
// the compiler does not know to be exactly DuckDB's answer, DuckDB answers.
func (e *Engine) Filter(lp *LivePlan, schema *row.Schema, system bool, s Session) (*Filter, error) {
	if lp.tree == nil {
		return nil, nil
	}
	f := &Filter{e: e, plan: lp.plan, try: lp.try, rel: &Relation{Schema: schema, System: system}, session: s}
	// DuckDB has the say on names and types, also of what is compiled.
	if _, err := f.ask(context.Background(), f.plan, nil); err != nil {
		return nil, f.moveBack(err, lp)
	}
	c := compiler{schema: schema, system: system, alias: lp.plan.refs[0].name, session: s}
	f.match = c.compile(lp.tree)
	return f, nil
}

// Fast says whether the rows of most commits need no DuckDB.
func (f *Filter) Fast() bool { return f == nil || f.match != nil }

// An Equality says that every row that matches has in a column one of Values.
type Equality struct {
	Column int // position in the columns of the schema
	Values []row.Value
}

// Equalities are conditions that every row fulfils that matches, nil if there are none.
func (f *Filter) Equalities() []Equality { return nil }

// moveBack turns an offset in the plan's text into one in the client's.
func (f *Filter) moveBack(err error, lp *LivePlan) error {
	if qe, ok := err.(*Error); ok && qe.Pos >= 0 {
		qe.Pos += lp.Pos - f.plan.refs[0].start
	}
	return err
}

// Match says of each row whether the condition is true for it. A condition that fails
// for a row (it divides by zero, it casts what is no number) is not true for it, and
// the other rows do not suffer from it.
func (f *Filter) Match(ctx context.Context, rows []*row.Row) ([]bool, error) {
	if f == nil || f.match != nil {
		ok := make([]bool, len(rows))
		for i, r := range rows {
			ok[i] = f == nil || f.match(r) == yes
		}
		return ok, nil
	}
	ok, err := f.ask(ctx, f.plan, rows)
	if !fails(err) {
		return ok, err
	}
	if f.try != nil {
		if ok, err = f.ask(ctx, f.try, rows); !fails(err) {
			return ok, err
		}
	}
	ok = make([]bool, len(rows)) // TRY does not take every condition
	for i := range rows {
		one, err := f.ask(ctx, f.plan, rows[i:i+1])
		if err != nil && !fails(err) {
			return nil, err
		}
		ok[i] = err == nil && one[0]
	}
	return ok, nil
}

// fails says whether err comes out of the condition and its rows.
func fails(err error) bool {
	var qe *Error
	return errors.As(err, &qe) && slices.Contains([]string{"INVALID_VALUE", "TYPE_MISMATCH", "INVALID_STATEMENT", "NOT_SUPPORTED_YET"}, qe.Code)
}

// ask has DuckDB evaluate the condition over all rows at once.
func (f *Filter) ask(ctx context.Context, p *Plan, rows []*row.Row) ([]bool, error) {
	ok := make([]bool, len(rows))
	limited, cancel := context.WithTimeoutCause(ctx, f.e.o.QueryTimeout, errTimeout)
	defer cancel()
	sp := f.splice(p, rows)
	session := f.session
	session.Now = time.Now()
	res, err := f.e.execute(limited, sp.text, &statement{sources: sp.sources, session: session}, nil,
		func(_ *mapping.Result, chunk mapping.DataChunk) error {
			data := mapping.VectorGetData(mapping.DataChunkGetVector(chunk, 0))
			for i := range int(mapping.DataChunkGetSize(chunk)) {
				ok[*at[int64](data, i)] = true
			}
			mapping.DestroyDataChunk(&chunk)
			return nil
		},
		func(err error, in *instance) error {
			return f.e.failure(ctx, limited, err, in, &origin{plan: p, rels: []*Relation{f.rel}, spliced: sp})
		}, func(bool) {})
	if err != nil {
		return nil, err
	}
	mapping.DestroyResult(res)
	return ok, nil
}

// splice puts the rows in the place of the table.
func (f *Filter) splice(p *Plan, rows []*row.Row) *spliced {
	ref := p.refs[0]
	src := hotSource(f.rel, nil, nil, nil, true)
	src.rows = len(rows)
	src.columns = append(src.columns, scanColumn{ordinalColumn, row.Type{Kind: row.BigInt}})
	src.places = append(src.places[:len(src.columns)-1:len(src.columns)-1], placeOrdinal)
	src.next = func(after []byte, limit int, yield func([]byte, *row.Row)) (bool, error) {
		i := 0
		if after != nil {
			i, _ = strconv.Atoi(string(after))
		}
		for ; i < len(rows) && limit > 0; i, limit = i+1, limit-1 {
			yield([]byte(strconv.Itoa(i+1)), rows[i])
		}
		return i < len(rows), nil
	}
	sp := &spliced{sources: []source{src}}
	text := p.text[:ref.start] + "(SELECT * FROM " + scanFunction + "(0))"
	sp.pieces = append(sp.pieces, piece{at: 0, src: 0, n: ref.start}, piece{at: ref.start, src: ref.start})
	if !ref.aliased {
		text += " AS " + quoteName(ref.name)
	}
	from := ref.end
	for _, c := range append(p.cuts[:len(p.cuts):len(p.cuts)], cut{p.end, p.end, ""}) {
		sp.pieces = append(sp.pieces, piece{at: len(text), src: from, n: c.start - from}, piece{at: len(text) + c.start - from, src: c.start})
		text += p.text[from:c.start] + c.insert
		from = c.end
	}
	sp.text = text
	return sp
}

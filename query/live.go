package query

import (
	"context"
	"errors"
	"maps"
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
}

// liveFields are what the SELECT of a live query may have.
var liveFields = map[string]bool{"type": true, "select_list": true, "from_table": true, "where_clause": true, "aggregate_handling": true}

const liveShape = "a live query is SELECT columns FROM one table WHERE condition: "

// PlanLive checks text: one SELECT of columns or * from one table with an optional
// WHERE over its columns. The error is an *Error.
func (e *Engine) PlanLive(text string) (*LivePlan, error) {
	p, tree, err := e.plan(text)
	if err != nil {
		return nil, err
	}
	refuse := func(pos int, what string) (*LivePlan, error) {
		pos = max(pos, 0)
		return nil, &Error{Code: "FORBIDDEN_STATEMENT", Message: liveShape + what, Pos: pos}
	}
	for _, k := range slices.Sorted(maps.Keys(tree)) {
		if !liveFields[k] {
			return refuse(-1, strings.ReplaceAll(k, "_", " ")+" is not possible")
		}
	}
	from := tree.child("from_table")
	tokens, err := lex(text)
	if err != nil {
		return nil, err
	}
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
	match      matcher // nil: DuckDB decides
	equalities []Equality
	personal   bool
	duck       *asker // nil: match is sure of every row
}

// An asker has DuckDB evaluate a condition.
type asker struct {
	e       *Engine
	plan    *Plan
	rel     *Relation
	session Session
}

// Filter compiles the WHERE of lp for rows of the schema, nil if there is none. What
// the compiler does not know to be exactly DuckDB's answer, DuckDB answers.
func (e *Engine) Filter(lp *LivePlan, schema *row.Schema, system bool, s Session) (*Filter, error) {
	if lp.tree == nil {
		return nil, nil
	}
	ctx := context.Background()
	f := &Filter{personal: true, duck: &asker{e: e, plan: lp.plan, rel: &Relation{Schema: schema, System: system}, session: s}}
	nodes, err := f.duck.bind(ctx)
	if err != nil {
		// DuckDB has the say on names and types.
		if _, err := f.duck.ask(ctx, nil); err != nil {
			return nil, f.duck.moveBack(err, lp)
		}
		return f, nil
	}
	c := compiler{schema: schema, session: s, casts: map[constantCast]row.Value{}}
	for _, n := range nodes {
		constantCasts(n, c.casts)
	}
	e.compute(ctx, c.casts)
	parts := make([]compiled, len(nodes))
	for i, n := range nodes {
		parts[i] = c.condition(n)
	}
	f.equalities = c.equalities(nodes)
	f.personal = slices.ContainsFunc(nodes, namesUser)
	where := junction(parts, no, unknown, yes) // NULL is as good as false
	f.match = where.get
	if where.sure {
		f.duck = nil
	}
	return f, nil
}

// Equalities are conditions that every row fulfils that matches, nil if there are none.
func (f *Filter) Equalities() []Equality {
	if f == nil {
		return nil
	}
	return f.equalities
}

// Fast says that no row needs DuckDB: Match takes some ns a row and waits for nothing.
func (f *Filter) Fast() bool { return f == nil || f.duck == nil }

// Personal says whether the answer depends on the user or the role of the session.
func (f *Filter) Personal() bool { return f != nil && f.personal }

// moveBack turns an offset in the plan's text into one in the client's.
func (f *asker) moveBack(err error, lp *LivePlan) error {
	if qe, ok := err.(*Error); ok && qe.Pos >= 0 {
		qe.Pos += lp.Pos - f.plan.refs[0].start
	}
	return err
}

// Match says of each row whether the condition is true for it. A row for which the
// condition fails (it overflows, it casts what is no number) is an error, as it is one
// of the SELECT; before it, there is none.
func (f *Filter) Match(ctx context.Context, rows []*row.Row) ([]bool, error) {
	ok := make([]bool, len(rows))
	if f == nil {
		for i := range ok {
			ok[i] = true
		}
		return ok, nil
	}
	var open []int // rows for DuckDB
	for i, r := range rows {
		t := ask
		if f.match != nil {
			t = f.match(r)
		}
		switch t {
		case yes:
			ok[i] = true
		case ask:
			open = append(open, i)
		}
	}
	if open == nil {
		return ok, nil
	}
	asked := make([]*row.Row, len(open))
	for i, at := range open {
		asked[i] = rows[at]
	}
	answers, err := f.duck.decide(ctx, asked)
	if err != nil {
		return nil, err
	}
	for i, at := range open {
		ok[at] = answers[i]
	}
	return ok, nil
}

// decide has DuckDB evaluate the condition. If it fails, the row is searched for that
// it fails for.
func (f *asker) decide(ctx context.Context, rows []*row.Row) ([]bool, error) {
	ok, err := f.ask(ctx, rows)
	if !fails(err) {
		return ok, err
	}
	if len(rows) == 1 {
		var qe *Error
		errors.As(err, &qe)
		failed := *qe
		failed.Pos, failed.Details = -1, "the row with _seq "+strconv.FormatUint(uint64(rows[0].Seq), 10)
		return nil, &failed
	}
	ok, err = f.decide(ctx, rows[:len(rows)/2])
	if err != nil {
		return nil, err
	}
	more, err := f.decide(ctx, rows[len(rows)/2:])
	return append(ok, more...), err
}

// fails says whether err comes out of the condition and its rows.
func fails(err error) bool {
	var qe *Error
	return errors.As(err, &qe) && slices.Contains([]string{"INVALID_VALUE", "TYPE_MISMATCH", "INVALID_STATEMENT", "NOT_SUPPORTED_YET"}, qe.Code)
}

// ask has DuckDB evaluate the condition over all rows at once.
func (f *asker) ask(ctx context.Context, rows []*row.Row) ([]bool, error) {
	ok := make([]bool, len(rows))
	limited, cancel := context.WithTimeoutCause(ctx, f.e.o.QueryTimeout, errTimeout)
	defer cancel()
	sp := f.splice(rows)
	session := f.session
	session.Now = time.Now()
	f.e.trace(sp.text)
	res, err := f.e.execute(limited, &task{
		text: sp.text, st: &statement{sources: sp.sources, session: session}, plan: f.plan, lane: f.e.live,
		each: func(_ *mapping.Result, chunk mapping.DataChunk) error {
			data := mapping.VectorGetData(mapping.DataChunkGetVector(chunk, 0))
			for i := range int(mapping.DataChunkGetSize(chunk)) {
				ok[*at[int64](data, i)] = true
			}
			mapping.DestroyDataChunk(&chunk)
			return nil
		},
		failed: func(err error, in *instance) error {
			return f.e.failure(ctx, limited, err, in, &origin{plan: f.plan, rels: []*Relation{f.rel}, spliced: sp})
		},
		cleanup: func(bool) {},
	})
	if err != nil {
		return nil, err
	}
	mapping.DestroyResult(res)
	return ok, nil
}

// splice puts the rows in the place of the table.
func (f *asker) splice(rows []*row.Row) *spliced {
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
	sp := f.plan.splicePlain("(SELECT * FROM " + scanFunction + "(0))")
	sp.sources = []source{src}
	return sp
}

// splicePlain puts a subquery in the place of the only table.
func (p *Plan) splicePlain(table string) *spliced {
	ref, sp := p.refs[0], &spliced{}
	text := p.text[:ref.start] + table
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

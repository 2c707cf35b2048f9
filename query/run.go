package query

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"kalamdb/row"
)

// A spliced is a statement as DuckDB gets it, with the way back: which bytes of it
// are which bytes of the client's text.
type spliced struct {
	text    string
	pieces  []piece // ascending
	sources []source
	params  []row.Value // $1, $2, … of text
	reads   []reading   // one per base table
}

// late is v as an argument of a table function: a parameter. DuckDB plans a statement
// that reads files twice, when it is prepared and when it runs; the first round ends
// where it meets an argument that it does not know yet.
func (s *spliced) late(v row.Value) string {
	s.params = append(s.params, v)
	return "$" + strconv.Itoa(len(s.params))
}

// A piece is n bytes copied from the client's text, or a splice for the table at src.
type piece struct{ at, src, n int }

// original is the offset in the client's text of an offset in the spliced text.
func (s *spliced) original(pos int) int {
	i, ok := slices.BinarySearchFunc(s.pieces, pos, func(p piece, pos int) int { return cmp.Compare(p.at, pos) })
	if !ok {
		i--
	}
	if i < 0 {
		return -1
	}
	p := s.pieces[i]
	return p.src + min(pos-p.at, p.n)
}

// An edit replaces text[start:end] of the client's text.
type edit struct {
	start, end int
	ref        *baseRef
	insert     string
}

// renumber closes the gaps that the edits, or the client, leave in the numbers of the
// parameters: DuckDB binds $1 to $n without one. It returns the values of these.
func (p *Plan) renumber(edits []edit, params []row.Value) ([]edit, []row.Value) {
	var kept []paramUse
	var numbers []int
	for _, u := range p.uses {
		if slices.ContainsFunc(edits, func(e edit) bool { return e.start <= u.start && u.end <= e.end }) {
			continue
		}
		kept = append(kept, u)
		numbers = append(numbers, u.n)
	}
	slices.Sort(numbers)
	numbers = slices.Compact(numbers)
	values := make([]row.Value, len(numbers), len(numbers)+1)
	if highest := len(numbers); highest > 0 && numbers[highest-1] > highest {
		for _, u := range kept {
			at, _ := slices.BinarySearch(numbers, u.n)
			edits = append(edits, edit{start: u.start, end: u.end, insert: "$" + strconv.Itoa(at+1)})
		}
	}
	for i, n := range numbers {
		values[i] = params[n-1]
	}
	return edits, values
}

// splice puts the subqueries in the place of the base tables. release frees the files.
func (p *Plan) splice(ctx context.Context, rels []*Relation, params []row.Value, rowsMax int64) (s *spliced, release func(), err error) {
	var releases []func()
	release = func() {
		for _, r := range releases {
			r()
		}
	}
	edits := make([]edit, 0, len(p.refs)+len(p.cuts)+len(p.stars))
	for _, r := range p.refs {
		edits = append(edits, edit{start: r.start, end: r.end, ref: r})
	}
	for _, c := range p.cuts {
		edits = append(edits, edit{start: c.start, end: c.end, insert: c.insert})
	}
	for _, l := range p.likes {
		insert, err := l.insert(params)
		if err != nil {
			return nil, release, err
		}
		edits = append(edits, edit{start: l.start, end: l.end, insert: insert})
	}
	for _, st := range p.stars {
		var names []string
		for _, r := range st.tables {
			if r.seq && rels[r.table].System {
				names = append(names, quoteName(r.name)+`."_seq"`)
			}
		}
		if names != nil {
			edits = append(edits, edit{start: st.end, end: st.end, insert: " EXCLUDE (" + strings.Join(names, ", ") + ")"})
		}
	}
	s = &spliced{}
	edits, s.params = p.renumber(edits, params)
	slices.SortFunc(edits, func(a, b edit) int { return cmp.Compare(a.start, b.start) })
	var out strings.Builder
	copied := 0
	piecewise := func(to int) {
		s.pieces = append(s.pieces, piece{at: out.Len(), src: copied, n: to - copied})
		out.WriteString(p.text[copied:to])
	}
	for _, e := range edits {
		piecewise(e.start)
		s.pieces = append(s.pieces, piece{at: out.Len(), src: e.start})
		copied = e.end
		out.WriteString(e.insert)
		if e.ref == nil {
			continue
		}
		if e.ref.command {
			out.WriteString("SELECT * FROM ")
		}
		out.WriteString("(")
		s.reads = append(s.reads, reading{table: p.tables[e.ref.table], alias: e.ref.name})
		m := merge{ctx: ctx, read: &s.reads[len(s.reads)-1], rel: rels[e.ref.table], ref: e.ref, out: &out, sources: &s.sources, release: &releases, late: s.late}
		guard := m.rel.Guard
		if guard != nil {
			guard.open(&m)
		}
		if err := m.write(params); err != nil {
			return nil, release, err
		}
		if guard != nil {
			guard.close(&out)
		}
		out.WriteString(")")
		if !e.ref.aliased {
			out.WriteString(" AS " + quoteName(e.ref.name))
		}
	}
	piecewise(p.end)
	if !p.limited && rowsMax > 0 {
		s.pieces = append(s.pieces, piece{at: out.Len(), src: p.end})
		out.WriteString("\nLIMIT " + strconv.FormatInt(rowsMax+1, 10))
	}
	s.text = out.String()
	return s, release, nil
}

// Query runs p over rels, which are parallel to p.Tables. The result is complete when
// Query returns; the error is an *Error or ctx's.
func (e *Engine) Query(ctx context.Context, p *Plan, rels []*Relation, params []row.Value, s Session) (*Rows, error) {
	rows, _, err := e.query(ctx, p, "", rels, params, s)
	return rows, err
}

func (e *Engine) query(ctx context.Context, p *Plan, prefix string, rels []*Relation, params []row.Value, session Session) (*Rows, []reading, error) {
	limited, cancel := context.WithTimeoutCause(ctx, e.o.QueryTimeout, errTimeout)
	defer cancel()
	rows := &Rows{e: e, rowsMax: e.o.ResultRowsMax, bytesMax: e.o.ResultBytesMax}
	j := job{plan: p, prefix: prefix, rels: rels, params: params, session: session, rowsMax: e.o.ResultRowsMax, each: rows.add, failed: rows.Close, again: rows.clear}
	res, reads, err := e.run(ctx, limited, &j)
	if err != nil {
		return nil, nil, err
	}
	rows.describe(res)
	mapping.DestroyResult(res)
	return rows, reads, nil
}

// A job is one run of a plan.
type job struct {
	plan    *Plan
	prefix  string
	rels    []*Relation // parallel to plan.tables
	params  []row.Value
	session Session
	rowsMax int64                                          // one more row is the last; 0: no limit
	each    func(*mapping.Result, mapping.DataChunk) error // takes over a piece of the result
	failed  func()                                         // lets go of what each has taken; called at most once, after the last each
	again   func()                                         // the same, and each comes again from the first piece
	lane    *lane                                          // nil: quick, then slow
}

// run runs j until limited is done, which is ctx or ends before it. The caller destroys the result.
func (e *Engine) run(ctx, limited context.Context, j *job) (*mapping.Result, []reading, error) {
	p, params := j.plan, j.params
	if len(j.rels) != len(p.tables) {
		panic("query: broken invariant: " + strconv.Itoa(len(j.rels)) + " relations for " + strconv.Itoa(len(p.tables)) + " tables")
	}
	for i, t := range p.tables {
		if t.AllUsers && j.rels[i].Users == nil {
			return nil, nil, &Error{Code: "NOT_SUPPORTED_YET", Message: "ALL_USERS is not supported here", Pos: t.Pos}
		}
	}
	if len(params) < p.params {
		return nil, nil, &Error{Code: "INVALID_PARAMS", Message: "the statement uses $" + strconv.Itoa(p.params) + ", but " + strconv.Itoa(len(params)) + " parameters were given", Pos: -1}
	}
	for _, id := range p.short {
		if v := params[id-1]; (v.Kind() == row.Text || v.Kind() == row.JSON) && len(v.Str()) > shortMax {
			return nil, nil, &Error{Code: "INVALID_PARAMS", Message: fmt.Sprintf("the parameter $%d has more than %d bytes, the limit of a replacement", id, shortMax), Pos: -1}
		}
	}
	params = p.vectorValues(params)
	if open := e.open.Load(); open >= e.o.OpenResultBytesMax {
		return nil, nil, &Error{Code: "BUSY", Message: fmt.Sprintf("results of %d bytes are still being read, the limit of all results together is %d bytes: try again", open, e.o.OpenResultBytesMax), Pos: -1}
	}
	sp, release, err := p.splice(limited, j.rels, params, j.rowsMax)
	if err != nil {
		release()
		return nil, nil, e.failure(ctx, limited, err, nil, nil)
	}
	sp.text = j.prefix + sp.text
	for i := range sp.pieces {
		sp.pieces[i].at += len(j.prefix)
	}
	e.trace(sp.text)
	res, err := e.execute(limited, &task{
		text: sp.text, st: &statement{sources: sp.sources, session: j.session}, lane: j.lane, plan: p,
		bind: func(stmt mapping.PreparedStatement) error { return bind(stmt, sp.params) },
		each: j.each, again: j.again,
		failed: func(err error, in *instance) error {
			return e.failure(ctx, limited, err, in, &origin{plan: p, rels: j.rels, spliced: sp})
		},
		cleanup: func(ok bool) {
			release()
			if !ok {
				j.failed()
			}
		},
	})
	if err != nil {
		return nil, nil, err
	}
	return res, sp.reads, nil
}

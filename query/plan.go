package query

import (
	"bytes"
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// A TableRef is a base table as the statement names it, in lower case.
type TableRef struct {
	Namespace string // "" = unqualified
	Name      string
	Pos       int // byte offset of its first mention
	// AllUsers says that it is ALL_USERS(table). Its relation has Users.
	AllUsers bool
}

// A Plan is a statement that passed the gate. It does not change and is shared by
// all who run the same text.
type Plan struct {
	text    string
	end     int // behind its last word, before a final semicolon
	tables  []TableRef
	refs    []*baseRef // ascending by start
	cuts    []cut
	likes   []likeRef
	short   []int // parameters that may have shortMax bytes
	vectors []int // parameters that are vectors
	stars   []starRef
	params  int
	uses    []paramUse // ascending by start
	from    []string   // what its FROM calls its tables
	limited bool       // the statement has its own LIMIT
	unnests bool
}

// A paramUse is one $n of the text.
type paramUse struct{ start, end, n int }

// Tables are the distinct base tables; names defined by WITH are not among them.
func (p *Plan) Tables() []TableRef { return p.tables }

// Params is the highest $n used.
func (p *Plan) Params() int { return p.params }

// From is what the FROM of the statement calls its tables, without those that have no name.
func (p *Plan) From() []string { return p.from }

// fromNames appends the names of the tables of a FROM.
func fromNames(names []string, n node) []string {
	if n.str("type") == "JOIN" {
		return fromNames(fromNames(names, n.child("left")), n.child("right"))
	}
	name := n.str("alias")
	if name == "" {
		name = n.str("table_name")
	}
	if name == "" {
		name = n.child("function").str("function_name")
	}
	if name == "" {
		return names
	}
	return append(names, name)
}

// Unnests says whether the select list of the statement makes several rows of one, or
// several columns of one item, so that it cannot give the new values of one row.
func (p *Plan) Unnests() bool { return p.unnests }

// textBytesMax bounds the text of one statement.
const textBytesMax = 1 << 20

// Plan parses text, checks it against the allow-lists and finds its base tables.
// The error is an *Error.
func (e *Engine) Plan(text string) (*Plan, error) {
	if p, ok := e.plans.get(text); ok {
		return p, nil
	}
	p, _, err := e.plan(text)
	if err != nil {
		return nil, err
	}
	e.plans.put(text, p)
	return p, nil
}

// plan also returns the tree of the statement's query.
func (e *Engine) plan(text string) (p *Plan, tree node, err error) {
	if len(text) > textBytesMax {
		return nil, nil, &Error{Code: "TOO_LARGE", Message: "the statement is longer than " + strconv.Itoa(textBytesMax) + " bytes", Pos: -1}
	}
	tokens, err := lex(text)
	if err != nil {
		return nil, nil, err
	}
	if err := shape(text, tokens); err != nil {
		return nil, nil, err
	}
	tree, err = e.parse(text, tokens)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if r := recover(); r != nil {
			refused, ok := r.(refusal)
			if !ok {
				panic(r)
			}
			p, tree, err = nil, nil, refused
		}
	}()
	g := &gate{text: text, tokens: tokens, p: &Plan{text: text}}
	for _, t := range g.tokens {
		if t.kind == tokenParam {
			if n, err := strconv.Atoi(text[t.start+1 : t.end]); err == nil {
				g.p.uses = append(g.p.uses, paramUse{t.start, t.end, n})
				g.p.params = max(g.p.params, n)
			}
		}
		if t.kind != tokenOther || text[t.start] != ';' {
			g.p.end = t.end
		}
	}
	g.query(tree)
	p = g.p
	u := usesOf(tree)
	for _, r := range p.refs {
		r.seq, r.deleted = r.seq || g.seqAll, r.deleted || g.deletedAll
		r.used = u.of(r)
	}
	p.from = fromNames(nil, tree.child("from_table"))
	p.unnests = slices.ContainsFunc(tree.list("select_list"), multiplies)
	for _, m := range tree.list("modifiers") {
		if strings.HasPrefix(m.str("type"), "LIMIT") {
			p.limited = true
		}
	}
	slices.SortFunc(p.refs, func(a, b *baseRef) int { return cmp.Compare(a.start, b.start) })
	slices.SortFunc(p.cuts, func(a, b cut) int { return cmp.Compare(a.start, b.start) })
	p.cuts = slices.Compact(p.cuts)
	slices.SortFunc(p.likes, func(a, b likeRef) int { return cmp.Compare(a.start, b.start) })
	p.likes = slices.CompactFunc(p.likes, func(a, b likeRef) bool { return a.start == b.start })
	slices.SortFunc(p.stars, func(a, b starRef) int { return cmp.Compare(a.end, b.end) })
	p.stars = slices.CompactFunc(p.stars, func(a, b starRef) bool { return a.end == b.end })
	return p, tree, nil
}

// multiplies says whether the expression n gives several rows or columns.
func multiplies(n node) bool {
	if n.str("class") == "SUBQUERY" {
		return n.child("child") != nil && multiplies(n.child("child"))
	}
	switch fold(n.str("function_name")) {
	case "unnest", "unlist", "generate_subscripts", "regexp_split_to_table":
		return true
	}
	for _, v := range n {
		switch v := v.(type) {
		case map[string]any:
			if multiplies(v) {
				return true
			}
		case []any:
			for _, c := range v {
				if m, ok := c.(map[string]any); ok && multiplies(m) {
					return true
				}
			}
		}
	}
	return n.str("type") == "OPERATOR_UNPACK" || n.str("class") == "STAR"
}

// parse gives the tree of the one SELECT in text.
func (e *Engine) parse(text string, tokens []token) (node, error) {
	in, err := e.quick.acquire()
	if err != nil {
		return nil, err
	}
	defer e.quick.release(in)
	c := <-in.parsers
	defer func() { in.parsers <- c }()
	raw, err := c.parse(text)
	if err != nil {
		return nil, e.translate(err, in, nil)
	}
	var answer node
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&answer); err != nil {
		if pos := infinite(text, tokens); pos >= 0 { // which JSON does not have
			return nil, &Error{Code: "INVALID_VALUE", Message: "the number is too large for DOUBLE, the largest type of numbers", Details: "write 'infinity'::DOUBLE if that is meant", Pos: pos}
		}
		return nil, &Error{Code: "INTERNAL", Message: "the statement could not be parsed", Pos: -1, Cause: err}
	}
	if answer.flag("error") {
		return nil, parseError(answer, text, tokens)
	}
	statements := answer.list("statements")
	switch len(statements) {
	case 1:
	case 0:
		return nil, &Error{Code: "SYNTAX_ERROR", Message: "the statement is empty", Pos: 0}
	default:
		return nil, &Error{Code: "FORBIDDEN_STATEMENT", Message: "expected one statement, found " + strconv.Itoa(len(statements)), Pos: behindSemicolon(text, tokens)}
	}
	for k := range statements[0] {
		if k != "node" && k != "named_param_map" {
			return nil, &Error{Code: "FORBIDDEN_STATEMENT", Message: "this statement is not allowed", Pos: -1}
		}
	}
	return statements[0].child("node"), nil
}

// behindSemicolon is the offset of the first word behind a semicolon, 0 if there is none.
func behindSemicolon(text string, tokens []token) int {
	semicolon := false
	for i, t := range tokens {
		if word := text[t.start:t.end]; word != ";" && semicolon && i > 0 {
			return t.start
		} else if word == ";" && i > 0 {
			semicolon = true
		}
	}
	return 0
}

// infinite is the offset of the first number that DOUBLE cannot hold, -1 if there is none.
func infinite(text string, tokens []token) int {
	for _, t := range tokens {
		if t.kind != tokenNumber {
			continue
		}
		if v, err := strconv.ParseFloat(strings.ReplaceAll(text[t.start:t.end], "_", ""), 64); err != nil && math.IsInf(v, 0) {
			return t.start
		}
	}
	return -1
}

func parseError(answer node, text string, tokens []token) error {
	pos, err := strconv.Atoi(answer.str("position"))
	if err != nil {
		pos = -1
	}
	if pos < 0 && len(tokens) > 0 {
		pos = tokens[0].start
	}
	e := &Error{Code: "SYNTAX_ERROR", Message: answer.str("error_message"), Pos: pos}
	if strings.HasPrefix(e.Message, "Only SELECT") {
		e.Code, e.Message = "FORBIDDEN_STATEMENT", "only SELECT is allowed here"
		if i := slices.IndexFunc(tokens, func(t token) bool {
			return t.kind == tokenWord && strings.HasPrefix(fold(text[t.start:t.end]), "pivot")
		}); i >= 0 {
			e.Message, e.Pos = "a PIVOT has to name the values that become columns", tokens[i].start
			e.Details = "write them behind the column: PIVOT t ON year IN (2025, 2026) USING sum(n); SELECT DISTINCT year FROM t tells which there are"
		}
	}
	if strings.Contains(e.Message, "max_expression_depth") { // which nobody may set
		e.Message = "the statement is nested deeper than DuckDB's parser allows"
	}
	if strings.Contains(e.Message, `"kalamdb `) { // at a name that a statement is composed with
		e.Message = "syntax error at the end of a list or an expression"
	}
	if strings.Contains(e.Message, "named and positional parameters") {
		e.Message = "parameters are written $1, $2, …"
	}
	return e
}

// A planCache keeps the plans of the texts used last: a full generation is kept
// until the next one is full.
type planCache struct {
	mu         sync.Mutex // guards the fields below; nothing blocks under it
	young, old map[string]*Plan
	bytes      int
	entriesMax int
	bytesMax   int
}

const (
	cachedPlansMax     = 2048    // in each of two generations
	cachedPlanBytesMax = 8 << 20 // of text, in each
)

func (c *planCache) get(text string) (*Plan, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, ok := c.young[text]; ok {
		return p, true
	}
	p, ok := c.old[text]
	if ok {
		c.add(text, p)
	}
	return p, ok
}

func (c *planCache) put(text string, p *Plan) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(text, p)
}

func (c *planCache) add(text string, p *Plan) {
	if c.young == nil || len(c.young) >= c.entriesMax || c.bytes+len(text) > c.bytesMax {
		c.old, c.young, c.bytes = c.young, map[string]*Plan{}, 0
	}
	c.young[text] = p
	c.bytes += len(text)
}

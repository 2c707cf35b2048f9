package sql

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/duckdb/duckdb-go/v2/mapping"
)

// duckParser counts statements as DuckDB's own parser does.
type duckParser struct {
	db   mapping.Database
	conn mapping.Connection
}

func newDuckParser(t testing.TB) *duckParser {
	d := &duckParser{}
	if mapping.Open("", &d.db) != mapping.StateSuccess || mapping.Connect(d.db, &d.conn) != mapping.StateSuccess {
		t.Fatal("DuckDB does not open")
	}
	t.Cleanup(func() {
		mapping.Disconnect(&d.conn)
		mapping.Close(&d.db)
	})
	return d
}

// count is the number of statements of text; ok is false if it does not parse.
func (d *duckParser) count(text string) (n int, ok bool) {
	var stmts mapping.ExtractedStatements
	n = int(mapping.ExtractStatements(d.conn, text, &stmts))
	ok = mapping.ExtractStatementsError(stmts) == ""
	mapping.DestroyExtracted(&stmts)
	return n, ok
}

// split cuts text at its semicolons with our lexer alone.
func split(text string) (pieces []string, err *Error) {
	l := newLexer(text)
	start, end := -1, 0
	for {
		t := l.next()
		switch {
		case t.kind == tokBad:
			return nil, l.err
		case t.kind == tokEnd || t.kind == tokSymbol && t.sym == ';':
			if start >= 0 {
				pieces = append(pieces, text[start:end])
			}
			if start = -1; t.kind == tokEnd {
				return pieces, nil
			}
			continue
		case start < 0:
			start = t.start
		}
		end = t.end
	}
}

// refused are the reasons for which we refuse what DuckDB takes.
var refused = []string{
	"found ?", "found $", "found the parameter", "found the invisible character", "found a number glued", "found a byte that is not UTF-8",
	"found a row of", // which DuckDB finds when it binds
}

// checkSplit compares our split of text with DuckDB's; parsed says whether DuckDB
// could parse it at all.
func checkSplit(t testing.TB, d *duckParser, text string) (parsed bool) {
	if strings.IndexByte(text, 0) >= 0 {
		return false // the text DuckDB sees ends there
	}
	want, ok := d.count(text)
	if !ok {
		return false
	}
	pieces, err := split(text)
	if err != nil {
		if !isRefused(err) {
			t.Errorf("DuckDB parses %q, our lexer: %v", text, err)
		}
		return true
	}
	got := len(pieces)
	for _, piece := range pieces {
		n, ok := d.count(piece)
		if _, err := Parse(piece); ok && n == 0 && err != nil {
			got-- // DuckDB skips "é;" in silence, we do not
			continue
		}
		if !ok || n != 1 {
			t.Errorf("%q of %q is %d statements to DuckDB", piece, text, n)
		}
	}
	if got != want {
		t.Errorf("%q: %d statements %q, DuckDB has %d", text, got, pieces, want)
	}
	return true
}

// items are expressions with every kind of token.
var items = []string{
	"1", "1.5", ".5", "5.", "1e3", "1_000", "0x1F", "1e+5", "$1", "$2", "'a'", "'it''s'", "';'", "'--'", "'/*'", "''", "'\\'", `'"'`, "E'a'", `E'\''`, `e'\\'`, `E';\';'`,
	"E'a'\n'\\';'", "E'a' -- x'\n  '\\'';'", "'a'\n'b;'", "x'00'", "'a' -- ;\n 'b'", "$$a$$", "$$;$$", "$$'$$", "$a$ $$ ; $a$", "$a$ $ab$ $a$", "$_1$;$_1$", "$é$;$é$", `"a"`, `"a;b"`, `"a""b"`, `"--"`, `"/*"`,
	"a", "a$b", "a$$b", "é", "a.b", "a.from", "(1)", "((a))", "[1, 2]", "{'a': 1}", "a[1:2]", "(SELECT 1)", "(SELECT ';')", "f(a, 'x')", "CASE WHEN a THEN ';' ELSE b END", "a::INT", "CAST(a AS VARCHAR)",
	"a - - b", "a -/* ; */- b", "a+-b", "a*/* */b", "a // b", "a ** 2", "a->'b'", "a->>'b'", "a <= b", "a <> b", "a != b", "NOT a", "a IS NULL", "a IS NOT DISTINCT FROM b", "a IN (1, 2)", "a BETWEEN 1 AND 2",
	"a LIKE '%;'", "INTERVAL 1 DAY", "INTERVAL '1 day'", "DATE '2026-01-01'", "TIMESTAMP '2026-01-01'", "a COLLATE nocase", "a AT TIME ZONE 'UTC'", "list_filter(a, lambda x: x > 1)", "[x for x in a if x > 1]",
	"count(*) OVER (PARTITION BY a ORDER BY b)", "sum(a) FILTER (WHERE b > 1)", "EXISTS (SELECT 1)", "a = ANY (SELECT 1)", "MAP {'a': 1}", "EXTRACT(year FROM a)", "substring(a FROM 1 FOR 2)", "trim(BOTH ' ' FROM a)",
	"a::TIMESTAMP WITH TIME ZONE", "TRUE", "NULL", "U&'\\0041'", "N'a'", "b'01'", "TRY_CAST(a AS INT)", "a ? 1", "?", "$name", "1e'x'", "COLUMNS(*)", "a !~ 'b'", "@a", "~a", "a || b", "a && b", "a >> 1",
}

// spaces stand between tokens.
var spaces = []string{" ", " ", " ", "\n", "\t", " /* ; */ ", " /* /* ' */ \" */ ", " -- ;\n", " --'\n", "\r\n", "\f", " /**/ ", " /*/ */ ", " --\n--\n", "\u00a0", "\u2003"}

func pick(r *rand.Rand, list []string) string { return list[r.IntN(len(list))] }

// randomScript is some statements, most of them valid.
func randomScript(r *rand.Rand) string {
	var b strings.Builder
	for range 1 + r.IntN(4) {
		if r.IntN(8) == 0 {
			b.WriteString(";")
		}
		b.WriteString("SELECT")
		for i := range 1 + r.IntN(3) {
			if i > 0 {
				b.WriteString(",")
			}
			b.WriteString(pick(r, spaces) + pick(r, items))
		}
		b.WriteString(pick(r, spaces) + ";" + pick(r, spaces))
	}
	return b.String()
}

// mutate changes a byte or two of s.
func mutate(r *rand.Rand, s string) string {
	const alphabet = "'\"$;-/*\\eExXuU&()[]{}1a. \n?#:"
	for range 1 + r.IntN(2) {
		i, c := r.IntN(len(s)), alphabet[r.IntN(len(alphabet))]
		switch r.IntN(3) {
		case 0:
			s = s[:i] + s[i+1:]
		case 1:
			s = s[:i] + string(c) + s[i:]
		case 2:
			s = s[:i] + string(c) + s[i+1:]
		}
		if s == "" {
			return ";"
		}
	}
	return s
}

// TestSplitIsDuckDBs cuts many texts and counts with DuckDB.
func TestSplitIsDuckDBs(t *testing.T) {
	d := newDuckParser(t)
	for _, item := range items {
		checkSplit(t, d, "SELECT "+item+"; SELECT 2")
		checkSplit(t, d, "SELECT 1;"+item+";SELECT "+item+"--"+item)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	const rounds = 6000
	parsed, mutated := 0, 0
	for range rounds {
		text := randomScript(r)
		if checkSplit(t, d, text) {
			parsed++
		}
		if checkSplit(t, d, mutate(r, text)) {
			mutated++
		}
	}
	t.Logf("DuckDB parsed %d and %d mutated of %d", parsed, mutated, rounds)
	if parsed < rounds/2 || mutated < rounds/10 {
		t.Error("too few texts parse: the comparison has lost its ground")
	}
}

func randomExpr(r *rand.Rand) string {
	e := pick(r, items)
	for range r.IntN(3) {
		e += pick(r, spaces[:10]) + pick(r, []string{"+", "=", "AND", "OR", "||", "IS DISTINCT FROM", "IN", "->"}) + pick(r, spaces[:10]) + pick(r, items)
	}
	return e
}

func randomDML(r *rand.Rand) string {
	s := func() string { return pick(r, spaces[:12]) }
	var b strings.Builder
	exprs := func(prefix string) {
		for i := range 1 + r.IntN(3) {
			if i > 0 {
				b.WriteString(s() + "," + s())
			}
			b.WriteString(strings.ReplaceAll(prefix, "#", string(rune('a'+i))) + randomExpr(r))
		}
	}
	tail := func() {
		if r.IntN(2) == 0 {
			b.WriteString(s() + "WHERE" + s() + randomExpr(r))
		}
		if r.IntN(3) == 0 {
			b.WriteString(s() + "RETURNING ")
			exprs(pick(r, []string{"", "", "* EXCLUDE (x), "}))
		}
		b.WriteString(s())
	}
	switch r.IntN(4) {
	case 0:
		b.WriteString("UPDATE" + s() + "n.t" + pick(r, []string{" ", " AS x ", " x "}) + "SET" + s())
		exprs("# =")
		if r.IntN(3) == 0 {
			b.WriteString(s() + "FROM" + s() + pick(r, []string{"u", "u AS y, v", "u JOIN v ON a IS DISTINCT FROM b", "(SELECT a FROM b WHERE c) z", "u JOIN v USING (a)"}))
		}
		tail()
	case 1:
		b.WriteString("DELETE" + s() + "FROM t" + pick(r, []string{" ", " AS x ", " x "}))
		if r.IntN(3) == 0 {
			b.WriteString("USING" + s() + pick(r, []string{"u", "u y, v", "(SELECT a FROM b WHERE c) z"}))
		}
		tail()
	default:
		b.WriteString("INSERT INTO t" + pick(r, []string{" ", "(a, b) ", " AS x "}))
		switch r.IntN(3) {
		case 0:
			b.WriteString(pick(r, []string{"SELECT a FROM u JOIN v ON conflict = 1 ", "(SELECT 1) ", "SELECT 1 WHERE a IS DISTINCT FROM b ", "FROM u ", "VALUES (1), (2) ORDER BY 1 ", "SELECT * FROM u JOIN v ON (a) "}))
		default:
			b.WriteString("VALUES" + s() + "(")
			exprs("")
			b.WriteString(")")
		}
		b.WriteString(pick(r, []string{"", " ON CONFLICT DO NOTHING", " ON CONFLICT (a) DO UPDATE SET b = excluded.b WHERE c", " RETURNING *", " RETURNING a AS from, b"}))
	}
	return b.String()
}

// TestDMLIsDuckDBs takes statements apart that DuckDB parses, and has DuckDB parse
// each part.
func TestDMLIsDuckDBs(t *testing.T) {
	d := newDuckParser(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	parsed, fragments := 0, 0
	for range 8000 {
		text := randomDML(r)
		if n, ok := d.count(text); !ok || n != 1 {
			continue
		}
		list, err := Parse(text)
		if err != nil {
			if !isRefused(err) {
				t.Errorf("DuckDB parses %q, we: %v", text, err)
			}
			continue
		}
		parsed++
		for _, f := range fragmentsOf(list[0]) {
			fragments++
			if n, ok := d.count(f.compose()); !ok || n != 1 {
				t.Errorf("%q of %q is no part of its own", f.compose(), text)
			}
		}
	}
	t.Logf("%d statements, %d fragments", parsed, fragments)
	if parsed < 2000 || fragments < 5000 {
		t.Error("too few statements parse: the comparison has lost its ground")
	}
}

func isRefused(err error) bool {
	for _, r := range refused {
		if strings.HasPrefix(err.(*Error).Message, r) {
			return true
		}
	}
	return false
}

// part is a fragment with what stands around it when it is composed.
type part struct {
	Fragment
	before, after string
}

func (p part) compose() string { return p.before + p.Text + p.after }

func fragmentsOf(s Statement) (list []part) {
	add := func(before string, f *Fragment, after string) {
		if f != nil {
			list = append(list, part{*f, before, after})
		}
	}
	expr := func(e Expr) {
		if e.Kind != DefaultValue {
			add("SELECT (", &e.Text, ")")
		}
	}
	switch s := s.(type) {
	case *ExecuteAs:
		return fragmentsOf(s.Inner)
	case *Select:
		add("", &s.Text, "")
	case *Explain:
		if s.Inner != nil {
			return fragmentsOf(s.Inner)
		}
		add("", &s.Select, "")
	case *Insert:
		for _, exprs := range s.Rows {
			for _, e := range exprs {
				expr(e)
			}
		}
		add("", s.Query, "")
		add("INSERT INTO t DEFAULT VALUES ON CONFLICT ", s.OnConflict, " RETURNING 1")
		if s.Conflict != nil {
			for _, set := range s.Conflict.Sets {
				expr(set.Value)
			}
			add("SELECT (", s.Conflict.Where, ")")
		}
		add("SELECT ", s.Returning, " FROM t")
	case *Update:
		for _, set := range s.Sets {
			expr(set.Value)
		}
		add("SELECT 1 FROM t, ", s.From, " WHERE 1")
		add("SELECT (", s.Where, ")")
		add("SELECT ", s.Returning, " FROM t")
	case *Delete:
		add("SELECT 1 FROM t, ", s.Using, " WHERE 1")
		add("SELECT (", s.Where, ")")
		add("SELECT ", s.Returning, " FROM t")
	}
	return list
}

// TestClausesAreReserved makes sure that no name can be taken for a clause.
func TestClausesAreReserved(t *testing.T) {
	d := newDuckParser(t)
	for _, word := range append([]string{"USING", "ON", "DISTINCT", "CASE"}, clauses...) {
		if _, ok := d.count("SELECT " + word + " FROM t WHERE " + word + " = 1"); ok {
			t.Errorf("%s can be the name of a column", word)
		}
	}
}

// corpus is every text of the transcripts.
func corpus(t testing.TB) (texts []string) {
	files, err := filepath.Glob("testdata/transcripts/*")
	if err != nil || len(files) == 0 {
		t.Fatal("no testdata", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range strings.Split(string(b), "\n\n") {
			if text, _, ok := strings.Cut(strings.TrimPrefix(c, "parse\n"), "\n----"); ok {
				texts = append(texts, text)
			}
		}
	}
	return texts
}

// FuzzSplit compares our split with DuckDB's.
func FuzzSplit(f *testing.F) {
	d := newDuckParser(f)
	for _, text := range append(corpus(f), items...) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !strings.Contains(strings.ToUpper(text), "PIVOT") { // which DuckDB makes several statements of
			checkSplit(t, d, text)
		}
	})
}

// FuzzParse takes any text: no panic, an error inside the text, fragments that are
// where they say, balanced, and closed to what follows them.
func FuzzParse(f *testing.F) {
	for _, text := range append(corpus(f), items...) {
		f.Add(text)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		f.Add(randomDML(r))
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := Parse(text)
		if err != nil {
			if e := err.(*Error); e.Pos < 0 || e.Pos > len(text) || e.Code == "" || e.Message == "" {
				t.Errorf("error %+v", e)
			}
			return
		}
		for _, s := range list {
			if text[s.Start():s.Start()+len(s.Source())] != s.Source() || s.Verb() == "" {
				t.Errorf("%s %q is not at %d", s.Verb(), s.Source(), s.Start())
			}
			for _, part := range fragmentsOf(s) {
				if text[part.Pos:part.Pos+len(part.Text)] != part.Text {
					t.Errorf("fragment %q is not at %d", part.Text, part.Pos)
				}
				if !enclosed("(" + part.Text + ")") {
					t.Errorf("fragment %q of %q gets out of parentheses", part.Text, text)
				}
			}
		}
	})
}

// enclosed says whether the last byte of text closes the bracket its first opens.
func enclosed(text string) bool {
	l := newLexer(text)
	depth := 0
	for {
		t := l.next()
		switch {
		case t.kind == tokEnd, t.kind == tokBad, t.kind == tokSymbol && t.sym == ';':
			return false
		case t.kind == tokSymbol && closing(t.sym) != 0:
			depth++
		case t.kind == tokSymbol && isClosing(t.sym):
			if depth--; depth == 0 {
				return t.end == len(text)
			}
		}
	}
}

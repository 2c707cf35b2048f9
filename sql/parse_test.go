package sql

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"kalamdb/row"
)

// TestParse reads testdata/transcripts: each case is a text and what Parse makes of it.
// go test ./sql -rewrite writes the answers.
func TestParse(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "parse":
				return describe(d.Input)
			case "duration":
				var b strings.Builder
				for line := range strings.SplitSeq(d.Input, "\n") {
					got, err := Duration(line)
					if err != nil {
						fmt.Fprintf(&b, "error: %v\n", err)
					} else {
						fmt.Fprintf(&b, "%s\n", got)
					}
				}
				return b.String()
			case "params":
				n, err := Params(d.Input)
				return fmt.Sprintf("%d %v\n", n, err)
			}
			t.Fatalf("unknown command %s", d.Cmd)
			return ""
		})
	})
}

func describe(text string) string {
	list, err := Parse(text)
	var bad *Error
	if errors.As(err, &bad) {
		near := text[bad.Pos:]
		if len(near) > 20 {
			near = near[:20] + "…"
		}
		hint := ""
		if bad.Hint != "" {
			hint = "\nhint: " + bad.Hint
		}
		return fmt.Sprintf("%s: %s\nat %d: %q%s\n", bad.Code, bad.Message, bad.Pos, near, hint)
	}
	var b strings.Builder
	for _, s := range list {
		describeStatement(&b, "  ", s)
		b.WriteByte('\n')
		if text[s.Start():s.Start()+len(s.Source())] != s.Source() {
			b.WriteString("Source is not at Start\n")
		}
	}
	return b.String()
}

func describeStatement(b *strings.Builder, indent string, s Statement) {
	b.WriteString(s.Verb())
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.Name != "span" && f.Name != "Pos" && !v.Field(i).IsZero() {
			describeField(b, indent, f.Name, v.Field(i).Interface())
		}
	}
}

func describeField(b *strings.Builder, indent, name string, v any) {
	fmt.Fprintf(b, "\n%s%s: ", indent, name)
	switch v := v.(type) {
	case Statement:
		describeStatement(b, indent+"  ", v)
	case Name:
		b.WriteString(v.String())
	case Fragment:
		fmt.Fprintf(b, "%q", v.Text)
	case *Fragment:
		fmt.Fprintf(b, "%q", v.Text)
	case []ColumnRef:
		for _, c := range v {
			fmt.Fprintf(b, "%s ", c.Name)
		}
	case []ColumnDef:
		for _, c := range v {
			fmt.Fprintf(b, "\n%s  %s %s", indent, c.Name, c.Type)
			for _, flag := range []struct {
				on   bool
				word string
			}{{c.NotNull, " NOT NULL"}, {c.AutoIncrement, " AUTO_INCREMENT"}, {c.PrimaryKey, " PRIMARY KEY"}, {c.Default != "", " DEFAULT " + c.Default}} {
				if flag.on {
					b.WriteString(flag.word)
				}
			}
		}
	case [][]Expr:
		for _, exprs := range v {
			fmt.Fprintf(b, "\n%s ", indent)
			for _, e := range exprs {
				b.WriteString(" " + exprString(e))
			}
		}
	case []Set:
		for _, s := range v {
			fmt.Fprintf(b, "\n%s  %s = %s", indent, s.Column, exprString(s.Value))
		}
	case *Conflict:
		if v.Columns != nil {
			describeField(b, indent+"  ", "Columns", v.Columns)
		}
		if v.Sets != nil {
			describeField(b, indent+"  ", "Sets", v.Sets)
		}
		if v.Where != nil {
			describeField(b, indent+"  ", "Where", v.Where)
		}
	case time.Duration:
		b.WriteString(v.String())
	default:
		fmt.Fprintf(b, "%v", v)
	}
}

func exprString(e Expr) string {
	switch e.Kind {
	case Literal:
		return fmt.Sprintf("%s(%s)", e.Value.Kind(), e.Value.AppendText(nil))
	case Param:
		return fmt.Sprintf("$%d", e.Param)
	case DefaultValue:
		return "default"
	}
	return fmt.Sprintf("%q", e.Text.Text)
}

func TestNames(t *testing.T) {
	for s, want := range map[string]bool{
		"a": true, "_x9": true, "": false, "9a": false, "A": false, "a-b": false, "é": false,
		strings.Repeat("a", 63): true, strings.Repeat("a", 64): false,
	} {
		if IdentOK(s) != want {
			t.Errorf("IdentOK(%q) = %v", s, !want)
		}
	}
	if got := QuoteIdent(`a"b`) + QuoteString(`a'b`); got != `"a""b"'a''b'` {
		t.Error(got)
	}
	for _, c := range [][2]string{
		{"mesages", "messages"}, {"MESSAGES", "messages"}, {"msegs", "users"}, {"userz", "users"}, {"xxxxx", ""}, {"", ""}, {"ab", ""}, {"conversatoin_identifer", "conversation_identifier"},
	} {
		if got, _ := Nearest(c[0], []string{"messages", "users", "a", "conversation_identifier"}); got != c[1] {
			t.Errorf("Nearest(%q) = %q, expected %q", c[0], got, c[1])
		}
	}
}

// TestPositions checks that every position points at the text it is about.
func TestPositions(t *testing.T) {
	const text = "/* é */ INSERT INTO app.t (a, B) VALUES ($1, a + 1);\nUPDATE t SET c = 'x' WHERE d = 1; CREATE USER TABLE n.u (id BIGINT)"
	list, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	insert, update, create := list[0].(*Insert), list[1].(*Update), list[2].(*CreateTable)
	for pos, want := range map[int]string{
		insert.Start(): "INSERT", insert.Table.Pos: "app.t", insert.Columns[1].Pos: "B)", insert.Rows[0][0].Text.Pos: "$1",
		insert.Rows[0][1].Text.Pos: "a + 1)", update.Start(): "UPDATE", update.Sets[0].Pos: "c =", update.Sets[0].Value.Text.Pos: "'x'",
		update.Where.Pos: "d = 1;", create.Table.Pos: "n.u", create.Columns[0].Pos: "id BIGINT",
	} {
		if !strings.HasPrefix(text[pos:], want) {
			t.Errorf("position %d is at %q, expected %q", pos, text[pos:], want)
		}
	}
	if update.Source() != "UPDATE t SET c = 'x' WHERE d = 1" {
		t.Errorf("source %q", update.Source())
	}
}

func TestLimits(t *testing.T) {
	for name, text := range map[string]string{
		"nested deeper than 500":       "SELECT " + strings.Repeat("(", 501) + "1" + strings.Repeat(")", 501),
		"too many words":               "SELECT " + strings.Repeat("-+", tokensMax/2),
		"too many statements":          strings.Repeat("SHOW TABLES;", statementsMax+1),
		"too many columns":             "INSERT INTO t (" + manyNames(columnsMax+1) + ") VALUES (1)",
		"too many rows":                "INSERT INTO t VALUES (1)" + strings.Repeat(",(1)", rowsMax),
		"too many options":             "CREATE NAMESPACE n WITH (" + strings.ReplaceAll(manyNames(optionsMax+1), ",", "=1,") + "=1)",
		"a byte that is not UTF-8":     "SELECT '\xff'",
		"a zero byte":                  "SELECT 'a\x00'",
		"found a row of 2 values":      "INSERT INTO t (a) VALUES (1, 2)",
		"expected at most 1000":        "CREATE USER TABLE t (" + strings.ReplaceAll(manyNames(columnsMax+1), ",", " INT,") + " INT)",
		"the invisible character U+00": "SELECT\u00a01",
		"invisible character U+2003":   "SELECT $a\u2003$ x $a\u2003$",
		"invisible character U+FEFF":   "\ufeffSELECT 1",
	} {
		_, err := Parse(text)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("expected an error with %q, found %v", name, err)
		}
	}
	if _, err := Parse("SELECT " + strings.Repeat("(", 500) + "1" + strings.Repeat(")", 500)); err != nil {
		t.Error(err)
	}
}

func manyNames(n int) string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("c%d", i)
	}
	return strings.Join(names, ",")
}

// TestLiteralText makes sure that a literal's value is the text it stands for.
func TestLiteralText(t *testing.T) {
	list, err := Parse(`INSERT INTO t VALUES ('it''s', $$a$b$$, $x$ $$ $x$, e'plain', E'it''s', '')`)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"it's", "a$b", " $$ ", "plain", "it's", ""} {
		if e := list[0].(*Insert).Rows[0][i]; e.Kind != Literal || e.Value != row.TextValue(want) {
			t.Errorf("%s: %s, expected %q", e.Text.Text, exprString(e), want)
		}
	}
}

var benchTexts = []struct{ name, text string }{
	{"InsertLiterals", `INSERT INTO app.messages (text, conversation_id, author, n) VALUES ('I''m great!', 'c1', 'ana', 42)`},
	{"InsertParams", `INSERT INTO app.messages (text, conversation_id, author, n) VALUES ($1, $2, $3, $4)`},
	{"Select", `SELECT id, text, created_at FROM app.messages WHERE conversation_id = 'c1' AND created_at > now() - INTERVAL 1 DAY ORDER BY created_at DESC LIMIT 50`},
	{"Update", `UPDATE app.messages SET text = $1, n = n + 1 WHERE id = $2`},
}

func BenchmarkParse(b *testing.B) {
	for _, c := range benchTexts {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(c.text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

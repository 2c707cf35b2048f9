package sql

import (
	"strings"
	"testing"
)

func TestEqualities(t *testing.T) {
	for text, want := range map[string]int{
		"id = 1": 1, "id=$1": 1, "1 = id": 1, "t.id = 'x' AND b = -2": 2, `"id" = 1`: 1, "id = 1 -- so": 1,
		"id = 1 OR b = 2": 0, "id = b": 0, "id == 1": 0, "id = 1 + 1": 0, "id = (1)": 0, "id > 1": 0, "NOT id = 1": 0,
		"id = 1 AND": 0, "a.b.c = 1": 0, "f(1) = 1": 0, "id = 1::TEXT": 0, "id = DEFAULT": 0, "1 = 1": 0, "": 0,
	} {
		list, ok := Equalities(Fragment{Text: text})
		if ok != (want > 0) || len(list) != want {
			t.Errorf("%s: %v %t, expected %d", text, list, ok, want)
		}
	}
	list, _ := Equalities(Fragment{Text: "T.ID = 7"})
	if len(list) != 1 || list[0].Column.Qualifier != "t" || list[0].Column.Column != "id" || list[0].Value.Value.Int() != 7 {
		t.Errorf("%+v", list)
	}
}

func TestArithmetic(t *testing.T) {
	deep := strings.Repeat("(", 100) + "a" + strings.Repeat(")", 100)
	long := "a" + strings.Repeat(" + a", 100)
	for text, want := range map[string]string{
		"a": "a", "(a)": "a", "excluded.a": "a", "a + 1": "a # +", "a - t.b": "a b -", "1 + a": "# a +", "5": "#", "a + -1": "a # +",
		"a * 2": "a # *", "2 * a": "# a *", "a * 2 + $1": "a # * # +", "a + 2 * b": "a # b * +", "a - b - 1": "a b - # -",
		"a * b * c": "a b * c *", "(a + 1) * (b - 2)": "a # + b # - *", "a * (b + c) - d": "a b c + * d -",
		"a / 2": "no", "a ** 2": "no", "-a": "no", "a +": "no", "(a + 1": "no", "a)": "no", "()": "no", "a[1]": "no", "a.b.c": "no",
		"f()": "no", "f(a)": "no", "a (b)": "no", "a || 'x'": "no", deep: "no", long: "no",
	} {
		terms, ok := Arithmetic(Fragment{Text: text})
		var got []string
		for _, term := range terms {
			switch {
			case term.Op != 0:
				got = append(got, string(term.Op))
			case term.Operand.IsColumn:
				got = append(got, term.Operand.Column)
			default:
				got = append(got, "#")
			}
		}
		if !ok {
			got = []string{"no"}
		}
		if got := strings.Join(got, " "); got != want {
			t.Errorf("%s: %s, expected %s", text, got, want)
		}
	}
}

func TestParamsOf(t *testing.T) {
	for text, want := range map[string]int{"SELECT 1": 0, "SELECT $2, $1": 2, "SELECT '$9', $$ $8 $$, $3 -- $7": 3, "SELECT \"$4\"": 0} {
		if got := ParamsOf(text); got != want {
			t.Errorf("%s: %d, expected %d", text, got, want)
		}
	}
}

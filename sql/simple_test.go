package sql

import "testing"

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
	for text, want := range map[string]string{
		"a": "a", "excluded.a": "a", "a + 1": "a+", "a - t.b": "a-b", "1 + a": "+a", "5": "", "a + -1": "a+",
		"a * 2": "a*", "2 * a": "*a", "a / 2": "no", "a ** 2": "no", "a * 2 + 1": "no", "a + 1 + 2": "no", "-a": "no", "a +": "no", "a[1]": "no", "a.b.c": "no", "f()": "no", "a || 'x'": "no",
	} {
		left, op, right, ok := Arithmetic(Fragment{Text: text})
		got := left.Column
		if op != 0 {
			got += string(op)
		}
		if got += right.Column; !ok {
			got = "no"
		}
		if got != want {
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

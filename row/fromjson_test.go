package row_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"kalamdb/row"
)

// TestParams follows JSON parameters to columns: the answer's JSON is what came in,
// or an error, or DuckDB's business.
func TestParams(t *testing.T) {
	list := func(k row.Kind) row.Type { return row.Type{Kind: row.List, Elem: k} }
	kind := func(k row.Kind) row.Type { return row.Type{Kind: k} }
	for _, c := range []struct {
		param string
		typ   row.Type
		want  string // JSON, or "value" or "slow" for ErrValue and ErrSlow
	}{
		{`null`, kind(row.BigInt), `null`},
		{`true`, kind(row.Boolean), `true`},
		{`9007199254740993`, kind(row.BigInt), `"9007199254740993"`},
		{`9223372036854775808`, kind(row.BigInt), `value`},
		{`12345678901234567890`, kind(row.Double), `12345678901234567000`},
		{`1.0`, kind(row.Int), `1`},
		{`0.30000000000000004`, kind(row.Double), `0.30000000000000004`},
		{`3.4028235677973366e38`, kind(row.Float), `slow`},
		{`0.1`, kind(row.Float), `0.1`},
		{`1.005`, row.Type{Kind: row.Decimal, Precision: 5, Scale: 2}, `"1.01"`},
		{`1234.5`, row.Type{Kind: row.Decimal, Precision: 5, Scale: 2}, `value`},
		{`0.50`, kind(row.Text), `"0.50"`},
		{`"héllo \u0000"`, kind(row.Text), `"héllo \u0000"`},
		{`"aGk="`, kind(row.Bytes), `"aGk="`},
		{`"aGk"`, kind(row.Bytes), `"aGk="`},
		{`"a!"`, kind(row.Bytes), `value`},
		{`{"b":1, "a":[1.50]}`, kind(row.JSON), `{"b":1, "a":[1.50]}`},
		{`{"b":1}`, kind(row.Text), `"{\"b\":1}"`},
		{`1.50`, kind(row.JSON), `1.50`},
		{`1e3`, kind(row.JSON), `1000`},
		{`false`, kind(row.JSON), `false`},
		{`"{\"a\":1}"`, kind(row.JSON), `{"a":1}`},
		{`"plain"`, kind(row.JSON), `value`},
		{`"2026-01-02T03:04:05Z"`, kind(row.Timestamp), `"2026-01-02T03:04:05.000000Z"`},
		{`"2026-01-02T03:04:05+02:00"`, kind(row.Timestamp), `"2026-01-02T01:04:05.000000Z"`},
		{`"yesterday"`, kind(row.Timestamp), `slow`},
		{`"2026-02-30"`, kind(row.Date), `value`},
		{`[1, 2.5, null]`, list(row.Double), `[1,2.5,null]`},
		{`[]`, list(row.Text), `[]`},
		{`["aGk="]`, list(row.Bytes), `["aGk="]`},
		{`["2026-01-02"]`, list(row.Date), `["2026-01-02"]`},
		{`[1, 40000]`, list(row.SmallInt), `value`},
		{`[[1]]`, list(row.Int), `slow`},
		{`{"a":1}`, list(row.Int), `value`},
		{`[1.25, -2, 3e-1]`, row.Type{Kind: row.Embedding, Dim: 3}, `[1.25,-2,0.3]`},
		{`[1.25, -2]`, row.Type{Kind: row.Embedding, Dim: 3}, `value`},
		{`[1, null, 2]`, row.Type{Kind: row.Embedding, Dim: 3}, `value`},
		{`["a,b", 2]`, row.Type{Kind: row.Embedding, Dim: 3}, `value`},
		{`[1, 2, 1e39]`, row.Type{Kind: row.Embedding, Dim: 3}, `value`},
		{`[]`, row.Type{Kind: row.Embedding, Dim: 3}, `value`},
		{`"[1,2,3]"`, row.Type{Kind: row.Embedding, Dim: 3}, `slow`},
	} {
		v, err := row.FromJSON(json.RawMessage(c.param))
		if err == nil {
			v, err = row.CoerceParam(v, c.typ)
		}
		got := string(v.AppendJSON(nil))
		switch {
		case errors.Is(err, row.ErrValue):
			got = "value"
		case errors.Is(err, row.ErrSlow):
			got = "slow"
		case err != nil:
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s to %s: %s (%v), expected %s", c.param, c.typ, got, err, c.want)
		}
	}
}

// TestFromJSONForms gives the same parameters decoded and raw.
func TestFromJSONForms(t *testing.T) {
	const params = `[null, true, 1, -1.50, 1e2, 123456789012345678901234567890, 1234567890123456789012345678901234567890123, "a<b", [1,{"a":"<"}], {"a":[]}]`
	var raws []json.RawMessage
	var decoded []any
	d := json.NewDecoder(strings.NewReader(params))
	d.UseNumber()
	if err := errors.Join(json.Unmarshal([]byte(params), &raws), d.Decode(&decoded)); err != nil {
		t.Fatal(err)
	}
	kinds := []row.Kind{row.Null, row.Boolean, row.BigInt, row.Decimal, row.Double, row.HugeInt, row.Double, row.Text, row.JSON, row.JSON}
	for i, want := range kinds {
		a, err1 := row.FromJSON(raws[i])
		b, err2 := row.FromJSON(decoded[i])
		if err := errors.Join(err1, err2); err != nil || a != b || a.Kind() != want {
			t.Errorf("%s: %s %s and %s %s, expected %s (%v)", raws[i], a.Kind(), a.AppendText(nil), b.Kind(), b.AppendText(nil), want, err)
		}
	}
	for _, bad := range []any{json.RawMessage(`{`), json.Number("1e999"), 1.5, json.RawMessage(``)} {
		if _, err := row.FromJSON(bad); !errors.Is(err, row.ErrValue) {
			t.Errorf("%v: %v, expected ErrValue", bad, err)
		}
	}
}

// TestCoerceTyped covers what an embedder may pass and no literal is.
func TestCoerceTyped(t *testing.T) {
	ints := row.ListValue([]row.Value{row.IntValue(row.BigInt, 1), row.NullValue})
	got, err := row.Coerce(ints, row.Type{Kind: row.List, Elem: row.SmallInt})
	if want := row.ListValue([]row.Value{row.IntValue(row.SmallInt, 1), row.NullValue}); err != nil || got != want {
		t.Errorf("list: %v, %v", got, err)
	}
	if _, err = row.Coerce(ints, row.Type{Kind: row.Embedding, Dim: 2}); !errors.Is(err, row.ErrValue) {
		t.Errorf("NULL in an embedding: %v", err)
	}
	e := row.EmbeddingValue([]float32{1, 2})
	if got, err = row.Coerce(e, row.Type{Kind: row.Embedding, Dim: 2}); err != nil || got != e {
		t.Errorf("embedding: %v, %v", got, err)
	}
	if _, err = row.Coerce(e, row.Type{Kind: row.Embedding, Dim: 3}); !errors.Is(err, row.ErrValue) {
		t.Errorf("embedding of another size: %v", err)
	}
	if _, err = row.Coerce(row.TextValue("\xff"), row.Type{Kind: row.Text}); !errors.Is(err, row.ErrValue) {
		t.Errorf("text that is not UTF-8: %v", err)
	}
}

func BenchmarkEmbeddingParam(b *testing.B) {
	v, err := row.FromJSON(json.RawMessage("[" + strings.Repeat("0.0123456,", 1535) + "1]"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := row.CoerceParam(v, row.Type{Kind: row.Embedding, Dim: 1536}); err != nil {
			b.Fatal(err)
		}
	}
}

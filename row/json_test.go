package row_test

import (
	"encoding/json"
	"math"
	"math/big"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"kalamdb/row"
)

func decimal(t *testing.T, digits string, scale uint8) row.Value {
	t.Helper()
	n, ok := new(big.Int).SetString(digits, 10)
	if !ok {
		t.Fatal(digits)
	}
	hi, lo, ok := row.Halves128(n)
	if !ok {
		t.Fatalf("%s does not fit", digits)
	}
	return row.DecimalValue(hi, lo, scale)
}

// The JSON values of the contract, and the text that people see in a table.
func TestJSON(t *testing.T) {
	uuid := row.UUIDValue([16]byte{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10})
	micros := int64(1767323045_123456) // 2026-01-02T03:04:05.123456Z
	huge := decimal(t, "170141183460469231731687303715884105727", 0)
	hi, lo := huge.Halves()
	for name, tc := range map[string]struct {
		value      row.Value
		json, text string // text "" means the same as json
	}{
		"null":                   {row.NullValue, "null", ""},
		"true":                   {row.BoolValue(true), "true", ""},
		"false":                  {row.BoolValue(false), "false", ""},
		"smallint":               {row.IntValue(row.SmallInt, -32768), "-32768", ""},
		"int":                    {row.IntValue(row.Int, math.MaxInt32), "2147483647", ""},
		"bigint exact":           {row.IntValue(row.BigInt, 1<<53-1), "9007199254740991", ""},
		"bigint negative exact":  {row.IntValue(row.BigInt, -(1<<53 - 1)), "-9007199254740991", ""},
		"bigint too large":       {row.IntValue(row.BigInt, 1<<53), `"9007199254740992"`, "9007199254740992"},
		"bigint too small":       {row.IntValue(row.BigInt, math.MinInt64), `"-9223372036854775808"`, "-9223372036854775808"},
		"hugeint":                {row.HugeIntValue(hi, lo), `"170141183460469231731687303715884105727"`, "170141183460469231731687303715884105727"},
		"hugeint negative":       {row.HugeIntValue(-1, math.MaxUint64), `"-1"`, "-1"},
		"float":                  {row.FloatValue(0.1), "0.1", ""},
		"double":                 {row.DoubleValue(0.1), "0.1", ""},
		"double whole":           {row.DoubleValue(3), "3", ""},
		"double negative zero":   {row.DoubleValue(math.Copysign(0, -1)), "-0", ""},
		"double large":           {row.DoubleValue(1e300), "1e+300", ""},
		"double small":           {row.DoubleValue(5e-324), "5e-324", ""},
		"NaN":                    {row.DoubleValue(math.NaN()), `"NaN"`, ""},
		"infinity":               {row.DoubleValue(math.Inf(1)), `"Infinity"`, ""},
		"negative infinity":      {row.FloatValue(float32(math.Inf(-1))), `"-Infinity"`, ""},
		"decimal":                {decimal(t, "12345", 2), `"123.45"`, "123.45"},
		"decimal below one":      {decimal(t, "-5", 3), `"-0.005"`, "-0.005"},
		"decimal without scale":  {decimal(t, "42", 0), `"42"`, "42"},
		"decimal zero":           {decimal(t, "0", 2), `"0.00"`, "0.00"},
		"decimal 38 digits":      {decimal(t, "99999999999999999999999999999999999999", 38), `"0.99999999999999999999999999999999999999"`, "0.99999999999999999999999999999999999999"},
		"text":                   {row.TextValue("I'm great!"), `"I'm great!"`, "I'm great!"},
		"text escaped":           {row.TextValue("a\"b\\c\n\t\r\x01/é日"), `"a\"b\\c\n\t\r\u0001/é日"`, "a\"b\\c\n\t\r\x01/é日"},
		"text not UTF-8":         {row.TextValue("a\xffb"), `"a\ufffdb"`, "a\xffb"},
		"empty text":             {row.TextValue(""), `""`, ""},
		"blob":                   {row.BytesValue([]byte{0, 0xFF, 'a'}), `"AP9h"`, "AP9h"},
		"date":                   {row.IntValue(row.Date, 20455), `"2026-01-02"`, "2026-01-02"},
		"date before 1970":       {row.IntValue(row.Date, -1), `"1969-12-31"`, "1969-12-31"},
		"time":                   {row.IntValue(row.Time, 11045_123456), `"03:04:05.123456"`, "03:04:05.123456"},
		"midnight":               {row.IntValue(row.Time, 0), `"00:00:00.000000"`, "00:00:00.000000"},
		"end of day":             {row.IntValue(row.Time, 86_400_000_000), `"24:00:00.000000"`, "24:00:00.000000"},
		"timestamp":              {row.IntValue(row.Timestamp, micros), `"2026-01-02T03:04:05.123456Z"`, "2026-01-02T03:04:05.123456Z"},
		"timestamp before 1970":  {row.IntValue(row.Timestamp, -1), `"1969-12-31T23:59:59.999999Z"`, "1969-12-31T23:59:59.999999Z"},
		"timestamp infinity":     {row.IntValue(row.Timestamp, math.MaxInt64), `"infinity"`, "infinity"},
		"timestamp -infinity":    {row.IntValue(row.Timestamp, -math.MaxInt64), `"-infinity"`, "-infinity"},
		"json":                   {row.JSONValue(`{"a": [1, null]}`), `{"a": [1, null]}`, ""},
		"uuid":                   {uuid, `"01234567-89ab-cdef-fedc-ba9876543210"`, "01234567-89ab-cdef-fedc-ba9876543210"},
		"list":                   {row.ListValue([]row.Value{row.TextValue("a"), row.NullValue}), `["a",null]`, ""},
		"list of large numbers":  {row.ListValue([]row.Value{row.IntValue(row.BigInt, 1<<53), row.IntValue(row.BigInt, 1)}), `["9007199254740992",1]`, ""},
		"empty list":             {row.ListValue(nil), "[]", ""},
		"list in list":           {row.ListValue([]row.Value{row.ListValue([]row.Value{uuid})}), `[["01234567-89ab-cdef-fedc-ba9876543210"]]`, ""},
		"embedding":              {row.EmbeddingValue([]float32{0.5, -1, float32(math.NaN())}), `[0.5,-1,"NaN"]`, ""},
		"embedding of no floats": {row.EmbeddingValue(nil), "[]", ""},
	} {
		if got := string(tc.value.AppendJSON(nil)); got != tc.json {
			t.Errorf("%s: JSON %s, expected %s", name, got, tc.json)
		}
		if !json.Valid([]byte(tc.json)) {
			t.Errorf("%s: %s is not JSON", name, tc.json)
		}
		if want := tc.text; want != "" {
			if got := string(tc.value.AppendText(nil)); got != want {
				t.Errorf("%s: text %s, expected %s", name, got, want)
			}
		}
	}
}

// Every text is a JSON string that reads back as itself.
func TestJSONStringRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), zeros()).Draw(t, "s")
		b := row.AppendJSONString(nil, s)
		var got string
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%q became %s: %v", s, b, err)
		}
		if utf8.ValidString(s) && got != s {
			t.Fatalf("%q became %q", s, got)
		}
	})
}

func TestParseUserID(t *testing.T) {
	long := make([]byte, 129)
	for i := range long {
		long[i] = 'a'
	}
	for s, ok := range map[string]bool{
		"ana": true, "a b": true, "日本": true, "..a": true, "a@b.c": true, string(long[:128]): true,
		"": false, ".": false, "..": false, "a/b": false, `a\b`: false, "a\x00": false, "a\n": false, "\xff": false, "a\u200b": false, string(long): false,
	} {
		if id, err := row.ParseUserID(s); (err == nil) != ok || (ok && string(id) != s) {
			t.Errorf("ParseUserID(%q) = %q, %v; expected ok %t", s, id, err, ok)
		}
	}
}

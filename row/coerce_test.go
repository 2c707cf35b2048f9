package row_test

import (
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"

	"kalamdb/row"
)

var coerceTypes = []row.Type{
	{Kind: row.Boolean}, {Kind: row.SmallInt}, {Kind: row.Int}, {Kind: row.BigInt}, {Kind: row.Float}, {Kind: row.Double},
	{Kind: row.Decimal, Precision: 4, Scale: 1}, {Kind: row.Decimal, Precision: 9, Scale: 9}, {Kind: row.Decimal, Precision: 18, Scale: 3},
	{Kind: row.Decimal, Precision: 19, Scale: 0}, {Kind: row.Decimal, Precision: 38, Scale: 10}, {Kind: row.Decimal, Precision: 38, Scale: 0},
	{Kind: row.Text}, {Kind: row.Bytes}, {Kind: row.Date}, {Kind: row.Time}, {Kind: row.Timestamp}, {Kind: row.JSON}, {Kind: row.UUID},
}

// literal is one SQL literal and the Value package sql makes of it.
type literal struct {
	sql   string
	value row.Value
}

func textLiteral(s string) literal {
	return literal{"'" + strings.ReplaceAll(s, "'", "''") + "'", row.TextValue(s)}
}

func numberLiteral(t *testing.T, s string) literal {
	v, ok := row.NumberValue(s)
	if !ok {
		t.Fatalf("NumberValue(%q) refuses", s)
	}
	if s[0] == '-' {
		return literal{"(" + s + ")", v}
	}
	return literal{s, v}
}

var literalTexts = []string{
	"", " ", "true", "TRUE", "tRUe", "f", "t", "1", "0", "yes", "no", "12", "-12", "007", "-0", "+5", " 5", "5 ", "1.5", "-1.5", "2.5", "1e3", ".5", "5.", "1_000", "0x1F",
	"32767", "32768", "-32768", "-32769", "2147483647", "2147483648", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "999.95", "999.94", "0.05",
	"0.04999999999999999999999999", "99999999999999999999999999999999999999", "100000000000000000000000000000000000000", "12345678901234567.8955",
	"2026-01-02", "2024-02-29", "2023-02-29", "2026-13-01", "2026-00-10", "2026-04-31", "0001-01-01", "9999-12-31", "10000-01-01", "0000-01-01", "2026-1-2", "2026/01/02", "2026-01-02 ",
	" 2026-01-02", "2026-01-021", "1969-12-31", "2026-01-02 (BC)", "03:04:05", "03:04:05.1", "03:04:05.123456", "03:04:05.1234567", "24:00:00", "23:59:60", "3:04:05", "03:04", "03:04:05.", "03:04:05Z",
	"2026-01-02 03:04:05", "2026-01-02T03:04:05", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.5Z", "2026-01-02 03:04:05+02", "2026-01-02 03:04:05-02:30", "2026-01-02 03:04:05+0200",
	"2026-01-02 03:04:05 UTC", "2026-01-02 03:04:05.123456789", "2026-01-02T03:04", "2026-01-02 24:00:00", "2026-01-02 25:00:00", "2026-02-30T03:04:05Z", "2026-01-02 03:04:05+15:59",
	"2026-01-02 03:04:05+16", "1969-12-31T23:59:59.999999-01", "infinity", "-infinity", "epoch", "today", "nan", "inf",
	"{}", `{"a":1}`, `{"a":1,}`, `[NaN]`, `"x"`, `"\ud83d\ude00"`, `"\ud800"`, "null", " [1, 2] ", `{"a":1}{`, "{'a':1}", "[1", `"` + "\t" + `"`, `{"a":1,"a":2}`, "1e999", "-0.0", "01",
	"3f333df6-90a4-4fda-8dd3-9485d27cee36", "3F333DF6-90A4-4FDA-8DD3-9485D27CEE36", "3f333df690a44fda8dd39485d27cee36", "{3f333df6-90a4-4fda-8dd3-9485d27cee36}", "3f333df6-90a4-4fda-8dd3-9485d27cee3g",
	"3f333df6-90a4-4fda-8dd3-9485d27cee3", "ffffffff-ffff-ffff-ffff-ffffffffffff", "hello", "héllo", `\x41`, `\xZZ`, `a\\b`, "a'b", "日本", "it's",
}

var literalNumbers = []string{
	"0", "1", "-1", "2", "12", "32767", "32768", "-32768", "-32769", "2147483647", "2147483648", "-2147483648", "-2147483649", "9223372036854775807", "-9223372036854775808",
	"9223372036854775808", "-9223372036854775809", "170141183460469231731687303715884105727", "16777217", "9007199254740993", "123456789012345678",
	"0.0", "-093889586627048105.3", "093889586627048105.3", "-93889586627048105.3", "0.5", "-0.5", "1.5", "2.5", "-2.5", "0.49", "0.05", "999.94", "999.95", "-999.95", "1.10", "5.", ".5", "0.1", "0.3", "16777217.0", "0.30000000000000004", "9007199254740993.0",
	"9223372036854775807.4", "9223372036854775807.5", "32767.5", "12345678901234567890.123456789012345678", "0.000000001", "0.0000000005", "99999999999999999999999999999999999999.",
	"1e0", "1e3", "1.5e3", "2.5e0", "1e-7", "1e300", "-1e40", "3.4028235e38", "3.4028236e38", "1e-50", "9007199254740993e0", "1e18", "-0e0",
}

func randomLiteral(t *testing.T, r *rand.Rand) literal {
	digits := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte('0' + r.IntN(10))
		}
		return string(b)
	}
	sign := []string{"", "-"}[r.IntN(2)]
	switch r.IntN(8) {
	case 0:
		return numberLiteral(t, sign+digits(1+r.IntN(20)))
	case 1:
		return numberLiteral(t, sign+digits(r.IntN(20))+"."+digits(1+r.IntN(18)))
	case 2:
		return numberLiteral(t, sign+digits(1+r.IntN(3))+"."+digits(1+r.IntN(5))+"e"+strconv.Itoa(r.IntN(40)-20))
	case 3:
		return textLiteral(sign + digits(r.IntN(12)) + []string{"", "."}[r.IntN(2)] + digits(1+r.IntN(12)))
	case 4, 5:
		at := time.UnixMicro(r.Int64N(1e17) - 5e16).UTC()
		format := []string{"2006-01-02", "15:04:05", "15:04:05.000", "15:04:05.999999", "2006-01-02 15:04:05", "2006-01-02T15:04:05.000000Z", "2006-01-02T15:04:05.999Z07:00", "2006-01-02 15:04:05-07"}[r.IntN(8)]
		return textLiteral(at.In(time.FixedZone("", (r.IntN(29)-14)*1800)).Format(format))
	case 6:
		s := []byte(literalTexts[r.IntN(len(literalTexts))])
		if len(s) > 0 {
			s[r.IntN(len(s))] = "0159-: .TZ+e,\\{}"[r.IntN(16)]
		}
		return textLiteral(strings.ToValidUTF8(string(s), "é"))
	}
	return numberLiteral(t, sign+digits(1+r.IntN(37))+"."+digits(r.IntN(2)))
}

// render writes v as an expression of exactly this value.
func render(v row.Value, t row.Type) string {
	switch v.Kind() {
	case row.Null:
		return "NULL"
	case row.Bytes:
		return "from_hex('" + hex.EncodeToString([]byte(v.Str())) + "')"
	case row.Float:
		return "CAST('" + strconv.FormatFloat(float64(v.Float()), 'g', -1, 32) + "' AS FLOAT)"
	case row.Double:
		return "CAST('" + strconv.FormatFloat(v.Double(), 'g', -1, 64) + "' AS DOUBLE)"
	}
	return "CAST('" + strings.ReplaceAll(string(v.AppendText(nil)), "'", "''") + "' AS " + t.String() + ")"
}

// TestCoerceIsDuckDBs holds every conversion Coerce dares against DuckDB's CAST.
func TestCoerceIsDuckDBs(t *testing.T) {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	literals := []literal{{"TRUE", row.BoolValue(true)}, {"FALSE", row.BoolValue(false)}, {"NULL", row.NullValue}}
	for _, s := range literalTexts {
		literals = append(literals, textLiteral(s))
	}
	for _, s := range literalNumbers {
		literals = append(literals, numberLiteral(t, s))
	}
	for range 400 {
		literals = append(literals, randomLiteral(t, r))
	}
	var checks, what []string
	var fast, slow, wrong int
	flush := func() {
		ok := make([]bool, len(checks))
		dest := make([]any, len(checks))
		for i := range ok {
			dest[i] = &ok[i]
		}
		if err := db.QueryRow("SELECT " + strings.Join(checks, ", ")).Scan(dest...); err != nil {
			t.Fatal(err)
		}
		for i := range ok {
			if !ok[i] {
				var duck any
				cast, _, _ := strings.Cut(what[i], " = ")
				err := db.QueryRow("SELECT CAST(" + cast + " AS VARCHAR)").Scan(&duck)
				t.Errorf("%s; DuckDB says %v %v", what[i], duck, err)
			}
		}
		checks, what = checks[:0], what[:0]
	}
	for _, l := range literals {
		for _, typ := range coerceTypes {
			v, err := row.Coerce(l.value, typ)
			cast := "CAST(" + l.sql + " AS " + typ.String() + ")"
			switch {
			case errors.Is(err, row.ErrSlow):
				slow++
				continue
			case errors.Is(err, row.ErrValue):
				if wrong++; typ.Kind == row.JSON {
					continue // stricter than DuckDB on purpose, see TestCoerceJSON
				}
				checks = append(checks, "TRY_"+cast+" IS NULL")
				what = append(what, cast+" = error "+err.Error())
			case err != nil:
				t.Fatalf("%s: %v wraps neither ErrSlow nor ErrValue", cast, err)
			default:
				if fast++; !v.IsNull() && v.Kind() != typ.Kind {
					t.Fatalf("%s has kind %s", cast, v.Kind())
				}
				checks = append(checks, "TRY_"+cast+" IS NOT DISTINCT FROM "+render(v, typ))
				what = append(what, cast+" = "+string(v.AppendText(nil)))
			}
			if len(checks) == 400 {
				flush()
			}
		}
	}
	flush()
	t.Logf("%d converted, %d refused, %d left to DuckDB", fast, wrong, slow)
	if fast < 2000 || wrong < 200 {
		t.Errorf("%d converted and %d refused: the comparison has lost its ground", fast, wrong)
	}
}

// TestNumberValueIsDuckDBs compares the type and value of number literals.
func TestNumberValueIsDuckDBs(t *testing.T) {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range literalNumbers {
		v, ok := row.NumberValue(s)
		if !ok {
			t.Fatalf("NumberValue(%q) refuses", s)
		}
		var typ, text string
		if err := db.QueryRow("SELECT typeof(x), x::VARCHAR FROM (SELECT "+s+" AS x)").Scan(&typ, &text); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		base, _, _ := strings.Cut(typ, "(")
		if base == "INTEGER" || s == "-9223372036854775808" {
			base = "BIGINT" // DuckDB narrows small ones, and negates a HUGEINT here
		}
		if base != v.Kind().String() {
			t.Errorf("%s is %s, expected %s", s, v.Kind(), typ)
		}
		if got := string(v.AppendText(nil)); v.Kind() != row.Double && got != text && got != "0"+text { // DuckDB prints .5 as .5
			t.Errorf("%s is %s, expected %s", s, got, text)
		}
	}
	for _, s := range []string{"", "-", ".", "1a", "1e", "e1", "1_0", "0x10", "1e999", "--1", "1.2.3", " 1", "NaN", "inf", "1e0x"} {
		if v, ok := row.NumberValue(s); ok {
			t.Errorf("NumberValue(%q) = %s", s, v.AppendText(nil))
		}
	}
}

func TestCoerceJSON(t *testing.T) {
	for s, want := range map[string]error{
		`{"a": [1, 2.50, null]}`: nil, `"x"`: nil, ` 1 `: nil, ``: row.ErrValue, `[NaN]`: row.ErrValue, `[1,]`: row.ErrValue, `{a:1}`: row.ErrValue,
		`"\ud800"`: row.ErrSlow,
	} {
		v, err := row.Coerce(row.TextValue(s), row.Type{Kind: row.JSON})
		if !errors.Is(err, want) || err == nil && (v.Kind() != row.JSON || v.Str() != s) {
			t.Errorf("%s: %v, %v", s, v, err)
		}
	}
}

func ExampleCoerce() {
	v, err := row.Coerce(row.TextValue("2026-01-02T03:04:05.5Z"), row.Type{Kind: row.Timestamp})
	fmt.Println(string(v.AppendText(nil)), err)
	_, err = row.Coerce(row.IntValue(row.BigInt, 40_000), row.Type{Kind: row.SmallInt})
	fmt.Println(err)
	// Output:
	// 2026-01-02T03:04:05.500000Z <nil>
	// invalid value: BIGINT "40000" does not fit SMALLINT: out of range
}

func BenchmarkCoerceTimestamp(b *testing.B) {
	v := row.TextValue("2026-01-02T05:04:05.123456Z")
	for b.Loop() {
		if _, err := row.Coerce(v, row.Type{Kind: row.Timestamp}); err != nil {
			b.Fatal(err)
		}
	}
}

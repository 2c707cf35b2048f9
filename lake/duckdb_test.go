package lake

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"

	_ "github.com/duckdb/duckdb-go/v2"

	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/storagelocations"
)

func duckDB(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// local is the local copy of the only file of a partition.
func local(t testing.TB, l *Lake, c *catalog.Table, user row.UserID) string {
	t.Helper()
	m := l.Manifest(row.Partition{Table: c.Ref, User: user})
	t.Cleanup(m.Release)
	if len(m.Files) != 1 {
		t.Fatalf("%d files, expected 1", len(m.Files))
	}
	path, release, err := l.Local(context.Background(), m.Files[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return path
}

func decimal(n string, scale uint8) row.Value {
	b, ok := new(big.Int).SetString(n, 10)
	if !ok {
		panic(n)
	}
	hi, lo, _ := row.Halves128(b)
	return row.DecimalValue(hi, lo, scale)
}

func ints(k row.Kind, ns ...int64) []row.Value {
	var vs []row.Value
	for _, n := range ns {
		vs = append(vs, row.IntValue(k, n))
	}
	return vs
}

// columnCases are values of every type with what DuckDB must print for them.
var columnCases = []struct {
	typ    row.Type
	duck   string // typeof()
	values []row.Value
	texts  []string // value::VARCHAR
}{
	{row.Type{Kind: row.Boolean}, "BOOLEAN", []row.Value{row.BoolValue(false), row.BoolValue(true)}, []string{"false", "true"}},
	{row.Type{Kind: row.SmallInt}, "SMALLINT", ints(row.SmallInt, -32768, -1, 0, 32767), []string{"-32768", "-1", "0", "32767"}},
	{row.Type{Kind: row.Int}, "INTEGER", ints(row.Int, math.MinInt32, 7, math.MaxInt32), []string{"-2147483648", "7", "2147483647"}},
	{row.Type{Kind: row.BigInt}, "BIGINT", ints(row.BigInt, math.MinInt64, 7, math.MaxInt64), []string{"-9223372036854775808", "7", "9223372036854775807"}},
	{row.Type{Kind: row.Float}, "FLOAT", []row.Value{row.FloatValue(-1.5), row.FloatValue(0), row.FloatValue(3.25)}, []string{"-1.5", "0.0", "3.25"}},
	{row.Type{Kind: row.Double}, "DOUBLE", []row.Value{row.DoubleValue(math.Inf(-1)), row.DoubleValue(-1.5), row.DoubleValue(1e100)}, []string{"-inf", "-1.5", "1e+100"}},
	{row.Type{Kind: row.Decimal, Precision: 5, Scale: 2}, "DECIMAL(5,2)", []row.Value{decimal("-99999", 2), decimal("1", 2), decimal("99999", 2)}, []string{"-999.99", "0.01", "999.99"}},
	{row.Type{Kind: row.Decimal, Precision: 18, Scale: 4}, "DECIMAL(18,4)", []row.Value{decimal("-999999999999999999", 4), decimal("15", 4), decimal("999999999999999999", 4)}, []string{"-99999999999999.9999", "0.0015", "99999999999999.9999"}},
	{row.Type{Kind: row.Decimal, Precision: 38, Scale: 10}, "DECIMAL(38,10)", []row.Value{decimal("-12345678901234567890123456789012345678", 10), decimal("-1", 10), decimal("0", 10), decimal("12345678901234567890123456789012345678", 10)}, []string{"-1234567890123456789012345678.9012345678", "-0.0000000001", "0.0000000000", "1234567890123456789012345678.9012345678"}},
	{row.Type{Kind: row.Text}, "VARCHAR", []row.Value{row.TextValue(""), row.TextValue("I'm gr\u00e4t\u00df\u20ac\U0001F600"), row.TextValue("z\x00z")}, []string{"", "I'm gr\u00e4t\u00df\u20ac\U0001F600", "z\x00z"}},
	{row.Type{Kind: row.Bytes}, "BLOB", []row.Value{row.BytesValue(nil), row.BytesValue([]byte{0, 255, 'a'})}, []string{"", `\x00\xFFa`}},
	{row.Type{Kind: row.Date}, "DATE", ints(row.Date, -719528, -1, 0, 20454), []string{"0001-01-01 (BC)", "1969-12-31", "1970-01-01", "2026-01-01"}},
	{row.Type{Kind: row.Time}, "TIME", ints(row.Time, 0, 1, 86_399_999_999), []string{"00:00:00", "00:00:00.000001", "23:59:59.999999"}},
	{row.Type{Kind: row.Timestamp}, "TIMESTAMP", ints(row.Timestamp, -1, 0, 1767323045123456, math.MaxInt64), []string{"1969-12-31 23:59:59.999999", "1970-01-01 00:00:00", "2026-01-02 03:04:05.123456", "infinity"}},
	{row.Type{Kind: row.JSON}, "JSON", []row.Value{row.JSONValue(`{"a": [1, null]}`), row.JSONValue("3")}, []string{`{"a": [1, null]}`, "3"}},
	{row.Type{Kind: row.UUID}, "UUID", []row.Value{row.UUIDValue([16]byte{0: 1, 15: 2}), row.UUIDValue([16]byte{0: 0xFF, 15: 2})}, []string{"01000000-0000-0000-0000-000000000002", "ff000000-0000-0000-0000-000000000002"}},
	{row.Type{Kind: row.List, Elem: row.BigInt}, "BIGINT[]", []row.Value{row.ListValue(nil), row.ListValue(ints(row.BigInt, 1, -2)), row.ListValue([]row.Value{row.NullValue, row.IntValue(row.BigInt, 3)})}, []string{"[]", "[1, -2]", "[NULL, 3]"}},
	{row.Type{Kind: row.List, Elem: row.Text}, "VARCHAR[]", []row.Value{row.ListValue([]row.Value{row.TextValue("a"), row.TextValue("")})}, []string{"[a, '']"}},
	{row.Type{Kind: row.List, Elem: row.Decimal, Precision: 20, Scale: 1}, "DECIMAL(20,1)[]", []row.Value{row.ListValue([]row.Value{decimal("-15", 1)})}, []string{"[-1.5]"}},
	{row.Type{Kind: row.Embedding, Dim: 3}, "FLOAT[]", []row.Value{row.EmbeddingValue([]float32{1, -0.5, 2}), row.EmbeddingValue([]float32{0, 0, 0})}, []string{"[1.0, -0.5, 2.0]", "[0.0, 0.0, 0.0]"}},
}

// TestTypesThroughDuckDB flushes values of every type and reads them with DuckDB, declared type, value and NULL.
func TestTypesThroughDuckDB(t *testing.T) {
	db := duckDB(t)
	for i, c := range columnCases {
		t.Run(c.typ.String(), func(t *testing.T) {
			s := &row.Schema{Version: 1, Key: []row.ColumnID{1}, Columns: []row.Column{
				{ID: 1, Name: "id", Type: row.Type{Kind: row.BigInt}, NotNull: true}, {ID: 2, Name: "v", Type: c.typ}}}
			table := tableOf(uint64(i+1), "types", s)
			l := openLake(t, storagelocations.NewMemory(), Options{}, table)
			var rows []row.Row
			for j, v := range append(c.values[:len(c.values):len(c.values)], row.NullValue) {
				rows = append(rows, row.Row{Seq: row.Seq(j + 1), Schema: 1, Values: []row.Value{row.IntValue(row.BigInt, int64(j)), v}})
			}
			mustFlush(t, l, segment(table, "ana", rows...))
			path := local(t, l, table, "ana")

			got, err := db.Query(fmt.Sprintf("SELECT typeof(v), v::VARCHAR FROM read_parquet('%s') ORDER BY id", path))
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			n := 0
			for ; got.Next(); n++ {
				var typ string
				var text sql.NullString
				if err := got.Scan(&typ, &text); err != nil {
					t.Fatal(err)
				}
				if typ != c.duck {
					t.Errorf("typeof = %s, expected %s", typ, c.duck)
				}
				if n == len(c.values) {
					if text.Valid {
						t.Errorf("NULL came back as %q", text.String)
					}
				} else if !text.Valid || text.String != c.texts[n] {
					t.Errorf("value %d = %q (valid %t), expected %q", n, text.String, text.Valid, c.texts[n])
				}
			}
			if err := got.Err(); err != nil {
				t.Fatal(err)
			}
			if n != len(rows) {
				t.Errorf("%d rows, expected %d", n, len(rows))
			}
			// And our own reader gives the very same values.
			m := l.Manifest(row.Partition{Table: table.Ref, User: "ana"})
			defer m.Release()
			for _, r := range rows {
				key := s.KeyOf(r.Values)
				found, err := l.Find(context.Background(), m, s, [][]byte{key})
				if err != nil {
					t.Fatal(err)
				}
				if f := found[string(key)]; f.Values == nil || f.Values[1] != r.Values[1] || f.Seq != r.Seq {
					t.Errorf("Find gives %+v, expected %+v", f, r)
				}
			}
		})
	}
}

// TestKeysThroughDuckDB looks up every key type by value with DuckDB, which uses statistics and
// bloom filters for it, and by Find. A key that is absent is not found.
func TestKeysThroughDuckDB(t *testing.T) {
	db := duckDB(t)
	for i, c := range columnCases {
		if !c.typ.Keyable() {
			continue
		}
		t.Run(c.typ.String(), func(t *testing.T) {
			s := &row.Schema{Version: 1, Key: []row.ColumnID{1}, Columns: []row.Column{{ID: 1, Name: "k", Type: c.typ, NotNull: true}}}
			table := tableOf(uint64(i+1), "keys", s)
			// Row groups of one row: statistics and filters decide about each alone.
			l := openLake(t, storagelocations.NewMemory(), Options{}, table)
			l.opts.RowGroupRows = 1
			var rows []row.Row
			for j, v := range c.values {
				rows = append(rows, row.Row{Seq: row.Seq(j + 1), Schema: 1, Values: []row.Value{v}})
			}
			mustFlush(t, l, segment(table, "ana", rows...))
			path := local(t, l, table, "ana")
			for j := range c.values {
				literal := fmt.Sprintf("'%s'::%s", strings.ReplaceAll(c.texts[j], "'", "''"), c.typ)
				if strings.Contains(c.texts[j], "\x00") {
					literal = "'z' || chr(0) || 'z'"
				}
				var seq int
				err := db.QueryRow(fmt.Sprintf("SELECT _seq FROM read_parquet('%s') WHERE k = %s", path, literal)).Scan(&seq)
				if err != nil || seq != j+1 {
					t.Errorf("k = %s: _seq %d, %v, expected %d", literal, seq, err, j+1)
				}
				var n int
				if err := db.QueryRow(fmt.Sprintf("SELECT count(*) FROM read_parquet('%s') WHERE k >= %s", path, literal)).Scan(&n); err != nil || n != len(c.values)-j {
					t.Errorf("k >= %s: %d rows, %v, expected %d", literal, n, err, len(c.values)-j)
				}
			}
			m := l.Manifest(row.Partition{Table: table.Ref, User: "ana"})
			defer m.Release()
			for _, r := range rows {
				key := s.KeyOf(r.Values)
				found, err := l.Find(context.Background(), m, s, [][]byte{key})
				if err != nil {
					t.Fatal(err)
				}
				if f := found[string(key)]; f.Seq != r.Seq {
					t.Errorf("Find(%v) gives seq %d, expected %d", r.Values[0], f.Seq, r.Seq)
				}
			}
		})
	}
}

// TestStatisticsLoseNoRow asks DuckDB for values that statistics of a careless writer hide:
// NaN, which is the largest number, and -0.0, which equals 0.0.
func TestStatisticsLoseNoRow(t *testing.T) {
	db := duckDB(t)
	double := row.Type{Kind: row.Double}
	s := &row.Schema{Version: 1, Key: []row.ColumnID{1}, Columns: []row.Column{
		{ID: 1, Name: "k", Type: double, NotNull: true}, {ID: 2, Name: "v", Type: double}}}
	table := tableOf(1, "floats", s)
	l := openLake(t, storagelocations.NewMemory(), Options{}, table)
	var rows []row.Row
	for i, f := range []float64{1, math.NaN(), math.Copysign(0, -1)} {
		rows = append(rows, row.Row{Seq: row.Seq(i + 1), Schema: 1, Values: []row.Value{row.DoubleValue(f), row.DoubleValue(f)}})
	}
	mustFlush(t, l, segment(table, "ana", rows...))
	path := local(t, l, table, "ana")
	for where, want := range map[string]int{"v > 100": 1, "k > 100": 1, "v <> 1": 2, "v = 'nan'::DOUBLE": 1, "k = 0.0": 1, "v = 0.0": 1, "v < 0": 0} {
		var n int
		if err := db.QueryRow(fmt.Sprintf("SELECT count(*) FROM read_parquet('%s') WHERE %s", path, where)).Scan(&n); err != nil || n != want {
			t.Errorf("WHERE %s: %d rows, %v, expected %d", where, n, err, want)
		}
	}
	m := l.Manifest(row.Partition{Table: table.Ref, User: "ana"})
	defer m.Release()
	for _, f := range []float64{1, math.NaN(), 0} {
		key := s.KeyOf([]row.Value{row.DoubleValue(f), row.NullValue})
		if found, err := l.Find(context.Background(), m, s, [][]byte{key}); err != nil || len(found) != 1 {
			t.Errorf("Find(%v) = %v, %v, expected one row", f, found, err)
		}
	}
}

// TestFileForm checks what a file promises beside its rows.
func TestFileForm(t *testing.T) {
	db := duckDB(t)
	s := &row.Schema{Version: 3, Key: []row.ColumnID{4, 2}, Columns: []row.Column{
		{ID: 7, Name: "zeta", Type: row.Type{Kind: row.Text}},
		{ID: 2, Name: "b", Type: row.Type{Kind: row.BigInt}, NotNull: true},
		{ID: 4, Name: "a", Type: row.Type{Kind: row.Text}, NotNull: true},
		{ID: 5, Name: "list", Type: row.Type{Kind: row.List, Elem: row.Double}},
	}}
	table := tableOf(42, "form", s)
	l := openLake(t, storagelocations.NewMemory(), Options{RowGroupRows: 256}, table)
	var rows []row.Row
	for i := range 1000 {
		rows = append(rows, row.Row{Seq: row.Seq(i + 10), Updated: int64(i), Schema: 3, Deleted: i%100 == 0, Values: []row.Value{
			row.TextValue(fmt.Sprint("kind ", i%3)), row.IntValue(row.BigInt, int64(i%10)), row.TextValue(fmt.Sprint(i / 10)), row.NullValue}})
	}
	mustFlush(t, l, segment(table, "ana", rows...))
	path := local(t, l, table, "ana")
	one := func(query string, args ...any) string {
		t.Helper()
		var v string
		if err := db.QueryRow(fmt.Sprintf(query, append([]any{path}, args...)...)).Scan(&v); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		return v
	}
	for query, want := range map[string]string{
		"SELECT string_agg(name || ':' || coalesce(field_id::VARCHAR, ''), ' ') FROM parquet_schema('%s') WHERE name NOT IN ('kalamdb', 'element') AND (type IS NOT NULL OR field_id > 0)": "zeta:7 b:2 a:4 list:5 _seq:1073741825 _updated:1073741826 _deleted:1073741827",
		"SELECT string_agg(column_name || ' ' || column_type, ', ') FROM (DESCRIBE SELECT * FROM read_parquet('%s'))":                                                                      "zeta VARCHAR, b BIGINT, a VARCHAR, list DOUBLE[], _seq BIGINT, _updated TIMESTAMP, _deleted BOOLEAN",
		"SELECT string_agg(DISTINCT compression, ' ') FROM parquet_metadata('%s')":                                                                                                         "ZSTD",
		"SELECT string_agg(DISTINCT path_in_schema, ' ' ORDER BY path_in_schema) FROM parquet_metadata('%s') WHERE bloom_filter_offset > 0":                                                "_updated a b",
		"SELECT string_agg(DISTINCT path_in_schema, ' ') FROM parquet_metadata('%s') WHERE encodings LIKE '%%RLE_DICTIONARY%%'":                                                            "zeta",
		"SELECT string_agg(DISTINCT row_group_num_rows::VARCHAR, ' ' ORDER BY row_group_num_rows::VARCHAR) FROM parquet_metadata('%s')":                                                    "232 256",
		"SELECT string_agg(decode(key) || '=' || decode(value), ' ' ORDER BY key) FROM parquet_kv_metadata('%s')":                                                                          "kalamdb.max_seq=1009 kalamdb.min_seq=10 kalamdb.schema_version=3 kalamdb.table=app.form kalamdb.table_id=000000000000002a kalamdb.user=ana",
		"SELECT count(*)::VARCHAR FROM (SELECT a, b, lag((a, b)) OVER () AS before FROM read_parquet('%s')) WHERE before > (a, b)":                                                         "0",
		"SELECT count(*)::VARCHAR FROM read_parquet('%s') WHERE _deleted":                                                                                                                  "10",
		"SELECT zeta FROM read_parquet('%s') WHERE a = '57' AND b = 3":                                                                                                                     "kind 0",
	} {
		if got := one(query); got != want {
			t.Errorf("%s\n got %s\nwant %s", query, got, want)
		}
	}
	m := l.Manifest(row.Partition{Table: table.Ref, User: "ana"})
	defer m.Release()
	f := m.Files[0]
	if f.Rows != 1000 || f.Deleted != 10 || f.MinSeq != 10 || f.MaxSeq != 1009 || f.MinUpdated != 0 || f.MaxUpdated != 999 ||
		string(f.MinKey) != string(s.KeyOf(rows[0].Values)) || string(f.MaxKey) != string(s.KeyOf(rows[999].Values)) {
		t.Errorf("manifest says %+v", f)
	}
}

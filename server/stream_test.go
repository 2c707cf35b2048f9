package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"kalamdb"
	"kalamdb/row"
)

const (
	wantNDJSON = "Accept: application/x-ndjson"
	wantArrow  = "Accept: application/vnd.apache.arrow.stream"
)

func serveRows(rows *memoryRows) *fakeDB {
	return &fakeDB{query: func(context.Context, kalamdb.Request) (Rows, error) { return rows, nil }}
}

var idText = []kalamdb.Column{{Name: "id", Type: "BIGINT"}, {Name: "text", Type: "VARCHAR"}, {Name: "id", Type: "INTEGER"}}

func TestNDJSON(t *testing.T) {
	rows := &memoryRows{columns: idText, rows: [][]row.Value{
		{big(1), row.TextValue("a\nb"), row.IntValue(row.Int, 7)},
		{big(1 << 60), row.NullValue, row.NullValue},
	}}
	s := start(t, serveRows(rows), Options{})
	a := s.sql(t, `{"sql":"SELECT"}`, wantNDJSON)
	want := "{\"id\":1,\"text\":\"a\\nb\",\"id_1\":7}\n{\"id\":\"1152921504606846976\",\"text\":null,\"id_1\":null}\n"
	if a.status != 200 || a.body != want || a.header.Get("Content-Type") != mediaNDJSON {
		t.Errorf("got %d %q %v", a.status, a.body, a.header)
	}
	if !rows.closed {
		t.Error("rows are left open")
	}
}

func TestStreamErrors(t *testing.T) {
	var rows Rows
	var err error
	s := start(t, &fakeDB{query: func(context.Context, kalamdb.Request) (Rows, error) { return rows, err }}, Options{})
	late := &kalamdb.Error{Code: "RESULT_TOO_LARGE", Message: "too many rows", Position: -1}
	for _, accept := range []string{wantNDJSON, wantArrow} {
		rows, err = nil, &kalamdb.Error{Code: "SYNTAX_ERROR", Message: "no", Position: 3}
		checkError(t, accept+" refused", s.sql(t, `{"sql":"x"}`, accept), 400, "SYNTAX_ERROR", "no", 3)
		rows, err = &memoryRows{columns: idText, err: late}, nil
		checkError(t, accept+" before the first row", s.sql(t, `{"sql":"x"}`, accept), 413, "RESULT_TOO_LARGE", "too many", -1)
	}
	data := [][]row.Value{{big(1), row.TextValue("a"), row.IntValue(row.Int, 7)}}
	rows = &memoryRows{columns: idText, rows: data, err: late}
	a := s.sql(t, `{"sql":"x"}`, wantNDJSON)
	if want := "{\"id\":1,\"text\":\"a\",\"id_1\":7}\n{\"error\":{\"code\":\"RESULT_TOO_LARGE\",\"message\":\"too many rows\",\"statement_index\":0}}\n"; a.body != want {
		t.Errorf("got %q", a.body)
	}
	rows = &memoryRows{columns: idText, rows: data, err: late}
	a, err2 := s.try("POST", "/api/sql", strings.NewReader(`{"sql":"x"}`), jsonBody, asAlice, wantArrow)
	if !errors.Is(err2, io.ErrUnexpectedEOF) && !errors.Is(err2, io.EOF) {
		t.Errorf("a cut Arrow stream read as %v with %d bytes", err2, len(a.body))
	}
	if strings.Contains(s.log.String(), "panic") {
		t.Errorf("log: %s", s.log)
	}
}

func TestLongStreamArrivesWhileItIsMade(t *testing.T) {
	const n = 20_000
	rows := make([][]row.Value, n)
	for i := range rows {
		rows[i] = []row.Value{big(int64(i)), row.TextValue(strings.Repeat("x", 50)), row.NullValue}
	}
	s := start(t, &fakeDB{query: func(context.Context, kalamdb.Request) (Rows, error) {
		return &memoryRows{columns: idText, rows: rows}, nil
	}}, Options{})
	a := s.sql(t, `{"sql":"x"}`, wantNDJSON)
	lines := strings.Split(strings.TrimSuffix(a.body, "\n"), "\n")
	if len(lines) != n || !strings.HasPrefix(lines[n-1], fmt.Sprintf(`{"id":%d,`, n-1)) {
		t.Errorf("%d lines, the last one is %.40s", len(lines), lines[len(lines)-1])
	}
	total := int64(0)
	for _, record := range readArrow(t, s.sql(t, `{"sql":"x"}`, wantArrow)) {
		if record.NumRows() > arrowBatchRows {
			t.Errorf("a batch of %d rows", record.NumRows())
		}
		total += record.NumRows()
	}
	if total != n {
		t.Errorf("%d rows in Arrow, want %d", total, n)
	}
}

func readArrow(t *testing.T, a answer) []arrow.RecordBatch {
	t.Helper()
	if a.status != 200 || a.header.Get("Content-Type") != mediaArrow {
		t.Fatalf("%d %v %.200s", a.status, a.header, a.body)
	}
	r, err := ipc.NewReader(bytes.NewReader([]byte(a.body)))
	if err != nil {
		t.Fatal(err)
	}
	var records []arrow.RecordBatch
	for r.Next() {
		rec := r.RecordBatch()
		rec.Retain()
		records = append(records, rec)
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	return records
}

func TestArrowTypes(t *testing.T) {
	list := func(v ...row.Value) row.Value { return row.ListValue(v) }
	for _, c := range []struct {
		duck  string
		value row.Value
		arrow string
		want  string
	}{
		{"BOOLEAN", row.BoolValue(true), "bool", "[true (null)]"},
		{"TINYINT", row.IntValue(row.SmallInt, -7), "int16", "[-7 (null)]"},
		{"SMALLINT", row.IntValue(row.SmallInt, -7), "int16", "[-7 (null)]"},
		{"INTEGER", row.IntValue(row.Int, 1<<30), "int32", "[1073741824 (null)]"},
		{"BIGINT", big(math.MinInt64), "int64", "[-9223372036854775808 (null)]"},
		{"UBIGINT", row.HugeIntValue(0, math.MaxUint64), "decimal(38, 0)", "[18446744073709551615 (null)]"},
		{"HUGEINT", row.HugeIntValue(-1, math.MaxUint64), "decimal(38, 0)", "[-1 (null)]"},
		{"FLOAT", row.FloatValue(1.5), "float32", "[1.5 (null)]"},
		{"DOUBLE", row.DoubleValue(0.1), "float64", "[0.1 (null)]"},
		{"DECIMAL(10,2)", row.DecimalValue(-1, math.MaxUint64-249, 2), "decimal(10, 2)", "[-2.5 (null)]"},
		{"VARCHAR", row.TextValue("é"), "utf8", `["é" (null)]`},
		{"BLOB", row.BytesValue([]byte{0, 1}), "binary", "AAE="},
		{"DATE", row.IntValue(row.Date, 1), "date32", "1970-01-02"},
		{"TIME", row.IntValue(row.Time, 1), "time64[us]", "00:00:00.000001"},
		{"TIMESTAMP", row.IntValue(row.Timestamp, 1), "timestamp[us, tz=UTC]", "1970-01-01T00:00:00.000001Z"},
		{"TIMESTAMP WITH TIME ZONE", row.IntValue(row.Timestamp, 1), "timestamp[us, tz=UTC]", ".000001"},
		{"UUID", row.UUIDValue([16]byte{15: 7}), "utf8", `["00000000-0000-0000-0000-000000000007" (null)]`},
		{"JSON", row.JSONValue(`{"a":[1]}`), "utf8", `{"a":[1]}`},
		{"INTEGER[]", list(row.IntValue(row.Int, 1), row.NullValue), "list<item: int32, nullable>", "[[1 (null)] (null)]"},
		{"DECIMAL(4,1)[]", list(row.DecimalValue(0, 15, 1)), "list<item: decimal(4, 1), nullable>", "[[1.5] (null)]"},
		{"VARCHAR[][]", list(list(row.TextValue("a")), list()), "list<item: list<item: utf8, nullable>, nullable>", `[[["a"] []] (null)]`},
		{"FLOAT[3]", row.EmbeddingValue([]float32{1, 2, 3}), "fixed_size_list<item: float32, nullable>[3]", "[[1 2 3] (null)]"},
		{"FLOAT[]", row.EmbeddingValue([]float32{1, 2}), "list<item: float32, nullable>", "[[1 2] (null)]"},
		{"INTERVAL", row.TextValue("1 day"), "utf8", `["1 day" (null)]`},
		{"STRUCT(a INTEGER)", row.JSONValue(`{"a":1}`), "utf8", `{"a":1}`},
	} {
		rows := &memoryRows{columns: []kalamdb.Column{{Name: "v", Type: c.duck}}, rows: [][]row.Value{{c.value}, {row.NullValue}}}
		s := start(t, serveRows(rows), Options{})
		records := readArrow(t, s.sql(t, `{"sql":"x"}`, wantArrow))
		if len(records) != 1 || records[0].NumRows() != 2 {
			t.Errorf("%s: %d records", c.duck, len(records))
			continue
		}
		col := records[0].Column(0)
		kind, text := col.DataType().String(), fmt.Sprint(col)
		if got := col.ValueStr(0); !strings.Contains(text, c.want) && !strings.Contains(got, c.want) {
			t.Errorf("%s: values %s (%s), want %s", c.duck, text, got, c.want)
		}
		if kind != c.arrow {
			t.Errorf("%s: type %s, want %s", c.duck, kind, c.arrow)
		}
		if !col.IsNull(1) || col.IsNull(0) {
			t.Errorf("%s: nulls are wrong in %s", c.duck, text)
		}
	}
}

func TestArrowWithoutRowsHasItsSchema(t *testing.T) {
	s := start(t, serveRows(&memoryRows{columns: idText}), Options{})
	a := s.sql(t, `{"sql":"x"}`, wantArrow)
	r, err := ipc.NewReader(strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Schema().Field(2).Name; got != "id_1" || r.Next() {
		t.Errorf("schema %s", r.Schema())
	}
}

// A value that is not of its column's type is our fault: the stream is cut, never
// silently wrong.
func TestArrowWrongValueCuts(t *testing.T) {
	for name, v := range map[string]row.Value{"BIGINT": row.TextValue("x"), "SMALLINT": row.IntValue(row.Int, 1<<20), "DECIMAL(4,1)": row.DecimalValue(0, 1, 2), "FLOAT[2]": row.EmbeddingValue([]float32{1})} {
		s := start(t, serveRows(&memoryRows{columns: []kalamdb.Column{{Name: "v", Type: name}}, rows: [][]row.Value{{v}}}), Options{})
		if a, err := s.try("POST", "/api/sql", strings.NewReader(`{"sql":"x"}`), jsonBody, asAlice, wantArrow); err == nil {
			t.Errorf("%s: %d %q", name, a.status, a.body)
		}
		if !strings.Contains(s.log.String(), "arrow column v") {
			t.Errorf("%s: log %s", name, s.log)
		}
	}
}

func TestFormatOf(t *testing.T) {
	for accept, want := range map[string]format{
		"": formatJSON, "*/*": formatJSON, "text/html, */*;q=0.8": formatJSON, "application/json, application/x-ndjson": formatJSON,
		"Application/X-NDJSON;q=1": formatNDJSON, "text/html , application/vnd.apache.arrow.stream": formatArrow,
	} {
		if got := formatOf([]string{accept}); got != want {
			t.Errorf("%q: %d, want %d", accept, got, want)
		}
	}
}

// A client that takes nothing does not keep its rows for ever.
func TestStreamToADeadReaderEnds(t *testing.T) {
	wide := row.TextValue(strings.Repeat("x", 1<<20))
	data := make([][]row.Value, 200)
	for i := range data {
		data[i] = []row.Value{big(1), wide, row.NullValue}
	}
	done := make(chan struct{})
	s := start(t, &fakeDB{query: func(context.Context, kalamdb.Request) (Rows, error) {
		return closeRows{&memoryRows{columns: idText, rows: data}, done}, nil
	}}, Options{WriteTimeout: 200 * time.Millisecond})
	req, err := http.NewRequest("POST", s.url+"/api/sql", strings.NewReader(`{"sql":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer alice"}, "Accept": {mediaNDJSON}}
	reply, err := s.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	select {
	case <-done: // nothing was read of the 200 MB
	case <-time.After(10 * time.Second):
		t.Fatal("the rows are still open")
	}
}

type closeRows struct {
	*memoryRows
	done chan struct{}
}

func (c closeRows) Close() { close(c.done) }

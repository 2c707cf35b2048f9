package server

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"kalamdb"
	"kalamdb/row"
)

func TestAnswerBytes(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name    string
		results []kalamdb.Result
		want    string
	}{
		{"no statement", nil, `{"status":"success","results":[],"execution_time_ms":1.2}`},
		{"the contract's example", []kalamdb.Result{
			{Statement: "SELECT", Columns: []kalamdb.Column{{Name: "id", Type: "BIGINT"}}, Rows: [][]row.Value{{big(1)}}, Took: 7 * ms / 10},
			{Statement: "INSERT", IsWrite: true, Affected: 1, Seq: 123, Took: 4 * ms / 10},
		}, `{"status":"success","results":[{"statement":"SELECT","columns":[{"name":"id","type":"BIGINT"}],"rows":[{"id":1}],"row_count":1,"execution_time_ms":0.7},` +
			`{"statement":"INSERT","rows":[],"affected_rows":1,"seq":123,"execution_time_ms":0.4}],"execution_time_ms":1.2}`},
		{"definition", []kalamdb.Result{{Statement: "CREATE TABLE", Took: 1234567}},
			`{"status":"success","results":[{"statement":"CREATE TABLE","rows":[],"execution_time_ms":1.234}],"execution_time_ms":1.2}`},
		{"no row", []kalamdb.Result{{Statement: "SELECT", Columns: []kalamdb.Column{{Name: "a", Type: "INTEGER"}}}},
			`{"status":"success","results":[{"statement":"SELECT","columns":[{"name":"a","type":"INTEGER"}],"rows":[],"row_count":0,"execution_time_ms":0}],"execution_time_ms":1.2}`},
		{"returning", []kalamdb.Result{{Statement: "INSERT", IsWrite: true, Affected: 1, Seq: 9, Columns: []kalamdb.Column{{Name: "a", Type: "INTEGER"}}, Rows: [][]row.Value{{row.IntValue(row.Int, 5)}}}},
			`{"status":"success","results":[{"statement":"INSERT","columns":[{"name":"a","type":"INTEGER"}],"rows":[{"a":5}],"row_count":1,"affected_rows":1,"seq":9,"execution_time_ms":0}],"execution_time_ms":1.2}`},
		{"nothing written", []kalamdb.Result{{Statement: "UPDATE", IsWrite: true}},
			`{"status":"success","results":[{"statement":"UPDATE","rows":[],"affected_rows":0,"seq":0,"execution_time_ms":0}],"execution_time_ms":1.2}`},
		{"names that need care", []kalamdb.Result{{Statement: "SELECT",
			Columns: []kalamdb.Column{{Name: `a"b`, Type: "VARCHAR"}, {Name: "", Type: "DOUBLE"}, {Name: "é\n", Type: "BIGINT"}},
			Rows:    [][]row.Value{{row.TextValue("I'm \"great\"\t!"), row.DoubleValue(math.NaN()), big(1 << 53)}, {row.NullValue, row.DoubleValue(0.5), big(1<<53 - 1)}}}},
			`{"status":"success","results":[{"statement":"SELECT","columns":[{"name":"a\"b","type":"VARCHAR"},{"name":"","type":"DOUBLE"},{"name":"é\n","type":"BIGINT"}],` +
				`"rows":[{"a\"b":"I'm \"great\"\t!","":"NaN","é\n":"9007199254740992"},{"a\"b":null,"":0.5,"é\n":9007199254740991}],"row_count":2,"execution_time_ms":0}],"execution_time_ms":1.2}`},
	} {
		got := string(appendAnswer(nil, c.results, 1200*time.Microsecond))
		if got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.name, got, c.want)
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("%s: not JSON", c.name)
		}
	}
}

func TestEqualNamesKeepEveryValue(t *testing.T) {
	for in, want := range map[string]string{
		"a b":         "a b",
		"a a":         "a a_1",
		"a a a":       "a a_1 a_2",
		"a a_1 a":     "a a_1 a_2",
		"a a a_1":     "a a_2 a_1",
		"a a a_1 a_1": "a a_2 a_1 a_1_1",
		"a_1 a a":     "a_1 a a_2",
	} {
		var columns []kalamdb.Column
		for name := range strings.FieldsSeq(in) {
			columns = append(columns, kalamdb.Column{Name: name})
		}
		var got []string
		for _, c := range distinct(columns) {
			got = append(got, c.Name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s became %v, want %s", in, got, want)
		}
	}
}

// TestManyEqualNames: the time for columns of one name grows with their number, not faster.
func TestManyEqualNames(t *testing.T) {
	columns := make([]kalamdb.Column, 100_000)
	for i := range columns {
		columns[i].Name = "a"
	}
	start := time.Now()
	got := distinct(columns)
	if got[0].Name != "a" || got[1].Name != "a_1" || got[99_999].Name != "a_99999" || time.Since(start) > 5*time.Second {
		t.Errorf("%s, %s … %s after %v", got[0].Name, got[1].Name, got[99_999].Name, time.Since(start))
	}
}

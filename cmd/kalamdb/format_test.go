package main

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"
)

func raw(cells ...string) []json.RawMessage {
	var r []json.RawMessage
	for _, c := range cells {
		r = append(r, json.RawMessage(c))
	}
	return r
}

func TestPrinters(t *testing.T) {
	rows := outcome{
		statement: "SELECT", columns: []string{"id", "text"}, took: 1500 * time.Microsecond,
		rows: [][]json.RawMessage{raw("9007199254740991", `"a,\"b\" <c>"`), raw("null", `""`)},
	}
	write := outcome{statement: "INSERT", write: true, affected: 1, seq: 7, took: time.Millisecond}
	ddl := outcome{statement: "CREATE NAMESPACE", took: 2 * time.Millisecond}
	none := outcome{statement: "SELECT", columns: []string{"n"}}
	for _, c := range []struct {
		format string
		o      outcome
		want   string
	}{
		{"json", rows, "[{\"id\":9007199254740991,\"text\":\"a,\\\"b\\\" <c>\"},\n {\"id\":null,\"text\":\"\"}]\n"},
		{"json", none, "[]\n"},
		{"json", write, `{"statement":"INSERT","affected_rows":1,"seq":7}` + "\n"},
		{"json", ddl, `{"statement":"CREATE NAMESPACE"}` + "\n"},
		{"csv", rows, "id,text\n9007199254740991,\"a,\"\"b\"\" <c>\"\n,\n"},
		{"csv", none, "n\n"},
		{"csv", write, ""},
		{"table", write, "INSERT 1 row, seq 7 (1.0 ms)\n"},
		{"table", outcome{statement: "DELETE", write: true}, "DELETE 0 rows (0.0 ms)\n"},
		{"table", ddl, "CREATE NAMESPACE (2.0 ms)\n"},
		{"table", rows, "" +
			"┌──────────────────┬───────────┐\n" +
			"│ id               │ text      │\n" +
			"├──────────────────┼───────────┤\n" +
			"│ 9007199254740991 │ a,\"b\" <c> │\n" +
			"│ NULL             │           │\n" +
			"└──────────────────┴───────────┘\n" +
			"2 rows (1.5 ms)\n"},
	} {
		var b bytes.Buffer
		if err := printers[c.format](&b, c.o); err != nil {
			t.Fatal(err)
		}
		if b.String() != c.want {
			t.Errorf("%s of %+v:\n%s\nexpected\n%s", c.format, c.o, b.String(), c.want)
		}
	}
}

func TestShowError(t *testing.T) {
	for _, c := range []struct {
		query    string
		position int
		want     string
	}{
		{"SELECT * FROM app.mesages", 14, "C: m (d)\nSELECT * FROM app.mesages\n              ^"},
		{"SELECT *\n\tFROM app.mesages\nWHERE 1", 15, "C: m (d)\nline 2: \tFROM app.mesages\n        \t     ^"},
		{"SELECT 'ü', x", 13, "C: m (d)\nSELECT 'ü', x\n            ^"},
		{"SELECT", 6, "C: m (d)\nSELECT\n      ^"},
		{"SELECT", 7, "C: m (d)"},
		{"SELECT", -1, "C: m (d)"},
		{" \n", 0, "C: m (d)"},
	} {
		if got := showError(c.query, c.position, "C", "m", "d"); got != c.want {
			t.Errorf("%q at %d:\n%s\nexpected\n%s", c.query, c.position, got, c.want)
		}
	}
	if got := showError("x", -1, "C", "m", ""); got != "C: m" {
		t.Errorf("without details: %q", got)
	}
}

package query

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"kalamdb/row"
)

// A mode says where the versions of a test's rows are when it queries them.
type mode string

const (
	hot       mode = "hot"       // all in the buffer
	cold      mode = "cold"      // one file per write block
	half      mode = "half"      // the first half of the blocks in files, the rest buffered
	compacted mode = "compacted" // one file of the newest versions
)

// A fixture is the tables of one transcript.
type fixture struct {
	t      *testing.T
	e      *Engine
	mode   mode
	dir    string
	tables map[string]*testTable
	seq    row.Seq
}

type testTable struct {
	schema *row.Schema
	system bool
	blocks [][]row.Row
}

// TestTranscripts answers each file of testdata four times, with the rows in
// different places: the answers are the same.
func TestTranscripts(t *testing.T) {
	for _, m := range []mode{hot, cold, half, compacted} {
		t.Run(string(m), func(t *testing.T) {
			datadriven.Walk(t, "testdata/sql", func(t *testing.T, path string) {
				dir := t.TempDir()
				f := &fixture{t: t, e: open(t, Options{CacheDir: dir}), mode: m, dir: dir, tables: map[string]*testTable{}}
				datadriven.RunTest(t, path, f.command)
			})
		})
	}
}

func (f *fixture) command(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "table":
		var name, key string
		d.ScanArgs(t, "name", &name)
		tt := &testTable{schema: &row.Schema{Version: 1}, system: true}
		if d.HasArg("plain") {
			tt.system = false
		}
		d.ScanArgs(t, "key", &key)
		for i, line := range strings.Split(strings.TrimSpace(d.Input), "\n") {
			n, typ, _ := strings.Cut(line, " ")
			c := row.Column{ID: row.ColumnID(i + 1), Name: n, Type: parseType(t, typ)}
			if slices.Contains(strings.Split(key, "+"), n) {
				c.NotNull = true
				tt.schema.Key = append(tt.schema.Key, c.ID)
			}
			tt.schema.Columns = append(tt.schema.Columns, c)
		}
		if err := tt.schema.Valid(); err != nil {
			t.Fatal(err)
		}
		f.tables[name] = tt
		return ""
	case "write":
		var name string
		d.ScanArgs(t, "table", &name)
		tt := f.tables[name]
		var block []row.Row
		for _, line := range strings.Split(strings.TrimSpace(d.Input), "\n") {
			f.seq++
			r := row.Row{Seq: f.seq, Updated: 1_000_000 * int64(f.seq), Schema: 1, Deleted: strings.HasPrefix(line, "-")}
			r.Values = f.values(t, tt.schema, strings.TrimSpace(line[1:]))
			block = append(block, r)
		}
		tt.blocks = append(tt.blocks, block)
		return ""
	case "query":
		var params []row.Value
		if d.HasArg("params") {
			var p string
			d.ScanArgs(t, "params", &p)
			for _, s := range strings.Split(p, "+") {
				params = append(params, row.TextValue(s))
			}
		}
		return f.query(d.Input, d.HasArg("unordered"), d.HasArg("types"), params)
	}
	t.Fatalf("unknown command %s", d.Cmd)
	return ""
}

var typeWords = map[string]row.Type{
	"BOOLEAN": {Kind: row.Boolean}, "SMALLINT": {Kind: row.SmallInt}, "INTEGER": {Kind: row.Int}, "BIGINT": {Kind: row.BigInt},
	"FLOAT": {Kind: row.Float}, "DOUBLE": {Kind: row.Double}, "TEXT": {Kind: row.Text}, "BLOB": {Kind: row.Bytes},
	"DATE": {Kind: row.Date}, "TIME": {Kind: row.Time}, "TIMESTAMP": {Kind: row.Timestamp}, "JSON": {Kind: row.JSON},
	"UUID": {Kind: row.UUID}, "DECIMAL(4,1)": {Kind: row.Decimal, Precision: 4, Scale: 1},
	"DECIMAL(9,2)": {Kind: row.Decimal, Precision: 9, Scale: 2}, "DECIMAL(18,3)": {Kind: row.Decimal, Precision: 18, Scale: 3},
	"DECIMAL(38,10)": {Kind: row.Decimal, Precision: 38, Scale: 10}, "BIGINT[]": {Kind: row.List, Elem: row.BigInt},
	"TEXT[]": {Kind: row.List, Elem: row.Text}, "DECIMAL(9,2)[]": {Kind: row.List, Elem: row.Decimal, Precision: 9, Scale: 2},
	"FLOAT[3]": {Kind: row.Embedding, Dim: 3}, "BOOLEAN[]": {Kind: row.List, Elem: row.Boolean}, "UUID[]": {Kind: row.List, Elem: row.UUID},
}

func parseType(t testing.TB, s string) row.Type {
	typ, ok := typeWords[s]
	if !ok {
		t.Fatalf("unknown type %s", s)
	}
	return typ
}

// values evaluates a comma-separated list of SQL values; missing ones are NULL.
func (f *fixture) values(t testing.TB, s *row.Schema, list string) []row.Value {
	p, err := f.e.Plan("SELECT " + list)
	if err != nil {
		t.Fatalf("%s: %v", list, err)
	}
	rows, err := f.e.Query(t.Context(), p, nil, nil, testSession())
	if err != nil {
		t.Fatalf("%s: %v", list, err)
	}
	n := len(rows.Columns())
	rows.Close()
	var casts []string
	for i := range n {
		casts = append(casts, fmt.Sprintf("CAST(c%d AS %s) AS c%d", i, s.Columns[i].Type, i))
	}
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("c%d", i))
	}
	if p, err = f.e.Plan("SELECT " + strings.Join(casts, ", ") + " FROM (SELECT " + list + ") AS s(" + strings.Join(names, ", ") + ")"); err != nil {
		t.Fatal(err)
	}
	if rows, err = f.e.Query(t.Context(), p, nil, nil, testSession()); err != nil {
		t.Fatalf("%s: %v", list, err)
	}
	defer rows.Close()
	if !rows.Next() {
		t.Fatal(rows.Err())
	}
	out := make([]row.Value, len(s.Columns))
	copy(out, rows.Values())
	return out
}

func (f *fixture) relation(ref TableRef) *Relation {
	tt, ok := f.tables[strings.TrimPrefix(ref.Namespace+"."+ref.Name, ".")]
	if !ok {
		return nil
	}
	rel := &Relation{Schema: tt.schema, System: tt.system}
	files := 0
	switch f.mode {
	case cold:
		files = len(tt.blocks)
	case half:
		files = (len(tt.blocks) + 1) / 2
	}
	if !tt.system {
		files = 0
	}
	for _, b := range tt.blocks[:files] {
		rel.Files = append(rel.Files, writeFile(f.t, f.dir, tt.schema, b))
	}
	if f.mode == compacted && tt.system && len(tt.blocks) > 0 {
		rel.Files = append(rel.Files, writeFile(f.t, f.dir, tt.schema, slices.Concat(tt.blocks...)))
		return rel
	}
	h := &memHot{}
	for _, r := range slices.Concat(tt.blocks[files:]...) {
		h.put(tt.schema.KeyOf(r.Values), r)
	}
	if h.Len() > 0 {
		rel.Hot = h
	}
	return rel
}

func (f *fixture) query(text string, unordered, types bool, params []row.Value) string {
	lines, columns, err := run(f.e, text, f.relation, params...)
	if err != nil {
		var qe *Error
		if !errors.As(err, &qe) {
			return "error " + err.Error()
		}
		s := fmt.Sprintf("%s at %d: %s", qe.Code, qe.Pos, qe.Message)
		if qe.Details != "" {
			s += " (" + qe.Details + ")"
		}
		return s
	}
	if unordered {
		sort.Strings(lines)
	}
	var head []string
	for _, c := range columns {
		if types {
			head = append(head, c.Name+":"+c.Type)
		} else {
			head = append(head, c.Name)
		}
	}
	return strings.Join(append([]string{strings.Join(head, " ")}, lines...), "\n")
}

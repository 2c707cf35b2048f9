package query

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"
	"go.uber.org/goleak"

	"kalamdb/row"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
}

// memHot is a buffer in memory.
type memHot struct {
	keys [][]byte // ascending
	rows []row.Row
	err  error // what Scan and Get answer with, if set
}

func (h *memHot) Len() int { return len(h.keys) }

func (h *memHot) find(key []byte) (int, bool) {
	return slices.BinarySearchFunc(h.keys, key, bytes.Compare)
}

func (h *memHot) put(key []byte, r row.Row) {
	i, ok := h.find(key)
	if ok {
		h.rows[i] = r
		return
	}
	h.keys = slices.Insert(h.keys, i, key)
	h.rows = slices.Insert(h.rows, i, r)
}

func (h *memHot) Get(key []byte) (row.Row, bool, error) {
	i, ok := h.find(key)
	if !ok || h.err != nil {
		return row.Row{}, false, h.err
	}
	return h.rows[i], true, nil
}

func (h *memHot) Scan(from, to []byte, yield func(key []byte, r *row.Row) bool) error {
	if h.err != nil {
		return h.err
	}
	i, _ := h.find(from)
	var key []byte
	var r row.Row
	for ; i < len(h.keys) && (to == nil || bytes.Compare(h.keys[i], to) < 0); i++ {
		key = append(key[:0], h.keys[i]...) // reused, as a real buffer does
		values := append(r.Values[:0], h.rows[i].Values...)
		r = h.rows[i]
		r.Values = values
		if !yield(key, &r) {
			return nil
		}
	}
	return nil
}

var writer = sync.OnceValue(func() *sql.DB {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		panic(err)
	}
	return db
})

// literal is v as a SQL literal of the test's own writer.
func literal(v row.Value, t row.Type) string {
	if v.IsNull() {
		return "NULL"
	}
	s := string(v.AppendText(nil))
	switch t.Kind {
	case row.Bytes:
		s = ""
		for _, b := range []byte(v.Str()) {
			s += `\x` + strings.ToUpper(hex.EncodeToString([]byte{b}))
		}
	case row.Float, row.Double:
		s = strings.Trim(s, `"`)
	case row.Timestamp:
		s = strings.TrimSuffix(s, "Z")
	case row.List:
		s = ""
		for i, e := range v.List() {
			if i > 0 {
				s += ", "
			}
			s += literal(e, t.ElemType())
		}
		return "CAST([" + s + "] AS " + t.String() + ")"
	case row.Text, row.JSON:
		s = v.Str()
	}
	return "CAST(" + quote(s) + " AS " + t.String() + ")"
}

// writeFile makes a Parquet file of the newest versions of rows, like a flush.
func writeFile(t testing.TB, dir string, s *row.Schema, rows []row.Row) File {
	t.Helper()
	newest := &memHot{}
	for _, r := range rows {
		newest.put(s.KeyOf(r.Values), r)
	}
	f := File{Schema: s, MinKey: newest.keys[0], MaxKey: newest.keys[len(newest.keys)-1]}
	var values []string
	for _, r := range newest.rows {
		f.Rows++
		if r.Deleted {
			f.Deleted++
		}
		if f.MinSeq == 0 || r.Seq < f.MinSeq {
			f.MinSeq = r.Seq
		}
		f.MaxSeq = max(f.MaxSeq, r.Seq)
		var l []string
		for i, c := range s.Columns {
			l = append(l, literal(r.Values[i], c.Type))
		}
		l = append(l, fmt.Sprint(r.Seq), literal(row.IntValue(row.Timestamp, r.Updated), row.Type{Kind: row.Timestamp}), fmt.Sprint(r.Deleted))
		values = append(values, "("+strings.Join(l, ", ")+")")
	}
	names, ids := []string{}, []string{}
	for _, c := range append(slices.Clone(s.Columns), row.Column{ID: row.IDSeq, Name: row.ColSeq}, row.Column{ID: row.IDUpdated, Name: row.ColUpdated}, row.Column{ID: row.IDDeleted, Name: row.ColDeleted}) {
		names = append(names, quoteName(c.Name))
		ids = append(ids, fmt.Sprintf("%s: %d", quoteName(c.Name), c.ID))
	}
	f.Local = local(copyOut(t, dir, "SELECT * FROM (VALUES "+strings.Join(values, ", ")+") v("+strings.Join(names, ", ")+")", ids))
	return f
}

func local(path string) func(context.Context) (string, func(), error) {
	return func(context.Context) (string, func(), error) { return path, func() {}, nil }
}

func copyOut(t testing.TB, dir, query string, ids []string) string {
	t.Helper()
	f, err := os.CreateTemp(dir, "f-*.parquet")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	q := fmt.Sprintf("COPY (%s) TO %s (FORMAT parquet, FIELD_IDS {%s})", query, quote(f.Name()), strings.Join(ids, ", "))
	if _, err := writer().Exec(q); err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return f.Name()
}

func open(t testing.TB, o Options) *Engine {
	t.Helper()
	if o.CacheDir == "" {
		o.CacheDir = t.TempDir()
	}
	if o.TempDir == "" {
		o.TempDir = filepath.Join(t.TempDir(), "spill")
	}
	e, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

var testNow = time.Date(2026, 3, 4, 5, 6, 7, 8000, time.UTC)

func testSession() Session {
	id := int64(0)
	return Session{User: "ana", Role: "user", Now: testNow, NextID: func() int64 { id++; return id }}
}

// run gives the rows of a query as text, one line each.
func run(e *Engine, text string, rels func(TableRef) *Relation, params ...row.Value) ([]string, []Column, error) {
	p, err := e.Plan(text)
	if err != nil {
		return nil, nil, err
	}
	var list []*Relation
	for _, t := range p.Tables() {
		r := rels(t)
		if r == nil {
			return nil, nil, &Error{Code: "TABLE_NOT_FOUND", Message: t.Namespace + "." + t.Name, Pos: t.Pos}
		}
		list = append(list, r)
	}
	rows, err := e.Query(context.Background(), p, list, params, testSession())
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var line []string
		for _, v := range rows.Values() {
			line = append(line, string(v.AppendJSON(nil)))
		}
		out = append(out, strings.Join(line, " "))
	}
	return out, rows.Columns(), rows.Err()
}

func noTables(TableRef) *Relation { return nil }

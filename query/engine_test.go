package query

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kalamdb/row"
)

func code(err error) string {
	var qe *Error
	if errors.As(err, &qe) {
		return qe.Code
	}
	return fmt.Sprint(err)
}

// smallTable is ids 0 to n-1, buffered.
func smallTable(n int64) *Relation {
	h := &memHot{}
	for i := range n {
		h.keys = append(h.keys, row.AppendKey(nil, row.IntValue(row.BigInt, i)))
		h.rows = append(h.rows, row.Row{Seq: row.Seq(i + 1), Schema: 1, Values: benchValues(i)})
	}
	return &Relation{Schema: benchSchema, System: true, Hot: h}
}

const endless = "SELECT count(*) FROM range(1000000000) a(x), range(1000000000) b(y) WHERE x * y = -1"

func TestTimeout(t *testing.T) {
	e := open(t, Options{QueryTimeout: 200 * time.Millisecond})
	start := time.Now()
	if _, _, err := run(e, endless, noTables); code(err) != "STATEMENT_TIMEOUT" {
		t.Fatal(err)
	}
	if d := time.Since(start); d > 3*time.Second {
		t.Fatalf("stopped after %v", d)
	}
	if lines, _, err := run(e, "SELECT 42", noTables); err != nil || lines[0] != "42" {
		t.Fatal(lines, err)
	}
}

func TestCancel(t *testing.T) {
	e := open(t, Options{Concurrency: 1})
	p, err := e.Plan(endless)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		start := time.Now()
		if _, err := e.Query(ctx, p, nil, nil, Session{}); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if d := time.Since(start); d > 3*time.Second {
			t.Fatalf("stopped after %v", d)
		}
		if _, _, err := run(e, "SELECT 1", noTables); err != nil { // the interrupt is gone
			t.Fatal(err)
		}
	}
}

func TestResultLimits(t *testing.T) {
	e := open(t, Options{ResultRowsMax: 5000, ResultBytesMax: 1 << 20})
	if lines, _, err := run(e, "SELECT * FROM range(5000)", noTables); err != nil || len(lines) != 5000 {
		t.Fatal(len(lines), err)
	}
	for _, text := range []string{"SELECT * FROM range(5001)", "SELECT * FROM range(100000000) -- x", "SELECT * FROM range(6000) ORDER BY 1;", "SELECT * FROM range(9000) LIMIT 6000"} {
		if _, _, err := run(e, text, noTables); code(err) != "RESULT_TOO_LARGE" || !strings.Contains(err.Error(), "5000 rows") {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, _, err := run(e, "SELECT lpad('x', 1000, 'y') FROM range(4000)", noTables); code(err) != "RESULT_TOO_LARGE" || !strings.Contains(err.Error(), "1048576 bytes") {
		t.Error(err)
	}
}

// TestResultGrows makes sure that a result over files is stopped while it grows: few of
// its rows may be made before it is found too large.
func TestResultGrows(t *testing.T) {
	dir := t.TempDir()
	rel, _ := benchRelation(t, dir, false)
	e := open(t, Options{CacheDir: dir, ResultBytesMax: 1 << 20})
	p, err := e.Plan("SELECT text, snowflake_id() FROM t")
	if err != nil {
		t.Fatal(err)
	}
	var made atomic.Int64
	_, err = e.Query(t.Context(), p, []*Relation{rel}, nil, Session{NextID: func() int64 { return made.Add(1) }})
	if n := made.Load(); code(err) != "RESULT_TOO_LARGE" || n == 0 || n > benchFiles*benchFileRows/2 {
		t.Errorf("%d rows were made: %v", n, err)
	}
}

func TestMemoryLimit(t *testing.T) {
	e := open(t, Options{MemoryBytes: 64 << 20, TempDir: filepath.Join(t.TempDir(), "none")})
	_, _, err := run(e, "SELECT max(len(l)) FROM (SELECT list(x) AS l FROM range(100000000) t(x) GROUP BY x % 3)", noTables)
	if code(err) != "OUT_OF_MEMORY" {
		t.Fatal(err)
	}
	if _, _, err := run(e, "SELECT 1", noTables); err != nil {
		t.Fatal(err)
	}
}

func waitingNow(l *lane) int {
	l.turns.mu.Lock()
	defer l.turns.mu.Unlock()
	return l.turns.waiting
}

func TestBusy(t *testing.T) {
	e := open(t, Options{Concurrency: 1, WaitersMax: 1, QuickTime: time.Hour})
	p, err := e.Plan(endless)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { e.Query(ctx, p, nil, nil, Session{}) })
	}
	for waitingNow(e.quick) < 1 {
		time.Sleep(time.Millisecond)
	}
	if _, err := e.Query(t.Context(), p, nil, nil, Session{}); code(err) != "BUSY" {
		t.Error(err)
	}
	if err := e.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	cancel()
	wg.Wait()
}

func TestSourceErrors(t *testing.T) {
	e := open(t, Options{})
	broken := errors.New("disk on fire")
	rel := smallTable(10)
	rel.Hot.(*memHot).err = broken
	_, _, err := run(e, "SELECT sum(n) FROM t", func(TableRef) *Relation { return rel })
	if code(err) != "INTERNAL" || !errors.Is(err, broken) || strings.Contains(err.Error(), "fire") {
		t.Fatalf("%v", err)
	}
	rel = smallTable(10)
	rel.Hot.(*memHot).rows[3].Values[3] = row.TextValue("x")
	if _, _, err = run(e, "SELECT sum(n) FROM t", func(TableRef) *Relation { return rel }); code(err) != "INTERNAL" {
		t.Fatalf("%v", err)
	}
	rel = &Relation{Schema: benchSchema, System: true, Files: []File{{Rows: 1, MinKey: []byte{0}, MaxKey: []byte{255}, Schema: benchSchema,
		Local: func(context.Context) (string, func(), error) { return "", nil, broken }}}}
	if _, _, err = run(e, "SELECT sum(n) FROM t", func(TableRef) *Relation { return rel }); code(err) != "INTERNAL" || !errors.Is(err, broken) {
		t.Fatalf("%v", err)
	}
}

// TestErrorsKeepSecrets: an unreadable file does not tell its path.
func TestErrorsKeepSecrets(t *testing.T) {
	dir := t.TempDir()
	e := open(t, Options{CacheDir: dir})
	path := filepath.Join(dir, "broken-secret-name.parquet")
	if err := os.WriteFile(path, []byte("PAR1 this is none PAR1"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, filepath.Join(dir, "absent-secret-name.parquet"), "/etc/secret-name"} {
		rel := &Relation{Schema: benchSchema, System: true, Files: []File{{Rows: 1, MinKey: []byte{0}, MaxKey: []byte{255}, Schema: benchSchema, Local: local(p)}}}
		_, _, err := run(e, "SELECT sum(n) FROM t", func(TableRef) *Relation { return rel })
		var qe *Error
		if !errors.As(err, &qe) || strings.Contains(qe.Message+qe.Details, "secret") || strings.Contains(qe.Message, dir) {
			t.Errorf("%#v", err)
		}
	}
}

// TestReplace: after a fatal error a new instance answers, and statements on the old
// one end before it is closed.
func TestReplace(t *testing.T) {
	e := open(t, Options{Concurrency: 2})
	old, err := e.quick.acquire()
	if err != nil {
		t.Fatal(err)
	}
	err = e.translate(&duckErr{Type: "FATAL", Message: "database has been invalidated because of " + e.o.CacheDir}, old, nil)
	if code(err) != "INTERNAL" || strings.Contains(err.Error(), e.o.CacheDir) {
		t.Fatal(err)
	}
	if e.quick.in[0] == old {
		t.Fatal("still the old instance")
	}
	if lines, _, err := run(e, "SELECT CURRENT_USER", noTables); err != nil || lines[0] != `"ana"` {
		t.Fatal(lines, err)
	}
	if err := e.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := <-old.workers
	if err := c.run("SELECT 1"); err != nil {
		t.Fatal(err)
	}
	old.workers <- c
	e.quick.release(old)
}

func TestParams(t *testing.T) {
	e := open(t, Options{})
	embedding := row.EmbeddingValue([]float32{1, 2})
	list := row.ListValue([]row.Value{row.TextValue("a"), row.NullValue})
	for _, c := range []struct {
		v    row.Value
		want string
	}{
		{row.NullValue, `null "\"NULL\""`}, {row.BoolValue(true), `true "BOOLEAN"`}, {row.IntValue(row.BigInt, -5), `-5 "BIGINT"`},
		{row.IntValue(row.Int, 5), `5 "INTEGER"`}, {row.DoubleValue(1.5), `1.5 "DOUBLE"`}, {row.TextValue("it's"), `"it's" "VARCHAR"`},
		{row.DecimalValue(-1, ^uint64(0)-1233, 2), `"-12.34" "DECIMAL(4,2)"`}, {row.DecimalValue(0, 5, 3), `"0.005" "DECIMAL(3,3)"`},
		{row.BytesValue([]byte{0, 255}), `"AP8=" "BLOB"`}, {row.IntValue(row.Date, 1), `"1970-01-02" "DATE"`}, {row.IntValue(row.Time, 1), `"00:00:00.000001" "TIME"`},
		{row.IntValue(row.Timestamp, -1), `"1969-12-31T23:59:59.999999Z" "TIMESTAMP"`},
		{row.UUIDValue([16]byte{0xff, 15: 1}), `"ff000000-0000-0000-0000-000000000001" "UUID"`}, {row.HugeIntValue(1, 0), `"18446744073709551616" "HUGEINT"`},
		{list, `["a",null] "VARCHAR[]"`}, {row.ListValue(nil), `[] "\"NULL\"[]"`}, {embedding, `[1,2] "FLOAT[2]"`},
	} {
		lines, _, err := run(e, "SELECT $1 AS a, typeof($1) AS b", noTables, c.v)
		if err != nil || lines[0] != c.want {
			t.Errorf("%v: %v, %v", c.v, lines, err)
		}
	}
}

// TestPrune: files that cannot hold an asked key are not opened.
func TestPrune(t *testing.T) {
	dir := t.TempDir()
	e := open(t, Options{CacheDir: dir})
	var opened []int
	rel := &Relation{Schema: benchSchema, System: true, Hot: smallTable(3).Hot}
	for f := range int64(5) {
		var rows []row.Row
		for i := range int64(10) {
			id := 100*f + i
			rows = append(rows, row.Row{Seq: row.Seq(1000 + id), Schema: 1, Values: benchValues(id), Deleted: f == 4 && i == 5})
		}
		file := writeFile(t, dir, benchSchema, rows)
		path := file.Local
		file.Local = func(ctx context.Context) (string, func(), error) { opened = append(opened, int(f)); return path(ctx) }
		rel.Files = append(rel.Files, file)
	}
	one, two := row.IntValue(row.BigInt, 105), row.TextValue("105")
	for _, c := range []struct {
		text   string
		params []row.Value
		rows   int
		opened string
	}{
		{"SELECT id FROM t WHERE id = 105", nil, 1, "[1]"},
		{"SELECT id FROM t WHERE 105 = t.id AND n > 0", nil, 1, "[1]"},
		{"SELECT id FROM t WHERE id = $1", []row.Value{one}, 1, "[1]"},
		{"SELECT id FROM t WHERE id = $1", []row.Value{two}, 1, "[0 1 2 3 4]"}, // DuckDB converts the text
		{"SELECT id FROM t WHERE id = 1", nil, 1, "[]"},                        // buffered
		{"SELECT id FROM t WHERE id = 5", nil, 1, "[0]"},
		{"SELECT id FROM t WHERE id = 55", nil, 0, "[]"},
		{"SELECT id FROM t WHERE id BETWEEN 105 AND 202", nil, 8, "[1 2]"},
		{"SELECT id FROM t WHERE id > 300 AND id <= 309", nil, 9, "[3]"},
		{"SELECT id FROM t WHERE id IN (105, 305, 306)", nil, 3, "[1 2 3]"},
		{"SELECT id FROM t WHERE id = 105 OR id = 205", nil, 2, "[0 1 2 3 4]"},
		{"SELECT a.id FROM t a JOIN t b ON a.id = b.id WHERE a.id = 105", nil, 1, "[1 0 1 2 3 4]"},
		{"SELECT a.id FROM t a LEFT JOIN t b ON a.id = b.id WHERE b.id = 105", nil, 1, "[0 1 2 3 4 1]"},
		{"SELECT id + 1 AS id FROM t WHERE id = 105", nil, 1, "[0 1 2 3 4]"}, // id may be the alias
		{"SELECT id FROM (SELECT * FROM t WHERE id >= 405) WHERE n < 0", nil, 0, "[4]"},
		{"SELECT a.id FROM t a POSITIONAL JOIN t b WHERE b.id = 105", nil, 1, "[0 1 2 3 4 0 1 2 3 4]"},
	} {
		opened = nil
		lines, _, err := run(e, c.text, func(TableRef) *Relation { return rel }, c.params...)
		if err != nil || len(lines) != c.rows || fmt.Sprint(opened) != c.opened {
			t.Errorf("%s: %v, %v, opened %v, expected %s", c.text, lines, err, opened, c.opened)
		}
	}
}

func TestExplain(t *testing.T) {
	dir := t.TempDir()
	e := open(t, Options{CacheDir: dir})
	rel := smallTable(3)
	p, err := e.Plan("SELECT count(*) FROM t WHERE n = 1")
	if err != nil {
		t.Fatal(err)
	}
	tables, plan, err := e.Explain(t.Context(), p, []*Relation{rel}, nil, Session{})
	if s := strings.Join(plan, "\n"); err != nil || !strings.Contains(s, "FILTER") || strings.Contains(strings.ToLower(s), "kalamdb") {
		t.Fatal(s, err)
	}
	if want := []string{"table t", "  buffered rows: 3"}; !slices.Equal(tables, want) {
		t.Errorf("%q, expected %q", tables, want)
	}
}

// TestExplainFiles: what is said about files is what is done with them.
func TestExplainFiles(t *testing.T) {
	dir := t.TempDir()
	e := open(t, Options{CacheDir: dir})
	rel, _ := benchRelation(t, dir, true)
	for i := range rel.Files {
		rel.Files[i].Bytes = 1000
	}
	for _, c := range []struct{ text, want string }{
		{"SELECT * FROM t", "table t|  files: 20 of 20, 20000 of 20000 bytes|  files read as they are: 19|  files read less the keys of the buffer: 1|  buffered rows: 1000"},
		{"SELECT * FROM t AS x WHERE id >= 60000 AND id < 79000", "table t AS x|  files: 2 of 20, 2000 of 20000 bytes|  files left out, outside the key range: 18|  files read as they are: 1|  files read less the keys of the buffer: 1|  buffered rows: 1000"},
		{"SELECT * FROM t WHERE id = 70010", "table t|  found by key in the buffer: 1, no file of it needed|  files: 0 of 20, 0 of 20000 bytes|  files left out, outside the key range: 19|  buffered rows: 0"},
		{"SELECT * FROM t WHERE id = 70011", "table t|  files: 1 of 20, 1000 of 20000 bytes|  files left out, outside the key range: 19|  files read as they are: 1|  buffered rows: 0"},
	} {
		p, err := e.Plan(c.text)
		if err != nil {
			t.Fatal(err)
		}
		tables, plan, err := e.Explain(t.Context(), p, []*Relation{rel}, nil, Session{})
		if err != nil || strings.Join(tables, "|") != c.want || strings.Contains(strings.Join(plan, "\n"), dir) {
			t.Errorf("%s: %q, expected %q (%v)\n%s", c.text, strings.Join(tables, "|"), c.want, err, strings.Join(plan, "\n"))
		}
	}
}

// TestConcurrent: statements of many users at once see their own rows and user only.
func TestConcurrent(t *testing.T) {
	e := open(t, Options{Concurrency: 4})
	var wg sync.WaitGroup
	for u := range 16 {
		wg.Go(func() {
			rel := smallTable(int64(u))
			p, err := e.Plan("SELECT CURRENT_USER, count(*), max(id) FROM t")
			if err != nil {
				t.Error(err)
				return
			}
			for range 20 {
				rows, err := e.Query(t.Context(), p, []*Relation{rel}, nil, Session{User: fmt.Sprint("u", u)})
				if err != nil {
					t.Error(err)
					return
				}
				if !rows.Next() || rows.Values()[0].Str() != fmt.Sprint("u", u) || rows.Values()[1].Int() != int64(u) {
					t.Errorf("user %d got %v", u, rows.Values())
				}
				rows.Close()
			}
		})
	}
	wg.Wait()
}

// TestSchemaVersions: older files and rows are read by column id.
func TestSchemaVersions(t *testing.T) {
	dir := t.TempDir()
	e := open(t, Options{CacheDir: dir})
	big, text := row.Type{Kind: row.BigInt}, row.Type{Kind: row.Text}
	v1 := &row.Schema{Version: 1, Key: []row.ColumnID{1}, Columns: []row.Column{{ID: 1, Name: "id", Type: big, NotNull: true}, {ID: 2, Name: "a", Type: row.Type{Kind: row.Int}}, {ID: 3, Name: "gone", Type: text}}}
	v2 := &row.Schema{Version: 2, Key: []row.ColumnID{1}, Columns: []row.Column{{ID: 1, Name: "id", Type: big, NotNull: true}, {ID: 2, Name: "b", Type: big}, {ID: 4, Name: "a", Type: text}, {ID: 5, Name: "e", Type: row.Type{Kind: row.Embedding, Dim: 2}}}}
	values := func(id int64) []row.Value {
		return []row.Value{row.IntValue(row.BigInt, id), row.IntValue(row.Int, 10*id), row.TextValue("x")}
	}
	h := &memHot{}
	h.put(row.AppendKey(nil, row.IntValue(row.BigInt, 2)), row.Row{Seq: 2, Schema: 1, Values: values(2)})
	h.put(row.AppendKey(nil, row.IntValue(row.BigInt, 3)), row.Row{Seq: 3, Schema: 2, Values: []row.Value{row.IntValue(row.BigInt, 3), row.IntValue(row.BigInt, 30), row.TextValue("new"), row.EmbeddingValue([]float32{1, 2})}})
	rel := &Relation{Schema: v2, System: true, Hot: h, Files: []File{writeFile(t, dir, v1, []row.Row{{Seq: 1, Schema: 1, Values: values(1)}})},
		SchemaAt: func(v uint32) *row.Schema { return map[uint32]*row.Schema{1: v1, 2: v2}[v] }}
	lines, _, err := run(e, "SELECT id, b, a, e FROM t WHERE b >= 10 ORDER BY id", func(TableRef) *Relation { return rel })
	if err != nil || strings.Join(lines, "|") != `1 10 null null|2 20 null null|3 30 "new" [1,2]` {
		t.Fatal(lines, err)
	}
}

package query

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"kalamdb/row"
	"kalamdb/sql"
)

var benchSchema = &row.Schema{Version: 1, Key: []row.ColumnID{1}, Columns: []row.Column{
	{ID: 1, Name: "id", Type: row.Type{Kind: row.BigInt}, NotNull: true},
	{ID: 2, Name: "conversation", Type: row.Type{Kind: row.Text}},
	{ID: 3, Name: "text", Type: row.Type{Kind: row.Text}},
	{ID: 4, Name: "n", Type: row.Type{Kind: row.Int}},
	{ID: 5, Name: "created", Type: row.Type{Kind: row.Timestamp}},
}}

const (
	benchFiles    = 20
	benchFileRows = 10_000
	benchHotRows  = 1_000
)

func benchValues(id int64) []row.Value {
	return []row.Value{row.IntValue(row.BigInt, id), row.TextValue(fmt.Sprintf("c%d", id%50)),
		row.TextValue(fmt.Sprintf("message number %d, which is about as long as messages are", id)),
		row.IntValue(row.Int, id%1000), row.IntValue(row.Timestamp, id*1_000_000)}
}

// benchRelation has 20 files one after the other and 1,000 buffered rows: behind all
// files, or a tenth of the rows of one file again.
func benchRelation(b testing.TB, dir string, touched bool) (*Relation, []string) {
	rel := &Relation{Schema: benchSchema, System: true}
	var paths []string
	ids := []string{`"id": 1, "conversation": 2, "text": 3, "n": 4, "created": 5`, fmt.Sprintf(`"_seq": %d, "_updated": %d, "_deleted": %d`, row.IDSeq, row.IDUpdated, row.IDDeleted)}
	for f := range int64(benchFiles) {
		from := f * benchFileRows
		path := copyOut(b, dir, fmt.Sprintf(`SELECT range AS id, 'c' || (range %% 50) AS conversation,
			'message number ' || range || ', which is about as long as messages are' AS text, (range %% 1000)::INTEGER AS n,
			make_timestamp(range * 1000000) AS created, range + 1 AS _seq, make_timestamp(range) AS _updated, false AS _deleted
			FROM range(%d, %d)`, from, from+benchFileRows), ids)
		paths = append(paths, path)
		key := func(id int64) []byte { return row.AppendKey(nil, row.IntValue(row.BigInt, id)) }
		rel.Files = append(rel.Files, File{Rows: benchFileRows, MinKey: key(from), MaxKey: key(from + benchFileRows - 1),
			MinSeq: row.Seq(from + 1), MaxSeq: row.Seq(from + benchFileRows), Schema: benchSchema, Local: local(path)})
	}
	h := &memHot{}
	for i := range int64(benchHotRows) {
		id := benchFiles*benchFileRows + i
		if touched {
			id = 7*benchFileRows + i*10
		}
		h.keys = append(h.keys, row.AppendKey(nil, row.IntValue(row.BigInt, id)))
		h.rows = append(h.rows, row.Row{Seq: row.Seq(1_000_000 + i), Schema: 1, Values: benchValues(id)})
	}
	rel.Hot = h
	return rel, paths
}

// BenchmarkMerge compares queries over files and buffered rows with DuckDB on the
// same files alone, measured in turns. ratio compares the tenth percentiles: other work on
// the machine only ever adds time.
func BenchmarkMerge(b *testing.B) {
	queries := []struct{ name, ours, raw string }{
		{"aggregate", "SELECT conversation, count(*), sum(n) FROM t GROUP BY 1", "SELECT conversation, count(*), sum(n) FROM %s GROUP BY 1"},
		{"filter", "SELECT id, text FROM t WHERE n = 77", "SELECT id, text FROM %s WHERE n = 77"},
		{"lookup", "SELECT * FROM t WHERE id = 123456", "SELECT * FROM %s WHERE id = 123456"},
	}
	for _, overlap := range []string{"apart", "touched"} {
		dir := b.TempDir()
		rel, paths := benchRelation(b, dir, overlap == "touched")
		e := open(b, Options{CacheDir: dir})
		var list []string
		for _, p := range paths {
			list = append(list, quote(p))
		}
		for _, q := range queries {
			b.Run(q.name+"/"+overlap, func(b *testing.B) {
				raw := fmt.Sprintf(q.raw, "read_parquet(["+strings.Join(list, ", ")+"])")
				var ours, theirs []time.Duration
				for range b.N {
					t0 := time.Now()
					benchOurs(b, e, q.ours, rel)
					t1 := time.Now()
					benchRaw(b, e, raw)
					ours, theirs = append(ours, t1.Sub(t0)), append(theirs, time.Since(t1))
				}
				slices.Sort(ours)
				slices.Sort(theirs)
				a, r := ours[len(ours)/10], theirs[len(theirs)/10]
				b.ReportMetric(float64(a)/float64(r), "ratio")
				b.ReportMetric(float64(a.Microseconds()), "µs")
				b.ReportMetric(float64(r.Microseconds()), "µs-raw")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

func benchOurs(b *testing.B, e *Engine, text string, rel *Relation) {
	p, err := e.Plan(text)
	if err != nil {
		b.Fatal(err)
	}
	rows, err := e.Query(b.Context(), p, []*Relation{rel}, nil, Session{})
	if err != nil {
		b.Fatal(err)
	}
	for rows.Next() {
	}
	rows.Close()
}

func benchRaw(b *testing.B, e *Engine, text string) {
	in, err := e.quick.acquire()
	if err != nil {
		b.Fatal(err)
	}
	defer e.quick.release(in)
	c := <-in.workers
	defer func() { in.workers <- c }()
	rows := &Rows{e: e, rowsMax: e.o.ResultRowsMax, bytesMax: e.o.ResultBytesMax}
	res, err := c.execute(context.Background(), text, &statement{}, nil, rows.add)
	if err != nil {
		b.Fatal(err)
	}
	mapping.DestroyResult(res)
	for rows.Next() {
	}
	rows.Close()
}

// BenchmarkPlan parses and plans statements from text to plan, as a request does: the
// first time, and when the text is known.
func BenchmarkPlan(b *testing.B) {
	e := open(b, Options{})
	for _, c := range []struct{ name, text string }{
		{"lookup", "SELECT * FROM app.messages WHERE id = %d"},
		{"page", "SELECT id, text, created_at FROM app.messages WHERE conversation_id = 'c1' AND n > %d AND created_at > now() - INTERVAL 1 DAY ORDER BY created_at DESC LIMIT 50"},
		{"join", "SELECT a.b, count(*), sum(c) FILTER (WHERE d > %d) FROM app.t a JOIN app.u USING (id) WHERE a.e LIKE 'x%%' GROUP BY ALL HAVING count(*) > 1 ORDER BY 2"},
	} {
		plan := func(text string) {
			list, err := sql.Parse(text)
			if err == nil {
				_, err = e.Plan(list[0].(*sql.Select).Text.Text)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		b.Run(c.name+"/first", func(b *testing.B) {
			for i := range b.N {
				plan(fmt.Sprintf(c.text, i+b.N<<20))
			}
		})
		b.Run(c.name+"/known", func(b *testing.B) {
			for range b.N {
				plan(fmt.Sprintf(c.text, 0))
			}
		})
	}
}

// BenchmarkFilter evaluates conditions for one row after the other, and one in DuckDB for
// batches.
func BenchmarkFilter(b *testing.B) {
	e := open(b, Options{})
	for _, c := range []struct{ name, where string }{
		{"equal", "conversation = 'c7'"},
		{"equal-and-more", "conversation = 'c7' AND n > 500"},
		{"in-100", "conversation IN (" + strings.Repeat("'x', ", 99) + "'c7')"},
		{"arithmetic", "n * 2 + 1 > 500 AND created > '1970-01-01 00:00:01'"},
		{"text", "lower(text) LIKE '%number%' OR starts_with(text, 'x')"},
		{"first-compiled", "conversation = 'c8' AND regexp_matches(text, 'a+b')"},
	} {
		lp, err := e.PlanLive("SELECT * FROM t WHERE " + c.where)
		if err != nil {
			b.Fatal(err)
		}
		f, err := e.Filter(lp, benchSchema, true, Session{})
		if err != nil || f.match == nil {
			b.Fatal(err)
		}
		rows := []*row.Row{{Schema: 1, Values: benchValues(757)}}
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.Match(b.Context(), rows); err != nil {
					b.Fatal(err)
				}
			}
		})
		for _, n := range []int{1, 100, 1000} {
			many := slices.Repeat(rows, n)
			b.Run(fmt.Sprintf("%s/duckdb-%d", c.name, n), func(b *testing.B) {
				duck := &asker{e: e, plan: lp.plan, rel: &Relation{Schema: benchSchema, System: true}}
				for b.Loop() {
					if _, err := duck.ask(b.Context(), many); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/row")
			})
		}
	}
	b.Run("compile", func(b *testing.B) {
		for i := range b.N {
			lp, err := e.PlanLive(fmt.Sprintf("SELECT * FROM t WHERE conversation = 'c%d'", i))
			if err == nil {
				_, err = e.Filter(lp, benchSchema, true, Session{})
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

package lake

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/storagelocations"
)

// benchRows are rows as of a chat: a key, two texts, a time.
func benchRows(n int) (*catalog.Table, []row.Row) {
	s := &row.Schema{Version: 1, Key: []row.ColumnID{1}, Columns: []row.Column{
		{ID: 1, Name: "id", Type: row.Type{Kind: row.BigInt}, NotNull: true},
		{ID: 2, Name: "conversation_id", Type: row.Type{Kind: row.Text}},
		{ID: 3, Name: "text", Type: row.Type{Kind: row.Text}},
		{ID: 4, Name: "created_at", Type: row.Type{Kind: row.Timestamp}},
	}}
	rows := make([]row.Row, n)
	for i := range rows {
		rows[i] = row.Row{Seq: row.Seq(i + 1), Updated: 1_700_000_000_000_000 + int64(i)*1000, Schema: 1, Values: []row.Value{
			row.IntValue(row.BigInt, int64(i)*4_194_304), row.TextValue(fmt.Sprint("conversation ", i%20)),
			row.TextValue(fmt.Sprintf("message %d says that %x is what %x was before the %d-th of them", i, i*7919, i*104729, i%1000)),
			row.IntValue(row.Timestamp, 1_700_000_000_000_000+int64(i)*997)}}
	}
	return tableOf(1, "bench", s), rows
}

// benchRow has the columns of benchRows for parquet-go's own fast path.
type benchRow struct {
	ID             int64  `parquet:"id,delta"`
	ConversationID string `parquet:"conversation_id,optional,dict"`
	Text           string `parquet:"text,optional"`
	CreatedAt      int64  `parquet:"created_at,optional,delta"`
	Seq            int64  `parquet:"_seq,delta"`
	Updated        int64  `parquet:"_updated,delta"`
	Deleted        bool   `parquet:"_deleted"`
}

// BenchmarkFlush compares a flush with parquet-go writing the same rows from structs, with
// the options of the lake, and one put.
func BenchmarkFlush(b *testing.B) {
	ctx := context.Background()
	for _, n := range []int{10, 1000, 10_000} {
		table, rows := benchRows(n)
		b.Run(fmt.Sprintf("lake/rows=%d", n), func(b *testing.B) {
			l := openLake(b, storagelocations.NewMemory(), Options{CacheBytesMax: 1}, table)
			seg := segment(table, "ana", rows...)
			i := 0
			for b.Loop() {
				seg.Partition.User = row.UserID(fmt.Sprint(i)) // a new partition each time
				i++
				mustFlush(b, l, seg)
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "rows/s")
			for f := range l.Files {
				b.ReportMetric(float64(f.Bytes)/float64(n), "bytes/row")
				break
			}
		})
		b.Run(fmt.Sprintf("raw/rows=%d", n), func(b *testing.B) {
			bucket := storagelocations.NewMemory()
			var structs []benchRow
			for _, r := range rows {
				structs = append(structs, benchRow{r.Values[0].Int(), r.Values[1].Str(), r.Values[2].Str(), r.Values[3].Int(), int64(r.Seq), r.Updated, r.Deleted})
			}
			w := parquet.NewGenericWriter[benchRow](nil, parquet.Compression(&zstd.Codec{Level: zstd.SpeedFastest}), parquet.MaxRowsPerRowGroup(2048), parquet.PageBufferSize(pageBytes),
				parquet.DataPageStatistics(false), parquet.BloomFilters(parquet.SplitBlockFilter(10, "id"), parquet.SplitBlockFilter(10, "_updated")))
			i := 0
			for b.Loop() {
				var out bytes.Buffer
				w.Reset(&out)
				if _, err := w.Write(structs); err != nil {
					b.Fatal(err)
				}
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
				if _, err := bucket.Put(ctx, fmt.Sprint("f/", i), out.Bytes(), storagelocations.Cond{}); err != nil {
					b.Fatal(err)
				}
				i++
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// BenchmarkFind looks single keys up in one file of 10,000 rows.
func BenchmarkFind(b *testing.B) {
	ctx := context.Background()
	for _, group := range []int{2048, 4096, 8192} {
		table, rows := benchRows(10_000)
		l := openLake(b, storagelocations.NewMemory(), Options{RowGroupRows: group}, table)
		mustFlush(b, l, segment(table, "ana", rows...))
		m := l.Manifest(row.Partition{Table: table.Ref, User: "ana"})
		defer m.Release()
		for _, c := range []struct {
			name string
			key  func(i int) int64
		}{
			{"out of range", func(i int) int64 { return -1 - int64(i) }},
			{"bloom miss", func(i int) int64 { return int64(i*7919%9999)*4_194_304 + 1 }},
			{"hit", func(i int) int64 { return int64(i*7919%9999) * 4_194_304 }},
		} {
			b.Run(fmt.Sprintf("group=%d/%s", group, c.name), func(b *testing.B) {
				i := 0
				for b.Loop() {
					i++
					if _, err := l.Find(ctx, m, table.Schema(), [][]byte{row.AppendKey(nil, row.IntValue(row.BigInt, c.key(i)))}); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(m.Files[0].Bytes)/10_000, "bytes/row")
			})
		}
	}
}

// BenchmarkOpen starts a Lake on 20,000 partitions of one file each.
func BenchmarkOpen(b *testing.B) {
	const partitions = 20_000
	table, rows := benchRows(1)
	bucket := storagelocations.NewMemory()
	l := openLake(b, bucket, Options{CacheBytesMax: 1, CheckpointEntries: 1}, table)
	var segs []row.Segment
	for i := range partitions {
		segs = append(segs, segment(table, row.UserID(fmt.Sprint("user", i)), rows...))
	}
	mustFlush(b, l, segs...)
	if err := l.checkpoint(context.Background(), l.table(1)); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		openLake(b, bucket, Options{}, table)
	}
}

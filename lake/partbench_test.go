package lake

import (
	"context"
	"fmt"
	"testing"

	"kalamdb/row"
	"kalamdb/storagelocations"
	"kalamdb/storagelocations/buckettest"
)

// BenchmarkPartOfLargeFile reads one of 20 columns of a file of 100 MiB in MinIO with an
// empty cache, in part and whole.
func BenchmarkPartOfLargeFile(b *testing.B) {
	bucket, err := storagelocations.NewS3(b.Context(), buckettest.StartMinIO(b))
	if err != nil {
		b.Fatal(err)
	}
	s := &row.Schema{Version: 1, Key: []row.ColumnID{1}}
	for i := range 20 {
		s.Columns = append(s.Columns, row.Column{ID: row.ColumnID(i + 1), Name: fmt.Sprint("c", i), Type: row.Type{Kind: row.BigInt}, NotNull: i == 0})
	}
	table := tableOf(9, "large", s)
	const rows = 655_000
	seg := row.Segment{Partition: row.Partition{Table: table.Ref, User: "ana"}, Rows: rows, First: 1, Last: rows}
	seg.Scan = func(yield func([]byte, *row.Row) error) error {
		r := row.Row{Schema: 1, Values: make([]row.Value, 20)}
		var key []byte
		x := uint64(1)
		for i := range int64(rows) {
			r.Seq, r.Updated = row.Seq(i+1), i
			r.Values[0] = row.IntValue(row.BigInt, i)
			for c := 1; c < 20; c++ {
				x ^= x << 13
				x ^= x >> 7
				x ^= x << 17
				r.Values[c] = row.IntValue(row.BigInt, int64(x))
			}
			key = row.AppendKey(key[:0], r.Values[0])
			if err := yield(key, &r); err != nil {
				return err
			}
		}
		return nil
	}
	mustFlush(b, openLake(b, bucket, Options{FileBytesMax: 1 << 30, RowGroupRows: 4096, CacheBytesMax: 1}, table), seg)
	db := duckDB(b)
	for _, c := range []struct {
		name string
		part int64
	}{{"part", 0}, {"whole", -1}} {
		b.Run(c.name, func(b *testing.B) {
			var gets, bytes int64
			for b.Loop() {
				l := openLake(b, bucket, Options{PartialBytesMin: c.part}, table)
				m := l.Manifest(seg.Partition)
				f := m.Files[0]
				var path string
				var release func()
				if l.Divisible(f) {
					path, _, release, err = l.Part(context.Background(), f, Part{Columns: []row.ColumnID{5}})
				} else {
					path, release, err = l.Local(context.Background(), f)
				}
				if err != nil {
					b.Fatal(err)
				}
				var sum string
				if err := db.QueryRow(fmt.Sprintf("SELECT sum(c4)::TEXT FROM '%s'", path)).Scan(&sum); err != nil {
					b.Fatal(err)
				}
				gets, bytes = gets+l.CacheStats().Gets, bytes+l.CacheStats().Fetched
				b.ReportMetric(float64(f.Bytes), "file-B")
				release()
				m.Release()
			}
			b.ReportMetric(float64(gets)/float64(b.N), "GETs/op")
			b.ReportMetric(float64(bytes)/float64(b.N), "fetched-B/op")
		})
	}
}

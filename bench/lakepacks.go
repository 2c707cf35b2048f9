package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"kalamdb/catalog"
	"kalamdb/lake"
	"kalamdb/row"
	"kalamdb/storagelocations"
)

const (
	packUsers  = 100_000
	fileUsers  = 10_000 // with a file each
	packRows   = 10     // of a user
	putsPerRow = 0.02   // at most
)

// benchPacks counts the puts of a flush of users with 10 rows each: 10,000 with a file
// for each user, and 100,000 with packs. The bucket forgets what is put.
func benchPacks(ctx context.Context, _ string, _ time.Duration, rep *report) (err error) {
	dir, err := os.MkdirTemp("", "kalamdb-bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var puts, times [2]float64
	for i, c := range []struct{ users, least int }{{fileUsers, 0}, {packUsers, lake.PackPartitionsDefault}} {
		table := &catalog.Table{
			Ref: row.TableRef{Namespace: "app", Name: "t", ID: 1}, Type: catalog.User, Path: storagelocations.DefaultUser,
			Versions: []catalog.SchemaVersion{{Schema: &row.Schema{Version: 1, Key: []row.ColumnID{1}, Columns: []row.Column{
				{ID: 1, Name: "id", Type: row.Type{Kind: row.BigInt}, NotNull: true},
				{ID: 2, Name: "body", Type: row.Type{Kind: row.Text}},
			}}}},
		}
		bucket := &putCounter{Bucket: withoutFiles{storagelocations.NewMemory()}}
		l, err := lake.Open(ctx, lake.Options{
			Meta: bucket, CacheDir: filepath.Join(dir, fmt.Sprint(i)), CacheBytesMax: 1, CompactOff: true, PackPartitionsMin: c.least,
		}, []*catalog.Table{table})
		if err != nil {
			return err
		}
		start := time.Now()
		if err := l.Flush(ctx, table.Ref, someRowsEach(table, c.users, packRows)); err != nil {
			return err
		}
		rows := float64(c.users * packRows)
		times[i], puts[i] = time.Since(start).Seconds()*1e6/rows, float64(bucket.puts.Load())/rows
	}
	what := fmt.Sprintf("PUTs per row, %d users × %d rows, packed against a file each", packUsers, packRows)
	rep.value(what, fmt.Sprintf("%.5f", puts[1]), fmt.Sprintf("%.5f", puts[0]), fmt.Sprintf("≤ %.2f", putsPerRow), puts[1] <= putsPerRow)
	rep.note("time per row without the PUTs", fmt.Sprintf("%.1f µs", times[1]), fmt.Sprintf("%.1f µs", times[0]), times[1]/times[0])
	return nil
}

// someRowsEach are segments of n rows for each user.
func someRowsEach(table *catalog.Table, users, n int) []row.Segment {
	segs := make([]row.Segment, users)
	for i := range segs {
		first := row.Seq(i*n + 1)
		segs[i] = row.Segment{
			Partition: row.Partition{Table: table.Ref, User: row.UserID(fmt.Sprintf("user-%06d@example.com", i))},
			First:     first, Last: first + row.Seq(n) - 1, Rows: n, Bytes: int64(n * len(bodyText)),
			Scan: func(yield func([]byte, *row.Row) error) error {
				for j := range n {
					seq := first + row.Seq(j)
					r := row.Row{Seq: seq, Updated: time.Now().UnixMicro(), Schema: 1, Values: []row.Value{
						row.IntValue(row.BigInt, int64(seq)), row.TextValue(bodyText)}}
					if err := yield(table.Schema().KeyOf(r.Values), &r); err != nil {
						return err
					}
				}
				return nil
			},
		}
	}
	return segs
}

// A putCounter counts the puts.
type putCounter struct {
	storagelocations.Bucket
	puts atomic.Int64
}

func (b *putCounter) Put(ctx context.Context, name string, body []byte, cond storagelocations.Cond) (storagelocations.Info, error) {
	b.puts.Add(1)
	return b.Bucket.Put(ctx, name, body, cond)
}

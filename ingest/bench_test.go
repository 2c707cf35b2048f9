package ingest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"kalamdb/row"
)

// BenchmarkCommit compares durable one-row commits with raw Pebble writing the same
// keys and values with Sync, at the same concurrency, in the same run. The number to
// look at is x_raw: the throughput as a part of raw Pebble's.
//
//	go test ./ingest -run '^$' -bench Commit -benchtime 1s
func BenchmarkCommit(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			raw := measure(b, writers, rawCommitter(b))
			own := measure(b, writers, ownCommitter(b))
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(raw.perSecond), "raw_rows/s")
			b.ReportMetric(float64(own.perSecond), "rows/s")
			b.ReportMetric(own.perSecond/raw.perSecond, "x_raw")
			b.ReportMetric(float64(raw.mean.Microseconds()), "raw_µs")
			b.ReportMetric(float64(own.mean.Microseconds()), "µs")
		})
	}
}

// BenchmarkStreams compares commits of 16 writers to rows of users, to a stream that is
// full, so that as many events go as come, and to an ephemeral one with a listener.
//
//	go test ./ingest -run '^$' -bench Streams -benchtime 200000x
func BenchmarkStreams(b *testing.B) {
	o := Options{Stream: streams(time.Second, 10_000), Listening: func(row.Partition) bool { return true }}
	for name, partition := range map[string]func(int64) row.Partition{
		"users":     benchPartition,
		"stream":    func(int64) row.Partition { return events },
		"ephemeral": func(int64) row.Partition { return cursors },
	} {
		b.Run(name, func(b *testing.B) {
			m := measure(b, 16, committer(b, o, partition))
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(m.perSecond, "rows/s")
			b.ReportMetric(float64(m.mean.Microseconds()), "µs")
		})
	}
}

type measured struct {
	perSecond float64
	mean      time.Duration
}

// measure runs b.N commits, a thousand at least, spread over the writers.
func measure(b *testing.B, writers int, commit func(n int64)) measured {
	total := int64(max(b.N, 1000))
	var next atomic.Int64
	var wg sync.WaitGroup
	started := time.Now()
	for range writers {
		wg.Go(func() {
			for n := next.Add(1); n <= total; n = next.Add(1) {
				commit(n)
			}
		})
	}
	wg.Wait()
	took := time.Since(started)
	return measured{float64(total) / took.Seconds(), took * time.Duration(writers) / time.Duration(total)}
}

var benchText = strings.Repeat("kalam ", 30) // about 200 bytes a row

func benchMutation(n int64) Mutation {
	id := row.IntValue(row.BigInt, n)
	return Mutation{Op: row.Insert, Key: row.AppendKey(nil, id), Values: []row.Value{id, row.TextValue(benchText)}}
}

// ownCommitter writes to a thousand users in turn.
func ownCommitter(b *testing.B) func(n int64) {
	return committer(b, Options{}, benchPartition)
}

func committer(b *testing.B, o Options, partition func(n int64) row.Partition) func(n int64) {
	o.Dir, o.Logger = b.TempDir(), quiet
	buf, err := Open(o)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- buf.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		<-done
		if err := buf.Close(); err != nil {
			b.Error(err)
		}
	})
	return func(n int64) {
		_, err := buf.Commit(context.Background(), Write{
			Partition: partition(n), Schema: testSchema, Fresh: true, Mutations: []Mutation{benchMutation(n)},
		})
		if err != nil {
			b.Error(err)
		}
	}
}

func benchPartition(n int64) row.Partition {
	return row.Partition{Table: testTable, User: row.UserID(fmt.Sprintf("user%03d", n%1000))}
}

// rawCommitter writes row, change and record of each commit as one Pebble batch.
func rawCommitter(b *testing.B) func(n int64) {
	o, err := Options{Dir: b.TempDir(), Logger: quiet}.withDefaults()
	if err != nil {
		b.Fatal(err)
	}
	lock, err := pebble.LockDirectory(o.Dir, o.FS)
	if err != nil {
		b.Fatal(err)
	}
	db, err := openPebble(o, lock)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
		if err := lock.Close(); err != nil {
			b.Error(err)
		}
	})
	return func(n int64) {
		m := benchMutation(n)
		prefix := partitionPrefix(benchPartition(n))
		value := row.AppendRow(nil, &row.Row{Seq: row.Seq(n), Updated: time.Now().UnixMicro(), Schema: 1, Values: m.Values})
		rec := record{last: row.Seq(n), logFirst: 1, active: generation{num: 1, first: 1, last: row.Seq(n), rows: int(n), bytes: n * 200, oldest: time.Now().UnixMicro()}}
		batch := db.NewBatch()
		must(batch.Set(append(appendGeneration(nil, prefix, 1), m.Key...), value, nil))
		must(batch.Set(appendChangeKey(nil, prefix, row.Seq(n)), append(appendChangeHead(nil, row.Insert, m.Key, false, false), value...), nil))
		must(batch.Set(appendPartitionKey(nil, prefix), rec.append(nil), nil))
		if err := batch.Commit(pebble.Sync); err != nil {
			b.Error(err)
		}
		must(batch.Close())
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"kalamdb"
	"kalamdb/auth"
	"kalamdb/catalog"
	"kalamdb/lake"
	"kalamdb/row"
	"kalamdb/storagelocations"
)

const (
	startPartitions = 100_000
	startTail       = 6000 // partitions with a second file, in entries behind the checkpoint
	startMost       = 2 * time.Second
	startMBMost     = 300
)

// benchStart starts the binary on a bucket with 100,000 partitions: a checkpoint, and log
// entries behind it. A start reads no Parquet, so there are no files.
func benchStart(ctx context.Context, bin string, _ time.Duration, rep *report) (err error) {
	if bin == "" {
		return errors.New("-bin is missing: a start is one of a process")
	}
	dir, err := os.MkdirTemp("", "kalamdb-bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	data := filepath.Join(dir, "data")
	if err := fillPartitions(ctx, data, filepath.Join(dir, "cache")); err != nil {
		return err
	}
	var times, sizes []float64
	for range 3 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		s := &server{dir: dir, addr: ln.Addr().String(), end: func() error { return nil }}
		if err := ln.Close(); err != nil {
			return err
		}
		err = s.startProcess(ctx, bin)
		size := 0.0
		if err == nil {
			size, err = peakMB(s.pid)
		}
		if err := errors.Join(err, s.end()); err != nil {
			return err
		}
		times, sizes = append(times, s.ready.Seconds()), append(sizes, size)
	}
	took, size := time.Duration(median(times)*float64(time.Second)), median(sizes)
	rep.value(fmt.Sprintf("start with %d partitions", startPartitions), millis(took), "", "≤ "+startMost.String(), took <= startMost)
	rep.value("memory at its peak", fmt.Sprintf("%.0f MB", size), "", fmt.Sprintf("≤ %d MB", startMBMost), size <= startMBMost)
	return nil
}

// fillPartitions makes a data directory whose bucket has the log of startPartitions partitions.
func fillPartitions(ctx context.Context, data, cache string) error {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	db, err := kalamdb.Open(ctx, kalamdb.Options{DataDir: data})
	if err != nil {
		return err
	}
	err = execAs(ctx, db, auth.Principal{User: "bench", Role: auth.DBA}, "CREATE NAMESPACE app; CREATE USER TABLE app.t "+writeColumns)
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	node, err := os.ReadFile(filepath.Join(data, "node"))
	if err != nil {
		return err
	}
	bucket, err := storagelocations.NewDir(filepath.Join(data, "storage"))
	if err != nil {
		return err
	}
	known, _, err := catalog.Inspect(ctx, bucket)
	if err != nil {
		return err
	}
	table, err := known.Table("app", "t")
	if err != nil {
		return err
	}
	checkpointed := make(chan struct{})
	done := sync.OnceFunc(func() { close(checkpointed) })
	l, err := lake.Open(ctx, lake.Options{
		Meta: withoutFiles{bucket}, CacheDir: cache, CacheBytesMax: 1, Node: string(node), CheckpointEntries: 1, CompactOff: true,
		Events: lake.Events{Checkpointed: func(lake.CheckpointInfo) { done() }},
	}, known.Tables())
	if err != nil {
		return err
	}
	if err := l.Flush(ctx, table.Ref, oneRowEach(table, 0, startPartitions)); err != nil {
		return err
	}
	runCtx, cancel := context.WithCancel(ctx)
	ran := make(chan error, 1)
	go func() { ran <- l.Run(runCtx) }()
	select {
	case <-checkpointed:
	case <-ctx.Done():
	}
	cancel()
	return errors.Join(<-ran, ctx.Err(), l.Flush(ctx, table.Ref, oneRowEach(table, startPartitions, startTail)))
}

// oneRowEach are segments of one row for n users, with Seqs behind the given one.
func oneRowEach(table *catalog.Table, behind row.Seq, n int) []row.Segment {
	segs := make([]row.Segment, n)
	for i := range segs {
		seq := behind + row.Seq(i) + 1
		r := row.Row{Seq: seq, Updated: time.Now().UnixMicro(), Schema: table.Schema().Version, Values: []row.Value{
			row.IntValue(row.BigInt, int64(seq)), row.TextValue("c7"), row.TextValue(bodyText), row.IntValue(row.BigInt, int64(i))}}
		segs[i] = row.Segment{
			Partition: row.Partition{Table: table.Ref, User: row.UserID(fmt.Sprintf("user-%06d@example.com", i))},
			First:     seq, Last: seq, Rows: 1, Bytes: int64(r.Bytes()),
			Scan: func(yield func([]byte, *row.Row) error) error { return yield(table.Schema().KeyOf(r.Values), &r) },
		}
	}
	return segs
}

// withoutFiles is a bucket that forgets Parquet files.
type withoutFiles struct{ storagelocations.Bucket }

func (b withoutFiles) Put(ctx context.Context, name string, body []byte, cond storagelocations.Cond) (storagelocations.Info, error) {
	if strings.HasSuffix(name, ".parquet") {
		return storagelocations.Info{Name: name, Size: int64(len(body))}, nil
	}
	return b.Bucket.Put(ctx, name, body, cond)
}

// peakMB is the largest resident memory that a process has had.
func peakMB(pid int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			return float64(kb) * 1024 / 1e6, err
		}
	}
	return 0, errors.New("/proc does not say VmHWM")
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
	"golang.org/x/sync/errgroup"

	"kalamdb"
	"kalamdb/auth"
	"kalamdb/row"
	"kalamdb/storagelocations"
)

const (
	flushRounds   = 3
	flushParallel = 4                      // files at once, as a flush has them
	settleTime    = 500 * time.Millisecond // for Pebble's own compactions after the inserts
)

// A flushedRow is a row of the table of benchFlush as the raw encoder sees it, encoded
// as the lake encodes it. Its text compresses to less than the half, as chats do.
type flushedRow struct {
	ID           int64  `parquet:"id,delta"`
	Conversation string `parquet:"conversation,optional,dict"`
	Body         string `parquet:"body,optional"`
	N            int64  `parquet:"n,optional,delta"`
	Seq          int64  `parquet:"_seq,delta"`
	Updated      int64  `parquet:"_updated,delta"`
	Deleted      bool   `parquet:"_deleted"`
}

// newRawWriter is parquet-go's writer for structs, with the options of the lake.
func newRawWriter() *parquet.GenericWriter[flushedRow] {
	return parquet.NewGenericWriter[flushedRow](nil,
		parquet.Compression(&zstd.Codec{Level: zstd.SpeedFastest}), parquet.MaxRowsPerRowGroup(2048),
		parquet.PageBufferSize(64<<10), parquet.DataPageStatistics(false), parquet.SkipPageBounds("body"),
		parquet.BloomFilters(parquet.SplitBlockFilter(10, "id"), parquet.SplitBlockFilter(10, "_updated")),
		parquet.SortingWriterConfig(parquet.SortingColumns(parquet.Ascending("id"))))
}

// benchFlush compares FLUSH TABLE, from the buffer to the committed log entry, with
// parquet-go encoding the very same rows from structs in memory and putting the files.
func benchFlush(ctx context.Context, dir string, s store, rep *report) (err error) {
	db, err := s.open(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	places := storagelocations.NewPlaces(storagelocations.Options{S3: s.s3})
	defer places.Close()
	url := s.url(filepath.Base(dir))
	if url == "" {
		url = "file://" + filepath.Join(dir, "storage")
	}
	bucket, err := places.Bucket(ctx, url)
	if err != nil {
		return err
	}
	dba := auth.Principal{User: "bench", Role: auth.DBA}
	if err := execAs(ctx, db, dba, "CREATE NAMESPACE app"); err != nil {
		return err
	}
	for _, c := range []struct{ users, rows int }{{1, 100_000}, {200, 500}} {
		f := &flushing{db: db, bucket: bucket, dba: dba, users: c.users, rows: c.rows, table: fmt.Sprintf("t%d", c.users)}
		if err := f.run(ctx); err != nil {
			return err
		}
		ours, raw := quantile(f.ours, 0.5), quantile(f.raw, 0.5)
		what := fmt.Sprintf("flush to %s, %d × %d rows, %.1f MB", s.name, c.users, c.rows, float64(f.bytes)/1e6)
		rep.ratio(what, millis(ours), millis(raw), raw.Seconds()/ours.Seconds(), 0.6, false)
	}
	return nil
}

// A flushing is the comparison for one number of users.
type flushing struct {
	db          *kalamdb.DB
	bucket      storagelocations.Bucket
	dba         auth.Principal
	table       string
	users, rows int // rows of each user

	known     map[string]bool // files of earlier rounds
	bytes     int             // of the files of a round
	ours, raw []time.Duration
}

func (f *flushing) run(ctx context.Context) error {
	f.known = map[string]bool{}
	err := execAs(ctx, f.db, f.dba, "CREATE USER TABLE app."+f.table+" (id BIGINT PRIMARY KEY, conversation TEXT, body TEXT, n BIGINT) FLUSH POLICY ROWS 10000000 INTERVAL '1 hour'")
	for round := 0; round <= flushRounds && err == nil; round++ { // the first one warms up
		err = f.round(ctx, round)
	}
	f.ours, f.raw = f.ours[min(1, len(f.ours)):], f.raw[min(1, len(f.raw)):]
	return err
}

// round flushes new rows, and encodes and puts the rows of the files once more.
func (f *flushing) round(ctx context.Context, round int) error {
	for u := range f.users {
		who := auth.Principal{User: row.UserID(fmt.Sprint("user", u)), Role: auth.User}
		if err := execAs(ctx, f.db, who, fmt.Sprintf("INSERT INTO app.%s SELECT i, 'c' || (i %% 100), 'message ' || md5(i::TEXT) || ' about ' || md5((i * 7)::TEXT), i * 7 %% 1000003 + 1 FROM range(%d, %d) r(i)",
			f.table, round*f.rows, (round+1)*f.rows)); err != nil {
			return err
		}
	}
	time.Sleep(settleTime)
	start := time.Now()
	if err := execAs(ctx, f.db, f.dba, "FLUSH TABLE app."+f.table); err != nil {
		return err
	}
	f.ours = append(f.ours, time.Since(start))

	files, err := f.fresh(ctx)
	if err != nil {
		return err
	}
	if len(files) != f.users {
		return fmt.Errorf("%d users have %d new files", f.users, len(files))
	}
	start = time.Now()
	f.bytes, err = f.putRaw(ctx, round, files)
	f.raw = append(f.raw, time.Since(start))
	return err
}

// fresh are the rows of the files that came since the last call.
func (f *flushing) fresh(ctx context.Context) ([][]flushedRow, error) {
	var names []string
	for info, err := range f.bucket.List(ctx, "users/") {
		if err != nil {
			return nil, err
		}
		if strings.Contains(info.Name, "/app/"+f.table+"/") && !f.known[info.Name] {
			f.known[info.Name] = true
			names = append(names, info.Name)
		}
	}
	slices.Sort(names)
	files := make([][]flushedRow, len(names))
	for i, name := range names {
		r, _, err := f.bucket.Get(ctx, name)
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			return nil, err
		}
		if files[i], err = parquet.Read[flushedRow](bytes.NewReader(body), int64(len(body))); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// putRaw encodes and puts the files, flushParallel at once, and says how many bytes they are.
func (f *flushing) putRaw(ctx context.Context, round int, files [][]flushedRow) (total int, err error) {
	sizes := make([]int, len(files))
	g, gctx := errgroup.WithContext(ctx)
	for first := range min(flushParallel, len(files)) {
		g.Go(func() error {
			w := newRawWriter()
			for i := first; i < len(files); i += flushParallel {
				var out bytes.Buffer
				w.Reset(&out)
				if _, err := w.Write(files[i]); err != nil {
					return err
				}
				if err := w.Close(); err != nil {
					return err
				}
				sizes[i] = out.Len()
				if _, err := f.bucket.Put(gctx, fmt.Sprintf("raw/%s/%d/%d.parquet", f.table, round, i), out.Bytes(), storagelocations.Cond{}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = g.Wait()
	for _, n := range sizes {
		total += n
	}
	return total, err
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1e3) }

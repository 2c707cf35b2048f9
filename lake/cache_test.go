package lake

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"

	"kalamdb/row"
	"kalamdb/storagelocations"
	"kalamdb/storagelocations/buckettest"
)

// fiveFiles is a Lake over a bucket with five files of one partition.
func fiveFiles(t *testing.T, b storagelocations.Bucket, o Options) (*Lake, *Manifest) {
	t.Helper()
	table := notes(3)
	w := openLake(t, b, Options{}, table)
	for i := range int64(5) {
		mustFlush(t, w, segment(table, "ana", note(i, row.Seq(i+1), "text")))
	}
	l := openLake(t, b, o, table)
	m := l.Manifest(row.Partition{Table: table.Ref, User: "ana"})
	t.Cleanup(m.Release)
	return l, m
}

func onDisk(t *testing.T, dir string) int {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

func TestCacheIsBoundedAndKeepsWhatIsHeld(t *testing.T) {
	dir := t.TempDir()
	l, m := fiveFiles(t, storagelocations.NewMemory(), Options{CacheDir: dir, CacheBytesMax: 2*2048 - 1})
	if m.Files[0].Bytes > 2048 || m.Files[0].Bytes*3 < 2*2048 {
		t.Fatalf("a file has %d bytes: the bound of this test has to be changed", m.Files[0].Bytes)
	}
	ctx := context.Background()
	var releases []func()
	for _, f := range m.Files {
		path, release, err := l.Local(ctx, f)
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`^[0-9a-f]{32}\.parquet$`).MatchString(filepath.Base(path)) {
			t.Errorf("the copy is called %s, which can be guessed", path)
		}
		releases = append(releases, release)
	}
	if n := onDisk(t, dir); n != 5 {
		t.Errorf("%d copies while five are held", n)
	}
	for _, release := range releases {
		release()
		release() // more calls do nothing
	}
	if n := onDisk(t, dir); n != 2 || l.cache.bytes > l.cache.bytesMax {
		t.Errorf("%d copies, %d bytes after all were released, bound %d", n, l.cache.bytes, l.cache.bytesMax)
	}
	// The ones used last stay.
	for i, kept := range []bool{false, false, false, true, true} {
		if _, ok := l.cache.copies[cacheKey(l.opts.Meta, m.Files[i].Name)]; ok != kept {
			t.Errorf("file %d is kept: %t, expected %t", i, ok, kept)
		}
	}
}

func TestCacheFetchesOnceForMany(t *testing.T) {
	trace := buckettest.NewTrace(storagelocations.NewMemory())
	l, m := fiveFiles(t, trace, Options{})
	trace.Log()
	trace.Fail(buckettest.Get, "users/*", 1) // one of them meets an error, the others go on
	var wg sync.WaitGroup
	var mu sync.Mutex
	failed, paths := 0, map[string]bool{}
	for range 20 {
		wg.Go(func() {
			path, release, err := l.Local(context.Background(), m.Files[0])
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed++
				return
			}
			paths[path] = true
			release()
		})
	}
	wg.Wait()
	if gets := len(trace.Log()); gets != 2 || failed != 1 || len(paths) != 1 {
		t.Errorf("%d gets, %d failures, %d copies, expected 2, 1, 1", gets, failed, len(paths))
	}
}

func TestCacheStartsEmptyAndTouchesNothingElse(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"0123456789abcdef0123456789abcdef.parquet", "0123456789abcdef0123456789abcdef.part", "precious.parquet", "0123.parquet"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("torn"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := openCache(dir, 1, 0, 0); err != nil {
		t.Fatal(err)
	}
	if n := onDisk(t, dir); n != 2 {
		t.Errorf("%d files left, expected the two that are not ours", n)
	}
}

func TestCacheLinksFilesOfThisMachine(t *testing.T) {
	root := t.TempDir()
	b, err := storagelocations.NewDir(root)
	if err != nil {
		t.Fatal(err)
	}
	l, m := fiveFiles(t, b, Options{})
	path, release, err := l.Local(context.Background(), m.Files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	original, _ := b.LocalPath(m.Files[0].Name)
	a, errA := os.Stat(original)
	c, errC := os.Stat(path)
	if errA != nil || errC != nil || !os.SameFile(a, c) {
		t.Errorf("%s is not a link to %s (%v, %v)", path, original, errA, errC)
	}
	if err := b.Delete(context.Background(), m.Files[1].Name); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.Local(context.Background(), m.Files[1]); !errors.Is(err, storagelocations.ErrNotExist) {
		t.Errorf("Local of a missing file: %v, expected ErrNotExist", err)
	}
}

// TestFlushedFilesNeedNoFetch: what this server wrote it reads from its own disk.
func TestFlushedFilesNeedNoFetch(t *testing.T) {
	trace := buckettest.NewTrace(storagelocations.NewMemory())
	table := notes(3)
	l := openLake(t, trace, Options{}, table)
	mustFlush(t, l, segment(table, "ana", note(1, 1, "milk")))
	trace.Log()
	path := local(t, l, table, "ana")
	if log := trace.Log(); len(log) != 0 {
		t.Errorf("the bucket was asked: %v", log)
	}
	copied, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(copied, body(t, trace, names(t, trace, "users/")[0])) {
		t.Errorf("the copy differs from the object (%v)", err)
	}
}

func TestCacheCountsWhatItFetches(t *testing.T) {
	l, m := fiveFiles(t, storagelocations.NewMemory(), Options{CacheBytesMax: 1})
	ctx, tally := Tallied(context.Background())
	var bytes int64
	for _, f := range m.Files[:3] {
		bytes += f.Bytes
		var releases []func()
		for range 2 {
			_, release, err := l.Local(ctx, f)
			if err != nil {
				t.Fatal(err)
			}
			releases = append(releases, release)
		}
		for _, release := range releases {
			release()
		}
	}
	if got, want := l.CacheStats(), (CacheStats{Hits: 3, Misses: 3, Gets: 3, Fetched: bytes, Evicted: 3, BytesMax: 1}); got != want {
		t.Errorf("%+v, expected %+v", got, want)
	}
	cached, linked, fetched, of := tally.Counts()
	if cached != 3 || linked != 0 || fetched != 3 || of != bytes {
		t.Errorf("the statement's tally: %d cached, %d linked, %d fetched with %d bytes", cached, linked, fetched, of)
	}
}

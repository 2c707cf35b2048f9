package buckettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"kalamdb/storagelocations"
)

// Run holds the buckets that open makes to what [storagelocations.Bucket] promises.
// Each call of open returns a bucket without objects.
func Run(t *testing.T, open func(t *testing.T) storagelocations.Bucket) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, storagelocations.Bucket)
	}{
		{"reads what was written", readsWhatWasWritten},
		{"ranges", ranges},
		{"what is missing", missing},
		{"conditions", conditions},
		{"one of many creators wins", oneCreator},
		{"no update is lost", noLostUpdate},
		{"a reader sees whole objects", wholeObjects},
		{"list", list},
		{"long list", longList},
		{"names", names},
		{"bad names", badNames},
		{"upper and lower case", cases},
		{"delete", deletes},
		{"put and delete in one folder", putAndDelete},
		{"cancelled", cancelled},
		{"local path", localPath},
		{"probe", probe},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

func put(t testing.TB, b storagelocations.Bucket, name, body string, cond storagelocations.Cond) storagelocations.Info {
	t.Helper()
	info, err := b.Put(t.Context(), name, []byte(body), cond)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func get(ctx context.Context, b storagelocations.Bucket, name string) (string, storagelocations.Info, error) {
	r, info, err := b.Get(ctx, name)
	if err != nil {
		return "", info, err
	}
	body, err := io.ReadAll(r)
	return string(body), info, errors.Join(err, r.Close())
}

func mustGet(t testing.TB, b storagelocations.Bucket, name, want string) storagelocations.Info {
	t.Helper()
	got, info, err := get(t.Context(), b, name)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Fatalf("%s holds %.40q (%d bytes), want %.40q (%d bytes)", name, got, len(got), want, len(want))
	}
	return info
}

func listed(t testing.TB, b storagelocations.Bucket, prefix string) []string {
	t.Helper()
	var all []string
	for info, err := range b.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, info.Name)
	}
	return all
}

var (
	ifNew   = storagelocations.Cond{IfNoneMatch: true}
	always  = storagelocations.Cond{}
	ifMatch = func(etag string) storagelocations.Cond { return storagelocations.Cond{IfMatch: etag} }
)

func readsWhatWasWritten(t *testing.T, b storagelocations.Bucket) {
	if b.URL() == "" {
		t.Error("no URL")
	}
	for i, body := range []string{"", "x", strings.Repeat("0123456789abcdef", 1<<16)} {
		name := fmt.Sprintf("folder/object-%d", i)
		raw := []byte(body)
		info, err := b.Put(t.Context(), name, raw, always)
		if err != nil {
			t.Fatal(err)
		}
		clear(raw) // the bucket must not keep it
		got := mustGet(t, b, name, body)
		if got.Name != name || got.Size != int64(len(body)) || got.ETag == "" || got.ETag != info.ETag || info.Size != got.Size || info.Name != name || got.Modified.IsZero() {
			t.Errorf("put says %+v, get says %+v", info, got)
		}
		for l, err := range b.List(t.Context(), name) {
			if err != nil || l.Name != name || l.Size != got.Size || l.ETag != got.ETag || l.Modified.IsZero() {
				t.Errorf("get says %+v, list says %+v, %v", got, l, err)
			}
		}
	}
	first := put(t, b, "folder/object-1", "y", always)
	if second := put(t, b, "folder/object-1", "z", always); first.ETag == second.ETag {
		t.Error("another content has the same ETag")
	}
	mustGet(t, b, "folder/object-1", "z")
}

func ranges(t *testing.T, b storagelocations.Bucket) {
	put(t, b, "r", "0123456789", always)
	for _, r := range []struct {
		off, n int64
		want   string
	}{{0, 1, "0"}, {0, 10, "0123456789"}, {3, 4, "3456"}, {9, 1, "9"}, {8, 100, "89"}, {10, 1, ""}, {100, 5, ""}} {
		body, err := b.GetRange(t.Context(), "r", r.off, r.n)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		if err := errors.Join(err, body.Close()); err != nil || string(got) != r.want {
			t.Errorf("%d bytes at %d: %q, %v; want %q", r.n, r.off, got, err, r.want)
		}
	}
	for _, r := range [][2]int64{{-1, 1}, {0, 0}, {0, -1}} {
		if _, err := b.GetRange(t.Context(), "r", r[0], r[1]); err == nil {
			t.Errorf("%d bytes at %d: no error", r[1], r[0])
		}
	}
}

func missing(t *testing.T, b storagelocations.Bucket) {
	put(t, b, "folder/object", "x", always)
	for _, name := range []string{"object", "folder", "folder/other", "other/object", "folder/object/below"} {
		if _, _, err := b.Get(t.Context(), name); !errors.Is(err, storagelocations.ErrNotExist) {
			t.Errorf("get %s: %v", name, err)
		}
		if _, err := b.GetRange(t.Context(), name, 0, 1); !errors.Is(err, storagelocations.ErrNotExist) {
			t.Errorf("get a range of %s: %v", name, err)
		}
		if err := b.Delete(t.Context(), name); err != nil {
			t.Errorf("delete %s: %v", name, err)
		}
	}
	mustGet(t, b, "folder/object", "x")
}

func conditions(t *testing.T, b storagelocations.Bucket) {
	refused := func(name string, cond storagelocations.Cond) {
		t.Helper()
		if _, err := b.Put(t.Context(), name, []byte("wrong"), cond); !errors.Is(err, storagelocations.ErrPrecondition) {
			t.Errorf("put %s if %+v: %v", name, cond, err)
		}
	}
	first := put(t, b, "c/x", "1", ifNew)
	refused("c/x", ifNew)
	mustGet(t, b, "c/x", "1")
	second := put(t, b, "c/x", "2", ifMatch(first.ETag))
	refused("c/x", ifMatch(first.ETag))
	mustGet(t, b, "c/x", "2")
	third := put(t, b, "c/x", "3", ifMatch(second.ETag))
	put(t, b, "c/x", "4", always)
	refused("c/x", ifMatch(third.ETag))
	if err := b.Delete(t.Context(), "c/x"); err != nil {
		t.Fatal(err)
	}
	refused("c/x", ifMatch(third.ETag))
	refused("nowhere/x", ifMatch(third.ETag))
	put(t, b, "c/x", "5", ifNew)
	mustGet(t, b, "c/x", "5")
	if got := listed(t, b, ""); !slices.Equal(got, []string{"c/x"}) {
		t.Errorf("a refused put left something: %v", got)
	}
}

func oneCreator(t *testing.T, b storagelocations.Bucket) {
	const racers, rounds = 8, 10
	for round := range rounds {
		name := fmt.Sprintf("race/%d", round)
		errs := make([]error, racers)
		var wg sync.WaitGroup
		for i := range racers {
			wg.Go(func() { _, errs[i] = b.Put(t.Context(), name, []byte(strconv.Itoa(i)), ifNew) })
		}
		wg.Wait()
		winner := -1
		for i, err := range errs {
			switch {
			case err == nil && winner >= 0:
				t.Fatalf("round %d: %d and %d both won", round, winner, i)
			case err == nil:
				winner = i
			case !errors.Is(err, storagelocations.ErrPrecondition):
				t.Fatal(err)
			}
		}
		mustGet(t, b, name, strconv.Itoa(winner))
	}
}

func noLostUpdate(t *testing.T, b storagelocations.Bucket) {
	const writers, each = 4, 15
	put(t, b, "counter", "0", always)
	add := func() error {
		for {
			body, info, err := get(t.Context(), b, "counter")
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(body)
			if err != nil {
				return err
			}
			_, err = b.Put(t.Context(), "counter", []byte(strconv.Itoa(n+1)), ifMatch(info.ETag))
			if !errors.Is(err, storagelocations.ErrPrecondition) {
				return err
			}
		}
	}
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				if err := add(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	mustGet(t, b, "counter", strconv.Itoa(writers*each))
}

func wholeObjects(t *testing.T, b storagelocations.Bucket) {
	const size = 300_000
	put(t, b, "whole", strings.Repeat("0", size), always)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				body, info, err := get(t.Context(), b, "whole")
				if err != nil || len(body) != size || info.Size != size || strings.Count(body, body[:1]) != size {
					t.Errorf("read %d bytes of more than one put, %v", len(body), err)
					return
				}
			}
		})
	}
	for i := range 30 {
		put(t, b, "whole", strings.Repeat(strconv.Itoa(i%10), size), always)
	}
	close(stop)
	wg.Wait()
}

func list(t *testing.T, b storagelocations.Bucket) {
	all := []string{"l/Z", "l/a-b", "l/a.b", "l/a/1", "l/a/2/x", "l/a0", "l/b/c/d", "l/é", "lx", "m/n"}
	for i := range all {
		put(t, b, all[(i*7)%len(all)], "x", always)
	}
	for _, prefix := range []string{"", "l", "l/", "l/a", "l/a/", "l/a/1", "l/a/2", "l/a/1x", "l/b/c/d", "l/b/c/d/", "n", "l/é", "../", "/", "l//"} {
		var want []string
		for _, name := range all {
			if strings.HasPrefix(name, prefix) {
				want = append(want, name)
			}
		}
		if got := listed(t, b, prefix); !slices.Equal(got, want) {
			t.Errorf("list %q: %q, want %q", prefix, got, want)
		}
	}
	n := 0
	for range b.List(t.Context(), "") {
		if n++; n == 3 {
			break
		}
	}
}

// longList is longer than a page of S3.
func longList(t *testing.T, b storagelocations.Bucket) {
	const objects, writers = 1100, 8
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := w; i < objects; i += writers {
				if _, err := b.Put(t.Context(), fmt.Sprintf("long/%04d", i), nil, always); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	got := listed(t, b, "long/")
	if len(got) != objects || !slices.IsSorted(got) {
		t.Errorf("%d objects, sorted %v; want %d", len(got), slices.IsSorted(got), objects)
	}
}

func names(t *testing.T, b storagelocations.Bucket) {
	for _, name := range []string{"a", "A b", "é/日本", "%41/%2F", "+", "a&b=c?d#e", "~$'()!*,;:@", "..a", "a..", "...", ".hidden", "x/" + strings.Repeat("y", 200), `"<>|`} {
		put(t, b, name, name, ifNew)
		mustGet(t, b, name, name)
		if got := listed(t, b, name); !slices.Contains(got, name) {
			t.Errorf("%q is listed as %q", name, got)
		}
	}
}

func badNames(t *testing.T, b storagelocations.Bucket) {
	for _, name := range []string{"", ".", "..", "/", "/a", "a/", "a//b", "a/../b", "./a", "a/.", `a\b`, "a\x00b", "a\nb", "a\x7f", "\xff", strings.Repeat("a", 1001), ".kalamdb.tmp/x", "a/.kalamdb.tmp"} {
		_, _, getErr := b.Get(t.Context(), name)
		_, rangeErr := b.GetRange(t.Context(), name, 0, 1)
		_, putErr := b.Put(t.Context(), name, []byte("x"), always)
		deleteErr := b.Delete(t.Context(), name)
		for _, err := range []error{getErr, rangeErr, putErr, deleteErr} {
			if !errors.Is(err, storagelocations.ErrName) {
				t.Errorf("%q: %v", name, err)
			}
		}
		if path, ok := b.LocalPath(name); ok {
			t.Errorf("%q is the file %s", name, path)
		}
	}
	if got := listed(t, b, ""); len(got) != 0 {
		t.Errorf("left behind: %q", got)
	}
}

func cases(t *testing.T, b storagelocations.Bucket) {
	put(t, b, "users/alice/x", "small", always)
	_, err := b.Put(t.Context(), "users/Alice/x", []byte("big"), always)
	mustGet(t, b, "users/alice/x", "small")
	if errors.Is(err, storagelocations.ErrCase) { // refused rather than mixed up
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	mustGet(t, b, "users/Alice/x", "big")
}

func deletes(t *testing.T, b storagelocations.Bucket) {
	put(t, b, "d/e/f", "1", always)
	put(t, b, "d/g", "2", always)
	if err := b.Delete(t.Context(), "d/e/f"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Get(t.Context(), "d/e/f"); !errors.Is(err, storagelocations.ErrNotExist) {
		t.Errorf("a deleted object: %v", err)
	}
	mustGet(t, b, "d/g", "2")
	put(t, b, "d/e", "a folder before", ifNew)
	if got := listed(t, b, ""); !slices.Equal(got, []string{"d/e", "d/g"}) {
		t.Errorf("left: %q", got)
	}
}

func putAndDelete(t *testing.T, b storagelocations.Bucket) {
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 25 {
				name := fmt.Sprintf("busy/folder/%d-%d", w, i)
				if _, err := b.Put(t.Context(), name, []byte(name), ifNew); err != nil {
					t.Error(err)
				}
				if got, _, err := get(t.Context(), b, name); err != nil || got != name {
					t.Errorf("%s holds %q, %v", name, got, err)
				}
				if err := b.Delete(t.Context(), name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := listed(t, b, ""); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
}

func cancelled(t *testing.T, b storagelocations.Bucket) {
	put(t, b, "a", "x", always)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, getErr := b.Get(ctx, "a")
	_, rangeErr := b.GetRange(ctx, "a", 0, 1)
	_, putErr := b.Put(ctx, "b", []byte("x"), always)
	_, ifErr := b.Put(ctx, "b", []byte("x"), ifNew)
	var listErr error
	for _, err := range b.List(ctx, "") {
		listErr = err
	}
	for i, err := range []error{getErr, rangeErr, putErr, ifErr, listErr, b.Delete(ctx, "a")} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	mustGet(t, b, "a", "x")
}

func localPath(t *testing.T, b storagelocations.Bucket) {
	put(t, b, "p/q", "first", always)
	path, ok := b.LocalPath("p/q")
	if !ok {
		return // not a folder of this machine
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Link(path, link); err != nil {
		t.Fatal(err)
	}
	put(t, b, "p/q", "second", always)
	for file, want := range map[string]string{path: "second", link: "first"} {
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, []byte(want)) {
			t.Errorf("%s holds %q, %v; want %q", file, got, err, want)
		}
	}
}

func probe(t *testing.T, b storagelocations.Bucket) {
	if err := storagelocations.Probe(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if got := listed(t, b, ""); len(got) != 0 {
		t.Errorf("the probe left %q", got)
	}
}

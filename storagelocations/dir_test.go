package storagelocations

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func mustDir(t *testing.T, root string) *dir {
	t.Helper()
	b, err := NewDir(root)
	if err != nil {
		t.Fatal(err)
	}
	return b.(*dir)
}

func TestNewDir(t *testing.T) {
	root := filepath.Join(t.TempDir(), "a", "b c")
	d := mustDir(t, root)
	if d.URL() != "file://"+root {
		t.Errorf("URL is %s", d.URL())
	}
	// What a crashed put has left goes when it is old; one under way stays.
	temp := filepath.Join(root, tempFolder)
	for name, age := range map[string]time.Duration{"old": tempAgeMax + time.Minute, "young": time.Minute} {
		file := filepath.Join(temp, name)
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		then := time.Now().Add(-age)
		if err := os.Chtimes(file, then, then); err != nil {
			t.Fatal(err)
		}
	}
	d = mustDir(t, root)
	for range d.List(t.Context(), "") {
		t.Error("a temporary file is listed")
	}
	entries, err := os.ReadDir(temp)
	if err != nil || len(entries) != 1 || entries[0].Name() != "young" {
		t.Errorf("left: %v, %v", entries, err)
	}
	if _, err := NewDir("relative"); err == nil {
		t.Error("a relative folder was taken")
	}
	file := filepath.Join(root, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewDir(file); err == nil {
		t.Error("a file was taken for a folder")
	}
}

// No put leaves anything but its object, and folders go with their last object.
func TestDirIsTidy(t *testing.T) {
	ctx := t.Context()
	d := mustDir(t, t.TempDir())
	info, err := d.Put(ctx, "a/b/c", nil, Cond{})
	if err != nil {
		t.Fatal(err)
	}
	d.Put(ctx, "a/b/c", nil, Cond{IfNoneMatch: true})
	d.Put(ctx, "a/b/c", nil, Cond{IfMatch: info.ETag})
	d.Put(ctx, "a/b/c", nil, Cond{IfMatch: info.ETag})
	d.Put(ctx, "a/b/c/d", nil, Cond{})
	d.Put(ctx, "x/y", nil, Cond{IfMatch: info.ETag})
	if err := d.Delete(ctx, "a/b/c"); err != nil {
		t.Fatal(err)
	}
	var left []string
	filepath.WalkDir(d.root, func(path string, _ os.DirEntry, err error) error {
		if rel, _ := filepath.Rel(d.root, path); rel != "." && rel != tempFolder && rel != filepath.Join(tempFolder, lockFile) {
			left = append(left, rel)
		}
		return err
	})
	if len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

// On a file system without upper and lower case, names that differ only in it are
// refused rather than mixed up.
func TestDirFoldsCase(t *testing.T) {
	ctx := t.Context()
	d := mustDir(t, t.TempDir())
	d.foldsCase = true
	if _, err := d.Put(ctx, "users/alice/x", nil, Cond{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"users/Alice/x", "Users/bob/x", "users/alice/X"} {
		if _, err := d.Put(ctx, name, nil, Cond{}); !errors.Is(err, ErrCase) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"users/alice/x", "users/alice/y", "users/bob/x"} {
		if _, err := d.Put(ctx, name, nil, Cond{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An error names the object, not the path on the server.
func TestDirErrors(t *testing.T) {
	if os.Geteuid() == 0 { // root may write anywhere, so take the folder away instead
		d := mustDir(t, t.TempDir())
		if err := os.RemoveAll(d.root); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Put(t.Context(), "a", nil, Cond{}); err == nil || strings.Contains(err.Error(), d.root) {
			t.Errorf("put into nothing: %v; want an error without the path", err)
		}
		return
	}
	d := mustDir(t, t.TempDir())
	if err := os.Chmod(filepath.Join(d.root, tempFolder), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Put(t.Context(), "a", nil, Cond{}); !errors.Is(err, os.ErrPermission) || strings.Contains(err.Error(), d.root) {
		t.Errorf("put without permission: %v; want an error without the path", err)
	}
}

// Two processes count in one folder and lose nothing.
func TestDirTwoProcesses(t *testing.T) {
	const each = 60
	if root := os.Getenv("KALAMDB_TEST_COUNT_IN"); root != "" {
		count(t, mustDir(t, root), each)
		return
	}
	d := mustDir(t, t.TempDir())
	if _, err := d.Put(t.Context(), "counter", []byte("0"), Cond{}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			cmd := exec.Command(os.Args[0], "-test.run", "^TestDirTwoProcesses$")
			cmd.Env = append(os.Environ(), "KALAMDB_TEST_COUNT_IN="+d.root)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	wg.Wait()
	got, err := os.ReadFile(d.file("counter"))
	if err != nil || string(got) != strconv.Itoa(2*each) {
		t.Errorf("the counter is %s, %v; want %d", got, err, 2*each)
	}
}

func count(t *testing.T, d *dir, times int) {
	t.Helper()
	for range times {
		for {
			f, info, err := d.open(context.Background(), "counter")
			if err != nil {
				t.Fatal(err)
			}
			etag := dirInfo("counter", info).ETag
			text := make([]byte, info.Size())
			if _, err := f.Read(text); err != nil {
				t.Fatal(err)
			}
			f.Close()
			n, err := strconv.Atoi(string(text))
			if err != nil {
				t.Fatal(err)
			}
			_, err = d.Put(context.Background(), "counter", []byte(strconv.Itoa(n+1)), Cond{IfMatch: etag})
			if err == nil {
				break
			}
			if !errors.Is(err, ErrPrecondition) {
				t.Fatal(err)
			}
		}
	}
}

func TestPlaces(t *testing.T) {
	ctx := t.Context()
	places := NewPlaces(Options{})
	defer places.Close()
	root := t.TempDir()
	one, err := places.Bucket(ctx, root+"/x")
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{"file://" + root + "/x", root + "/x/"} {
		if two, err := places.Bucket(ctx, url); err != nil || two != one {
			t.Errorf("%s is another bucket, %v", url, err)
		}
	}
	if two, err := places.Bucket(ctx, root+"/y"); err != nil || two == one {
		t.Errorf("another folder is the same bucket, %v", err)
	}
	for _, url := range []string{"", "x", "/", "file:///", "file://host/x", "gs://b/x", "s3://", "s3://a b/x", "s3://user:pw@b/x", "/a/../b", "s3://b/../c", "/a//b", "s3://b/a?x\n"} {
		if b, err := places.Bucket(ctx, url); !errors.Is(err, ErrURL) {
			t.Errorf("%q: %v, %v", url, b, err)
		}
	}
}

package ingest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"kalamdb/row"
)

// TestInspectReadsAndChangesNothing reads the folder of a buffer that crashed and compares the
// folder's bytes before and after.
func TestInspectReadsAndChangesNothing(t *testing.T) {
	dir := t.TempDir()
	b, err := Open(Options{Dir: dir, Policy: never, Logger: quiet, FreeDiskPercentMin: -1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- b.Run(ctx) }()
	for i := range int64(3) {
		if _, err := b.Commit(ctx, Write{Partition: ana, Schema: testSchema, Mutations: []Mutation{insert(i, "text")}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Inspect(dir, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("beside a running buffer: %v, expected ErrInUse", err)
	}
	cancel()
	if err := errors.Join(<-done, b.Close()); err != nil {
		t.Fatal(err)
	}
	before := bytesOf(t, dir)
	i, err := Inspect(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	held := i.Held()
	if len(held) != 1 || held[0].Partition != ana || held[0].Rows != 3 || held[0].Last < held[0].First {
		t.Fatalf("%+v", held)
	}
	n := int64(0)
	if err := held[0].Scan(func(key []byte, r *row.Row) error {
		if r.Values[0].Int() != n || string(key) != string(keyOf(n)) {
			t.Errorf("row %d is %+v", n, r)
		}
		n++
		return nil
	}); err != nil || n != 3 {
		t.Errorf("%d rows, %v", n, err)
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	if after := bytesOf(t, dir); after != before {
		t.Errorf("the folder was %s and is %s", before, after)
	}
	if _, err := Inspect(filepath.Join(dir, "missing"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
}

// bytesOf is the names and times of the files in dir.
func bytesOf(t *testing.T, dir string) (list string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Name() == "LOCK" {
			continue // taken, and empty
		}
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		list += f.Name() + " " + info.ModTime().String() + "\n"
	}
	return list
}

package lake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/storagelocations"
	"kalamdb/storagelocations/buckettest"
)

// TestSweepTakesOrphansOnly: of everything in the folders of a table only old files that this table
// wrote and no log names are deleted.
func TestSweepTakesOrphansOnly(t *testing.T) {
	ctx := context.Background()
	b := storagelocations.NewMemory()
	trace := buckettest.NewTrace(b)
	table, other := notes(3), notes(4)
	other.Ref.Name = "others"
	other.Path = "users/${user_id}/app/notes" // shares the folder
	l := openLake(t, trace, Options{}, table)
	rival := openLake(t, b, Options{}, other) // another server's table, unknown to l
	mustFlush(t, l, segment(table, "ana", note(1, 1, "kept")))
	mustFlush(t, rival, segment(other, "ana", note(1, 1, "kept too")))
	trace.Fail(buckettest.PutIf, "*log*", 1)
	if err := l.Flush(ctx, table.Ref, []row.Segment{segment(table, "ben", note(2, 2, "orphan"))}); !errors.Is(err, buckettest.ErrInjected) {
		t.Fatal(err)
	}
	for _, name := range []string{"users/ana/app/notes/mine.parquet", "users/ana/app/notes/batch-1-2-0123456789abcdef.parquet", "users/ana/app/notes/deep/batch-1-2-0123456789abcdef.parquet"} {
		if _, err := b.Put(ctx, name, []byte("not Parquet at all"), storagelocations.Cond{}); err != nil {
			t.Fatal(err)
		}
	}
	before := names(t, b, "")
	if err := l.sweep(ctx, l.table(3)); err != nil || len(names(t, b, "")) != len(before) {
		t.Fatalf("sweep of young files: %v, %d of %d objects left", err, len(names(t, b, "")), len(before))
	}
	l.opts.Grace = time.Nanosecond
	time.Sleep(time.Millisecond)
	var told []CollectInfo
	l.opts.Events.Collected = func(i CollectInfo) { told = append(told, i) }
	if err := l.sweep(ctx, l.table(3)); err != nil {
		t.Fatal(err)
	}
	gone := slices.DeleteFunc(before, func(n string) bool { return slices.Contains(names(t, b, ""), n) })
	if len(gone) != 1 || !strings.HasPrefix(gone[0], "users/ben/app/notes/batch-2-2-") {
		t.Errorf("deleted: %v, expected the orphan of ben alone", gone)
	}
	if len(told) != 1 || told[0].Files != 1 || told[0].Bytes == 0 || !told[0].Orphans {
		t.Errorf("the sweep tells %+v, expected one orphan with its bytes", told)
	}
}

// A sweep lists a folder that tables share once, and one that cannot be listed keeps it from no other.
func TestSweepListsSharedFoldersOnce(t *testing.T) {
	ctx := context.Background()
	b := storagelocations.NewMemory()
	trace := buckettest.NewTrace(b)
	table, other := notes(3), notes(4)
	other.Ref.Name = "others"
	l := openLake(t, trace, Options{}, table, other)
	trace.Fail(buckettest.PutIf, "*log*", -1)
	for _, c := range []*catalog.Table{table, other} {
		if err := l.Flush(ctx, c.Ref, []row.Segment{segment(c, "ana", note(1, 1, "orphan"))}); !errors.Is(err, buckettest.ErrInjected) {
			t.Fatal(err)
		}
	}
	if n := len(names(t, b, "users/")); n != 2 {
		t.Fatalf("%d orphans, expected 2", n)
	}
	l.opts.Grace = -time.Hour // all files are old
	trace.Clear()
	trace.Fail(buckettest.List, "packs/app/notes/*", -1)
	trace.Log()
	if err := l.sweep(ctx, l.sorted()...); !errors.Is(err, buckettest.ErrInjected) {
		t.Errorf("the sweep gives %v, expected the error of a folder that cannot be listed", err)
	}
	if left := names(t, b, "users/"); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
	lists := slices.DeleteFunc(trace.Log(), func(line string) bool { return !strings.HasPrefix(line, "list users/") })
	if len(lists) != 1 {
		t.Errorf("listed %q, expected once", lists)
	}
}

// TestRemovedFilesWaitForReaders: a file that an entry removes stays until grace has
// passed and no manifest names it.
func TestRemovedFilesWaitForReaders(t *testing.T) {
	ctx := context.Background()
	b := storagelocations.NewMemory()
	table := notes(3)
	l := openLake(t, b, Options{}, table)
	mustFlush(t, l, segment(table, "ana", note(1, 1, "old")))
	mustFlush(t, l, segment(table, "ana", note(2, 2, "new")))
	p := row.Partition{Table: table.Ref, User: "ana"}
	m := l.Manifest(p)
	tb := l.table(3)
	if _, err := l.commit(ctx, tb, []change{{User: "ana", Through: 2, Removed: []string{m.Files[0].Name}}}); err != nil {
		t.Fatal(err)
	}
	if now := l.Manifest(p); len(now.Files) != 1 || now.Through != 2 || len(m.Files) != 2 {
		t.Errorf("%d files after the removal and %d in the older manifest, expected 1 and 2", len(now.Files), len(m.Files))
	} else {
		now.Release()
	}
	if err := l.buryDead(ctx, tb); err != nil || len(names(t, b, "users/")) != 2 {
		t.Fatalf("before grace has passed: %v, %d files, expected 2", err, len(names(t, b, "users/")))
	}
	l.opts.Grace = time.Nanosecond
	time.Sleep(time.Millisecond)
	var told []CollectInfo
	l.opts.Events.Collected = func(i CollectInfo) { told = append(told, i) }
	step := func(want int) {
		t.Helper()
		if err := l.buryDead(ctx, tb); err != nil {
			t.Fatal(err)
		}
		if n := len(names(t, b, "users/")); n != want {
			t.Errorf("%d files in the bucket, expected %d", n, want)
		}
	}
	step(2) // m is pinned
	// A checkpoint carries the file that waits, so a new start deletes it too.
	l.opts.CheckpointEntries = 1
	if err := l.checkpoint(ctx, tb); err != nil {
		t.Fatal(err)
	}
	if l := openLake(t, b, Options{}, table); len(l.table(3).dead) != 1 {
		t.Errorf("%d files wait for deletion after a start, expected 1", len(l.table(3).dead))
	}
	m.Release()
	m.Release() // more calls do nothing
	step(1)
	if len(told) != 1 || told[0].Files != 1 || told[0].Bytes != m.Files[0].Bytes || told[0].Orphans {
		t.Errorf("told of %+v, expected the first file of %d bytes", told, m.Files[0].Bytes)
	}
	if len(tb.dead) != 0 || len(tb.pins) != 0 {
		t.Errorf("left over: dead %v, pins %v", tb.dead, tb.pins)
	}
}

func TestDropTableLeavesOthersAlone(t *testing.T) {
	ctx := context.Background()
	b := storagelocations.NewMemory()
	trace := buckettest.NewTrace(b)
	old, again := notes(3), notes(4) // dropped and created again: same names, another id
	l := openLake(t, trace, Options{CheckpointEntries: 1}, old)
	mustFlush(t, l, segment(old, "ana", note(1, 1, "old")), segment(old, "ben", note(1, 2, "old")))
	if err := l.checkpoint(ctx, l.table(3)); err != nil {
		t.Fatal(err)
	}
	mustFlush(t, l, segment(old, "ana", note(2, 3, "old")))
	trace.Fail(buckettest.PutIf, "*log*", 1)
	if err := l.Flush(ctx, old.Ref, []row.Segment{segment(old, "ana", note(3, 4, "orphan"))}); err == nil {
		t.Fatal("the flush did not fail")
	}
	trace.Fail(buckettest.PutIf, "*log*", 1)
	if err := l.Flush(ctx, old.Ref, []row.Segment{segment(old, "cy", note(1, 4, "orphan of one without files"))}); err == nil {
		t.Fatal("the flush did not fail")
	}
	if err := l.AddTable(ctx, again); err != nil {
		t.Fatal(err)
	}
	mustFlush(t, l, segment(again, "ana", note(1, 5, "new")))
	want := []string{names(t, b, "_kalamdb/log/app/notes/0000000000000004/")[0], l.Manifest(row.Partition{Table: again.Ref, User: "ana"}).Files[0].Name}

	// Every step of the removal may fail; it is repeated, also by a new server, until it is done.
	for n := range 100 {
		trace.Fail(buckettest.Delete, "", 1)
		if n%3 == 2 {
			trace.Clear()
		}
		if n%2 == 1 {
			l = openLake(t, trace, Options{}, old, again)
		}
		if err := l.DropTable(ctx, old, Drop{Users: []row.UserID{"cy"}}); err == nil {
			break
		} else if !errors.Is(err, buckettest.ErrInjected) {
			t.Fatal(err)
		}
	}
	trace.Clear()
	if err := l.DropTable(ctx, old, Drop{Users: []row.UserID{"cy"}}); err != nil {
		t.Errorf("dropping it again: %v", err)
	}
	if got := names(t, b, ""); !slices.Equal(got, want) {
		t.Errorf("left:\n%s\nexpected:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if err := l.Flush(ctx, old.Ref, []row.Segment{segment(old, "ana", note(9, 9, "late"))}); !errors.Is(err, ErrUnknownTable) {
		t.Errorf("a flush after the drop: %v, expected ErrUnknownTable", err)
	}
}

// TestOpenEqualsBefore: a start from the bucket alone knows what the Lake before knew, with
// and without checkpoints, and after old entries were deleted.
func TestOpenEqualsBefore(t *testing.T) {
	ctx := context.Background()
	b := storagelocations.NewMemory()
	table := notes(3)
	l := openLake(t, b, Options{CheckpointEntries: 4, LogRetention: time.Nanosecond}, table)
	for i := range 30 {
		var segs []row.Segment
		for u := range 1 + i%5 {
			seq := row.Seq(10*i + u + 1)
			segs = append(segs, segment(table, row.UserID(fmt.Sprint("user ", u)), note(int64(i), seq, "text")))
		}
		mustFlush(t, l, segs...)
		if err := l.checkpoint(ctx, l.table(3)); err != nil {
			t.Fatal(err)
		}
		if got, want := state(openLake(t, b, Options{}, table)), state(l); got != want {
			t.Fatalf("after %d rounds a new Lake knows\n%s\nexpected\n%s", i+1, got, want)
		}
	}
	if n := len(names(t, b, "_kalamdb/log/")); n > 4 {
		t.Errorf("%d log entries are left, expected at most 4", n)
	}
	if n := len(names(t, b, "_kalamdb/checkpoint/")); n != 2 {
		t.Errorf("%d checkpoints are left, expected 2", n)
	}
	if l.MaxSeq() != 10*29+5 {
		t.Errorf("MaxSeq is %d, expected %d", l.MaxSeq(), 10*29+5)
	}
}

// TestSleeperIsFencedByACheckpoint: a server that slept while its successor wrote,
// made a checkpoint and deleted the entries must not find its next number free.
func TestSleeperIsFencedByACheckpoint(t *testing.T) {
	ctx := context.Background()
	b := storagelocations.NewMemory()
	table := notes(3)
	sleeper := openLake(t, b, Options{LogRetention: time.Millisecond}, table)
	l := openLake(t, b, Options{LogRetention: time.Nanosecond, CheckpointEntries: 1}, table)
	mustFlush(t, l, segment(table, "ana", note(1, 1, "x")))
	if err := l.checkpoint(ctx, l.table(3)); err != nil {
		t.Fatal(err)
	}
	if n := len(names(t, b, "_kalamdb/log/")); n != 0 {
		t.Fatalf("%d log entries are left: the test needs none", n)
	}
	time.Sleep(2 * time.Millisecond)
	if err := sleeper.Flush(ctx, table.Ref, []row.Segment{segment(table, "ana", note(2, 2, "y"))}); !errors.Is(err, ErrFenced) {
		t.Errorf("Flush = %v, expected ErrFenced", err)
	}
}

// TestRunEndsWithItsContext also shows that Run leaves no goroutine (see TestMain).
func TestRunEndsWithItsContext(t *testing.T) {
	l := openLake(t, storagelocations.NewMemory(), Options{}, notes(3))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestStreamTablesHaveNoFiles: the lake ignores them.
func TestStreamTablesHaveNoFiles(t *testing.T) {
	table := notes(3)
	table.Type = catalog.Stream
	b := storagelocations.NewMemory()
	l := openLake(t, b, Options{}, table)
	if err := l.DropTable(context.Background(), table, Drop{}); err != nil || l.table(3) != nil {
		t.Errorf("DropTable = %v, table %v", err, l.table(3))
	}
}

package lake

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/storagelocations"
	"kalamdb/storagelocations/buckettest"
)

// everyCrash runs op again and again on a bucket that dies at its first call, at its second,
// and so on, before the call has its effect or after it, until op is through before that. Each
// time make makes a new bucket, and after looks at what is in it.
func everyCrash(t *testing.T, make func(t *testing.T) storagelocations.Bucket, op func(t *testing.T, b storagelocations.Bucket, alive func()) error, after func(t *testing.T, b storagelocations.Bucket)) {
	for name, last := range map[string]buckettest.Action{"before": buckettest.Fail, "after": buckettest.Lose} {
		const stepsMax = 1000
		for step := 1; ; step++ {
			through := false
			t.Run(fmt.Sprintf("%s %d", name, step), func(t *testing.T) {
				b := make(t)
				trace := buckettest.NewTrace(b)
				counting, calls := false, 0
				trace.Decide(func(buckettest.Op, string) buckettest.Action {
					if counting {
						calls++
					}
					switch {
					case calls < step:
						return buckettest.Pass
					case calls == step:
						return last
					}
					return buckettest.Fail
				})
				err := op(t, trace, func() { counting = true })
				if through = calls < step; through && err != nil {
					t.Fatalf("without a fault: %v", err)
				} else if !through && err != nil && !errors.Is(err, buckettest.ErrInjected) {
					t.Fatalf("a crash is taken for something else: %v", err)
				}
				after(t, b)
			})
			if through || t.Failed() {
				if step < 5 {
					t.Errorf("%d steps: the test shows nothing", step)
				}
				break
			}
			if step == stepsMax {
				t.Fatalf("not through after %d steps", step)
			}
		}
	}
}

const crashRows = 20 // of each user

// fillForCrashes gives two users rows in files of two flushes, the second with a new version of
// each odd row, and a file of a flush that failed.
func fillForCrashes(t *testing.T, c *catalog.Table) storagelocations.Bucket {
	t.Helper()
	b := storagelocations.NewMemory()
	l := openLake(t, b, Options{Node: "server"}, c)
	seq := row.Seq(0)
	for flush := range 2 {
		var segs []row.Segment
		for _, user := range []row.UserID{"ana", "ben"} {
			var rows []row.Row
			for id := int64(0); id < crashRows; id++ {
				if flush == 0 || id%2 == 1 {
					seq++
					rows = append(rows, note(id, seq, fmt.Sprintf("%s %d %d", user, id, flush)))
				}
			}
			segs = append(segs, segment(c, user, rows...))
		}
		mustFlush(t, l, segs...)
	}
	failing := buckettest.NewTrace(b)
	l = openLake(t, failing, Options{Node: "server"}, c)
	failing.Fail(buckettest.Put, "_kalamdb/log/**", -1)
	if err := l.Flush(t.Context(), c.Ref, []row.Segment{segment(c, "ana", note(100, seq+1, "never"))}); err == nil {
		t.Fatal("the flush did not fail")
	}
	return b
}

// rowsAfterCrash are how many of the rows a user has, each of them the newest version.
func rowsAfterCrash(t *testing.T, l *Lake, c *catalog.Table, user row.UserID) int {
	t.Helper()
	var ids []int64
	for id := range int64(crashRows) {
		ids = append(ids, id)
	}
	found := findAll(t, l, c, user, append(ids, 100)...)
	for id, r := range found {
		if want := fmt.Sprintf("%s %d %d", user, id, id%2); r.Values[1].Str() != want {
			t.Errorf("row %d of %s is %q, expected %q", id, user, r.Values[1].Str(), want)
		}
	}
	return len(found)
}

// Wherever FORGET is cut off, the user has all rows or none, others keep theirs, and the next
// FORGET leaves nothing of the user in the bucket.
func TestForgetCrashesAtEveryStep(t *testing.T) {
	c := notes(7)
	ana := row.Partition{Table: c.Ref, User: "ana"}
	forget := func(t *testing.T, b storagelocations.Bucket, alive func()) error {
		l := openLake(t, b, Options{Node: "server"}, c)
		alive()
		_, err := l.Forget(t.Context(), ana)
		return err
	}
	everyCrash(t, func(t *testing.T) storagelocations.Bucket { return fillForCrashes(t, c) }, forget, func(t *testing.T, b storagelocations.Bucket) {
		l := openLake(t, b, Options{Node: "server"}, c)
		if n := rowsAfterCrash(t, l, c, "ana"); n != 0 && n != crashRows {
			t.Errorf("ana has %d rows", n)
		}
		for range 2 { // the second one has nothing to do
			if err := forget(t, b, func() {}); err != nil {
				t.Fatal(err)
			}
			l = openLake(t, b, Options{Node: "server"}, c)
			if n := rowsAfterCrash(t, l, c, "ana"); n != 0 {
				t.Errorf("ana has %d rows after all", n)
			}
			if n := rowsAfterCrash(t, l, c, "ben"); n != crashRows {
				t.Errorf("ben has %d rows", n)
			}
			if left := names(t, b, "users/ana/"); len(left) > 0 {
				t.Errorf("of ana there is %v", left)
			}
		}
	})
}

// Wherever a restore is cut off, what it has made goes with its table, and the next one is whole.
func TestAdoptCrashesAtEveryStep(t *testing.T) {
	from := notes(7)
	backup := storagelocations.NewMemory()
	source := openLake(t, fillForCrashes(t, from), Options{Node: "server"}, from)
	out := &CopyOut{Lake: source, To: backup}
	var parts []CopiedPartition
	for _, user := range []row.UserID{"ana", "ben"} {
		m := source.Manifest(row.Partition{Table: from.Ref, User: user})
		p, err := out.Partition(t.Context(), from, user, m.Files, func(func([]byte, *row.Row) error) error { return nil })
		m.Release()
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, p)
	}
	table := func(id uint64) *catalog.Table {
		c := notes(id)
		c.Ref.Namespace = "restored"
		return c
	}
	first, second := table(8), table(9)
	adopt := func(t *testing.T, b storagelocations.Bucket, c *catalog.Table, alive func()) error {
		l := openLake(t, b, Options{Node: "server"}, c)
		alive()
		return l.Adopt(t.Context(), c, parts, backup, nil)
	}
	whole := func(t *testing.T, b storagelocations.Bucket, c *catalog.Table) {
		t.Helper()
		l := openLake(t, b, Options{Node: "server"}, c)
		for _, user := range []row.UserID{"ana", "ben"} {
			if n := rowsAfterCrash(t, l, c, user); n != crashRows {
				t.Errorf("%s has %d rows of %s", user, n, c.Ref)
			}
		}
	}
	everyCrash(t, func(*testing.T) storagelocations.Bucket { return storagelocations.NewMemory() },
		func(t *testing.T, b storagelocations.Bucket, alive func()) error { return adopt(t, b, first, alive) },
		func(t *testing.T, b storagelocations.Bucket) {
			if err := adopt(t, b, second, func() {}); err != nil { // beside what is left of the first
				t.Fatal(err)
			}
			whole(t, b, second)
			l := openLake(t, b, Options{Node: "server"}, first, second)
			if err := l.DropTable(context.Background(), first, Drop{}); err != nil {
				t.Fatal(err)
			}
			whole(t, b, second)
			for _, name := range names(t, b, "") {
				if strings.Contains(name, tableID(first.Ref.ID)) {
					t.Errorf("left is %s", name)
				}
			}
			l = openLake(t, b, Options{Node: "server"}, second)
			if files := names(t, b, "users/"); len(files) != len(l.referenced("")) {
				t.Errorf("files %v, expected %v", files, l.referenced(""))
			}
		})
}

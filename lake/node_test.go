package lake

import (
	"context"
	"errors"
	"testing"
	"time"

	"kalamdb/row"
	"kalamdb/storagelocations"
	"kalamdb/storagelocations/buckettest"
)

// TestLateEntryOfTheProcessBefore: an entry that a crashed process of the same data directory still
// had in flight lands after the start of the next one, which takes it for its own. The same from
// another directory, or made after the start, is a rival's.
func TestLateEntryOfTheProcessBefore(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		what   string
		node   string
		after  bool // the entry is made after the start
		fenced bool
	}{
		{"same node, before", "home", false, false},
		{"same node, after: a copy of the data directory", "home", true, true},
		{"another node", "elsewhere", false, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			trace := buckettest.NewTrace(storagelocations.NewMemory())
			late := &heldBucket{Bucket: trace}
			table := notes(3)
			crashed := openLake(t, late, Options{Node: c.node}, table)
			seg := segment(table, "ana", note(1, 1, "milk"), note(2, 2, "bread"))
			die := func() {
				late.hold = true
				if err := crashed.Flush(ctx, table.Ref, []row.Segment{seg}); !errors.Is(err, buckettest.ErrInjected) {
					t.Fatal(err)
				}
				time.Sleep(time.Millisecond)
			}
			if !c.after {
				die()
			}
			l := openLake(t, trace, Options{Node: "home"}, table)
			time.Sleep(time.Millisecond)
			if c.after {
				die()
			}
			late.put()
			err := l.Flush(ctx, table.Ref, []row.Segment{seg})
			if c.fenced {
				if !errors.Is(err, ErrFenced) {
					t.Errorf("Flush = %v, expected ErrFenced", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for f := range l.Files {
				n += int(f.Rows)
			}
			if n != 2 {
				t.Errorf("%d rows in files, expected 2", n)
			}
		})
	}
}

// A heldBucket keeps the log puts back while hold is set, and answers with an error.
type heldBucket struct {
	storagelocations.Bucket
	hold bool
	put  func()
}

func (b *heldBucket) Put(ctx context.Context, name string, body []byte, cond storagelocations.Cond) (storagelocations.Info, error) {
	if !b.hold || !cond.IfNoneMatch {
		return b.Bucket.Put(ctx, name, body, cond)
	}
	b.put = func() { b.Bucket.Put(ctx, name, body, cond) }
	return storagelocations.Info{}, buckettest.ErrInjected
}

package lake

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/storagelocations"
	"kalamdb/storagelocations/buckettest"
)

// A server that finds itself replaced during a flush stops its upkeep at once, not at
// the next look; so does one that finds it out in the upkeep, without any flush.
func TestRunEndsWhenFenced(t *testing.T) {
	for _, how := range []string{"flush", "lookout"} {
		t.Run(how, func(t *testing.T) {
			dir, other := t.TempDir(), t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				b, table := storagelocations.NewMemory(), notes(3)
				a := openLake(t, b, Options{Node: "a", CacheDir: dir}, table)
				mustFlush(t, a, segment(table, "ana", note(1, 1, "milk")))
				rival := openLake(t, b, Options{Node: "b", CacheDir: other}, table)
				if err := rival.Claim(t.Context()); err != nil {
					t.Fatal(err)
				}
				done := make(chan error, 1)
				go func() { done <- a.Run(t.Context()) }()
				synctest.Wait()
				start := time.Now()
				if how == "flush" {
					err := a.Flush(t.Context(), table.Ref, []row.Segment{segment(table, "ana", note(2, 2, "bread"))})
					if !errors.Is(err, ErrFenced) {
						t.Fatalf("Flush = %v, expected ErrFenced", err)
					}
				}
				err := <-done
				if !errors.Is(err, ErrFenced) {
					t.Errorf("Run = %v, expected ErrFenced", err)
				}
				if took := time.Since(start); took > upkeepInterval || how == "flush" && took > 0 {
					t.Errorf("Run ended after %s", took)
				}
				tb := a.table(3)
				for what, err := range map[string]error{"checkpoint": a.checkpoint(t.Context(), tb), "buryDead": a.buryDead(t.Context(), tb)} {
					if !errors.Is(err, ErrFenced) {
						t.Errorf("%s = %v, expected ErrFenced", what, err)
					}
				}
			})
		})
	}
}

// What one node committed is no watermark for the rows of another: their Seqs are
// different numbers. Only after a claim, which needs an empty buffer, they are comparable.
func TestThroughOfAnotherNode(t *testing.T) {
	ctx := context.Background()
	b, table := storagelocations.NewMemory(), notes(3)
	ana := row.Partition{Table: table.Ref, User: "ana"}
	a := openLake(t, b, Options{Node: "a"}, table)
	mustFlush(t, a, segment(table, "ana", note(1, 1, "milk")))
	rival := openLake(t, b, Options{Node: "b"}, table)
	if got := rival.Overtaken(); got[3] != "a" {
		t.Errorf("overtaken %v, expected table 3 by a", got)
	}
	if err := rival.Claim(ctx); err != nil {
		t.Fatal(err)
	}
	mustFlush(t, rival, segment(table, "ana", note(1, 2, "b"), note(2, 5, "b")))

	a = openLake(t, b, Options{Node: "a"}, table)
	if got := a.Overtaken(); len(got) != 1 || got[3] != "b" {
		t.Errorf("overtaken %v, expected table 3 by b", got)
	}
	if got := a.Through(ana); got != 0 {
		t.Errorf("Through = %d, which b committed", got)
	}
	if a.MaxSeq() != 5 {
		t.Errorf("MaxSeq = %d, expected 5: no Seq is used again", a.MaxSeq())
	}
	if err := a.Flush(ctx, table.Ref, []row.Segment{segment(table, "ana", note(9, 4, "a"))}); !errors.Is(err, ErrFenced) {
		t.Errorf("Flush = %v, expected ErrFenced", err)
	}
	if err := a.Claim(ctx); err != nil {
		t.Fatal(err)
	}
	if got := a.Through(ana); got != 5 || len(a.Overtaken()) != 0 {
		t.Errorf("after the claim: Through = %d, overtaken %v", got, a.Overtaken())
	}
	if err := rival.Flush(ctx, table.Ref, []row.Segment{segment(table, "ana", note(3, 6, "b"))}); !errors.Is(err, ErrFenced) {
		t.Errorf("Flush of the one before = %v, expected ErrFenced", err)
	}
}

// The reply to a claim may be lost; a second one finds the first.
func TestClaimReplyLost(t *testing.T) {
	ctx := context.Background()
	trace, table := buckettest.NewTrace(storagelocations.NewMemory()), notes(3)
	mustFlush(t, openLake(t, trace, Options{Node: "a"}, table), segment(table, "ana", note(1, 1, "milk")))
	l := openLake(t, trace, Options{Node: "b"}, table)
	trace.Lose("put-if", "_kalamdb/log/*", 1)
	trace.Fail("get", "_kalamdb/log/*", 1)
	if err := l.Claim(ctx); err == nil {
		t.Fatal("the claim worked although its reply and the look at it failed")
	}
	if err := l.Claim(ctx); err != nil {
		t.Fatal(err)
	}
	if n := l.table(3).last; n != 2 {
		t.Errorf("%d entries, expected 2: one claim", n)
	}
}

// A table whose AddTable failed, after the catalog had it, can be flushed all the same;
// one that was dropped cannot.
func TestFlushAddsATableOfTheCatalog(t *testing.T) {
	ctx := context.Background()
	trace, table := buckettest.NewTrace(storagelocations.NewMemory()), notes(3)
	tables := map[uint64]*catalog.Table{}
	l := openLake(t, trace, Options{Tables: func(id uint64) (*catalog.Table, bool) { c, ok := tables[id]; return c, ok }})
	seg := segment(table, "ana", note(1, 1, "milk"))
	if err := l.Flush(ctx, table.Ref, []row.Segment{seg}); !errors.Is(err, ErrUnknownTable) {
		t.Errorf("Flush = %v, expected ErrUnknownTable", err)
	}
	tables[3] = table
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	trace.Fail("list", "*", 1)
	if err := l.AddTable(cancelled, table); err == nil {
		t.Fatal("AddTable worked")
	}
	mustFlush(t, l, seg)
	if got := findAll(t, l, table, "ana", 1); len(got) != 1 {
		t.Errorf("found %v", got)
	}
	dropped := notes(4)
	dropped.Dropped = true
	tables[4] = dropped
	if err := l.Flush(ctx, dropped.Ref, []row.Segment{segment(dropped, "ana", note(1, 1, "x"))}); !errors.Is(err, ErrUnknownTable) {
		t.Errorf("Flush of a dropped table = %v, expected ErrUnknownTable", err)
	}
}

package ingest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamdb/row"
)

func TestCommitIsReadable(t *testing.T) {
	b := start(t, Options{})
	c := b.commit(ana, insert(2, "two"), insert(1, "one"))
	if c.Last != c.First+1 || c.First == 0 {
		t.Fatalf("seqs %d to %d, expected two", c.First, c.Last)
	}
	rows := b.rowsOf(ana)
	one := rows[string(keyOf(1))]
	if len(rows) != 2 || one.Values[1].Str() != "one" || one.Seq != c.Last || one.Updated != c.Time.UnixMicro() {
		t.Fatalf("rows %v after %v", rows, c)
	}
	if len(b.rowsOf(ben)) != 0 {
		t.Error("ben sees ana's rows")
	}
	if b.Durable() != c.Last {
		t.Errorf("durable %d, committed %d", b.Durable(), c.Last)
	}
	b.commit(ana, update(one, "uno"))
	b.commit(ana, remove(b.get(ana, 1)))
	if x := b.get(ana, 1); !x.Deleted || x.Values[1].Str() != "uno" {
		t.Errorf("deleted row %v, expected the values it had", x)
	}
	if s := b.Stats(); s.Rows != 2 || s.Partitions != 1 || s.Commits != 3 {
		t.Errorf("stats %+v, expected 2 rows in 1 partition by 3 commits", s)
	}
}

func TestDuplicateAndConflict(t *testing.T) {
	sink := newFakeSink()
	b := start(t, Options{Sink: sink, Policy: never})
	b.commit(ana, insert(1, "one"))
	old := b.get(ana, 1)

	var dup *DuplicateError
	if _, err := b.tryCommit(ana, insert(1, "again")); !errors.As(err, &dup) || dup.Partition != ana || string(dup.Key) != string(keyOf(1)) {
		t.Errorf("insert of a live key: %v, expected a DuplicateError with its key", err)
	}
	if _, err := b.tryCommit(ana, insert(2, "a"), insert(2, "b")); !errors.As(err, &dup) {
		t.Errorf("two inserts of one key: %v, expected DuplicateError", err)
	}
	if len(b.rowsOf(ana)) != 1 {
		t.Error("a refused commit left rows")
	}
	b.commit(ana, insert(2, "free again"))
	b.commit(ben, insert(1, "ben's own 1"))

	b.commit(ana, update(old, "newer"))
	if _, err := b.tryCommit(ana, update(old, "lost update")); !errors.Is(err, ErrConflict) {
		t.Errorf("update of an old version: %v, expected ErrConflict", err)
	}
	if _, err := b.tryCommit(ana, remove(old)); !errors.Is(err, ErrConflict) {
		t.Errorf("delete of an old version: %v, expected ErrConflict", err)
	}
	newer := b.get(ana, 1)
	b.commit(ana, remove(newer))
	if _, err := b.tryCommit(ana, update(newer, "zombie")); !errors.Is(err, ErrConflict) {
		t.Errorf("update of a deleted row: %v, expected ErrConflict", err)
	}
	b.commit(ana, insert(1, "reborn"))
	b.commit(ana, remove(b.get(ana, 1)), insert(1, "swapped in one commit"))

	// The same rules when the newest version is in the sealed generation.
	sink.before = func(row.TableRef) error { return errors.New("down") }
	if _, err := b.Flush(context.Background(), func(row.Partition) bool { return true }); err == nil {
		t.Fatal("flush into a broken sink gave no error")
	}
	if _, err := b.tryCommit(ana, insert(1, "x")); !errors.As(err, &dup) {
		t.Errorf("insert of a sealed key: %v, expected DuplicateError", err)
	}
	sealed := b.get(ana, 1)
	b.commit(ana, update(sealed, "over the sealed one"))
	if _, err := b.tryCommit(ana, update(sealed, "lost")); !errors.Is(err, ErrConflict) {
		t.Errorf("update over a newer version: %v, expected ErrConflict", err)
	}
	if got := b.get(ana, 1).Values[1].Str(); got != "over the sealed one" {
		t.Errorf("read %q", got)
	}
}

// Between look and commit the row is inserted, flushed and trimmed: the buffer knows
// nothing of it any more, and only the epoch tells.
func TestEpochAfterTrim(t *testing.T) {
	for _, tc := range []struct {
		name   string
		before bool // the partition exists when the writer looks
	}{{"known partition", true}, {"unknown partition", false}} {
		t.Run(tc.name, func(t *testing.T) {
			b := start(t, Options{Sink: newFakeSink(), Policy: never})
			if tc.before {
				b.commit(ana, insert(99, "so that it exists"))
			}
			v := b.View()
			s, err := v.Partition(t.Context(), ana)
			if err != nil {
				t.Fatal(err)
			}
			looked := Write{Partition: ana, Schema: testSchema, Epoch: s.Epoch()}
			v.Close()
			if e := b.Epoch(ana); e != looked.Epoch {
				t.Fatalf("Epoch %d, the snapshot says %d", e, looked.Epoch)
			}

			b.commit(ana, insert(1, "theirs"))
			theirs := b.get(ana, 1)
			b.flushAll()
			if len(b.rowsOf(ana)) != 0 {
				t.Fatal("the flush left rows")
			}

			looked.Mutations = []Mutation{insert(1, "mine")}
			if _, err := b.Commit(t.Context(), looked); !errors.Is(err, ErrConflict) {
				t.Errorf("insert: %v, expected ErrConflict", err)
			}
			looked.Mutations = []Mutation{update(theirs, "mine")}
			if _, err := b.Commit(t.Context(), looked); !errors.Is(err, ErrConflict) {
				t.Errorf("update: %v, expected ErrConflict", err)
			}
			looked.Mutations, looked.Fresh = []Mutation{insert(b.NextID(), "generated key")}, true
			if _, err := b.Commit(t.Context(), looked); err != nil {
				t.Errorf("insert of a generated key: %v", err)
			}
			b.commit(ana, update(theirs, "after a new look")) // newest is in the lake, epoch is current
			if got := b.get(ana, 1); got.Values[1].Str() != "after a new look" {
				t.Errorf("read %v", got)
			}
		})
	}
}

func TestCommitIsAllOrNothing(t *testing.T) {
	b := start(t, Options{})
	b.commit(ben, insert(1, "there"))
	_, err := b.Commit(t.Context(),
		Write{Partition: ana, Schema: testSchema, Mutations: []Mutation{insert(1, "a"), insert(2, "b")}},
		Write{Partition: ben, Schema: testSchema, Mutations: []Mutation{insert(2, "c"), insert(1, "dup")}})
	if dup := (*DuplicateError)(nil); !errors.As(err, &dup) {
		t.Fatalf("%v, expected DuplicateError", err)
	}
	if n := len(b.rowsOf(ana)) + len(b.rowsOf(ben)); n != 1 {
		t.Errorf("%d rows, expected the one from before", n)
	}
	c, err := b.Commit(t.Context(),
		Write{Partition: ana, Schema: testSchema, Mutations: []Mutation{insert(1, "a")}},
		Write{Partition: ben, Schema: testSchema, Mutations: []Mutation{insert(2, "b")}})
	if err != nil || c.Last != c.First+1 {
		t.Fatalf("%v, %v", c, err)
	}
	if s := b.Stats(); s.Partitions != 2 || s.Rows != 3 {
		t.Errorf("stats %+v, expected 2 partitions and 3 rows", s)
	}
}

func TestLimits(t *testing.T) {
	b := start(t, Options{RowBytesMax: 1000, BatchRowsMax: 3, BatchBytesMax: 2000})
	long := strings.Repeat("x", 800)
	for name, tc := range map[string]struct {
		limit string
		m     []Mutation
	}{
		"row":         {"row_bytes_max", []Mutation{insert(1, long+long)}},
		"rows":        {"batch_rows_max", []Mutation{insert(1, ""), insert(2, ""), insert(3, ""), insert(4, "")}},
		"batch bytes": {"batch_bytes_max", []Mutation{insert(1, long), insert(2, long), insert(3, long)}},
	} {
		if _, err := b.tryCommit(ana, tc.m...); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), tc.limit) {
			t.Errorf("%s: %v, expected ErrTooLarge naming %s", name, err, tc.limit)
		}
	}
	if len(b.rowsOf(ana)) != 0 {
		t.Error("a refused commit left rows")
	}
}

func TestInvalidMutations(t *testing.T) {
	b := start(t, Options{})
	b.commit(ana, insert(1, "one"))
	live := b.get(ana, 1)
	dead := live.Clone()
	dead.Deleted = true
	for name, m := range map[string]Mutation{
		"no key":              {Op: row.Insert, Values: values(1, "")},
		"no op":               {Key: keyOf(1), Values: values(1, "")},
		"insert with old":     {Op: row.Insert, Key: keyOf(2), Values: values(2, ""), Old: &live},
		"update without old":  {Op: row.Update, Key: keyOf(1), Values: values(1, "")},
		"delete without old":  {Op: row.Delete, Key: keyOf(1)},
		"update of a deleted": update(dead, "x"),
		"other old seq":       {Op: row.Update, Key: keyOf(1), Values: values(1, ""), Old: &live, OldSeq: live.Seq + 1},
		"too few values":      {Op: row.Insert, Key: keyOf(2), Values: values(2, "")[:1]},
	} {
		if _, err := b.tryCommit(ana, m); !errors.Is(err, ErrMutation) {
			t.Errorf("%s: %v, expected ErrMutation", name, err)
		}
	}
	if c, err := b.Commit(t.Context()); err != nil || c.Last != b.Durable() {
		t.Errorf("empty commit: %v, %v", c, err)
	}
}

// One hundred callers add one to the same row: none is lost.
func TestNoLostUpdate(t *testing.T) {
	b := start(t, Options{})
	b.commit(ana, Mutation{Op: row.Insert, Key: keyOf(1), Values: []row.Value{row.IntValue(row.BigInt, 1), row.TextValue("")}})
	const callers = 100
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for {
				v := b.View()
				s, err := v.Partition(context.Background(), ana)
				if err != nil {
					t.Error(err)
					return
				}
				old, _, err := s.Get(keyOf(1))
				epoch := s.Epoch()
				v.Close()
				if err != nil {
					t.Error(err)
					return
				}
				_, err = b.Commit(context.Background(), Write{Partition: ana, Schema: testSchema, Epoch: epoch,
					Mutations: []Mutation{update(old, old.Values[1].Str()+"+")}})
				if err == nil {
					return
				}
				if !errors.Is(err, ErrConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got := len(b.get(ana, 1).Values[1].Str()); got != callers {
		t.Errorf("%d additions of %d", got, callers)
	}
}

// Many writers, some of whom insert the same keys: every key is there once, and
// exactly one insert of it was acknowledged.
func TestConcurrentInserts(t *testing.T) {
	b := start(t, Options{})
	const writers, keys = 8, 200
	acked := make([]map[int64]row.Seq, writers)
	var wg sync.WaitGroup
	for w := range writers {
		acked[w] = map[int64]row.Seq{}
		wg.Go(func() {
			for k := range int64(keys) {
				id := (k*7 + int64(w)*13) % keys
				c, err := b.Commit(context.Background(), Write{Partition: ana, Schema: testSchema, Mutations: []Mutation{insert(id, fmt.Sprint(w))}})
				if dup := (*DuplicateError)(nil); err == nil {
					acked[w][id] = c.First
				} else if !errors.As(err, &dup) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	rows, seqs, total := b.rowsOf(ana), map[row.Seq]bool{}, 0
	for w := range acked {
		total += len(acked[w])
		for id, seq := range acked[w] {
			if r := rows[string(keyOf(id))]; r.Seq != seq || r.Values[1].Str() != fmt.Sprint(w) {
				t.Errorf("writer %d was told seq %d of key %d, the buffer has %d by %s", w, seq, id, r.Seq, r.Values[1].Str())
			}
			if seqs[seq] {
				t.Errorf("seq %d twice", seq)
			}
			seqs[seq] = true
		}
	}
	if total != keys || len(rows) != keys {
		t.Errorf("%d inserts acknowledged, %d rows, expected %d", total, len(rows), keys)
	}
	if s := b.Stats(); s.Rows != keys {
		t.Errorf("%d rows counted, expected %d", s.Rows, keys)
	}
}

func TestClosedAndWithdrawn(t *testing.T) {
	b := start(t, Options{})
	b.stop()
	if _, err := b.Commit(t.Context(), Write{Partition: ana, Schema: testSchema, Mutations: []Mutation{insert(1, "")}}); !errors.Is(err, ErrClosed) {
		t.Errorf("%v, expected ErrClosed", err)
	}

	// Nobody works yet: the commit stays queued until its context ends, and is not
	// carried out later.
	o := Options{Dir: "d", FS: vfs.NewMem(), Logger: quiet}
	q, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := q.Commit(ctx, Write{Partition: ana, Schema: testSchema, Mutations: []Mutation{insert(1, "")}}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, expected Canceled", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	if _, err := q.Commit(t.Context(), Write{Partition: ana, Schema: testSchema, Mutations: []Mutation{insert(2, "")}}); err != nil {
		t.Error(err)
	}
	cancel()
	if err := errors.Join(<-done, q.Close()); err != nil {
		t.Fatal(err)
	}
	again := start(t, o)
	if rows := again.rowsOf(ana); len(rows) != 1 {
		t.Errorf("%d rows, expected the one that was not withdrawn", len(rows))
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	o := Options{Dir: t.TempDir(), FS: vfs.Default}
	start(t, o)
	o.FS, o.Logger = nil, quiet // the disk
	if b, err := Open(o); !errors.Is(err, ErrInUse) {
		if err == nil {
			err = b.Close()
		}
		t.Errorf("%v, expected ErrInUse", err)
	}
}

// Between a view and a commit with Seen a key may come and go again: only Seen notices.
func TestSeen(t *testing.T) {
	b := start(t, Options{})
	b.commit(ana, insert(1, "one"))
	seen := b.Durable()
	epoch := b.Epoch(ana)
	b.commit(ana, insert(2, "two"))
	b.commit(ana, remove(b.get(ana, 2)))
	write := Write{Partition: ana, Schema: testSchema, Epoch: epoch, Seen: seen, Mutations: []Mutation{insert(2, "again")}}
	if _, err := b.Commit(context.Background(), write); !errors.Is(err, ErrConflict) {
		t.Errorf("insert over a newer tombstone: %v, expected ErrConflict", err)
	}
	write.Mutations = []Mutation{insert(3, "three")}
	if _, err := b.Commit(context.Background(), write); err != nil {
		t.Errorf("insert of a key nobody touched: %v", err)
	}
	write.Mutations = []Mutation{insert(2, "again")}
	write.Seen = 0
	if _, err := b.Commit(context.Background(), write); err != nil {
		t.Errorf("insert over a tombstone without Seen: %v", err)
	}
}

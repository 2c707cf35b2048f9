package ingest

import (
	"context"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamdb/row"
)

// A server that may follow a lost one starts far above all that was flushed, and tells
// clients with a cursor of the lost one that they missed something.
func TestFirstSeq(t *testing.T) {
	for _, c := range []struct {
		what  string
		floor row.Seq
		known bool
		first row.Seq
	}{
		{"a new database", 0, false, 1},
		{"tables, but nothing flushed", 0, true, seqJump + 1},
		{"tables with files", 7, true, seqJump + 8},
		{"files only", 7, false, seqJump + 8},
	} {
		t.Run(c.what, func(t *testing.T) {
			o := Options{FS: vfs.NewMem(), Sink: newFakeSink(), Policy: never, SeqFloor: c.floor, Known: c.known}
			b := start(t, o)
			if got := b.commit(ana, insert(1, "one")); got.First != c.first {
				t.Errorf("first seq %d, expected %d", got.First, c.first)
			}
			gap := (*GapError)(nil)
			for _, after := range []row.Seq{0, 3, c.floor, c.first - 2} {
				err := b.Changes(t.Context(), ana, after, row.SeqMax, func(*row.Batch) error { return nil })
				if lost := after < c.first-1 && c.first > 1; errors.As(err, &gap) != lost && after < c.first {
					t.Errorf("after %d: %v, expected a gap: %t", after, err, lost)
				}
			}
			if err := b.Changes(t.Context(), ana, c.first-1, row.SeqMax, func(*row.Batch) error { return nil }); err != nil {
				t.Error(err)
			}
			b.stop()
			o.Known = true
			if got := start(t, o).commit(ana, insert(2, "two")); got.First != c.first+1 {
				t.Errorf("after a restart seq %d, expected %d", got.First, c.first+1)
			}
		})
	}
}

func TestSeqsAreUsedUp(t *testing.T) {
	o := Options{Dir: "buffer", FS: vfs.NewMem(), Logger: quiet, SeqFloor: row.SeqMax - seqJump}
	if b, err := Open(o); err == nil {
		t.Error("opened", b.Close())
	}
}

// Rows of a table another server has gone on with keep the buffer from opening, and
// nothing in it changes; without such rows the table is claimed and Seqs start anew.
func TestOvertaken(t *testing.T) {
	disk, sink := vfs.NewMem(), newFakeSink()
	o := Options{Dir: "buffer", FS: disk, Sink: sink, Policy: never, Logger: quiet}
	b := start(t, o)
	b.commit(ana, insert(1, "one"))
	b.commit(ben, insert(1, "uno"), insert(2, "due"))
	b.stop()
	claims := sink.claims

	sink.overtaken = map[uint64]string{testTable.ID: "other"}
	sink.through[ana] = 99 // of the other node: a Sink that counts it loses rows
	if b, err := Open(o); !errors.Is(err, ErrFenced) || sink.claims != claims {
		t.Fatalf("%v, %v, %d claims, expected ErrFenced and none", b, err, sink.claims-claims)
	} else {
		t.Log(err)
	}
	sink.overtaken, sink.through[ana] = map[uint64]string{8: "other"}, 0 // a table without rows here
	b = start(t, o)
	if len(b.rowsOf(ana)) != 1 || len(b.rowsOf(ben)) != 2 {
		t.Errorf("rows %v and %v", b.rowsOf(ana), b.rowsOf(ben))
	}
	if sink.claims != claims+1 {
		t.Errorf("%d claims, expected 1", sink.claims-claims)
	}
	gap := (*GapError)(nil)
	if err := b.Changes(t.Context(), ana, 3, row.SeqMax, func(*row.Batch) error { return nil }); !errors.As(err, &gap) {
		t.Errorf("%v: the other's changes are not in the log", err)
	}
	if c := b.commit(ana, insert(3, "three")); c.First < seqJump {
		t.Errorf("seq %d, the other server may have given it out", c.First)
	}
}

func TestClaimFails(t *testing.T) {
	sink := newFakeSink()
	sink.claimErr = errors.New("no answer")
	o := Options{Dir: "buffer", FS: vfs.NewMem(), Sink: sink, Logger: quiet}
	if _, err := Open(o); !errors.Is(err, sink.claimErr) {
		t.Fatalf("%v, expected the error of the claim", err)
	}
	sink.claimErr = nil
	start(t, o) // nothing holds the folder
}

// Who learns of another server before a flush does can say so.
func TestFence(t *testing.T) {
	b := start(t, Options{})
	b.Fence(errors.New("not that"))
	b.Fence(nil)
	b.commit(ana, insert(1, "one"))
	b.Fence(errors.Join(errors.New("lake stopped"), ErrFenced))
	if _, err := b.tryCommit(ana, insert(2, "two")); !errors.Is(err, ErrFenced) {
		t.Errorf("%v, expected ErrFenced", err)
	}
}

// A fenced flush ends all commits; reading and the rows stay.
func TestFencedFlushEndsCommits(t *testing.T) {
	sink := newFakeSink()
	b := start(t, Options{Sink: sink, Policy: never})
	b.commit(ana, insert(1, "one"))
	other := row.Partition{Table: row.TableRef{Namespace: "app", Name: "other", ID: 9}, User: "ana"}
	sink.before = func(row.TableRef) error { return errors.New("bucket is down") }
	if _, err := b.Flush(context.Background(), func(row.Partition) bool { return true }); err == nil {
		t.Fatal("flushed")
	}
	b.commit(ana, insert(2, "two")) // a failed flush is no reason
	sink.before = func(row.TableRef) error { return errors.Join(errors.New("app.notes"), ErrFenced) }
	if _, err := b.Flush(context.Background(), func(row.Partition) bool { return true }); !errors.Is(err, ErrFenced) {
		t.Fatalf("%v, expected ErrFenced", err)
	}
	for _, p := range []row.Partition{ana, ben, other} {
		if _, err := b.tryCommit(p, insert(7, "refused")); !errors.Is(err, ErrFenced) {
			t.Errorf("commit to %s: %v, expected ErrFenced", p, err)
		}
	}
	if len(b.rowsOf(ana)) != 2 || b.Stats().Rows != 2 {
		t.Errorf("rows %v, stats %+v", b.rowsOf(ana), b.Stats())
	}
}

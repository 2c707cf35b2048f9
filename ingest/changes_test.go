package ingest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamdb/row"
)

// replayed are the changes of p as one line each, one commit per paragraph.
func (r *running) replayed(p row.Partition, after, through row.Seq) string {
	r.t.Helper()
	var s strings.Builder
	err := r.Changes(r.t.Context(), p, after, through, func(b *row.Batch) error {
		if b.Partition != p {
			r.t.Errorf("a change of %s", b.Partition)
		}
		for _, c := range b.Changes {
			fmt.Fprintf(&s, "%s %s", c.Op, c.New.Values[1].Str())
			if c.Old != nil {
				fmt.Fprintf(&s, " was %s", c.Old.Values[1].Str())
			}
			s.WriteString(";")
		}
		s.WriteString("\n")
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return s.String()
}

func TestChangesOverFlushAndRestart(t *testing.T) {
	o := Options{FS: vfs.NewMem(), Sink: newFakeSink(), Policy: never}
	b := start(t, o)
	first := b.commit(ana, insert(1, "one"), insert(2, "two"))
	b.commit(ben, insert(1, "ben's"))
	b.commit(ana, update(b.get(ana, 1), "uno"))
	b.flushAll()
	b.stop()
	b = start(t, o)
	two, _ := o.Sink.(*fakeSink).get(ana, keyOf(2))
	last := b.commit(ana, remove(two), insert(3, "three"))

	all := "INSERT one;INSERT two;\nUPDATE uno was one;\nDELETE two was two;INSERT three;\n"
	if got := b.replayed(ana, 0, row.SeqMax); got != all {
		t.Errorf("replayed\n%sexpected\n%s", got, all)
	}
	if got := b.replayed(ana, first.First, last.First); got != "INSERT two;\nUPDATE uno was one;\nDELETE two was two;\n" {
		t.Errorf("replayed from inside a commit\n%s", got)
	}
	if got := b.replayed(ana, last.Last, row.SeqMax); got != "" {
		t.Errorf("replayed after the last\n%s", got)
	}
	stop := errors.New("enough")
	if err := b.Changes(t.Context(), ana, 0, row.SeqMax, func(*row.Batch) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v, expected the error of yield", err)
	}
}

func TestChangeLogTrimmedByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{FS: vfs.NewMem(), Sink: newFakeSink(), Policy: never, ChangeLogAge: time.Hour}
		b := start(t, o)
		old := b.commit(ana, insert(1, "old"))
		b.commit(ben, insert(1, "only old"))
		time.Sleep(40 * time.Minute)
		kept := b.commit(ana, insert(2, "kept"))
		time.Sleep(10 * time.Minute)
		if got := b.replayed(ana, 0, row.SeqMax); got != "INSERT old;\nINSERT kept;\n" {
			t.Errorf("after 50 minutes %q", got)
		}
		time.Sleep(15 * time.Minute)
		check := func() {
			t.Helper()
			var gap *GapError
			if err := b.Changes(t.Context(), ana, 0, row.SeqMax, nil); !errors.As(err, &gap) || gap.Oldest != old.Last {
				t.Errorf("after 65 minutes: %v, expected a gap up to %d", err, old.Last)
			}
			if got := b.replayed(ana, old.Last, row.SeqMax); got != "INSERT kept;\n" {
				t.Errorf("after the trimmed one %q", got)
			}
			if err := b.Changes(t.Context(), ben, 0, row.SeqMax, nil); !errors.As(err, &gap) {
				t.Errorf("ben: %v, expected a gap", err)
			}
		}
		check()
		if len(b.rowsOf(ana)) != 2 {
			t.Error("trimming the log took rows")
		}
		b.stop()
		b = start(t, o)
		check()

		// A partition without rows and changes is forgotten, what matters about it is not.
		epoch := b.Epoch(ben)
		b.flushAll()
		time.Sleep(2 * time.Hour)
		if s := b.Stats(); s.Partitions != 0 || s.ChangeLogBytes != 0 {
			t.Errorf("stats %+v, expected nothing", s)
		}
		if b.Epoch(ben) == epoch {
			t.Error("the epoch is that of before the flush")
		}
		var gap *GapError
		if err := b.Changes(t.Context(), ana, old.Last, row.SeqMax, nil); !errors.As(err, &gap) || gap.Oldest < kept.Last {
			t.Errorf("forgotten partition: %v, expected a gap up to %d at least", err, kept.Last)
		}
		v := b.View()
		s, err := v.Partition(t.Context(), ana)
		if err != nil || s.Epoch() != b.Epoch(ana) {
			t.Errorf("epochs of a forgotten partition differ: %v", err)
		}
		if err := b.Changes(t.Context(), ana, s.Seq(), row.SeqMax, nil); err != nil {
			t.Errorf("after the Seq of a new snapshot: %v", err)
		}
		v.Close()
		again := b.commit(ana, insert(3, "again"))
		if got := b.replayed(ana, again.First-1, row.SeqMax); got != "INSERT again;\n" {
			t.Errorf("after coming back %q", got)
		}
		b.stop()
	})
}

func TestChangeLogTrimmedBySize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 200_000
		b := start(t, Options{ChangeLogBytesMax: limit})
		defer b.stop()
		text := strings.Repeat("x", 1000)
		sent := map[row.Partition][]row.Seq{}
		for i := range int64(600) { // ana many at once, by a range delete; ben one by one
			p := ana
			if i%10 == 0 {
				p = ben
			}
			sent[p] = append(sent[p], b.commit(p, insert(i, text)).Last)
			if i%50 == 0 {
				time.Sleep(2 * houseEvery)
			}
		}
		time.Sleep(2 * houseEvery)
		if s := b.Stats(); s.ChangeLogBytes > limit || s.ChangeLogBytes < limit/2 {
			t.Errorf("the log holds %d bytes, the limit is %d", s.ChangeLogBytes, limit)
		}
		for _, p := range []row.Partition{ana, ben} {
			var gap *GapError
			if err := b.Changes(t.Context(), p, 0, row.SeqMax, nil); !errors.As(err, &gap) {
				t.Fatalf("%s: %v, expected a gap", p, err)
			}
			var kept []row.Seq
			if err := b.Changes(t.Context(), p, gap.Oldest, row.SeqMax, func(c *row.Batch) error {
				kept = append(kept, c.First())
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			gone, found := slices.BinarySearch(sent[p], gap.Oldest)
			if !found || len(kept) == 0 || !slices.Equal(kept, sent[p][gone+1:]) {
				t.Errorf("%s: %d changes kept after %d, expected %d", p, len(kept), gap.Oldest, len(sent[p])-gone-1)
			}
			if len(b.rowsOf(p)) == 0 {
				t.Errorf("%s: trimming the log took rows", p)
			}
		}
	})
}

// The changes of a dropped table are gone at once: they do not push those of others out.
func TestDropTableShrinksTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 64 << 10
		o := Options{FS: vfs.NewMem(), Sink: newFakeSink(), Policy: never, ChangeLogBytesMax: limit}
		b := start(t, o)
		other := row.Partition{Table: row.TableRef{Namespace: "app", Name: "other", ID: 8}, User: "ana"}
		text := strings.Repeat("x", 400)
		b.commit(ana, insert(1, "first"))
		own := b.Stats().ChangeLogBytes
		for i := range int64(100) { // about 45 kB
			b.commit(other, insert(i, text))
		}
		size := b.commit(ana, insert(2, "second"))
		if s := b.Stats(); s.ChangeLogBytes < limit/2 {
			t.Fatalf("the log holds %d bytes, too few for this test", s.ChangeLogBytes)
		}
		if err := b.DropTable(t.Context(), other.Table.ID); err != nil {
			t.Fatal(err)
		}
		if got := b.Stats().ChangeLogBytes; got < 2*own || got > 2*own+10 {
			t.Errorf("the log holds %d bytes, expected about %d", got, 2*own)
		}
		if err := b.DropTable(t.Context(), other.Table.ID); err != nil { // again: nothing to take off
			t.Fatal(err)
		}
		b.stop()
		b = start(t, o)
		if got := b.Stats().ChangeLogBytes; got < 2*own || got > 2*own+10 {
			t.Errorf("after a restart the log holds %d bytes, expected about %d", got, 2*own)
		}
		for i := range int64(100) {
			b.commit(ben, insert(i, text))
		}
		time.Sleep(5 * houseEvery)
		if got := b.replayed(ana, 0, size.Last); got != "INSERT first;\nINSERT second;\n" {
			t.Errorf("replayed %q", got)
		}
	})
}

func FuzzDecodeChange(f *testing.F) {
	r := row.Row{Seq: 5, Updated: 6, Schema: 1, Values: values(1, "x")}
	head := appendChangeHead(nil, row.Update, keyOf(1), true, true)
	f.Add(row.AppendRow(row.AppendRow(head, &r), &r))
	f.Add(row.AppendRow(appendChangeHead(nil, row.Insert, keyOf(1), false, false), &r))
	f.Add([]byte{1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, continues, err := decodeChange(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%v is not ErrCorrupt", err)
			}
			return
		}
		again := row.AppendRow(appendChangeHead(nil, c.Op, c.Key, c.Old != nil, continues), &c.New)
		if c.Old != nil {
			again = row.AppendRow(again, c.Old)
		}
		d, _, err := decodeChange(again)
		if err != nil || !sameChange(c, d) {
			t.Fatalf("%+v became %+v, %v", c, d, err)
		}
	})
}

func FuzzRecords(f *testing.F) {
	rec := record{epoch: 1, last: 9, logFirst: 2, logTrimmed: 1, active: generation{num: 2, first: 8, last: 9, rows: 2, bytes: 99, oldest: 5}}
	f.Add(rec.append(nil))
	rec.sealed = generation{num: 1, first: 1, last: 7, rows: 3, bytes: 100, oldest: 4}
	f.Add(rec.append(nil))
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, b []byte) {
		var rec, again record
		if err := rec.read(b); err == nil {
			if err := again.read(rec.append(nil)); err != nil || again != rec {
				t.Fatalf("%+v became %+v, %v", rec, again, err)
			}
		}
		var n node
		var f floors
		var m mark
		for _, err := range []error{n.read(b), f.read(b), m.read(markKey(1), b)} {
			if err != nil && !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%v is not ErrCorrupt", err)
			}
		}
	})
}

package ingest

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamdb/row"
)

// A cursor is what a client keeps: a Seq and the reign it was seen in.
type clientCursor struct {
	reign string
	seq   row.Seq
}

func (r *running) cursor() clientCursor { return clientCursor{r.Reign(), r.Durable()} }

func (r *running) expectCursor(what string, c clientCursor, mine bool) {
	r.t.Helper()
	foreign := (*ForeignError)(nil)
	if err := r.CheckCursor(c.reign, c.seq); errors.As(err, &foreign) == mine {
		r.t.Errorf("%s, %s at %d: %v, expected a cursor of this history: %t", what, c.reign, c.seq, err, mine)
	}
}

// A folder that was copied while its server ran, and one that was set back, refuse the
// cursors of what happened without them, and take those of what they have.
func TestCursorsOfACopy(t *testing.T) {
	disk := vfs.NewCrashableMem()
	b := start(t, Options{FS: disk})
	first := b.cursor()
	b.commit(ana, insert(1, "both have it"))
	shared := b.cursor()
	copied := disk.CrashClone(vfs.CrashCloneCfg{})
	b.commit(ana, insert(2, "only the original has it"))
	alone := b.cursor()
	b.expectCursor("the original goes on", alone, true)
	b.expectCursor("beyond the newest change", clientCursor{alone.reign, alone.seq + 1}, false)
	b.expectCursor("beyond it, without a reign", clientCursor{"", alone.seq + 1}, false)
	b.stop()

	c := start(t, Options{FS: copied})
	c.commit(ana, insert(9, "only the copy has it"), insert(10, "and this"), insert(11, "and more"))
	for what, ok := range map[clientCursor]bool{first: true, shared: true, alone: false, {"", alone.seq}: true, {"0123456789abcdef", shared.seq}: false} {
		c.expectCursor("in the copy", what, ok)
	}
	ofCopy := c.cursor()
	c.stop()

	b = start(t, Options{FS: disk}) // the original, a clean restart
	for what, ok := range map[clientCursor]bool{first: true, shared: true, alone: true, {alone.reign, alone.seq + 1}: false, ofCopy: false} {
		b.expectCursor("in the original", what, ok)
	}
	idle := b.cursor()
	b.stop()
	b = start(t, Options{FS: disk})
	b.expectCursor("nothing was written since", idle, true)
	b.expectCursor("the Seq of the start", b.cursor(), true)
}

// After a crash the Seqs go on above all that may have been given out. What a client
// has seen was durable, so its cursor stays good.
func TestCursorOverACrash(t *testing.T) {
	disk := vfs.NewCrashableMem()
	b := start(t, Options{FS: disk})
	b.commit(ana, insert(1, "one"))
	seen := b.cursor()
	o := Options{FS: disk.CrashClone(vfs.CrashCloneCfg{})}
	for range 2 {
		b = start(t, o)
		b.expectCursor("after the crash", seen, true)
		b.expectCursor("a Seq between that was never given out", clientCursor{seen.reign, seen.seq + 1}, false)
		begun := b.cursor()
		b.stop()
		b = start(t, o)
		b.expectCursor("the Seq of a start", begun, true)
		b.stop()
	}
}

// Only the newest starts are remembered.
func TestReignsAreBounded(t *testing.T) {
	o := Options{FS: vfs.NewMem()}
	b := start(t, o)
	b.commit(ana, insert(1, "one"))
	old := b.cursor()
	b.reigns = append(make([]reign, reignsMax), b.reigns...) // as after so many starts
	batch := b.db.NewBatch()
	defer batch.Close()
	if err := b.beginReign(batch, b.node.last, b.node.last); err != nil || len(b.reigns) != reignsMax {
		t.Fatalf("%d reigns, %v", len(b.reigns), err)
	}
	b.expectCursor("the one before", old, true)
	if err := batch.Commit(nil); err != nil {
		t.Fatal(err)
	}
	b.stop()
	b = start(t, o)
	if len(b.reigns) != reignsMax {
		t.Errorf("%d reigns after a restart", len(b.reigns))
	}
	b.expectCursor("after a restart", old, true)
}

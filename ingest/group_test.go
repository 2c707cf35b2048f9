package ingest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamdb/row"
)

// Commits that share a group see each other although Pebble does not show them yet,
// and nothing of one that was refused.
func TestOneGroup(t *testing.T) {
	b, err := Open(Options{Dir: "d", FS: vfs.NewMem(), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		c   Commit
		err error
	}
	var answers []chan answer
	queue := func(writes ...Write) { // nobody works yet: all of them wait, in this order
		a := make(chan answer, 1)
		answers = append(answers, a)
		go func() {
			c, err := b.Commit(context.Background(), writes...)
			a <- answer{c, err}
		}()
		for b.queued() < len(answers) {
			time.Sleep(time.Millisecond)
		}
	}
	write := func(p row.Partition, m ...Mutation) Write {
		return Write{Partition: p, Schema: testSchema, Mutations: m}
	}
	queue(write(ana, insert(50, "makes ana known")))
	queue(write(ana, insert(1, "refused"), insert(2, "refused"), insert(1, "twice")))
	queue(write(ana, insert(2, "first")))
	queue(write(ben, insert(1, "refused too")), write(ana, insert(2, "twice")))
	queue(write(ana, insert(1, "second")), write(ana, insert(0, "below the largest key")))
	queue(write(ben, insert(1, "third")))

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	last := row.Seq(0)
	for i, a := range answers {
		got := <-a
		if dup := (*DuplicateError)(nil); i == 1 || i == 3 {
			if !errors.As(got.err, &dup) {
				t.Errorf("commit %d: %v, expected a DuplicateError", i, got.err)
			}
			continue
		}
		if got.err != nil || got.c.First != last+1 {
			t.Errorf("commit %d: %+v, %v, expected the Seq after %d", i, got.c, got.err, last)
		}
		last = got.c.Last
	}
	r := &running{Buffer: b, t: t}
	if n := len(r.rowsOf(ana)); n != 4 || r.get(ana, 1).Values[1].Str() != "second" {
		t.Errorf("ana has %d rows, expected 4", n)
	}
	if r.get(ben, 1).Values[1].Str() != "third" || r.Stats().Rows != 5 || r.Stats().Partitions != 2 {
		t.Errorf("ben has %v, stats %+v", r.rowsOf(ben), r.Stats())
	}
	cancel()
	if err := errors.Join(<-done, b.Close()); err != nil {
		t.Error(err)
	}
}

func (b *Buffer) queued() int {
	b.queue.mu.Lock()
	defer b.queue.mu.Unlock()
	return len(b.queue.waiting)
}

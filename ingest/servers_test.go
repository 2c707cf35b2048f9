package ingest_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamdb/catalog"
	"kalamdb/ingest"
	"kalamdb/lake"
	"kalamdb/row"
	"kalamdb/storagelocations"
)

var (
	schema = &row.Schema{Version: 1, Key: []row.ColumnID{1}, Columns: []row.Column{
		{ID: 1, Name: "id", Type: row.Type{Kind: row.BigInt}, NotNull: true}, {ID: 2, Name: "who", Type: row.Type{Kind: row.Text}},
	}}
	notes = &catalog.Table{Ref: row.TableRef{Namespace: "app", Name: "notes", ID: 7}, Type: catalog.User,
		Path: storagelocations.DefaultUser, Versions: []catalog.SchemaVersion{{Schema: schema}}}
	ana = row.Partition{Table: notes.Ref, User: "ana"}
)

// A server is a buffer and a lake as the database wires them.
type server struct {
	*ingest.Buffer
	t    *testing.T
	lake *lake.Lake
	ran  chan error // what Lake.Run returned
	stop func()
}

// A home is a server's data directory: its name in the log, and its buffer.
type home struct {
	node   string
	disk   vfs.FS
	bucket storagelocations.Bucket
}

func (h home) try(t *testing.T) (*server, error) {
	t.Helper()
	l, err := lake.Open(t.Context(), lake.Options{Meta: h.bucket, CacheDir: t.TempDir(), Node: h.node, CheckpointEntries: 1}, []*catalog.Table{notes})
	if err != nil {
		t.Fatal(err)
	}
	b, err := ingest.Open(ingest.Options{
		Dir: "buffer", FS: h.disk, Sink: l, SeqFloor: l.MaxSeq(), MemTableBytes: 1 << 20, CacheBytes: 1 << 20,
		Policy: func(row.TableRef) (int, time.Duration) { return 0, 0 }, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	ctx, cancel := context.WithCancel(context.Background())
	s := &server{Buffer: b, t: t, lake: l, ran: make(chan error, 1)}
	go func() { s.ran <- l.Run(ctx) }()
	if err != nil {
		cancel()
		<-s.ran
		return nil, err
	}
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, b.Close()); err != nil {
			t.Error(err)
		}
		<-s.ran
	})
	t.Cleanup(s.stop)
	return s, nil
}

func (h home) open(t *testing.T) *server {
	t.Helper()
	s, err := h.try(t)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *server) insert(ids ...int64) (row.Seq, error) {
	w := ingest.Write{Partition: ana, Schema: schema, Epoch: s.Epoch(ana)}
	for _, id := range ids {
		v := []row.Value{row.IntValue(row.BigInt, id), row.TextValue("x")}
		w.Mutations = append(w.Mutations, ingest.Mutation{Op: row.Insert, Key: schema.KeyOf(v), Values: v})
	}
	c, err := s.Commit(context.Background(), w)
	return c.Last, err
}

func (s *server) mustInsert(ids ...int64) row.Seq {
	s.t.Helper()
	seq, err := s.insert(ids...)
	if err != nil {
		s.t.Fatal(err)
	}
	return seq
}

func (s *server) flush() error {
	_, err := s.Flush(context.Background(), func(row.Partition) bool { return true })
	return err
}

func (s *server) mustFlush() {
	s.t.Helper()
	if err := s.flush(); err != nil {
		s.t.Fatal(err)
	}
}

// count is the number of rows in buffer and lake.
func (s *server) count() int {
	s.t.Helper()
	n := s.Stats().Rows
	for f := range s.lake.Files {
		n += int(f.Rows)
	}
	return n
}

// Two servers on one bucket: the one that is replaced says so, at once and after a
// restart, and keeps what it has acknowledged.
func TestTwoServers(t *testing.T) {
	bucket := storagelocations.NewMemory()
	first, second := home{"a", vfs.NewMem(), bucket}, home{"b", vfs.NewMem(), bucket}
	a := first.open(t)
	a.mustInsert(1, 2)
	a.mustFlush()
	last := a.mustInsert(3, 4)

	b := second.open(t)
	if got := b.mustInsert(11, 12, 13); got < last+1<<32 {
		t.Errorf("seq %d, the first server is at %d", got, last)
	}
	b.mustFlush()

	if err := a.flush(); !errors.Is(err, ingest.ErrFenced) {
		t.Errorf("flush: %v, expected ErrFenced", err)
	}
	if _, err := a.insert(5); !errors.Is(err, ingest.ErrFenced) {
		t.Errorf("insert: %v, expected ErrFenced", err)
	}
	select {
	case err := <-a.ran:
		if a.ran <- nil; !errors.Is(err, lake.ErrFenced) {
			t.Errorf("Run = %v, expected ErrFenced", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("Run goes on")
	}
	a.stop()

	for range 2 { // refusing changes nothing
		if s, err := first.try(t); !errors.Is(err, ingest.ErrFenced) || !strings.Contains(err.Error(), "2 acknowledged rows of app.notes") {
			t.Fatalf("%v, %v, expected ErrFenced with 2 rows", s, err)
		}
	}
	b.stop()
	b = second.open(t)
	if n := b.count(); n != 5 {
		t.Errorf("%d rows, expected 5: 2 of the first and 3 of the second", n)
	}
	b.mustInsert(14)
	b.mustFlush()
}

// A server started by mistake, which committed no rows, costs the other one a restart.
func TestStartedByMistake(t *testing.T) {
	bucket := storagelocations.NewMemory()
	first := home{"a", vfs.NewMem(), bucket}
	a := first.open(t)
	a.mustInsert(1, 2)
	a.mustFlush()
	a.mustInsert(3, 4)
	home{"b", vfs.NewMem(), bucket}.open(t).stop()
	if err := a.flush(); !errors.Is(err, ingest.ErrFenced) {
		t.Errorf("flush: %v, expected ErrFenced", err)
	}
	a.stop()
	a = first.open(t)
	a.mustFlush()
	if n := a.count(); n != 4 {
		t.Errorf("%d rows, expected 4", n)
	}
}

// Back and forth, each server stopped with nothing left to flush: all rows are there,
// no Seq comes twice, and a cursor from before is told that it missed something.
func TestTakingTurns(t *testing.T) {
	bucket := storagelocations.NewMemory()
	homes := []home{{"a", vfs.NewMem(), bucket}, {"b", vfs.NewMem(), bucket}}
	var last row.Seq
	for i := range 6 {
		s := homes[i%2].open(t)
		if last > 0 {
			gap := (*ingest.GapError)(nil)
			if err := s.Changes(t.Context(), ana, last, row.SeqMax, func(*row.Batch) error { return nil }); !errors.As(err, &gap) {
				t.Errorf("turn %d: changes after %d: %v, expected a gap", i, last, err)
			}
		}
		seq := s.mustInsert(int64(10*i), int64(10*i+1))
		if seq <= last {
			t.Errorf("turn %d: seq %d after %d", i, seq, last)
		}
		last = seq
		// Its own crash, with rows that are not flushed, is no reason to refuse.
		s.stop()
		s = homes[i%2].open(t)
		s.mustFlush()
		if n := s.count(); n != 2*(i+1) {
			t.Errorf("turn %d: %d rows, expected %d", i, n, 2*(i+1))
		}
		s.stop()
	}
}

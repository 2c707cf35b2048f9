package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"kalamdb/row"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	quiet      = slog.New(slog.NewTextHandler(io.Discard, nil))
	testTable  = row.TableRef{Namespace: "app", Name: "notes", ID: 7}
	testSchema = &row.Schema{
		Version: 1,
		Columns: []row.Column{
			{ID: 1, Name: "id", Type: row.Type{Kind: row.BigInt}, NotNull: true},
			{ID: 2, Name: "text", Type: row.Type{Kind: row.Text}},
		},
		Key: []row.ColumnID{1},
	}
	ana = row.Partition{Table: testTable, User: "ana"}
	ben = row.Partition{Table: testTable, User: "ben"}
)

func values(id int64, text string) []row.Value {
	return []row.Value{row.IntValue(row.BigInt, id), row.TextValue(text)}
}

func keyOf(id int64) []byte { return row.AppendKey(nil, row.IntValue(row.BigInt, id)) }

func insert(id int64, text string) Mutation {
	return Mutation{Op: row.Insert, Key: keyOf(id), Values: values(id, text)}
}

func update(old row.Row, text string) Mutation {
	id := old.Values[0].Int()
	return Mutation{Op: row.Update, Key: keyOf(id), Values: values(id, text), Old: &old}
}

func remove(old row.Row) Mutation {
	return Mutation{Op: row.Delete, Key: keyOf(old.Values[0].Int()), Old: &old}
}

// never is a policy under which nothing is due by itself.
func never(row.TableRef) (int, time.Duration) { return 0, 0 }

// A fakeSink stores what it is given as the lake would, and says whether anything came
// twice or out of order.
type fakeSink struct {
	mu      sync.Mutex
	rows    map[row.Partition]map[string]row.Row
	seqs    map[row.Seq]bool
	through map[row.Partition]row.Seq
	calls   int
	doubled []row.Seq

	overtaken map[uint64]string
	claims    int
	claimErr  error

	poison atomic.Value                   // row.UserID: the rows of this user cannot be stored
	before func(table row.TableRef) error // may fail the flush before it has an effect
	after  func(table row.TableRef) error // or after it
}

func newFakeSink() *fakeSink {
	return &fakeSink{rows: map[row.Partition]map[string]row.Row{}, seqs: map[row.Seq]bool{}, through: map[row.Partition]row.Seq{}}
}

func (s *fakeSink) Flush(ctx context.Context, table row.TableRef, segs []row.Segment) error {
	if s.before != nil {
		if err := s.before(table); err != nil {
			return err
		}
	}
	staged := make([]map[string]row.Row, len(segs))
	for i, seg := range segs {
		if s.poison.Load() == seg.Partition.User {
			return fmt.Errorf("round: %w", &row.PartitionError{Partition: seg.Partition, Err: errors.New("poisoned")})
		}
		staged[i] = map[string]row.Row{}
		last := ""
		err := seg.Scan(func(key []byte, r *row.Row) error {
			if string(key) <= last {
				return fmt.Errorf("key %x after %x", key, last)
			}
			if r.Seq < seg.First || r.Seq > seg.Last {
				return fmt.Errorf("seq %d outside of %d to %d", r.Seq, seg.First, seg.Last)
			}
			last = string(key)
			staged[i][last] = r.Clone()
			return nil
		})
		if err != nil {
			return err
		}
		if len(staged[i]) != seg.Rows {
			return fmt.Errorf("%s: %d rows, %d announced", seg.Partition, len(staged[i]), seg.Rows)
		}
	}
	s.mu.Lock()
	for i, seg := range segs {
		if s.rows[seg.Partition] == nil {
			s.rows[seg.Partition] = map[string]row.Row{}
		}
		for _, r := range staged[i] {
			if s.seqs[r.Seq] {
				s.doubled = append(s.doubled, r.Seq)
			}
			s.seqs[r.Seq] = true
		}
		maps.Copy(s.rows[seg.Partition], staged[i])
		s.through[seg.Partition] = max(s.through[seg.Partition], seg.Last)
	}
	s.calls++
	s.mu.Unlock()
	if s.after != nil {
		return s.after(table)
	}
	return nil
}

func (s *fakeSink) Through(p row.Partition) row.Seq {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.through[p]
}

func (s *fakeSink) Overtaken() map[uint64]string { return s.overtaken }

func (s *fakeSink) Claim(context.Context) error {
	s.claims++
	return s.claimErr
}

func (s *fakeSink) get(p row.Partition, key []byte) (row.Row, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.rows[p][string(key)]
	return r, ok
}

func (s *fakeSink) stored(p row.Partition) map[string]row.Row {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.rows[p])
}

func (s *fakeSink) flushes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

func (s *fakeSink) partitions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.rows)
}

func (s *fakeSink) twice() []row.Seq {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.doubled)
}

func (s *fakeSink) max() row.Seq {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := row.Seq(0)
	for _, seq := range s.through {
		last = max(last, seq)
	}
	return last
}

// A running is an open buffer whose Run works.
type running struct {
	*Buffer
	t    testing.TB
	stop func()
}

func start(t testing.TB, o Options) *running {
	t.Helper()
	if o.Dir == "" {
		o.Dir = "buffer"
	}
	if o.FS == nil {
		o.FS = vfs.NewMem()
	}
	if o.Logger == nil {
		o.Logger = quiet
	}
	o.MemTableBytes, o.CacheBytes = 1<<20, 1<<20
	b, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	r := &running{Buffer: b, t: t}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, b.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

func (r *running) commit(p row.Partition, m ...Mutation) Commit {
	r.t.Helper()
	c, err := r.tryCommit(p, m...)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *running) tryCommit(p row.Partition, m ...Mutation) (Commit, error) {
	return r.Commit(context.Background(), Write{Partition: p, Schema: testSchema, Epoch: r.Epoch(p), Mutations: m})
}

// rowsOf are the newest versions in the buffer, by key.
func (r *running) rowsOf(p row.Partition) map[string]row.Row {
	r.t.Helper()
	v := r.View()
	defer v.Close()
	s, err := v.Partition(context.Background(), p)
	if err != nil {
		r.t.Fatal(err)
	}
	rows, last := map[string]row.Row{}, ""
	err = s.Scan(nil, nil, func(key []byte, x *row.Row) bool {
		if string(key) <= last {
			r.t.Errorf("key %x after %x", key, last)
		}
		last = string(key)
		rows[last] = x.Clone()
		return true
	})
	if err != nil {
		r.t.Fatal(err)
	}
	if len(rows) > s.Len() {
		r.t.Errorf("%d rows, Len is %d", len(rows), s.Len())
	}
	for k, want := range rows {
		got, ok, err := s.Get([]byte(k))
		if err != nil || !ok || got.Seq != want.Seq {
			r.t.Errorf("Get(%x) = %v, %t, %v; Scan has seq %d", k, got, ok, err, want.Seq)
		}
	}
	return rows
}

func (r *running) get(p row.Partition, id int64) row.Row {
	r.t.Helper()
	x, ok := r.rowsOf(p)[string(keyOf(id))]
	if !ok {
		r.t.Fatalf("row %d of %s is not in the buffer", id, p)
	}
	return x
}

func (r *running) flushAll() FlushStats {
	r.t.Helper()
	stats, err := r.Flush(context.Background(), func(row.Partition) bool { return true })
	if err != nil {
		r.t.Fatal(err)
	}
	return stats
}

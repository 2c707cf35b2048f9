package live

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kalamdb/row"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The tables of the tests have a key and a number.
var testSchema = &row.Schema{
	Version: 1,
	Columns: []row.Column{
		{ID: 1, Name: "id", Type: row.Type{Kind: row.Text}, NotNull: true},
		{ID: 2, Name: "n", Type: row.Type{Kind: row.BigInt}},
	},
	Key: []row.ColumnID{1},
}

func testPartition(user row.UserID) row.Partition {
	return row.Partition{Table: row.TableRef{Namespace: "app", Name: "notes", ID: 7}, User: user}
}

func testSpec(id string, user row.UserID, f Filter) Spec {
	return Spec{ID: id, Selection: &Selection{
		Partition: testPartition(user), Filter: f,
		Shape: &Shape{Schema: testSchema, Columns: []int{0, 1}, Names: []string{"id", "n"}},
	}}
}

// settle waits until what was committed has been handed out.
func settle(h *Hub) {
	h.quick.running.Wait()
	h.slow.running.Wait()
}

// A where is a filter in Go.
type where func(n int64) bool

func (w where) Fast() bool { return true }

func (w where) Match(ctx context.Context, rows []*row.Row) ([]bool, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	matched := make([]bool, len(rows))
	for i, r := range rows {
		matched[i] = w(r.Values[1].Int())
	}
	return matched, nil
}

func (w where) matches(n int64) bool { return w == nil || w(n) }

// asFilter makes the nil where the nil Filter.
func (w where) asFilter() Filter {
	if w == nil {
		return nil
	}
	return w
}

// A store is the simplest thing that commits, keeps a change log and tells a hub. A
// commit is in the log before the hub hears of it, at times long before.
type store struct {
	hub     *Hub
	publish chan *row.Batch // nil: the hub hears at once

	mu     sync.Mutex // guards the rest, and the order of publish
	seq    row.Seq
	all    map[row.UserID][]*row.Batch        // everything, for the judge
	kept   map[row.UserID]row.Seq             // the change log has what is after it
	state  map[row.UserID]map[string]*row.Row // live rows
	broken error                              // what Changes answers
}

func newStore(hub *Hub) *store {
	return &store{
		hub: hub, all: map[row.UserID][]*row.Batch{}, kept: map[row.UserID]row.Seq{},
		state: map[row.UserID]map[string]*row.Row{},
	}
}

// A write puts n under the key, or deletes the key if n is gone.
type write struct {
	key string
	n   int64
}

const gone = -1 << 62

// commit makes one batch of the writes. Deleting nothing is left out.
func (s *store) commit(user row.UserID, writes ...write) *row.Batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state[user] == nil {
		s.state[user] = map[string]*row.Row{}
	}
	b := &row.Batch{Partition: testPartition(user)}
	for _, w := range writes {
		old := s.state[user][w.key]
		c := row.Change{Op: row.Insert, Key: []byte(w.key), Old: old}
		switch {
		case w.n == gone && old == nil:
			continue
		case w.n == gone:
			c.Op = row.Delete
			c.New = row.Row{Deleted: true, Values: old.Values}
		default:
			if old != nil {
				c.Op = row.Update
			}
			c.New = row.Row{Values: []row.Value{row.TextValue(w.key), row.IntValue(row.BigInt, w.n)}}
		}
		s.seq++
		c.New.Seq, c.New.Updated, c.New.Schema = s.seq, int64(s.seq)*1000, 1
		if c.Op == row.Delete {
			delete(s.state[user], w.key)
		} else {
			r := c.New
			s.state[user][w.key] = &r
		}
		b.Changes = append(b.Changes, c)
	}
	if len(b.Changes) == 0 {
		return nil
	}
	s.all[user] = append(s.all[user], b)
	if s.publish == nil {
		s.hub.Committed(b)
		settle(s.hub)
	} else {
		s.publish <- b
	}
	return b
}

type gapError struct{ after row.Seq }

func (e *gapError) Error() string { return fmt.Sprintf("changes after %d are gone", e.after) }

// Changes reads the change log, with the first batch cut at after.
func (s *store) Changes(ctx context.Context, p row.Partition, after, through row.Seq, yield func(*row.Batch) error) error {
	s.mu.Lock()
	all, kept, broken := s.all[p.User], s.kept[p.User], s.broken
	s.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case broken != nil:
		return broken
	case after < kept:
		return &gapError{after}
	}
	for _, b := range all {
		if b.Last() <= after {
			continue
		}
		if b.First() > through {
			break
		}
		cut := *b
		cut.Changes = slices.DeleteFunc(slices.Clone(b.Changes), func(c row.Change) bool { return c.New.Seq <= after })
		if err := yield(&cut); err != nil {
			return err
		}
	}
	return nil
}

// endsCommit says whether nothing that w lets through follows the change of the given Seq
// in its commit.
func (s *store) endsCommit(user row.UserID, seq row.Seq, w where) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, _ := slices.BinarySearchFunc(s.all[user], seq, func(b *row.Batch, seq row.Seq) int { return cmp.Compare(b.Last(), seq) })
	for _, c := range s.all[user][at].Changes {
		if c.New.Seq > seq && (c.Op != row.Delete && w.matches(c.New.Values[1].Int()) || c.Old != nil && w.matches(c.Old.Values[1].Int())) {
			return false
		}
	}
	return true
}

// trim forgets what the change log has of a partition so far.
func (s *store) trim(user row.UserID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept[user] = s.seq
}

// now is the Seq of everything committed.
func (s *store) now() row.Seq {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seq
}

// snapshot are the live rows that match, and up to which Seq.
func (s *store) snapshot(user row.UserID, w where) (map[string]int64, row.Seq) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := map[string]int64{}
	for key, r := range s.state[user] {
		if n := r.Values[1].Int(); w.matches(n) {
			rows[key] = n
		}
	}
	return rows, s.seq
}

func subscribe(t testing.TB, h *Hub, spec Spec) *Subscription {
	t.Helper()
	s, err := h.Subscribe(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// describe writes an event as "OP key=n,key=n<old @seq".
func describe(e *Event) string {
	text := e.Op.String()
	if e.LeftFilter {
		text += " left"
	}
	for i, r := range e.Rows {
		text += fmt.Sprintf(" %s=%d", r.Values[0].Str(), r.Values[1].Int())
		if i < len(e.Old) {
			text += fmt.Sprintf("<%d", e.Old[i].Values[1].Int())
		}
		if r.Deleted {
			text += "(deleted)"
		}
	}
	return text + fmt.Sprintf(" @%d", e.Seq)
}

// expect takes as many events as there are texts and compares them.
func expect(t testing.TB, s *Subscription, texts ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, want := range texts {
		e, err := s.Next(ctx)
		if err != nil {
			t.Fatalf("expected %s, got %v", want, err)
		}
		if got := describe(e); got != want {
			t.Errorf("got %s, expected %s", got, want)
		}
	}
}

// idle makes sure that there is nothing to take now.
func idle(t testing.TB, s *Subscription) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if e, err := s.Next(ctx); err != context.Canceled {
		t.Fatalf("expected nothing, got %v, %v", e, err)
	}
}

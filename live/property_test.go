package live

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kalamdb/row"
)

// last is the number of the row that ends a run; every filter of the test lets it through.
const last = -1

var wheres = []where{
	nil,
	func(n int64) bool { return n == last || n%2 == 0 },
	func(n int64) bool { return n == last || n < 3 },
	func(n int64) bool { return n == last },
}

// sluggish is a where that counts as slow.
type sluggish struct{ where }

func (sluggish) Fast() bool { return false }

// A client folds what it receives and remembers what it held after every event.
type client struct {
	store     *store
	spec      Spec
	where     where
	mode      int // how it begins: 0 snapshot and Start, 1 snapshot and Replay, 2 Replay from the first change
	slow      float64
	impatient float64
	rand      *rand.Rand
	seen      *seen

	rows  map[string]int64
	trace []held
}

type held struct {
	seq  row.Seq
	rows map[string]int64
}

// seen counts what the runs came across, so that the test knows that it tested it.
type seen struct{ lagged, caughtUp, gaps, left, moved, cancelled atomic.Int64 }

// run follows the partition until the last row, coming back whenever it is ended.
func (c *client) run(ctx context.Context) error {
	fresh, after := c.mode != 2, row.Seq(0)
	c.rows = map[string]int64{}
	for {
		seq, err := c.follow(ctx, fresh, after)
		var ended *EndedError
		var gap *gapError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &gap):
			c.seen.gaps.Add(1)
			fresh = true
		case errors.As(err, &ended) && ended.Reason == ReasonLagged:
			c.seen.lagged.Add(1)
			if ended.Seq < seq {
				return fmt.Errorf("ended at %d, but delivered up to %d", ended.Seq, seq)
			}
			fresh, after = false, ended.Seq
		default:
			return err
		}
	}
}

// follow is one subscription, until the last row or its end.
func (c *client) follow(ctx context.Context, fresh bool, after row.Seq) (row.Seq, error) {
	s, err := c.store.hub.Subscribe(c.spec)
	if err != nil {
		return after, err
	}
	defer s.Close()
	c.dawdle()
	through := c.store.now()
	if fresh {
		c.rows, after = c.store.snapshot(c.spec.Partition.User, c.where)
		c.trace = append(c.trace, held{after, maps.Clone(c.rows)})
		through = after
	}
	if fresh && c.mode == 0 {
		s.Start(after)
	} else if err := s.Replay(ctx, c.store, after, through); err != nil {
		return after, err
	}
	c.dawdle()
	_, done := c.rows["last"]
	for !done {
		e, err := c.next(ctx, s)
		if err != nil {
			return after, err
		}
		if done, err = c.apply(e, after); err != nil {
			return after, err
		}
		after = e.Seq
		c.dawdle()
	}
	return after, nil
}

// next is Next, given up and called again at random.
func (c *client) next(ctx context.Context, s *Subscription) (*Event, error) {
	for {
		short, cancel := ctx, func() {}
		if c.rand.Float64() < c.impatient {
			short, cancel = context.WithTimeout(ctx, time.Duration(c.rand.IntN(50))*time.Microsecond)
		}
		e, err := s.Next(short)
		cancel()
		s.mu.Lock()
		if s.lost > 0 && s.phase == live && s.ended == nil {
			c.seen.caughtUp.Add(1)
		}
		s.mu.Unlock()
		if err != nil && short.Err() != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
			c.seen.cancelled.Add(1)
			continue
		}
		return e, err
	}
}

// apply folds an event. It is strict: nothing may come twice or be missing.
func (c *client) apply(e *Event, after row.Seq) (done bool, err error) {
	if e.Seq <= after || len(e.Rows) == 0 {
		return false, fmt.Errorf("%s after %d", describe(e), after)
	}
	if max := c.spec.BatchRows; max > 0 && len(e.Rows) > max {
		return false, fmt.Errorf("%d rows in one event, at most %d were asked for", len(e.Rows), max)
	}
	for i, r := range e.Rows {
		key, n := r.Values[0].Str(), r.Values[1].Int()
		held, have := c.rows[key]
		if r.Seq <= after || r.Seq > e.Seq || r.Deleted != (e.Op == row.Delete) {
			return false, fmt.Errorf("%s after %d holds a row of %d", describe(e), after, r.Seq)
		}
		after = r.Seq
		switch e.Op {
		case row.Insert:
			if have {
				return false, fmt.Errorf("%s of a row the client has", describe(e))
			}
			c.rows[key] = n
			c.seen.moved.Add(1)
		case row.Update:
			if !have || held != e.Old[i].Values[1].Int() || len(e.Old) != len(e.Rows) {
				return false, fmt.Errorf("%s of %d, %v", describe(e), held, have)
			}
			c.rows[key] = n
		case row.Delete:
			if !have || held != n {
				return false, fmt.Errorf("%s of %d, %v", describe(e), held, have)
			}
			delete(c.rows, key)
			if e.LeftFilter {
				c.seen.left.Add(1)
			}
		}
		done = done || n == last
	}
	if e.TxnLast != c.store.endsCommit(c.spec.Partition.User, e.Seq, c.where) {
		return false, fmt.Errorf("%s says it is the last of its commit: %t", describe(e), e.TxnLast)
	}
	c.trace = append(c.trace, held{e.Seq, maps.Clone(c.rows)})
	return done, nil
}

func (c *client) dawdle() {
	if c.rand.Float64() < c.slow {
		time.Sleep(time.Duration(c.rand.IntN(300)) * time.Microsecond)
	}
}

// judge compares what the client held with what the partition held at that Seq.
func (c *client) judge() error {
	changes := []row.Change{}
	for _, b := range c.store.all[c.spec.Partition.User] {
		changes = append(changes, b.Changes...)
	}
	truth, next := map[string]int64{}, 0
	for _, h := range c.trace {
		for ; next < len(changes) && changes[next].New.Seq <= h.seq; next++ {
			r := changes[next].New
			key, n := r.Values[0].Str(), r.Values[1].Int()
			if delete(truth, key); !r.Deleted && c.where.matches(n) {
				truth[key] = n
			}
		}
		if !maps.Equal(truth, h.rows) {
			return fmt.Errorf("at %d the client holds %v, expected %v", h.seq, h.rows, truth)
		}
	}
	return nil
}

// TestFold is the promise of the package: with writers, readers of every speed,
// resumes, overflows and a change log that forgets, what a client folds is the state
// of its partition at every Seq it hears of.
func TestFold(t *testing.T) {
	var total seen
	rapid.Check(t, func(t *rapid.T) {
		var (
			seed    = rapid.Uint64().Draw(t, "seed")
			users   = rapid.IntRange(1, 2).Draw(t, "users")
			writers = rapid.IntRange(1, 3).Draw(t, "writers")
			commits = rapid.IntRange(1, 80).Draw(t, "commits")
			rows    = rapid.IntRange(1, 6).Draw(t, "rows per commit")
			keys    = rapid.IntRange(1, 8).Draw(t, "keys")
			queue   = rapid.SampledFrom([]int64{1, 2_000, 10_000, 1 << 20}).Draw(t, "queue bytes")
			trims   = rapid.Bool().Draw(t, "trims")
			bulks   = rapid.Bool().Draw(t, "bulks")
			shared  = rapid.Bool().Draw(t, "identical ones share, filters are slow")
			pause   = rapid.Bool().Draw(t, "writers pause")
		)
		hub := NewHub(Options{QueueBytesMax: queue})
		st := newStore(hub)
		st.publish = make(chan *row.Batch, 64)
		user := func(i int) row.UserID { return row.UserID(fmt.Sprint("u", i%users)) }

		var clients []*client
		for i := range rapid.IntRange(1, 5).Draw(t, "clients") {
			at := rapid.IntRange(0, len(wheres)-1).Draw(t, "where")
			w := wheres[at]
			c := &client{
				store: st, where: w, spec: testSpec(fmt.Sprint("c", i), user(i), w.asFilter()), seen: &total,
				mode:      rapid.IntRange(0, 2).Draw(t, "mode"),
				slow:      rapid.SampledFrom([]float64{0, 0.1, 0.9}).Draw(t, "slow"),
				impatient: rapid.SampledFrom([]float64{0, 0.3}).Draw(t, "impatient"),
				rand:      rand.New(rand.NewPCG(seed, uint64(i))),
			}
			c.spec.Filter = w.asFilter()
			if shared && w != nil {
				c.spec.Filter = sluggish{w}
			}
			c.spec.BatchRows = rapid.SampledFrom([]int{0, 1, 2}).Draw(t, "batch rows")
			if shared {
				c.spec.Key, c.spec.ConnectionID = fmt.Sprint(at, c.spec.BatchRows), fmt.Sprint("conn", i%2)
			} else if at == 3 {
				c.spec.Equal = []Equality{{Column: 0, Values: []row.Value{row.TextValue("none"), row.TextValue("last")}}}
			}
			clients = append(clients, c)
		}

		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		var writing, publishing, reading sync.WaitGroup
		publishing.Go(func() {
			r := rand.New(rand.NewPCG(seed, 2000))
			for b := range st.publish {
				runtime.Gosched()
				if bulks && r.IntN(10) == 0 {
					hub.CommittedBulk(b.Partition, b.Last())
				} else {
					hub.Committed(b)
				}
			}
		})
		errs := make([]error, len(clients))
		for i, c := range clients {
			reading.Go(func() {
				if errs[i] = c.run(ctx); errs[i] != nil {
					cancel()
				}
			})
		}
		for w := range writers {
			writing.Go(func() {
				r := rand.New(rand.NewPCG(seed, uint64(1000+w)))
				for range commits {
					var writes []write
					for range 1 + r.IntN(rows) {
						n := int64(r.IntN(6))
						if n == 5 {
							n = gone
						}
						writes = append(writes, write{fmt.Sprint("k", r.IntN(keys)), n})
					}
					u := user(r.IntN(users))
					st.commit(u, writes...)
					if trims && r.IntN(20) == 0 {
						st.trim(u)
					}
					if pause {
						time.Sleep(time.Duration(r.IntN(30)) * time.Microsecond)
					}
				}
			})
		}
		writing.Wait()
		for i := range users {
			st.commit(user(i), write{"last", last})
		}
		close(st.publish)
		publishing.Wait()
		reading.Wait()
		for i, c := range clients {
			if errs[i] == nil {
				errs[i] = c.judge()
			}
			if errs[i] != nil {
				t.Errorf("client %d of mode %d: %v", i, c.mode, errs[i])
			}
		}
		if n := hub.Count(); n != 0 || len(hub.ids) != 0 || len(hub.places) != 0 || len(hub.tables) != 0 {
			t.Errorf("%d subscriptions, %d ids, %d places, %d tables are left", n, len(hub.ids), len(hub.places), len(hub.tables))
		}
	})
	counts := map[string]int64{
		"lagged": total.lagged.Load(), "caught up": total.caughtUp.Load(), "gaps": total.gaps.Load(),
		"left the filter": total.left.Load(), "inserts": total.moved.Load(), "cancelled": total.cancelled.Load(),
	}
	t.Log(counts)
	for what, n := range counts {
		if n == 0 {
			t.Errorf("no run came across: %s", what)
		}
	}
}

package live

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"kalamdb/row"
)

// Why a subscription ended.
const (
	ReasonLagged       = "lagged"
	ReasonKilled       = "killed"
	ReasonTableDropped = "table_dropped"
	ReasonAuthExpired  = "auth_expired"
	ReasonClosed       = "closed" // by Subscription.Close
)

// EndedError says that a subscription is over. A client that resumes after Seq
// misses nothing and sees nothing twice.
type EndedError struct {
	Reason string
	Seq    row.Seq // every change up to here was delivered or does not match
	Cause  error   // the fault that ended it, if one did
}

func (e *EndedError) Error() string {
	if e.Cause != nil {
		return "live query ended: " + e.Reason + ": " + e.Cause.Error()
	}
	return "live query ended: " + e.Reason
}

func (e *EndedError) Unwrap() error { return e.Cause }

// A phase is a step in the life of a subscription:
//
//  1. waiting: registered and queueing, Next was not called yet.
//  2. replaying: Next reads the change log up to through, or up to lost. A Start skips it.
//  3. live: Next reads the queue. A commit that is too large for it leads back to 2.
type phase uint8

const (
	waiting phase = iota
	replaying
	live
)

// A Subscription is one live query. Start or Replay, then Next, are for one
// goroutine at a time; Close and the hub's calls come from anywhere.
//
// Invariant: a change of the partition that is committed after Subscribe is queued,
// or was taken (its Seq ≤ read), or was dropped (its Seq ≤ lost) — or the
// subscription has ended. What was taken and not delivered is in batches and events.
type Subscription struct {
	hub     *Hub
	spec    Spec
	encoder encoder
	place   int // in hub.partitions, guarded by hub.mu
	created time.Time
	updated atomic.Int64  // µs since 1970 of the last event
	changes atomic.Int64  // rows delivered
	wake    chan struct{} // capacity 1: something was queued, or the end has come

	// mu guards the fields below it. Committed takes it: nothing blocks under it.
	mu     sync.Mutex
	phase  phase
	queue  []*row.Batch
	queued int64   // bytes of queue
	taken  int64   // bytes taken from queue and not yet delivered
	lost   row.Seq // everything up to here that was queued before an overflow is gone
	stall  row.Seq // where cursor was at the last overflow of the replay
	read   row.Seq // everything up to here was taken or is not wanted
	cursor row.Seq // everything up to here was delivered or does not match
	ended  *EndedError
	// history is the change log to read from; nil: there is none.
	history History

	// The rest belongs to the goroutine of Next.
	through row.Seq // how far to replay
	batches []*row.Batch
	after   row.Seq // changes in batches up to here are not wanted
	events  []Event
	mapping *row.Mapping // to spec.Schema
}

func newSubscription(h *Hub, spec Spec) *Subscription {
	return &Subscription{
		hub: h, spec: spec, encoder: newEncoder(spec.Columns, spec.Names),
		created: time.Now(), wake: make(chan struct{}, 1), mapping: row.NewMapping(spec.Schema, spec.SchemaAt),
	}
}

// uses says whether s is of the table with the given id and looks at one of the columns.
func (s *Subscription) uses(id uint64, columns []row.ColumnID) bool {
	return s.spec.Partition.Table.ID == id && slices.ContainsFunc(columns, func(c row.ColumnID) bool { return slices.Contains(s.spec.Uses, c) })
}

func (s *Subscription) partition() partition {
	return partition{s.spec.Partition.Table.ID, s.spec.Partition.User}
}

func (s *Subscription) info() Info {
	i := Info{Spec: &s.spec, Node: s.hub.opts.Node, Created: s.created, Updated: s.created, Changes: s.changes.Load()}
	if at := s.updated.Load(); at != 0 {
		i.Updated = time.UnixMicro(at)
	}
	return i
}

// offer queues b. It is false if that has ended the subscription, which is then for
// the hub to remove.
func (s *Subscription) offer(b *row.Batch, bytes int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return true
	}
	// An empty queue takes a batch of any size, or the batch could never be delivered.
	if len(s.queue) > 0 && s.taken+s.queued+bytes > s.hub.opts.QueueBytesMax {
		return s.overflow(b.Last())
	}
	s.queue = append(s.queue, b)
	s.queued += bytes
	s.signal()
	return true
}

// offerBulk drops the queue: the change log has what was in it, and the changes up to
// last, too. It is false if that has ended the subscription.
func (s *Subscription) offerBulk(last row.Seq) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended != nil:
		return true
	case s.phase != waiting && s.history == nil:
		s.finish(ReasonLagged, nil)
		return false
	case s.phase == live:
		s.phase, s.stall = replaying, row.SeqMax
	}
	s.queue, s.queued, s.lost = nil, 0, last
	s.signal()
	return true
}

// overflow drops the queue and the batch that ends with last. While the change log
// still gives them back that is no loss; but a reader that has not moved since the
// last overflow would never catch up. mu is held.
func (s *Subscription) overflow(last row.Seq) bool {
	if s.phase == live || s.phase == replaying && s.stall == s.cursor {
		s.finish(ReasonLagged, nil)
		return false
	}
	s.queue, s.queued = nil, 0
	s.lost, s.stall = last, s.cursor
	return true
}

// Start begins with the changes after the given Seq, which is that of the snapshot
// the subscriber has. A queue that overflowed since Subscribe ends the subscription;
// [Subscription.Replay] with through = after does not have that end.
func (s *Subscription) Start(after row.Seq) {
	if !s.begin(after, after, nil) {
		s.end(ReasonLagged, nil)
	}
}

// begin says from where. It is false if what follows is lost: that needs a History.
func (s *Subscription) begin(after, through row.Seq, h History) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	invariant(s.phase == waiting && s.history == nil, "Start or Replay called twice")
	s.read, s.cursor, s.through, s.history = after, after, through, h
	if h == nil {
		s.phase = live
	}
	return h != nil || s.lost <= after
}

// underway leaves the phase waiting: Next was called. mu is held.
func (s *Subscription) underway() {
	if s.phase == waiting {
		invariant(s.history != nil, "Next called before Start or Replay")
		s.phase, s.stall = replaying, row.SeqMax
	}
}

// Next waits for the next event. Its error is *EndedError once the subscription is
// over, the context's if that is done first, or that of the filter; the last two lose
// nothing: Next may be called again.
func (s *Subscription) Next(ctx context.Context) (*Event, error) {
	for {
		if len(s.events) > 0 {
			e := &s.events[0]
			s.events = s.events[1:]
			if err := s.deliver(e); err != nil {
				return nil, err
			}
			return e, nil
		}
		var err error
		if len(s.batches) == 0 {
			err = s.fill(ctx)
		} else {
			err = s.evaluate(ctx)
		}
		if err != nil {
			return nil, err
		}
	}
}

// deliver accounts for an event that Next is about to return, unless the end has come.
func (s *Subscription) deliver(e *Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return s.over()
	}
	s.underway()
	s.cursor = e.Seq
	s.changes.Add(int64(len(e.Rows)))
	s.updated.Store(time.Now().UnixMicro())
	return nil
}

// fill gets the next batches, from the change log or from the queue; all earlier ones
// are delivered. It waits until there is something, which may turn out to be nothing
// the subscriber wants.
func (s *Subscription) fill(ctx context.Context) error {
	for {
		through, err := s.take()
		switch {
		case err != nil || s.batches != nil:
			return err
		case through != 0:
			return s.fillFromHistory(ctx, through)
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// take moves the queue to batches, unless the change log has to be read before, up
// to the Seq it returns.
func (s *Subscription) take() (through row.Seq, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return 0, s.over()
	}
	s.underway()
	s.cursor, s.taken = s.read, 0
	if through = max(s.through, s.lost); s.phase == replaying && s.read < through {
		return through, nil
	}
	// Nothing was lost beyond read: from here on the queue has it all.
	s.phase = live
	if n := len(s.queue); n > 0 {
		s.batches, s.after = s.queue, s.read
		s.read = max(s.read, s.queue[n-1].Last())
		s.taken, s.queued, s.queue = s.queued, 0, nil
	}
	return 0, nil
}

// Close ends the subscription. More than once is fine.
func (s *Subscription) Close() { s.end(ReasonClosed, nil) }

// end ends the subscription and takes it out of the hub. It is false if that was done.
func (s *Subscription) end(reason string, cause error) bool {
	s.mu.Lock()
	first := s.ended == nil
	if first {
		s.finish(reason, cause)
	}
	s.mu.Unlock()
	s.hub.remove(s)
	return first
}

// finish marks the end and drops the queue. mu is held.
func (s *Subscription) finish(reason string, cause error) {
	s.ended = &EndedError{Reason: reason, Seq: s.cursor, Cause: cause}
	s.queue, s.queued = nil, 0
	s.signal()
}

// over lets go of what the goroutine of Next holds. mu is held.
func (s *Subscription) over() error {
	s.batches, s.events, s.history = nil, nil, nil
	return s.ended
}

func (s *Subscription) signal() {
	select {
	case s.wake <- struct{}{}:
	default: // it knows already
	}
}

// invariant stops the program at a bug of a caller; faults of the world are errors.
func invariant(ok bool, what string) {
	if !ok {
		panic("live: broken invariant: " + what)
	}
}

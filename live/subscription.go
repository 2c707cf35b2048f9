package live

import (
	"context"
	"errors"
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
	ReasonError        = "error"  // its filter failed
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

// ErrBehind is Poll's answer while the change log has to be read, which is Next's work.
var ErrBehind = errors.New("the change log has to be read")

// A phase is a step in the life of a subscription:
//
//  1. waiting: registered and queueing, Next was not called yet.
//  2. replaying: Next reads the change log up to through, or up to lost. A Start skips it.
//  3. live: Next and Poll read the queue. Changes that are only in the change log lead
//     back to 2.
type phase uint8

const (
	waiting phase = iota
	replaying
	live
)

// A Subscription is one live query. Start or Replay, then Next and Poll, are for one
// goroutine at a time; Close and the hub's calls come from anywhere.
//
// Invariant: a change of the partition that is committed after Subscribe waits in its
// place or its feed, or it is queued, or was taken (its Seq ≤ read), or was dropped (its
// Seq ≤ lost), or does not match — or the subscription has ended. What was taken and not
// delivered is in events and in replay.
type Subscription struct {
	hub     *Hub
	spec    Spec
	feed    *feed
	index   int // in feed.subs, guarded by the mu of the place
	budget  *budget
	created int64        // µs since 1970
	updated atomic.Int64 // µs since 1970 of the last event
	changes atomic.Int64 // rows delivered

	// mu guards the fields below it. The workers of the hub take it: nothing blocks under it.
	mu     sync.Mutex
	phase  phase
	told   bool // ready was called, and Poll has not come to the end of the queue since
	queue  []*Event
	queued int64   // bytes of queue
	taken  int64   // bytes taken from queue and not yet delivered
	lost   row.Seq // everything up to here that was queued before an overflow is gone
	stall  row.Seq // where cursor was at the last overflow of the replay
	read   row.Seq // everything up to here was taken or is not wanted
	cursor row.Seq // everything up to here was delivered or does not match
	ended  *EndedError
	fault  error         // of the filter: the end, when the queue has been taken
	ready  func()        // set by Notify
	wake   chan struct{} // capacity 1, made by the first Next that waits: something was queued, or the end has come

	// The rest belongs to the goroutine of Next.
	events []*Event // taken and not delivered
	replay *replay  // nil once live
	kept   *kept    // with Expired
}

func newSubscription(h *Hub, spec Spec) *Subscription {
	return &Subscription{hub: h, spec: spec, created: time.Now().UnixMicro()}
}

// uses says whether s is of the table with the given id and looks at one of the columns.
func (s *Subscription) uses(id uint64, columns []row.ColumnID) bool {
	return s.spec.Partition.Table.ID == id && slices.ContainsFunc(columns, func(c row.ColumnID) bool { return slices.Contains(s.spec.Uses, c) })
}

func (s *Subscription) info() Info {
	i := Info{Spec: &s.spec, Node: s.hub.opts.Node, Created: time.UnixMicro(s.created), Updated: time.UnixMicro(s.created), Changes: s.changes.Load()}
	if at := s.updated.Load(); at != 0 {
		i.Updated = time.UnixMicro(at)
	}
	return i
}

// offer queues events of whole batches. It is false if that has ended the subscription,
// which is then for the hub to remove.
func (s *Subscription) offer(events []*Event, bytes int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended != nil || s.fault != nil:
		return true
	case !s.budget.take(bytes, s.taken):
		return s.overflow(events[len(events)-1].Seq)
	}
	s.rest()
	s.queue = append(s.queue, events...)
	s.queued += bytes
	s.signal()
	return true
}

// rest notes how far a subscription is that has taken all there was. mu is held.
func (s *Subscription) rest() {
	if s.phase == live && len(s.queue) == 0 && s.fault == nil {
		if s.read = max(s.read, s.feed.routed()); s.taken == 0 {
			s.cursor = max(s.cursor, s.read)
		}
	}
}

// offerBulk drops the queue: the change log has what was in it, and the changes up to
// last, too. It is false if that has ended the subscription.
func (s *Subscription) offerBulk(last row.Seq) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended != nil || s.fault != nil:
		return true
	case s.phase != waiting && s.replay == nil:
		s.finish(ReasonLagged, nil)
		return false
	case s.phase == live:
		s.rest()
		s.phase, s.stall = replaying, row.SeqMax
	}
	s.unqueue()
	s.lost = max(s.lost, last)
	s.signal()
	return true
}

// unqueue drops the queue. mu is held.
func (s *Subscription) unqueue() {
	s.budget.give(s.queued)
	s.queue, s.queued = nil, 0
}

// overflow drops the queue and what ends with last. While the change log
// still gives them back that is no loss; but a reader that has not moved since the
// last overflow would never catch up. mu is held.
func (s *Subscription) overflow(last row.Seq) bool {
	if s.phase == live || s.phase == replaying && s.stall == s.cursor {
		s.finish(ReasonLagged, nil)
		return false
	}
	s.unqueue()
	s.lost, s.stall = max(s.lost, last), s.cursor // last may be of before: a slow filter is late
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
	invariant(s.phase == waiting && s.replay == nil, "Start or Replay called twice")
	s.read, s.cursor = after, after
	switch {
	case h != nil:
		s.replay = &replay{history: h, through: through}
	case s.lost > after:
		return false
	default:
		s.phase = live
	}
	return true
}

// underway leaves the phase waiting: Next was called. mu is held.
func (s *Subscription) underway() {
	if s.phase == waiting {
		invariant(s.replay != nil, "Next called before Start or Replay")
		s.phase, s.stall = replaying, row.SeqMax
	}
}

// Next waits for the next event. Its error is *EndedError once the subscription is
// over, or the context's if that is done first; that loses nothing: Next may be called
// again.
func (s *Subscription) Next(ctx context.Context) (*Event, error) {
	for {
		e, err := s.deliver()
		if e != nil || err != nil {
			return e, err
		}
		if r := s.replay; r != nil && len(r.batches) > 0 {
			err = s.evaluate(ctx)
		} else {
			err = s.fill(ctx)
		}
		if err != nil {
			return nil, err
		}
	}
}

// Poll is Next that neither waits nor reads the change log: nil means that there is
// nothing now. [ErrBehind] asks for Next, until [Subscription.Live], and then for Notify.
func (s *Subscription) Poll() (*Event, error) {
	e, err := s.deliver()
	if e != nil || err != nil {
		return e, err
	}
	behind := s.replay != nil && len(s.replay.batches) > 0
	if !behind {
		through, err := s.take()
		if err != nil {
			return nil, err
		}
		behind = through != 0
	}
	if behind {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ready = nil // whoever calls Next is woken by it alone
		return nil, ErrBehind
	}
	return s.deliver()
}

// Live says whether Poll will do: the change log has been read.
func (s *Subscription) Live() bool {
	if len(s.events) > 0 || s.replay != nil && len(s.replay.batches) > 0 {
		return false
	}
	through, err := s.take()
	return err != nil || through == 0
}

// Notify has ready called when Poll has something to tell, once until Poll has come to
// the end of it, or until it says [ErrBehind]. It is called with a lock held: it must
// neither block nor call anything of the subscription or the hub.
func (s *Subscription) Notify(ready func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready, s.told, s.wake = ready, true, nil
	ready()
}

// deliver takes the next of events, if there is one, unless the end has come.
func (s *Subscription) deliver() (*Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return nil, s.over()
	}
	s.underway()
	if e := s.expire(); e != nil {
		s.count(e)
		return e, nil
	}
	if len(s.events) == 0 || len(s.events) == 1 && s.replay != nil && s.replay.open == s.events[0] {
		return nil, nil
	}
	e := s.events[0]
	s.events[0] = nil
	if s.events = s.events[1:]; len(s.events) == 0 {
		s.events = nil
	}
	s.cursor = e.Seq
	s.keep(e)
	s.count(e)
	return e, nil
}

// count counts an event that is delivered.
func (s *Subscription) count(e *Event) {
	s.changes.Add(int64(len(e.Rows)))
	s.updated.Store(time.Now().UnixMicro())
}

// fill gets the next events or batches, from the queue or from the change log; all
// earlier ones are delivered. It waits until there is something, which may turn out to
// be nothing the subscriber wants.
func (s *Subscription) fill(ctx context.Context) error {
	for {
		through, err := s.take()
		switch {
		case err != nil || through == 0 && (len(s.events) > 0 || s.overdue() > 0):
			return err
		case through != 0:
			return s.fillFromHistory(ctx, through)
		}
		select {
		case <-s.waker():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// waker is the channel that signal wakes; it is awake if there is something already.
func (s *Subscription) waker() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wake == nil {
		s.wake = make(chan struct{}, 1)
		if len(s.queue) > 0 || s.ended != nil || s.fault != nil || s.phase == replaying || s.overdue() > 0 {
			s.wake <- struct{}{}
		}
	}
	return s.wake
}

// take moves the queue to events, unless the change log has to be read before, up
// to the Seq it returns.
func (s *Subscription) take() (through row.Seq, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return 0, s.over()
	}
	s.underway()
	s.budget.give(s.taken)
	s.taken = 0
	if len(s.events) == 0 {
		s.cursor = s.read
	}
	if s.phase == replaying {
		if through = max(s.replay.through, s.lost); s.read < through {
			return through, nil
		}
		if s.replay.open != nil { // what it waits for is not coming
			s.replay.open.TxnLast, s.replay.open = true, nil
			return 0, nil
		}
		s.replay.mapping = nil
	}
	// Nothing was lost beyond read: from here on the queue has it all.
	s.phase = live
	// The hub may be behind the change log, and give what that has given before.
	queue := s.queue
	for len(queue) > 0 && queue[0].Seq <= s.read {
		queue = queue[1:]
	}
	if len(queue) == 0 {
		s.unqueue()
		if s.fault != nil {
			s.finish(ReasonError, s.fault)
			return 0, s.over()
		}
		s.told = false
		return 0, nil
	}
	s.events, s.queue = queue, nil
	s.taken, s.queued = s.queued, 0
	if s.events[0].Rows[0].Seq <= s.read {
		s.events[0] = s.events[0].rest(s.read)
	}
	s.read = s.events[len(s.events)-1].Seq
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
	s.rest()
	s.ended = &EndedError{Reason: reason, Seq: s.cursor, Cause: cause}
	s.unqueue()
	s.budget.give(s.taken)
	s.taken = 0
	s.signal()
}

// over lets go of what the goroutine of Next holds. mu is held.
func (s *Subscription) over() error {
	s.events, s.replay, s.kept = nil, nil, nil
	return s.ended
}

// signal tells whoever waits. mu is held.
func (s *Subscription) signal() {
	if s.ready != nil && !s.told {
		s.told = true
		s.ready()
	}
	select {
	case s.wake <- struct{}{}:
	default: // it knows already, or does not wait
	}
}

// invariant stops the program at a bug of a caller; faults of the world are errors.
func invariant(ok bool, what string) {
	if !ok {
		panic("live: broken invariant: " + what)
	}
}

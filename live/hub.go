package live

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"kalamdb/auth"
	"kalamdb/row"
)

const (
	queueBytesMax    = 8 << 20 // of one subscription, unless told otherwise
	subscriptionsMax = 100_000 // of one hub, unless told otherwise
)

var (
	// ErrExists says that a running live query has the same ID.
	ErrExists = errors.New("a live query with this id is running")
	// ErrTooMany says that the hub has all the subscriptions it may have.
	ErrTooMany = errors.New("too many live queries")
	// ErrClosed says that the hub takes no more subscriptions.
	ErrClosed = errors.New("the server takes no more live queries")
)

// A Filter is the WHERE of a live query. It is used by one goroutine at a time.
type Filter interface {
	// Match says for each row whether it passes. The rows are shared: it changes none.
	Match(ctx context.Context, rows []*row.Row) ([]bool, error)
}

// Columns of a Spec that are not columns of its schema.
const (
	ColSeq     = -1
	ColUpdated = -2
	ColDeleted = -3
)

// A Spec says what a subscription wants, and how system.live_queries shows it.
type Spec struct {
	ID           string // <connection id>-<query id>, unique among the running ones
	ConnectionID string
	QueryID      string
	Query        string // the SQL text
	Options      string // JSON text
	User         string
	Role         auth.Role // of that user, for as long as the subscription lives
	Partition    row.Partition
	Columns      []int       // what to show: positions in Schema, or ColSeq, ColUpdated, ColDeleted
	Names        []string    // what to call them, one per column
	Schema       *row.Schema // in which Filter and the subscriber see rows
	// SchemaAt finds the other versions that rows of the partition were or will be
	// written with; nil: there are none.
	SchemaAt  func(version uint32) *row.Schema
	Uses      []row.ColumnID // the columns that Columns and Filter look at
	Filter    Filter         // nil: every row
	BatchRows int            // most rows of one Event; 0: no limit
}

// Info is one row of system.live_queries.
type Info struct {
	*Spec
	Node             string
	Created, Updated time.Time // Updated: the last event, or Created
	Changes          int64     // rows delivered in events
}

// Options are the limits of a Hub; zero means the default.
type Options struct {
	QueueBytesMax    int64  // committed changes waiting for one subscription; default 8 MiB
	SubscriptionsMax int    // default 100,000
	Node             string // shown in system.live_queries
}

// A Hub hands committed batches to subscriptions. It is safe for concurrent use.
type Hub struct {
	opts  Options
	count atomic.Int64 // subscriptions, so that Committed costs nothing without any

	// registry guards the fields below it. It is taken before mu, never after it.
	registry sync.Mutex
	ids      map[string]*Subscription
	tables   map[uint64]int // subscriptions of each table, by its id
	closed   bool

	// mu guards partitions and the place of each subscription in them. Committed
	// holds it for reading; everyone else changes one entry under it. Under it the mu
	// of a subscription may be taken; nothing blocks.
	mu         sync.RWMutex
	partitions map[partition][]*Subscription // in no order; no empty slices
}

// A partition is row.Partition with only what tells two apart, to be hashed fast.
type partition struct {
	table uint64
	user  row.UserID
}

// NewHub makes a hub.
func NewHub(o Options) *Hub {
	if o.QueueBytesMax <= 0 {
		o.QueueBytesMax = queueBytesMax
	}
	if o.SubscriptionsMax <= 0 {
		o.SubscriptionsMax = subscriptionsMax
	}
	return &Hub{
		opts: o, ids: map[string]*Subscription{}, tables: map[uint64]int{},
		partitions: map[partition][]*Subscription{},
	}
}

// Committed queues b for the subscriptions of its partition. It never blocks: the
// write path calls it, in order of Seq, once b is durable. A subscription whose queue
// overflows is ended.
func (h *Hub) Committed(b *row.Batch) {
	if h.count.Load() == 0 {
		return
	}
	var lagged []*Subscription
	h.mu.RLock()
	if subs := h.partitions[partition{b.Partition.Table.ID, b.Partition.User}]; len(subs) > 0 {
		bytes := int64(b.Bytes())
		for _, s := range subs {
			if !s.offer(b, bytes) {
				lagged = append(lagged, s)
			}
		}
	}
	h.mu.RUnlock()
	for _, s := range lagged {
		h.remove(s)
	}
}

// CommittedBulk is Committed of changes that are not handed over: the subscriptions of p
// read them, and what they have not taken before, from the change log.
func (h *Hub) CommittedBulk(p row.Partition, last row.Seq) {
	if h.count.Load() == 0 {
		return
	}
	var lagged []*Subscription
	h.mu.RLock()
	for _, s := range h.partitions[partition{p.Table.ID, p.User}] {
		if !s.offerBulk(last) {
			lagged = append(lagged, s)
		}
	}
	h.mu.RUnlock()
	for _, s := range lagged {
		h.remove(s)
	}
}

// Listening says whether p has a subscription.
func (h *Hub) Listening(p row.Partition) bool {
	if h.count.Load() == 0 {
		return false
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.partitions[partition{p.Table.ID, p.User}]) > 0
}

// Subscribe registers a subscription: what is committed from now on is queued for
// it. The caller goes on with Start or Replay, and calls Close in the end.
func (h *Hub) Subscribe(spec Spec) (*Subscription, error) {
	if err := spec.valid(); err != nil {
		return nil, fmt.Errorf("live query %s: %w", spec.ID, err)
	}
	s := newSubscription(h, spec)
	h.registry.Lock()
	defer h.registry.Unlock()
	switch {
	case h.closed:
		return nil, ErrClosed
	case h.ids[spec.ID] != nil:
		return nil, ErrExists
	case len(h.ids) >= h.opts.SubscriptionsMax:
		return nil, ErrTooMany
	}
	h.ids[spec.ID] = s
	h.tables[spec.Partition.Table.ID]++
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count.Add(1)
	s.place = len(h.partitions[s.partition()])
	h.partitions[s.partition()] = append(h.partitions[s.partition()], s)
	return s, nil
}

func (s *Spec) valid() error {
	if s.Schema == nil || len(s.Names) != len(s.Columns) {
		return fmt.Errorf("%d names for %d columns, schema %v", len(s.Names), len(s.Columns), s.Schema)
	}
	for _, c := range s.Columns {
		if c < ColDeleted || c >= len(s.Schema.Columns) {
			return fmt.Errorf("column %d of a table with %d columns", c, len(s.Schema.Columns))
		}
	}
	return nil
}

// remove takes s out of the hub, if it is still in.
func (h *Hub) remove(s *Subscription) {
	h.registry.Lock()
	defer h.registry.Unlock()
	if h.ids[s.spec.ID] != s {
		return
	}
	delete(h.ids, s.spec.ID)
	table := s.spec.Partition.Table.ID
	if h.tables[table]--; h.tables[table] == 0 {
		delete(h.tables, table)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count.Add(-1)
	subs := h.partitions[s.partition()]
	last := subs[len(subs)-1]
	subs[s.place], last.place = last, s.place
	subs[len(subs)-1] = nil
	if subs = subs[:len(subs)-1]; len(subs) == 0 {
		delete(h.partitions, s.partition())
	} else {
		h.partitions[s.partition()] = subs
	}
}

// Kill ends the live query with the given ID and says whether there was one.
func (h *Hub) Kill(id string) bool {
	h.registry.Lock()
	s := h.ids[id]
	h.registry.Unlock()
	return s != nil && s.end(ReasonKilled, nil)
}

// EndTable ends the live queries of the table with the given id and says how many.
func (h *Hub) EndTable(id uint64, reason string) int {
	return h.endAll(reason, func(s *Subscription) bool { return s.spec.Partition.Table.ID == id })
}

// End ends the live queries that match and says how many.
func (h *Hub) End(reason string, match func(*Spec) bool) int {
	return h.endAll(reason, func(s *Subscription) bool { return match(&s.spec) })
}

// CloseAll ends all live queries and lets no new one in.
func (h *Hub) CloseAll(reason string) {
	h.registry.Lock()
	h.closed = true
	h.registry.Unlock()
	h.endAll(reason, func(*Subscription) bool { return true })
}

func (h *Hub) endAll(reason string, match func(*Subscription) bool) int {
	n := 0
	for _, s := range h.all() {
		if match(s) && s.end(reason, nil) {
			n++
		}
	}
	return n
}

// CountTable is the number of live queries of the table with the given id.
func (h *Hub) CountTable(id uint64) int {
	h.registry.Lock()
	defer h.registry.Unlock()
	return h.tables[id]
}

// Using finds a live query of the table with the given id that uses one of the columns.
func (h *Hub) Using(id uint64, columns []row.ColumnID) (Info, bool) {
	for _, s := range h.all() {
		if s.uses(id, columns) {
			return s.info(), true
		}
	}
	return Info{}, false
}

// EndUsing ends the live queries that [Hub.Using] would find.
func (h *Hub) EndUsing(id uint64, columns []row.ColumnID, reason string) int {
	return h.endAll(reason, func(s *Subscription) bool { return s.uses(id, columns) })
}

// Count is the number of live queries.
func (h *Hub) Count() int { return int(h.count.Load()) }

// Find is the live query with the given ID.
func (h *Hub) Find(id string) (Info, bool) {
	h.registry.Lock()
	s := h.ids[id]
	h.registry.Unlock()
	if s == nil {
		return Info{}, false
	}
	return s.info(), true
}

// List are the live queries, the oldest first.
func (h *Hub) List() []Info { return h.Select(func(*Spec) bool { return true }) }

// Select are the live queries that match, the oldest first.
func (h *Hub) Select(match func(*Spec) bool) []Info {
	type aged struct {
		created int64
		s       *Subscription
	}
	all := h.all()
	found := make([]aged, 0, len(all))
	for _, s := range all {
		if match(&s.spec) {
			found = append(found, aged{s.created.UnixNano(), s})
		}
	}
	slices.SortFunc(found, func(a, b aged) int {
		if c := cmp.Compare(a.created, b.created); c != 0 {
			return c
		}
		return cmp.Compare(a.s.spec.ID, b.s.spec.ID)
	})
	list := make([]Info, len(found))
	for i, f := range found {
		list[i] = f.s.info()
	}
	return list
}

func (h *Hub) all() []*Subscription {
	h.registry.Lock()
	defer h.registry.Unlock()
	all := make([]*Subscription, 0, len(h.ids))
	for _, s := range h.ids {
		all = append(all, s)
	}
	return all
}

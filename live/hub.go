package live

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"kalamdb/auth"
	"kalamdb/row"
)

const (
	queueBytesMax    = 8 << 20 // of one connection, unless told otherwise
	subscriptionsMax = 100_000 // of one hub, unless told otherwise
	slowWorkersMax   = 4       // for the feeds whose filter is DuckDB
)

var (
	// ErrExists says that a running live query has the same ID.
	ErrExists = errors.New("a live query with this id is running")
	// ErrTooMany says that the hub has all the subscriptions it may have.
	ErrTooMany = errors.New("too many live queries")
	// ErrClosed says that the hub takes no more subscriptions.
	ErrClosed = errors.New("the server takes no more live queries")
)

// A Filter is the WHERE of a live query. Several goroutines use it at once.
type Filter interface {
	// Match says for each row whether it passes. The rows are shared: it changes none.
	Match(ctx context.Context, rows []*row.Row) ([]bool, error)
	// Fast says that Match is done in some ns a row and waits for nothing.
	Fast() bool
}

// An Equality says that a filter is true only for rows that have one of Values in a
// column: the very same value, as == of row.Value has it.
type Equality struct {
	Column int // position in the schema
	Values []row.Value
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
	ConnectionID string // those of one share the room for what waits; "": room of its own
	QueryID      string
	Options      string // JSON text
	User         string
	Role         auth.Role // of that user, for as long as the subscription lives
	*Selection
}

// A Selection is what a subscription sees, shared by all that see the same. Nobody
// changes it once it was given to Subscribe.
type Selection struct {
	// Key tells whether two subscriptions of a partition see the same and can share the
	// work: they do if both have the same one. "": it is shared with none.
	Key       string
	Query     string // the SQL text
	Partition row.Partition
	*Shape
	Uses      []row.ColumnID // the columns that Columns and Filter look at
	Filter    Filter         // nil: every row
	Equal     []Equality     // each of them holds for every row that passes Filter
	BatchRows int            // most rows of one Event; 0: no limit
	Deleted   bool           // Filter looks at _deleted: a deleted row may pass
	Expired   bool           // of a stream: a DELETE for each event that is over
}

// A Shape is how a subscription shows rows. Subscribe has selections of a table share it,
// whatever their filters. Nobody changes it once it was given to Subscribe.
type Shape struct {
	Columns []int       // what to show: positions in Schema, or ColSeq, ColUpdated, ColDeleted
	Names   []string    // what to call them, one per column
	Schema  *row.Schema // in which Filter and the subscriber see rows
	// SchemaAt finds the other versions that rows of the table were or will be written
	// with; nil: there are none.
	SchemaAt func(version uint32) *row.Schema

	encoder encoder // set by Subscribe
}

func (s *Shape) same(as *Shape) bool {
	return s.Schema == as.Schema && (s.SchemaAt == nil) == (as.SchemaAt == nil) && slices.Equal(s.Columns, as.Columns) && slices.Equal(s.Names, as.Names)
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
	QueueBytesMax    int64  // committed changes waiting for one connection, and for the workers in one partition; default 8 MiB
	SubscriptionsMax int    // default 100,000
	Node             string // shown in system.live_queries
}

// A Hub hands committed batches to subscriptions. It is safe for concurrent use. Its
// goroutines begin with work to do and end with it; CloseAll waits for them.
//
// Locks are taken in this order: registry, mu of a place, mu of a subscription. The
// others are leaves.
type Hub struct {
	opts  Options
	count atomic.Int64 // subscriptions, so that Committed costs nothing without any
	ctx   context.Context
	stop  context.CancelFunc
	quick crew // serves places
	slow  crew // serves feeds whose filter takes its time

	// registry guards the fields below it.
	registry sync.Mutex
	ids      map[string]*Subscription
	feeds    map[feedKey]*feed // those with a key
	budgets  map[string]*budget
	tables   map[uint64]*tableUse // by id, those with a subscription
	closed   bool

	// mu guards places, which change under the registry only. It is a leaf.
	mu     sync.RWMutex
	places map[partition]*place
}

// A partition is row.Partition with only what tells two apart, to be hashed fast.
type partition struct {
	table uint64
	user  row.UserID
}

type feedKey struct {
	place *place
	key   string
}

// A tableUse is what the subscriptions of a table have in common.
type tableUse struct {
	subs  int
	shape *Shape // that the newest of another shape than the one before it came with
}

// NewHub makes a hub.
func NewHub(o Options) *Hub {
	if o.QueueBytesMax <= 0 {
		o.QueueBytesMax = queueBytesMax
	}
	if o.SubscriptionsMax <= 0 {
		o.SubscriptionsMax = subscriptionsMax
	}
	h := &Hub{
		opts: o, ids: map[string]*Subscription{}, feeds: map[feedKey]*feed{}, budgets: map[string]*budget{}, tables: map[uint64]*tableUse{},
		places: map[partition]*place{}, quick: crew{max: runtime.GOMAXPROCS(0)}, slow: crew{max: slowWorkersMax},
	}
	h.ctx, h.stop = context.WithCancel(context.Background())
	return h
}

// Committed has b handed to the subscriptions of its partition. It never blocks, and it
// costs the same whatever their number: the write path calls it, in order of Seq, once b
// is durable.
func (h *Hub) Committed(b *row.Batch) {
	if p := h.placeOf(b.Partition); p != nil {
		p.leave(b)
	}
}

// CommittedBulk is Committed of changes that are not handed over: the subscriptions of p
// read them, and what they have not taken before, from the change log.
func (h *Hub) CommittedBulk(p row.Partition, last row.Seq) {
	if p := h.placeOf(p); p != nil {
		p.leaveBulk(last)
	}
}

// Listening says whether p has a subscription.
func (h *Hub) Listening(p row.Partition) bool { return h.placeOf(p) != nil }

// placeOf is nil for a partition without subscriptions.
func (h *Hub) placeOf(p row.Partition) *place {
	if h.count.Load() == 0 {
		return nil
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.places[partition{p.Table.ID, p.User}]
}

// Selection is that of the running subscriptions of p with the given key, so that it need
// not be made again; nil: there are none.
func (h *Hub) Selection(p row.Partition, key string) *Selection {
	h.registry.Lock()
	defer h.registry.Unlock()
	if f := h.feeds[feedKey{h.places[partition{p.Table.ID, p.User}], key}]; f != nil {
		return f.sel
	}
	return nil
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
	h.count.Add(1)
	if s.budget = h.budgets[spec.ConnectionID]; s.budget == nil {
		s.budget = &budget{max: h.opts.QueueBytesMax}
		if spec.ConnectionID != "" {
			h.budgets[spec.ConnectionID] = s.budget
		}
	}
	s.budget.subs++
	h.join(s)
	return s, nil
}

// join puts s into its feed, which it may be the first of. registry is held.
func (h *Hub) join(s *Subscription) {
	at := partition{s.spec.Partition.Table.ID, s.spec.Partition.User}
	table := h.tables[at.table]
	if table == nil {
		table = &tableUse{}
		h.tables[at.table] = table
	}
	table.subs++
	p := h.places[at]
	first := p == nil
	if first {
		p = &place{hub: h, key: at}
	}
	key := feedKey{p, s.spec.Key}
	if s.feed = h.feeds[key]; s.feed != nil && key.key != "" {
		s.spec.Selection = s.feed.sel
		p.join(s.feed, s)
		return
	}
	if sel := s.spec.Selection; sel.encoder.keys == nil { // else it was of a feed that is gone
		table.reshape(sel)
	}
	s.feed = newFeed(p, s.spec.Selection)
	p.join(s.feed, s)
	if key.key != "" {
		h.feeds[key] = s.feed
	}
	if first {
		h.mu.Lock()
		h.places[at] = p
		h.mu.Unlock()
	}
}

// reshape gives sel, which is new, a shape that is whole.
func (t *tableUse) reshape(sel *Selection) {
	if t.shape == nil || !t.shape.same(sel.Shape) {
		sel.encoder = newEncoder(sel.Columns, sel.Names)
		t.shape = sel.Shape
	}
	sel.Shape = t.shape
}

func (s *Spec) valid() error {
	if s.Selection == nil || s.Shape == nil || s.Schema == nil {
		return errors.New("it has no schema")
	}
	if len(s.Names) != len(s.Columns) {
		return fmt.Errorf("%d names for %d columns", len(s.Names), len(s.Columns))
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
	id := s.spec.Partition.Table.ID
	if table := h.tables[id]; table.subs == 1 {
		delete(h.tables, id)
	} else {
		table.subs--
	}
	h.count.Add(-1)
	if s.budget.subs--; s.budget.subs == 0 {
		delete(h.budgets, s.spec.ConnectionID)
	}
	f := s.feed
	if !f.place.part(f, s) {
		return
	}
	if f.sel.Key != "" {
		delete(h.feeds, feedKey{f.place, f.sel.Key})
	}
	if len(f.place.routes) == 0 {
		h.mu.Lock()
		delete(h.places, f.place.key)
		h.mu.Unlock()
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

// CloseAll ends all live queries, lets no new one in, and waits for the hub's goroutines.
func (h *Hub) CloseAll(reason string) {
	h.registry.Lock()
	h.closed = true
	h.registry.Unlock()
	h.endAll(reason, func(*Subscription) bool { return true })
	h.stop()
	h.quick.close()
	h.slow.close()
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
	if table := h.tables[id]; table != nil {
		return table.subs
	}
	return 0
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
			found = append(found, aged{s.created, s})
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

// Package live pushes committed changes to subscribers, in commit order.
package live

import (
	"context"
	"errors"
	"time"

	"kalamdb/row"
)

// Why a subscription ended.
const (
	ReasonLagged       = "lagged"
	ReasonKilled       = "killed"
	ReasonTableDropped = "table_dropped"
	ReasonAuthExpired  = "auth_expired"
	ReasonClosed       = "closed"
)

var (
	// ErrExists says that a live query with the same ID is running.
	ErrExists = errors.New("a live query with this id exists")
	// ErrClosed says that the hub takes no more subscriptions.
	ErrClosed = errors.New("live queries are closed")
)

// EndedError says that a subscription is over. Cause is set when a failure ended it.
type EndedError struct {
	Reason string
	Seq    row.Seq // everything up to here was delivered: resume after it
	Cause  error
}

func (e *EndedError) Error() string { return "live query ended: " + e.Reason }
func (e *EndedError) Unwrap() error { return e.Cause }

// A Filter is a WHERE.
type Filter interface {
	Match(ctx context.Context, rows []*row.Row) ([]bool, error)
}

// A History gives changes that were committed earlier.
type History interface {
	Changes(ctx context.Context, p row.Partition, after, through row.Seq, yield func(*row.Batch) error) error
}

// Columns of a Spec that are not in the schema.
const (
	ColSeq     = -1
	ColUpdated = -2
	ColDeleted = -3
)

// A Spec says what a subscription wants.
type Spec struct {
	ID, ConnectionID, QueryID, Query string
	Options                          string // JSON
	User                             string
	Partition                        row.Partition
	Columns                          []int // positions in Schema, or ColSeq, ColUpdated, ColDeleted
	Names                            []string
	Schema                           *row.Schema
	Filter                           Filter // nil: every row
	BatchRows                        int    // most rows of one Event; 0: no limit
}

// An Event is one or more changes of one commit with the same Op.
type Event struct {
	Op         row.Op
	Rows, Old  []*row.Row
	Seq        row.Seq
	LeftFilter bool
}

// Info is one row of system.live_queries.
type Info struct {
	Spec             Spec
	Node             string
	Created, Updated time.Time
	Changes          int64
}

// Options of a Hub.
type Options struct {
	QueueBytesMax int64 // per subscription; 0 means 8 MiB
	Node          string
}

// A Hub hands committed batches to subscriptions.
type Hub struct{ opts Options }

func NewHub(o Options) *Hub                               { return &Hub{opts: o} }
func (h *Hub) Committed(b *row.Batch)                     {}
func (h *Hub) Subscribe(spec Spec) (*Subscription, error) { return &Subscription{spec: spec}, nil }
func (h *Hub) Kill(id string) bool                        { return false }
func (h *Hub) EndTable(id uint64, reason string) int      { return 0 }
func (h *Hub) CountTable(id uint64) int                   { return 0 }
func (h *Hub) List() []Info                               { return nil }

// CloseAll ends every subscription and refuses new ones.
func (h *Hub) CloseAll(reason string) {}

// A Subscription is one live query.
type Subscription struct{ spec Spec }

func (s *Subscription) Start(after row.Seq) {}

// Replay reads the first changes at once: an error says that they are not kept any more.
func (s *Subscription) Replay(ctx context.Context, h History, after, through row.Seq) error {
	return nil
}
func (s *Subscription) Next(ctx context.Context) (*Event, error) { return nil, ErrClosed }
func (s *Subscription) AppendRow(dst []byte, r *row.Row) []byte  { return dst }
func (s *Subscription) Close()                                   {}

package kalamdb

import (
	"context"

	"kalamdb/row"
)

// A Subscription is one live query. Next is for one goroutine at a time; Close may
// be called from another one.
type Subscription struct {
	ID      string // of system.live_queries: <connection id>-<query id>
	Columns []Column
	Seq     row.Seq // the snapshot the subscription starts from
	Resumed bool    // it continues from FromSeq

	next  func(context.Context) (Event, error)
	close func()
}

// Next waits for the next event. Its error is *[Ended] once the subscription is
// over, an *[Error] for a fault, or the context's.
func (s *Subscription) Next(ctx context.Context) (Event, error) { return s.next(ctx) }

// Close ends the subscription.
func (s *Subscription) Close() { s.close() }

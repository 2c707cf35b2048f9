package server

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"kalamdb"
	"kalamdb/row"
)

// A liveQuery is one subscription of a socket. Its goroutine registers it, then
// carries events from the database to the outbox until either ends.
type liveQuery struct {
	k         *socket
	queryID   string
	cancel    context.CancelFunc
	done      chan struct{} // closed when the goroutine has ended and nothing is registered any more
	delivered atomic.Uint64 // the Seq of the last frame in the outbox
}

// liveID is the contract's subscription_id and the live_id of system.live_queries.
func (q *liveQuery) liveID() string { return q.k.id + "-" + q.queryID }

// subscribe starts a live query; what is wrong with it is told by its goroutine
// or at once by an error frame.
func (k *socket) subscribe(spec subscribeSpec) {
	if spec.err != nil {
		k.fail(spec.queryID, spec.err)
		return
	}
	ctx, cancel := context.WithCancel(k.ctx)
	q := &liveQuery{k: k, queryID: spec.queryID, cancel: cancel, done: make(chan struct{})}
	req := spec.request
	if err := k.reserve(q, &req); err != nil {
		cancel()
		k.fail(spec.queryID, err)
		return
	}
	k.s.metrics.subscriptions.Inc()
	k.running.Add(1)
	go func() {
		defer k.running.Done()
		defer k.s.metrics.subscriptions.Dec()
		defer k.s.limits.subscriptions.give(req.As.User)
		defer close(q.done)
		defer cancel()
		defer k.survive("live query")
		q.run(ctx, req)
	}()
}

// reserve takes q's query id and completes req with who the socket is.
func (k *socket) reserve(q *liveQuery, req *kalamdb.SubscribeRequest) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.queries[q.queryID] != nil {
		return fail(kalamdb.CodeAlreadyExists, "this connection has a live query with this query_id already")
	}
	if len(k.queries) >= k.s.o.SubscriptionsMax {
		return fail(codeLimitExceeded, fmt.Sprintf("a connection may have %d live queries", k.s.o.SubscriptionsMax))
	}
	req.ConnectionID, req.As = k.id, k.principal()
	if err := k.s.limits.subscriptions.take(req.As.User); err != nil {
		return err
	}
	k.queries[q.queryID] = q
	return nil
}

// release makes q's query id free.
func (k *socket) release(q *liveQuery) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.queries[q.queryID] == q {
		delete(k.queries, q.queryID)
	}
}

// unsubscribe ends a live query and waits until it is not registered any more, so
// that the client may use its query id again at once. It is false if there is none.
func (k *socket) unsubscribe(queryID string) bool {
	k.mu.Lock()
	q := k.queries[queryID]
	k.mu.Unlock()
	if q == nil {
		return false
	}
	q.cancel()
	<-q.done
	return true
}

func (k *socket) openQueries() []*liveQuery {
	k.mu.Lock()
	defer k.mu.Unlock()
	open := make([]*liveQuery, 0, len(k.queries))
	for _, q := range k.queries {
		open = append(open, q)
	}
	return open
}

// run is the goroutine of q. The client hears of an end only after the query id is
// free again, so it may subscribe anew the moment it does.
func (q *liveQuery) run(ctx context.Context, req kalamdb.SubscribeRequest) {
	k := q.k
	if req.FromSeq != nil {
		q.delivered.Store(uint64(*req.FromSeq))
	}
	sub, err := k.s.db.Subscribe(ctx, req)
	if err != nil {
		k.release(q)
		if ctx.Err() == nil {
			k.fail(q.queryID, err)
		}
		return
	}
	err = q.pump(ctx, sub)
	if errors.Is(err, errSealed) {
		return // goodbye tells the client
	}
	k.release(q)
	if ctx.Err() != nil {
		return // the client or the socket ended it
	}
	var ended *kalamdb.Ended
	if !errors.As(err, &ended) {
		k.fail(q.queryID, err)
		ended = &kalamdb.Ended{Reason: "error", Seq: row.Seq(q.delivered.Load())}
	}
	k.s.metrics.ended.WithLabelValues(ended.Reason).Inc()
	k.push(endedFrame(sub.ID, q.queryID, ended.Reason, ended.Seq))
}

// pump carries events until sub or ctx ends and closes sub; its error says how.
func (q *liveQuery) pump(ctx context.Context, sub *LiveQuery) error {
	defer sub.Close()
	if !sub.Resumed { // else what lies between from_seq and Seq is still to come
		q.delivered.Store(uint64(sub.Seq))
	}
	if err := q.k.out.push(ctx, subscribedFrame(sub, q.queryID)); err != nil {
		return err
	}
	for {
		e, err := sub.Next(ctx)
		if err != nil {
			return err
		}
		if err := q.k.out.push(ctx, eventFrame(sub.ID, q.queryID, &e)); err != nil {
			return err
		}
		q.delivered.Store(uint64(e.Seq))
	}
}

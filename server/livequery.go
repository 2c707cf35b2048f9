package server

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"kalamdb"
	"kalamdb/row"
)

// A liveQuery is one subscription of a socket. Its life:
//  1. reserve takes its query id.
//  2. A goroutine registers it and carries what was there before, the initial rows or the
//     changes since a cursor, from the database to the outbox.
//  3. It is live and the goroutine ends: the database tells the socket when there is
//     something, and the writer of the socket polls. Changes that are only in the change
//     log lead back to 2.
//  4. finish, once: by the goroutine, or while there is none by whoever takes live away.
type liveQuery struct {
	k         *socket
	queryID   string
	user      row.UserID // whose limit it counts for
	ctx       context.Context
	cancel    context.CancelFunc
	done      chan struct{} // closed when nothing is registered any more
	delivered atomic.Uint64 // the Seq of the last frame in the outbox, or sent

	// The goroutine sets these before the query is live.
	id   string // of the subscription
	push Pusher

	live bool // step 3, guarded by the mu of the socket
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
	q := &liveQuery{k: k, queryID: spec.queryID, done: make(chan struct{})}
	q.ctx, q.cancel = context.WithCancel(k.ctx)
	req := spec.request
	if err := k.reserve(q, &req); err != nil {
		q.cancel()
		k.fail(spec.queryID, err)
		return
	}
	k.s.metrics.subscriptions.Inc()
	k.running.Add(1)
	go q.carry(func() error { return q.begin(req) })
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
	q.user = req.As.User
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
	live := q != nil && q.live
	switch {
	case live:
		q.live = false
		delete(k.queries, queryID)
	case q != nil:
		q.cancel() // under the lock, so that it does not become live
	}
	k.mu.Unlock()
	switch {
	case q == nil:
		return false
	case live:
		q.finish()
	default:
		<-q.done
	}
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

// carry is the goroutine of q: work, until q is live or has ended.
func (q *liveQuery) carry(work func() error) {
	defer q.k.running.Done()
	ended := true
	defer func() {
		if ended {
			q.finish()
		}
	}()
	defer q.k.survive("live query")
	err := work()
	if ended = err != nil; ended {
		q.fail(err)
	}
}

// finish is the end of q.
func (q *liveQuery) finish() {
	if q.push != nil {
		q.push.Close()
	}
	q.k.s.metrics.subscriptions.Dec()
	q.k.s.limits.subscriptions.give(q.user)
	q.cancel()
	close(q.done)
}

// begin registers q and carries its events until it is live.
func (q *liveQuery) begin(req kalamdb.SubscribeRequest) error {
	if req.FromSeq != nil {
		q.delivered.Store(uint64(*req.FromSeq))
	}
	sub, err := q.k.s.db.Subscribe(q.ctx, req)
	if err != nil {
		return err
	}
	q.id, q.push = sub.ID, sub.Push
	if q.push == nil {
		defer sub.Close()
	}
	if !sub.Resumed { // else what lies between from_seq and Seq is still to come
		q.delivered.Store(uint64(sub.Seq))
	}
	if err := q.k.out.push(q.ctx, subscribedFrame(sub, q.queryID)); err != nil {
		return err
	}
	return q.pump(sub.Next)
}

// pump carries events until q is live. Its error says how q has ended.
func (q *liveQuery) pump(next func(context.Context) (kalamdb.Event, error)) error {
	for q.push == nil || !q.push.Live() {
		e, err := next(q.ctx)
		if err != nil {
			return err
		}
		if err := q.k.out.push(q.ctx, eventFrame(q.id, q.queryID, &e)); err != nil {
			return err
		}
		q.delivered.Store(uint64(e.Seq))
	}
	q.k.mu.Lock()
	defer q.k.mu.Unlock()
	if err := q.ctx.Err(); err != nil {
		return err
	}
	q.live = true
	q.push.Notify(q.ready)
	return nil
}

// ready puts q in the list that the writer polls. It is called on the path of commits.
func (q *liveQuery) ready() {
	k := q.k
	k.readyMu.Lock()
	k.ready = append(k.ready, q)
	k.readyMu.Unlock()
	k.out.wake()
}

// takeReady is the list of those that have something to tell, in place of which is spare.
func (k *socket) takeReady(spare []*liveQuery) []*liveQuery {
	k.readyMu.Lock()
	defer k.readyMu.Unlock()
	ready := k.ready
	k.ready = spare
	return ready
}

// sendEvents sends what a live q has to tell.
func (q *liveQuery) sendEvents() error {
	for {
		e, ok, err := q.push.Poll()
		switch {
		case err != nil:
			return q.over(err)
		case !ok:
			return nil
		}
		q.delivered.Store(uint64(e.Seq))
		if err := q.k.sendEvent(q, &e); err != nil {
			return err
		}
	}
}

// over is what the writer does when Poll has nothing more to give. The error is that of
// the connection.
func (q *liveQuery) over(err error) error {
	k := q.k
	k.mu.Lock()
	mine := q.live
	q.live = false
	k.mu.Unlock()
	switch {
	case !mine: // the client has ended it
	case errors.Is(err, kalamdb.ErrBehind):
		k.running.Add(1)
		go q.carry(func() error { return q.pump(q.push.Next) })
	default:
		k.running.Add(1)
		go q.carry(func() error { return err }) // the outbox may make it wait
	}
	return nil
}

// fail tells the client why q has ended. It hears of it only after the query id is free
// again, so it may subscribe anew the moment it does.
func (q *liveQuery) fail(err error) {
	k := q.k
	if errors.Is(err, errSealed) {
		return // goodbye tells the client
	}
	k.release(q)
	if q.ctx.Err() != nil {
		return // the client or the socket ended it
	}
	if q.id == "" { // it has not begun
		k.fail(q.queryID, err)
		return
	}
	var ended *kalamdb.Ended
	if !errors.As(err, &ended) {
		k.fail(q.queryID, err)
		ended = &kalamdb.Ended{Reason: "error", Seq: row.Seq(q.delivered.Load())}
	}
	k.s.metrics.ended.WithLabelValues(ended.Reason).Inc()
	k.push(endedFrame(q.id, q.queryID, ended.Reason, ended.Seq))
}

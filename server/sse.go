package server

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"kalamdb"
	"kalamdb/row"
	"kalamdb/sql"
)

const (
	mediaEvents   = "text/event-stream"
	eventsQueryID = "events" // unless the query string says otherwise
	eventsRetryMs = 1000     // what a browser waits before it connects again
)

// An eventStream is one live query as Server-Sent Events, for clients that have no
// WebSocket. Its life:
//  1. serve checks what serveSocket checks, and the query string.
//  2. register makes it one of the connections that stop and recheck reach.
//  3. Its live query begins. What is wrong until here is an ordinary HTTP error, upon
//     which a browser does not try again by itself.
//  4. run sends the frames a WebSocket would get, each as one event. The goroutine of the
//     request does it all: it waits for changes until the next thing is due.
//  5. It ends by the client, by the end of its live query or of its token, or by stop.
//
// The id of an event is the seq from which the client goes on after it: a browser sends
// it back as Last-Event-ID. An event from which one cannot go on has none, such as a page
// of the initial rows that is not the last. With include_expired none has one: a browser
// starts again from the beginning.
type eventStream struct {
	s       *Server
	w       http.ResponseWriter
	id      string
	queryID string
	session
	ctx context.Context // done when the client is gone or stop was called
	end context.CancelFunc

	stopOnce sync.Once
	why      closing // valid once stopped is closed
	stopped  chan struct{}

	delivered row.Seq
	fresh     bool // no event has an id
}

// wantsEvents says whether a request without an upgrade asks for Server-Sent Events.
func wantsEvents(r *http.Request) bool {
	for _, header := range r.Header["Accept"] {
		for media := range strings.SplitSeq(header, ",") {
			media, _, _ = strings.Cut(media, ";")
			if strings.EqualFold(strings.TrimSpace(media), mediaEvents) {
				return true
			}
		}
	}
	return false
}

// serveEvents is GET /ws with Accept: text/event-stream.
func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) {
	e := &eventStream{s: s, w: w, id: ulid.Make().String(), stopped: make(chan struct{})}
	e.ctx, e.end = context.WithCancel(r.Context())
	defer e.end()
	if err := e.serve(r); err != nil {
		s.writeError(w, r, err)
	}
}

// serve is the life of the stream. Its error is one of before the first byte.
func (e *eventStream) serve(r *http.Request) (err error) {
	if e.claim, err = e.s.enterLive(r); err != nil {
		return err
	}
	req, err := eventsRequest(r)
	if err != nil {
		return err
	}
	if err := e.s.register(e, &e.session); err != nil {
		return err
	}
	defer e.s.unregister(e, &e.session)
	if err := e.s.limits.subscriptions.take(e.who.User); err != nil {
		return err
	}
	defer e.s.limits.subscriptions.give(e.who.User)
	req.ConnectionID, req.As, e.queryID = e.id, e.who, req.QueryID
	sub, err := e.s.db.Subscribe(e.ctx, req)
	if err != nil {
		return err
	}
	defer sub.Close()
	e.s.metrics.subscriptions.Inc()
	defer e.s.metrics.subscriptions.Dec()
	control := http.NewResponseController(e.w)
	if err := control.SetReadDeadline(time.Time{}); err != nil { // that of the request's head
		e.s.log.Debug("no read deadline", "err", err)
	}
	h := e.w.Header()
	h.Set("Content-Type", mediaEvents)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // a proxy that gathers would hold changes back
	e.w.WriteHeader(http.StatusOK)
	e.run(sub, req)
	return nil
}

// eventsRequest reads the query string and the header Last-Event-ID. A browser connects
// again with the same address, so what the header says replaces how the address begins.
func eventsRequest(r *http.Request) (kalamdb.SubscribeRequest, error) {
	q := kalamdb.SubscribeRequest{QueryID: eventsQueryID}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return q, invalidAt(-1, "the query string is broken: %s", err)
	}
	known := append([]string{"sql", "query_id", "token"}, optionFields...)
	for name, given := range values {
		if len(given) > 1 {
			return q, invalidAt(-1, "%q is given twice in the query string", clip(name))
		}
		value := given[0]
		switch {
		case name == "token":
		case name == "sql":
			q.SQL = value
		case name == "query_id":
			q.QueryID = value
		case optionMax[name] != 0:
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil || n < 0 || n > optionMax[name] {
				return q, invalidAt(-1, "%s is %q in the query string, expected a number from 0 to %d", name, clip(value), optionMax[name])
			}
			setOption(&q, name, n)
		case name == "epoch":
			q.Epoch = value
		case name == "coalesce" || name == "include_expired":
			if value != "true" && value != "false" {
				return q, invalidAt(-1, "%s is %q in the query string, expected true or false", name, clip(value))
			}
			if on := value == "true"; name == "coalesce" {
				q.Coalesce = on
			} else {
				q.IncludeExpired = on
			}
		default:
			e := invalidAt(-1, "unknown field %q in the query string", clip(name))
			if near, ok := sql.Nearest(strings.ToLower(clip(name)), known); ok {
				e.Details = "did you mean " + near + "?"
			}
			return q, e
		}
	}
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		n, err := strconv.ParseInt(last, 10, 64)
		if err != nil || n < 0 || n > optionMax["from_seq"] {
			return q, invalidAt(-1, "the header Last-Event-ID is %q, expected the id of an event, which is a seq", clip(last))
		}
		if q.FromSeq == nil {
			q.Epoch = "" // of the address, if any: of the cursor it had
		}
		q.LastRows = 0
		setOption(&q, "from_seq", n)
	}
	return q, checkSubscription(&q)
}

// run sends events until the stream ends.
func (e *eventStream) run(sub *LiveQuery, req kalamdb.SubscribeRequest) {
	e.delivered, e.fresh = sub.Seq, req.IncludeExpired
	if sub.Resumed {
		e.delivered = *req.FromSeq
	}
	head := append(make([]byte, 0, 512), "retry: "...)
	head = append(strconv.AppendInt(head, eventsRetryMs, 10), "\n\n"...)
	start := row.Seq(0)
	if !e.fresh && (sub.Resumed || req.LastRows == 0) {
		start = e.delivered
	}
	if !e.s.send(e.w, appendServerEvent(head, start, subscribedFrame(sub, e.queryID))) {
		return
	}
	token := e.s.watchToken(&e.session)
	for ping := time.Now().Add(e.s.o.PingInterval); e.ctx.Err() == nil; {
		wake := ping
		if next := token.next(); !next.IsZero() && next.Before(ping) {
			wake = next
		}
		due, cancel := context.WithDeadline(e.ctx, wake)
		event, err := sub.Next(due)
		cancel()
		switch {
		case err == nil:
			ping = time.Now().Add(e.s.o.PingInterval)
			if !e.sendEvent(sub, &event) {
				return
			}
		case e.ctx.Err() != nil:
		case errors.Is(err, context.DeadlineExceeded):
			now := time.Now()
			if !now.Before(ping) {
				ping = now.Add(e.s.o.PingInterval)
				if !e.s.send(e.w, []byte(": ping\n\n")) {
					return
				}
			}
			switch frame, expired := token.due(now); {
			case expired:
				e.stop(closeExpired)
			case frame != nil:
				if !e.s.send(e.w, appendServerEvent(nil, 0, frame)) {
					return
				}
			}
		default:
			e.fail(sub, err)
			return
		}
	}
	e.goodbye(sub)
}

func (e *eventStream) sendEvent(sub *LiveQuery, event *kalamdb.Event) bool {
	id := event.Seq
	if e.fresh || event.Initial && event.HasMore {
		id = 0
	}
	if !e.s.send(e.w, appendServerEvent(nil, id, eventFrame(sub.ID, e.queryID, event))) {
		return false
	}
	if id > 0 {
		e.delivered = id
	}
	return true
}

// fail says why the live query is over.
func (e *eventStream) fail(sub *LiveQuery, err error) {
	ended, b := (*kalamdb.Ended)(nil), []byte(nil)
	if !errors.As(err, &ended) {
		fault := asError(err)
		if fault.Code == kalamdb.CodeInternal {
			e.s.log.Error("live query failed", "stream", e.id, "query_id", e.queryID, "cause", fault.Cause)
		}
		b = appendServerEvent(b, 0, errorFrame(e.queryID, fault))
		ended = &kalamdb.Ended{Reason: "error", Seq: e.delivered}
	}
	e.s.metrics.ended.WithLabelValues(ended.Reason).Inc()
	id := ended.Seq
	if e.fresh {
		id = 0
	}
	e.s.send(e.w, appendServerEvent(b, id, endedFrame(sub.ID, e.queryID, ended.Reason, ended.Seq)))
}

// goodbye ends a stream whose client is gone, or that was told to stop.
func (e *eventStream) goodbye(sub *LiveQuery) {
	select {
	case <-e.stopped:
		if e.why == closeExpired {
			e.fail(sub, &kalamdb.Ended{Reason: closeExpired.reason, Seq: e.delivered})
		}
	default:
	}
}

func (e *eventStream) recheck() {
	if e.s.changed(&e.session) {
		e.stop(closeExpired)
	}
}

func (e *eventStream) stop(why closing) {
	e.stopOnce.Do(func() {
		e.why = why
		close(e.stopped)
		e.end()
	})
}

// appendServerEvent appends a frame as one event; id 0 is none. A stored JSON value may
// hold line ends between its tokens; in an event each line is one of data.
func appendServerEvent(dst []byte, id row.Seq, frame []byte) []byte {
	if id > 0 {
		dst = append(dst, "id: "...)
		dst = append(strconv.AppendUint(dst, uint64(id), 10), '\n')
	}
	dst = append(dst, "data: "...)
	for _, c := range frame {
		switch c {
		case '\n', '\r':
			dst = append(dst, "\ndata: "...)
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, "\n\n"...)
}

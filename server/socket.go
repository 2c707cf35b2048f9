package server

import (
	"context"
	"errors"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/oklog/ulid/v2"

	"kalamdb"
	"kalamdb/row"
)

// A closing is why a socket ends, as its close frame says it.
type closing struct {
	code   int
	reason string
}

var (
	closeGoingAway = closing{websocket.CloseGoingAway, "the server is shutting down"}
	closeExpired   = closing{websocket.ClosePolicyViolation, "auth_expired"}
	closeInternal  = closing{websocket.CloseInternalServerErr, "internal error"}
)

// errSilent is why a socket is dropped whose client is gone or says nothing any more.
var errSilent = errors.New("the client is gone")

// readBufferBytes is what a socket keeps for reading while nothing comes.
const readBufferBytes = 1024

var writeBuffers sync.Pool

const (
	closeHandshake = time.Second     // for the client to answer a close frame
	farewell       = 2 * time.Second // for the frames that wait when a socket ends
)

// A socket is one WebSocket. Its life:
//  1. serveSocket checks token, origin and limits, then upgrades. It returns, so that
//     net/http lets go of the request and its buffers; run goes on in a goroutine of its
//     own and is the only reader of the connection.
//  2. write is the only writer: it sends what the outbox holds, pings, and watches
//     the token's expiry.
//  3. Each live query (livequery.go) has a goroutine that pushes into the outbox until it
//     has caught up. Then write asks it for changes when it says that there are some.
//  4. It ends by the client, by a connection that fails or does not answer, or by
//     stop. stop makes write seal the outbox, send what waits and a close frame.
//  5. run returns after every goroutine of the socket.
type socket struct {
	s    *Server
	conn *websocket.Conn
	id   string
	out  *outbox
	ctx  context.Context // done when the connection is of no more use
	end  context.CancelFunc

	stopOnce sync.Once
	why      closing       // valid once stopped is closed
	stopped  chan struct{} // closed by stop
	pace     pace          // of the client's frames; for the reader

	session

	// mu guards the fields below. Nothing blocks under it.
	mu      sync.Mutex
	queries map[string]*liveQuery // by query id; being there reserves the id
	closing bool                  // the close frame is sent: read only on

	running sync.WaitGroup // goroutines of live queries; once write has ended, none begins but by the reader

	// readyMu guards ready: the live queries that write is to ask. It is a leaf, which the
	// path of commits takes.
	readyMu sync.Mutex
	ready   []*liveQuery

	// These belong to write.
	wire     []byte    // frames on their way, complete with the head of the protocol
	deadline time.Time // for sending them; zero: WriteTimeout each time
	spare    []*liveQuery
}

func (s *Server) serveSocket(w http.ResponseWriter, r *http.Request) {
	p, err := s.enterLive(r)
	if err != nil {
		s.writeError(w, r, err)
		return
	}
	if !websocket.IsWebSocketUpgrade(r) {
		s.writeError(w, r, invalidAt(-1, "GET /ws takes a WebSocket upgrade, or the header Accept: "+mediaEvents))
		return
	}
	k := &socket{s: s, id: ulid.Make().String(), out: newOutbox(s.o.OutboxBytesMax), pace: newPace(s.o.MessagesPerSecond),
		stopped: make(chan struct{}), session: session{claim: p, renewed: make(chan struct{}, 1)}, queries: map[string]*liveQuery{}}
	if err := s.register(k, &k.session); err != nil {
		s.writeError(w, r, err)
		return
	}
	up := websocket.Upgrader{
		ReadBufferSize: readBufferBytes, WriteBufferPool: &writeBuffers, WriteBufferSize: readBufferBytes, // only control frames are written through it
		CheckOrigin: func(*http.Request) bool { return true }, // checked above
		Error: func(w http.ResponseWriter, r *http.Request, status int, reason error) {
			s.writeErrorStatus(w, r, http.StatusBadRequest, invalidAt(-1, "the WebSocket upgrade is not valid: %s", reason))
		},
	}
	if k.conn, err = up.Upgrade(w, r, http.Header{"X-Request-Id": {requestIDOf(r)}}); err != nil {
		s.unregister(k, &k.session)
		return // answered by up.Error
	}
	s.active.Add(1) // the request is one of the active, so Run cannot be past its Wait
	go func() {
		defer s.active.Done()
		defer s.unregister(k, &k.session)
		k.run()
	}()
}

// run is steps 2 to 5 of the socket's life.
func (k *socket) run() {
	k.ctx, k.end = context.WithCancel(context.Background())
	written := make(chan struct{})
	go func() {
		defer close(written)
		defer k.end()
		defer k.survive("write")
		k.write()
	}()
	func() {
		defer k.survive("read")
		k.read()
	}()
	k.end()
	select {
	case <-k.stopped: // write is saying goodbye, which has its own bound
	default:
		k.drop(errSilent) // a write that is stuck ends now
	}
	<-written // before it goroutines may begin
	k.running.Wait()
	for _, q := range k.openQueries() {
		if q.live {
			q.finish()
		}
	}
	if err := k.conn.Close(); err != nil {
		k.s.log.Debug("close socket", "socket", k.id, "err", err)
	}
}

// survive keeps a panic of ours in one socket from ending the server.
func (k *socket) survive(where string) {
	if broken := recover(); broken != nil {
		k.s.log.Error("panic in a socket", "socket", k.id, "in", where, "panic", broken, "stack", string(debug.Stack()))
		k.stop(closeInternal)
	}
}

// stop ends the socket with a close frame; the first reason counts. It does not wait.
func (k *socket) stop(why closing) {
	k.stopOnce.Do(func() {
		k.why = why
		close(k.stopped)
	})
}

// read handles the client's frames until the connection ends.
func (k *socket) read() {
	patience := k.s.o.PingInterval * 5 / 2
	k.conn.SetReadLimit(k.s.o.FrameBytesMax)
	k.conn.SetPingHandler(func(data string) error {
		err := k.conn.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(k.s.o.WriteTimeout))
		if err != nil {
			k.s.log.Debug("pong", "socket", k.id, "err", err)
		}
		k.pace.wait(k.ctx, 1)
		return nil // a connection that fails, fails here and in write as well
	})
	k.conn.SetPongHandler(func(string) error {
		k.pace.wait(k.ctx, 1)
		return k.readDeadline(patience)
	})
	for {
		if err := k.readDeadline(patience); err != nil {
			return
		}
		kind, frame, err := k.conn.ReadMessage()
		if err != nil {
			if errors.Is(err, websocket.ErrReadLimit) {
				k.s.log.Debug("frame too large", "socket", k.id)
			}
			return
		}
		select {
		case <-k.stopped:
			continue // only waiting for the client's close frame
		default:
		}
		if kind != websocket.TextMessage {
			k.fail("", invalidAt(-1, "binary frames are not understood, expected JSON text"))
			continue
		}
		k.pace.wait(k.ctx, k.handle(frame))
	}
}

// readDeadline gives the client time to say something, little once it was told goodbye.
func (k *socket) readDeadline(patience time.Duration) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closing {
		return nil // set by goodbye
	}
	return k.conn.SetReadDeadline(time.Now().Add(patience))
}

// handle answers one frame and says for how many messages it counts. What is wrong
// with it is an error frame; the connection goes on.
func (k *socket) handle(b []byte) (messages int) {
	f, err := parseFrame(b)
	if err != nil {
		k.fail(f.queryID, err)
		return 1
	}
	switch f.kind {
	case framePing:
		k.push(pongFrame)
	case frameAuth:
		if err := k.s.renew(&k.session, f.token); err != nil {
			k.fail("", err)
		}
	case frameSubscribe:
		for _, spec := range f.subscriptions {
			k.subscribe(spec)
		}
	case frameUnsubscribe:
		if !k.unsubscribe(f.queryID) {
			k.fail(f.queryID, fail(kalamdb.CodeNotFound, "this connection has no live query with this query_id"))
		}
	}
	return 1 + len(f.subscriptions)
}

// push queues a frame; if it cannot, the socket is ending anyway.
func (k *socket) push(frame []byte) bool { return k.out.push(k.ctx, frame) == nil }

func (k *socket) fail(queryID string, err error) {
	e := asError(err)
	if e.Code == kalamdb.CodeInternal {
		k.s.log.Error("live query failed", "socket", k.id, "query_id", queryID, "cause", e.Cause)
	}
	k.push(errorFrame(queryID, e))
}

// recheck ends the socket if its user is another one now.
func (k *socket) recheck() {
	if k.s.changed(&k.session) {
		k.stop(closeExpired)
	}
}

// write sends frames and pings until the connection fails or the socket ends.
func (k *socket) write() {
	ping := time.NewTicker(k.s.o.PingInterval)
	defer ping.Stop()
	token := k.s.watchToken(&k.session)
	due := token.after()
	for {
		select {
		case <-k.ctx.Done():
			select {
			case <-k.stopped:
				k.goodbye(k.why)
			default:
			}
			return
		case <-k.stopped:
			k.goodbye(k.why)
			return
		case now := <-due:
			frame, expired := token.due(now)
			if expired {
				k.stop(closeExpired)
			}
			if frame != nil {
				if err := errors.Join(k.put(frame), k.flush()); err != nil {
					k.drop(err)
					return
				}
			}
			due = token.after()
		case <-k.renewed:
			token = k.s.watchToken(&k.session)
			due = token.after()
		case <-ping.C:
			if err := k.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(k.s.o.WriteTimeout)); err != nil {
				k.drop(err)
				return
			}
		case <-k.out.some:
			if err := k.sendWaiting(); err != nil {
				k.drop(err)
				return
			}
		}
	}
}

// sendWaiting sends what the outbox holds, and then what live queries have to tell: the
// list of these is taken first, because what they have in the outbox comes before that.
func (k *socket) sendWaiting() error {
	ready := k.takeReady(k.spare[:0])
	for _, frame := range k.out.take() {
		if err := k.put(frame); err != nil {
			return err
		}
		k.out.done(frame)
	}
	for _, q := range ready {
		if err := q.sendEvents(); err != nil {
			return err
		}
	}
	clear(ready)
	k.spare = ready
	return k.flush()
}

// drop ends a connection that takes nothing any more: the reader wakes up.
func (k *socket) drop(err error) {
	k.s.log.Debug("socket dropped", "socket", k.id, "err", err)
	if err := k.conn.NetConn().Close(); err != nil {
		k.s.log.Debug("close socket", "socket", k.id, "err", err)
	}
}

// goodbye sends what waits, says why each live query ends if the token did, and
// closes. After seal no frame can come in between, so the seq of an "ended" frame
// is that of the last change the client got.
func (k *socket) goodbye(why closing) {
	bound := time.Now().Add(farewell)
	k.deadline = bound
	k.out.seal()
	err := k.sendWaiting()
	for _, q := range k.openQueries() {
		if err == nil && why == closeExpired {
			k.s.metrics.ended.WithLabelValues(why.reason).Inc()
			err = k.put(endedFrame(q.liveID(), q.queryID, why.reason, row.Seq(q.delivered.Load())))
		}
	}
	if err == nil {
		err = k.flush()
	}
	if err == nil {
		err = k.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(why.code, why.reason), bound)
	}
	k.mu.Lock()
	k.closing = true
	k.mu.Unlock()
	if err == nil {
		err = k.conn.NetConn().SetReadDeadline(time.Now().Add(closeHandshake))
	}
	if err != nil {
		k.drop(err)
	}
}

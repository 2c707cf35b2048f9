package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// A Spec is one live query.
type Spec struct {
	QueryID   string  // the caller's name for it, unique on its stream
	SQL       string  // SELECT columns or * FROM t [WHERE …]
	LastRows  int     // start with up to so many rows that are there; 0 for none
	FromSeq   *uint64 // resume: every change after it
	Epoch     string  // of the history that FromSeq is from, as "subscribed" said it; "" is not checked
	BatchRows int     // rows in one initial_data event; 0 is the server's default
	// IncludeExpired asks for a DELETE of what goes by its age, too.
	IncludeExpired bool
	// CheckpointMillis asks for an event "checkpoint" every so many milliseconds.
	CheckpointMillis int
}

// Types of an [Event].
const (
	TypeSubscribed  = "subscribed"
	TypeInitialData = "initial_data"
	TypeChange      = "change"
	TypeEnded       = "ended" // the live query is over; Reason says why
	TypeError       = "error"
	TypePong        = "pong"
	TypeExpiring    = "token_expiring" // answer it with Renew
	TypeCheckpoint  = "checkpoint"     // what the result is at Seq: RowCount and Hash
)

// An Event is one frame of the server.
type Event struct {
	Type           string
	QueryID        string
	SubscriptionID string
	Columns        []Column // subscribed
	Resumed        bool     // subscribed
	Epoch          string   // subscribed: the history that Seq is from
	Rows           []Row    // initial_data, change
	HasMore        bool     // initial_data: more of them follow
	ChangeType     string   // change: INSERT, UPDATE or DELETE
	OldValues      []Row    // change, for an UPDATE
	Incomplete     bool     // change: the rest of its transaction follows
	Seq            uint64   // resume after it
	RowCount       int64    // checkpoint
	Hash           string   // checkpoint
	Reason         string   // change, ended
	Err            *Error   // error
	Raw            []byte   // the frame as it came
}

// A ClosedError is the error of Next when the server has closed the stream.
type ClosedError struct {
	Code   int // of RFC 6455: 1001 the server goes away, 1008 the token expired
	Reason string
}

func (e *ClosedError) Error() string {
	return fmt.Sprintf("the server closed the stream: %s (%d)", e.Reason, e.Code)
}

// ErrClosed is the error of Next after Close.
var ErrClosed = errors.New("the stream is closed")

const (
	dialTimeout  = 10 * time.Second
	writeTimeout = 10 * time.Second
	silenceMax   = 90 * time.Second // unless the client says otherwise; the server pings every 30 s
)

// A Stream is a WebSocket with its live queries. Next and Events are for one
// goroutine at a time; the other methods may be called from any. While nobody
// calls Next the server's pings stay unanswered and it drops the connection.
type Stream struct {
	conn    *websocket.Conn
	ctx     context.Context
	silence time.Duration
	stop    func() bool // of the function that closes the connection when ctx ends
	pinger  *time.Timer // calls ping
	token   string      // the newest that the server has; for the goroutine of Next

	// mu guards closed and writes to conn other than control frames.
	mu     sync.Mutex
	closed bool
}

// Subscribe opens a stream with the given live queries; each is answered by an
// event "subscribed" or "error". The stream ends with ctx.
func (c *Client) Subscribe(ctx context.Context, specs ...Spec) (*Stream, error) {
	var s *Stream
	err := c.authorised(ctx, func(token string) (err error) {
		s, err = c.dial(ctx, token)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := s.Add(specs...); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (c *Client) dial(ctx context.Context, token string) (*Stream, error) {
	address := strings.Replace(c.url, "http", "ws", 1) + "/ws" // https becomes wss
	d := websocket.Dialer{Proxy: http.ProxyFromEnvironment, HandshakeTimeout: dialTimeout}
	if t, ok := c.HTTP.Transport.(*http.Transport); ok && t.TLSClientConfig != nil {
		d.TLSClientConfig = t.TLSClientConfig.Clone()
		d.TLSClientConfig.NextProtos = []string{"http/1.1"}
	}
	conn, reply, err := d.DialContext(ctx, address, c.header(token))
	if err != nil {
		if reply != nil && reply.Body != nil {
			text, readErr := io.ReadAll(reply.Body)
			if readErr == nil && errors.Is(err, websocket.ErrBadHandshake) {
				return nil, errorOf(reply, text)
			}
		}
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	s := &Stream{conn: conn, ctx: ctx, silence: c.SilenceMax, token: token}
	if s.silence <= 0 {
		s.silence = silenceMax
	}
	s.stop = context.AfterFunc(ctx, func() { conn.NetConn().Close() })
	conn.SetPongHandler(func(string) error { return s.heard() })
	conn.SetPingHandler(func(data string) error {
		if err := s.heard(); err != nil {
			return err
		}
		err := conn.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(writeTimeout))
		if errors.Is(err, websocket.ErrCloseSent) {
			return nil
		}
		return err
	})
	s.mu.Lock() // ping may come before pinger is set
	defer s.mu.Unlock()
	s.pinger = time.AfterFunc(s.silence/3, s.ping)
	return s, nil
}

// heard gives the server time until it has to say something again.
func (s *Stream) heard() error { return s.conn.SetReadDeadline(time.Now().Add(s.silence)) }

// ping asks a sign of life of the server, and again until the stream is closed or the
// ping cannot be sent; then Next fails, too.
func (s *Stream) ping() {
	if err := s.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeTimeout)); err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.pinger.Reset(s.silence / 3)
	}
}

type subscription struct {
	QueryID string  `json:"query_id"`
	SQL     string  `json:"sql"`
	Options options `json:"options"`
}

type options struct {
	LastRows         int     `json:"last_rows,omitempty"`
	FromSeq          *uint64 `json:"from_seq,omitempty"`
	Epoch            string  `json:"epoch,omitempty"`
	BatchRows        int     `json:"batch_rows,omitempty"`
	IncludeExpired   bool    `json:"include_expired,omitempty"`
	CheckpointMillis int     `json:"checkpoint_ms,omitempty"`
}

// Add subscribes to more live queries.
func (s *Stream) Add(specs ...Spec) error {
	if len(specs) == 0 {
		return nil
	}
	frame := struct {
		Type          string         `json:"type"`
		Subscriptions []subscription `json:"subscriptions"`
	}{Type: "subscribe"}
	for _, p := range specs {
		frame.Subscriptions = append(frame.Subscriptions, subscription{QueryID: p.QueryID, SQL: p.SQL, Options: options{LastRows: p.LastRows,
			FromSeq: p.FromSeq, Epoch: p.Epoch, BatchRows: p.BatchRows, IncludeExpired: p.IncludeExpired, CheckpointMillis: p.CheckpointMillis}})
	}
	return s.send(frame)
}

// Remove ends a live query. Events of it that were on their way still arrive.
func (s *Stream) Remove(queryID string) error {
	return s.send(map[string]string{"type": "unsubscribe", "query_id": queryID})
}

// Renew gives the server a newer token of the same user before the old one ends.
func (s *Stream) Renew(token string) error {
	return s.send(map[string]string{"type": "auth", "token": token})
}

// Ping asks for an event "pong".
func (s *Stream) Ping() error { return s.send(map[string]string{"type": "ping"}) }

func (s *Stream) send(frame any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	return s.conn.WriteJSON(frame)
}

// Next waits for the next event. Its error ends the stream: the context's,
// [ErrClosed], a *[ClosedError] or one of the network.
func (s *Stream) Next() (Event, error) {
	f, err := s.next()
	if err != nil {
		return Event{}, err
	}
	return f.event()
}

func (s *Stream) next() (*frame, error) {
	if err := s.heard(); err != nil {
		return nil, s.failure(err)
	}
	_, text, err := s.conn.ReadMessage()
	if err != nil {
		return nil, s.failure(err)
	}
	return parseFrame(text)
}

func (s *Stream) failure(err error) error {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	var closing *websocket.CloseError
	switch {
	case closed:
		return ErrClosed
	case s.ctx.Err() != nil:
		return s.ctx.Err()
	case errors.As(err, &closing) && closing.Code != websocket.CloseAbnormalClosure:
		return &ClosedError{Code: closing.Code, Reason: closing.Text}
	}
	return fmt.Errorf("read from the server: %w", err)
}

// Events yields Next until it fails; the last pair carries the error.
func (s *Stream) Events() iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			e, err := s.Next()
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// Close ends every live query of the stream. Closing twice does nothing.
func (s *Stream) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.pinger.Stop()
	if !s.stop() {
		return nil // ctx has ended and the connection with it
	}
	// A polite goodbye; if it cannot be sent the connection is of no use anyway.
	_ = s.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
	return s.conn.Close()
}

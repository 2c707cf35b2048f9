package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
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
	BatchRows int     // rows in one initial_data event; 0 is the server's default
}

// Types of an [Event].
const (
	TypeSubscribed  = "subscribed"
	TypeInitialData = "initial_data"
	TypeChange      = "change"
	TypeEnded       = "ended" // the live query is over; Reason says why
	TypeError       = "error"
	TypePong        = "pong"
)

// An Event is one frame of the server.
type Event struct {
	Type           string
	QueryID        string
	SubscriptionID string
	Columns        []Column // subscribed
	Resumed        bool     // subscribed
	Rows           []Row    // initial_data, change
	HasMore        bool     // initial_data: more of them follow
	ChangeType     string   // change: INSERT, UPDATE or DELETE
	OldValues      []Row    // change, for an UPDATE
	Seq            uint64   // resume after it
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
	// silenceMax is how long the server may say nothing: it pings every 30 s.
	silenceMax = 90 * time.Second
)

// A Stream is a WebSocket with its live queries. Next and Events are for one
// goroutine at a time; the other methods may be called from any. While nobody
// calls Next the server's pings stay unanswered and it drops the connection.
type Stream struct {
	conn *websocket.Conn
	ctx  context.Context
	stop func() bool // of the function that closes the connection when ctx ends

	// mu guards writes to conn and closed.
	mu     sync.Mutex
	closed bool
}

// Subscribe opens a stream with the given live queries; each is answered by an
// event "subscribed" or "error". The stream ends with ctx.
func (c *Client) Subscribe(ctx context.Context, specs ...Spec) (*Stream, error) {
	address := strings.Replace(c.url, "http", "ws", 1) + "/ws" // https becomes wss
	d := websocket.Dialer{HandshakeTimeout: dialTimeout}
	conn, reply, err := d.DialContext(ctx, address, c.header())
	if err != nil {
		if reply != nil && reply.Body != nil {
			text, readErr := io.ReadAll(reply.Body)
			if readErr == nil && errors.Is(err, websocket.ErrBadHandshake) {
				return nil, errorOf(reply, text)
			}
		}
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	s := &Stream{conn: conn, ctx: ctx}
	s.stop = context.AfterFunc(ctx, func() { conn.NetConn().Close() })
	conn.SetPingHandler(func(data string) error {
		if err := conn.SetReadDeadline(time.Now().Add(silenceMax)); err != nil {
			return err
		}
		err := conn.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(writeTimeout))
		if errors.Is(err, websocket.ErrCloseSent) {
			return nil
		}
		return err
	})
	if err := s.Add(specs...); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

type subscription struct {
	QueryID string  `json:"query_id"`
	SQL     string  `json:"sql"`
	Options options `json:"options"`
}

type options struct {
	LastRows  int     `json:"last_rows,omitempty"`
	FromSeq   *uint64 `json:"from_seq,omitempty"`
	BatchRows int     `json:"batch_rows,omitempty"`
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
		frame.Subscriptions = append(frame.Subscriptions,
			subscription{QueryID: p.QueryID, SQL: p.SQL, Options: options{LastRows: p.LastRows, FromSeq: p.FromSeq, BatchRows: p.BatchRows}})
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
	if err := s.conn.SetReadDeadline(time.Now().Add(silenceMax)); err != nil {
		return Event{}, s.failure(err)
	}
	_, text, err := s.conn.ReadMessage()
	if err != nil {
		return Event{}, s.failure(err)
	}
	return parseEvent(text)
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
	if !s.stop() {
		return nil // ctx has ended and the connection with it
	}
	// A polite goodbye; if it cannot be sent the connection is of no use anyway.
	_ = s.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
	return s.conn.Close()
}

func parseEvent(text []byte) (Event, error) {
	var f struct {
		errorFields
		Type           string   `json:"type"`
		QueryID        string   `json:"query_id"`
		SubscriptionID string   `json:"subscription_id"`
		Columns        []Column `json:"columns"`
		Resumed        bool     `json:"resumed"`
		Rows           []Row    `json:"rows"`
		HasMore        bool     `json:"has_more"`
		ChangeType     string   `json:"change_type"`
		OldValues      []Row    `json:"old_values"`
		Seq            uint64   `json:"seq"`
		Reason         string   `json:"reason"`
	}
	if err := decode(text, &f); err != nil {
		return Event{}, fmt.Errorf("read frame of the server: %w", err)
	}
	e := Event{Type: f.Type, QueryID: f.QueryID, SubscriptionID: f.SubscriptionID, Columns: f.Columns, Resumed: f.Resumed, Rows: f.Rows,
		HasMore: f.HasMore, ChangeType: f.ChangeType, OldValues: f.OldValues, Seq: f.Seq, Reason: f.Reason, Raw: json.RawMessage(text)}
	if f.Type == TypeError {
		e.Err = f.err()
	}
	return e, nil
}

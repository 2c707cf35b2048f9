package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"kalamdb"
	"kalamdb/auth"
)

// A fakeHub is the live half of a database: the test feeds its subscriptions.
type fakeHub struct {
	mu   sync.Mutex
	subs map[string]*fakeSub // by query id
	asks []kalamdb.SubscribeRequest
	err  error // of Subscribe
}

type fakeSub struct {
	events chan kalamdb.Event
	end    chan error
	closed chan struct{}
}

func (h *fakeHub) subscribe(ctx context.Context, r kalamdb.SubscribeRequest) (*LiveQuery, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asks = append(h.asks, r)
	if h.err != nil {
		return nil, h.err
	}
	if strings.HasPrefix(r.SQL, "bad") {
		return nil, &kalamdb.Error{Code: "SYNTAX_ERROR", Message: "no", Position: 3}
	}
	s := &fakeSub{events: make(chan kalamdb.Event), end: make(chan error, 1), closed: make(chan struct{})}
	h.subs[r.QueryID] = s
	return &LiveQuery{
		ID: r.ConnectionID + "-" + r.QueryID, Columns: []kalamdb.Column{{Name: "id", Type: "BIGINT"}}, Seq: 130, Resumed: r.FromSeq != nil,
		Next: func(ctx context.Context) (kalamdb.Event, error) {
			if r.SQL == "panic" {
				panic("the secret of row 7")
			}
			select {
			case e := <-s.events:
				return e, nil
			case err := <-s.end:
				return kalamdb.Event{}, err
			case <-ctx.Done():
				return kalamdb.Event{}, ctx.Err()
			}
		},
		Close: func() { close(s.closed) },
	}, nil
}

func (h *fakeHub) sub(queryID string) *fakeSub {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.subs[queryID]
}

func newFakeHub() *fakeHub { return &fakeHub{subs: map[string]*fakeSub{}} }

// A talk is a client of /ws that says and hears text.
type talk struct {
	t    *testing.T
	conn *websocket.Conn
	id   string // of the connection, from the first subscription

	patience time.Duration // for a frame; 0 is 10 s
}

func (r *running) dial(t *testing.T, query string, headers http.Header) (*talk, *http.Response, error) {
	t.Helper()
	conn, reply, err := websocket.DefaultDialer.Dial(strings.Replace(r.url, "http", "ws", 1)+"/ws"+query, headers)
	if err != nil {
		return nil, reply, err
	}
	t.Cleanup(func() { conn.Close() })
	return &talk{t: t, conn: conn}, reply, nil
}

func (r *running) connect(t *testing.T, token string) *talk {
	t.Helper()
	k, _, err := r.dial(t, "", http.Header{"Authorization": {"Bearer " + token}})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *talk) say(text string) {
	k.t.Helper()
	if err := k.conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		k.t.Fatal(err)
	}
}

// hear expects a frame; CONN in want stands for the connection's id.
func (k *talk) hear(want string) {
	k.t.Helper()
	got := k.frame()
	if k.id == "" {
		var f struct {
			SubscriptionID string `json:"subscription_id"`
		}
		if json.Unmarshal([]byte(got), &f) == nil {
			k.id, _, _ = strings.Cut(f.SubscriptionID, "-")
		}
	}
	if k.id != "" {
		got = strings.ReplaceAll(got, k.id, "CONN")
	}
	if got != want {
		k.t.Fatalf("heard %s\nwant  %s", got, want)
	}
}

func (k *talk) frame() string {
	k.t.Helper()
	k.conn.SetReadDeadline(time.Now().Add(cmp.Or(k.patience, 10*time.Second)))
	kind, text, err := k.conn.ReadMessage()
	if err != nil {
		k.t.Fatal(err)
	}
	if kind != websocket.TextMessage || !json.Valid(text) {
		k.t.Fatalf("frame of type %d: %q", kind, text)
	}
	return string(text)
}

// closed expects the server's close frame.
func (k *talk) closed(code int) {
	k.t.Helper()
	k.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, text, err := k.conn.ReadMessage()
	var c *websocket.CloseError
	if !errors.As(err, &c) || c.Code != code {
		k.t.Fatalf("got %q, %v; want a close with %d", text, err, code)
	}
}

const subscribeM = `{"type":"subscribe","subscriptions":[{"query_id":"m","sql":"SELECT"}]}`
const subscribedM = `{"type":"subscribed","subscription_id":"CONN-m","query_id":"m","columns":[{"name":"id","type":"BIGINT"}],"seq":130,"resumed":false}`

func rowsOf(rows ...string) [][]byte {
	var b [][]byte
	for _, r := range rows {
		b = append(b, []byte(r))
	}
	return b
}

func TestConversation(t *testing.T) {
	hub := newFakeHub()
	s := start(t, &fakeDB{subscribe: hub.subscribe}, Options{})
	k := s.connect(t, "alice")
	k.say(`{"type":"ping"}`)
	k.hear(`{"type":"pong"}`)
	k.say(`{"type":"subscribe","subscriptions":[{"query_id":"m","sql":"SELECT * FROM t","options":{"last_rows":100,"batch_rows":2}}]}`)
	k.hear(subscribedM)
	ask := hub.asks[0]
	if ask.As.User != "alice" || ask.LastRows != 100 || ask.BatchRows != 2 || ask.FromSeq != nil || ask.SQL != "SELECT * FROM t" || ask.ConnectionID != k.id || ask.QueryID != "m" {
		t.Errorf("asked %+v", ask)
	}
	m := hub.sub("m")
	m.events <- kalamdb.Event{Initial: true, HasMore: true, Rows: rowsOf(`{"id":1}`, `{"id":2}`), Seq: 130}
	k.hear(`{"type":"initial_data","subscription_id":"CONN-m","query_id":"m","rows":[{"id":1},{"id":2}],"has_more":true,"seq":130}`)
	m.events <- kalamdb.Event{Initial: true, Seq: 130}
	k.hear(`{"type":"initial_data","subscription_id":"CONN-m","query_id":"m","rows":[],"has_more":false,"seq":130}`)
	m.events <- kalamdb.Event{Change: "INSERT", Rows: rowsOf(`{"id":3}`), Seq: 131}
	k.hear(`{"type":"change","subscription_id":"CONN-m","query_id":"m","change_type":"INSERT","rows":[{"id":3}],"seq":131,"txn_last":false}`)
	m.events <- kalamdb.Event{Change: "UPDATE", Rows: rowsOf(`{"id":3,"a":2}`), Old: rowsOf(`{"id":3,"a":1}`), Seq: 132}
	k.hear(`{"type":"change","subscription_id":"CONN-m","query_id":"m","change_type":"UPDATE","rows":[{"id":3,"a":2}],"old_values":[{"id":3,"a":1}],"seq":132,"txn_last":false}`)
	m.events <- kalamdb.Event{Change: "DELETE", Reason: "left_filter", Rows: rowsOf(`{"id":3}`), Seq: 133}
	k.hear(`{"type":"change","subscription_id":"CONN-m","query_id":"m","change_type":"DELETE","rows":[{"id":3}],"reason":"left_filter","seq":133,"txn_last":false}`)

	k.say(`{"type":"unsubscribe","query_id":"m"}`)
	k.say(subscribeM) // the id is free at once
	k.hear(subscribedM)
	select {
	case <-m.closed:
	default:
		t.Error("the first live query is still registered")
	}
	m = hub.sub("m")
	m.end <- &kalamdb.Ended{Reason: "lagged", Seq: 140}
	k.hear(`{"type":"ended","subscription_id":"CONN-m","query_id":"m","reason":"lagged","seq":140}`)
	k.say(`{"type":"subscribe","subscriptions":[{"query_id":"m","sql":"SELECT","options":{"from_seq":140}}]}`)
	k.hear(strings.Replace(subscribedM, `"resumed":false`, `"resumed":true`, 1))
	if seq := hub.asks[len(hub.asks)-1].FromSeq; seq == nil || *seq != 140 {
		t.Errorf("from_seq %v", seq)
	}
	hub.sub("m").end <- &kalamdb.Error{Code: "CURSOR_EXPIRED", Message: "too old", Position: -1}
	k.hear(`{"type":"error","query_id":"m","code":"CURSOR_EXPIRED","message":"too old"}`)
	k.hear(`{"type":"ended","subscription_id":"CONN-m","query_id":"m","reason":"error","seq":140}`)
	k.say(`{"type":"ping"}`)
	k.hear(`{"type":"pong"}`)
}

func TestSeveralSubscriptionsFailAlone(t *testing.T) {
	hub := newFakeHub()
	s := start(t, &fakeDB{subscribe: hub.subscribe}, Options{})
	k := s.connect(t, "alice")
	k.say(`{"type":"subscribe","subscriptions":[{"query_id":"a","sql":"SELECT"},{"query_id":"b","sql":"bad"},{"query_id":"c"},{"query_id":"d","sql":"x","optoins":{}},{"query_id":"a","sql":"SELECT"},{"query_id":"e","sql":"SELECT"}]}`)
	var kinds []string
	for range 6 {
		var f struct {
			Type    string
			QueryID string `json:"query_id"`
			Code    string
			Details string
		}
		if err := json.Unmarshal([]byte(k.frame()), &f); err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, strings.TrimSpace(f.QueryID+" "+f.Type+" "+f.Code+" "+f.Details))
	}
	slices.Sort(kinds)
	want := []string{"a error ALREADY_EXISTS", "a subscribed", "b error SYNTAX_ERROR", "c error INVALID_REQUEST", "d error INVALID_REQUEST did you mean options?", "e subscribed"}
	if !slices.Equal(kinds, want) {
		t.Errorf("heard %q\nwant  %q", kinds, want)
	}
}

func TestBadFrames(t *testing.T) {
	hub := newFakeHub()
	s := start(t, &fakeDB{subscribe: hub.subscribe}, Options{})
	k := s.connect(t, "alice")
	sub := func(fields string) string { return `{"type":"subscribe","subscriptions":[{` + fields + `}]}` }
	for _, c := range []struct{ frame, code, in string }{
		{``, "INVALID_REQUEST", "the frame is empty"},
		{`hello`, "INVALID_REQUEST", "broken JSON at byte 0"},
		{`[]`, "INVALID_REQUEST", "must be an object"},
		{`{}`, "INVALID_REQUEST", `\"type\" is missing`},
		{`{"type":1}`, "INVALID_REQUEST", "type must be a string"},
		{`{"type":"subscribe"`, "INVALID_REQUEST", "broken JSON"},
		{`{"type":"ping"} {}`, "INVALID_REQUEST", "more data"},
		{`{"type":"subscrbe"}`, "INVALID_REQUEST", "did you mean subscribe?"},
		{`{"type":"select"}`, "INVALID_REQUEST", "the types are subscribe, unsubscribe, ping, auth"},
		{`{"type":"ping","id":1}`, "INVALID_REQUEST", `unknown field \"id\" in the ping frame`},
		{`{"type":"ping","type":"ping"}`, "INVALID_REQUEST", "given twice"},
		{`{"type":"subscribe"}`, "INVALID_REQUEST", `\"subscriptions\" is missing`},
		{`{"type":"subscribe","subscriptions":{}}`, "INVALID_REQUEST", "must be an array, not an object"},
		{`{"type":"subscribe","subscriptions":[7]}`, "INVALID_REQUEST", "the subscription must be an object, not a number"},
		{`{"type":"unsubscribe"}`, "INVALID_REQUEST", `\"query_id\" is missing`},
		{`{"type":"unsubscribe","query_id":"zzz"}`, "NOT_FOUND", "no live query"},
		{`{"type":"unsubscribe","queryid":"m"}`, "INVALID_REQUEST", "did you mean query_id?"},
		{`{"type":"auth"}`, "INVALID_REQUEST", `\"token\" is missing`},
		{`{"type":"auth","token":"nobody"}`, "UNAUTHENTICATED", "not valid"},
		{`{"type":"auth","token":"bob"}`, "FORBIDDEN", "another user"},
		{sub(`"sql":"x"`), "INVALID_REQUEST", `\"query_id\" is missing`},
		{sub(`"query_id":"","sql":"x"`), "INVALID_REQUEST", `\"query_id\" is missing or empty`},
		{sub(`"query_id":"a\u0000","sql":"x"`), "INVALID_REQUEST", "printable"},
		{sub(`"query_id":"` + strings.Repeat("x", 129) + `","sql":"x"`), "INVALID_REQUEST", "printable"},
		{sub(`"query_id":"m","sql":""`), "INVALID_REQUEST", `\"sql\" is missing`},
		{sub(`"query_id":"m","sql":"x","options":[]`), "INVALID_REQUEST", "options must be an object"},
		{sub(`"query_id":"m","sql":"x","options":{"last_row":1}`), "INVALID_REQUEST", "did you mean last_rows?"},
		{sub(`"query_id":"m","sql":"x","options":{"last_rows":-1}`), "INVALID_REQUEST", "last_rows is -1, expected a whole number from 0 to 1000000"},
		{sub(`"query_id":"m","sql":"x","options":{"last_rows":1.5}`), "INVALID_REQUEST", "whole number"},
		{sub(`"query_id":"m","sql":"x","options":{"last_rows":"1"}`), "INVALID_REQUEST", "not a string"},
		{sub(`"query_id":"m","sql":"x","options":{"from_seq":9007199254740992}`), "INVALID_REQUEST", "from_seq is 9007199254740992"},
		{sub(`"query_id":"m","sql":"x","options":{"batch_rows":10001}`), "INVALID_REQUEST", "batch_rows"},
		{sub(`"query_id":"m","sql":"` + strings.Repeat("x", sqlBytesMax+1) + `"`), "TOO_LARGE", "limit is 1048576"},
	} {
		k.say(c.frame)
		got := k.frame()
		if !strings.Contains(got, `"code":"`+c.code+`"`) || !strings.Contains(got, c.in) || !strings.HasPrefix(got, `{"type":"error",`) {
			t.Errorf("%.80s\n got %s\nwant %s …%s…", c.frame, got, c.code, c.in)
		}
	}
	if err := k.conn.WriteMessage(websocket.BinaryMessage, []byte(`{"type":"ping"}`)); err != nil {
		t.Fatal(err)
	}
	if got := k.frame(); !strings.Contains(got, "binary") {
		t.Error(got)
	}
	k.say(subscribeM) // the connection still works
	k.hear(subscribedM)
	if len(hub.asks) != 1 {
		t.Errorf("%d bad subscriptions reached the database", len(hub.asks)-1)
	}
}

func TestSocketLimits(t *testing.T) {
	hub := newFakeHub()
	s := start(t, &fakeDB{subscribe: hub.subscribe}, Options{SubscriptionsMax: 2, SocketsMax: 1, FrameBytesMax: 1000})
	k := s.connect(t, "alice")
	if _, reply, err := s.dial(t, "?token=alice", nil); err == nil || reply.StatusCode != 429 || reply.Header.Get("Retry-After") == "" {
		t.Errorf("second socket: %v %v", reply, err)
	}
	for _, id := range []string{"a", "b"} {
		k.say(strings.Replace(subscribeM, `"m"`, `"`+id+`"`, 1))
		k.frame()
	}
	k.say(subscribeM)
	if got := k.frame(); !strings.Contains(got, `"code":"LIMIT_EXCEEDED"`) || !strings.Contains(got, "2 live queries") {
		t.Error(got)
	}
	k.say(`{"type":"ping"` + strings.Repeat(" ", 1000) + `}`)
	k.closed(websocket.CloseMessageTooBig)
	eventually(t, "the socket is gone", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.sockets) == 0
	})
	for id := range maps.Keys(hub.subs) {
		select {
		case <-hub.sub(id).closed:
		default:
			t.Errorf("live query %s is still registered", id)
		}
	}
	if a := s.do(t, "GET", "/metrics", ""); !strings.Contains(a.body, "kalamdb_websocket_connections 0") || !strings.Contains(a.body, "kalamdb_websocket_subscriptions 0") {
		t.Error("the gauges are not back at 0")
	}
	s.connect(t, "alice")
}

func TestUpgradeRefused(t *testing.T) {
	s := start(t, &fakeDB{subscribe: newFakeHub().subscribe}, Options{CORSOrigins: []string{"https://app.example"}})
	for _, c := range []struct {
		query   string
		headers http.Header
		status  int
	}{
		{"", nil, 401},
		{"?token=nobody", nil, 401},
		{"?token=alice", http.Header{"Authorization": {"Bearer nobody"}}, 401},
		{"?token=alice", http.Header{"Origin": {"https://evil.example"}}, 403},
		{"?token=alice", http.Header{"Origin": {"null"}}, 403},
		{"?token=alice", http.Header{"Origin": {"https://app.example"}}, 101},
		{"?token=alice", http.Header{"Origin": {s.url}}, 101},
		{"?token=alice", nil, 101},
	} {
		_, reply, err := s.dial(t, c.query, c.headers)
		if reply == nil || reply.StatusCode != c.status || (err == nil) != (c.status == 101) {
			t.Errorf("%s %v: %v, %v; want %d", c.query, c.headers, reply, err, c.status)
		}
	}
	checkError(t, "plain GET", s.do(t, "GET", "/ws", "", asAlice), 400, "INVALID_REQUEST", "upgrade", -1)
	a := s.do(t, "GET", "/ws", "", asAlice, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 12", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
	checkError(t, "old version", a, 400, "INVALID_REQUEST", "upgrade is not valid", -1)
}

func TestPanicInALiveQueryIsOneSocket(t *testing.T) {
	hub := newFakeHub()
	s := start(t, &fakeDB{subscribe: hub.subscribe}, Options{})
	other := s.connect(t, "bob")
	k := s.connect(t, "alice")
	k.say(strings.Replace(subscribeM, "SELECT", "panic", 1))
	k.frame()
	k.closed(websocket.CloseInternalServerErr)
	<-hub.sub("m").closed
	if log := s.log.String(); !strings.Contains(log, "the secret of row 7") || !strings.Contains(log, "socket_test.go") {
		t.Errorf("log: %s", log)
	}
	other.say(`{"type":"ping"}`)
	other.hear(`{"type":"pong"}`)
}

func TestInternalErrorOfALiveQueryIsLogged(t *testing.T) {
	hub := newFakeHub()
	hub.err = &kalamdb.Error{Code: "INTERNAL", Message: "our fault", Position: -1, Cause: errors.New("open /var/secret")}
	s := start(t, &fakeDB{subscribe: hub.subscribe}, Options{})
	k := s.connect(t, "alice")
	k.say(subscribeM)
	k.hear(`{"type":"error","query_id":"m","code":"INTERNAL","message":"our fault"}`)
	if !strings.Contains(s.log.String(), "/var/secret") {
		t.Errorf("log: %s", s.log)
	}
}

func TestDevSocket(t *testing.T) {
	hub := newFakeHub()
	s := start(t, &fakeDB{subscribe: hub.subscribe}, Options{Dev: true})
	k, _, err := s.dial(t, "", http.Header{"X-User-Id": {"carol"}})
	if err != nil {
		t.Fatal(err)
	}
	k.say(subscribeM)
	k.hear(subscribedM)
	if p := hub.asks[0].As; p.User != "carol" || p.Role != auth.User {
		t.Errorf("acts as %+v", p)
	}
}

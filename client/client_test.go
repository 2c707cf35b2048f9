package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve is a server of one handler with a client for it.
func serve(t *testing.T, token string, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	c := New(s.URL+"/", token)
	t.Cleanup(func() {
		c.Close()
		s.Close()
	})
	return c
}

func TestExec(t *testing.T) {
	var got *http.Request
	var body string
	c := serve(t, "secret", func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got, body = r, string(text)
		fmt.Fprint(w, `{"status":"success","results":[
			{"statement":"SELECT","columns":[{"name":"id","type":"BIGINT"},{"name":"d","type":"DECIMAL(4,1)"}],"rows":[{"id":9007199254740991,"d":"1.5"},{"id":null,"d":null}],"row_count":2,"execution_time_ms":0.7},
			{"statement":"INSERT","rows":[],"affected_rows":0,"seq":123,"execution_time_ms":0.4}],"execution_time_ms":1.2}`)
	})
	c.Namespace = "app"
	results, err := c.Exec(t.Context(), "SELECT $1; INSERT", 7, nil, "x", []float64{0.5})
	if err != nil {
		t.Fatal(err)
	}
	if got.Method != "POST" || got.URL.Path != "/api/sql" || got.Header.Get("Authorization") != "Bearer secret" || got.Header.Get("Content-Type") != "application/json" {
		t.Errorf("request %s %s %v", got.Method, got.URL, got.Header)
	}
	if want := `{"sql":"SELECT $1; INSERT","params":[7,null,"x",[0.5]],"namespace":"app"}`; body != want {
		t.Errorf("body %s, want %s", body, want)
	}
	zero := int64(0)
	want := []Result{
		{Statement: "SELECT", Columns: []Column{{"id", "BIGINT"}, {"d", "DECIMAL(4,1)"}}, Rows: []Row{{"id": json.Number("9007199254740991"), "d": "1.5"}, {"id": nil, "d": nil}}, Millis: 0.7},
		{Statement: "INSERT", Rows: []Row{}, Affected: &zero, Seq: 123, Millis: 0.4},
	}
	if !reflect.DeepEqual(results, want) {
		t.Errorf("got  %+v\nwant %+v", results, want)
	}
}

func TestExecErrors(t *testing.T) {
	status, text := 0, ""
	c := serve(t, "", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-User-Id") != "alice" || r.Header.Get("Authorization") != "" {
			t.Errorf("headers %v", r.Header)
		}
		w.Header().Set("Retry-After", "2")
		w.WriteHeader(status)
		fmt.Fprint(w, text)
	})
	c.UserID = "alice"
	for _, x := range []struct {
		status int
		text   string
		want   Error
		str    string
	}{
		{400, `{"status":"error","error":{"code":"TABLE_NOT_FOUND","message":"no table","details":"did you mean t?","statement_index":0,"position":14}}`,
			Error{Code: "TABLE_NOT_FOUND", Message: "no table", Details: "did you mean t?", Statement: 0, Position: 14}, "TABLE_NOT_FOUND: no table (did you mean t?) at byte 14"},
		{401, `{"status":"error","error":{"code":"UNAUTHENTICATED","message":"no token"}}`,
			Error{Code: "UNAUTHENTICATED", Message: "no token", Statement: -1, Position: -1}, "UNAUTHENTICATED: no token"},
		{502, `<html>bad gateway</html>`, Error{Code: "HTTP_502", Message: "the server answered 502 Bad Gateway", Statement: -1, Position: -1}, "HTTP_502: the server answered 502 Bad Gateway"},
	} {
		status, text = x.status, x.text
		_, err := c.Exec(t.Context(), "x")
		var e *Error
		x.want.Status, x.want.RetryAfter = x.status, 2*time.Second
		if !errors.As(err, &e) || *e != x.want || err.Error() != x.str {
			t.Errorf("got %+v (%v), want %+v", e, err, x.want)
		}
	}
	status, text = 200, "hello"
	if _, err := c.Exec(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "not the JSON of a KalamDB server") {
		t.Errorf("error %v", err)
	}
	if _, err := c.Exec(t.Context(), "x", func() {}); err == nil || !strings.Contains(err.Error(), "encode params") {
		t.Errorf("error %v", err)
	}
}

// serveSocket is a server whose /ws runs script; done is closed after it.
func serveSocket(t *testing.T, script func(conn *websocket.Conn)) (c *Client, done chan struct{}) {
	done = make(chan struct{})
	return serve(t, "secret", func(w http.ResponseWriter, r *http.Request) {
		defer close(done)
		if r.URL.Path != "/ws" || r.Header.Get("Authorization") != "Bearer secret" {
			t.Errorf("request %s %v", r.URL, r.Header)
		}
		conn, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		script(conn)
	}), done
}

func hears(t *testing.T, conn *websocket.Conn, want string) {
	t.Helper()
	if _, text, err := conn.ReadMessage(); err != nil || strings.TrimSpace(string(text)) != want {
		t.Errorf("server heard %q, %v; want %q", text, err, want)
	}
}

func says(t *testing.T, conn *websocket.Conn, text string) {
	t.Helper()
	if err := conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		t.Error(err)
	}
}

func TestStream(t *testing.T) {
	c, done := serveSocket(t, func(conn *websocket.Conn) {
		hears(t, conn, `{"type":"subscribe","subscriptions":[{"query_id":"a","sql":"SELECT 1","options":{"last_rows":5,"batch_rows":2}},{"query_id":"b","sql":"SELECT 2","options":{"from_seq":0}}]}`)
		says(t, conn, `{"type":"subscribed","subscription_id":"C-a","query_id":"a","columns":[{"name":"id","type":"BIGINT"}],"seq":130,"resumed":true}`)
		says(t, conn, `{"type":"initial_data","subscription_id":"C-a","query_id":"a","rows":[{"id":1}],"has_more":true,"seq":130}`)
		says(t, conn, `{"type":"change","subscription_id":"C-a","query_id":"a","change_type":"UPDATE","rows":[{"id":2}],"old_values":[{"id":1}],"seq":131}`)
		says(t, conn, `{"type":"error","query_id":"b","code":"CURSOR_EXPIRED","message":"too old","position":3}`)
		says(t, conn, `{"type":"ended","subscription_id":"C-a","query_id":"a","reason":"killed","seq":131}`)
		if err := conn.WriteControl(websocket.PingMessage, []byte("are you there"), time.Now().Add(time.Second)); err != nil {
			t.Error(err)
		}
		says(t, conn, `{"type":"pong"}`)
		answered := ""
		conn.SetPongHandler(func(data string) error { answered = data; return nil })
		hears(t, conn, `{"type":"ping"}`)
		hears(t, conn, `{"query_id":"a","type":"unsubscribe"}`)
		hears(t, conn, `{"token":"newer","type":"auth"}`)
		hears(t, conn, `{"type":"subscribe","subscriptions":[{"query_id":"c","sql":"SELECT 3","options":{}}]}`)
		if answered != "are you there" {
			t.Errorf("pong %q", answered)
		}
		closing := websocket.FormatCloseMessage(websocket.CloseGoingAway, "the server is shutting down")
		if err := conn.WriteControl(websocket.CloseMessage, closing, time.Now().Add(time.Second)); err != nil {
			t.Error(err)
		}
	})
	zero := uint64(0)
	s, err := c.Subscribe(t.Context(), Spec{QueryID: "a", SQL: "SELECT 1", LastRows: 5, BatchRows: 2}, Spec{QueryID: "b", SQL: "SELECT 2", FromSeq: &zero})
	if err != nil {
		t.Fatal(err)
	}
	id := func(n string) Row { return Row{"id": json.Number(n)} }
	want := []Event{
		{Type: TypeSubscribed, QueryID: "a", SubscriptionID: "C-a", Columns: []Column{{"id", "BIGINT"}}, Seq: 130, Resumed: true},
		{Type: TypeInitialData, QueryID: "a", SubscriptionID: "C-a", Rows: []Row{id("1")}, HasMore: true, Seq: 130},
		{Type: TypeChange, QueryID: "a", SubscriptionID: "C-a", ChangeType: "UPDATE", Rows: []Row{id("2")}, OldValues: []Row{id("1")}, Seq: 131},
		{Type: TypeError, QueryID: "b", Err: &Error{Code: "CURSOR_EXPIRED", Message: "too old", Statement: -1, Position: 3}},
		{Type: TypeEnded, QueryID: "a", SubscriptionID: "C-a", Reason: "killed", Seq: 131},
		{Type: TypePong},
	}
	var last error
	for e, err := range s.Events() {
		if err != nil {
			last = err
			break
		}
		if !json.Valid(e.Raw) {
			t.Errorf("raw %q", e.Raw)
		}
		e.Raw = nil
		if len(want) == 0 || !reflect.DeepEqual(e, want[0]) {
			t.Fatalf("got %+v\nwant %+v", e, want)
		}
		if want = want[1:]; e.Type == TypePong {
			for _, send := range []func() error{s.Ping, func() error { return s.Remove("a") }, func() error { return s.Renew("newer") },
				func() error { return s.Add(Spec{QueryID: "c", SQL: "SELECT 3"}) }} {
				if err := send(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	var closed *ClosedError
	if !errors.As(last, &closed) || closed.Code != 1001 || closed.Reason != "the server is shutting down" || len(want) != 0 {
		t.Errorf("ended by %v with %d events missing", last, len(want))
	}
	<-done
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if err := s.Ping(); !errors.Is(err, ErrClosed) {
		t.Errorf("ping after close: %v", err)
	}
}

// untilClosed keeps the server's end open until the client leaves.
func untilClosed(conn *websocket.Conn) {
	for {
		if _, _, err := conn.ReadMessage(); err != nil {
			return
		}
	}
}

func TestStreamEndsWithItsContext(t *testing.T) {
	c, done := serveSocket(t, untilClosed)
	ctx, cancel := context.WithCancel(t.Context())
	s, err := c.Subscribe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := s.Next(); !errors.Is(err, context.Canceled) {
		t.Errorf("Next: %v", err)
	}
	<-done
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func TestCloseWakesNext(t *testing.T) {
	c, done := serveSocket(t, untilClosed)
	s, err := c.Subscribe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, func() { s.Close() })
	if _, err := s.Next(); !errors.Is(err, ErrClosed) {
		t.Errorf("Next: %v", err)
	}
	<-done
}

func TestSubscribeRefused(t *testing.T) {
	c := serve(t, "", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"status":"error","error":{"code":"UNAUTHENTICATED","message":"no token"}}`)
	})
	_, err := c.Subscribe(t.Context())
	var e *Error
	if !errors.As(err, &e) || e.Status != 401 || e.Code != "UNAUTHENTICATED" {
		t.Errorf("error %v", err)
	}
	if _, err := New("http://127.0.0.1:1", "").Subscribe(t.Context()); err == nil || errors.As(err, &e) && e.Code != "UNAUTHENTICATED" {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestSubscribeTakesTheTLSSettings(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		says(t, conn, `{"type":"pong"}`)
		untilClosed(conn)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of the client that refuses
	s.StartTLS()
	defer s.Close()
	c := New(s.URL, "t")
	defer c.Close()
	if _, err := c.Subscribe(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown certificate: %v", err)
	}
	c.HTTP = s.Client()
	stream, err := c.Subscribe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if e, err := stream.Next(); err != nil || e.Type != TypePong {
		t.Errorf("event %+v, %v", e, err)
	}
	if err := stream.Close(); err != nil {
		t.Error(err)
	}
}

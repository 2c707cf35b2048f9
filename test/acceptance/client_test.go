package acceptance

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// A session is one user's view of a server.
type session struct {
	t     *testing.T
	url   string
	token string
}

func (s *server) as(user, role, dataDir string) session {
	s.t.Helper()
	return session{t: s.t, url: s.url, token: token(s.t, dataDir, user, role)}
}

type answer struct {
	HTTP    int    `json:"-"`
	Body    string `json:"-"`
	Status  string
	Results []result
	Error   struct {
		Code, Message, Details string
		StatementIndex         int `json:"statement_index"`
		Position               *int
	}
}

type result struct {
	Statement    string
	Columns      []struct{ Name, Type string }
	Rows         []map[string]any
	RowCount     int   `json:"row_count"`
	AffectedRows int64 `json:"affected_rows"`
	Seq          int64
}

var httpClient = &http.Client{Timeout: waitTimeout}

// post sends SQL and returns whatever the server answers.
func (s session) post(sql string, params ...any) answer {
	s.t.Helper()
	body, err := json.Marshal(map[string]any{"sql": sql, "params": params})
	if err != nil {
		s.t.Fatal(err)
	}
	if params == nil {
		body, _ = json.Marshal(map[string]any{"sql": sql}) // a string always has a JSON form
	}
	r, err := http.NewRequest(http.MethodPost, s.url+"/api/sql", bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if s.token != "" {
		r.Header.Set("Authorization", "Bearer "+s.token)
	}
	resp, err := httpClient.Do(r)
	if err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	text, err := io.ReadAll(resp.Body)
	if err := closeAfter(err, resp.Body); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	a := answer{HTTP: resp.StatusCode, Body: string(text)}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&a); err != nil {
		s.t.Fatalf("%s: the answer %q is no JSON: %v", sql, text, err)
	}
	return a
}

func closeAfter(err error, c io.Closer) error {
	if cerr := c.Close(); err == nil {
		err = cerr
	}
	return err
}

// ok runs one statement that has to succeed.
func (s session) ok(sql string, params ...any) result {
	s.t.Helper()
	a := s.post(sql, params...)
	if a.HTTP != http.StatusOK || a.Status != "success" || len(a.Results) != 1 {
		s.t.Fatalf("%s: %d %s", sql, a.HTTP, a.Body)
	}
	return a.Results[0]
}

// fails runs SQL that has to fail with a status and code.
func (s session) fails(status int, code, sql string) {
	s.t.Helper()
	if a := s.post(sql); a.HTTP != status || a.Status != "error" || a.Error.Code != code || a.Error.Message == "" {
		s.t.Errorf("%s: %d %s, expected %d %s", sql, a.HTTP, a.Body, status, code)
	}
}

// texts are the values of one column, row by row, joined.
func (r result) texts(column string) string {
	var b []string
	for _, row := range r.Rows {
		v, ok := row[column].(string)
		if !ok {
			v = "?"
		}
		b = append(b, v)
	}
	return strings.Join(b, "|")
}

// A socket is one WebSocket with the frames it received, read one by one.
type socket struct {
	t    *testing.T
	conn *websocket.Conn
}

func (s session) dial() *socket {
	s.t.Helper()
	dialer := websocket.Dialer{HandshakeTimeout: waitTimeout}
	conn, resp, err := dialer.Dial("ws"+strings.TrimPrefix(s.url, "http")+"/ws", http.Header{"Authorization": {"Bearer " + s.token}})
	if err != nil {
		s.t.Fatalf("dial /ws: %v", err)
	}
	if err := resp.Body.Close(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() }) // the test or the server may have closed it
	return &socket{t: s.t, conn: conn}
}

type frame struct {
	Type           string
	SubscriptionID string `json:"subscription_id"`
	QueryID        string `json:"query_id"`
	ChangeType     string `json:"change_type"`
	Reason         string
	Code           string
	Message        string
	Rows           []map[string]any
	OldValues      []map[string]any `json:"old_values"`
	HasMore        bool             `json:"has_more"`
	Resumed        bool
	Seq            int64
}

func (k *socket) send(v any) {
	k.t.Helper()
	if err := k.conn.WriteJSON(v); err != nil {
		k.t.Fatal(err)
	}
}

// next is the next frame, which has to be of the type.
func (k *socket) next(typ string) frame {
	k.t.Helper()
	if err := k.conn.SetReadDeadline(time.Now().Add(waitTimeout)); err != nil {
		k.t.Fatal(err)
	}
	_, text, err := k.conn.ReadMessage()
	if err != nil {
		k.t.Fatalf("waiting for a frame %q: %v", typ, err)
	}
	var f frame
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&f); err != nil {
		k.t.Fatalf("frame %q: %v", text, err)
	}
	if f.Type != typ {
		k.t.Fatalf("frame %s, expected type %s", text, typ)
	}
	return f
}

// subscribe sends one subscription and returns the answer to it.
func (k *socket) subscribe(id, sql string, options map[string]any) frame {
	k.t.Helper()
	k.send(map[string]any{"type": "subscribe", "subscriptions": []any{
		map[string]any{"query_id": id, "sql": sql, "options": options},
	}})
	return k.next("subscribed")
}

// nothing checks that no frame was sent before the answer to a ping.
func (k *socket) nothing() {
	k.t.Helper()
	k.send(map[string]any{"type": "ping"})
	k.next("pong")
}

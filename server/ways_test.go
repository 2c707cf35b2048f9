package server

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"kalamdb/auth"
	"kalamdb/client"
	"kalamdb/row"
)

// A way is how a client comes to its live query: it gives the frames of one, one by one.
type way struct {
	name string
	open func(ask ask) (frame func() string)
}

// An ask is a live query with its options as JSON.
type ask struct {
	sql     string
	options map[string]any
}

// ways are all ways of a user to live queries.
func (r *real) ways(user row.UserID) []way {
	token, err := auth.Sign(r.db.Secret(), auth.Principal{User: user, Role: auth.User}, time.Hour)
	if err != nil {
		r.t.Fatal(err)
	}
	socket := func(query string, headers http.Header) func(ask) func() string {
		return func(a ask) func() string {
			k, _, err := r.dial(r.t, query, headers)
			if err != nil {
				r.t.Fatal(err)
			}
			frame, err := json.Marshal(map[string]any{"type": "subscribe", "subscriptions": []any{map[string]any{"query_id": "q", "sql": a.sql, "options": a.options}}})
			if err != nil {
				r.t.Fatal(err)
			}
			k.say(string(frame))
			return k.frame
		}
	}
	return []way{
		{"token in the header", socket("", http.Header{"Authorization": {"Bearer " + token}})},
		{"token in the address", socket("?token="+url.QueryEscape(token), nil)},
		{"events", func(a ask) func() string {
			query := url.Values{"sql": {a.sql}, "query_id": {"q"}, "token": {token}}
			for name, value := range a.options {
				query.Set(name, fmt.Sprint(value))
			}
			return r.events(query)
		}},
	}
}

// events gives the data of Server-Sent Events; an HTTP error is the frame that a socket
// would get.
func (r *real) events(query url.Values) func() string {
	req, err := http.NewRequestWithContext(r.t.Context(), "GET", r.url+"/ws?"+query.Encode(), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Accept", mediaEvents)
	reply, err := r.http.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { reply.Body.Close() })
	lines := bufio.NewReader(reply.Body)
	return func() string {
		if reply.StatusCode != http.StatusOK {
			var body struct{ Error map[string]any }
			if err := json.NewDecoder(lines).Decode(&body); err != nil {
				r.t.Fatal(err)
			}
			delete(body.Error, "request_id")
			delete(body.Error, "statement_index")
			body.Error["type"], body.Error["query_id"] = "error", query.Get("query_id")
			text, err := json.Marshal(body.Error)
			if err != nil {
				r.t.Fatal(err)
			}
			return string(text)
		}
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				r.t.Fatal(err)
			}
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				return strings.TrimSuffix(data, "\n")
			}
		}
	}
}

var (
	connectionIDs = regexp.MustCompile(`"subscription_id":"[0-9A-Z]+-`)
	cursors       = regexp.MustCompile(`,"(seq|epoch)":("[^"]+"|[0-9]+)`)
)

// A chorus are live queries that ask the same in every way.
type chorus struct {
	t      *testing.T
	names  []string
	frames []func() string
}

// hear expects a frame without its cursors, the same in every way with them, and returns it.
func (c *chorus) hear(want string) (frame string) {
	c.t.Helper()
	for i, next := range c.frames {
		got := connectionIDs.ReplaceAllString(next(), `"subscription_id":"CONN-`)
		if i > 0 && got != frame {
			c.t.Fatalf("%s: heard %s\nwhere %s heard %s", c.names[i], got, c.names[0], frame)
		}
		frame = got
		if plain := cursors.ReplaceAllString(got, ""); plain != want {
			c.t.Fatalf("%s: heard %s\nwant %s", c.names[i], plain, want)
		}
	}
	return frame
}

// Every way to a live query is the same conversation with the real database.
func TestEveryWayIsTheSame(t *testing.T) {
	r := startReal(t)
	root, alice, bob := r.client("root", auth.DBA), r.client("alice", auth.User), r.client("bob", auth.User)
	r.must(root, `CREATE NAMESPACE app; CREATE USER TABLE app.n (id INT PRIMARY KEY, room TEXT, v DOUBLE);
		CREATE STREAM TABLE app.s (id INT PRIMARY KEY) WITH (retention = '1h', max_buffer = 1)`)
	r.must(alice, "INSERT INTO app.n VALUES (1, 'a', 1), (2, 'b', 2), (3, 'a', 3)")
	r.must(root, "FLUSH ALL")
	r.must(alice, "INSERT INTO app.n VALUES (4, 'a', 4)")
	ways := r.ways("alice")
	together := func(sql string, options map[string]any) *chorus {
		c := &chorus{t: t}
		for _, w := range ways {
			c.names, c.frames = append(c.names, w.name), append(c.frames, w.open(ask{sql, options}))
		}
		return c
	}
	const (
		head    = `"subscription_id":"CONN-q","query_id":"q",`
		change  = `{"type":"change",` + head + `"change_type":`
		columns = `"columns":[{"name":"id","type":"INTEGER"},{"name":"v","type":"DOUBLE"}]`
		query   = "SELECT id, v FROM app.n WHERE room = 'a'"
	)
	c := together(query, map[string]any{"last_rows": 2, "batch_rows": 1})
	begun := c.hear(`{"type":"subscribed",` + head + columns + `,"resumed":false}`)
	c.hear(`{"type":"initial_data",` + head + `"rows":[{"id":3,"v":3}],"has_more":true}`)
	c.hear(`{"type":"initial_data",` + head + `"rows":[{"id":4,"v":4}],"has_more":false}`)

	play := func() {
		r.must(bob, "INSERT INTO app.n VALUES (5, 'a', 5)")
		r.must(alice, "BEGIN; INSERT INTO app.n VALUES (6, 'a', 6), (7, 'b', 7), (8, 'a', 'Infinity'); UPDATE app.n SET room = 'b' WHERE id = 1; COMMIT")
		r.must(root, "FLUSH ALL; COMPACT TABLE app.n")
		r.must(alice, "UPDATE app.n SET room = 'a' WHERE id = 2; DELETE FROM app.n WHERE id = 3; UPDATE app.n SET v = NULL WHERE id = 4; DELETE FROM app.n WHERE room = 'b'")
	}
	hearPlay := func() {
		t.Helper()
		c.hear(change + `"INSERT","rows":[{"id":6,"v":6}],"txn_last":false}`)
		c.hear(change + `"INSERT","rows":[{"id":8,"v":"Infinity"}],"txn_last":false}`)
		c.hear(change + `"DELETE","rows":[{"id":1,"v":1,"_deleted":true}],"reason":"left_filter","txn_last":true}`)
		c.hear(change + `"INSERT","rows":[{"id":2,"v":2}],"txn_last":true}`)
		c.hear(change + `"DELETE","rows":[{"id":3,"v":3,"_deleted":true}],"txn_last":true}`)
		c.hear(change + `"UPDATE","rows":[{"id":4,"v":null}],"old_values":[{"id":4,"v":4}],"txn_last":true}`)
	}
	play()
	hearPlay()
	var cursor struct {
		Seq   uint64
		Epoch string
	}
	if err := json.Unmarshal([]byte(begun), &cursor); err != nil || cursor.Epoch == "" {
		t.Fatalf("%s: %v", begun, err)
	}
	c = together(query, map[string]any{"from_seq": cursor.Seq, "epoch": cursor.Epoch, "batch_rows": 1})
	c.hear(`{"type":"subscribed",` + head + columns + `,"resumed":true}`)
	hearPlay()
	for _, id := range r.liveIDs(root) {
		r.must(root, "KILL LIVE QUERY '"+id+"'")
	}
	c.hear(`{"type":"ended",` + head + `"reason":"killed"}`)

	c = together("SELECT id FROM app.s", map[string]any{"include_expired": true})
	c.hear(`{"type":"subscribed",` + head + `"columns":[{"name":"id","type":"INTEGER"}],"resumed":false}`)
	r.must(bob, "INSERT INTO app.s VALUES (1)")
	c.hear(change + `"INSERT","rows":[{"id":1}],"txn_last":true}`)
	r.must(bob, "INSERT INTO app.s VALUES (2)")
	for i, frame := range c.frames { // which of the two comes first is not said
		got := []string{cursors.ReplaceAllString(connectionIDs.ReplaceAllString(frame(), ""), ""), cursors.ReplaceAllString(connectionIDs.ReplaceAllString(frame(), ""), "")}
		slices.Sort(got)
		if !strings.Contains(got[0], `"rows":[{"id":1,"_deleted":true}],"reason":"expired","txn_last":true}`) || !strings.Contains(got[1], `"rows":[{"id":2}]`) {
			t.Errorf("%s: %q", c.names[i], got)
		}
	}

	for _, bad := range []struct {
		sql     string
		options map[string]any
		code    string
	}{
		{"SELECT * FROM app.nn", nil, "TABLE_NOT_FOUND"},
		{"SELECT count(*) FROM app.n", nil, ""},
		{query, map[string]any{"from_seq": cursor.Seq, "epoch": "00000000deadbeef"}, "CURSOR_EXPIRED"},
		{query, map[string]any{"from_seq": 1, "last_rows": 1}, "INVALID_REQUEST"},
		{query, map[string]any{"last_rows": -1}, "INVALID_REQUEST"},
		{query, map[string]any{"lost_rows": 1}, "INVALID_REQUEST"},
		{query, map[string]any{"checkpoint_ms": 5}, "INVALID_REQUEST"},
		{query, map[string]any{"include_expired": true}, "INVALID_REQUEST"},
	} {
		c := together(bad.sql, bad.options)
		codes := map[string]bool{}
		for _, frame := range c.frames {
			var f struct{ Type, Code string }
			if err := json.Unmarshal([]byte(frame()), &f); err != nil || f.Type != "error" {
				t.Fatalf("%s: %+v, %v", bad.sql, f, err)
			}
			codes[f.Code] = true
		}
		if len(codes) != 1 || bad.code != "" && !codes[bad.code] {
			t.Errorf("%s %v: %v, expected %s", bad.sql, bad.options, codes, bad.code)
		}
	}
}

func (r *real) liveIDs(root *client.Client) (ids []string) {
	for line := range strings.Lines(r.must(root, "SELECT live_id FROM system.live_queries")) {
		var row struct {
			ID string `json:"live_id"`
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			r.t.Fatal(err)
		}
		ids = append(ids, row.ID)
	}
	return ids
}

// When ALTER TABLE SET (access) answers, nobody listens who may not, whichever way he came:
// those who may do go on.
func TestAccessEndsLiveQueries(t *testing.T) {
	r := startReal(t)
	root, service := r.client("root", auth.DBA), r.client("worker", auth.Service)
	r.must(root, "CREATE NAMESPACE app; CREATE SHARED TABLE app.news (id INT PRIMARY KEY) WITH (access = 'read')")
	var frames []func() string
	for _, w := range r.ways("alice") {
		next := w.open(ask{"SELECT * FROM app.news", nil})
		if got := next(); !strings.Contains(got, `"type":"subscribed"`) {
			t.Fatal(got)
		}
		frames = append(frames, next)
	}
	stream, err := service.Subscribe(t.Context(), client.Spec{QueryID: "kept", SQL: "SELECT id FROM app.news"})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if e, err := stream.Next(); err != nil || e.Type != client.TypeSubscribed {
		t.Fatalf("%+v %v", e, err)
	}
	r.must(root, "ALTER TABLE app.news SET (access = 'private')")
	if got := r.must(root, "SELECT user_id FROM system.live_queries"); got != `{"user_id":"worker"}` {
		t.Errorf("there are the live queries of %s", got)
	}
	r.must(service, "INSERT INTO app.news VALUES (1)")
	for _, next := range frames {
		if got := next(); !strings.Contains(got, `"type":"ended"`) || !strings.Contains(got, `"reason":"table_dropped"`) {
			t.Error(got)
		}
	}
	if e, err := stream.Next(); err != nil || e.Type != client.TypeChange {
		t.Errorf("%+v %v", e, err)
	}
}

// The limit of a frame is that of what it says: compression is not agreed upon, and a
// frame that is compressed all the same is an error of the protocol.
func TestFramesAreNotCompressed(t *testing.T) {
	s := start(t, &fakeDB{subscribe: newFakeHub().subscribe}, Options{FrameBytesMax: 1000})
	d := websocket.Dialer{EnableCompression: true}
	conn, reply, err := d.Dial(strings.Replace(s.url, "http", "ws", 1)+"/ws?token=alice", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if agreed := reply.Header.Get("Sec-WebSocket-Extensions"); agreed != "" {
		t.Errorf("agreed upon %s", agreed)
	}
	k := &talk{t: t, conn: conn}
	k.say(`{"type":"ping"}`)
	k.hear(`{"type":"pong"}`)
	const last, compressed, text, masked = 0x80, 0x40, 1, 0x80
	if _, err := conn.NetConn().Write([]byte{last | compressed | text, masked | 4, 0, 0, 0, 0, 0xaa, 0x56, 0x2a, 0x00}); err != nil {
		t.Fatal(err)
	}
	k.closed(websocket.CloseProtocolError)

	// Pieces of a message count together.
	k = s.connect(t, "alice")
	w, err := k.conn.NextWriter(websocket.TextMessage)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, err := w.Write([]byte(strings.Repeat(" ", 100))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	k.closed(websocket.CloseMessageTooBig)
}

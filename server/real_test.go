package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/ipc"

	"kalamdb"
	"kalamdb/auth"
	"kalamdb/client"
	"kalamdb/row"
)

// A real server over a real database, with tokens of its own secret.
type real struct {
	*running
	t  *testing.T
	db *kalamdb.DB
}

func startReal(t *testing.T) *real {
	t.Helper()
	return startRealWith(t, kalamdb.Options{}, Options{})
}

func startRealWith(t *testing.T, o kalamdb.Options, own Options) *real {
	t.Helper()
	o.DataDir = t.TempDir()
	db, err := kalamdb.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	v, err := auth.NewVerifier(auth.Options{Secret: db.Secret()})
	if err != nil {
		t.Fatal(err)
	}
	own.Verifier = v
	return &real{running: start(t, embedded{db}, own), t: t, db: db}
}

func (r *real) client(user string, role auth.Role) *client.Client {
	r.t.Helper()
	token, err := auth.Sign(r.db.Secret(), auth.Principal{User: row.UserID(user), Role: role}, time.Hour)
	if err != nil {
		r.t.Fatal(err)
	}
	c := client.New(r.url, token)
	r.t.Cleanup(c.Close)
	return c
}

// must is the rows of the last statement as JSON, one a line.
func (r *real) must(c *client.Client, sql string, params ...any) string {
	r.t.Helper()
	results, err := c.Exec(r.t.Context(), sql, params...)
	if err != nil {
		r.t.Fatalf("%s: %v", sql, err)
	}
	var lines []string
	for _, row := range results[len(results)-1].Rows {
		b, err := json.Marshal(row)
		if err != nil {
			r.t.Fatal(err)
		}
		lines = append(lines, string(b))
	}
	return strings.Join(lines, "\n")
}

const createMessages = `CREATE NAMESPACE app;
	CREATE USER TABLE app.messages (id BIGINT AUTO_INCREMENT, text STRING, conversation_id STRING, created_at TIMESTAMP) FLUSH POLICY ROW_LIMIT 1000`

func TestRealConversation(t *testing.T) {
	r := startReal(t)
	root, alice, bob := r.client("root", auth.DBA), r.client("alice", auth.User), r.client("bob", auth.User)
	r.must(root, createMessages)
	for i, text := range []string{"hello", "I'm great!", "\U0001F600"} {
		results, err := alice.Exec(t.Context(), "INSERT INTO app.messages (text, conversation_id, created_at) VALUES ($1, 'c1', $2)", text, fmt.Sprintf("2026-01-02T03:04:0%dZ", i))
		if err != nil || results[0].Affected == nil || *results[0].Affected != 1 || results[0].Seq == 0 {
			t.Fatalf("insert: %+v, %v", results, err)
		}
	}
	const ask = "SELECT text, created_at FROM app.messages ORDER BY created_at"
	want := `{"created_at":"2026-01-02T03:04:00.000000Z","text":"hello"}` + "\n" + `{"created_at":"2026-01-02T03:04:01.000000Z","text":"I'm great!"}` + "\n" + `{"created_at":"2026-01-02T03:04:02.000000Z","text":"😀"}`
	for _, when := range []string{"buffered", "flushed"} {
		if got := r.must(alice, ask); got != want {
			t.Errorf("%s:\n%s", when, got)
		}
		if got := r.must(bob, ask); got != "" {
			t.Errorf("bob sees %s", got)
		}
		r.must(root, "FLUSH TABLE app.messages")
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stream, err := alice.Subscribe(ctx, client.Spec{QueryID: "m", SQL: "SELECT id, text FROM app.messages WHERE conversation_id = 'c1'", LastRows: 10},
		client.Spec{QueryID: "bad", SQL: "SELECT * FROM app.mesages"})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	next := func(kind string) client.Event {
		t.Helper()
		e, err := stream.Next()
		if err != nil || e.Type != kind {
			t.Fatalf("event %+v, %v; want %s", e, err, kind)
		}
		return e
	}
	var initial client.Event
	for range 3 { // the two subscriptions answer in any order
		e, err := stream.Next()
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case e.QueryID == "bad" && (e.Err == nil || e.Err.Code != "TABLE_NOT_FOUND" || !strings.Contains(e.Err.Details, "messages")):
			t.Errorf("bad: %+v", e.Err)
		case e.Type == client.TypeInitialData:
			initial = e
		}
	}
	if len(initial.Rows) != 3 || initial.HasMore {
		t.Errorf("initial data %s", initial.Raw)
	}
	if got := r.must(root, "SELECT query_id, user_id, table_id FROM system.live_queries"); got != `{"query_id":"m","table_id":"app:messages","user_id":"alice"}` {
		t.Errorf("live queries: %s", got)
	}
	r.must(bob, "INSERT INTO app.messages (text, conversation_id) VALUES ('not yours', 'c1')")
	r.must(alice, "INSERT INTO app.messages (text, conversation_id) VALUES ('other', 'c2')")
	r.must(alice, "INSERT INTO app.messages (text, conversation_id) VALUES ('live', 'c1')")
	if e := next(client.TypeChange); e.ChangeType != "INSERT" || len(e.Rows) != 1 || e.Rows[0]["text"] != "live" {
		t.Errorf("insert: %s", e.Raw)
	}
	r.must(alice, "UPDATE app.messages SET text = 'edited' WHERE text = 'live'")
	if e := next(client.TypeChange); e.ChangeType != "UPDATE" || e.Rows[0]["text"] != "edited" || e.OldValues[0]["text"] != "live" {
		t.Errorf("update: %s", e.Raw)
	}
	r.must(alice, "UPDATE app.messages SET conversation_id = 'c2' WHERE text = 'edited'")
	if e := next(client.TypeChange); e.ChangeType != "DELETE" || e.Reason != "left_filter" {
		t.Errorf("left: %s", e.Raw)
	}
	r.must(alice, "DELETE FROM app.messages WHERE text = 'hello'")
	last := next(client.TypeChange)
	if last.ChangeType != "DELETE" || last.Reason != "" {
		t.Errorf("delete: %s", last.Raw)
	}
	r.must(root, "KILL LIVE QUERY '"+initial.SubscriptionID+"'")
	if e := next(client.TypeEnded); e.Reason != "killed" || e.Seq < last.Seq {
		t.Errorf("ended: %s", e.Raw)
	}
	r.must(alice, "INSERT INTO app.messages (text, conversation_id) VALUES ('missed', 'c1')")
	if err := stream.Add(client.Spec{QueryID: "m", SQL: "SELECT text FROM app.messages WHERE conversation_id = 'c1'", FromSeq: &last.Seq}); err != nil {
		t.Fatal(err)
	}
	if e := next(client.TypeSubscribed); !e.Resumed {
		t.Errorf("resume: %s", e.Raw)
	}
	if e := next(client.TypeChange); e.Rows[0]["text"] != "missed" {
		t.Errorf("resumed with %s", e.Raw)
	}
	if a := r.do(t, "GET", "/metrics", ""); !strings.Contains(a.body, "kalamdb_live_queries 1\n") || !strings.Contains(a.body, "kalamdb_commits_total ") || !strings.Contains(a.body, "kalamdb_cache_misses_total ") || strings.Contains(a.body, "alice") {
		t.Error("metrics do not show the live query, or show a user")
	}
}

func TestRealErrors(t *testing.T) {
	r := startReal(t)
	root, alice := r.client("root", auth.DBA), r.client("alice", auth.User)
	r.must(root, createMessages)
	r.must(alice, "INSERT INTO app.messages (id, text) VALUES (1, 'a')")
	for _, c := range []struct {
		sql    string
		params []any
		status int
		code   string
	}{
		{"SELEC 1", nil, 400, "SYNTAX_ERROR"},
		{"SELECT * FROM app.mesages", nil, 400, "TABLE_NOT_FOUND"},
		{"SELECT txt FROM app.messages", nil, 400, "COLUMN_NOT_FOUND"},
		{"INSERT INTO app.messages (id, text) VALUES (1, 'again')", nil, 409, "DUPLICATE_KEY"},
		{"SELECT * FROM read_parquet('/etc/passwd')", nil, 403, "FORBIDDEN_FUNCTION"},
		{"INSTALL httpfs", nil, 403, "FORBIDDEN_STATEMENT"},
		{"CREATE NAMESPACE mine", nil, 403, "FORBIDDEN"},
		{"SELECT $1, $2", []any{1}, 400, "INVALID_PARAMS"},
		{"INSERT INTO app.messages (text) VALUES ('half'); SELEC 2", nil, 400, "SYNTAX_ERROR"},
	} {
		_, err := alice.Exec(t.Context(), c.sql, c.params...)
		var e *client.Error
		if !errors.As(err, &e) || e.Status != c.status || e.Code != c.code {
			t.Errorf("%s: %v; want %d %s", c.sql, err, c.status, c.code)
		}
	}
	if got := r.must(alice, "SELECT id, text FROM app.messages"); got != `{"id":1,"text":"a"}` {
		t.Errorf("after the errors there is %s", got)
	}
	if _, err := root.Exec(t.Context(), "CREATE NAMESPACE app"); !strings.Contains(fmt.Sprint(err), "ALREADY_EXISTS") {
		t.Errorf("second namespace: %v", err)
	}
}

func TestRealStreams(t *testing.T) {
	r := startReal(t)
	alice := r.client("alice", auth.User)
	r.must(r.client("root", auth.DBA), "CREATE NAMESPACE app; CREATE USER TABLE app.t (id INT PRIMARY KEY, d DECIMAL(6,2), tags TEXT[], e EMBEDDING(2), j JSON, ts TIMESTAMP)")
	r.must(alice, "INSERT INTO app.t VALUES (1, 1.5, ['a','b'], [0.5, 1], '{\"k\":[1]}', '2026-01-02 03:04:05'), (2, NULL, NULL, NULL, NULL, NULL)")
	token, err := auth.Sign(r.db.Secret(), auth.Principal{User: "alice"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	const ask = `{"sql":"SELECT id, d, tags, e, j, ts, sum(id) OVER () AS s FROM app.t ORDER BY id"}`
	a := r.do(t, "POST", "/api/sql", ask, jsonBody, "Authorization: Bearer "+token, wantNDJSON)
	want := `{"id":1,"d":"1.50","tags":["a","b"],"e":[0.5,1],"j":{"k":[1]},"ts":"2026-01-02T03:04:05.000000Z","s":"3"}` + "\n" +
		`{"id":2,"d":null,"tags":null,"e":null,"j":null,"ts":null,"s":"3"}` + "\n"
	if a.status != 200 || a.body != want {
		t.Errorf("NDJSON %d\n%s\nwant\n%s", a.status, a.body, want)
	}
	a = r.do(t, "POST", "/api/sql", ask, jsonBody, "Authorization: Bearer "+token, wantArrow)
	reader, err := ipc.NewReader(bytes.NewReader([]byte(a.body)))
	if err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	rows := int64(0)
	for reader.Next() {
		rows += reader.RecordBatch().NumRows()
	}
	if reader.Err() != nil || rows != 2 {
		t.Errorf("Arrow: %d rows, %v, schema %s", rows, reader.Err(), reader.Schema())
	}
	checkError(t, "two statements", r.do(t, "POST", "/api/sql", `{"sql":"SELECT 1; SELECT 2"}`, jsonBody, "Authorization: Bearer "+token, wantNDJSON), 400, "INVALID_REQUEST", "", -1)
}

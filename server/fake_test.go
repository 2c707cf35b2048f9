package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kalamdb"
	"kalamdb/auth"
	"kalamdb/row"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fakeDB answers with functions of the test; it stands for *kalamdb.DB where
// only the protocol matters.
type fakeDB struct {
	exec      func(context.Context, kalamdb.Request) ([]kalamdb.Result, error)
	query     func(context.Context, kalamdb.Request) (Rows, error)
	subscribe func(context.Context, kalamdb.SubscribeRequest) (*LiveQuery, error)
	ready     func(context.Context) error
	identify  func(auth.Principal) (auth.Principal, error) // nil: who the token says
}

func (f *fakeDB) Exec(ctx context.Context, r kalamdb.Request) ([]kalamdb.Result, error) {
	return f.exec(ctx, r)
}
func (f *fakeDB) Query(ctx context.Context, r kalamdb.Request) (Rows, error) { return f.query(ctx, r) }
func (f *fakeDB) Subscribe(ctx context.Context, r kalamdb.SubscribeRequest) (*LiveQuery, error) {
	return f.subscribe(ctx, r)
}
func (f *fakeDB) Ready(ctx context.Context) error { return f.ready(ctx) }
func (f *fakeDB) Stats() kalamdb.Stats            { return kalamdb.Stats{} }
func (f *fakeDB) Identify(p auth.Principal) (auth.Principal, error) {
	if f.identify == nil {
		return p, nil
	}
	return f.identify(p)
}
func (f *fakeDB) APIKey(string) (auth.Principal, error) {
	return auth.Principal{}, fail(codeUnauthenticated, "no keys")
}
func (f *fakeDB) OnUsersChanged(func()) (stop func()) { return func() {} }

// fakeTokens are the tokens of fakeVerifier: "alice" is the user alice and so on.
var fakeTokens = map[string]auth.Principal{
	"alice": {User: "alice", Role: auth.User},
	"bob":   {User: "bob", Role: auth.User},
	"root":  {User: "root", Role: auth.DBA},
}

type fakeVerifier map[string]auth.Principal

func (v fakeVerifier) Verify(token string) (auth.Principal, error) {
	if p, ok := v[token]; ok {
		return p, nil
	}
	return auth.Principal{}, errors.New("invalid token: unknown signature")
}

// A logBuffer collects the server's log.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A running server with its address and log. Closing the test stops it and waits.
type running struct {
	*Server
	url  string
	log  *logBuffer
	http *http.Client
	stop context.CancelFunc
	done chan error
}

func start(t testing.TB, db Database, o Options) *running {
	t.Helper()
	log := &logBuffer{}
	o.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	if o.Verifier == nil && !o.Dev {
		o.Verifier = fakeVerifier(fakeTokens)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	r := &running{Server: newServer(db, o), url: "http://" + ln.Addr().String(), log: log, stop: stop, done: make(chan error, 1),
		http: &http.Client{Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}}}
	go func() { r.done <- r.Run(ctx, ln) }()
	t.Cleanup(func() {
		r.http.CloseIdleConnections()
		stop()
		select {
		case err := <-r.done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Run did not return")
		}
	})
	return r
}

// An answer is status, header and body of a reply.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request with headers given as "Name: value".
func (r *running) do(t testing.TB, method, path, body string, headers ...string) answer {
	t.Helper()
	a, err := r.try(method, path, strings.NewReader(body), headers...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (r *running) try(method, path string, body io.Reader, headers ...string) (answer, error) {
	req, err := http.NewRequest(method, r.url+path, body)
	if err != nil {
		return answer{}, err
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			req.Host = value
			continue
		}
		req.Header.Add(name, value)
	}
	reply, err := r.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	return answer{reply.StatusCode, reply.Header, string(text)}, err
}

const (
	jsonBody = "Content-Type: application/json"
	asAlice  = "Authorization: Bearer alice"
)

// sql posts body to /api/sql as alice.
func (r *running) sql(t testing.TB, body string, headers ...string) answer {
	t.Helper()
	return r.do(t, "POST", "/api/sql", body, append([]string{jsonBody, asAlice}, headers...)...)
}

// memoryRows are Rows of values made beforehand, which may end in an error.
type memoryRows struct {
	columns []kalamdb.Column
	rows    [][]row.Value
	err     error
	at      int
	closed  bool
}

func (m *memoryRows) Columns() []kalamdb.Column { return m.columns }
func (m *memoryRows) Next() bool                { m.at++; return m.at <= len(m.rows) }
func (m *memoryRows) Values() []row.Value       { return m.rows[m.at-1] }
func (m *memoryRows) Err() error {
	if m.at > len(m.rows) {
		return m.err
	}
	return nil
}
func (m *memoryRows) Close() { m.closed = true }

func big(n int64) row.Value { return row.IntValue(row.BigInt, n) }

// eventually waits until ok, which another goroutine makes true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen: %s", what)
		}
	}
}

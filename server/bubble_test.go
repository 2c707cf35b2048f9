package server

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gorilla/websocket"
)

// A bubble is a server whose connections are pipes, so that it can run in a bubble of
// synctest, where hours pass at once.
type bubble struct {
	*Server
	t     *testing.T
	conns chan net.Conn
}

// Accept, Close and Addr make a bubble its own listener.
func (b *bubble) Accept() (net.Conn, error) {
	conn, ok := <-b.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (b *bubble) Close() error   { return nil }
func (b *bubble) Addr() net.Addr { return &net.UnixAddr{Name: "bubble"} }

// inBubble runs f with a server in a bubble.
func inBubble(t *testing.T, db Database, o Options, f func(*bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if o.Verifier == nil {
			o.Verifier = fakeVerifier(fakeTokens)
		}
		o.Logger = slog.New(slog.DiscardHandler)
		b := &bubble{Server: newServer(db, o), t: t, conns: make(chan net.Conn)}
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx, b) }()
		defer func() {
			stop()
			synctest.Wait()
			close(b.conns)
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		}()
		f(b)
	})
}

func (b *bubble) dial() net.Conn {
	client, server := net.Pipe()
	b.conns <- server
	b.t.Cleanup(func() { client.Close() })
	return client
}

// connect opens a WebSocket.
func (b *bubble) connect(token string) *talk {
	b.t.Helper()
	d := websocket.Dialer{NetDialContext: func(context.Context, string, string) (net.Conn, error) { return b.dial(), nil }}
	conn, _, err := d.Dial("ws://bubble/ws", http.Header{"Authorization": {"Bearer " + token}})
	if err != nil {
		b.t.Fatal(err)
	}
	return &talk{t: b.t, conn: conn}
}

// An eventTalk reads Server-Sent Events.
type eventTalk struct {
	t      *testing.T
	reply  *http.Response
	r      *bufio.Reader
	hangUp func()
}

// events asks for Server-Sent Events; headers are given as "Name: value".
func (b *bubble) events(query string, headers ...string) *eventTalk {
	b.t.Helper()
	conn := b.dial()
	req, err := http.NewRequest("GET", "http://bubble/ws?"+query, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return readEvents(b.t, conn, req, headers)
}

func readEvents(t *testing.T, conn net.Conn, req *http.Request, headers []string) *eventTalk {
	t.Helper()
	req.Header.Set("Accept", mediaEvents)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	if err := req.Write(conn); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	reply, err := http.ReadResponse(r, req)
	if err != nil {
		t.Fatal(err)
	}
	return &eventTalk{t: t, reply: reply, r: bufio.NewReader(reply.Body), hangUp: func() { conn.Close() }}
}

// hear expects an event, as its lines are sent; EOF is the end.
func (e *eventTalk) hear(want string) {
	e.t.Helper()
	var got []string
	for {
		line, err := e.r.ReadString('\n')
		if err == io.EOF && line == "" {
			got = append(got, "EOF")
			break
		}
		if err != nil {
			e.t.Fatalf("after %q: %v", got, err)
		}
		if line == "\n" {
			break
		}
		got = append(got, strings.TrimSuffix(line, "\n"))
	}
	text := strings.Join(got, "\n")
	if i := strings.Index(text, `"subscription_id":"`); i >= 0 {
		id, _, _ := strings.Cut(text[i+len(`"subscription_id":"`):], "-")
		text = strings.ReplaceAll(text, id, "CONN")
	}
	if text != want {
		e.t.Fatalf("heard %s\nwant  %s", text, want)
	}
}

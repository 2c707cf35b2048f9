// Package client speaks to a KalamDB server: SQL over HTTP, live queries over a
// WebSocket.
//
//	c := client.New("http://127.0.0.1:8080", token)
//	results, err := c.Exec(ctx, "SELECT text FROM app.messages WHERE id = $1", 7)
//
//	messages, err := client.Select[Message](ctx, c, "SELECT * FROM app.messages WHERE room = $1", "a")
//
//	live := client.Live[Message](ctx, c, client.LiveQuery{SQL: "SELECT * FROM app.messages WHERE room = 'a'"})
//	defer live.Close()
//	err := live.Wait(ctx)
//	for { show(live.Rows()); <-live.Changed() }
//
// client.go is HTTP, token.go who asks, errors.go what the server says when it
// refuses, typed.go rows as Go values. Live queries come in three floors:
//
//   - [Client.Subscribe], stream.go: one WebSocket, its frames as events;
//   - [Client.Follow], follow.go: one live query that outlives its connections, each event once;
//   - [Live], live.go: the rows of the query, which stay equal to the SELECT.
//
// In a [Row] numbers arrive as json.Number, so that none is rounded on its way.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// A Client sends requests to one server as one user. Set its fields before the
// first request; then it is safe for concurrent use.
type Client struct {
	// Namespace of unqualified table names; "" is the server's default.
	Namespace string
	// UserID is who to act as on a server in dev mode, when there is no token.
	UserID string
	// TokenSource gives a token of the user: before the first request if [New] got
	// none, and again when the server refuses the one in use or says that it is about
	// to end. nil: there is only the token of New.
	TokenSource func(context.Context) (string, error)
	// SilenceMax is how long the server may say nothing before a WebSocket counts as
	// lost; 0 is 90 seconds. The client pings after a third of it.
	SilenceMax time.Duration
	// HTTP sends the requests of Exec. WebSockets take the TLS settings of its Transport.
	HTTP *http.Client

	url    string
	tokens tokens
}

// idleConnsMax is how many connections are kept open for the next request.
const idleConnsMax = 256

// New makes a client for the server at url, such as http://127.0.0.1:8080. The
// token may be empty if the server runs in dev mode.
func New(url, token string) *Client {
	t := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		MaxIdleConns:        idleConnsMax,
		MaxIdleConnsPerHost: idleConnsMax,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true,
	}
	return &Client{HTTP: &http.Client{Transport: t}, url: strings.TrimSuffix(url, "/"), tokens: newTokens(token)}
}

// Close closes the connections that no request uses.
func (c *Client) Close() { c.HTTP.CloseIdleConnections() }

// A Column of a result; Type is the server's name of the type, such as BIGINT.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// A Row is one row by column name: nil, bool, json.Number, string, []any or
// map[string]any. Of several columns with one name the server renames the later ones.
type Row = map[string]any

// A Result is the outcome of one statement.
type Result struct {
	Statement string   `json:"statement"` // the verb, such as SELECT
	Columns   []Column `json:"columns"`   // nil if the statement returns no rows
	Rows      []Row    `json:"rows"`
	Affected  *int64   `json:"affected_rows"` // nil if the statement is no INSERT, UPDATE or DELETE
	Seq       uint64   `json:"seq"`           // of the last change, which is durable
	Millis    float64  `json:"execution_time_ms"`
}

type request struct {
	SQL       string `json:"sql"`
	Params    []any  `json:"params,omitempty"`
	Namespace string `json:"namespace,omitempty"`
}

// Exec runs one or more statements; params bind $1 … $n of a single one and are
// encoded by encoding/json. If the server refuses, the error is an *[Error];
// statements before the one that failed stay done.
func (c *Client) Exec(ctx context.Context, sql string, params ...any) ([]Result, error) {
	var answer struct {
		Results []Result `json:"results"`
	}
	if err := c.ask(ctx, sql, params, &answer); err != nil {
		return nil, err
	}
	return answer.Results, nil
}

// ask decodes the answer of the server into answer. A token that is refused is
// replaced once: nothing has run then.
func (c *Client) ask(ctx context.Context, sql string, params []any, answer any) error {
	body, err := json.Marshal(request{SQL: sql, Params: params, Namespace: c.Namespace})
	if err != nil {
		return fmt.Errorf("encode params: %w", err)
	}
	var text []byte
	err = c.authorised(ctx, func(token string) error {
		text, err = c.post(ctx, token, body)
		return err
	})
	if err != nil {
		return err
	}
	if err := decode(text, answer); err != nil {
		return fmt.Errorf("the answer of %s is not the JSON of a KalamDB server, or not what was asked for: %w", c.url, err)
	}
	return nil
}

func (c *Client) post(ctx context.Context, token string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/api/sql", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = c.header(token)
	req.Header.Set("Content-Type", "application/json")
	reply, err := c.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if reply.StatusCode != http.StatusOK {
		return nil, errorOf(reply, text)
	}
	return text, nil
}

func (c *Client) header(token string) http.Header {
	h := http.Header{}
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	} else if c.UserID != "" {
		h.Set("X-User-Id", c.UserID)
	}
	return h
}

// decode keeps numbers as they were written.
func decode(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d.Decode(into)
}

// Package client speaks to a KalamDB server: SQL over HTTP, live queries over a
// WebSocket.
//
//	c := client.New("http://127.0.0.1:8080", token)
//	results, err := c.Exec(ctx, "SELECT text FROM app.messages WHERE id = $1", 7)
//
//	stream, err := c.Subscribe(ctx, client.Spec{QueryID: "m", SQL: "SELECT * FROM app.messages", LastRows: 10})
//	defer stream.Close()
//	for event, err := range stream.Events() { … }
//
// client.go is HTTP, stream.go the WebSocket, errors.go what the server says when
// it refuses. Numbers arrive as json.Number, so that none is rounded on its way.
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
	// HTTP sends the requests of Exec.
	HTTP *http.Client

	url   string
	token string
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
	return &Client{HTTP: &http.Client{Transport: t}, url: strings.TrimSuffix(url, "/"), token: token}
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
	body, err := json.Marshal(request{SQL: sql, Params: params, Namespace: c.Namespace})
	if err != nil {
		return nil, fmt.Errorf("encode params: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/api/sql", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = c.header()
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
	var answer struct {
		Results []Result `json:"results"`
	}
	if err := decode(text, &answer); err != nil {
		return nil, fmt.Errorf("the answer of %s is not the JSON of a KalamDB server: %w", c.url, err)
	}
	return answer.Results, nil
}

func (c *Client) header() http.Header {
	h := http.Header{}
	if c.token != "" {
		h.Set("Authorization", "Bearer "+c.token)
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

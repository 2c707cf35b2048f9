// Package server is the outside of the database: HTTP and WebSocket as the
// contract writes them. It decodes, finds out who asks, calls the [Database] and
// encodes; it decides nothing about data.
//
// A request for SQL walks through routes.go (request id, metrics, panics), who.go
// (token → Principal), decode.go over reader.go (strict JSON → kalamdb.Request) and
// leaves through answer.go (one JSON document) or stream.go and arrow.go (rows as
// they come). errors.go is the only table that knows both codes and HTTP statuses.
//
// A WebSocket is socket.go (its life), frames.go (what clients say and hear),
// livequery.go (one goroutine per subscription) and outbox.go (the bounded queue
// all of them write to). A client that reads slowly fills the outbox; the
// subscription's goroutine then waits and stops pulling, so that the bounded queue
// of the live hub overflows and ends the subscription as "lagged". No writer of
// data ever waits for a socket.
//
// server.go ties it together: New starts nothing, Run serves until its context is
// done and then waits for everything it started. assets.go holds what is embedded:
// the web console and the OpenAPI document.
package server

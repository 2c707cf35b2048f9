package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

const (
	laneReadBytes  = 4 << 10                // read at once, unless a request says that it is larger
	laneWatchAfter = 100 * time.Millisecond // after that a running request looks whether its client is still there
	laneRearm      = time.Second            // a deadline that is so old is set anew
)

var longAgo = time.Unix(1, 0)

// A laneConn is one connection on the lane. Its goroutine reads a request, answers it
// and reads the next one. A request that takes longer has a second goroutine beside
// it, which notices that the client goes away and cancels the request.
//
// Deadlines of the connection are set ahead and not for each request, because setting
// one costs as much as parsing a head: armed and writeArmed say when.
type laneConn struct {
	lane *lane
	conn net.Conn
	buf  []byte // read and not answered yet

	req    *http.Request // made once and filled for each request
	body   laneBody
	answer laneWriter
	last   []byte // the head of the last request: clients repeat themselves
	length int    // of the body that last announces

	cancel            context.CancelFunc // of requests
	armed, writeArmed time.Time

	watch   *time.Timer   // runs look
	watched chan struct{} // capacity 1: look has returned
	early   []byte        // what look read
}

func newLaneConn(l *lane, conn net.Conn) *laneConn {
	c := &laneConn{lane: l, conn: conn, watched: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(l.base)
	c.cancel = cancel
	c.req = (&http.Request{Method: http.MethodPost, URL: &url.URL{Path: routeSQL}, RequestURI: routeSQL, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, RemoteAddr: conn.RemoteAddr().String(), Body: &c.body}).WithContext(ctx)
	c.answer.conn = c
	c.answer.header = http.Header{}
	return c
}

// serve answers requests until the connection ends or belongs to net/http.
func (c *laneConn) serve() {
	passed := false
	defer func() {
		c.cancel()
		c.lane.forget(c)
		if !passed {
			_ = c.conn.Close()
		}
	}()
	if secured, ok := c.conn.(*tls.Conn); ok && !handshake(secured) {
		return
	}
	c.watch = time.AfterFunc(time.Hour, c.look)
	c.watch.Stop()
	for {
		head, err := c.receive()
		switch {
		case errors.Is(err, errNotForLane):
			passed = c.pass()
			return
		case err != nil:
			return
		}
		if !c.respond(head) || c.lane.closing.Load() {
			return
		}
	}
}

// handshake begins TLS; a client has as long for it as for a head.
func handshake(c *tls.Conn) bool {
	ctx, cancel := context.WithTimeout(context.Background(), headerReadTimeout)
	defer cancel()
	return c.HandshakeContext(ctx) == nil
}

var errNotForLane = errors.New("the request is not for the lane")

// receive reads until buf begins with a whole request and fills req. It returns the
// length of the head.
func (c *laneConn) receive() (head int, err error) {
	began := time.Time{} // when the first bytes of the request were there
	for {
		if len(c.buf) > 0 {
			var ok bool
			if head, ok = laneHeadEnd(c.buf); !ok {
				return 0, errNotForLane
			}
			if head > 0 {
				if !bytes.Equal(c.buf[:head], c.last) {
					if c.length, ok = parseLaneHead(c.buf[:head], c.req.Header); !ok {
						c.last = c.last[:0]
						return 0, errNotForLane
					}
					c.last = append(c.last[:0], c.buf[:head]...)
				}
				if len(c.buf) >= head+c.length {
					return head, nil
				}
			}
			if began.IsZero() {
				began = time.Now()
			}
		}
		if err := c.arm(began, head > 0); err != nil {
			return 0, err
		}
		if err := c.read(head + c.length - len(c.buf)); err != nil {
			return 0, err
		}
	}
}

// read appends what the connection has to buf, which has room for at least want bytes.
func (c *laneConn) read(want int) error {
	if room := cap(c.buf) - len(c.buf); room == 0 || room < want {
		grown := make([]byte, len(c.buf), len(c.buf)+max(want, laneReadBytes))
		copy(grown, c.buf)
		c.buf = grown
	}
	n, err := c.conn.Read(c.buf[len(c.buf):cap(c.buf)])
	c.buf = c.buf[:len(c.buf)+n]
	if n > 0 {
		return nil
	}
	return err
}

// arm sets the read deadline: of an idle connection if no byte of a request is there,
// else of the head or the body.
func (c *laneConn) arm(began time.Time, hasHead bool) error {
	now := time.Now()
	var deadline time.Time
	switch {
	case began.IsZero():
		if now.Sub(c.armed) < laneRearm {
			return nil
		}
		c.armed = now
		deadline = now.Add(idleTimeout)
	case hasHead:
		c.armed, deadline = time.Time{}, began.Add(requestReadLimit)
	default:
		c.armed, deadline = time.Time{}, began.Add(headerReadTimeout)
	}
	if err := c.conn.SetReadDeadline(deadline); err != nil {
		return err
	}
	if c.lane.closing.Load() { // perhaps this deadline has replaced the one of Close
		return net.ErrClosed
	}
	return nil
}

// respond answers the request that buf begins with. It is false if the connection must
// not be used any more.
func (c *laneConn) respond(head int) (keep bool) {
	request := head + c.length
	c.body.rest = c.buf[head:request]
	c.req.ContentLength = int64(c.length)
	c.req.Host = c.req.Header["Host"][0]
	delete(c.req.Header, "X-Request-Id") // of the last request
	c.answer.reset()
	c.watch.Reset(laneWatchAfter)
	served := c.handle()
	if !c.watch.Stop() {
		_ = c.conn.SetReadDeadline(longAgo)
		<-c.watched
		c.armed = time.Time{}
	}
	if !served || c.answer.failed || c.req.Context().Err() != nil {
		return false
	}
	rest := copy(c.buf, c.buf[request:])
	c.buf = append(c.buf[:rest], c.early...)
	c.early = c.early[:0]
	if cap(c.buf) > 4*laneReadBytes && len(c.buf) == 0 {
		c.buf = nil
	}
	return c.answer.header.Get("Connection") != "close"
}

// handle is false if the handler has cut its answer off.
func (c *laneConn) handle() (served bool) {
	defer func() {
		if broken := recover(); broken != nil && broken != http.ErrAbortHandler {
			panic(broken) // around has let it through: a bug of the server itself
		}
	}()
	s := c.lane.s
	s.around(&c.answer, c.req, routeSQL, func() { s.serveSQL(&c.answer, c.req) })
	return true
}

// look waits until the client sends more or goes away, which cancels the request.
func (c *laneConn) look() {
	defer func() { c.watched <- struct{}{} }()
	var b [1]byte
	n, err := c.conn.Read(b[:])
	c.early = append(c.early[:0], b[:n]...)
	if n == 0 && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.cancel()
	}
}

// pass hands the connection to net/http, which reads first what was read here.
func (c *laneConn) pass() bool {
	if err := c.conn.SetDeadline(time.Time{}); err != nil {
		return false
	}
	select {
	case c.lane.rest <- &passedConn{Conn: c.conn, first: c.buf}:
		return true
	case <-c.lane.done:
		return false
	}
}

// A passedConn reads first before Conn.
type passedConn struct {
	net.Conn
	first []byte
}

func (c *passedConn) Read(p []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(p, c.first)
		if c.first = c.first[n:]; len(c.first) == 0 {
			c.first = nil // a WebSocket is open for long
		}
		return n, nil
	}
	return c.Conn.Read(p)
}

// A laneBody is a request's body that is in memory.
type laneBody struct{ rest []byte }

func (b *laneBody) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// Close does nothing: the connection goes on.
func (b *laneBody) Close() error { return nil }

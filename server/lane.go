package server

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A lane is the short way for the plainest requests: POST /api/sql over HTTP/1.1 with
// a small body and nothing unusual in its head, which is what a client that inserts
// rows sends thousands of times. It reads and answers them with one system call each
// and without what net/http needs to serve every other request too: that is about a
// third of what a durable insert costs. See docs/decisions/0008-a-short-lane.md.
//
// The lane takes every new connection. At the first request that is not of its kind,
// the connection goes to net/http with all bytes that were read, and stays there. So
// the lane never decides that a request is wrong, only that it is not sure. Requests
// on the lane go through the same handler as the others.
//
// It is the net.Listener of net/http's server, which accepts what the lane passes on.
type lane struct {
	s       *Server
	ln      net.Listener
	base    context.Context // of requests
	rest    chan net.Conn   // for net/http
	broken  chan error      // capacity 1: the listener failed
	closing atomic.Bool
	done    chan struct{} // closed when closing begins

	mu    sync.Mutex // guards conns; nothing blocks under it
	conns map[*laneConn]struct{}

	running sync.WaitGroup // the accept loop and the connections
}

func newLane(s *Server, ln net.Listener, base context.Context) *lane {
	l := &lane{s: s, ln: ln, base: base, rest: make(chan net.Conn), broken: make(chan error, 1),
		done: make(chan struct{}), conns: map[*laneConn]struct{}{}}
	l.running.Go(l.accept)
	return l
}

const (
	acceptRetryMin = 5 * time.Millisecond
	acceptRetryMax = time.Second
)

func (l *lane) accept() {
	wait := acceptRetryMin
	for {
		conn, err := l.ln.Accept()
		if err == nil {
			wait = acceptRetryMin
			if c := l.open(conn); c != nil {
				l.running.Go(c.serve)
			}
			continue
		}
		// As net/http does: too many open files pass by themselves.
		if ne, ok := err.(interface{ Temporary() bool }); !ok || !ne.Temporary() {
			l.broken <- err
			return
		}
		l.s.log.Warn("connection not accepted, trying again", "err", err, "retry_in", wait)
		select {
		case <-time.After(wait):
		case <-l.done:
			return
		}
		wait = min(2*wait, acceptRetryMax)
	}
}

// open registers a connection, nil if the lane is closing.
func (l *lane) open(conn net.Conn) *laneConn {
	c := newLaneConn(l, conn)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing.Load() {
		_ = conn.Close()
		return nil
	}
	l.conns[c] = struct{}{}
	return c
}

// forget takes c off the list of connections that Close and abort reach.
func (l *lane) forget(c *laneConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// Accept waits for a connection that is not for the lane.
func (l *lane) Accept() (net.Conn, error) {
	select {
	case c := <-l.rest:
		return c, nil
	case err := <-l.broken:
		return nil, err
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Addr is the address of the listener.
func (l *lane) Addr() net.Addr { return l.ln.Addr() }

// Close ends the listener and the connections without a request; the others end after
// their answer.
func (l *lane) Close() error {
	if l.closing.Swap(true) {
		return nil
	}
	close(l.done)
	err := l.ln.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.conn.SetReadDeadline(longAgo) // wakes it; see laneConn.arm
	}
	return err
}

// abort cuts the connections that are left and cancels their requests.
func (l *lane) abort() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		c.cancel()
		_ = c.conn.Close()
	}
}

// wait returns when no connection is left on the lane. Those that are not done when
// ctx ends are cut; it is false then.
func (l *lane) wait(ctx context.Context) bool {
	ended := make(chan struct{})
	go func() {
		l.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return true
	case <-ctx.Done():
	}
	l.abort()
	<-ended
	return false
}

package server

import (
	"net/http"
	"sync"
	"time"

	"kalamdb"
	"kalamdb/auth"
	"kalamdb/row"
)

// A connection is a WebSocket or an event stream: what outlives the request that began it.
type connection interface {
	// stop ends it; the first reason counts. It does not wait.
	stop(why closing)
	// recheck ends it if its user is another one now.
	recheck()
}

// A session is whom a connection acts for, and until when.
type session struct {
	renewed chan struct{} // capacity 1: who has another expiry

	// authMu guards the fields below. Nothing blocks under it.
	authMu sync.Mutex
	claim  auth.Principal // of the newest token
	who    auth.Principal // who that is; his role is the same for the connection's whole life
}

// enterLive is who may begin a connection that r asks for: his token is good, and the page
// he comes from may connect.
func (s *Server) enterLive(r *http.Request) (auth.Principal, error) {
	p, err := s.claimed(r, true)
	if err != nil {
		return p, err
	}
	if origin := r.Header.Get("Origin"); origin != "" && !s.allowedOrigin(origin, r) {
		e := fail("FORBIDDEN", "pages of this origin may not connect")
		e.Details = "the operator can add it to the list of CORS origins"
		return p, e
	}
	return p, nil
}

// register makes c one of the connections that stop tells to close and recheck looks at.
// Its user is identified under the same lock, so no change of him is missed.
func (s *Server) register(c connection, x *session) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.who, err = s.db.Identify(x.claim); err != nil {
		return err
	}
	switch {
	case s.stopping:
		return fail(kalamdb.CodeNotReady, "the server is shutting down")
	case len(s.sockets) >= s.o.SocketsMax:
		return fail(codeLimitExceeded, "the server has as many WebSockets open as it takes")
	}
	if err := s.limits.sockets.take(x.who.User); err != nil {
		return err
	}
	s.sockets[c] = struct{}{}
	s.metrics.sockets.Inc()
	return nil
}

func (s *Server) unregister(c connection, x *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sockets, c)
	s.limits.sockets.give(x.who.User) // a renewal is of the same user
	s.metrics.sockets.Dec()
}

func (x *session) principal() auth.Principal {
	x.authMu.Lock()
	defer x.authMu.Unlock()
	return x.who
}

// renew takes a newer token of the same user in the same role: what the live
// queries may see was decided by both.
func (s *Server) renew(x *session, token string) error {
	claim, err := s.verify(token)
	if err != nil {
		return err
	}
	p, err := s.db.Identify(claim)
	if err != nil {
		return err
	}
	x.authMu.Lock()
	defer x.authMu.Unlock()
	if p.User != x.who.User || p.Role != x.who.Role {
		e := fail("FORBIDDEN", "the new token is of another user or role than the connection")
		e.Details = "open another connection for it"
		return e
	}
	x.claim, x.who = claim, p
	select {
	case x.renewed <- struct{}{}:
	default:
	}
	return nil
}

// changed says whether the user of x is another one now.
func (s *Server) changed(x *session) bool {
	x.authMu.Lock()
	claim, role := x.claim, x.who.Role
	x.authMu.Unlock()
	p, err := s.db.Identify(claim)
	return err != nil || p.Role != role
}

// A tokenWatch knows what is due about the token of a connection. The client hears of
// its end TokenNotice before, or after half of what is left if that is later.
type tokenWatch struct {
	notice, end time.Time // zero: nothing to come
}

// watchToken looks at the newest token of x.
func (s *Server) watchToken(x *session) tokenWatch {
	end := x.principal().Expires
	if end.IsZero() {
		return tokenWatch{}
	}
	left := time.Until(end)
	return tokenWatch{notice: end.Add(-min(s.o.TokenNotice, left/2)), end: end}
}

// next is when something is due, zero if nothing will be.
func (t *tokenWatch) next() time.Time {
	if !t.notice.IsZero() {
		return t.notice
	}
	return t.end
}

// after fires when something is due.
func (t *tokenWatch) after() <-chan time.Time {
	next := t.next()
	if next.IsZero() {
		return nil
	}
	return time.After(time.Until(next))
}

// due is what now asks for: the frame that announces the end, or the end.
func (t *tokenWatch) due(now time.Time) (frame []byte, expired bool) {
	switch {
	case t.end.IsZero():
		return nil, false
	case !now.Before(t.end):
		return nil, true
	case t.notice.IsZero() || now.Before(t.notice):
		return nil, false
	}
	t.notice = time.Time{}
	return tokenExpiringFrame(t.end), false
}

func tokenExpiringFrame(end time.Time) []byte {
	b := append(make([]byte, 0, 96), `{"type":"token_expiring","expires_at":`...)
	b = row.IntValue(row.Timestamp, end.UnixMicro()).AppendJSON(b)
	return append(b, '}')
}

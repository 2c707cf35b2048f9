package server

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"kalamdb/auth"
	"kalamdb/row"
)

// devUser is who a request without a token acts as in dev mode.
var devUser = auth.Principal{User: "root", Role: auth.DBA}

// who says who sends r, as the database knows him now.
func (s *Server) who(r *http.Request) (auth.Principal, error) {
	p, err := s.claimed(r, false)
	if err != nil {
		return p, err
	}
	return s.db.Identify(p)
}

// claimed is the principal of r's token. Only a WebSocket may carry its token in the
// address, because browsers cannot give it a header.
func (s *Server) claimed(r *http.Request, socket bool) (auth.Principal, error) {
	if s.o.Dev && !loopbackHost(r.Host) {
		// A page of somebody else may have pointed its own name at this machine.
		return auth.Principal{}, fail("FORBIDDEN", "in dev mode the server answers only to localhost and loopback addresses")
	}
	token := ""
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, rest, _ := strings.Cut(h, " ")
		if !strings.EqualFold(scheme, "bearer") {
			return auth.Principal{}, fail(codeUnauthenticated, "the Authorization header is not of the form: Bearer <token>")
		}
		if token = strings.TrimSpace(rest); token == "" {
			return auth.Principal{}, fail(codeUnauthenticated, "the Authorization header has no token behind Bearer")
		}
	} else if socket {
		token = r.URL.Query().Get("token")
	}
	if token != "" {
		return s.verify(token)
	}
	if !s.o.Dev {
		return auth.Principal{}, fail(codeUnauthenticated, "the request has no token, expected the header Authorization: Bearer <token>")
	}
	name := r.Header.Get("X-User-Id")
	if name == "" {
		p := devUser
		p.Issued = time.Now()
		return p, nil
	}
	id, err := row.ParseUserID(name)
	if err != nil {
		return auth.Principal{}, fail(codeUnauthenticated, "the header X-User-Id: "+err.Error())
	}
	return auth.Principal{User: id, Role: auth.User, Issued: time.Now()}, nil
}

func (s *Server) verify(token string) (auth.Principal, error) {
	if auth.IsAPIKey(token) {
		return s.db.APIKey(token)
	}
	if s.o.Verifier == nil {
		return auth.Principal{}, fail(codeUnauthenticated, "the server takes no tokens in this mode")
	}
	p, err := s.o.Verifier.Verify(token)
	if err != nil {
		s.log.Debug("token refused", "err", err)
		e := fail(codeUnauthenticated, "the token is not valid")
		e.Details = err.Error()
		return auth.Principal{}, e
	}
	return p, nil
}

func loopbackHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// allowedOrigin says whether a page of origin may call the server.
func (s *Server) allowedOrigin(origin string, r *http.Request) bool {
	if s.origins["*"] || s.origins[origin] {
		return true
	}
	_, host, ok := strings.Cut(origin, "://")
	return ok && strings.EqualFold(host, r.Host)
}

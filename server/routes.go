package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"kalamdb"
)

const routeSQL, routeSocket = "/api/sql", "/ws"

// routeEvents is what metrics call routeSocket without an upgrade.
const routeEvents = "/ws events"

func (s *Server) routes() http.Handler {
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.HandleMethodNotAllowed = true
	e.RedirectTrailingSlash = false
	e.Use(s.middleware)
	e.POST(routeSQL, func(c *gin.Context) { s.serveSQL(c.Writer, c.Request) })
	e.GET(routeSocket, func(c *gin.Context) {
		if wantsEvents(c.Request) && !websocket.IsWebSocketUpgrade(c.Request) {
			s.serveEvents(c.Writer, c.Request)
			return
		}
		s.serveSocket(c.Writer, c.Request)
	})
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		e.Handle(method, "/healthz", func(c *gin.Context) { s.write(c.Writer, http.StatusOK, []byte(`{"status":"ok"}`)) })
		e.Handle(method, "/readyz", func(c *gin.Context) { s.serveReady(c.Writer, c.Request) })
		if !s.o.MetricsApart {
			e.Handle(method, "/metrics", gin.WrapH(s.MetricsHandler()))
		}
		e.Handle(method, "/openapi.json", func(c *gin.Context) { s.write(c.Writer, http.StatusOK, openAPI) })
		e.Handle(method, "/console", func(c *gin.Context) { http.Redirect(c.Writer, c.Request, "/console/", http.StatusPermanentRedirect) })
		e.Handle(method, "/console/*file", func(c *gin.Context) { s.serveConsole(c.Writer, c.Request) })
	}
	e.NoRoute(func(c *gin.Context) { s.notFound(c.Writer, c.Request) })
	e.NoMethod(func(c *gin.Context) {
		e := fail(codeMethodNotAllowed, c.Request.Method+" is not allowed on "+c.Request.URL.Path)
		e.Details = "allowed: " + c.Writer.Header().Get("Allow")
		s.writeError(c.Writer, c.Request, e)
	})
	return e
}

// MetricsHandler answers every request with the series of /metrics.
func (s *Server) MetricsHandler() http.Handler {
	return promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{ErrorLog: nil})
}

func (s *Server) notFound(w http.ResponseWriter, r *http.Request) {
	e := fail(kalamdb.CodeNotFound, "there is no "+strconv.Quote(r.URL.Path)+" here")
	e.Details = "SQL goes to POST /api/sql, live queries to GET /ws; /openapi.json describes both"
	s.writeErrorStatus(w, r, http.StatusNotFound, e)
}

// middleware has every request of the router go through around.
func (s *Server) middleware(c *gin.Context) {
	route := c.FullPath()
	if route == routeSocket && !websocket.IsWebSocketUpgrade(c.Request) {
		route = routeEvents
	}
	s.around(c.Writer, c.Request, route, func() {
		if origin := c.Request.Header.Get("Origin"); origin == "" || !s.cors(c, origin) {
			c.Next()
		}
	})
	c.Abort() // if next was not called
}

// A responseWriter knows what became of the answer.
type responseWriter interface {
	http.ResponseWriter
	Status() int
	Written() bool
}

var noSniff = []string{"nosniff"}

// around is what every request goes through: it gets an id, is counted, and a
// panic in it is a 500 for it alone.
func (s *Server) around(w responseWriter, r *http.Request, route string, next func()) {
	start := time.Now()
	id := s.requestID(r)
	ids := []string{id}
	w.Header()["X-Request-Id"] = ids
	r.Header["X-Request-Id"] = ids // where requestIDOf finds it
	w.Header()["X-Content-Type-Options"] = noSniff
	defer func() {
		broken := recover()
		if broken != nil && broken != http.ErrAbortHandler {
			s.log.Error("panic in a request", "request_id", id, "path", r.URL.Path, "panic", broken, "stack", string(debug.Stack()))
			if !w.Written() {
				s.writeErrorStatus(w, r, http.StatusInternalServerError, asError(nil))
				broken = nil
			}
		}
		s.metrics.request(route, w.Status(), time.Since(start))
		if broken != nil {
			panic(http.ErrAbortHandler) // the answer is half written: cut it, so that nobody takes it for whole
		}
	}()
	if !s.enter() {
		w.Header().Set("Connection", "close")
		s.writeError(w, r, fail(kalamdb.CodeNotReady, "the server is shutting down"))
		return
	}
	defer s.active.Done()
	next()
}

// cors lets pages of the configured origins read the answer. It is true if the
// request was only the browser's question whether it may send another one.
func (s *Server) cors(c *gin.Context, origin string) bool {
	h := c.Writer.Header()
	h.Add("Vary", "Origin")
	if !s.allowedOrigin(origin, c.Request) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", "X-Request-Id, Retry-After")
	if c.Request.Method != http.MethodOptions || c.Request.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Del("Allow")
	h.Set("Access-Control-Allow-Methods", "GET, POST")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Content-Encoding, Accept, X-Request-Id, X-User-Id, Last-Event-ID")
	h.Set("Access-Control-Max-Age", "600")
	c.AbortWithStatus(http.StatusNoContent)
	return true
}

// serveSQL answers POST /api/sql.
func (s *Server) serveSQL(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	p, err := s.who(r)
	if err != nil {
		s.writeError(w, r, err)
		return
	}
	q, err := s.decodeRequest(w, r)
	if err != nil {
		s.writeError(w, r, err)
		return
	}
	q.As, q.RequestID, q.Remote = p, requestIDOf(r), s.remote(r)
	if format := formatOf(r.Header["Accept"]); format != formatJSON {
		s.stream(w, r, q, format)
		return
	}
	results, err := s.db.Exec(r.Context(), q)
	if err != nil {
		s.writeError(w, r, err)
		return
	}
	buf := buffers.Get().(*[]byte)
	defer giveBack(buf)
	*buf = appendAnswer((*buf)[:0], results, time.Since(start))
	s.write(w, http.StatusOK, *buf)
}

// remote is the address that r comes from. A proxy that is trusted says whose it is with the
// last address of X-Forwarded-For, the one that the proxy itself has seen.
func (s *Server) remote(r *http.Request) string {
	forwarded := r.Header["X-Forwarded-For"]
	if len(forwarded) == 0 || !contains(s.o.TrustedProxies, addressOf(r.RemoteAddr)) {
		return r.RemoteAddr
	}
	last := forwarded[len(forwarded)-1]
	last = strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
	if addr, err := netip.ParseAddr(last); err == nil {
		return addr.String()
	}
	return r.RemoteAddr
}

// readiness remembers the last answer for a moment, because anybody may ask and
// each answer costs a real query.
type readiness struct {
	mu    sync.Mutex // held while the database is asked: one question at a time
	asked time.Time
	err   error
}

const (
	readyKept    = time.Second
	readyTimeout = 5 * time.Second
)

func (s *Server) serveReady(w http.ResponseWriter, r *http.Request) {
	s.ready.mu.Lock()
	if time.Since(s.ready.asked) > readyKept {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), readyTimeout)
		s.ready.err = s.db.Ready(ctx)
		s.ready.asked = time.Now()
		cancel()
	}
	err := s.ready.err
	s.ready.mu.Unlock()
	if err != nil {
		e := fail(kalamdb.CodeNotReady, "the database cannot serve at the moment; the operator's log has the reason")
		e.Cause = err
		s.writeError(w, r, e)
		return
	}
	s.write(w, http.StatusOK, []byte(`{"status":"ready"}`))
}

// requestIDBytesMax is the longest id a client may give its request.
const requestIDBytesMax = 128

// requestID is the client's own id of r if it is printable, else a new one.
func (s *Server) requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	if id == "" || len(id) > requestIDBytesMax || strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return s.ids.next()
	}
	return id
}

func requestIDOf(r *http.Request) string { return r.Header.Get("X-Request-Id") }

// An idSource makes ids that no other start of the server makes: eight random
// bytes once, then a counter.
type idSource struct {
	prefix string
	n      *atomic.Uint64
}

func newIDSource() idSource {
	var b [8]byte
	rand.Read(b[:])
	return idSource{prefix: hex.EncodeToString(b[:]) + "-", n: new(atomic.Uint64)}
}

func (s idSource) next() string {
	b := append(make([]byte, 0, 32), s.prefix...)
	return string(strconv.AppendUint(b, s.n.Add(1), 36))
}

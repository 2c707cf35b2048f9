package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kalamdb"
	"kalamdb/auth"
	"kalamdb/row"
)

// A Database is what the server needs of *kalamdb.DB. Every error of Exec, Query
// and Subscribe is a *kalamdb.Error.
type Database interface {
	Exec(ctx context.Context, r kalamdb.Request) ([]kalamdb.Result, error)
	Query(ctx context.Context, r kalamdb.Request) (Rows, error)
	Subscribe(ctx context.Context, r kalamdb.SubscribeRequest) (*LiveQuery, error)
	// APIKey is whom an API key belongs to.
	APIKey(key string) (auth.Principal, error)
	// Identify says who the principal of a token is now; OnUsersChanged, when to ask again.
	Identify(p auth.Principal) (auth.Principal, error)
	OnUsersChanged(f func()) (stop func())
	Ready(ctx context.Context) error
	Stats() kalamdb.Stats
}

// Rows are *kalamdb.Rows.
type Rows interface {
	Columns() []kalamdb.Column
	Next() bool
	Values() []row.Value // valid until Next
	Err() error
	Close()
}

// A LiveQuery is a kalamdb.Subscription: Next's error is *kalamdb.Ended after the
// end, *kalamdb.Error for a fault, or the context's.
type LiveQuery struct {
	ID      string
	Columns []kalamdb.Column
	Seq     row.Seq
	Epoch   string
	Resumed bool
	Next    func(ctx context.Context) (kalamdb.Event, error)
	Close   func()
	Push    Pusher // nil: it only has Next
}

// A Pusher is the part of a kalamdb.Subscription that needs no goroutine.
type Pusher interface {
	Next(ctx context.Context) (kalamdb.Event, error)
	Live() bool
	Notify(ready func())
	Poll() (e kalamdb.Event, ok bool, err error)
	Close()
}

// A Verifier turns a token into who sent it. *auth.Verifier is one.
type Verifier interface {
	Verify(token string) (auth.Principal, error)
}

// Options of a Server. The zero value of each limit is its default.
type Options struct {
	Verifier Verifier
	// Dev makes a request without a token act as user root with role dba, or as the
	// plain user of its X-User-Id header. Run refuses it on anything but loopback.
	Dev bool
	// CORSOrigins may call from a browser, such as "https://app.example.com"; "*" is
	// every origin. Pages of the server itself always may.
	CORSOrigins []string

	// CertFile and KeyFile are PEM files: with them the server speaks TLS, and reads them
	// again when they change.
	CertFile, KeyFile string
	// PlainHTTP lets Run answer without TLS on an address that other machines can reach,
	// as behind a proxy that ends TLS. Tokens and rows are readable on the way.
	PlainHTTP bool
	// TrustedProxies may open any number of connections, and name the client that a request
	// is from in X-Forwarded-For. Default: this machine.
	TrustedProxies []netip.Prefix
	MetricsApart   bool // /metrics is not among the routes: MetricsHandler alone has it

	ConnectionsMax           int // open at once: 20,000
	ConnectionsPerAddressMax int // of one address, or one /64 of IPv6: 1,024

	BodyBytesMax     int64 // one request body, also after gzip: 2 MiB
	SocketsMax       int   // open WebSockets: 10,000
	FrameBytesMax    int64 // one frame of a client: 2 MiB
	SubscriptionsMax int   // per WebSocket: 100
	// Over all connections of a user: WebSockets and event streams, 1,000; live queries, 10,000.
	UserSocketsMax, UserSubscriptionsMax int

	// A client that sends more messages than that is read more slowly; a frame counts as
	// one, and one for each subscription in it: 1,000
	MessagesPerSecond int

	OutboxBytesMax  int64         // frames waiting for one WebSocket: 1 MiB
	WriteTimeout    time.Duration // a client that takes no byte for so long is dropped: 20 s
	TokenNotice     time.Duration // before its end a token's client hears of it: 1 min
	PingInterval    time.Duration // of WebSockets; two and a half without an answer drop it: 30 s
	ShutdownTimeout time.Duration // for requests in flight: 10 s

	Collectors []prometheus.Collector // more series for /metrics
	Logger     *slog.Logger           // nil discards
}

func (o Options) withDefaults() Options {
	def(&o.ConnectionsMax, 20_000)
	def(&o.ConnectionsPerAddressMax, 1_024)
	if o.TrustedProxies == nil {
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	def(&o.BodyBytesMax, 2<<20)
	def(&o.SocketsMax, 10_000)
	def(&o.FrameBytesMax, 2<<20)
	def(&o.SubscriptionsMax, 100)
	def(&o.UserSocketsMax, 1000)
	def(&o.UserSubscriptionsMax, 10_000)
	def(&o.MessagesPerSecond, 1000)
	def(&o.OutboxBytesMax, 1<<20)
	def(&o.WriteTimeout, 20*time.Second)
	def(&o.TokenNotice, time.Minute)
	def(&o.PingInterval, 30*time.Second)
	def(&o.ShutdownTimeout, 10*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func def[T int | int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

const (
	headerReadTimeout = 10 * time.Second
	requestReadLimit  = 30 * time.Second // head and body of one request
	idleTimeout       = 2 * time.Minute
	headerBytesMax    = 64 << 10
)

// A Server answers HTTP and WebSocket for one database.
type Server struct {
	db      Database
	o       Options
	log     *slog.Logger
	metrics *metrics
	handler http.Handler
	origins map[string]bool
	ids     idSource
	ready   readiness
	limits  userLimits

	// mu guards sockets and stopping, so that no socket opens after the last one
	// was told to stop. Nothing blocks under it.
	mu       sync.Mutex
	sockets  map[connection]struct{}
	stopping bool
	active   sync.WaitGroup // requests and sockets; Add only while not stopping

	unwatch func() // ends the watch of users
}

// New makes a server for db. It starts nothing. The database knows it, so that it can end
// the sockets of users who change, until Run returns.
func New(db *kalamdb.DB, o Options) *Server { return newServer(embedded{db}, o) }

func newServer(db Database, o Options) *Server {
	o = o.withDefaults()
	s := &Server{db: db, o: o, log: o.Logger, sockets: map[connection]struct{}{}, limits: newUserLimits(o), origins: map[string]bool{}, ids: newIDSource()}
	for _, origin := range o.CORSOrigins {
		s.origins[origin] = true
	}
	s.metrics = newMetrics(db.Stats, o.Collectors)
	s.handler = s.routes()
	s.unwatch = db.OnUsersChanged(s.recheck)
	return s
}

// Handler answers requests without Run, for tests and embedders that bring their
// own listener. Shutdown is then the caller's.
func (s *Server) Handler() http.Handler { return s.handler }

// Run serves ln until ctx is done, then takes no new connection, closes every
// WebSocket with code 1001, finishes the requests in flight within
// ShutdownTimeout and returns nil. It closes ln.
func (s *Server) Run(ctx context.Context, ln net.Listener) error {
	defer s.unwatch()
	if err := s.check(ln); err != nil {
		return errors.Join(err, ln.Close())
	}
	var secure *certificate
	if s.secure() {
		var err error
		if secure, err = newCertificate(s.o.CertFile, s.o.KeyFile, s.log); err != nil {
			return errors.Join(err, ln.Close())
		}
	}
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	srv := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: headerReadTimeout,
		ReadTimeout:       requestReadLimit,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerBytesMax,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return base },
	}
	ln = newDoor(ln, &s.o, s.metrics.refused.Inc)
	if secure != nil {
		ln = tls.NewListener(ln, secure.config())
	}
	lane := newLane(s, ln, base)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(lane) }()
	select {
	case err := <-served: // the listener broke
		s.stop()
		cancel()
		err = errors.Join(fmt.Errorf("serve %s: %w", ln.Addr(), err), srv.Close(), lane.Close())
		lane.wait(base)
		s.active.Wait()
		return err
	case <-ctx.Done():
	}
	s.stop()
	bound, cancelBound := context.WithTimeout(context.WithoutCancel(ctx), s.o.ShutdownTimeout)
	defer cancelBound()
	closed, left := srv.Shutdown(bound) == nil, lane.wait(bound)
	if !closed || !left {
		s.log.Warn("requests were cut off at shutdown", "after", s.o.ShutdownTimeout)
		cancel()
		if err := srv.Close(); err != nil {
			s.log.Warn("close listener", "err", err)
		}
	}
	<-served
	s.active.Wait()
	return nil
}

// check refuses what must not be served on ln.
func (s *Server) check(ln net.Listener) error {
	if s.o.Verifier == nil && !s.o.Dev {
		return errors.New("server: Options.Verifier is nil, expected one because Dev is off")
	}
	if tcp, ok := ln.Addr().(*net.TCPAddr); !ok || tcp.IP.IsLoopback() {
		return nil // a listener that is not TCP is of this machine or this process
	}
	if s.o.Dev {
		return fmt.Errorf("server: dev mode lets everybody in, so it listens on loopback only, not on %s", ln.Addr())
	}
	if !s.secure() && !s.o.PlainHTTP {
		return fmt.Errorf("server: %s can be reached by others, expected a certificate (TLS), a loopback address, or PlainHTTP if a proxy in front ends TLS", ln.Addr())
	}
	return nil
}

// secure says whether the server speaks TLS.
func (s *Server) secure() bool { return s.o.CertFile != "" || s.o.KeyFile != "" }

// enter counts a request or socket in, so that Run can wait for it; it is false
// once the server stops.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	s.active.Add(1)
	return true
}

// recheck ends the sockets whose user was deleted or got another role: what their live
// queries may see was decided by both. The clients connect again and get what is theirs.
func (s *Server) recheck() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.sockets {
		k.recheck()
	}
}

// stop lets nobody in any more and tells every socket to close.
func (s *Server) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	for k := range s.sockets {
		k.stop(closeGoingAway)
	}
}

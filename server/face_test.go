package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	bigint "math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"kalamdb"
)

// writeCertificate puts a new certificate for 127.0.0.1 into the two files.
func writeCertificate(t *testing.T, certFile, keyFile, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: bigint.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// HTTP on the lane and beside it, and WebSockets, over TLS, with a certificate that is
// renewed while the server runs.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	o := Options{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	writeCertificate(t, o.CertFile, o.KeyFile, "first")
	db := &fakeDB{exec: func(context.Context, kalamdb.Request) ([]kalamdb.Result, error) {
		return []kalamdb.Result{{Statement: "SELECT"}}, nil
	}}
	r := start(t, db, o)
	r.url = strings.Replace(r.url, "http://", "https://", 1)
	trusting := &tls.Config{InsecureSkipVerify: true} // the test looks at the certificate itself
	r.http.Transport.(*http.Transport).TLSClientConfig = trusting

	if a := r.sql(t, `{"sql":"SELECT 1"}`); a.status != http.StatusOK {
		t.Errorf("POST: %+v", a)
	}
	if a := r.do(t, "GET", "/console/", ""); a.status != http.StatusOK || a.header.Get("Strict-Transport-Security") == "" {
		t.Errorf("the console: %d, %v", a.status, a.header)
	}
	dialer := &websocket.Dialer{TLSClientConfig: trusting}
	conn, reply, err := dialer.Dial("wss"+strings.TrimPrefix(r.url, "https")+"/ws?token=alice", nil)
	if err != nil {
		t.Fatalf("WebSocket: %v, %v", err, reply)
	}
	if err := conn.WriteMessage(websocket.TextMessage, []byte(`{"type":"ping"}`)); err != nil {
		t.Error(err)
	}
	if _, frame, err := conn.ReadMessage(); err != nil || !strings.Contains(string(frame), "pong") {
		t.Errorf("%s, %v", frame, err)
	}
	conn.Close()

	served := func() string {
		c, err := tls.Dial("tcp", strings.TrimPrefix(r.url, "https://"), trusting)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	if name := served(); name != "first" {
		t.Errorf("the certificate is %s", name)
	}
	if err := os.WriteFile(o.CertFile, []byte("half a copy"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a warning that the certificate is broken", func() bool {
		return served() == "first" && strings.Contains(r.log.String(), "the certificate is not renewed")
	})
	writeCertificate(t, o.CertFile, o.KeyFile, "second")
	eventually(t, "the new certificate", func() bool { return served() == "second" })

	old := &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}
	if c, err := tls.Dial("tcp", strings.TrimPrefix(r.url, "https://"), old); err == nil {
		c.Close()
		t.Error("TLS 1.1 is spoken")
	}
	plain, err := http.Get("http://" + strings.TrimPrefix(r.url, "https://") + "/healthz")
	if err == nil {
		plain.Body.Close()
		if plain.StatusCode == http.StatusOK {
			t.Error("the port with TLS answers plain HTTP")
		}
	}
}

// An address that others can reach needs TLS, or somebody who says that it does not.
func TestPublicAddress(t *testing.T) {
	listen := func() net.Listener {
		ln, err := net.Listen("tcp", "0.0.0.0:0")
		if err != nil {
			t.Fatal(err)
		}
		return ln
	}
	refused := newServer(&fakeDB{}, Options{Verifier: fakeVerifier(fakeTokens)})
	if err := refused.Run(t.Context(), listen()); err == nil || !strings.Contains(err.Error(), "TLS") {
		t.Errorf("%v, expected that plain HTTP is refused", err)
	}
	for _, o := range []Options{{PlainHTTP: true}, {CertFile: "c", KeyFile: "k"}} {
		ln := listen()
		o.Verifier = fakeVerifier(fakeTokens)
		if err := newServer(&fakeDB{}, o).check(ln); err != nil {
			t.Error(err)
		}
		ln.Close()
	}
	missing := newServer(&fakeDB{}, Options{Verifier: fakeVerifier(fakeTokens), CertFile: "/nonexistent", KeyFile: "/nonexistent"})
	if err := missing.Run(t.Context(), listen()); err == nil || !strings.Contains(err.Error(), "/nonexistent") {
		t.Errorf("%v, expected that the certificate is missing", err)
	}
}

// One address has so many connections, all together so many; who closes one makes room.
func TestConnectionLimits(t *testing.T) {
	nobody := []netip.Prefix{}
	for name, o := range map[string]Options{
		"of one address": {ConnectionsPerAddressMax: 3, TrustedProxies: nobody},
		"of all":         {ConnectionsMax: 3},
	} {
		r := start(t, &fakeDB{}, o)
		addr := strings.TrimPrefix(r.url, "http://")
		open := func() net.Conn {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			return c
		}
		answers := func(c net.Conn) bool {
			if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
				return false
			}
			if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			var b [4]byte
			n, _ := io.ReadFull(c, b[:])
			return n == len(b)
		}
		guests := []net.Conn{open(), open(), open()}
		for _, c := range guests {
			if !answers(c) {
				t.Errorf("%s: a connection within the limit has no answer", name)
			}
		}
		if answers(open()) {
			t.Errorf("%s: a connection beyond the limit is answered", name)
		}
		guests[0].Close()
		eventually(t, name+": room after one has gone", func() bool { return answers(open()) })
		guests[1].Close()
		guests[2].Close()
	}
}

func TestAddresses(t *testing.T) {
	for from, want := range map[string]string{
		"192.0.2.7:1": "192.0.2.7", "[::ffff:192.0.2.7]:1": "192.0.2.7", "[2001:db8:1:2:3:4:5:6]:1": "2001:db8:1:2::", "[::1]:1": "::",
		"[fe80::1%eth0]:1": "fe80::",
	} {
		if got := clientOf(addressOf(from)); got.String() != want {
			t.Errorf("%s counts as %s, expected %s", from, got, want)
		}
	}
	s := newServer(&fakeDB{}, Options{Dev: true, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	for _, c := range []struct{ from, forwarded, want string }{
		{"192.0.2.7:1", "", "192.0.2.7:1"},
		{"192.0.2.7:1", "198.51.100.1", "192.0.2.7:1"}, // anybody may say so
		{"10.1.2.3:1", "198.51.100.1", "198.51.100.1"},
		{"10.1.2.3:1", "6.6.6.6, 198.51.100.1", "198.51.100.1"}, // the client said the first
		{"10.1.2.3:1", "nobody", "10.1.2.3:1"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.from
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		if got := s.remote(r); got != c.want {
			t.Errorf("%s for %q is %s, expected %s", c.from, c.forwarded, got, c.want)
		}
	}
}

func TestSecurityHeaders(t *testing.T) {
	r := start(t, &fakeDB{}, Options{MetricsApart: true})
	for _, path := range []string{"/healthz", "/console/", "/nowhere"} {
		if a := r.do(t, "GET", path, ""); a.header.Get("X-Content-Type-Options") != "nosniff" || a.header.Get("Server") != "" {
			t.Errorf("%s: %v", path, a.header)
		}
	}
	if a := r.sql(t, `{"sql":"SELECT 1"}`); a.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("SQL: %v", a.header)
	}
	csp := r.do(t, "GET", "/console/", "").header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"} {
		if !strings.Contains(csp, want) || strings.Contains(csp, "unsafe") {
			t.Errorf("the console's policy is %q, expected %s in it", csp, want)
		}
	}
	if a := r.do(t, "GET", "/metrics", ""); a.status != http.StatusNotFound || !strings.Contains(a.body, kalamdb.CodeNotFound) {
		t.Errorf("metrics that are elsewhere: %+v", a)
	}
	w := httptest.NewRecorder()
	r.MetricsHandler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if !strings.Contains(w.Body.String(), "kalamdb_http_requests_total") {
		t.Errorf("%s", w.Body)
	}
}

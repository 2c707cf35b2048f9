package server

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"kalamdb"
)

// post is a request as bytes, with more lines in its head.
func post(body string, lines ...string) string {
	head := "POST /api/sql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer alice\r\n"
	for _, l := range lines {
		head += l + "\r\n"
	}
	return fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(body), body)
}

// exchange sends text on a new connection, some bytes at a time, and reads answers until
// the server closes or has sent all of them.
func exchange(t *testing.T, addr, text string, answers int, slowly bool) []string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var from io.Reader = strings.NewReader(text)
	if slowly {
		from = iotest.OneByteReader(from)
	}
	buf := make([]byte, len(text))
	for {
		n, err := from.Read(buf)
		if _, werr := conn.Write(buf[:n]); werr != nil || err != nil {
			break
		}
	}
	var got []string
	r := bufio.NewReader(conn)
	for range answers {
		reply, err := http.ReadResponse(r, nil)
		if err != nil {
			got = append(got, "closed")
			break
		}
		body, err := io.ReadAll(reply.Body)
		reply.Body.Close()
		if err != nil {
			got = append(got, "cut off")
			break
		}
		var header strings.Builder
		reply.Header.Del("Date")
		reply.Header.Del("X-Request-Id")
		reply.Header.Del("Content-Length") // the time in the body has more or fewer digits
		if err := reply.Header.Write(&header); err != nil {
			t.Fatal(err)
		}
		text, _, _ := strings.Cut(string(body), `"execution_time_ms"`)
		got = append(got, fmt.Sprintf("%d close=%t\n%s\n%s", reply.StatusCode, reply.Close, header.String(), text))
	}
	return got
}

// TestLaneAnswersLikeNetHTTP sends the same bytes to a server with the lane and to the
// bare handler behind net/http: nobody can tell the two apart.
func TestLaneAnswersLikeNetHTTP(t *testing.T) {
	s := start(t, &fakeDB{exec: echo, ready: func(context.Context) error { return nil }}, Options{})
	plain := httptest.NewServer(s.Handler())
	defer plain.Close()
	ok := `{"sql":"SELECT 1"}`
	large := `{"sql":"` + strings.Repeat("x", laneBodyBytesMax) + `"}`
	for name, c := range map[string]struct {
		text    string
		answers int
	}{
		"one":                      {post(ok), 1},
		"three at once":            {post(ok) + post(`{"sql":"b"}`) + post(`{"sql":"c"}`), 3},
		"another route behind it":  {post(ok) + "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + post(ok), 3},
		"bad token":                {strings.Replace(post(ok), "alice", "mallory", 1), 1},
		"no token":                 {strings.Replace(post(ok), "Authorization: Bearer alice\r\n", "", 1), 1},
		"token changes":            {post(ok) + strings.Replace(post(ok), "alice", "bob", 1) + post(ok), 3},
		"broken JSON":              {post(`{"sql"`) + post(ok), 2},
		"wrong type":               {strings.Replace(post(ok), "application/json", "text/plain", 1), 1},
		"no type":                  {strings.Replace(post(ok), "Content-Type: application/json\r\n", "", 1), 1},
		"keep-alive":               {post(ok, "Connection: keep-alive") + post(ok), 2},
		"close":                    {post(ok, "Connection: close") + post(ok), 2},
		"HTTP/1.0":                 {strings.Replace(post(ok), "HTTP/1.1", "HTTP/1.0", 1), 2},
		"chunked":                  {"POST /api/sql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer alice\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(ok), ok) + post(ok), 2},
		"chunked with a length":    {strings.Replace(post(ok, "Transfer-Encoding: chunked"), "\r\n\r\n"+ok, fmt.Sprintf("\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(ok), ok), 1), 1},
		"expect":                   {post(ok, "Expect: 100-continue"), 2},
		"two lengths":              {post(ok, "Content-Length: 3"), 1},
		"negative length":          {strings.Replace(post(ok), "Length: ", "Length: -", 1), 1},
		"no length":                {"POST /api/sql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer alice\r\n\r\n", 1},
		"no host":                  {strings.Replace(post(ok), "Host: localhost\r\n", "", 1), 1},
		"two hosts":                {post(ok, "Host: b"), 1},
		"space before the colon":   {post(ok, "Accept : */*"), 1},
		"folded line":              {post(ok, "Accept: */*", " more"), 1},
		"lines without CR":         {strings.ReplaceAll(post(ok), "\r\n", "\n"), 1},
		"a header nobody knows":    {post(ok, "X-Anything: yes") + post(ok), 2},
		"a page of somebody else":  {post(ok, "Origin: https://evil.example"), 1},
		"large body":               {post(large) + post(ok), 2},
		"another path":             {strings.Replace(post(ok), "/api/sql", "/api/sqlx", 1), 1},
		"a query string":           {strings.Replace(post(ok), "/api/sql", "/api/sql?a=b", 1), 1},
		"another method":           {strings.Replace(post(ok), "POST", "PUT", 1), 1},
		"whole address":            {strings.Replace(post(ok), "/api/sql", "http://localhost/api/sql", 1), 1},
		"names in upper case":      {strings.Replace(post(ok), "Authorization", "AUTHORIZATION", 1), 1},
		"control character":        {post(ok, "User-Agent: a\x01b"), 1},
		"rows as lines":            {post(ok, "Accept: application/json, */*"), 1},
		"nothing":                  {"\r\n\r\n", 1},
		"not HTTP":                 {"hello\r\n\r\n", 1},
		"a head that does not end": {strings.Replace(post(ok), "localhost", strings.Repeat("h", laneHeadBytesMax), 1), 1},
	} {
		t.Run(name, func(t *testing.T) {
			want := exchange(t, strings.TrimPrefix(plain.URL, "http://"), c.text, c.answers, false)
			for _, slowly := range []bool{false, true} {
				if slowly && (len(c.text) > 3000 || !strings.HasPrefix(want[0], "200")) {
					continue // a server that refuses does not read to the end, and the answer may be lost
				}
				if got := exchange(t, strings.TrimPrefix(s.url, "http://"), c.text, c.answers, slowly); !reflect.DeepEqual(got, want) {
					t.Errorf("slowly=%t\n got %q\nwant %q", slowly, got, want)
				}
			}
		})
	}
}

// TestLaneReadsAheadDuringARequest sends the next request while one runs that is long
// enough for the lane to watch its client.
func TestLaneReadsAheadDuringARequest(t *testing.T) {
	first, release := make(chan struct{}), make(chan struct{})
	db := &fakeDB{exec: func(ctx context.Context, r kalamdb.Request) ([]kalamdb.Result, error) {
		if r.SQL == "slow" {
			close(first)
			<-release
			if err := ctx.Err(); err != nil {
				t.Errorf("the request was cancelled: %v", err)
			}
		}
		return echo(ctx, r)
	}}
	s := start(t, db, Options{})
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, post(`{"sql":"slow"}`)); err != nil {
		t.Fatal(err)
	}
	<-first
	if _, err := io.WriteString(conn, post(`{"sql":"next"}`)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * laneWatchAfter) // there is nothing to wait for: the watcher has read a byte
	close(release)
	r := bufio.NewReader(conn)
	for _, want := range []string{"slow", "next"} {
		reply, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(reply.Body)
		if err != nil || !bytes.Contains(body, []byte(`"sql":"`+want+`"`)) {
			t.Fatalf("%s: %s, %v", want, body, err)
		}
	}
}

// FuzzLaneHead: what the lane takes for a request, net/http reads as the same one.
func FuzzLaneHead(f *testing.F) {
	f.Add([]byte(post("{}")))
	f.Add([]byte(post("{}", "Accept: */*", "User-Agent: curl/8.0", "Connection: Keep-Alive")))
	f.Add([]byte(post("{}", "accept-encoding:\t gzip \t")))
	f.Add([]byte("POST /api/sql HTTP/1.1\r\nHost: a\r\nContent-Length: 007\r\n\r\n1234567"))
	f.Add([]byte("POST /api/sql HTTP/1.1\r\nHost:\r\nContent-Length: 0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, ok := laneHeadEnd(b)
		if !ok || n == 0 {
			return
		}
		h := http.Header{}
		length, ok := parseLaneHead(b[:n], h)
		if !ok {
			return
		}
		want, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			t.Fatalf("net/http refuses it: %v", err)
		}
		if want.ContentLength != int64(length) || want.Method != "POST" || want.URL.Path != routeSQL || want.Host != h.Get("Host") || want.Close {
			t.Fatalf("length %d host %q, net/http has %d %q close=%t", length, h.Get("Host"), want.ContentLength, want.Host, want.Close)
		}
		for _, name := range []string{"Authorization", "Content-Type", "Accept", "User-Agent"} {
			if h.Get(name) != want.Header.Get(name) {
				t.Fatalf("%s is %q, net/http has %q", name, h.Get(name), want.Header.Get(name))
			}
		}
	})
}

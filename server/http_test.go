package server

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kalamdb"
	"kalamdb/auth"
	"kalamdb/row"
)

// echo answers every request with who sent what.
func echo(_ context.Context, r kalamdb.Request) ([]kalamdb.Result, error) {
	return []kalamdb.Result{{
		Statement: "SELECT",
		Columns:   []kalamdb.Column{{Name: "user", Type: "VARCHAR"}, {Name: "role", Type: "VARCHAR"}, {Name: "sql", Type: "VARCHAR"}, {Name: "ns", Type: "VARCHAR"}, {Name: "params", Type: "VARCHAR[]"}},
		Rows: [][]row.Value{{row.TextValue(string(r.As.User)), row.TextValue(r.As.Role.String()), row.TextValue(r.SQL), row.TextValue(r.Namespace),
			row.ListValue(r.Params)}},
	}}, nil
}

func firstRow(t *testing.T, a answer) string {
	t.Helper()
	var got struct {
		Results []struct{ Rows []json.RawMessage }
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != 200 {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	return string(got.Results[0].Rows[0])
}

func TestRequestReachesTheDatabase(t *testing.T) {
	s := start(t, &fakeDB{exec: echo}, Options{})
	for _, c := range []struct{ body, want string }{
		{`{"sql":"SELECT 1"}`, `{"user":"alice","role":"user","sql":"SELECT 1","ns":"","params":[]}`},
		{` { "namespace" : "app" , "sql" : "a\n\"\u00e9\ud83d\ude00\/" , "params" : null } `, `{"user":"alice","role":"user","sql":"a\n\"é😀/","ns":"app","params":[]}`},
		{`{"sql":"x","params":[null,true,false,"t",1,-2.50,1e3,9007199254740993,[1, "a"],{"b": [1.10]}],"namespace":null}`,
			`{"user":"alice","role":"user","sql":"x","ns":"","params":[null,true,false,"t",1,"-2.50",1000,"9007199254740993",[1,"a"],{"b":[1.10]}]}`},
	} {
		if got := firstRow(t, s.sql(t, c.body)); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.body, got, c.want)
		}
	}
	if got := firstRow(t, s.do(t, "POST", "/api/sql", `{"sql":"x"}`, asAlice, `Content-Type: Application/JSON; charset="UTF-8"`)); !strings.Contains(got, "alice") {
		t.Error(got)
	}
}

func TestBadRequests(t *testing.T) {
	s := start(t, &fakeDB{exec: echo}, Options{BodyBytesMax: 2 << 20})
	deep := strings.Repeat("[", 200)
	for _, c := range []struct {
		body   string
		status int
		code   string
		in     string // part of message and details
		pos    int    // -1: none
	}{
		{``, 400, "INVALID_REQUEST", "the body is empty", -1},
		{"  \n", 400, "INVALID_REQUEST", "the body is empty", -1},
		{`[]`, 400, "INVALID_REQUEST", "the body must be an object, not an array", 0},
		{`"SELECT 1"`, 400, "INVALID_REQUEST", "must be an object, not a string", 0},
		{`SELECT 1`, 400, "INVALID_REQUEST", "broken JSON at byte 0: found 'S'", 0},
		{`{`, 400, "INVALID_REQUEST", "broken JSON at byte 1: it ends where a field name is expected", 1},
		{`{"sql"`, 400, "INVALID_REQUEST", "ends where ':'", 6},
		{`{"sql" "x"}`, 400, "INVALID_REQUEST", "found '\"', expected ':'", 7},
		{`{"sql":}`, 400, "INVALID_REQUEST", "found '}'", 7},
		{`{"sql":"x"`, 400, "INVALID_REQUEST", "expected", 10},
		{`{"sql":"x",}`, 400, "INVALID_REQUEST", "found '}', expected a field name", 11},
		{`{"sql":"x" "params":[]}`, 400, "INVALID_REQUEST", "expected ',' or '}'", 11},
		{`{'sql':"x"}`, 400, "INVALID_REQUEST", `found '\''`, 1},
		{`{"sql":"x"} {}`, 400, "INVALID_REQUEST", "more data behind the JSON object", 12},
		{"{\"sql\":\"x\"}\x00", 400, "INVALID_REQUEST", "more data", 11},
		{`{"sql":"x`, 400, "INVALID_REQUEST", "it ends where", 9},
		{`{"sql":"x\`, 400, "INVALID_REQUEST", "it ends where", 10},
		{`{"sql":"\x"}`, 400, "INVALID_REQUEST", "behind a backslash", 9},
		{`{"sql":"\u12g4"}`, 400, "INVALID_REQUEST", "a hex digit", 12},
		{`{"sql":"\ud800"}`, 400, "INVALID_REQUEST", "surrogate", 9},
		{`{"sql":"\ud800\u0041"}`, 400, "INVALID_REQUEST", "surrogate", 9},
		{`{"sql":"\udc00"}`, 400, "INVALID_REQUEST", "surrogate", 9},
		{"{\"sql\":\"a\nb\"}", 400, "INVALID_REQUEST", "control character", 9},
		{"{\"sql\":\"\xff\"}", 400, "INVALID_REQUEST", "not UTF-8 at byte 8", 8},
		{`{"SQL":"x"}`, 400, "INVALID_REQUEST", "did you mean sql?", 1},
		{`{"sql":"x","parms":[1]}`, 400, "INVALID_REQUEST", "did you mean params?", 11},
		{`{"sql":"x","database":"y"}`, 400, "INVALID_REQUEST", "the fields are sql, params, namespace", 11},
		{`{"sql":"x","sql":"y"}`, 400, "INVALID_REQUEST", `field "sql" is given twice`, 11},
		{`{}`, 400, "INVALID_REQUEST", `"sql" is missing`, -1},
		{`{"sql":null}`, 400, "INVALID_REQUEST", "sql must be a string, not null", 7},
		{`{"sql":1}`, 400, "INVALID_REQUEST", "sql must be a string, not a number", 7},
		{`{"sql":tru}`, 400, "INVALID_REQUEST", "broken JSON at byte 7", 7},
		{`{"sql":true}`, 400, "INVALID_REQUEST", "not a boolean", 7},
		{`{"sql":"x","params":{"a":1}}`, 400, "INVALID_REQUEST", "params must be an array, not an object", 20},
		{`{"sql":"x","namespace":["a"]}`, 400, "INVALID_REQUEST", "namespace must be a string, not an array", 23},
		{`{"sql":"x","params":[1,]}`, 400, "INVALID_REQUEST", "broken JSON at byte 23", 23},
		{`{"sql":"x","params":[01]}`, 400, "INVALID_REQUEST", "leading zero", 22},
		{`{"sql":"x","params":[-]}`, 400, "INVALID_REQUEST", "a digit", 22},
		{`{"sql":"x","params":[1.]}`, 400, "INVALID_REQUEST", "a digit", 23},
		{`{"sql":"x","params":[1e+]}`, 400, "INVALID_REQUEST", "a digit", 24},
		{`{"sql":"x","params":[+1]}`, 400, "INVALID_REQUEST", "a value", 21},
		{`{"sql":"x","params":[NaN]}`, 400, "INVALID_REQUEST", "a value", 21},
		{`{"sql":"x","params":[1e999]}`, 400, "INVALID_REQUEST", "byte 21", 21},
		{`{"sql":"x","params":[` + deep, 400, "INVALID_REQUEST", "nested deeper than 100", 21 + 98},
		{`{"sql":"x","params":[` + strings.Repeat("1,", 40_000) + `1]}`, 413, "TOO_LARGE", "more than 32767 params", -1},
		{`{"sql":"` + strings.Repeat("x", sqlBytesMax+1) + `"}`, 413, "TOO_LARGE", "the SQL text has 1048577 bytes, the limit is 1048576", -1},
		{`{"sql":"` + strings.Repeat("x", 2<<20) + `"}`, 413, "TOO_LARGE", "larger than 2097152 bytes", -1},
	} {
		a := s.sql(t, c.body)
		checkError(t, fmt.Sprintf("%.60q", c.body), a, c.status, c.code, c.in, c.pos)
	}
}

// checkError holds an answer to the contract's shape of an error.
func checkError(t *testing.T, what string, a answer, status int, code, in string, pos int) {
	t.Helper()
	var got struct {
		Status string
		Error  struct {
			Code, Message, Details string
			Position               *int
			StatementIndex         *int `json:"statement_index"`
		}
	}
	d := json.NewDecoder(strings.NewReader(a.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil {
		t.Errorf("%s: answer %q: %v", what, a.body, err)
		return
	}
	at := -1
	if got.Error.Position != nil {
		at = *got.Error.Position
	}
	text := got.Error.Message + " · " + got.Error.Details
	if a.status != status || got.Status != "error" || got.Error.Code != code || !strings.Contains(text, in) || at != pos {
		t.Errorf("%s: got %d %s, position %d\nwant %d %s …%s…, position %d", what, a.status, a.body, at, status, code, in, pos)
	}
	if a.header.Get("Content-Type") != "application/json; charset=utf-8" || a.header.Get("X-Request-Id") == "" {
		t.Errorf("%s: headers %v", what, a.header)
	}
}

func TestContentHeaders(t *testing.T) {
	s := start(t, &fakeDB{exec: echo}, Options{BodyBytesMax: 1000})
	for _, c := range []struct{ header, in string }{
		{"X-Nothing: 1", `the Content-Type is ""`},
		{"Content-Type: text/plain", "expected application/json"},
		{"Content-Type: application/jsonp", "expected application/json"},
		{"Content-Type: application/json; charset=latin-1", `charset of the body is "latin-1"`},
	} {
		checkError(t, c.header, s.do(t, "POST", "/api/sql", `{"sql":"x"}`, asAlice, c.header), 400, "INVALID_REQUEST", c.in, -1)
	}
	checkError(t, "br", s.sql(t, "x", "Content-Encoding: br"), 400, "INVALID_REQUEST", "expected gzip", -1)
	checkError(t, "not gzip", s.sql(t, `{"sql":"x"}`, "Content-Encoding: gzip"), 400, "INVALID_REQUEST", "not gzip", -1)
	zip := func(text string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		w.Write([]byte(text))
		w.Close()
		return b.String()
	}
	if got := firstRow(t, s.sql(t, zip(`{"sql":"zipped"}`), "Content-Encoding: gzip")); !strings.Contains(got, "zipped") {
		t.Error(got)
	}
	bomb := zip(`{"sql":"` + strings.Repeat("x", 1<<20) + `"}`)
	if len(bomb) > 1200 {
		t.Fatalf("the bomb has %d bytes", len(bomb))
	}
	s.o.BodyBytesMax = 2000
	checkError(t, "bomb", s.sql(t, bomb, "Content-Encoding: gzip"), 413, "TOO_LARGE", "larger than 2000 bytes when inflated", -1)
	whole := zip(`{"sql":"` + strings.Repeat("xy", 100) + `"}`)
	checkError(t, "cut gzip", s.sql(t, whole[:len(whole)-6], "Content-Encoding: gzip"), 400, "INVALID_REQUEST", "it ended early", -1)
	// Without a Content-Length the limit is found while reading.
	a, err := s.try("POST", "/api/sql", struct{ *strings.Reader }{strings.NewReader(strings.Repeat(" ", 3000))}, asAlice, jsonBody)
	if err != nil {
		t.Fatal(err)
	}
	checkError(t, "chunked", a, 413, "TOO_LARGE", "larger than 2000 bytes", -1)
}

func TestWho(t *testing.T) {
	s := start(t, &fakeDB{exec: echo}, Options{})
	body := `{"sql":"x"}`
	for _, c := range []struct{ header, in string }{
		{"X-Nothing: 1", "no token"},
		{"X-User-Id: alice", "no token"},
		{"Authorization: Basic YTpi", "not of the form"},
		{"Authorization: Bearer", "not of the form"},
		{"Authorization: Bearer nobody", "the token is not valid"},
	} {
		a := s.do(t, "POST", "/api/sql", body, jsonBody, c.header)
		if c.header == "Authorization: Bearer" {
			c.in = "no token behind Bearer"
		}
		checkError(t, c.header, a, 401, "UNAUTHENTICATED", c.in, -1)
		if a.header.Get("WWW-Authenticate") != `Bearer realm="kalamdb"` {
			t.Errorf("%s: WWW-Authenticate is %q", c.header, a.header.Get("WWW-Authenticate"))
		}
	}
	checkError(t, "token in the address", s.do(t, "POST", "/api/sql?token=alice", body, jsonBody), 401, "UNAUTHENTICATED", "no token", -1)
	if got := firstRow(t, s.do(t, "POST", "/api/sql", body, jsonBody, "Authorization: bearer root")); !strings.Contains(got, `"user":"root","role":"dba"`) {
		t.Error(got)
	}
}

func TestDevMode(t *testing.T) {
	s := start(t, &fakeDB{exec: echo}, Options{Dev: true, Verifier: fakeVerifier(fakeTokens)})
	body := `{"sql":"x"}`
	for _, c := range []struct{ header, in string }{
		{"X-Nothing: 1", `"user":"root","role":"dba"`},
		{"X-User-Id: carol", `"user":"carol","role":"user"`},
		{"Authorization: Bearer bob", `"user":"bob","role":"user"`},
		{"Host: localhost:1", `"user":"root"`},
		{"Host: [::1]:80", `"user":"root"`},
	} {
		if got := firstRow(t, s.do(t, "POST", "/api/sql", body, jsonBody, c.header)); !strings.Contains(got, c.in) {
			t.Errorf("%s: %s", c.header, got)
		}
	}
	checkError(t, "path as user", s.do(t, "POST", "/api/sql", body, jsonBody, "X-User-Id: ../x"), 401, "UNAUTHENTICATED", "X-User-Id", -1)
	checkError(t, "bad token", s.do(t, "POST", "/api/sql", body, jsonBody, "Authorization: Bearer zoe"), 401, "UNAUTHENTICATED", "not valid", -1)
	checkError(t, "rebound name", s.do(t, "POST", "/api/sql", body, jsonBody, "Host: evil.example"), 403, "FORBIDDEN", "loopback", -1)
}

func TestRoutes(t *testing.T) {
	s := start(t, &fakeDB{exec: echo, ready: func(context.Context) error { return nil }}, Options{})
	for _, path := range []string{"/", "/api", "/api/sql/", "/API/SQL", "/console/nothing.js", "/console/../secret", "/healthz/x"} {
		checkError(t, path, s.do(t, "GET", path, ""), 404, "NOT_FOUND", "here", -1)
	}
	a := s.do(t, "GET", "/api/sql", "")
	checkError(t, "GET /api/sql", a, 405, "METHOD_NOT_ALLOWED", "GET is not allowed on /api/sql", -1)
	if a.header.Get("Allow") != "POST" {
		t.Errorf("Allow is %q", a.header.Get("Allow"))
	}
	for path, in := range map[string]string{
		"/healthz": `{"status":"ok"}`, "/readyz": `{"status":"ready"}`, "/openapi.json": `"openapi": "3.1.0"`,
		"/console/": "<title>KalamDB console</title>", "/console": "<title>KalamDB console</title>", "/console/console.js": "/api/sql", "/console/console.css": "color-scheme: light dark",
		"/metrics": `kalamdb_http_requests_total{route="other",status="405"} 1`,
	} {
		if a := s.do(t, "GET", path, ""); a.status != 200 || !strings.Contains(a.body, in) {
			t.Errorf("GET %s: %d %.200s", path, a.status, a.body)
		}
		if a := s.do(t, "HEAD", path, ""); a.status != 200 || a.body != "" {
			t.Errorf("HEAD %s: %d %q", path, a.status, a.body)
		}
	}
	if csp := s.do(t, "GET", "/console/", "").header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") {
		t.Errorf("CSP %q", csp)
	}
}

func TestCORS(t *testing.T) {
	s := start(t, &fakeDB{exec: echo}, Options{CORSOrigins: []string{"https://app.example"}})
	a := s.sql(t, `{"sql":"x"}`, "Origin: https://app.example")
	if got := a.header.Get("Access-Control-Allow-Origin"); got != "https://app.example" {
		t.Errorf("allowed origin %q", got)
	}
	a = s.sql(t, `{"sql":"x"}`, "Origin: https://evil.example")
	if got := a.header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("allowed origin %q for another site", got)
	}
	a = s.do(t, "OPTIONS", "/api/sql", "", "Origin: https://app.example", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization")
	if a.status != 204 || !strings.Contains(a.header.Get("Access-Control-Allow-Headers"), "Authorization") || a.header.Get("Access-Control-Allow-Methods") != "GET, POST" {
		t.Errorf("preflight: %d %v", a.status, a.header)
	}
	a = s.do(t, "OPTIONS", "/api/sql", "", "Origin: https://evil.example", "Access-Control-Request-Method: POST")
	if a.status != 405 || a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("preflight of another site: %d %v", a.status, a.header)
	}
}

func TestRequestID(t *testing.T) {
	s := start(t, &fakeDB{exec: echo}, Options{})
	if got := s.sql(t, `{"sql":"x"}`, "X-Request-Id: mine-1").header.Get("X-Request-Id"); got != "mine-1" {
		t.Errorf("id %q", got)
	}
	one := s.sql(t, `{"sql":"x"}`, "X-Request-Id: "+strings.Repeat("x", 129)).header.Get("X-Request-Id")
	two := s.sql(t, `{"sql":"x"}`, "X-Request-Id: a b").header.Get("X-Request-Id")
	if one == two || len(one) > 40 || strings.Contains(two, " ") {
		t.Errorf("ids %q and %q", one, two)
	}
}

func TestPanicIsOneRequest(t *testing.T) {
	s := start(t, &fakeDB{exec: func(ctx context.Context, r kalamdb.Request) ([]kalamdb.Result, error) {
		if r.SQL == "boom" {
			panic("the secret of row 7")
		}
		return echo(ctx, r)
	}}, Options{})
	a := s.sql(t, `{"sql":"boom"}`, "X-Request-Id: boom-1")
	checkError(t, "panic", a, 500, "INTERNAL", "operator's log", -1)
	if strings.Contains(a.body, "secret") {
		t.Errorf("the answer tells %s", a.body)
	}
	for _, part := range []string{"boom-1", "the secret of row 7", "http_test.go"} {
		if !strings.Contains(s.log.String(), part) {
			t.Errorf("the log has no %q", part)
		}
	}
	if got := firstRow(t, s.sql(t, `{"sql":"next"}`)); !strings.Contains(got, "next") {
		t.Error(got)
	}
}

func TestErrorsOfTheDatabase(t *testing.T) {
	var err error
	s := start(t, &fakeDB{exec: func(context.Context, kalamdb.Request) ([]kalamdb.Result, error) { return nil, err }}, Options{})
	err = &kalamdb.Error{Code: "TABLE_NOT_FOUND", Message: "table app.mesages does not exist", Details: "did you mean app.messages?", Statement: 0, Position: 14}
	a := s.sql(t, `{"sql":"x"}`)
	want := `{"status":"error","error":{"code":"TABLE_NOT_FOUND","message":"table app.mesages does not exist","details":"did you mean app.messages?","position":14,"statement_index":0}}`
	if a.status != 400 || a.body != want {
		t.Errorf("got  %d %s\nwant 400 %s", a.status, a.body, want)
	}
	err = &kalamdb.Error{Code: "BUFFER_FULL", Message: "full", Statement: 1, Position: -1, RetryAfter: 1500 * time.Millisecond}
	a = s.sql(t, `{"sql":"x"}`)
	checkError(t, "full", a, 503, "BUFFER_FULL", "full", -1)
	if a.header.Get("Retry-After") != "2" {
		t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
	}
	err = &kalamdb.Error{Code: "BUSY", Message: "busy", Position: -1}
	if a = s.sql(t, `{"sql":"x"}`); a.status != 429 || a.header.Get("Retry-After") != "1" {
		t.Errorf("%d, Retry-After %q", a.status, a.header.Get("Retry-After"))
	}
	err = &kalamdb.Error{Code: "INTERNAL", Message: "our fault", Position: -1, Cause: errors.New("open /var/secret: no such file")}
	a = s.sql(t, `{"sql":"x"}`, "X-Request-Id: cause-1")
	checkError(t, "internal", a, 500, "INTERNAL", "our fault", -1)
	if strings.Contains(a.body, "/var/secret") || !strings.Contains(s.log.String(), "/var/secret") || !strings.Contains(s.log.String(), "cause-1") {
		t.Errorf("cause: answer %s, log %s", a.body, s.log)
	}
	err = errors.New("not one of ours: /var/secret")
	a = s.sql(t, `{"sql":"x"}`)
	checkError(t, "foreign", a, 500, "INTERNAL", "operator's log", -1)
	if strings.Contains(a.body, "/var/secret") {
		t.Errorf("the answer tells %s", a.body)
	}
}

func TestReadyAsksOnce(t *testing.T) {
	var asked atomic.Int64
	var failing atomic.Bool
	s := start(t, &fakeDB{ready: func(context.Context) error {
		asked.Add(1)
		if failing.Load() {
			return errors.New("fsync /var/secret: broken disk")
		}
		return nil
	}}, Options{})
	for range 20 {
		if a := s.do(t, "GET", "/readyz", ""); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	if n := asked.Load(); n > 2 {
		t.Errorf("20 probes asked the database %d times", n)
	}
	failing.Store(true)
	s.ready.mu.Lock()
	s.ready.asked = time.Time{}
	s.ready.mu.Unlock()
	a := s.do(t, "GET", "/readyz", "")
	checkError(t, "not ready", a, 503, "NOT_READY", "cannot serve", -1)
	if strings.Contains(a.body, "secret") || a.header.Get("Retry-After") == "" {
		t.Errorf("%s %v", a.body, a.header)
	}
}

func TestCancelReachesTheDatabase(t *testing.T) {
	entered, left := make(chan struct{}), make(chan struct{})
	s := start(t, &fakeDB{exec: func(ctx context.Context, _ kalamdb.Request) ([]kalamdb.Result, error) {
		close(entered)
		<-ctx.Done()
		close(left)
		return nil, ctx.Err()
	}}, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", s.url+"/api/sql", strings.NewReader(`{"sql":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer alice"}}
	go func() { <-entered; cancel() }()
	if reply, err := s.http.Do(req); err == nil {
		reply.Body.Close()
		t.Fatal("the request was answered")
	}
	<-left
}

func TestVerifierIsAnOption(t *testing.T) {
	secret := bytes.Repeat([]byte("k"), 32)
	v, err := auth.NewVerifier(auth.Options{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	token, err := auth.Sign(secret, auth.Principal{User: "dora", Role: auth.Service}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, &fakeDB{exec: echo}, Options{Verifier: v})
	if got := firstRow(t, s.do(t, "POST", "/api/sql", `{"sql":"x"}`, jsonBody, "Authorization: Bearer "+token)); !strings.Contains(got, `"user":"dora","role":"service"`) {
		t.Error(got)
	}
}

var _ Verifier = (*auth.Verifier)(nil)

func TestZeroOptionsHaveLimits(t *testing.T) {
	o := reflect.ValueOf(Options{}.withDefaults())
	for i := range o.NumField() {
		f := o.Type().Field(i)
		if f.Type.Kind() == reflect.Int || f.Type.Kind() == reflect.Int64 {
			if o.Field(i).Int() <= 0 {
				t.Errorf("%s has no default", f.Name)
			}
		}
	}
}

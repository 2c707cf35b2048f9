package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"kalamdb"
	"kalamdb/client"
	"kalamdb/row"
)

const benchInsert = `{"sql":"INSERT INTO app.messages (conversation_id, text) VALUES ($1, $2)","params":["c1","I'm great!"]}`

func inserted(context.Context, kalamdb.Request) ([]kalamdb.Result, error) {
	return []kalamdb.Result{{Statement: "INSERT", IsWrite: true, Affected: 1, Seq: 123456, Took: 400_000}}, nil
}

// BenchmarkInsertRaw is what the server costs: each of 16 connections sends
// prepared bytes and reads the answer with as little as possible.
func BenchmarkInsertRaw(b *testing.B) {
	s := start(b, &fakeDB{exec: inserted}, Options{})
	request := fmt.Appendf(nil, "POST /api/sql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer alice\r\nContent-Length: %d\r\n\r\n%s", len(benchInsert), benchInsert)
	connections := make(chan net.Conn, 16)
	for range cap(connections) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		connections <- conn
	}
	b.ReportAllocs()
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		conn := <-connections
		r := bufio.NewReader(conn)
		for pb.Next() {
			if _, err := conn.Write(request); err != nil {
				b.Error(err)
				return
			}
			if err := skipAnswer(r); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

// skipAnswer reads one answer of the server, which must be 200.
func skipAnswer(r *bufio.Reader) error {
	size := 0
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		text := string(line)
		switch {
		case first && !strings.Contains(text, " 200 "):
			return fmt.Errorf("answer %q", text)
		case strings.HasPrefix(text, "Content-Length: "):
			if _, err := fmt.Sscanf(text, "Content-Length: %d", &size); err != nil {
				return err
			}
		case text == "\r\n":
			_, err := r.Discard(size)
			return err
		}
	}
}

// BenchmarkInsertClient is the same with the Go client, which encodes and decodes.
func BenchmarkInsertClient(b *testing.B) {
	s := start(b, &fakeDB{exec: inserted}, Options{})
	c := client.New(s.url, "alice")
	defer c.Close()
	b.ReportAllocs()
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Exec(b.Context(), "INSERT INTO app.messages (conversation_id, text) VALUES ($1, $2)", "c1", "I'm great!"); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

// BenchmarkHandler is the server without a network.
func BenchmarkHandler(b *testing.B) {
	s := newServer(&fakeDB{exec: inserted}, Options{Verifier: fakeVerifier(fakeTokens)})
	header := http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer alice"}}
	b.ReportAllocs()
	for b.Loop() {
		r, err := http.NewRequest("POST", "/api/sql", strings.NewReader(benchInsert))
		if err != nil {
			b.Fatal(err)
		}
		r.Header = header.Clone()
		w := &sink{header: http.Header{}}
		s.Handler().ServeHTTP(w, r)
		if w.status != 200 {
			b.Fatalf("status %d", w.status)
		}
	}
}

type sink struct {
	header http.Header
	status int
	n      int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(b []byte) (int, error) { s.n += len(b); return len(b), nil }

func BenchmarkParseRequest(b *testing.B) {
	body := []byte(benchInsert)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseRequest(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNDJSON(b *testing.B) {
	values := []row.Value{row.IntValue(row.BigInt, 12345), row.TextValue("I'm great!"), row.IntValue(row.Int, 7)}
	s := start(b, &fakeDB{query: func(context.Context, kalamdb.Request) (Rows, error) {
		return &endless{memoryRows: memoryRows{columns: idText}, values: values, left: 100_000}, nil
	}}, Options{})
	for b.Loop() {
		req, err := http.NewRequest("POST", s.url+"/api/sql", strings.NewReader(`{"sql":"x"}`))
		if err != nil {
			b.Fatal(err)
		}
		req.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer alice"}, "Accept": {mediaNDJSON}}
		reply, err := s.http.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, reply.Body); err != nil {
			b.Fatal(err)
		}
		reply.Body.Close()
	}
	b.ReportMetric(100_000*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

// endless repeats one row.
type endless struct {
	memoryRows
	values []row.Value
	left   int
}

func (e *endless) Next() bool          { e.left--; return e.left >= 0 }
func (e *endless) Values() []row.Value { return e.values }
func (e *endless) Err() error          { return nil }

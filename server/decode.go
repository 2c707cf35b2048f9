package server

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"

	"kalamdb"
	"kalamdb/row"
)

const (
	sqlBytesMax = 1 << 20 // the text of one request
	paramsMax   = 32_767  // of one statement
	// pooledBytesMax is the largest buffer kept for the next request.
	pooledBytesMax = 1 << 20
)

var requestFields = []string{"sql", "params", "namespace"}

// buffers are for bodies and answers. Nothing that outlives a request may share
// their memory.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

func giveBack(b *[]byte) {
	if cap(*b) <= pooledBytesMax {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}

// decodeRequest reads the body of POST /api/sql.
func (s *Server) decodeRequest(w http.ResponseWriter, r *http.Request) (kalamdb.Request, error) {
	if err := checkContentType(r.Header.Get("Content-Type")); err != nil {
		return kalamdb.Request{}, err
	}
	if b, ok := r.Body.(*laneBody); ok && int64(len(b.rest)) <= s.o.BodyBytesMax {
		return parseRequest(b.rest)
	}
	buf := buffers.Get().(*[]byte)
	defer giveBack(buf)
	if err := s.readBody(buf, w, r); err != nil {
		return kalamdb.Request{}, err
	}
	return parseRequest(*buf)
}

func checkContentType(v string) error {
	if v == "application/json" {
		return nil
	}
	media, params, err := mime.ParseMediaType(v)
	if err != nil || media != "application/json" {
		return invalidAt(-1, "the Content-Type is %q, expected application/json", v)
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return invalidAt(-1, "the charset of the body is %q, expected utf-8", charset)
	}
	return nil
}

// readBody reads the body into buf, inflated if it is gzip.
func (s *Server) readBody(buf *[]byte, w http.ResponseWriter, r *http.Request) error {
	most := s.o.BodyBytesMax
	tooLarge := func(what string) error {
		return &kalamdb.Error{Code: kalamdb.CodeTooLarge, Message: fmt.Sprintf("the body is larger than %d bytes%s", most, what),
			Details: "send fewer rows in one request", Statement: -1, Position: -1}
	}
	if r.ContentLength > most {
		return tooLarge("")
	}
	var body io.Reader = http.MaxBytesReader(w, r.Body, most)
	note := ""
	switch encoding := r.Header.Get("Content-Encoding"); strings.ToLower(encoding) {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(body)
		if err != nil {
			return invalidAt(-1, "the body is not gzip although Content-Encoding says so")
		}
		body, note = io.LimitReader(z, most+1), " when inflated"
	default:
		return invalidAt(-1, "the Content-Encoding is %q, expected gzip or none", encoding)
	}
	if err := appendAll(buf, body, int(max(r.ContentLength, 0))); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return tooLarge("")
		}
		return invalidAt(-1, "the body could not be read: %s", bodyFault(err))
	}
	if int64(len(*buf)) > most {
		return tooLarge(note)
	}
	return nil
}

// bodyFault names err without what only the server knows.
func bodyFault(err error) string {
	switch {
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, gzip.ErrHeader):
		return "broken gzip"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "it ended early"
	}
	return "it did not arrive in time or is damaged"
}

// appendAll reads r to its end into buf, which gets room for size bytes.
func appendAll(buf *[]byte, r io.Reader, size int) error {
	b := (*buf)[:0]
	if cap(b) < size+1 {
		b = make([]byte, 0, size+1)
	}
	defer func() { *buf = b }()
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// parseRequest reads the JSON of a request. The result shares no memory with b.
func parseRequest(b []byte) (kalamdb.Request, error) {
	var q kalamdb.Request
	r, err := newReader(b, "body")
	if err != nil {
		return q, err
	}
	hasSQL := false
	err = r.object("the body", requestFields, func(field int) (err error) {
		switch requestFields[field] {
		case "sql":
			hasSQL = true
			q.SQL, err = r.str("sql")
		case "params":
			if !r.null() {
				q.Params, err = r.params()
			}
		case "namespace":
			if !r.null() {
				q.Namespace, err = r.str("namespace")
			}
		}
		return err
	})
	if err == nil {
		err = r.end()
	}
	switch {
	case err != nil:
		return kalamdb.Request{}, err
	case !hasSQL:
		return kalamdb.Request{}, invalidAt(-1, `the field "sql" is missing in the body`)
	case len(q.SQL) > sqlBytesMax:
		return kalamdb.Request{}, &kalamdb.Error{Code: kalamdb.CodeTooLarge, Statement: -1, Position: -1,
			Message: fmt.Sprintf("the SQL text has %d bytes, the limit is %d", len(q.SQL), sqlBytesMax), Details: "send values as params"}
	}
	return q, nil
}

func (r *reader) params() ([]row.Value, error) {
	var values []row.Value
	err := r.array("params", func() error {
		if len(values) == paramsMax {
			return &kalamdb.Error{Code: kalamdb.CodeTooLarge, Statement: -1, Position: -1,
				Message: fmt.Sprintf("more than %d params", paramsMax)}
		}
		v, err := r.value()
		values = append(values, v)
		return err
	})
	return values, err
}

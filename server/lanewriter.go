package server

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// A laneWriter is the http.ResponseWriter of the lane. An answer is one Write: the
// handler has the whole body and knows its length.
type laneWriter struct {
	conn   *laneConn
	header http.Header
	out    []byte
	status int  // 0 before WriteHeader
	wrote  bool // the head is out
	failed bool // the client does not take the answer
}

func (w *laneWriter) reset() {
	clear(w.header)
	w.status, w.wrote = 0, false
}

func (w *laneWriter) Header() http.Header { return w.header }

// Status is the status of the answer, 200 if nobody says otherwise.
func (w *laneWriter) Status() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}

// Written says whether some of the answer may have reached the client.
func (w *laneWriter) Written() bool { return w.wrote }

// WriteHeader sets the status, once.
func (w *laneWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

// laneCopyMax is the size up to which a body is copied behind the head, so that both
// are one system call.
const laneCopyMax = 32 << 10

func (w *laneWriter) Write(b []byte) (int, error) {
	if w.wrote {
		return w.send(b)
	}
	w.wrote = true
	w.out = w.appendHead(w.out[:0], len(b))
	if len(b) > laneCopyMax {
		if _, err := w.send(w.out); err != nil {
			return 0, err
		}
		return w.send(b)
	}
	w.out = append(w.out, b...)
	if _, err := w.send(w.out); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (w *laneWriter) send(b []byte) (int, error) {
	n, err := w.conn.conn.Write(b)
	if err != nil {
		w.failed = true
	}
	return n, err
}

// SetWriteDeadline is what http.ResponseController calls. A deadline that is set lasts
// a little longer, so that the next answers need no new one.
func (w *laneWriter) SetWriteDeadline(t time.Time) error {
	c := w.conn
	now := time.Now()
	if now.Sub(c.writeArmed) < laneRearm {
		return nil
	}
	c.writeArmed = now
	return c.conn.SetWriteDeadline(t.Add(laneRearm))
}

func (w *laneWriter) appendHead(dst []byte, length int) []byte {
	status := w.Status()
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(append(append(dst, ' '), http.StatusText(status)...), "\r\nDate: "...)
	dst = append(dst, httpDate(time.Now())...)
	if w.header["Content-Length"] == nil {
		dst = strconv.AppendInt(append(dst, "\r\nContent-Length: "...), int64(length), 10)
	}
	for name, values := range w.header {
		for _, v := range values {
			dst = append(append(append(append(dst, "\r\n"...), name...), ": "...), v...)
		}
	}
	return append(dst, "\r\n\r\n"...)
}

// A dateText is the Date header of one second.
type dateText struct {
	second int64
	text   string
}

var lastDate atomic.Pointer[dateText]

// httpDate is now in the form of the Date header. It is formatted once a second.
func httpDate(now time.Time) string {
	if d := lastDate.Load(); d != nil && d.second == now.Unix() {
		return d.text
	}
	d := &dateText{second: now.Unix(), text: now.UTC().Format(http.TimeFormat)}
	lastDate.Store(d)
	return d.text
}

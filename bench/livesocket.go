package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"kalamdb/auth"
	"kalamdb/row"
)

const (
	opText, opClose, opPing, opPong = 1, 8, 9, 10

	watcherBytes    = 32 << 10 // read at once
	addressSockets  = 4000     // connections of one loopback address
	benchUser       = "bench"
	subscribeAtOnce = 100
)

// A watcher is one WebSocket that costs the machine as little as a client can: it takes
// frames apart and leaves their JSON alone.
type watcher struct {
	c    net.Conn
	r    *bufio.Reader
	body []byte
	out  []byte
}

// tokens signs for any user of a server.
func tokens(s *server) (func(user string) (string, error), error) {
	secret, err := auth.LoadOrCreateSecret(filepath.Join(s.dir, "data", "secret"))
	return func(user string) (string, error) {
		return auth.Sign(secret, auth.Principal{User: row.UserID(user), Role: auth.User}, time.Hour)
	}, err
}

// watch opens the n-th WebSocket of this process; many come from several addresses of
// this machine.
func watch(s *server, token string, n int) (*watcher, error) {
	from := &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+n/addressSockets))}
	c, err := (&net.Dialer{LocalAddr: from, Timeout: requestTimeout}).Dial("tcp", s.addr)
	if err != nil {
		return nil, err
	}
	w := &watcher{c: c, r: bufio.NewReaderSize(c, 512)}
	if err := w.upgrade(s.addr, token); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return w, nil
}

func (w *watcher) upgrade(host, token string) error {
	_, err := fmt.Fprintf(w.c, "GET /ws HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", host, token)
	if err != nil {
		return err
	}
	status, err := w.r.ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.Contains(status, " 101 ") {
		rest, _ := w.r.Peek(w.r.Buffered())
		return fmt.Errorf("answer %s%s", status, rest)
	}
	for line := ""; line != "\r\n"; {
		if line, err = w.r.ReadString('\n'); err != nil {
			return err
		}
	}
	return nil
}

// send sends a frame. The mask of a client may be zero, which leaves the text as it is.
func (w *watcher) send(op byte, text []byte) error {
	w.out = append(w.out[:0], 0x80|op)
	switch n := len(text); {
	case n < 126:
		w.out = append(w.out, 0x80|byte(n))
	case n < 1<<16:
		w.out = binary.BigEndian.AppendUint16(append(w.out, 0x80|126), uint16(n))
	default:
		w.out = binary.BigEndian.AppendUint64(append(w.out, 0x80|127), uint64(n))
	}
	w.out = append(append(w.out, 0, 0, 0, 0), text...)
	_, err := w.c.Write(w.out)
	return err
}

// next is the next text frame, valid until the next call.
func (w *watcher) next() ([]byte, error) {
	for {
		op, err := w.frame()
		switch {
		case err != nil:
			return nil, err
		case op == opText:
			return w.body, nil
		case op == opPing:
			if err := w.send(opPong, w.body); err != nil {
				return nil, err
			}
		case op == opClose:
			return nil, fmt.Errorf("the server closed the WebSocket: %q", w.body)
		}
	}
}

func (w *watcher) frame() (op byte, err error) {
	var head [10]byte
	if _, err := io.ReadFull(w.r, head[:2]); err != nil {
		return 0, err
	}
	n := uint64(head[1])
	switch n {
	case 126:
		_, err = io.ReadFull(w.r, head[2:4])
		n = uint64(binary.BigEndian.Uint16(head[2:4]))
	case 127:
		_, err = io.ReadFull(w.r, head[2:10])
		n = binary.BigEndian.Uint64(head[2:10])
	}
	if err != nil {
		return 0, err
	}
	if uint64(cap(w.body)) < n {
		w.body = make([]byte, n)
	}
	w.body = w.body[:n]
	_, err = io.ReadFull(w.r, w.body)
	return head[0] & 15, err
}

// subscribe sends subscriptions, of which each element is the JSON of one, and waits
// until the server has them all.
func (w *watcher) subscribe(subscriptions []string) error {
	for len(subscriptions) > 0 {
		n := min(len(subscriptions), subscribeAtOnce)
		if err := w.send(opText, []byte(`{"type":"subscribe","subscriptions":[`+strings.Join(subscriptions[:n], ",")+`]}`)); err != nil {
			return err
		}
		for range n {
			frame, err := w.next()
			if err != nil {
				return err
			}
			if !bytes.HasPrefix(frame, []byte(`{"type":"subscribed"`)) {
				return fmt.Errorf("frame %s, expected subscribed", frame)
			}
		}
		subscriptions = subscriptions[n:]
	}
	return nil
}

// many makes the reads of a watcher large, for one that gets many frames.
func (w *watcher) many() { w.r = bufio.NewReaderSize(w.r, watcherBytes) }

func subscription(queryID, sql, options string) string {
	if options == "" {
		options = "{}"
	}
	return fmt.Sprintf(`{"query_id":%q,"sql":%q,"options":%s}`, queryID, sql, options)
}

var rowNumber = []byte(`"n":`)

// numbers calls yield with the column n of each row in a frame.
func numbers(frame []byte, yield func(n int64)) {
	for {
		at := bytes.Index(frame, rowNumber)
		if at < 0 {
			return
		}
		frame = frame[at+len(rowNumber):]
		end := 0
		for end < len(frame) && frame[end] >= '0' && frame[end] <= '9' {
			end++
		}
		if n, err := strconv.ParseInt(string(frame[:end]), 10, 64); err == nil {
			yield(n)
		}
	}
}

func isChange(frame []byte) bool { return bytes.HasPrefix(frame, []byte(`{"type":"change"`)) }

// An audience are watchers that read in goroutines of their own until close.
type audience struct {
	sockets []*watcher
	wg      sync.WaitGroup

	mu     sync.Mutex // guards closed and failed
	closed bool
	failed error // the first watcher that ended by itself
}

// read has on called with each text frame of w.
func (a *audience) read(w *watcher, on func(frame []byte) error) {
	w.many()
	a.sockets = append(a.sockets, w)
	a.wg.Go(func() {
		for {
			frame, err := w.next()
			if err == nil {
				err = on(frame)
			}
			if err != nil {
				a.mu.Lock()
				if !a.closed && a.failed == nil {
					a.failed = err
				}
				a.mu.Unlock()
				return
			}
		}
	})
}

func (a *audience) err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failed
}

func (a *audience) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	for _, w := range a.sockets {
		_ = w.c.Close()
	}
	a.wg.Wait()
}

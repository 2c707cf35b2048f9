package main

import (
	"bufio"
	"io"
	"net"
	"sync"
)

// bareAnswer is as long as the server's answer to an insert.
const bareAnswer = "HTTP/1.1 200 OK\r\nDate: Mon, 02 Jan 2006 15:04:05 GMT\r\nContent-Type: application/json; charset=utf-8\r\nX-Request-Id: 0123456789abcdef-1\r\nContent-Length: 133\r\n\r\n" +
	`{"status":"success","results":[{"statement":"INSERT","rows":[],"affected_rows":1,"seq":12345,"execution_time_ms":0.345}],"time":0.3456}`

// A bareServer is the least that a durable insert over a socket can be: it reads the
// bytes of a request without looking at them, writes one row to raw Pebble with Sync,
// and sends an answer that was made before. No server on this machine is faster.
type bareServer struct {
	ln net.Listener
	wg sync.WaitGroup
}

func startBare(raw *rawPebble, requestBytes int) (*bareServer, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &bareServer{ln: ln}
	b.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			b.wg.Go(func() { serveBare(c, raw, requestBytes) })
		}
	})
	return b, nil
}

func serveBare(c net.Conn, raw *rawPebble, requestBytes int) {
	defer c.Close()
	write, done, err := raw.client()
	if err != nil {
		return
	}
	defer done()
	request := make([]byte, requestBytes)
	for {
		if _, err := io.ReadFull(c, request); err != nil {
			return
		}
		if write() != nil {
			return
		}
		if _, err := io.WriteString(c, bareAnswer); err != nil {
			return
		}
	}
}

// client sends requests of the size that the server expects and reads the answers.
func (b *bareServer) client(requestBytes int) (do func() error, done func(), err error) {
	c, err := net.Dial("tcp", b.ln.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	r := bufio.NewReader(c)
	request, answer := make([]byte, requestBytes), make([]byte, len(bareAnswer))
	return func() error {
		if _, err := c.Write(request); err != nil {
			return err
		}
		_, err := io.ReadFull(r, answer)
		return err
	}, func() { _ = c.Close() }, nil
}

func (b *bareServer) close() {
	_ = b.ln.Close()
	b.wg.Wait()
}

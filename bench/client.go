package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// A conn is one HTTP/1.1 connection that costs the machine as little as a client
// can: the request is bytes, and of the answer it reads status and length.
type conn struct {
	c    net.Conn
	r    *bufio.Reader
	head string // of every request, without the length
	out  []byte
	body []byte
}

const requestTimeout = 30 * time.Second

func dial(s *server) (*conn, error) {
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		return nil, err
	}
	head := "POST /api/sql HTTP/1.1\r\nHost: " + s.addr + "\r\nContent-Type: application/json\r\nAuthorization: Bearer " + s.token + "\r\nContent-Length: "
	return &conn{c: c, r: bufio.NewReaderSize(c, 8<<10), head: head}, nil
}

// post sends a body and returns the answer's, which is valid until the next call.
func (c *conn) post(body []byte) ([]byte, error) {
	c.out = append(c.out[:0], c.head...)
	c.out = strconv.AppendInt(c.out, int64(len(body)), 10)
	c.out = append(c.out, "\r\n\r\n"...)
	c.out = append(c.out, body...)
	if err := c.c.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return nil, err
	}
	if _, err := c.c.Write(c.out); err != nil {
		return nil, err
	}
	status, err := c.r.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	ok := bytes.Contains(status, []byte(" 200 "))
	length := -1
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		if len(line) <= 2 {
			break
		}
		if name, value, found := strings.Cut(string(line), ":"); found && strings.EqualFold(name, "Content-Length") {
			if length, err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
				return nil, err
			}
		}
	}
	if length < 0 {
		return nil, errors.New("the answer has no Content-Length")
	}
	if cap(c.body) < length {
		c.body = make([]byte, length)
	}
	c.body = c.body[:length]
	if _, err := io.ReadFull(c.r, c.body); err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("answer: %s", c.body)
	}
	return c.body, nil
}

// sql runs statements that are no part of a measurement.
func (c *conn) sql(text string) error {
	body, err := json.Marshal(map[string]string{"sql": text})
	if err != nil {
		return err
	}
	_, err = c.post(body)
	return err
}

func (c *conn) close() { _ = c.c.Close() }

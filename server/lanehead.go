package server

import (
	"bytes"
	"net/http"
	"strings"
)

const (
	laneHeadBytesMax = 4 << 10
	laneBodyBytesMax = 64 << 10
)

// laneStart begins every request that the lane takes.
const laneStart = "POST " + routeSQL + " HTTP/1.1\r\n"

// laneHeaders are the header fields a request on the lane may have: those that mean
// something to POST /api/sql, and a few that every client sends and that mean nothing
// to it. The names are canonical.
var laneHeaders = []string{
	"Host", "Content-Length", "Content-Type", "Authorization", "Accept", "Connection",
	"User-Agent", "Accept-Encoding", "Accept-Language", "Sec-Fetch-Mode",
}

// parseLaneHead reads a request's head, which ends with an empty line, into h. It is
// false for everything that is not the plainest request: net/http decides about that.
func parseLaneHead(head []byte, h http.Header) (length int, ok bool) {
	clear(h)
	text, ok := strings.CutPrefix(string(head), laneStart)
	length = -1
	for ok && text != "\r\n" {
		var line string
		line, text, _ = strings.Cut(text, "\r\n")
		field, value, found := strings.Cut(line, ":")
		name := laneHeader(field)
		if !found || name == "" || h[name] != nil {
			return 0, false
		}
		value = strings.Trim(value, " \t")
		for i := range len(value) {
			if value[i] < ' ' || value[i] > '~' {
				return 0, false
			}
		}
		switch name {
		case "Content-Length":
			length, ok = laneLength(value)
		case "Accept":
			ok = formatOf([]string{value}) == formatJSON
		case "Connection":
			ok = strings.EqualFold(value, "keep-alive")
		}
		h[name] = []string{value}
	}
	return length, ok && length >= 0 && h["Host"] != nil
}

// laneHeader is the canonical name of a header field on the lane, "" for others.
func laneHeader(field string) string {
	for _, name := range laneHeaders {
		if len(name) == len(field) && strings.EqualFold(name, field) {
			return name
		}
	}
	return ""
}

// laneLength is the value of a Content-Length, which the lane reads in its plainest
// form only.
func laneLength(s string) (n int, ok bool) {
	if s == "" || len(s) > 6 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = 10*n + int(s[i]-'0')
	}
	return n, n <= laneBodyBytesMax
}

// laneHeadEnd is the length of the head that b begins with, 0 if its end is not there
// yet. It is false as soon as b can be no request of the lane.
func laneHeadEnd(b []byte) (n int, ok bool) {
	if n := min(len(b), len(laneStart)); string(b[:n]) != laneStart[:n] {
		return 0, false
	}
	if i := bytes.Index(b, []byte("\r\n\r\n")); i >= 0 {
		return i + 4, i+4 <= laneHeadBytesMax
	}
	return 0, len(b) < laneHeadBytesMax
}

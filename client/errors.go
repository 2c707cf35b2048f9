package client

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// An Error is what the server says when it refuses a request or a frame.
type Error struct {
	Status     int    // of HTTP; 0 if the error came over a WebSocket
	Code       string // stable, such as TABLE_NOT_FOUND
	Message    string
	Details    string        // more, such as the nearest name; may be empty
	Statement  int           // index of the statement that failed, -1 if none
	Position   int           // byte offset in the SQL text, for INVALID_REQUEST in the request body; -1 if none
	RetryAfter time.Duration // when to try again, 0 if the server does not say
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", e.Code, e.Message)
	if e.Details != "" {
		fmt.Fprintf(&b, " (%s)", e.Details)
	}
	if e.Position >= 0 {
		fmt.Fprintf(&b, " at byte %d", e.Position)
	}
	return b.String()
}

// errorFields are those of an error over HTTP and of an error frame.
type errorFields struct {
	Code      string `json:"code"`
	Message   string `json:"message"`
	Details   string `json:"details"`
	Statement *int   `json:"statement_index"`
	Position  *int   `json:"position"`
}

func (f errorFields) err() *Error {
	e := &Error{Code: f.Code, Message: f.Message, Details: f.Details, Statement: -1, Position: -1}
	if f.Statement != nil {
		e.Statement = *f.Statement
	}
	if f.Position != nil {
		e.Position = *f.Position
	}
	return e
}

// errorOf reads the error in an answer; one that is not the server's own, such as
// a proxy's, has the code HTTP_<status>.
func errorOf(reply *http.Response, text []byte) *Error {
	var answer struct {
		Error *errorFields `json:"error"`
	}
	var e *Error
	if err := json.Unmarshal(text, &answer); err == nil && answer.Error != nil && answer.Error.Code != "" {
		e = answer.Error.err()
	} else {
		e = errorFields{Code: "HTTP_" + strconv.Itoa(reply.StatusCode), Message: "the server answered " + reply.Status}.err()
	}
	e.Status = reply.StatusCode
	if seconds, err := strconv.Atoi(reply.Header.Get("Retry-After")); err == nil {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	return e
}

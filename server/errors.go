package server

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"kalamdb"
	"kalamdb/row"
)

// Codes that only a server has a use for.
const (
	codeUnauthenticated  = "UNAUTHENTICATED"
	codeMethodNotAllowed = "METHOD_NOT_ALLOWED"
	codeLimitExceeded    = "LIMIT_EXCEEDED"
)

// statuses is the only place that knows both HTTP and the codes of errors. A code
// that is not here is a bug and answers 500.
var statuses = map[string]int{
	"SYNTAX_ERROR":        400,
	"INVALID_REQUEST":     400,
	"INVALID_PARAMS":      400,
	"INVALID_DEFINITION":  400,
	"INVALID_LOCATION":    400,
	"INVALID_VALUE":       400,
	"INVALID_STATEMENT":   400,
	"INVALID_TYPE":        400,
	"INVALID_NAME":        400,
	"TYPE_MISMATCH":       400,
	"NOT_NULL_VIOLATION":  400,
	"COLUMN_NOT_FOUND":    400,
	"TABLE_NOT_FOUND":     400,
	"NAMESPACE_NOT_FOUND": 400,
	"LOCATION_NOT_FOUND":  400,
	"USER_NOT_FOUND":      400,
	"FUNCTION_NOT_FOUND":  400,
	"NOT_SUPPORTED_YET":   400,
	"NOT_SUPPORTED":       400,
	"CURSOR_EXPIRED":      400,
	"WRONG_TABLE_TYPE":    400,
	codeUnauthenticated:   401,
	"FORBIDDEN":           403,
	"READ_ONLY":           403,
	"FORBIDDEN_FUNCTION":  403,
	"FORBIDDEN_STATEMENT": 403,
	"NOT_FOUND":           400, // of something a statement names; an unknown route answers 404 by itself
	codeMethodNotAllowed:  405,
	"DUPLICATE_KEY":       409,
	"ALREADY_EXISTS":      409,
	"IN_USE":              409,
	"CONFLICT":            409,
	"KILLED":              409, // by somebody who meant it: not to be tried again
	"TOO_LARGE":           413,
	"RESULT_TOO_LARGE":    413,
	"BUSY":                429,
	"RATE_LIMITED":        429,
	codeLimitExceeded:     429,
	"INTERNAL":            500,
	"STORAGE_ERROR":       400, // of a place that a statement names
	"BUFFER_FULL":         503,
	"NOT_READY":           503,
	"OUT_OF_MEMORY":       503,
	"CANCELLED":           503,
	"STATEMENT_TIMEOUT":   504,

	"TRANSACTION_NOT_FINISHED": 400,
	"TRANSACTION_CONFLICT":     409,
}

// retryAfterDefault is for errors that pass by themselves and do not say when.
const retryAfterDefault = time.Second

func statusOf(code string) int {
	if status, ok := statuses[code]; ok {
		return status
	}
	return http.StatusInternalServerError
}

// asError makes every error one that can be shown; what is not a *kalamdb.Error
// stays in the log.
func asError(err error) *kalamdb.Error {
	var e *kalamdb.Error
	if errors.As(err, &e) {
		return e
	}
	return &kalamdb.Error{Code: kalamdb.CodeInternal, Message: "the server could not complete the request; the operator's log has the reason",
		Statement: -1, Position: -1, Cause: err}
}

func fail(code, message string) *kalamdb.Error {
	return &kalamdb.Error{Code: code, Message: message, Statement: -1, Position: -1}
}

// writeError answers with err as JSON. Nothing may have been written before.
func (s *Server) writeError(w http.ResponseWriter, r *http.Request, err error) {
	e := asError(err)
	s.writeErrorStatus(w, r, statusOf(e.Code), e)
}

func (s *Server) writeErrorStatus(w http.ResponseWriter, r *http.Request, status int, e *kalamdb.Error) {
	s.logFault(r, status, e)
	h := w.Header()
	switch status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="kalamdb"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		wait := e.RetryAfter
		if wait <= 0 {
			wait = retryAfterDefault
		}
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	}
	buf := buffers.Get().(*[]byte)
	defer giveBack(buf)
	*buf = append((*buf)[:0], `{"status":"error","error":`...)
	*buf = appendError(*buf, e)
	*buf = append(*buf, '}')
	s.write(w, status, *buf)
}

// logFault tells the operator about errors that are ours.
func (s *Server) logFault(r *http.Request, status int, e *kalamdb.Error) {
	if status < 500 || e.Code == kalamdb.CodeCancelled {
		return
	}
	s.log.Error("request failed", "request_id", requestIDOf(r), "path", r.URL.Path, "code", e.Code, "message", e.Message, "cause", e.Cause)
}

// appendError appends the error object of the contract.
func appendError(dst []byte, e *kalamdb.Error) []byte {
	dst = append(dst, '{')
	dst = appendErrorFields(dst, e)
	if e.Statement >= 0 {
		dst = append(dst, `,"statement_index":`...)
		dst = strconv.AppendInt(dst, int64(e.Statement), 10)
	}
	return append(dst, '}')
}

// appendErrorFields appends what errors over HTTP and WebSocket have in common.
func appendErrorFields(dst []byte, e *kalamdb.Error) []byte {
	dst = append(dst, `"code":`...)
	dst = row.AppendJSONString(dst, e.Code)
	dst = append(dst, `,"message":`...)
	dst = row.AppendJSONString(dst, e.Message)
	if e.Details != "" {
		dst = append(dst, `,"details":`...)
		dst = row.AppendJSONString(dst, e.Details)
	}
	if e.OldestSeq > 0 {
		dst = append(dst, `,"oldest_seq":`...)
		dst = strconv.AppendUint(dst, uint64(e.OldestSeq), 10)
	}
	if e.Position >= 0 {
		dst = append(dst, `,"position":`...)
		dst = strconv.AppendInt(dst, int64(e.Position), 10)
	}
	return dst
}

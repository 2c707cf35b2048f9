package kalamdb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kalamdb/catalog"
	"kalamdb/ingest"
	"kalamdb/lake"
	"kalamdb/live"
	"kalamdb/query"
	"kalamdb/row"
	"kalamdb/sql"
	"kalamdb/storagelocations"
)

// Codes of [Error] that this package makes itself; query.Error and sql.Error bring
// their own. They are part of the contract: never rename one.
const (
	CodeSyntax            = "SYNTAX_ERROR"
	CodeInvalidRequest    = "INVALID_REQUEST"
	CodeInvalidParams     = "INVALID_PARAMS"
	CodeInvalidDefinition = "INVALID_DEFINITION"
	CodeInvalidLocation   = "INVALID_LOCATION"
	CodeInvalidValue      = "INVALID_VALUE"
	CodeNotNull           = "NOT_NULL_VIOLATION"
	CodeColumnNotFound    = "COLUMN_NOT_FOUND"
	CodeTableNotFound     = "TABLE_NOT_FOUND"
	CodeNamespaceNotFound = "NAMESPACE_NOT_FOUND"
	CodeLocationNotFound  = "LOCATION_NOT_FOUND"
	CodeNotFound          = "NOT_FOUND"
	CodeNotSupportedYet   = "NOT_SUPPORTED_YET"
	CodeForbidden         = "FORBIDDEN"
	CodeReadOnly          = "READ_ONLY"
	CodeUnauthenticated   = "UNAUTHENTICATED"
	CodeUserNotFound      = "USER_NOT_FOUND"
	CodeWrongTableType    = "WRONG_TABLE_TYPE"
	CodeDuplicateKey      = "DUPLICATE_KEY"
	CodeAlreadyExists     = "ALREADY_EXISTS"
	CodeInUse             = "IN_USE"
	CodeConflict          = "CONFLICT"
	CodeCursorExpired     = "CURSOR_EXPIRED"
	CodeTooLarge          = "TOO_LARGE"
	CodeBufferFull        = "BUFFER_FULL"
	CodeNotReady          = "NOT_READY"
	CodeTimeout           = "STATEMENT_TIMEOUT"
	CodeCancelled         = "CANCELLED"
	CodeKilled            = "KILLED"
	CodeRateLimited       = "RATE_LIMITED"
	CodeStorage           = "STORAGE_ERROR"
	CodeInternal          = "INTERNAL"
)

// Codes about the shape of a request.
const (
	CodeInvalidStatement       = "INVALID_STATEMENT"
	CodeTransactionConflict    = "TRANSACTION_CONFLICT"
	CodeTransactionNotFinished = "TRANSACTION_NOT_FINISHED"
)

// fail makes an Error without a position.
func fail(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Position: -1}
}

// at gives an Error its place in the caller's text.
func (e *Error) at(pos int) *Error {
	e.Position = pos
	return e
}

// details adds what a developer may want to know beyond the message.
func (e *Error) details(d string) *Error {
	e.Details = d
	return e
}

// didYouMean is the detail for a wrong name with a near right one.
func didYouMean(nearest string) string {
	if nearest == "" {
		return ""
	}
	return "did you mean " + nearest + "?"
}

const (
	bufferFullRetryAfter  = 2 * time.Second
	unavailableRetryAfter = 5 * time.Second
)

// asError turns every error of the rooms below into an [Error]. What it does not
// know is a fault of ours or of the world: its text goes to the log only.
func asError(err error) *Error {
	var (
		own       *Error
		sqlErr    *sql.Error
		queryErr  *query.Error
		notFound  *catalog.NotFoundError
		duplicate *ingest.DuplicateError
		gap       *ingest.GapError
		foreign   *ingest.ForeignError
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &own):
		return own
	case errors.Is(err, storagelocations.ErrCredentials):
		e := fail(CodeNotReady, "the storage of the table cannot be reached with the credentials it refers to")
		e.RetryAfter, e.Cause = time.Minute, err
		return e
	case errors.Is(err, lake.ErrUnavailable):
		e := fail(CodeNotReady, "a file of the table cannot be read from its storage at the moment").details("rows that are not in files yet can be read; try again later")
		e.RetryAfter, e.Cause = unavailableRetryAfter, err
		return e
	case errors.As(err, &sqlErr):
		return (&Error{Code: sqlErr.Code, Message: sqlErr.Message, Details: sqlErr.Hint}).at(sqlErr.Pos)
	case errors.As(err, &queryErr):
		e := &Error{Code: queryErr.Code, Message: queryErr.Message, Details: queryErr.Details, Cause: err}
		if e.Code == "BUSY" {
			e.RetryAfter = time.Second
		}
		return e.at(queryErr.Pos)
	case errors.As(err, &notFound):
		return notFoundError(notFound)
	case errors.As(err, &duplicate):
		return fail(CodeDuplicateKey, "a row with this primary key exists in %s", duplicate.Partition.Table)
	case errors.As(err, &gap):
		e := fail(CodeCursorExpired, "the changes after %d are no longer kept, the oldest available seq is %d", gap.After, gap.Oldest).
			details(fmt.Sprintf("subscribe again with last_rows to get a new snapshot; oldest_seq is %d", gap.Oldest))
		e.OldestSeq = gap.Oldest
		return e
	case errors.As(err, &foreign):
		return fail(CodeCursorExpired, "%s", foreign).details("subscribe again with last_rows to get a new snapshot")
	case errors.Is(err, ingest.ErrDropped), errors.Is(err, lake.ErrUnknownTable):
		return fail(CodeTableNotFound, "the table was dropped")
	case errors.Is(err, row.ErrFenced):
		e := fail(CodeNotReady, "another server writes to this storage; this one has stopped")
		e.RetryAfter, e.Cause = time.Minute, err
		return e
	case errors.Is(err, catalog.ErrExists), errors.Is(err, live.ErrExists):
		return fail(CodeAlreadyExists, "%s", err)
	case errors.Is(err, catalog.ErrNotEmpty), errors.Is(err, catalog.ErrInUse):
		return fail(CodeInUse, "%s", err)
	case errors.Is(err, catalog.ErrInvalid):
		return fail(CodeInvalidDefinition, "%s", err)
	case errors.Is(err, live.ErrTooMany):
		e := fail("BUSY", "%s", err)
		e.RetryAfter = time.Second
		return e
	case errors.Is(err, live.ErrClosed):
		return notReady()
	case errors.Is(err, catalog.ErrConflict):
		return fail(CodeConflict, "%s", err).details("try again")
	case errors.Is(err, catalog.ErrUnknown):
		e := fail(CodeNotReady, "the storage did not answer, so the change may or may not have happened").details("look whether it has, then try again")
		e.RetryAfter, e.Cause = time.Second, err
		return e
	case errors.Is(err, row.ErrValue):
		return fail(CodeInvalidValue, "%s", err)
	case errors.Is(err, ingest.ErrConflict):
		return fail(CodeConflict, "the rows kept changing while the statement ran").details("try again")
	case errors.Is(err, ingest.ErrAltered):
		return fail(CodeConflict, "the table was altered while the statement ran").details("try again")
	case errors.Is(err, ingest.ErrTooLarge):
		return fail(CodeTooLarge, "%s", err)
	case errors.Is(err, ingest.ErrFull):
		e := fail(CodeBufferFull, "%s", err).details("try again later; rows are being flushed")
		e.RetryAfter, e.Cause = bufferFullRetryAfter, err
		return e
	case errors.Is(err, ingest.ErrClosed):
		return notReady()
	case errors.Is(err, context.DeadlineExceeded):
		return fail(CodeTimeout, "the statement took longer than its time limit")
	case errors.Is(err, context.Canceled):
		return fail(CodeCancelled, "the statement was cancelled")
	}
	e := fail(CodeInternal, "the server could not complete the statement; the operator's log has the reason")
	e.Cause = err
	return e
}

func notFoundError(nf *catalog.NotFoundError) *Error {
	code := map[string]string{"table": CodeTableNotFound, "namespace": CodeNamespaceNotFound, "storage location": CodeLocationNotFound}[nf.Kind]
	if code == "" {
		code = CodeNotFound
	}
	return fail(code, "%s %s does not exist", nf.Kind, nf.Name).details(didYouMean(nf.Nearest))
}

func notReady() *Error {
	e := fail(CodeNotReady, "the database is closing")
	e.RetryAfter = time.Second
	return e
}

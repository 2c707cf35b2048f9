package sql

import "strconv"

// Codes of an [Error], which are those of the HTTP answer.
const (
	CodeSyntax       = "SYNTAX_ERROR"
	CodeForbidden    = "FORBIDDEN_STATEMENT"
	CodeNotSupported = "NOT_SUPPORTED_YET"
	CodeInvalidType  = "INVALID_TYPE"
	CodeInvalidName  = "INVALID_NAME"
	CodeInvalidValue = "INVALID_VALUE"
)

// An Error says what is wrong with a text, and where. Every error of [Parse] and
// [Params] is one.
type Error struct {
	Pos     int // byte offset in the text
	Code    string
	Message string // what was found and what was expected, one sentence
	Hint    string // how to go on, "" if we do not know
}

func (e *Error) Error() string {
	s := e.Message + " at byte " + strconv.Itoa(e.Pos)
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

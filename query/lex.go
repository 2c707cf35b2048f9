package query

import (
	"errors"
	"strings"

	"kalamdb/sql"
)

// A token is one word of a statement's text. The lexer, which is that of package sql,
// knows DuckDB's quoting, so that a splice never lands inside a string or a comment;
// what the words mean is left to DuckDB's own parser.
type token struct {
	kind       sql.TokenKind
	start, end int // byte offsets
}

const (
	tokenWord   = sql.TokenWord
	tokenQuoted = sql.TokenQuoted
	tokenString = sql.TokenString
	tokenNumber = sql.TokenNumber
	tokenParam  = sql.TokenParam
	tokenOther  = sql.TokenOther
)

// lex splits text; comments and spaces are left out. The error is an *Error.
func lex(text string) ([]token, error) {
	out := make([]token, 0, len(text)/5)
	err := sql.Tokens(text, func(t sql.Token) { out = append(out, token{t.Kind, t.Start, t.End}) })
	if bad := (*sql.Error)(nil); errors.As(err, &bad) {
		return nil, &Error{Code: bad.Code, Message: bad.Message, Details: bad.Hint, Pos: bad.Pos}
	}
	return out, err
}

// identifier is the name a word or quoted token stands for.
func identifier(text string, t token) string {
	s := text[t.start:t.end]
	if t.kind == tokenQuoted && len(s) >= 2 {
		return strings.ReplaceAll(s[1:len(s)-1], `""`, `"`)
	}
	return s
}

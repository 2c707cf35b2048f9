package query

import "strings"

// A token is one word of a statement's text. The lexer knows DuckDB's quoting, so
// that a splice never lands inside a string or a comment; what the words mean is
// left to DuckDB's own parser.
type token struct {
	kind       tokenKind
	start, end int // byte offsets
}

type tokenKind uint8

const (
	tokenWord   tokenKind = iota // identifier or keyword
	tokenQuoted                  // "identifier"
	tokenString                  // 'text', E'text', $$text$$
	tokenNumber
	tokenParam // $1, ?
	tokenOther // one byte of an operator or punctuation
)

// lex splits text; comments and spaces are left out.
func lex(text string) []token {
	var out []token
	for i := 0; i < len(text); {
		start := i
		kind := tokenOther
		switch c := text[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v':
			i++
			continue
		case c == '-' && strings.HasPrefix(text[i:], "--"):
			i = lineEnd(text, i)
			continue
		case c == '/' && strings.HasPrefix(text[i:], "/*"):
			i = commentEnd(text, i)
			continue
		case c == '\'':
			kind, i = tokenString, quotedEnd(text, i+1, '\'')
		case (c == 'e' || c == 'E') && strings.HasPrefix(text[i+1:], "'"):
			kind, i = tokenString, escapedEnd(text, i+2)
		case c == '"':
			kind, i = tokenQuoted, quotedEnd(text, i+1, '"')
		case c == '$':
			kind, i = dollar(text, i)
		case c == '?':
			kind, i = tokenParam, i+1
		case c >= '0' && c <= '9':
			kind = tokenNumber
			for i < len(text) && (wordByte(text[i]) || text[i] == '.') {
				i++
			}
		case wordByte(c):
			kind = tokenWord
			for i < len(text) && (wordByte(text[i]) || text[i] == '$') {
				i++
			}
		default:
			i++
		}
		out = append(out, token{kind, start, i})
	}
	return out
}

func wordByte(c byte) bool {
	return c == '_' || c >= 0x80 || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}

func lineEnd(text string, i int) int {
	for i < len(text) && text[i] != '\n' && text[i] != '\r' {
		i++
	}
	return i
}

// commentEnd is behind the comment that starts at i; comments nest.
func commentEnd(text string, i int) int {
	depth := 0
	for i < len(text) {
		switch {
		case strings.HasPrefix(text[i:], "/*"):
			depth++
			i += 2
		case strings.HasPrefix(text[i:], "*/"):
			depth--
			i += 2
			if depth == 0 {
				return i
			}
		default:
			i++
		}
	}
	return i
}

// quotedEnd is behind the closing quote, which is not doubled.
func quotedEnd(text string, i int, quote byte) int {
	for i < len(text) {
		if text[i] == quote {
			if i+1 < len(text) && text[i+1] == quote {
				i += 2
				continue
			}
			return i + 1
		}
		i++
	}
	return i
}

func escapedEnd(text string, i int) int {
	for i < len(text) {
		switch {
		case text[i] == '\\' && i+1 < len(text):
			i += 2
		case text[i] == '\'' && i+1 < len(text) && text[i+1] == '\'':
			i += 2
		case text[i] == '\'':
			return i + 1
		default:
			i++
		}
	}
	return i
}

// dollar reads $1, $$text$$ or $tag$text$tag$.
func dollar(text string, i int) (tokenKind, int) {
	j := i + 1
	for j < len(text) && wordByte(text[j]) {
		j++
	}
	if j < len(text) && text[j] == '$' && (j == i+1 || text[i+1] < '0' || text[i+1] > '9') {
		tag := text[i : j+1]
		if n := strings.Index(text[j+1:], tag); n >= 0 {
			return tokenString, j + 1 + n + len(tag)
		}
		return tokenString, len(text)
	}
	return tokenParam, j
}

// identifier is the name a word or quoted token stands for.
func identifier(text string, t token) string {
	s := text[t.start:t.end]
	if t.kind == tokenQuoted && len(s) >= 2 {
		return strings.ReplaceAll(s[1:len(s)-1], `""`, `"`)
	}
	return s
}

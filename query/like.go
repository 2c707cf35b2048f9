package query

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"kalamdb/row"
)

// DuckDB matches a LIKE pattern that is one literal without _ in linear time. Any other
// pattern it matches by trying out: a pattern of ten % takes hours on one row, where
// neither timeout nor cancellation reaches it. So LIKE is passed on in the first case,
// becomes SIMILAR TO with a regular expression (RE2 runs in linear time) where the
// pattern is made of literals and parameters, and is refused where it comes out of a row.

// likeFunctions are the functions behind LIKE and ILIKE: do they ignore case?
var likeFunctions = map[string]bool{"~~": false, "!~~": false, "~~*": true, "!~~*": true,
	"like_escape": false, "not_like_escape": false, "ilike_escape": true, "not_ilike_escape": true}

// patternMax is the bytes of a pattern that is not left to DuckDB as it is.
const patternMax = 1000

// A likeRef is a LIKE whose pattern needs a parameter: text[start:end] is LIKE and the
// pattern.
type likeRef struct {
	start, end int
	parts      []likePart
	fold       bool // ILIKE
	escape     rune // -1: none
}

// A likePart is a literal, or the parameter if it is above 0.
type likePart struct {
	text   string
	param  int
	cast   bool // to text: the parameter may be a number
	concat bool // an argument of concat, which takes NULL for ''
}

const likeHint = "write LIKE with a literal, a parameter, '%' || $1 || '%' or concat('%', $1, '%'); for any other pattern use contains(), starts_with() or regexp_matches()"

func (g *gate) like(n node, ignoreCase bool) {
	args := n.list("children")
	pos := n.pos()
	if len(args) < 2 {
		g.refuse("FORBIDDEN_FUNCTION", pos, "this use of LIKE is not allowed")
	}
	parts, ok := likeParts(args[1], likePart{}, nil)
	if !ok {
		g.hint(pos, "the pattern of LIKE must be made of literals and parameters alone", likeHint)
	}
	name := n.str("function_name")
	if (name == "~~" || name == "!~~") && len(parts) == 1 && parts[0].param == 0 && !strings.Contains(parts[0].text, "_") {
		return
	}
	l := likeRef{parts: parts, fold: ignoreCase, escape: -1}
	if len(args) == 3 {
		s, ok := args[2].constText()
		if r, size := utf8.DecodeRuneInString(s); ok && s != "" && size == len(s) {
			l.escape = r
		} else if !ok || s != "" {
			g.hint(pos, "ESCAPE takes one character", "")
		}
	}
	i := g.tokenAt(pos)
	if i >= 0 && sameName(g.word(i), "NOT") {
		i++
	}
	if i < 0 || i >= len(g.tokens) || !sameName(g.word(i), "LIKE") && !sameName(g.word(i), "ILIKE") {
		g.hint(pos, "this pattern is possible with the words LIKE and ILIKE only", likeHint)
	}
	l.start = g.tokens[i].start
	if i = g.patternEnd(i+1, parts); i < 0 {
		g.hint(pos, "this pattern of LIKE is not allowed", likeHint)
	}
	if len(args) == 3 {
		if i+2 >= len(g.tokens) || !sameName(g.word(i+1), "ESCAPE") || g.tokens[i+2].kind != tokenString {
			g.hint(pos, "this ESCAPE is not allowed", "")
		}
		i += 2
	}
	l.end = g.tokens[i].end
	for _, p := range parts {
		if p.param > 0 {
			g.p.likes = append(g.p.likes, l)
			g.edited(l.start)
			return
		}
	}
	insert, err := l.insert(nil)
	if err != nil {
		panic(err)
	}
	g.cut(cut{l.start, l.end, insert})
}

// hint refuses with advice.
func (g *gate) hint(pos int, message, details string) {
	panic(refusal(&Error{Code: "FORBIDDEN_FUNCTION", Message: message, Details: details, Pos: pos}))
}

// likeParts are the literals and parameters that n is made of by ||, concat and casts to
// text; around says what stands around n.
func likeParts(n node, around likePart, parts []likePart) ([]likePart, bool) {
	if s, ok := n.constText(); ok {
		around.text = s
		return append(parts, around), true
	}
	name := fold(n.str("function_name"))
	switch {
	case len(parts) > 100:
		return nil, false
	case n.str("class") == "PARAMETER":
		id, err := strconv.Atoi(n.str("identifier"))
		around.param = id
		return append(parts, around), err == nil && id > 0
	case n.str("class") == "CAST" && n.child("cast_type").str("id") == "VARCHAR" && n.child("child").str("class") == "PARAMETER":
		around.cast = true
		return likeParts(n.child("child"), around, parts)
	case n.str("class") != "FUNCTION" || !builtin(n) || name != "||" && name != "concat" || around.concat:
		return nil, false
	}
	around.concat = name == "concat"
	ok := true
	for _, c := range n.list("children") {
		if parts, ok = likeParts(c, around, parts); !ok {
			return nil, false
		}
	}
	return parts, len(parts) > 0
}

// patternEnd is the last token of a pattern that starts at token i and is written as
// its parts, perhaps in parentheses, with || between them, or in concat; -1 if it is not.
func (g *gate) patternEnd(i int, parts []likePart) int {
	is := func(words ...string) bool {
		for k, w := range words {
			if i+k >= len(g.tokens) || !sameName(g.word(i+k), w) {
				return false
			}
		}
		return true
	}
	var brackets int
	casts := 0 // CAST( that are open
	for first := true; first || len(parts) > 0; first = false {
		for ; is("(") || is("concat", "(") || is("cast", "("); brackets++ {
			if is("cast") {
				casts++
			}
			i += 1 + btoi(!is("("))
		}
		if i >= len(g.tokens) || len(parts) == 0 {
			return -1
		}
		kind := tokenString
		if parts[0].param > 0 {
			kind = tokenParam
		}
		if g.tokens[i].kind != kind {
			return -1
		}
		if i, parts = i+1, parts[1:]; i < len(g.tokens) && g.tokens[i].kind == tokenString {
			return -1 // 'a' on one line goes on with 'b' on the next
		}
		for {
			switch {
			case is(":", ":", "varchar"), is(":", ":", "text"), is(":", ":", "string"):
				i += 3
				continue
			case casts > 0 && (is("as", "varchar", ")") || is("as", "text", ")") || is("as", "string", ")")):
				i += 3
				casts--
				brackets--
				continue
			case is(")") && brackets > 0:
				i++
				brackets--
				continue
			}
			break
		}
		switch {
		case len(parts) == 0:
		case is("|", "|"):
			i += 2
		case is(","):
			i++
		default:
			return -1
		}
	}
	if brackets > 0 || is("(") { // VARCHAR(3)
		return -1
	}
	return i - 1
}

// insert is what stands in the place of l.
func (l *likeRef) insert(params []row.Value) (string, refusal) {
	pattern := ""
	for _, p := range l.parts {
		if p.param == 0 {
			pattern += p.text
			continue
		}
		switch v := params[p.param-1]; {
		case v.IsNull() && p.concat:
		case v.IsNull():
			return "SIMILAR TO CAST(NULL AS VARCHAR)", nil
		case v.Kind() == row.Text:
			pattern += v.Str()
		case (v.Kind() == row.BigInt || v.Kind() == row.Int) && (p.cast || p.concat):
			pattern += strconv.FormatInt(v.Int(), 10)
		default:
			return "", &Error{Code: "INVALID_PARAMS", Message: "the parameter $" + strconv.Itoa(p.param) + " of LIKE must be a text", Pos: l.start}
		}
		if len(pattern) > patternMax {
			break
		}
	}
	if len(pattern) > patternMax {
		return "", &Error{Code: "TOO_LARGE", Message: "the pattern of LIKE is longer than " + strconv.Itoa(patternMax) + " bytes", Pos: l.start}
	}
	if strings.IndexByte(pattern, 0) >= 0 || !utf8.ValidString(pattern) {
		return "", &Error{Code: "INVALID_VALUE", Message: "the pattern of LIKE is not UTF-8 without zero bytes", Pos: l.start}
	}
	re, escaped, any := "(?s)", false, false
	if l.fold {
		re = "(?is)"
	}
	for _, r := range pattern {
		switch {
		case escaped:
			re, escaped, any = re+regexp.QuoteMeta(string(r)), false, false
		case r == l.escape:
			escaped = true
		case r == '%':
			if !any {
				re += ".*"
			}
			any = true
		case r == '_':
			re, any = re+".", false
		default:
			re, any = re+regexp.QuoteMeta(string(r)), false
		}
	}
	if escaped {
		return "", &Error{Code: "INVALID_VALUE", Message: "the pattern of LIKE ends with its escape character", Pos: l.start}
	}
	return "SIMILAR TO " + quote(re), nil
}

// glob allows GLOB with a short literal that has one * at most: more of them are
// tried out like the % of LIKE.
func (g *gate) glob(n node) {
	args := n.list("children")
	if len(args) == 2 {
		if s, ok := args[1].constText(); ok && len(s) <= patternMax && strings.Count(s, "*") <= 1 {
			return
		}
	}
	g.hint(n.pos(), "GLOB is allowed with a literal that has at most one *", "use regexp_matches()")
}

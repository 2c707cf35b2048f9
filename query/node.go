package query

import (
	"encoding/json"
	"strconv"
)

// A node is one object of DuckDB's serialised parse tree.
type node map[string]any

func (n node) str(key string) string {
	s, _ := n[key].(string)
	return s
}

func (n node) flag(key string) bool {
	b, _ := n[key].(bool)
	return b
}

// child is the object under key, nil if there is none.
func (n node) child(key string) node {
	m, _ := n[key].(map[string]any)
	return m
}

// list are the objects of the array under key.
func (n node) list(key string) []node {
	a, _ := n[key].([]any)
	out := make([]node, 0, len(a))
	for _, e := range a {
		m, _ := e.(map[string]any)
		out = append(out, m)
	}
	return out
}

// names are the strings of the array under key.
func (n node) names(key string) []string {
	a, _ := n[key].([]any)
	out := make([]string, 0, len(a))
	for _, e := range a {
		s, _ := e.(string)
		out = append(out, s)
	}
	return out
}

// pos is the byte offset of the node in the text, -1 if DuckDB does not tell.
func (n node) pos() int {
	if num, ok := n["query_location"].(json.Number); ok {
		if i, err := strconv.Atoi(num.String()); err == nil {
			return i
		}
	}
	return -1
}

// constText is the text of a string constant.
func (n node) constText() (string, bool) {
	v := n.child("value")
	if n.str("class") != "CONSTANT" || v.child("type").str("id") != "VARCHAR" || v.flag("is_null") {
		return "", false
	}
	s, ok := v["value"].(string)
	return s, ok || v["value"] == nil // an empty string is left out
}

// constInt is the number of a whole-number constant, perhaps with a sign before it.
func (n node) constInt() (int64, bool) {
	if n.str("class") == "FUNCTION" && n.str("function_name") == "-" && n.flag("is_operator") {
		if c := n.list("children"); len(c) == 1 {
			i, ok := c[0].constInt()
			return -i, ok
		}
		return 0, false
	}
	v := n.child("value")
	if n.str("class") != "CONSTANT" || v.flag("is_null") {
		return 0, false
	}
	switch v.child("type").str("id") {
	case "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "INTEGER_LITERAL":
	default:
		return 0, false
	}
	num, ok := v["value"].(json.Number)
	if !ok {
		return 0, v["value"] == nil
	}
	i, err := strconv.ParseInt(num.String(), 10, 64)
	return i, err == nil
}

// fold is s in lower case as DuckDB sees names: A to Z only. Folding by Unicode would
// hold names for one that DuckDB keeps apart, such as K (U+212A) and k.
func fold(s string) string {
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if b[i] >= 'A' && b[i] <= 'Z' {
					b[i] |= 0x20
				}
			}
			return string(b)
		}
	}
	return s
}

// sameName says whether a and b are one name to DuckDB.
func sameName(a, b string) bool { return len(a) == len(b) && fold(a) == fold(b) }

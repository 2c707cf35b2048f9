package sql

import "strings"

// nameBytesMax is the length of the longest name of a namespace, table or column.
const nameBytesMax = 63

// IdentOK says whether s is a name as we store it: [a-z_][a-z0-9_]{0,62}.
func IdentOK(s string) bool {
	if s == "" || len(s) > nameBytesMax || '0' <= s[0] && s[0] <= '9' {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// QuoteIdent is s as a quoted identifier.
func QuoteIdent(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// QuoteString is s as a string literal. DuckDB's texts end at a zero byte, so s
// must not have one; those of [Parse] never do.
func QuoteString(s string) string { return `'` + strings.ReplaceAll(s, `'`, `''`) + `'` }

// fold is s in lower case, ASCII only, as DuckDB folds names.
func fold(s string) string {
	for i := 0; i < len(s); i++ {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if 'A' <= b[i] && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// Nearest is the word of among that word was probably meant to be: at most two
// edits away, or a third of its length. Case does not count. ok is false if none
// is near enough.
func Nearest(word string, among []string) (nearest string, ok bool) {
	word = fold(word)
	best := max(2, len(word)/3) + 1
	if len(word) <= 3 {
		best = 2 // two edits of a short word are another word
	}
	for _, candidate := range among {
		if d := distance(word, fold(candidate), best); d < best && d < len(candidate) {
			best, nearest, ok = d, candidate, true
		}
	}
	return nearest, ok
}

// distance is the number of edits (insert, delete, replace, swap two neighbours)
// that turn a into b, or any number ≥ limit if it is at least limit.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d >= limit || -d >= limit || len(a) > 4*nameBytesMax {
		return limit
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

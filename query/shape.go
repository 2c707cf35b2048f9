package query

import "fmt"

// The parts a statement may have. Parsing and planning take memory by the part, outside
// every limit of DuckDB: 8,000 arms of a UNION took gigabytes. So the words are counted
// before DuckDB sees the text.
const (
	setOperationsMax = 500    // UNION, INTERSECT, EXCEPT
	queriesMax       = 1_000  // SELECT, FROM, JOIN, VALUES, PIVOT, UNPIVOT
	connectivesMax   = 2_000  // AND, OR, NOT, WHEN
	groupingSetsMax  = 4_096  // that CUBE, ROLLUP and GROUPING SETS come to
	rollupMax        = 250    // columns of one ROLLUP: each of its sets has half of them
	operatorsMax     = 10_000 // operators, casts, brackets and calls outside a list of plain values
	wordsMax         = 250_000
)

// shape refuses a text with too many parts.
func shape(text string, tokens []token) error {
	var sets, queries, connectives, operators int
	for i, t := range tokens {
		switch t.kind {
		case tokenWord:
			switch fold(text[t.start:t.end]) {
			case "union", "intersect", "except":
				sets++
			case "select", "from", "join", "values", "pivot", "unpivot", "table":
				queries++
			case "and", "or", "not", "when":
				connectives++
			case "like", "ilike", "similar", "glob", "is", "collate", "in", "between", "cast", "try_cast", "interval":
				operators++
			}
		case tokenOther:
			switch c := text[t.start]; c {
			case ',', ';', ')', ']', '}':
			case '-', '+': // the sign of a number in a list is none
				if i == 0 || i+1 == len(tokens) || tokens[i+1].kind != tokenNumber || text[tokens[i-1].start] != ',' && text[tokens[i-1].start] != '(' {
					operators++
				}
			case '(': // so are the rows of VALUES
				if i == 0 || text[tokens[i-1].start] != ',' {
					operators++
				}
			default:
				operators++
			}
		}
	}
	for _, l := range []struct {
		n, limit int
		what     string
	}{
		{sets, setOperationsMax, "set operations (UNION, INTERSECT, EXCEPT)"}, {queries, queriesMax, "queries and joins"},
		{groupingSets(text, tokens), groupingSetsMax, "grouping sets (CUBE, ROLLUP, GROUPING SETS)"}, {connectives, connectivesMax, "conditions (AND, OR, NOT, WHEN)"}, {operators, operatorsMax, "operators and calls"}, {len(tokens), wordsMax, "words"},
	} {
		if l.n > l.limit {
			return &Error{Code: "TOO_LARGE", Message: fmt.Sprintf("the statement has %d %s, the limit is %d", l.n, l.what, l.limit), Pos: -1}
		}
	}
	return nil
}

// groupingSets is an upper bound of the grouping sets of all GROUP BY together: those of
// one are multiplied with each other. DuckDB's parser writes them all out.
func groupingSets(text string, tokens []token) int {
	all, product := 0, 0
	for i, t := range tokens {
		if t.kind != tokenWord || i+1 == len(tokens) {
			continue
		}
		n := 0
		switch fold(text[t.start:t.end]) {
		case "group":
			all, product = all+product, 0
		case "cube":
			n = 1 << min(elements(text, tokens[i+1:]), 20)
		case "rollup":
			if n = elements(text, tokens[i+1:]) + 1; n > rollupMax {
				n = groupingSetsMax + n
			}
		case "sets":
			n = elements(text, tokens[i+1:])
		}
		if n > 1 {
			product = min(max(product, 1)*n, 1<<30)
		}
	}
	return all + product
}

// elements counts what the brackets that tokens begin with hold, 0 if there are none.
func elements(text string, tokens []token) int {
	depth, n := 0, 0
	for _, t := range tokens {
		if t.kind == tokenOther {
			switch text[t.start] {
			case '(', '[', '{':
				depth++
			case ')', ']', '}':
				depth--
			case ',':
				n += btoi(depth == 1)
			}
		}
		if depth == 0 {
			break
		}
	}
	return n + btoi(n > 0)
}

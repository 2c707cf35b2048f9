package live

import (
	"strconv"

	"kalamdb/row"
)

// An encoder writes the columns a subscription shows as a JSON object.
type encoder struct {
	columns []int
	keys    [][]byte // before each value: `{"a":` and then `,"b":`
}

func newEncoder(columns []int, names []string) encoder {
	size := 0
	for _, name := range names {
		size += len(name) + len(`,"":`)
	}
	text, keys := make([]byte, 0, size), make([][]byte, len(names))
	for i, name := range names {
		start, open := len(text), byte(',')
		if i == 0 {
			open = '{'
		}
		text = append(row.AppendJSONString(append(text, open), name), ':')
		keys[i] = text[start:]
	}
	return encoder{columns: columns, keys: keys}
}

// AppendRow appends r as a JSON object with the columns of the subscription.
func (s *Subscription) AppendRow(dst []byte, r *row.Row) []byte {
	if len(s.encoder.columns) == 0 {
		return append(dst, "{}"...)
	}
	for i, c := range s.encoder.columns {
		dst = append(dst, s.encoder.keys[i]...)
		switch {
		case c == ColSeq:
			dst = strconv.AppendUint(dst, uint64(r.Seq), 10)
		case c == ColUpdated:
			dst = row.IntValue(row.Timestamp, r.Updated).AppendJSON(dst)
		case c == ColDeleted:
			dst = strconv.AppendBool(dst, r.Deleted)
		default:
			dst = r.Values[c].AppendJSON(dst)
		}
	}
	return append(dst, '}')
}

package live

import (
	"slices"
	"strconv"

	"kalamdb/row"
)

// An encoder writes the columns a subscription shows as a JSON object.
type encoder struct {
	columns []int
	keys    [][]byte // before each value: `{"a":` and then `,"b":`
	mark    bool     // a DELETE says _deleted although it is none of the columns
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
	return encoder{columns: columns, keys: keys, mark: len(columns) > 0 && !slices.Contains(columns, ColDeleted)}
}

// AppendRow appends r as a JSON object with the columns of the subscription.
func (s *Subscription) AppendRow(dst []byte, r *row.Row) []byte {
	return s.spec.encoder.appendRow(dst, r)
}

func (c *encoder) appendRow(dst []byte, r *row.Row) []byte {
	if len(c.columns) == 0 {
		return append(dst, "{}"...)
	}
	for i, column := range c.columns {
		dst = append(dst, c.keys[i]...)
		switch {
		case column == ColSeq:
			dst = strconv.AppendUint(dst, uint64(r.Seq), 10)
		case column == ColUpdated:
			dst = row.IntValue(row.Timestamp, r.Updated).AppendJSON(dst)
		case column == ColDeleted:
			dst = strconv.AppendBool(dst, r.Deleted)
		default:
			dst = r.Values[column].AppendJSON(dst)
		}
	}
	return append(dst, '}')
}

// Encoded are the rows of e as JSON objects with the columns of the subscription, those
// of a DELETE with "_deleted":true. They are made once for all receivers of e.
func (s *Subscription) Encoded(e *Event) (rows, old [][]byte) {
	e.encode.Do(func() {
		c := &s.spec.encoder
		e.rows = c.encodeAll(e.Rows, c.mark && e.Op == row.Delete)
		e.old = c.encodeAll(e.Old, false)
	})
	return e.rows, e.old
}

func (c *encoder) encodeAll(rows []*row.Row, mark bool) [][]byte {
	if len(rows) == 0 {
		return nil
	}
	all, ends := []byte(nil), make([]int, len(rows))
	for i, r := range rows {
		all = c.appendRow(all, r)
		if mark {
			all = append(all[:len(all)-1], `,"_deleted":true}`...)
		}
		ends[i] = len(all)
	}
	out, start := make([][]byte, len(rows)), 0
	for i, end := range ends {
		out[i] = all[start:end:end]
		start = end
	}
	return out
}

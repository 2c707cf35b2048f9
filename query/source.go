package query

import (
	"bytes"
	"errors"

	"kalamdb/row"
)

// hotSource is the buffered rows of rel with keys in [from, to), deleted ones only if
// asked for, all of them in the schema of rel.
func hotSource(rel *Relation, hot Hot, from, to []byte, deleted bool) source {
	n := 0
	if hot != nil {
		n = hot.Len()
	}
	columns := make([]scanColumn, 0, len(rel.Schema.Columns)+3)
	for _, c := range rel.Schema.Columns {
		columns = append(columns, scanColumn{c.Name, c.Type})
	}
	if rel.System {
		columns = append(columns, scanColumn{row.ColSeq, row.Type{Kind: row.BigInt}},
			scanColumn{row.ColUpdated, row.Type{Kind: row.Timestamp}}, scanColumn{row.ColDeleted, row.Type{Kind: row.Boolean}})
	}
	src := source{columns: columns, rows: n, places: rel.places(), next: hotRows(rel, hot, from, to, deleted)}
	if p, ok := hot.(Projected); ok {
		src.project = func(values []int) nextRows { return hotRows(rel, p.Project(values), from, to, deleted) }
	}
	return src
}

func hotRows(rel *Relation, hot Hot, from, to []byte, deleted bool) nextRows {
	return func(after []byte, limit int, yield func(key []byte, r *row.Row)) (bool, error) {
		start, seen := from, 0
		if after != nil {
			start = append(after[:len(after):len(after)], 0) // the first key behind after
		}
		more := false
		mapping := row.NewMapping(rel.Schema, rel.SchemaAt)
		var mapErr error
		err := hot.Scan(start, to, func(key []byte, r *row.Row) bool {
			if seen == limit {
				more = true
				return false
			}
			seen++
			if r.Deleted && !deleted {
				r = nil
			} else if r, mapErr = mapping.Row(r); mapErr != nil {
				return false
			}
			yield(key, r)
			return true
		})
		return more, errors.Join(err, mapErr)
	}
}

// places are where the columns of hotSource are in its rows.
func (rel *Relation) places() []int {
	places := make([]int, 0, len(rel.Schema.Columns)+3)
	for i := range rel.Schema.Columns {
		places = append(places, i)
	}
	return append(places, placeSeq, placeUpdated, placeDeleted)
}

// keyColumns reduces src to the columns of the primary key.
func (src *source) keyColumns(s *row.Schema) {
	columns, places := src.columns, src.places
	src.columns, src.places = nil, nil
	for _, i := range s.KeyIndexes() {
		src.columns, src.places = append(src.columns, columns[i]), append(src.places, places[i])
	}
}

// keySource is rows made of the given keys, with the columns of the primary key.
func keySource(s *row.Schema, keys [][]byte) source {
	types := s.KeyTypes()
	src := source{rows: len(keys)}
	for k, i := range s.KeyIndexes() {
		src.columns, src.places = append(src.columns, scanColumn{s.Columns[i].Name, s.Columns[i].Type}), append(src.places, k)
	}
	src.next = func(after []byte, limit int, yield func(key []byte, r *row.Row)) (bool, error) {
		i := 0
		if after != nil {
			i = search(keys, after)
		}
		var r row.Row
		for ; i < len(keys) && limit > 0; i, limit = i+1, limit-1 {
			var err error
			if r.Values, err = row.DecodeKey(types, keys[i]); err != nil {
				return false, err
			}
			yield(keys[i], &r)
		}
		return i < len(keys), nil
	}
	return src
}

// search is the position of the first key behind after.
func search(keys [][]byte, after []byte) int {
	lo, hi := 0, len(keys)
	for lo < hi {
		if mid := (lo + hi) / 2; bytes.Compare(keys[mid], after) <= 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// one is the Hot of a single row, or of none.
type one struct {
	key []byte
	row row.Row
}

func (o one) Len() int { return btoi(o.key != nil) }

func (o one) Get(key []byte) (row.Row, bool, error) {
	return o.row, o.key != nil && bytes.Equal(key, o.key), nil
}

func (o one) Scan(from, to []byte, yield func([]byte, *row.Row) bool) error {
	if o.key != nil && bytes.Compare(o.key, from) >= 0 && (to == nil || bytes.Compare(o.key, to) < 0) {
		r := o.row
		yield(o.key, &r)
	}
	return nil
}

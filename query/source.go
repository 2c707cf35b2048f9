package query

import (
	"bytes"
	"fmt"
	"math"

	"kalamdb/row"
)

// hotSource is the buffered rows of rel with keys in [from, to), deleted ones only if
// asked for.
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
	return source{
		columns: columns,
		rows:    n,
		layout:  rel.layout,
		next: func(after []byte, limit int, yield func(key []byte, r *row.Row)) (bool, error) {
			start, seen := from, 0
			if after != nil {
				start = append(after[:len(after):len(after)], 0) // the first key behind after
			}
			more := false
			err := hot.Scan(start, to, func(key []byte, r *row.Row) bool {
				if seen == limit {
					more = true
					return false
				}
				seen++
				if r.Deleted && !deleted {
					r = nil
				}
				yield(key, r)
				return true
			})
			return more, err
		},
	}
}

// layout maps a row of a schema version to the columns of the relation.
func (rel *Relation) layout(version uint32) ([]int, error) {
	s := rel.Schema
	if version != s.Version && rel.SchemaAt != nil {
		if s = rel.SchemaAt(version); s == nil {
			return nil, fmt.Errorf("a buffered row has the unknown schema version %d", version)
		}
	}
	positions := make([]int, 0, len(rel.Schema.Columns)+3)
	for _, c := range rel.Schema.Columns {
		i := s.Index(c.ID)
		if i < 0 {
			i = positionNull
		}
		positions = append(positions, i)
	}
	return append(positions, positionSeq, positionUpdated, positionDeleted), nil
}

// keyColumns reduces a source to the columns of the primary key.
func keyColumns(s *row.Schema, layout func(uint32) ([]int, error)) ([]scanColumn, func(uint32) ([]int, error)) {
	idx := s.KeyIndexes()
	columns := make([]scanColumn, len(idx))
	for k, i := range idx {
		columns[k] = scanColumn{s.Columns[i].Name, s.Columns[i].Type}
	}
	return columns, func(version uint32) ([]int, error) {
		if version == versionKeys {
			all := make([]int, len(idx))
			for i := range all {
				all[i] = i
			}
			return all, nil
		}
		all, err := layout(version)
		if err != nil {
			return nil, err
		}
		out := make([]int, len(idx))
		for k, i := range idx {
			out[k] = all[i]
		}
		return out, nil
	}
}

// versionKeys marks a row whose values are those of the primary key alone.
const versionKeys = math.MaxUint32 - 1

// keyRows yields rows made of the given keys.
func keyRows(s *row.Schema, keys [][]byte) func([]byte, int, func([]byte, *row.Row)) (bool, error) {
	types := s.KeyTypes()
	return func(after []byte, limit int, yield func(key []byte, r *row.Row)) (bool, error) {
		i := 0
		if after != nil {
			i = search(keys, after)
		}
		r := row.Row{Schema: versionKeys}
		for ; i < len(keys) && limit > 0; i, limit = i+1, limit-1 {
			var err error
			if r.Values, err = row.DecodeKey(types, keys[i]); err != nil {
				return false, err
			}
			yield(keys[i], &r)
		}
		return i < len(keys), nil
	}
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

package client

import (
	"container/list"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
)

// A keyed is a row and what tells it apart from others.
type keyed[T any] struct {
	key   string
	value T
}

// A change is a change frame with its rows decoded.
type change[T any] struct {
	kind      string
	rows, old []keyed[T]
}

// A view is a list of rows that are found by key. Rows with equal keys are alike; the
// oldest of them is the first to go.
type view[T any] struct {
	rows  *list.List // of keyed[T]
	byKey map[string][]*list.Element
}

func newView[T any]() *view[T] {
	return &view[T]{rows: list.New(), byKey: map[string][]*list.Element{}}
}

func (v *view[T]) len() int { return v.rows.Len() }

func (v *view[T]) values() []T {
	out := make([]T, 0, v.rows.Len())
	for e := v.rows.Front(); e != nil; e = e.Next() {
		out = append(out, e.Value.(keyed[T]).value)
	}
	return out
}

func (v *view[T]) add(r keyed[T]) { v.byKey[r.key] = append(v.byKey[r.key], v.rows.PushBack(r)) }

// take removes the row with the given key from byKey, not from rows.
func (v *view[T]) take(key string) *list.Element {
	found := v.byKey[key]
	if len(found) == 0 {
		return nil
	}
	if len(found) == 1 {
		delete(v.byKey, key)
	} else {
		v.byKey[key] = found[1:]
	}
	return found[0]
}

// apply makes one change and says whether a row was missing for it.
func (v *view[T]) apply(c change[T]) (missing bool) {
	for i, r := range c.rows {
		switch c.kind {
		case "INSERT":
			v.add(r)
		case "UPDATE":
			e := v.take(c.old[i].key)
			if e == nil {
				missing = true
				v.add(r)
				continue
			}
			e.Value = r
			v.byKey[r.key] = append(v.byKey[r.key], e)
		case "DELETE":
			if e := v.take(r.key); e != nil {
				v.rows.Remove(e)
			} else {
				missing = true
			}
		}
	}
	return missing
}

func (l *LiveRows[T]) decode(fr *frame) (c change[T], err error) {
	c.kind = fr.ChangeType
	if c.rows, err = l.read(fr.Rows); err != nil {
		return c, err
	}
	if c.kind != "UPDATE" {
		return c, nil
	}
	if len(fr.OldValues) != len(fr.Rows) {
		return c, fmt.Errorf("the server sent %d old values for %d rows", len(fr.OldValues), len(fr.Rows))
	}
	c.old = make([]keyed[T], len(fr.OldValues))
	for i, text := range fr.OldValues {
		if c.old[i].key, err = l.key(text); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (l *LiveRows[T]) read(rows []json.RawMessage) ([]keyed[T], error) {
	values, err := decodeRows[T](rows)
	if err != nil {
		return nil, err
	}
	out := make([]keyed[T], len(rows))
	for i, text := range rows {
		out[i].value = values[i]
		if out[i].key, err = l.key(text); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// key is what tells a row apart: the text of some of its values, each after its length.
func (l *LiveRows[T]) key(row json.RawMessage) (string, error) {
	var values map[string]json.RawMessage
	if err := decode(row, &values); err != nil {
		return "", fmt.Errorf("read a row of the server: %w", err)
	}
	key := make([]byte, 0, len(row))
	for _, c := range l.columns {
		if l.identifies(c.Name) {
			key = binary.AppendUvarint(key, uint64(len(values[c.Name])))
			key = append(key, values[c.Name]...)
		}
	}
	return string(key), nil
}

// identifies says whether a column is part of what tells rows apart. A DELETE has
// other values than the row in the columns that the system keeps.
func (l *LiveRows[T]) identifies(column string) bool {
	if l.q.Key != nil {
		return slices.Contains(l.q.Key, column)
	}
	return column != "_seq" && column != "_updated" && column != "_deleted"
}

package row

import (
	"fmt"
	"slices"
)

// Names of the system columns of USER and SHARED tables. [ColUpdated] and
// [ColDeleted] are the last columns of SELECT *; [ColSeq] is selectable by name.
const (
	ColSeq     = "_seq"
	ColUpdated = "_updated"
	ColDeleted = "_deleted"
	ColUserID  = "_user_id" // where rows of several users are together
)

// A ColumnID identifies a column through renames and is the Parquet field id of
// its data. Ids start at 1 and are never used again in a table. The system
// columns have the ids at the top of the range.
type ColumnID int32

const (
	IDSeq     ColumnID = 1<<30 + 1
	IDUpdated ColumnID = 1<<30 + 2
	IDDeleted ColumnID = 1<<30 + 3
	IDUserID  ColumnID = 1<<30 + 4
)

// A Column is one declared column.
type Column struct {
	ID            ColumnID `json:"id"`
	Name          string   `json:"name"`
	Type          Type     `json:"type"`
	NotNull       bool     `json:"not_null,omitempty"`
	AutoIncrement bool     `json:"auto_increment,omitempty"`
	Default       string   `json:"default,omitempty"` // SQL expression, empty if there is none
	Initial       Value    `json:"initial,omitzero"`  // of the rows that are older than the column
}

// A Schema is one version of a table's columns.
//
// Invariants, checked by [Schema.Valid]: at least one column; names and ids
// differ; Key names existing, keyable, NOT NULL columns and is not empty.
// A published Schema never changes.
type Schema struct {
	Version uint32     `json:"version"` // 1 for the first
	Columns []Column   `json:"columns"`
	Key     []ColumnID `json:"key"` // the primary key, in its declared order
}

const columnsMax = 1000

// Valid says which invariant s breaks, or nil.
func (s *Schema) Valid() error {
	if len(s.Columns) == 0 || len(s.Columns) > columnsMax {
		return fmt.Errorf("%d columns, expected 1 to %d", len(s.Columns), columnsMax)
	}
	names, ids := map[string]bool{}, map[ColumnID]bool{}
	for _, c := range s.Columns {
		if names[c.Name] {
			return fmt.Errorf("column %s is declared twice", c.Name)
		}
		if ids[c.ID] || c.ID < 1 || c.ID >= IDSeq {
			return fmt.Errorf("column %s has the id %d, which is taken or out of range", c.Name, c.ID)
		}
		names[c.Name], ids[c.ID] = true, true
		if err := c.Type.Valid(); err != nil {
			return fmt.Errorf("column %s: %w", c.Name, err)
		}
		if k := c.Initial.Kind(); k != Null && k != c.Type.Kind {
			return fmt.Errorf("column %s of type %s has an initial value of kind %s", c.Name, c.Type, k)
		}
	}
	if len(s.Key) == 0 {
		return fmt.Errorf("no primary key")
	}
	seen := map[ColumnID]bool{}
	for _, id := range s.Key {
		i := s.Index(id)
		if i < 0 {
			return fmt.Errorf("the primary key names column id %d, which does not exist", id)
		}
		if seen[id] {
			return fmt.Errorf("the primary key names column %s twice", s.Columns[i].Name)
		}
		seen[id] = true
		if !s.Columns[i].Type.Keyable() {
			return fmt.Errorf("column %s of type %s cannot be part of a primary key", s.Columns[i].Name, s.Columns[i].Type)
		}
		if !s.Columns[i].NotNull {
			return fmt.Errorf("primary key column %s must be NOT NULL", s.Columns[i].Name)
		}
	}
	return nil
}

// Index is the position of the column with the given id, -1 if there is none.
func (s *Schema) Index(id ColumnID) int {
	return slices.IndexFunc(s.Columns, func(c Column) bool { return c.ID == id })
}

// ByName is the position of the column with the given (lower-case) name, -1 if there is none.
func (s *Schema) ByName(name string) int {
	return slices.IndexFunc(s.Columns, func(c Column) bool { return c.Name == name })
}

// KeyIndexes are the positions of the primary key's columns, in key order.
func (s *Schema) KeyIndexes() []int {
	idx := make([]int, len(s.Key))
	for i, id := range s.Key {
		idx[i] = s.Index(id)
	}
	return idx
}

// KeyTypes are the types of the primary key's columns, in key order.
func (s *Schema) KeyTypes() []Type {
	types := make([]Type, len(s.Key))
	for i, j := range s.KeyIndexes() {
		types[i] = s.Columns[j].Type
	}
	return types
}

// KeyOf is the primary key of the given values (one per column) as bytes.
func (s *Schema) KeyOf(values []Value) []byte {
	var b []byte
	for _, i := range s.KeyIndexes() {
		b = AppendKey(b, values[i])
	}
	return b
}

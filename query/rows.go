package query

import "kalamdb/row"

// A Column is one column of a result.
type Column struct {
	Name string
	Type string // DuckDB's name
}

// Rows is a result. Close it.
type Rows struct {
	columns []Column
	values  []row.Value
	err     error
}

// Columns describes the columns.
func (r *Rows) Columns() []Column { return r.columns }

// Next goes to the next row; at the end or on an error it returns false.
func (r *Rows) Next() bool { return false }

// Values are the values of the row, valid until Next.
func (r *Rows) Values() []row.Value { return r.values }

// Err is what ended the rows early, nil at their end.
func (r *Rows) Err() error { return r.err }

// Close frees the result.
func (r *Rows) Close() {}

package kalamdb

import (
	"sync"

	"kalamdb/row"
)

// Rows streams the answer of one SELECT. Use it like database/sql's: Next until
// false, then Err, and Close in any case. It is for one goroutine.
type Rows struct {
	columns []Column
	src     rowSource
	done    func() // gives back what the rows are read from
	once    sync.Once
	wrap    func(error) error
	count   int64 // how often Next was true
}

// A rowSource is *query.Rows or rows that are already in memory.
type rowSource interface {
	Next() bool
	Values() []row.Value // the slice is valid until Next
	Err() error
	Close()
}

// Columns are the result's columns in order.
func (r *Rows) Columns() []Column { return r.columns }

// Next moves to the next row and says whether there is one.
func (r *Rows) Next() bool {
	ok := r.src.Next()
	if ok {
		r.count++
	}
	return ok
}

// Values are the current row's values. The slice is used again by Next, the values may
// be kept.
func (r *Rows) Values() []row.Value { return r.src.Values() }

// Err is the *Error that ended the rows early, or nil.
func (r *Rows) Err() error {
	if err := r.src.Err(); err != nil {
		return r.wrap(err)
	}
	return nil
}

// Close gives back the snapshot and the files. Closing twice does nothing.
func (r *Rows) Close() {
	r.once.Do(func() {
		r.src.Close()
		r.done()
	})
}

// memoryRows is a rowSource of rows made beforehand.
type memoryRows struct {
	rows [][]row.Value
	at   int
}

func (m *memoryRows) Next() bool          { m.at++; return m.at <= len(m.rows) }
func (m *memoryRows) Values() []row.Value { return m.rows[m.at-1] }
func (m *memoryRows) Err() error          { return nil }
func (m *memoryRows) Close()              {}

package query

import (
	"fmt"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"kalamdb/row"
)

// A Column is one column of a result.
type Column struct {
	Name string
	Type string // DuckDB's name: BIGINT, DECIMAL(10,2), VARCHAR[]
}

// Rows is a complete result. Its memory belongs to DuckDB until Close.
type Rows struct {
	columns  []Column
	decoders []*decoder
	res      *mapping.Result
	chunks   []mapping.DataChunk // what is still to read
	size     int                 // rows of chunks[0], once opened
	at       int                 // the next row of chunks[0]
	opened   bool
	values   []row.Value
	err      error
	bytes    int64
	bytesMax int64
}

// newRows takes over res.
func newRows(res *mapping.Result, o Options) (*Rows, error) {
	r := &Rows{res: res, bytesMax: o.ResultBytesMax}
	n := int(mapping.ColumnCount(res))
	r.values = make([]row.Value, n)
	for i := range n {
		lt := mapping.ColumnLogicalType(res, mapping.IdxT(i))
		d := newDecoder(lt)
		r.columns = append(r.columns, Column{Name: mapping.ColumnName(res, mapping.IdxT(i)), Type: d.name})
		mapping.DestroyLogicalType(&lt)
		r.decoders = append(r.decoders, d)
	}
	var rows int64
	for {
		c := mapping.FetchChunk(*res)
		if c.Ptr == nil {
			break
		}
		r.chunks = append(r.chunks, c)
		if rows += int64(mapping.DataChunkGetSize(c)); rows > o.ResultRowsMax {
			r.Close()
			return nil, &Error{Code: "RESULT_TOO_LARGE", Pos: -1,
				Message: fmt.Sprintf("the result has more than %d rows, the limit of one result", o.ResultRowsMax),
				Details: "add LIMIT or a narrower WHERE"}
		}
	}
	return r, nil
}

// Columns describes the columns.
func (r *Rows) Columns() []Column { return r.columns }

// Next goes to the next row; at the end or on an error it returns false.
func (r *Rows) Next() bool {
	if r.err != nil {
		return false
	}
	for len(r.chunks) > 0 && (!r.opened || r.at == r.size) {
		if r.opened {
			mapping.DestroyDataChunk(&r.chunks[0])
			r.chunks, r.opened = r.chunks[1:], false
			continue
		}
		r.size, r.at, r.opened = int(mapping.DataChunkGetSize(r.chunks[0])), 0, true
		for i, d := range r.decoders {
			d.open(mapping.DataChunkGetVector(r.chunks[0], mapping.IdxT(i)))
		}
	}
	if len(r.chunks) == 0 {
		return false
	}
	for i, d := range r.decoders {
		v, err := d.value(r.at)
		if err != nil {
			r.err = &Error{Code: "NOT_SUPPORTED_YET", Message: fmt.Sprintf("column %s: %v", r.columns[i].Name, err), Pos: -1}
			return false
		}
		r.values[i] = v
		r.bytes += int64(v.Bytes())
	}
	if r.bytes > r.bytesMax {
		r.err = &Error{Code: "RESULT_TOO_LARGE", Pos: -1,
			Message: fmt.Sprintf("the result has more than %d bytes, the limit of one result", r.bytesMax),
			Details: "add LIMIT or select fewer columns"}
		return false
	}
	r.at++
	return true
}

// Values are the values of the row. The slice is reused by Next, the values are not.
func (r *Rows) Values() []row.Value { return r.values }

// Err is what ended the rows early, nil at their end.
func (r *Rows) Err() error { return r.err }

// Close frees the result. It may be called twice.
func (r *Rows) Close() {
	for i := range r.chunks {
		mapping.DestroyDataChunk(&r.chunks[i])
	}
	r.chunks = nil
	if r.res != nil {
		mapping.DestroyResult(r.res)
		r.res = nil
	}
}

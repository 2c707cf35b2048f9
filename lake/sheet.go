package lake

import (
	"bytes"
	"fmt"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"kalamdb/row"
)

// A Sheet is a Parquet file of any columns, all of them optional, for rows that leave the
// database: the columns are written as those of tables are, without system columns and
// metadata. Its life: Write for every row, then Bytes. It is for one goroutine.
type Sheet struct {
	w    writer // whose chunk is used
	file *parquet.GenericWriter[any]
	out  bytes.Buffer
	rows int
}

// NewSheet begins a file. The names of the columns must differ.
func NewSheet(columns []row.Column) *Sheet {
	l := &layout{schema: &row.Schema{Columns: columns}}
	fields := make([]parquet.Field, len(columns))
	var opts []parquet.WriterOption
	for i, c := range columns {
		l.leaves = append(l.leaves, leaf{column: i, typ: c.Type, optional: true})
		fields[i] = &field{Node: parquet.Optional(columnNode(c.Type, 0)), name: c.Name}
		if c.Type.Kind != row.List && c.Type.Kind != row.Embedding && !ordered(c.Type) {
			opts = append(opts, parquet.SkipPageBounds(c.Name))
		}
	}
	s := &Sheet{w: writer{layout: l, values: make([][]parquet.Value, len(columns))}}
	s.file = parquet.NewGenericWriter[any](&s.out, append(opts,
		parquet.NewSchema("kalamdb", &group{fields: fields}),
		parquet.Compression(&zstd.Codec{Level: zstd.SpeedFastest}),
		parquet.PageBufferSize(pageBytes),
		parquet.DataPageStatistics(false),
		parquet.CreatedBy("kalamdb", "1", "parquet-go"))...)
	return s
}

// sheetGroupRows is the size of a row group: sheets are read whole.
const sheetGroupRows = 100_000

// Write adds a row with a value per column, of its type or NULL.
func (s *Sheet) Write(values []row.Value) error {
	w := &s.w
	for i, v := range values {
		if err := w.append(i, v); err != nil {
			return fmt.Errorf("column %s: %w", w.layout.schema.Columns[i].Name, err)
		}
	}
	w.chunkRows++
	s.rows++
	if w.chunkRows == chunkRowsMax || len(w.text)+8*w.elements >= chunkBytesMax {
		return s.flush()
	}
	return nil
}

// flush gives the chunk to the Parquet writer.
func (s *Sheet) flush() error {
	w := &s.w
	for i, c := range s.file.ColumnWriters() {
		if _, err := c.WriteRowValues(w.values[i]); err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		w.groupBytes += 8 * len(w.values[i])
		w.values[i] = w.values[i][:0]
	}
	w.groupBytes += len(w.text)
	w.groupRows += w.chunkRows
	w.text, w.chunkRows, w.elements = w.text[:0], 0, 0
	if w.groupRows < sheetGroupRows && w.groupBytes < groupBytesMax {
		return nil
	}
	w.groupRows, w.groupBytes = 0, 0
	return s.file.Flush()
}

// Size is about how many bytes the file has so far.
func (s *Sheet) Size() int { return s.out.Len() + s.w.groupBytes }

// Bytes completes the file.
func (s *Sheet) Bytes() ([]byte, error) {
	if err := s.flush(); err != nil {
		return nil, err
	}
	if err := s.file.Close(); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return s.out.Bytes(), nil
}

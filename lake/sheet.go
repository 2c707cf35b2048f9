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
	chunk chunk
	group openGroup
	file  *parquet.GenericWriter[any]
	out   bytes.Buffer
}

// NewSheet begins a file. The names of the columns must differ.
func NewSheet(columns []row.Column) *Sheet {
	leaves := make([]leaf, len(columns))
	fields := make([]parquet.Field, len(columns))
	var opts []parquet.WriterOption
	for i, c := range columns {
		leaves[i] = leaf{column: i, typ: c.Type, optional: true}
		fields[i] = &field{Node: parquet.Optional(columnNode(c.Type, 0)), name: c.Name}
		if c.Type.Kind != row.List && c.Type.Kind != row.Embedding && !ordered(c.Type) {
			opts = append(opts, parquet.SkipPageBounds(c.Name))
		}
	}
	s := &Sheet{chunk: newChunk(columns, leaves), group: openGroup{rowsMax: sheetGroupRows}}
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
	if err := s.chunk.add(values); err != nil {
		return err
	}
	if s.chunk.full() {
		_, err := s.group.write(s.file, &s.chunk)
		return err
	}
	return nil
}

// Size is about how many bytes the file has so far.
func (s *Sheet) Size() int { return s.out.Len() + s.group.bytes }

// Bytes completes the file.
func (s *Sheet) Bytes() ([]byte, error) {
	if _, err := s.group.write(s.file, &s.chunk); err != nil {
		return nil, err
	}
	if err := s.file.Close(); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return s.out.Bytes(), nil
}

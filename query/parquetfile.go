package query

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"kalamdb/row"
)

// A ParquetFile reads one Parquet file of anybody, with a DuckDB of its own that may
// read nothing but the file's folder. It is for one goroutine; Close it.
type ParquetFile struct {
	in   *instance
	path string // quoted
}

// OpenParquet opens the file at path.
func OpenParquet(path string) (*ParquetFile, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if strings.ContainsAny(path, "*?[]{}\n") {
		return nil, fmt.Errorf("the path %q must not contain any of * ? [ ] { }", path)
	}
	o, err := Options{CacheDir: filepath.Dir(path), Threads: 1, Concurrency: 1}.withDefaults()
	if err != nil {
		return nil, err
	}
	in, err := openInstance(o)
	if err != nil {
		return nil, err
	}
	return &ParquetFile{in, quote(path)}, nil
}

// Close stops the DuckDB.
func (f *ParquetFile) Close() { f.in.close() }

// Rows is how many rows the file has, as its footer says.
func (f *ParquetFile) Rows(ctx context.Context) (int64, error) {
	n := int64(0)
	err := f.run(ctx, "SELECT count(*) FROM read_parquet("+f.path+")", sinkFunc(func(values []row.Value) error {
		n = values[0].Int()
		return nil
	}))
	return n, err
}

// errOrder says that DuckDB gave the rows in another order than they are in the file.
var errOrder = errors.New("the rows of the file came in the wrong order")

// Each gives the rows of the file to sink in their order, without the first skip.
func (f *ParquetFile) Each(ctx context.Context, skip int64, sink Sink) error {
	// One thread reads row groups in order; the number of each row proves it.
	return f.run(ctx, fmt.Sprintf("SELECT file_row_number, * EXCLUDE (file_row_number) FROM read_parquet(%s, file_row_number = true) WHERE file_row_number >= %d", f.path, skip),
		&numbered{sink: sink, next: skip})
}

func (f *ParquetFile) run(ctx context.Context, text string, sink Sink) error {
	c := <-f.in.workers
	defer func() { f.in.workers <- c }()
	st := &stream{ctx: ctx, sink: sink}
	res, err := c.execute(ctx, text, &statement{}, nil, st.add)
	if err == nil {
		err = st.describe(res)
		mapping.DestroyResult(res)
	}
	var failed *duckErr
	if errors.As(err, &failed) {
		return errors.New(sentence(failed.Message))
	}
	return err
}

// numbered takes the number of each row off and checks it.
type numbered struct {
	sink Sink
	next int64
}

func (n *numbered) Columns(c []Column) error { return n.sink.Columns(c[1:]) }

func (n *numbered) Row(values []row.Value) error {
	if values[0].Int() != n.next {
		return errOrder
	}
	n.next++
	return n.sink.Row(values[1:])
}

type sinkFunc func([]row.Value) error

func (f sinkFunc) Columns([]Column) error       { return nil }
func (f sinkFunc) Row(values []row.Value) error { return f(values) }

package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"kalamdb/query"
	"kalamdb/row"
)

// A parquetImport is a Parquet file. Its checksum is of the whole file.
type parquetImport struct {
	file  string
	table *importTable
	rows  *query.ParquetFile
	count int64
	to    []int // column of the table for each of the file
	has   []int
	hash  []byte
}

func openParquetImport(ctx context.Context, file string, into *importTable) (*parquetImport, error) {
	rows, err := query.OpenParquet(file)
	if err != nil {
		return nil, err
	}
	p := &parquetImport{file: file, table: into, rows: rows}
	if err := p.inspect(ctx); err != nil {
		rows.Close()
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return p, nil
}

func (p *parquetImport) inspect(ctx context.Context) (err error) {
	if p.count, err = p.rows.Rows(ctx); err != nil {
		return err
	}
	return p.rows.Each(ctx, p.count, columnsOnly(func(columns []query.Column) error {
		for _, c := range columns {
			i, err := p.table.column(c.Name)
			if err != nil {
				return err
			}
			if p.to = append(p.to, i); i >= 0 {
				p.has = append(p.has, i)
			}
		}
		if len(p.has) == 0 {
			return fmt.Errorf("it has no column of the table")
		}
		return nil
	}))
}

// columnsOnly is a sink that looks at the columns.
type columnsOnly func([]query.Column) error

func (f columnsOnly) Columns(c []query.Column) error { return f(c) }
func (f columnsOnly) Row([]row.Value) error          { return nil }

func (p *parquetImport) unit() string    { return "row" }
func (p *parquetImport) columns() []int  { return p.has }
func (p *parquetImport) start() int64    { return 0 }
func (p *parquetImport) size() int64     { return p.count }
func (p *parquetImport) advance(*record) {}
func (p *parquetImport) sum() []byte     { return p.hash }

func (p *parquetImport) Close() error {
	p.rows.Close()
	return nil
}

func (p *parquetImport) check(context.Context, int64) ([]byte, error) {
	f, err := os.Open(p.file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	p.hash = h.Sum(nil)
	return p.hash, err
}

func (p *parquetImport) each(ctx context.Context, s *importState, yield func(*record) error) error {
	return p.rows.Each(ctx, s.Position, &parquetRows{p, s.Position, yield})
}

// parquetRows turns values into records.
type parquetRows struct {
	*parquetImport
	done  int64
	yield func(*record) error
}

func (p *parquetRows) Columns([]query.Column) error { return nil }

func (p *parquetRows) Row(values []row.Value) error {
	p.done++
	r := &record{line: p.done, last: p.done, end: p.done, cells: make([]json.RawMessage, len(p.table.columns))}
	for i, v := range values {
		if to := p.to[i]; to >= 0 {
			r.cells[to] = jsonCell(v.AppendJSON(nil), p.table.columns[to].typ, v.Kind() != row.Text)
		}
	}
	return p.yield(r)
}

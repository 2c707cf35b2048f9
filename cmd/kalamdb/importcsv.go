package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// A csvImport is a CSV file. What EXPORT writes reads back as it was: a field without
// quotes that is the null text is NULL, an empty one in quotes is an empty text.
type csvImport struct {
	*textFile
	table *importTable
	to    []int // column of the table for each field, -1 for one that is left out
	has   []int // the columns of the table that the file has
	comma rune
	null  string
	lines int64 // of the header
}

func newCSVImport(t *textFile, o *importFlags, into *importTable) (*csvImport, error) {
	c := &csvImport{textFile: t, table: into, comma: []rune(o.delimiter)[0], null: o.null}
	names := o.columns
	if !o.noHeader {
		header, reader := c.reader(t.first)
		record, err := header.Read()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("the file is empty, not even a header")
		}
		if err != nil {
			return nil, fmt.Errorf("header: %w", err)
		}
		c.lines = int64(bytes.Count(reader.take(header.InputOffset()), []byte("\n")))
		t.first += header.InputOffset()
		if names == nil {
			names = record
		}
	}
	if names == nil {
		for _, col := range into.columns {
			names = append(names, col.name)
		}
	}
	seen := map[int]bool{}
	for _, name := range names {
		i, err := into.column(name)
		if err != nil {
			return nil, err
		}
		if seen[i] && i >= 0 {
			return nil, fmt.Errorf("the file has the column %s twice", name)
		}
		seen[i] = true
		if c.to = append(c.to, i); i >= 0 {
			c.has = append(c.has, i)
		}
	}
	if len(c.has) == 0 {
		return nil, errors.New("the file has no column of the table")
	}
	return c, nil
}

func (c *csvImport) columns() []int { return c.has }

// reader reads records from a position; the recorder keeps what they were made of.
func (c *csvImport) reader(position int64) (*csv.Reader, *recorder) {
	rec := &recorder{r: c.from(position)}
	r := csv.NewReader(rec)
	r.Comma, r.FieldsPerRecord = c.comma, -1
	return r, rec
}

// A recorder keeps what was read until it is taken.
type recorder struct {
	r    io.Reader
	kept []byte
	at   int64 // the position of kept
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.kept = append(r.kept, p[:n]...)
	return n, err
}

// take gives what is kept up to a position away.
func (r *recorder) take(to int64) []byte {
	n := to - r.at
	taken := bytes.Clone(r.kept[:n])
	r.kept, r.at = r.kept[n:], to
	return taken
}

func (c *csvImport) each(ctx context.Context, s *importState, yield func(*record) error) error {
	r, rec := c.reader(s.Position)
	before := s.Line // lines before those that r has read
	if s.Position == c.first {
		before = c.lines
	}
	var lines int64 // that r has read before the current record
	for ctx.Err() == nil {
		fields, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		bad := (*csv.ParseError)(nil)
		if err != nil && !errors.As(err, &bad) {
			return err
		}
		out := &record{end: s.Position + r.InputOffset(), raw: rec.take(r.InputOffset())}
		first := lines + 1
		lines += int64(bytes.Count(out.raw, []byte("\n")))
		if bad != nil {
			out.line, out.err = before+int64(bad.StartLine), fmt.Errorf("column %d: %w", bad.Column, bad.Err)
		} else {
			line, _ := r.FieldPos(0)
			out.line = before + int64(line)
			out.cells, out.err = c.cells(fields, func(i int) bool {
				line, column := r.FieldPos(i)
				return isQuoteAt(out.raw, line-int(first), column-1)
			})
		}
		out.last = max(before+lines, out.line)
		if err := yield(out); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// isQuoteAt says whether there is a quote at a column of a line of text.
func isQuoteAt(text []byte, line, column int) bool {
	for range line {
		text = text[bytes.IndexByte(text, '\n')+1:]
	}
	return column < len(text) && text[column] == '"'
}

func (c *csvImport) cells(fields []string, inQuotes func(field int) bool) ([]json.RawMessage, error) {
	if len(fields) != len(c.to) {
		return nil, fmt.Errorf("it has %s, expected %d", plural(int64(len(fields)), "field"), len(c.to))
	}
	cells := make([]json.RawMessage, len(c.table.columns))
	for i, text := range fields {
		switch to := c.to[i]; {
		case to < 0:
		case text == c.null && !inQuotes(i):
			cells[to] = null
		case !utf8.ValidString(text):
			return nil, fmt.Errorf("column %s: %w", c.table.columns[to].name, errNotUTF8)
		default:
			cells[to] = textCell(text, c.table.columns[to].typ)
		}
	}
	return cells, nil
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

// A record is one row of a file.
type record struct {
	line  int64             // of CSV and NDJSON, where it begins; of Parquet the number of the row, from 1
	last  int64             // line on which it ends
	end   int64             // position after it
	raw   []byte            // as it is in the file, with all before it that belongs to no row; nil for Parquet
	cells []json.RawMessage // for the columns of the source; nil is what the file does not say
	err   error             // why it is no row
}

// An importSource is a file that gives rows. Positions are bytes, or rows for Parquet.
type importSource interface {
	unit() string                                                              // what a line is called
	columns() []int                                                            // of the table, that the file has
	start() int64                                                              // the position of the first row
	size() int64                                                               // the position after the last
	check(ctx context.Context, to int64) ([]byte, error)                       // the checksum of what is before a position
	each(ctx context.Context, s *importState, yield func(*record) error) error // the rows from where s stands
	advance(r *record)                                                         // over a row that is done
	sum() []byte                                                               // the checksum of what is done
	Close() error
}

func openImport(ctx context.Context, file string, o *importFlags, into *importTable) (importSource, error) {
	if o.format == "parquet" {
		return openParquetImport(ctx, file, into)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	var src importSource
	text, err := newTextFile(f)
	switch {
	case err != nil:
	case o.format == "csv":
		src, err = newCSVImport(text, o, into)
	default:
		src = &ndjsonImport{textFile: text, table: into}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return src, nil
}

// A textFile is a file of lines, with the checksum of what is done.
type textFile struct {
	f      *os.File
	first  int64 // the position of the first row
	length int64
	hash   hash.Hash
}

var byteOrderMark = []byte("\uFEFF")

func newTextFile(f *os.File) (*textFile, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", f.Name())
	}
	t := &textFile{f: f, length: info.Size(), hash: sha256.New()}
	head := make([]byte, len(byteOrderMark))
	if n, _ := f.ReadAt(head, 0); n == len(head) && bytes.Equal(head, byteOrderMark) {
		t.first = int64(n)
	}
	return t, nil
}

func (t *textFile) unit() string      { return "line" }
func (t *textFile) start() int64      { return t.first }
func (t *textFile) size() int64       { return t.length }
func (t *textFile) Close() error      { return t.f.Close() }
func (t *textFile) advance(r *record) { t.hash.Write(r.raw) } // never fails
func (t *textFile) sum() []byte       { return t.hash.Sum(nil) }

func (t *textFile) check(_ context.Context, to int64) ([]byte, error) {
	t.hash.Reset()
	n, err := io.Copy(t.hash, io.NewSectionReader(t.f, 0, to))
	if err == nil && n < to {
		err = fmt.Errorf("the file has %d bytes, %d were imported; --restart begins anew", n, to)
	}
	return t.sum(), err
}

// from reads the file from a position.
func (t *textFile) from(position int64) io.Reader {
	return io.NewSectionReader(t.f, position, t.length-position)
}

// An ndjsonImport is a file of one JSON object a line.
type ndjsonImport struct {
	*textFile
	table *importTable
}

func (n *ndjsonImport) columns() []int {
	all := make([]int, len(n.table.columns))
	for i := range all {
		all[i] = i
	}
	return all
}

const lineBytesMax = 64 << 20

func (n *ndjsonImport) each(ctx context.Context, s *importState, yield func(*record) error) error {
	lines := bufio.NewReaderSize(n.from(s.Position), 1<<16)
	position, line := s.Position, s.Line
	var before []byte // empty lines
	for ctx.Err() == nil {
		text, err := readLine(lines)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("line %d: %w", line+1, err)
		}
		if len(text) > 0 {
			line++
			position += int64(len(text))
			before = append(before, text...)
			if len(bytes.TrimSpace(text)) > 0 {
				r := &record{line: line, last: line, end: position, raw: before}
				r.cells, r.err = n.cells(bytes.TrimSpace(text))
				before = nil
				if err := yield(r); err != nil {
					return err
				}
			}
		}
		if err != nil {
			return nil
		}
	}
	return ctx.Err()
}

// readLine reads up to and with the end of a line.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if line = append(line, part...); len(line) > lineBytesMax {
			return nil, fmt.Errorf("the line has more than %d bytes", lineBytesMax)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

func (n *ndjsonImport) cells(text []byte) ([]json.RawMessage, error) {
	if !utf8.Valid(text) {
		return nil, errNotUTF8
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil || object == nil {
		if err == nil || errors.As(err, new(*json.UnmarshalTypeError)) {
			err = errors.New("it is no JSON object")
		}
		return nil, err
	}
	cells := make([]json.RawMessage, len(n.table.columns))
	for name, v := range object {
		i, err := n.table.column(name)
		if err != nil {
			return nil, err
		}
		if i >= 0 {
			cells[i] = jsonCell(v, n.table.columns[i].typ, true)
		}
	}
	return cells, nil
}

var errNotUTF8 = errors.New("it is not UTF-8")

// jsonCell is a JSON value as a parameter for a column; isJSON says that it stands for
// itself, so that a text in it is one.
func jsonCell(v json.RawMessage, typ string, isJSON bool) json.RawMessage {
	if isJSON && typ == "JSON" && !bytes.Equal(v, null) {
		return jsonString(string(v))
	}
	return v
}

// textCell is the text of a field as a parameter for a column.
func textCell(text, typ string) json.RawMessage {
	switch {
	case strings.HasSuffix(typ, "]") || strings.HasPrefix(typ, "EMBEDDING"):
		if strings.HasPrefix(text, "[") && json.Valid([]byte(text)) {
			return json.RawMessage(text)
		}
	case slices.Contains([]string{"SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE"}, typ) || strings.HasPrefix(typ, "DECIMAL"):
		if text != "" && strings.ContainsRune("-0123456789", rune(text[0])) && json.Valid([]byte(text)) {
			return json.RawMessage(text)
		}
	}
	return jsonString(text)
}

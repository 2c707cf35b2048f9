package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// An outcome is what one statement answered. Cells are JSON, exactly as the server
// sent them: no number is rounded on its way to the screen.
type outcome struct {
	statement string
	columns   []string // nil if the statement returns no rows
	rows      [][]json.RawMessage
	write     bool // affected and seq count
	affected  int64
	seq       uint64
	took      time.Duration
}

// A printer writes one outcome.
type printer func(w io.Writer, o outcome) error

var printers = map[string]printer{"table": printTable, "json": printJSON, "csv": printCSV}

// printTable draws the rows, or says what the statement did.
func printTable(w io.Writer, o outcome) error {
	took := fmt.Sprintf("%.1f ms", float64(o.took)/float64(time.Millisecond))
	if o.columns == nil {
		if !o.write {
			_, err := fmt.Fprintf(w, "%s (%s)\n", o.statement, took)
			return err
		}
		seq := ""
		if o.seq != 0 {
			seq = fmt.Sprintf(", seq %d", o.seq)
		}
		_, err := fmt.Fprintf(w, "%s %s%s (%s)\n", o.statement, plural(o.affected, "row"), seq, took)
		return err
	}
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault // names as they are
	header := make(table.Row, len(o.columns))
	for i, name := range o.columns {
		header[i] = name
	}
	t.AppendHeader(header)
	for _, cells := range o.rows {
		r := make(table.Row, len(cells))
		for i, cell := range cells {
			if r[i] = plain(cell); bytes.Equal(cell, null) {
				r[i] = "NULL"
			}
		}
		t.AppendRow(r)
	}
	_, err := fmt.Fprintf(w, "%s\n%s (%s)\n", t.Render(), plural(int64(len(o.rows)), "row"), took)
	return err
}

func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// printJSON writes one line: an array of the rows, or an object of what was done.
func printJSON(w io.Writer, o outcome) error {
	var b bytes.Buffer
	switch {
	case o.columns != nil:
		b.WriteByte('[')
		for i, cells := range o.rows {
			if i > 0 {
				b.WriteString(",\n ")
			}
			b.WriteByte('{')
			for j, cell := range cells {
				if j > 0 {
					b.WriteByte(',')
				}
				b.Write(jsonString(o.columns[j]))
				b.WriteByte(':')
				b.Write(cell)
			}
			b.WriteByte('}')
		}
		b.WriteString("]\n")
	case o.write:
		fmt.Fprintf(&b, "{\"statement\":%s,\"affected_rows\":%d,\"seq\":%d}\n", jsonString(o.statement), o.affected, o.seq)
	default:
		fmt.Fprintf(&b, "{\"statement\":%s}\n", jsonString(o.statement))
	}
	_, err := w.Write(b.Bytes())
	return err
}

func jsonString(s string) []byte {
	b, _ := json.Marshal(s) // a string always has a JSON form
	return b
}

// printCSV writes a header and the rows; NULL is an empty cell. What a statement
// without rows did is no data and is not written.
func printCSV(w io.Writer, o outcome) error {
	if o.columns == nil {
		return nil
	}
	c := csv.NewWriter(w)
	records := [][]string{o.columns}
	for _, cells := range o.rows {
		r := make([]string, len(cells))
		for i, cell := range cells {
			if !bytes.Equal(cell, null) {
				r[i] = plain(cell)
			}
		}
		records = append(records, r)
	}
	return c.WriteAll(records) // flushes
}

var null = []byte("null")

// plain is a JSON value without the quotes of a string.
func plain(cell json.RawMessage) string {
	var s string
	if len(cell) > 0 && cell[0] == '"' && json.Unmarshal(cell, &s) == nil {
		return s
	}
	return string(cell)
}

// showError writes an error of the server with the place in the text it is about:
//
//	TABLE_NOT_FOUND: table app.mesages does not exist (did you mean app.messages?)
//	line 2: FROM app.mesages
//	             ^
func showError(query string, position int, code, message, details string) string {
	var b strings.Builder
	b.WriteString(code + ": " + message)
	if details != "" {
		b.WriteString(" (" + details + ")")
	}
	if position < 0 || position > len(query) || !strings.ContainsFunc(query, notSpace) {
		return b.String()
	}
	start := strings.LastIndexByte(query[:position], '\n') + 1
	end := len(query)
	if n := strings.IndexByte(query[position:], '\n'); n >= 0 {
		end = position + n
	}
	prefix := ""
	if strings.Contains(strings.TrimSpace(query), "\n") {
		prefix = fmt.Sprintf("line %d: ", strings.Count(query[:start], "\n")+1)
	}
	// A tab stays a tab in both lines, so that the caret stands where the eye looks.
	indent := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, query[start:position])
	if !utf8.ValidString(query[start:position]) {
		indent = strings.Repeat(" ", position-start)
	}
	fmt.Fprintf(&b, "\n%s%s\n%s%s^", prefix, strings.TrimRight(query[start:end], "\r"), strings.Repeat(" ", len(prefix)), indent)
	return b.String()
}

func notSpace(r rune) bool { return !strings.ContainsRune(" \t\r\n", r) }

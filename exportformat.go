package kalamdb

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"kalamdb/lake"
	"kalamdb/row"
	"kalamdb/sql"
)

// A sheet is one file of an export while it is written.
type sheet interface {
	Write([]row.Value) error
	Size() int              // about the bytes so far
	Bytes() ([]byte, error) // of the complete file; nothing is written after it
}

// An exportFormat is a kind of file that EXPORT writes.
type exportFormat struct {
	name       string
	extensions []string // the first one is given to files without a name
	sheet      func(columns []Column) sheet
}

var exportFormats = []exportFormat{
	{"parquet", []string{".parquet"}, newParquetSheet},
	{"csv", []string{".csv"}, newCSVSheet},
	{"json", []string{".json", ".ndjson", ".jsonl"}, newJSONSheet},
}

// formatOf finds the format by the option of that name, else by the name of the file, else
// it is Parquet.
func formatOf(file string, options map[string]string) (exportFormat, error) {
	for key := range options {
		if key != "format" {
			return exportFormat{}, fail(CodeInvalidValue, "unknown option %s, expected format", key)
		}
	}
	if name, ok := options["format"]; ok {
		var names []string
		for _, f := range exportFormats {
			if strings.EqualFold(f.name, name) {
				return f, nil
			}
			names = append(names, f.name)
		}
		nearest, _ := sql.Nearest(name, names)
		return exportFormat{}, fail(CodeInvalidValue, "unknown format %q, expected parquet, csv or json", name).details(didYouMean(nearest))
	}
	if file == "" {
		return exportFormats[0], nil
	}
	for _, f := range exportFormats {
		if slices.ContainsFunc(f.extensions, func(e string) bool { return strings.HasSuffix(strings.ToLower(file), e) }) {
			return f, nil
		}
	}
	return exportFormat{}, fail(CodeInvalidValue, "the name %q does not say the format", file).
		details("end it with .parquet, .csv or .json, or write WITH (format = 'csv')")
}

// differing are the names of the columns; where several have the same one, _1, _2 … is
// put behind the later ones.
func differing(columns []Column) []string {
	names := make([]string, len(columns))
	taken := map[string]int{} // by name, the number to try next
	for i, c := range columns {
		names[i] = c.Name
		for taken[names[i]] > 0 {
			names[i] = c.Name + "_" + strconv.Itoa(taken[c.Name])
			taken[c.Name]++
		}
		taken[names[i]] = max(taken[names[i]], 1)
	}
	return names
}

// A parquetSheet writes each column as the type of tables that can hold it: what no table can
// have becomes text, structures become JSON.
type parquetSheet struct {
	*lake.Sheet
	types  []row.Type
	values []row.Value
}

func newParquetSheet(columns []Column) sheet {
	s := &parquetSheet{types: make([]row.Type, len(columns)), values: make([]row.Value, len(columns))}
	cols := make([]row.Column, len(columns))
	for i, name := range differing(columns) {
		s.types[i] = exportType(columns[i].Type)
		cols[i] = row.Column{Name: name, Type: s.types[i]}
	}
	s.Sheet = lake.NewSheet(cols)
	return s
}

func (s *parquetSheet) Write(values []row.Value) error {
	for i, v := range values {
		var err error
		if s.values[i], err = exportValue(v, s.types[i]); err != nil {
			return err
		}
	}
	return s.Sheet.Write(s.values)
}

// exportType is the type of tables that holds the values of a result's type.
func exportType(name string) row.Type {
	switch name {
	case "TINYINT", "UTINYINT":
		return row.Type{Kind: row.SmallInt}
	case "USMALLINT":
		return row.Type{Kind: row.Int}
	case "UINTEGER":
		return row.Type{Kind: row.BigInt}
	case "UBIGINT", "HUGEINT":
		return row.Type{Kind: row.Decimal, Precision: 38}
	case "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE":
		return row.Type{Kind: row.Timestamp}
	case "TIME_NS":
		return row.Type{Kind: row.Time}
	}
	switch {
	case strings.HasPrefix(name, "STRUCT("), strings.HasPrefix(name, "MAP("):
		return row.Type{Kind: row.JSON}
	case strings.HasSuffix(name, "]"):
		switch e := exportType(name[:strings.LastIndexByte(name, '[')]); e.Kind {
		case row.List, row.JSON:
			return row.Type{Kind: row.JSON}
		default:
			return row.Type{Kind: row.List, Elem: e.Kind, Precision: e.Precision, Scale: e.Scale}
		}
	}
	var t row.Type
	if err := t.UnmarshalText([]byte(name)); err != nil {
		return row.Type{Kind: row.Text}
	}
	return t
}

// exportValue is v as a value of type t = exportType of its column.
func exportValue(v row.Value, t row.Type) (row.Value, error) {
	if v.IsNull() || v.Kind() == t.Kind && t.Kind != row.List {
		return v, nil
	}
	switch t.Kind {
	case row.List:
		var elems []row.Value
		if v.Kind() == row.Embedding {
			for _, f := range v.Floats(nil) {
				elems = append(elems, row.FloatValue(f))
			}
			return row.ListValue(elems), nil
		}
		for _, e := range v.List() {
			e, err := exportValue(e, t.ElemType())
			if err != nil {
				return row.Value{}, err
			}
			elems = append(elems, e)
		}
		return row.ListValue(elems), nil
	case row.JSON:
		return row.JSONValue(string(v.AppendJSON(nil))), nil
	case row.Text:
		return row.TextValue(string(v.AppendText(nil))), nil
	}
	c, err := row.Coerce(v, t)
	if err != nil {
		return row.Value{}, fail(CodeInvalidValue, "the value %s cannot be written to Parquet as %s: cast it in the query", v.AppendText(nil), t)
	}
	return c, nil
}

// A csvSheet writes CSV as RFC 4180 has it, with a line of names. NULL is nothing between two
// commas, an empty text is ""; times, lists and the rest are as in JSON, without the quotes.
type csvSheet struct{ out []byte }

func newCSVSheet(columns []Column) sheet {
	s := &csvSheet{}
	for i, name := range differing(columns) {
		if i > 0 {
			s.out = append(s.out, ',')
		}
		s.out = appendCSV(s.out, name)
	}
	s.out = append(s.out, '\n')
	return s
}

func (s *csvSheet) Write(values []row.Value) error {
	for i, v := range values {
		if i > 0 {
			s.out = append(s.out, ',')
		}
		switch v.Kind() {
		case row.Null:
		case row.Text, row.JSON, row.List, row.Embedding:
			s.out = appendCSV(s.out, string(v.AppendText(nil)))
		case row.Float, row.Double:
			s.out = append(s.out, strings.Trim(string(v.AppendText(nil)), `"`)...)
		default:
			s.out = v.AppendText(s.out)
		}
	}
	if len(values) == 1 && values[0].IsNull() {
		return fail(CodeInvalidValue, "NULL in the only column of a CSV file would be an empty line").details("select another column too, or take another format")
	}
	s.out = append(s.out, '\n')
	return nil
}

// appendCSV appends a text, in quotes if it could be taken for something else.
func appendCSV(dst []byte, text string) []byte {
	if text != "" && !strings.ContainsAny(text, ",\"\n\r") && text[0] != ' ' && text[len(text)-1] != ' ' {
		return append(dst, text...)
	}
	dst = append(dst, '"')
	dst = append(dst, strings.ReplaceAll(text, `"`, `""`)...)
	return append(dst, '"')
}

func (s *csvSheet) Size() int              { return len(s.out) }
func (s *csvSheet) Bytes() ([]byte, error) { return s.out, nil }

// A jsonSheet writes one JSON object a line, its values as in every answer of the server.
type jsonSheet struct {
	names []string // with the quotes and the colon
	out   []byte
}

func newJSONSheet(columns []Column) sheet {
	s := &jsonSheet{}
	for _, name := range differing(columns) {
		s.names = append(s.names, fmt.Sprintf("%s:", row.AppendJSONString(nil, name)))
	}
	return s
}

func (s *jsonSheet) Write(values []row.Value) error {
	s.out = append(s.out, '{')
	for i, v := range values {
		if i > 0 {
			s.out = append(s.out, ',')
		}
		s.out = v.AppendJSON(append(s.out, s.names[i]...))
	}
	s.out = append(s.out, "}\n"...)
	return nil
}

func (s *jsonSheet) Size() int              { return len(s.out) }
func (s *jsonSheet) Bytes() ([]byte, error) { return s.out, nil }

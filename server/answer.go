package server

import (
	"net/http"
	"strconv"
	"time"

	"kalamdb"
	"kalamdb/row"
)

// write answers with a whole JSON document.
func (s *Server) write(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h["Content-Type"] = contentJSON
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	s.extendWrite(w)
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil {
		s.log.Debug("client went away", "err", err)
	}
}

var contentJSON = []string{"application/json; charset=utf-8"}

// extendWrite gives the client WriteTimeout from now to take what is written next.
func (s *Server) extendWrite(w http.ResponseWriter) {
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.o.WriteTimeout)); err != nil {
		s.log.Debug("no write deadline", "err", err) // a ResponseWriter of a test
	}
}

// appendAnswer appends the answer of POST /api/sql.
func appendAnswer(dst []byte, results []kalamdb.Result, took time.Duration) []byte {
	dst = append(dst, `{"status":"success","results":[`...)
	for i := range results {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendResult(dst, &results[i])
	}
	dst = append(dst, `],"execution_time_ms":`...)
	dst = appendMillis(dst, took)
	return append(dst, '}')
}

func appendResult(dst []byte, r *kalamdb.Result) []byte {
	dst = append(dst, `{"statement":`...)
	dst = row.AppendJSONString(dst, r.Statement)
	if r.Columns == nil {
		dst = append(dst, `,"rows":[]`...)
	} else {
		columns := distinct(r.Columns)
		dst = append(dst, `,"columns":`...)
		dst = appendColumns(dst, columns)
		dst = append(dst, `,"rows":[`...)
		keys := objectKeys(columns)
		for i, values := range r.Rows {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendObject(dst, keys, values)
		}
		dst = append(dst, `],"row_count":`...)
		dst = strconv.AppendInt(dst, int64(len(r.Rows)), 10)
	}
	if r.IsWrite {
		dst = append(dst, `,"affected_rows":`...)
		dst = strconv.AppendInt(dst, r.Affected, 10)
		dst = append(dst, `,"seq":`...)
		dst = strconv.AppendUint(dst, uint64(r.Seq), 10)
	}
	dst = append(dst, `,"execution_time_ms":`...)
	dst = appendMillis(dst, r.Took)
	return append(dst, '}')
}

// appendColumns appends [{"name":…,"type":…},…].
func appendColumns(dst []byte, columns []kalamdb.Column) []byte {
	dst = append(dst, '[')
	for i, c := range columns {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"name":`...)
		dst = row.AppendJSONString(dst, c.Name)
		dst = append(dst, `,"type":`...)
		dst = row.AppendJSONString(dst, c.Type)
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// distinct renames columns that have the name of an earlier one to name_1, name_2
// and so on, so that an object of them keeps every value.
func distinct(columns []kalamdb.Column) []kalamdb.Column {
	names := make(map[string]bool, len(columns))
	for _, c := range columns {
		names[c.Name] = true
	}
	if len(names) == len(columns) {
		return columns
	}
	out := make([]kalamdb.Column, len(columns))
	used := make(map[string]bool, len(columns))
	last := map[string]int{} // the number behind a name that was given last
	for i, c := range columns {
		name := c.Name
		for used[name] || name != c.Name && names[name] {
			last[c.Name]++
			name = c.Name + "_" + strconv.Itoa(last[c.Name])
		}
		used[name] = true
		out[i] = kalamdb.Column{Name: name, Type: c.Type}
	}
	return out
}

// objectKeys are the parts of an encoded row between its values: `{"a":`, `,"b":`.
func objectKeys(columns []kalamdb.Column) [][]byte {
	keys := make([][]byte, len(columns))
	for i, c := range columns {
		open := byte(',')
		if i == 0 {
			open = '{'
		}
		keys[i] = append(row.AppendJSONString([]byte{open}, c.Name), ':')
	}
	return keys
}

func appendObject(dst []byte, keys [][]byte, values []row.Value) []byte {
	if len(keys) == 0 {
		return append(dst, "{}"...)
	}
	for i, v := range values {
		dst = append(dst, keys[i]...)
		dst = v.AppendJSON(dst)
	}
	return append(dst, '}')
}

// appendMillis appends d in milliseconds with whole microseconds, such as 1.2.
func appendMillis(dst []byte, d time.Duration) []byte {
	return strconv.AppendFloat(dst, float64(d.Microseconds())/1000, 'f', -1, 64)
}

package server

import (
	"net/http"
	"strings"

	"kalamdb"
)

// A format is how rows are sent.
type format int

const (
	formatJSON format = iota
	formatNDJSON
	formatArrow
)

const (
	mediaNDJSON = "application/x-ndjson"
	mediaArrow  = "application/vnd.apache.arrow.stream"
)

// formatOf is the first format of an Accept header that we know; JSON if none.
func formatOf(accept []string) format {
	for _, header := range accept {
		for media := range strings.SplitSeq(header, ",") {
			media, _, _ = strings.Cut(media, ";")
			switch strings.ToLower(strings.TrimSpace(media)) {
			case mediaNDJSON:
				return formatNDJSON
			case mediaArrow:
				return formatArrow
			case "application/json":
				return formatJSON
			}
		}
	}
	return formatJSON
}

// streamChunkBytes is how much is gathered before it is sent.
const streamChunkBytes = 32 << 10

// stream answers one SELECT row by row. An error before the first row is an
// ordinary one; later the answer says that it is not whole in the way of its format.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, q kalamdb.Request, f format) {
	rows, err := s.db.Query(r.Context(), q)
	if err != nil {
		s.writeError(w, r, err)
		return
	}
	defer rows.Close()
	more := rows.Next()
	if !more {
		if err := rows.Err(); err != nil {
			s.writeError(w, r, err)
			return
		}
	}
	if f == formatArrow {
		s.streamArrow(w, r, rows, more)
		return
	}
	s.streamNDJSON(w, r, rows, more)
}

// streamNDJSON sends one JSON object a line. If the rows end early the last line
// is {"error":{…}}.
func (s *Server) streamNDJSON(w http.ResponseWriter, r *http.Request, rows Rows, more bool) {
	w.Header().Set("Content-Type", mediaNDJSON)
	w.WriteHeader(http.StatusOK)
	buf := buffers.Get().(*[]byte)
	defer giveBack(buf)
	b := (*buf)[:0]
	defer func() { *buf = b }()
	keys := objectKeys(distinct(rows.Columns()))
	for ; more; more = rows.Next() {
		b = append(appendObject(b, keys, rows.Values()), '\n')
		if len(b) < streamChunkBytes {
			continue
		}
		if !s.send(w, b) {
			return
		}
		b = b[:0]
	}
	if err := rows.Err(); err != nil {
		e := asError(err)
		s.logFault(r, statusOf(e.Code), e)
		b = append(b, `{"error":`...)
		b = append(appendError(b, e), "}\n"...)
	}
	s.send(w, b)
}

// send passes b on to the client now and says whether it could.
func (s *Server) send(w http.ResponseWriter, b []byte) bool {
	s.extendWrite(w)
	if _, err := w.Write(b); err != nil {
		s.log.Debug("client went away", "err", err)
		return false
	}
	w.(http.Flusher).Flush()
	return true
}

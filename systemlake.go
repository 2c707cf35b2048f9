package kalamdb

import (
	"encoding/json"
	"strings"
	"time"

	"kalamdb/auth"
	"kalamdb/lake"
	"kalamdb/row"
)

// partitionRows joins what ingest has buffered with what the lake has in files.
func partitionRows(db *DB, _ auth.Principal, add func(...row.Value)) {
	type state struct {
		rows, bytes, files, fileBytes int64
		oldest                        time.Time
		quarantined                   bool
	}
	states := map[row.Partition]*state{}
	var order []row.Partition
	at := func(p row.Partition) *state {
		s := states[p]
		if s == nil {
			s = &state{}
			states[p] = s
			order = append(order, p)
		}
		return s
	}
	for _, p := range db.buffer.Partitions() {
		s := at(p.Partition)
		s.rows, s.bytes, s.oldest, s.quarantined = int64(p.Rows), p.Bytes, p.Oldest, p.Quarantined
	}
	db.lake.Files(func(f *lake.File) bool {
		s := at(f.Partition)
		s.files++
		s.fileBytes += f.Bytes
		return true
	})
	for _, p := range order {
		s := states[p]
		oldest := row.NullValue
		if s.rows > 0 && !s.oldest.IsZero() {
			oldest = number(max(0, time.Since(s.oldest).Milliseconds()))
		}
		add(text(p.Table.Namespace), text(p.Table.Name), text(string(p.User)), number(s.rows), number(s.bytes), number(s.files), number(s.fileBytes), oldest, row.BoolValue(s.quarantined))
	}
}

func fileRows(db *DB, _ auth.Principal, add func(...row.Value)) {
	db.lake.Files(func(f *lake.File) bool {
		p := f.Partition
		root := f.Root
		if root == "" {
			root = db.bucket.URL()
		}
		var types []row.Type
		if t, ok := db.catalog.TableByID(p.Table.ID); ok {
			types = t.Schema().KeyTypes()
		}
		add(text(p.Table.Namespace), text(p.Table.Name), text(string(p.User)), text(root+"/"+f.Name), number(f.Rows), number(f.Bytes),
			number(int64(f.MinSeq)), number(int64(f.MaxSeq)), keyText(types, f.MinKey), keyText(types, f.MaxKey), integer(int64(f.SchemaVersion)), moment(f.Created))
		return true
	})
}

// keyText shows a primary key: its value, or its values separated by a comma.
func keyText(types []row.Type, key []byte) row.Value {
	values, err := row.DecodeKey(types, key)
	if err != nil {
		return row.NullValue
	}
	var b []byte
	for i, v := range values {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = v.AppendText(b)
	}
	return text(string(b))
}

func splitName(full string) (namespace, name string) {
	namespace, name, _ = strings.Cut(full, ".")
	return namespace, name
}

// jsonText is a JSON object of options, {} for none.
func jsonText(options map[string]string) row.Value {
	if len(options) == 0 {
		return text("{}")
	}
	b, err := json.Marshal(options)
	if err != nil {
		panic("kalamdb: broken invariant: a map of texts has no JSON: " + err.Error())
	}
	return text(string(b))
}

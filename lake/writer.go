package lake

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"sync"
	"unsafe"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"

	"kalamdb/row"
)

// A poolKey names Parquet writers that can be used for each other's files: making
// one costs far more than a small file.
type poolKey struct {
	version uint32
	shape   shape
	merged  bool // with metaMerge, which a Parquet writer keeps
}

// A writer turns the sorted rows of one segment into Parquet files, all rows of one
// schema version. Its life: write for every row, then finish. Each file is handed to
// done as soon as it is complete, so a large segment does not need the memory of all
// its files.
//
// Rows are gathered in a chunk, one slice of values per column, and reach the Parquet
// writer a chunk at a time, column by column. The first chunk of a file shows
// which columns are worth a dictionary and which are too long for bounds.
type writer struct {
	t      *table
	user   row.UserID
	layout *layout
	codec  compress.Codec
	rows   int // of a row group

	merge   string // of a compaction: makes its files like no others
	inputs  string // of a compaction: metaReplaces
	fileMax int64  // bytes
	done    func(*fileEntry, []byte) error

	values     [][]parquet.Value // of the chunk, by leaf
	text       []byte            // what the texts of the chunk point into
	elements   int               // of the lists and embeddings in the chunk
	floats     []float32         // scratch
	chunkRows  int
	groupRows  int
	groupBytes int

	key  poolKey
	pool *sync.Pool
	w    *parquet.GenericWriter[any] // nil until the first chunk of a file is complete
	out  *bytes.Buffer
	file fileEntry
}

func (l *Lake) newWriter(t *table, user row.UserID, s *row.Schema, done func(*fileEntry, []byte) error) *writer {
	layout := newLayout(s)
	return &writer{
		t: t, user: user, layout: layout, codec: l.codec, rows: l.opts.RowGroupRows, fileMax: l.opts.FileBytesMax, done: done,
		values: make([][]parquet.Value, len(layout.leaves)),
	}
}

// write adds one row; key and r are the caller's again when it returns.
func (w *writer) write(key []byte, r *row.Row) error {
	s := w.layout.schema
	if len(r.Values) != len(s.Columns) {
		return corruptf("a row of schema version %d has %d values, expected %d", r.Schema, len(r.Values), len(s.Columns))
	}
	for i, v := range r.Values {
		if err := w.append(i, v); err != nil {
			return fmt.Errorf("column %s: %w", s.Columns[i].Name, err)
		}
	}
	add := func(leaf int, v parquet.Value) { w.values[leaf] = append(w.values[leaf], v.Level(0, 0, leaf)) }
	add(w.layout.seqLeaf(), parquet.Int64Value(int64(r.Seq)))
	add(w.layout.updatedLeaf(), parquet.Int64Value(r.Updated))
	add(w.layout.deletedLeaf(), parquet.BooleanValue(r.Deleted))
	w.chunkRows++

	f := &w.file
	if f.Rows == 0 {
		f.MinSeq, f.MaxSeq, f.MinUpdated, f.MaxUpdated = r.Seq, r.Seq, r.Updated, r.Updated
		f.MinKey = append([]byte{}, key...)
		f.Schema = s.Version
	}
	f.Rows++
	f.MinSeq, f.MaxSeq = min(f.MinSeq, r.Seq), max(f.MaxSeq, r.Seq)
	f.MinUpdated, f.MaxUpdated = min(f.MinUpdated, r.Updated), max(f.MaxUpdated, r.Updated)
	f.MaxKey = append(f.MaxKey[:0], key...)
	if r.Deleted {
		f.Deleted++
	}
	if w.chunkRows == min(chunkRowsMax, w.rows) || len(w.text)+8*w.elements >= chunkBytesMax {
		return w.flushChunk()
	}
	return nil
}

// append adds the value of a declared column to the chunk.
func (w *writer) append(i int, v row.Value) error {
	lf := &w.layout.leaves[i]
	t := lf.typ
	if v.IsNull() {
		if !lf.optional {
			return corruptf("NULL in the primary key")
		}
		w.values[i] = append(w.values[i], parquet.NullValue().Level(0, 0, i))
		return nil
	}
	if v.Kind() != t.Kind {
		return corruptf("a %s in a column of type %s", v.Kind(), t)
	}
	switch t.Kind {
	case row.List:
		elems := v.List()
		w.elements += len(elems)
		if len(elems) == 0 {
			w.values[i] = append(w.values[i], parquet.NullValue().Level(0, 1, i))
		}
		for j, e := range elems {
			rep := min(j, 1)
			if e.IsNull() {
				w.values[i] = append(w.values[i], parquet.NullValue().Level(rep, 2, i))
				continue
			}
			p, err := w.scalar(t.ElemType(), e)
			if err != nil {
				return err
			}
			w.values[i] = append(w.values[i], p.Level(rep, 3, i))
		}
		return nil
	case row.Embedding:
		if v.Len() != int(t.Dim) {
			return corruptf("%d floats in a column of type %s", v.Len(), t)
		}
		w.floats = v.Floats(w.floats[:0])
		w.elements += len(w.floats)
		for j, f := range w.floats {
			w.values[i] = append(w.values[i], parquet.FloatValue(f).Level(min(j, 1), 2, i))
		}
		return nil
	}
	p, err := w.scalar(t, v)
	if err != nil {
		return err
	}
	def := 0
	if lf.optional {
		def = 1
	}
	w.values[i] = append(w.values[i], p.Level(0, def, i))
	return nil
}

// scalar is v, which is not NULL, as a Parquet value of type t.
func (w *writer) scalar(t row.Type, v row.Value) (parquet.Value, error) {
	if v.Kind() != t.Kind || t.Kind == row.Decimal && v.Scale() != t.Scale {
		return parquet.Value{}, corruptf("a %s in a column of type %s", v.Kind(), t)
	}
	switch t.Kind {
	case row.Boolean:
		return parquet.BooleanValue(v.Bool()), nil
	case row.SmallInt, row.Int, row.Date:
		return parquet.Int32Value(int32(v.Int())), nil
	case row.BigInt, row.Time, row.Timestamp:
		return parquet.Int64Value(v.Int()), nil
	case row.Float:
		return parquet.FloatValue(v.Float()), nil
	case row.Double:
		return parquet.DoubleValue(v.Double()), nil
	case row.Decimal:
		hi, lo := v.Halves()
		switch {
		case t.Precision <= int32DigitsMax:
			return parquet.Int32Value(int32(lo)), nil
		case t.Precision <= int64DigitsMax:
			return parquet.Int64Value(int64(lo)), nil
		}
		return parquet.FixedLenByteArrayValue(w.keep128(hi, lo)), nil
	case row.UUID:
		hi, lo := v.Halves()
		return parquet.FixedLenByteArrayValue(w.keep128(hi, lo)), nil
	}
	at := len(w.text)
	w.text = append(w.text, v.Str()...)
	return parquet.ByteArrayValue(w.text[at:len(w.text):len(w.text)]), nil
}

// keep128 keeps a 128-bit number with the chunk. Growing w.text leaves earlier
// values pointing into the old array, which holds the same bytes.
func (w *writer) keep128(hi int64, lo uint64) []byte {
	at := len(w.text)
	w.text = binary.BigEndian.AppendUint64(w.text, uint64(hi))
	w.text = binary.BigEndian.AppendUint64(w.text, lo)
	return w.text[at:len(w.text):len(w.text)]
}

const (
	dictionaryRowsMin = 32  // fewer rows are not worth a dictionary
	dictionaryShare   = 4   // at most one in so many texts is different
	longTextBytes     = 128 // average from which bounds are left out
)

// shape decides from the first chunk how its file is encoded.
func (w *writer) shape() shape {
	flags := make([]byte, len(w.layout.schema.Columns))
	for i := range flags {
		lf := &w.layout.leaves[i]
		k := lf.typ.Kind
		if !lf.optional || k != row.Text && k != row.JSON && k != row.Bytes {
			continue
		}
		n, size := 0, 0
		distinct := map[string]struct{}{}
		for _, v := range w.values[i] {
			if v.IsNull() {
				continue
			}
			b := v.ByteArray()
			n, size = n+1, size+len(b)
			if w.chunkRows >= dictionaryRowsMin && len(distinct)*dictionaryShare <= w.chunkRows {
				distinct[unsafe.String(unsafe.SliceData(b), len(b))] = struct{}{}
			}
		}
		if n >= dictionaryRowsMin && len(distinct)*dictionaryShare <= n {
			flags[i] |= shapeDictionary
		}
		if k != row.Text || n > 0 && size/n >= longTextBytes {
			flags[i] |= shapeLong
		}
	}
	return shape(flags)
}

// flushChunk gives the chunk to the Parquet writer, and ends a row group or a
// file that is large enough.
func (w *writer) flushChunk() error {
	if w.chunkRows == 0 {
		return nil
	}
	if w.w == nil {
		w.open()
	}
	for i, c := range w.w.ColumnWriters() {
		if _, err := c.WriteRowValues(w.values[i]); err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		w.groupBytes += 8 * len(w.values[i])
		w.values[i] = w.values[i][:0]
	}
	w.groupBytes += len(w.text)
	w.groupRows += w.chunkRows
	w.text, w.chunkRows, w.elements = w.text[:0], 0, 0
	if w.groupRows < w.rows && w.groupBytes < groupBytesMax {
		return nil
	}
	if err := w.w.Flush(); err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	w.groupRows, w.groupBytes = 0, 0
	if w.w.Size() >= w.fileMax {
		return w.closeFile()
	}
	return nil
}

// open takes a Parquet writer for the next file.
func (w *writer) open() {
	w.key = poolKey{w.layout.schema.Version, w.shape(), w.merge != ""}
	w.pool = w.t.pool(w.key)
	w.out = &bytes.Buffer{}
	if pooled, ok := w.pool.Get().(*parquet.GenericWriter[any]); ok {
		w.w = pooled
		w.w.Reset(w.out)
		return
	}
	w.w = parquet.NewGenericWriter[any](w.out, w.layout.options(w.key.shape, w.codec)...)
}

// closeFile completes the current file and hands it over.
func (w *writer) closeFile() error {
	f := w.file
	meta := w.w.SetKeyValueMetadata
	meta(metaTable, w.t.ref.String())
	meta(metaTableID, tableID(w.t.ref.ID))
	meta(metaUser, string(w.user))
	meta(metaSchemaVersion, strconv.FormatUint(uint64(f.Schema), 10))
	meta(metaMinSeq, strconv.FormatUint(uint64(f.MinSeq), 10))
	meta(metaMaxSeq, strconv.FormatUint(uint64(f.MaxSeq), 10))
	if w.merge != "" {
		meta(metaMerge, w.merge)
		meta(metaReplaces, w.inputs)
	}
	if err := w.w.Close(); err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	reuse(w.w)
	w.pool.Put(w.w)
	body := w.out.Bytes()
	w.w, w.out, w.file = nil, nil, fileEntry{}

	hash := sha256.Sum256(body)
	f.Checksum = hex.EncodeToString(hash[:])
	f.Bytes = int64(len(body))
	f.Name = w.t.fileName(w.user, fmt.Sprintf("batch-%d-%d-%s.parquet", f.MinSeq, f.MaxSeq, f.Checksum[:16]))
	return w.done(&f, body)
}

// reuse makes a closed Parquet writer ready for another file. parquet-go's Reset clears
// what the footer has of each column, and with it the names and the sort order that the
// writer shares with the footer: without them Spark cannot read the files that follow.
func reuse(w *parquet.GenericWriter[any]) {
	groups := w.File().Metadata().RowGroups
	for i := range groups {
		groups[i].SortingColumns = nil
		for j := range groups[i].Columns {
			groups[i].Columns[j].MetaData.PathInSchema = nil
		}
	}
	w.Reset(nil)
}

// finish writes what is left. The writer is done for.
func (w *writer) finish() error {
	if err := w.flushChunk(); err != nil {
		return err
	}
	if w.w == nil {
		return nil
	}
	return w.closeFile()
}

// The footer metadata of a file. By metaTableID the collection of orphans knows its own files.
const (
	metaTable         = "kalamdb.table"
	metaTableID       = "kalamdb.table_id"
	metaUser          = "kalamdb.user"
	metaSchemaVersion = "kalamdb.schema_version"
	metaMinSeq        = "kalamdb.min_seq"
	metaMaxSeq        = "kalamdb.max_seq"
)

// metaMerge names the merge that wrote a file. Each has its own, so that no compaction
// writes a file again that an earlier one has left: the sweep may be deleting that.
const metaMerge = "kalamdb.merge"

// metaReplaces are the hashes in the names of the files that a merge replaces, for a
// Rebuild: some of them may still be there when the log cannot be read any more.
const metaReplaces = "kalamdb.replaces"

func tableID(id uint64) string { return fmt.Sprintf("%016x", id) }

// pool is the pool of the Parquet writers for k.
func (t *table) pool(k poolKey) *sync.Pool {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.pools[k]
	if p == nil {
		p = &sync.Pool{}
		t.pools[k] = p
	}
	return p
}

// path is the folder of a user's files in the bucket.
func (t *table) path(user row.UserID) string {
	return t.template.Expand(t.ref.Namespace, t.ref.Name, user)
}

func (t *table) fileName(user row.UserID, base string) string {
	if path := t.path(user); path != "" {
		return path + "/" + base
	}
	return base
}

package lake

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"sync"

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
// Rows are gathered in a chunk and reach the Parquet writer a chunk at a time. The first
// chunk of a file shows which columns are worth a dictionary and which are too long for bounds.
type writer struct {
	t      *table
	user   row.UserID
	layout *layout
	codec  compress.Codec

	merge   string // of a compaction: makes its files like no others
	inputs  string // of a compaction: metaReplaces
	fileMax int64  // bytes

	summedMin int64 // bytes of a file that gets sums
	done      func(*fileEntry, []byte) error

	chunk chunk
	group openGroup

	key  poolKey
	pool *sync.Pool
	w    *parquet.GenericWriter[any] // nil until the first chunk of a file is complete
	out  *bytes.Buffer
	file fileEntry
}

func (l *Lake) newWriter(t *table, user row.UserID, s *row.Schema, done func(*fileEntry, []byte) error) *writer {
	layout := newLayout(s)
	return &writer{
		t: t, user: user, layout: layout, codec: l.codec, fileMax: l.opts.FileBytesMax, done: done,
		summedMin: min(summedBytesMin, max(l.opts.PartialBytesMin, 1)),
		chunk:     newChunk(s.Columns, layout.leaves), group: openGroup{rowsMax: l.opts.RowGroupRows},
	}
}

// write adds one row; key and r are the caller's again when it returns.
func (w *writer) write(key []byte, r *row.Row) error {
	if err := w.layout.gather(&w.chunk, r); err != nil {
		return err
	}
	w.file.count(key, r)
	if w.chunk.full() || w.chunk.rows == w.group.rowsMax {
		return w.flushChunk()
	}
	return nil
}

// gather adds a row with its system columns to c, a chunk of l.
func (l *layout) gather(c *chunk, r *row.Row) error {
	if len(r.Values) != len(l.schema.Columns) {
		return corruptf("a row of schema version %d has %d values, expected %d", r.Schema, len(r.Values), len(l.schema.Columns))
	}
	if err := c.add(r.Values); err != nil {
		return err
	}
	add := func(leaf int, v parquet.Value) { c.values[leaf] = append(c.values[leaf], v) }
	add(l.seqLeaf(), parquet.Int64Value(int64(r.Seq)))
	add(l.updatedLeaf(), parquet.Int64Value(r.Updated))
	add(l.deletedLeaf(), parquet.BooleanValue(r.Deleted))
	return nil
}

// count takes note of a row that the file gets, behind all that it has.
func (f *fileEntry) count(key []byte, r *row.Row) {
	if f.Rows == 0 {
		f.MinSeq, f.MaxSeq, f.MinUpdated, f.MaxUpdated = r.Seq, r.Seq, r.Updated, r.Updated
		f.MinKey = append([]byte{}, key...)
		f.Schema = r.Schema
	}
	f.Rows++
	f.MinSeq, f.MaxSeq = min(f.MinSeq, r.Seq), max(f.MaxSeq, r.Seq)
	f.MinUpdated, f.MaxUpdated = min(f.MinUpdated, r.Updated), max(f.MaxUpdated, r.Updated)
	f.MaxKey = append(f.MaxKey[:0], key...)
	if r.Deleted {
		f.Deleted++
	}
}

// flushChunk gives the chunk to the Parquet writer, and ends a row group or a
// file that is large enough.
func (w *writer) flushChunk() error {
	if w.chunk.rows == 0 {
		return nil
	}
	if w.w == nil {
		w.open()
	}
	if ended, err := w.group.write(w.w, &w.chunk); !ended {
		return err
	}
	if w.w.Size() >= w.fileMax {
		return w.closeFile()
	}
	return nil
}

// open takes a Parquet writer for the next file.
func (w *writer) open() {
	w.key = poolKey{w.layout.schema.Version, w.chunk.shape(), w.merge != ""}
	w.pool = w.t.pool(w.key)
	w.out = &bytes.Buffer{}
	if pooled, ok := w.pool.Get().(*parquet.GenericWriter[any]); ok {
		w.w = pooled
		w.w.Reset(w.out)
		return
	}
	w.w = parquet.NewGenericWriter[any](w.out, w.layout.options(w.key.shape, w.codec, false)...)
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

	if int64(len(body)) >= w.summedMin {
		var err error
		if body, err = withSums(body); err != nil {
			return err
		}
		if f.Footer, err = footerOf(body); err != nil {
			return err
		}
	}
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

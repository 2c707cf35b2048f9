package lake

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"

	"github.com/parquet-go/parquet-go"

	"kalamdb/row"
)

// A reader is a file parsed for lookups by primary key: footer, page index and bloom
// filters in memory, pages read when needed. It is safe for concurrent use.
//
// It belongs to a copy of the cache; who uses it holds that copy. users and
// closing are guarded by the cache's mutex: a reader that is dropped while it is
// used is closed by its last user.
type reader struct {
	layout *layout
	file   *os.File
	groups []rowGroup
	bytes  int64 // of memory, roughly

	users   int
	closing bool
}

// A rowGroup is one row group of a reader.
type rowGroup struct {
	rows     int64
	chunks   []parquet.ColumnChunk
	min, max []byte                // of the first primary-key column, as row.AppendKey writes it; nil if unknown
	blooms   []parquet.BloomFilter // by key column, nil if it has none
}

func openReader(path string, l *layout) (*reader, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := parse(file, l)
	if err != nil {
		file.Close()
		return nil, err
	}
	return r, nil
}

func parse(file *os.File, l *layout) (*reader, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	pf, err := parquet.OpenFile(file, info.Size(), parquet.PrefetchBloomFilters(true))
	if err != nil {
		return nil, corruptf("%v", err)
	}
	r := &reader{layout: l, file: file}
	if r.groups, err = rowGroups(pf, l); err != nil {
		return nil, err
	}
	for g := range r.groups {
		rg := &r.groups[g]
		r.bytes += int64(1024 * len(rg.chunks))
		for i, leaf := range l.key {
			if bloomed(l.leaves[leaf].typ) {
				rg.blooms[i] = rg.chunks[leaf].BloomFilter()
				if rg.blooms[i] != nil {
					r.bytes += 2 * rg.blooms[i].Size()
				}
			}
		}
	}
	return r, nil
}

// rowGroups are the row groups of a file, without bloom filters.
func rowGroups(pf *parquet.File, l *layout) ([]rowGroup, error) {
	var groups []rowGroup
	for _, g := range pf.RowGroups() {
		rg := rowGroup{rows: g.NumRows(), chunks: g.ColumnChunks(), blooms: make([]parquet.BloomFilter, len(l.key))}
		if len(rg.chunks) != len(l.leaves) {
			return nil, corruptf("%d columns, expected %d", len(rg.chunks), len(l.leaves))
		}
		first := l.key[0]
		if t := l.leaves[first].typ; ordered(t) {
			if chunk, ok := rg.chunks[first].(*parquet.FileColumnChunk); ok {
				if lo, hi, ok := chunk.Bounds(); ok {
					rg.min, rg.max = row.AppendKey(nil, scalarOf(t, lo)), row.AppendKey(nil, scalarOf(t, hi))
				}
			}
		}
		groups = append(groups, rg)
	}
	return groups, nil
}

// acquire is the reader of the copy e, which the caller holds. Every acquire is
// followed by a drop.
func (c *cache) acquire(e *cached, s *row.Schema) (*reader, error) {
	c.mu.Lock()
	if r := e.reader; r != nil {
		r.users++
		c.readers.MoveToBack(e.inRead)
		c.mu.Unlock()
		return r, nil
	}
	c.mu.Unlock()
	r, err := openReader(e.path, newLayout(s))
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r.users = 1
	if e.reader != nil { // somebody was faster; ours serves once
		r.closing = true
		return r, nil
	}
	e.reader, e.inRead = r, c.readers.PushBack(e)
	for c.parsed += r.bytes; c.parsed > readerBytesMax && c.readers.Len() > 1; {
		c.closeReader(c.readers.Front().Value.(*cached))
	}
	return r, nil
}

// drop ends the use of r.
func (c *cache) drop(r *reader) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.users--; r.users == 0 && r.closing {
		r.file.Close()
	}
}

// closeReader takes the reader from e, if it has one. c.mu is held.
func (c *cache) closeReader(e *cached) {
	r := e.reader
	if r == nil {
		return
	}
	c.readers.Remove(e.inRead)
	e.reader, e.inRead = nil, nil
	c.parsed -= r.bytes
	if r.closing = true; r.users == 0 {
		r.file.Close()
	}
}

// close ends the readers. The copies stay for the next openCache to remove.
func (c *cache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.readers.Len() > 0 {
		c.closeReader(c.readers.Front().Value.(*cached))
	}
}

// scalarOf is the inverse of writer.scalar. The text of the result is its own.
func scalarOf(t row.Type, v parquet.Value) row.Value {
	switch t.Kind {
	case row.Boolean:
		return row.BoolValue(v.Boolean())
	case row.SmallInt, row.Int, row.Date:
		return row.IntValue(t.Kind, int64(v.Int32()))
	case row.BigInt, row.Time, row.Timestamp:
		return row.IntValue(t.Kind, v.Int64())
	case row.Float:
		return row.FloatValue(v.Float())
	case row.Double:
		return row.DoubleValue(v.Double())
	case row.Decimal:
		n := int64(0)
		switch {
		case t.Precision <= int32DigitsMax:
			n = int64(v.Int32())
		case t.Precision <= int64DigitsMax:
			n = v.Int64()
		default:
			b := v.ByteArray()
			return row.DecimalValue(int64(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint64(b[8:]), t.Scale)
		}
		return row.DecimalValue(n>>63, uint64(n), t.Scale)
	case row.UUID:
		return row.UUIDValue([16]byte(v.ByteArray()))
	case row.Text:
		return row.TextValue(string(v.ByteArray()))
	case row.JSON:
		return row.JSONValue(string(v.ByteArray()))
	case row.Bytes:
		return row.BytesValue(v.ByteArray())
	}
	panic("lake: broken invariant: a column of type " + t.String())
}

// valueOf is the value of one row of a column, from all its Parquet values.
func valueOf(lf *leaf, vs []parquet.Value) row.Value {
	t := lf.typ
	switch t.Kind {
	case row.List:
		if vs[0].DefinitionLevel() == 0 {
			return row.NullValue
		}
		var elems []row.Value
		for _, v := range vs {
			switch v.DefinitionLevel() {
			case 2:
				elems = append(elems, row.NullValue)
			case 3:
				elems = append(elems, scalarOf(t.ElemType(), v))
			}
		}
		return row.ListValue(elems)
	case row.Embedding:
		if vs[0].DefinitionLevel() == 0 {
			return row.NullValue
		}
		floats := make([]float32, len(vs))
		for i, v := range vs {
			floats[i] = v.Float()
		}
		return row.EmbeddingValue(floats)
	}
	if vs[0].IsNull() {
		return row.NullValue
	}
	return scalarOf(t, vs[0])
}

// keyValue is the key value v of type t as statistics and bloom filters of its column know it.
func keyValue(t row.Type, v row.Value) parquet.Value {
	switch t.Kind {
	case row.Boolean:
		return parquet.BooleanValue(v.Bool())
	case row.SmallInt, row.Int, row.Date:
		return parquet.Int32Value(int32(v.Int()))
	case row.BigInt, row.Time, row.Timestamp:
		return parquet.Int64Value(v.Int())
	case row.Decimal:
		hi, lo := v.Halves()
		switch {
		case t.Precision <= int32DigitsMax:
			return parquet.Int32Value(int32(lo))
		case t.Precision <= int64DigitsMax:
			return parquet.Int64Value(int64(lo))
		}
		return parquet.FixedLenByteArrayValue(bytes128(hi, lo))
	case row.UUID:
		hi, lo := v.Halves()
		return parquet.FixedLenByteArrayValue(bytes128(hi, lo))
	case row.Text, row.Bytes:
		return parquet.ByteArrayValue([]byte(v.Str()))
	}
	return parquet.Value{} // has neither
}

func bytes128(hi int64, lo uint64) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, decimalBytes), uint64(hi))
	return binary.BigEndian.AppendUint64(b, lo)
}

// A target is a wanted key with what its lookup in files of one layout needs.
type target struct {
	key    []byte
	first  []byte          // its first column alone
	values []parquet.Value // by key column
}

func newTarget(types []row.Type, key []byte) (target, error) {
	values, err := row.DecodeKey(types, key)
	if err != nil {
		return target{}, err
	}
	t := target{key: key, first: row.AppendKey(nil, values[0]), values: make([]parquet.Value, len(values))}
	for i, v := range values {
		t.values[i] = keyValue(types[i], v)
	}
	return t, nil
}

// may says whether g can hold the target: false is certain.
func (g *rowGroup) may(t *target) (bool, error) {
	if g.min != nil && (bytes.Compare(t.first, g.min) < 0 || bytes.Compare(t.first, g.max) > 0) {
		return false, nil
	}
	for i, f := range g.blooms {
		if f == nil {
			continue
		}
		ok, err := f.Check(t.values[i])
		if err != nil {
			return false, fmt.Errorf("read bloom filter: %w", err)
		}
		if !ok {
			return false, nil
		}
	}
	return true, nil
}

// span are the rows of g whose pages can hold the first key column of any of the
// targets (ascending), by the page index.
func (g *rowGroup) span(l *layout, targets []target) (from, to int64) {
	first := l.key[0]
	t := l.leaves[first].typ
	index, err := g.chunks[first].ColumnIndex()
	if err != nil || !ordered(t) {
		return 0, g.rows
	}
	offsets, err := g.chunks[first].OffsetIndex()
	if err != nil || offsets.NumPages() != index.NumPages() {
		return 0, g.rows
	}
	lo, hi := targets[0].values[0], targets[len(targets)-1].values[0]
	compare := g.chunks[first].Type().Compare
	from, to = math.MaxInt64, 0
	for p := range index.NumPages() {
		if compare(index.MaxValue(p), lo) < 0 || compare(index.MinValue(p), hi) > 0 {
			continue
		}
		end := g.rows
		if p+1 < index.NumPages() {
			end = offsets.FirstRowIndex(p + 1)
		}
		from, to = min(from, offsets.FirstRowIndex(p)), max(to, end)
	}
	return min(from, to), to
}

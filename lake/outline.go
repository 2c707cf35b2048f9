package lake

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"kalamdb/row"
)

// A Footer says how long the footer of a file is, with the 8 bytes behind it, and what its
// SHA-256 is. A file whose entry has one can be read in part: the footer has the CRC-32C of
// every column chunk and of every bloom filter under metaChunks and metaBlooms.
type Footer struct {
	Bytes    int64  `json:"bytes"`
	Checksum string `json:"sha256"`
}

// The sums of a file: of each column chunk, row group by row group, 4 bytes big-endian in
// base64, and of each bloom filter in the order of their chunks.
const (
	metaChunks = "kalamdb.chunks"
	metaBlooms = "kalamdb.blooms"
)

// summedBytesMin is how large a file is at least that gets sums.
const summedBytesMin = 1 << 20

const (
	footerTail = 8 // the length of the footer, and PAR1
	parMagic   = "PAR1"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// withSums is the complete Parquet file body with the sums in its footer.
func withSums(body []byte) ([]byte, error) {
	start, err := footerStart(body)
	if err != nil {
		return nil, err
	}
	var meta format.FileMetaData
	if err := thrift.Unmarshal(&thrift.CompactProtocol{}, body[start:len(body)-footerTail], &meta); err != nil {
		return nil, fmt.Errorf("read the footer: %w", err)
	}
	var chunks, blooms []byte
	for g := range meta.RowGroups {
		for c := range meta.RowGroups[g].Columns {
			s := spanOf(&meta.RowGroups[g].Columns[c].MetaData)
			chunks = binary.BigEndian.AppendUint32(chunks, crc32.Checksum(body[s.from:s.from+s.n], castagnoli))
			if b := bloomSpan(&meta.RowGroups[g].Columns[c].MetaData); b.n > 0 {
				blooms = binary.BigEndian.AppendUint32(blooms, crc32.Checksum(body[b.from:b.from+b.n], castagnoli))
			}
		}
	}
	meta.KeyValueMetadata = append(meta.KeyValueMetadata,
		format.KeyValue{Key: metaChunks, Value: base64.StdEncoding.EncodeToString(chunks)},
		format.KeyValue{Key: metaBlooms, Value: base64.StdEncoding.EncodeToString(blooms)})
	return appendFooter(body[:start], &meta)
}

// appendFooter ends the Parquet file b.
func appendFooter(b []byte, meta *format.FileMetaData) ([]byte, error) {
	footer, err := thrift.Marshal(&thrift.CompactProtocol{}, meta)
	if err != nil {
		return nil, fmt.Errorf("write the footer: %w", err)
	}
	b = append(b, footer...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(footer)))
	return append(b, parMagic...), nil
}

// footerStart is where the footer of the Parquet file body begins.
func footerStart(body []byte) (int, error) {
	if len(body) < len(parMagic)+footerTail || string(body[len(body)-4:]) != parMagic {
		return 0, corruptf("%d bytes without the end of a Parquet file", len(body))
	}
	start := len(body) - footerTail - int(binary.LittleEndian.Uint32(body[len(body)-footerTail:]))
	if start < len(parMagic) {
		return 0, corruptf("a footer longer than the file")
	}
	return start, nil
}

// footerOf is the Footer of a file, zero if the file has no sums.
func footerOf(body []byte) (Footer, error) {
	start, err := footerStart(body)
	if err != nil || !bytes.Contains(body[start:], []byte(metaChunks)) {
		return Footer{}, err
	}
	sum := sha256.Sum256(body[start:])
	return Footer{Bytes: int64(len(body) - start), Checksum: hex.EncodeToString(sum[:])}, nil
}

// A span is n bytes of a file.
type span struct{ from, n int64 }

// spanOf is where the pages of a column chunk are.
func spanOf(m *format.ColumnMetaData) span {
	from := m.DataPageOffset
	if d := m.DictionaryPageOffset; d > 0 && d < from {
		from = d
	}
	return span{from, m.TotalCompressedSize}
}

func bloomSpan(m *format.ColumnMetaData) span {
	return span{m.BloomFilterOffset, int64(m.BloomFilterLength)}
}

// An outline is the footer of a large file, from which parts of the file are chosen. Only
// bloom filters come to it later.
type outline struct {
	file   *parquet.File
	meta   *format.FileMetaData
	layout *layout
	groups []rowGroup
	sums   []uint32 // by chunk: row group × leaves + leaf
	blooms map[int]uint32
	bytes  int64 // of memory, roughly
}

// newOutline reads the footer of f, which has been compared with f.Footer.
func newOutline(f *File, footer []byte, l *layout) (*outline, error) {
	pf, err := parquet.OpenFile(&island{footer, f.Bytes - int64(len(footer))}, f.Bytes,
		parquet.SkipMagicBytes(true), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, corruptf("%s: %v", f.Name, err)
	}
	o := &outline{file: pf, meta: pf.Metadata(), layout: l, blooms: map[int]uint32{}}
	if o.groups, err = rowGroups(pf, l); err != nil {
		return nil, err
	}
	sums := func(key string) (list []uint32, err error) {
		text, _ := pf.Lookup(key)
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(b)%4 != 0 {
			return nil, corruptf("%s: %s is %q", f.Name, key, text)
		}
		for ; len(b) > 0; b = b[4:] {
			list = append(list, binary.BigEndian.Uint32(b))
		}
		return list, nil
	}
	if o.sums, err = sums(metaChunks); err != nil {
		return nil, err
	}
	if len(o.sums) != len(o.groups)*len(l.leaves) {
		return nil, corruptf("%s: %d sums of %d column chunks", f.Name, len(o.sums), len(o.groups)*len(l.leaves))
	}
	blooms, err := sums(metaBlooms)
	if err != nil {
		return nil, err
	}
	for i := range o.sums {
		if s := o.span(i); s.from < 0 || s.n < 0 || s.from+s.n > f.Bytes {
			return nil, corruptf("%s: a column chunk outside the file", f.Name)
		}
		if bloomSpan(o.chunk(i)).n > 0 && len(blooms) > 0 {
			o.blooms[i], blooms = blooms[0], blooms[1:]
		}
	}
	o.bytes = int64(len(footer) + 1024*len(o.sums))
	return o, nil
}

func (o *outline) chunk(i int) *format.ColumnMetaData {
	n := len(o.layout.leaves)
	return &o.meta.RowGroups[i/n].Columns[i%n].MetaData
}

func (o *outline) span(i int) span { return spanOf(o.chunk(i)) }

// An island is a piece of a file; the rest of it cannot be read.
type island struct {
	b    []byte
	from int64
}

func (i *island) ReadAt(b []byte, off int64) (int, error) {
	if off < i.from || off >= i.from+int64(len(i.b)) {
		return 0, fmt.Errorf("byte %d has not been fetched", off)
	}
	n := copy(b, i.b[off-i.from:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// A selection is the part of a file with some of its columns in some of its row groups.
type selection struct{ groups, leaves []bool }

func (o *outline) nothing() selection {
	return selection{make([]bool, len(o.groups)), make([]bool, len(o.layout.leaves))}
}

// covers says whether s has all of t.
func (s selection) covers(t selection) bool {
	for _, p := range [][2][]bool{{s.groups, t.groups}, {s.leaves, t.leaves}} {
		for i, wanted := range p[1] {
			if wanted && !p[0][i] {
				return false
			}
		}
	}
	return true
}

// chunks are the positions of the column chunks of s, ascending.
func (s selection) chunks() []int {
	var list []int
	for g, ok := range s.groups {
		if !ok {
			continue
		}
		for l, ok := range s.leaves {
			if ok {
				list = append(list, g*len(s.leaves)+l)
			}
		}
	}
	return list
}

// A Part says which columns of a file somebody reads, and of which keys.
type Part struct {
	Columns  []row.ColumnID // nil: all
	From, To []byte         // From ≤ key < To; nil: no bound
}

// choose is the selection for p.
func (o *outline) choose(p *Part) selection {
	s := o.nothing()
	for i := range s.leaves {
		s.leaves[i] = p.Columns == nil
	}
	for _, id := range p.Columns {
		if i := o.layout.leafOf(id); i >= 0 {
			s.leaves[i] = true
		}
	}
	if !s.any() {
		s.leaves[o.layout.deletedLeaf()] = true // a row group has a column
	}
	for i := range o.groups {
		g := &o.groups[i]
		below := g.min != nil && p.From != nil && bytes.Compare(g.max, p.From) < 0 && !bytes.HasPrefix(p.From, g.max)
		above := g.min != nil && p.To != nil && bytes.Compare(g.min, p.To) >= 0
		s.groups[i] = !below && !above
	}
	return s
}

func (s selection) any() bool {
	for _, ok := range s.leaves {
		if ok {
			return true
		}
	}
	return false
}

// leafOf is the leaf of a column, -1 if the layout has no such column.
func (l *layout) leafOf(id row.ColumnID) int {
	switch id {
	case row.IDSeq:
		return l.seqLeaf()
	case row.IDUpdated:
		return l.updatedLeaf()
	case row.IDDeleted:
		return l.deletedLeaf()
	}
	for i, c := range l.schema.Columns {
		if c.ID == id {
			return i
		}
	}
	return -1
}

// excerpt is the metadata of a file that has the chunks of s and nothing else, one behind
// the other; at says where, by chunk.
func (o *outline) excerpt(s selection) (meta *format.FileMetaData, at map[int]int64) {
	old := o.meta
	meta = &format.FileMetaData{Version: old.Version, CreatedBy: old.CreatedBy}
	meta.Schema = append(meta.Schema, old.Schema[0])
	columns := int32(0)
	for i, next := 0, 1; i < len(s.leaves); i++ {
		from := next
		for open := 1; open > 0; next++ {
			open--
			if n := old.Schema[next].NumChildren; n.Valid {
				open += int(n.V)
			}
		}
		if s.leaves[i] {
			columns++
			meta.Schema = append(meta.Schema, old.Schema[from:next]...)
			if len(old.ColumnOrders) > i {
				meta.ColumnOrders = append(meta.ColumnOrders, old.ColumnOrders[i])
			}
		}
	}
	meta.Schema[0].NumChildren.V = columns
	at = map[int]int64{}
	end := int64(len(parMagic))
	for g, ok := range s.groups {
		if !ok {
			continue
		}
		was := &old.RowGroups[g]
		group := format.RowGroup{NumRows: was.NumRows, FileOffset: end, Ordinal: int16(len(meta.RowGroups))}
		for l, ok := range s.leaves {
			if !ok {
				continue
			}
			c := was.Columns[l]
			c.ColumnIndexOffset, c.ColumnIndexLength, c.OffsetIndexOffset, c.OffsetIndexLength = 0, 0, 0, 0
			m := &c.MetaData
			chunk := spanOf(m)
			at[g*len(s.leaves)+l] = end
			move := end - chunk.from
			m.DataPageOffset += move
			if m.DictionaryPageOffset > 0 {
				m.DictionaryPageOffset += move
			}
			m.BloomFilterOffset, m.BloomFilterLength = 0, 0
			c.FileOffset = 0
			end += chunk.n
			group.TotalByteSize += m.TotalUncompressedSize
			group.TotalCompressedSize += m.TotalCompressedSize
			group.Columns = append(group.Columns, c)
		}
		meta.NumRows += group.NumRows
		meta.RowGroups = append(meta.RowGroups, group)
	}
	return meta, at
}

package lake

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"

	"kalamdb/row"
	"kalamdb/storagelocations"
)

// merge writes the outputs of c and puts them, without making them count. Its memory is
// a page of every column of the inputs that lie over one key, and an output.
func (l *Lake) merge(ctx context.Context, t *table, c *compaction) error {
	c.change = change{User: c.user}
	w := l.newWriter(t, c.user, c.schema, func(f *fileEntry, body []byte) error {
		c.change.Added = append(c.change.Added, *f) // also if the put fails: it may be there
		if _, err := t.bucket.Put(ctx, f.Name, body, storagelocations.Cond{}); err != nil {
			return err
		}
		c.rowsOut += f.Rows
		c.bytes += f.Bytes
		l.cache.admit(t.bucket, f, body)
		return nil
	})
	w.merge = randomName()
	var replaces []string
	for _, f := range slices.Concat(c.inputs, t.deadSlices(c.user)) {
		replaces = append(replaces, hashOf(f.Name))
	}
	w.inputs = strings.Join(replaces, " ")

	var h cursors
	defer func() {
		for _, cur := range h {
			cur.close(l)
		}
	}()
	for _, f := range c.inputs {
		h = append(h, &cursor{file: f, key: f.MinKey})
		c.change.Removed = append(c.change.Removed, f.Name)
	}
	heap.Init(&h)
	var last []byte
	for n := 0; len(h) > 0; n++ {
		if n%1024 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			if t.isDropped() {
				return errGone
			}
		}
		cur := h[0]
		switch {
		case cur.groups == nil:
			if err := cur.open(ctx, l, t, c.schema); err != nil {
				return fmt.Errorf("read %s: %w", cur.file.Name, err)
			}
		case last == nil || !bytes.Equal(cur.key, last): // the newest version
			last = append(last[:0], cur.key...)
			if c.drops(cur) {
				break
			}
			if err := w.write(cur.key, cur.row); err != nil {
				return err
			}
		}
		more, err := cur.next()
		if err != nil {
			return fmt.Errorf("read %s: %w", cur.file.Name, err)
		}
		if more {
			heap.Fix(&h, 0)
		} else {
			heap.Pop(&h)
			cur.close(l)
		}
	}
	return w.finish()
}

// drops says whether the row of cur, the newest version of its key among the inputs, can go
// for good: it is a deletion past the retention, and no file that stays has an older
// version, which would come back. What is flushed later is newer, see Through.
func (c *compaction) drops(cur *cursor) bool {
	return cur.row.Deleted && cur.row.Updated <= c.cutoff && !slices.ContainsFunc(c.others, func(f *File) bool {
		return f.MinSeq < cur.row.Seq && bytes.Compare(f.MinKey, cur.key) <= 0 && bytes.Compare(f.MaxKey, cur.key) >= 0
	})
}

// A cursor walks the rows of one input. Before it is opened it stands at the first key.
type cursor struct {
	file *File
	key  []byte
	row  *row.Row // in the schema of the output

	copy    *cached
	in      *os.File
	layout  *layout
	mapping *row.Mapping
	groups  []parquet.RowGroup // not begun yet; nil before open
	columns []column           // of the current one
	left    int64              // rows of it
	read    int64              // rows of the file
	own     row.Row
	scratch []byte
}

// cursors is a heap: the smallest key first, of one key first those that are not open, then the newest.
type cursors []*cursor

func (h cursors) Len() int      { return len(h) }
func (h cursors) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *cursors) Push(x any)   { *h = append(*h, x.(*cursor)) }

func (h *cursors) Pop() any {
	last := len(*h) - 1
	c := (*h)[last]
	*h = (*h)[:last]
	return c
}

func (h cursors) Less(i, j int) bool {
	a, b := h[i], h[j]
	if n := bytes.Compare(a.key, b.key); n != 0 {
		return n < 0
	}
	if a.groups == nil || b.groups == nil {
		return a.groups == nil && b.groups != nil
	}
	return a.row.Seq > b.row.Seq
}

// open gets the file, whose checksum the cache verifies.
func (c *cursor) open(ctx context.Context, l *Lake, t *table, to *row.Schema) (err error) {
	s := l.schemaAt(t, c.file.SchemaVersion)
	if s == nil {
		return corruptf("schema version %d, which the table never had", c.file.SchemaVersion)
	}
	c.layout = newLayout(s)
	c.mapping = row.NewMapping(to, func(version uint32) *row.Schema { return l.schemaAt(t, version) })
	if c.copy, err = l.local(ctx, c.file); err != nil {
		return err
	}
	if c.in, err = os.Open(c.copy.path); err != nil {
		return err
	}
	info, err := c.in.Stat()
	if err != nil {
		return err
	}
	f, err := parquet.OpenFile(c.in, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return corruptf("%v", err)
	}
	c.groups = append([]parquet.RowGroup{}, f.RowGroups()...)
	c.own = row.Row{Schema: s.Version, Values: make([]row.Value, len(s.Columns))}
	c.key = nil
	return nil
}

// close lets go of the file.
func (c *cursor) close(l *Lake) {
	for i := range c.columns {
		c.columns[i].close()
	}
	if c.in != nil {
		c.in.Close()
	}
	if c.copy != nil {
		l.cache.release(c.copy)
	}
	c.columns, c.in, c.copy = nil, nil, nil
}

// next goes to the next row. It holds the file to what the log says of it.
func (c *cursor) next() (more bool, err error) {
	for c.left == 0 {
		if len(c.groups) == 0 {
			if c.read != c.file.Rows || !bytes.Equal(c.key, c.file.MaxKey) {
				return false, corruptf("%d rows up to another key, the log says %d", c.read, c.file.Rows)
			}
			return false, nil
		}
		if err := c.begin(); err != nil {
			return false, err
		}
	}
	c.left--
	c.read++
	r := &c.own
	for i := range c.columns {
		vs, err := c.columns[i].next()
		if err != nil {
			return false, err
		}
		c.layout.leaves[i].set(r, vs)
	}
	key := c.scratch[:0]
	for _, i := range c.layout.key {
		key = row.AppendKey(key, r.Values[i])
	}
	switch {
	case c.read > 1 && bytes.Compare(c.key, key) >= 0, c.read == 1 && !bytes.Equal(key, c.file.MinKey):
		return false, corruptf("row %d has a key out of order", c.read)
	case r.Seq < c.file.MinSeq || r.Seq > c.file.MaxSeq:
		return false, corruptf("row %d has the Seq %d, the log says %d to %d", c.read, r.Seq, c.file.MinSeq, c.file.MaxSeq)
	}
	c.key, c.scratch = key, c.key
	c.row, err = c.mapping.Row(r)
	return err == nil, err
}

// begin opens the columns of the next row group.
func (c *cursor) begin() error {
	g := c.groups[0]
	c.groups = c.groups[1:]
	chunks := g.ColumnChunks()
	if len(chunks) != len(c.layout.leaves) {
		return corruptf("%d columns, expected %d", len(chunks), len(c.layout.leaves))
	}
	for i := range c.columns {
		c.columns[i].close()
	}
	c.columns = make([]column, len(chunks))
	for i := range chunks {
		k := c.layout.leaves[i].typ.Kind
		c.columns[i] = column{pages: chunks[i].Pages(), repeated: k == row.List || k == row.Embedding}
	}
	c.left = g.NumRows()
	return nil
}

// A column reads the values of one column chunk, row by row.
type column struct {
	pages    parquet.Pages
	repeated bool
	page     parquet.Page
	values   parquet.ValueReader
	chunk    []parquet.Value // read ahead: good as long as page is
	at       int
	row      []parquet.Value // of a repeated column, with memory of its own
}

const columnReadAhead = 128 // values

// next are the values of the next row, good until the next call.
func (c *column) next() ([]parquet.Value, error) {
	ok, err := c.fill()
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, corruptf("a column ends early")
	}
	c.at++
	if !c.repeated {
		return c.chunk[c.at-1 : c.at], nil
	}
	c.row = append(c.row[:0], c.chunk[c.at-1].Clone())
	for {
		if ok, err = c.fill(); err != nil {
			return nil, err
		}
		if !ok || c.chunk[c.at].RepetitionLevel() == 0 {
			return c.row, nil
		}
		c.row = append(c.row, c.chunk[c.at].Clone())
		c.at++
	}
}

// fill makes sure that there is a value at c.at; false is the end.
func (c *column) fill() (bool, error) {
	for c.at == len(c.chunk) {
		if c.page == nil {
			p, err := c.pages.ReadPage()
			if errors.Is(err, io.EOF) {
				return false, nil
			}
			if err != nil {
				return false, corruptf("read page: %v", err)
			}
			c.page, c.values = p, p.Values()
		}
		if c.chunk == nil {
			c.chunk = make([]parquet.Value, columnReadAhead)
		}
		n, err := c.values.ReadValues(c.chunk[:cap(c.chunk)])
		c.chunk, c.at = c.chunk[:n], 0
		if n == 0 {
			if err != nil && !errors.Is(err, io.EOF) {
				return false, corruptf("read values: %v", err)
			}
			parquet.Release(c.page)
			c.page = nil
		}
	}
	return true, nil
}

func (c *column) close() {
	if c.pages != nil {
		parquet.Release(c.page)
		c.pages.Close()
		c.pages, c.page = nil, nil
	}
}

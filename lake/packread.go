package lake

import (
	"bytes"
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/parquet-go/parquet-go"

	"kalamdb/row"
	"kalamdb/storagelocations"
)

// How a slice is read: the footer of its pack and the row group that it is in are copies of
// the cache, so that the neighbours find them there; the file of the slice is made from
// them and is a copy too. What has been read of a pack are keys of the cache that begin
// with that of the pack.

func (f *packState) key(b storagelocations.Bucket, part string) string {
	return cacheKey(b, f.name) + "\x00" + part
}

// copyKey is the key of the local copy of f, of a slice that of the file made of it.
func (f *File) copyKey(b storagelocations.Bucket) string {
	if f.pack == nil {
		return cacheKey(b, f.Name)
	}
	return f.pack.key(b, "user "+string(f.Partition.User))
}

// forgetCopies drops all that is cached of an object that is gone for good.
func (l *Lake) forgetCopies(b storagelocations.Bucket, name string) {
	l.cache.forget(b, name)
	if isPack(name) {
		l.cache.forgetPartsOf(b, name)
		l.packs.forget(cacheKey(b, name))
	}
}

// sliceCopy holds the local copy of the slice f.
func (l *Lake) sliceCopy(ctx context.Context, b storagelocations.Bucket, f *File) (*cached, error) {
	return l.cache.obtain(ctx, f.copyKey(b), func(ctx context.Context, path string) (fetched, error) {
		n, err := l.makeSlice(ctx, b, f, path)
		if err != nil {
			err = fmt.Errorf("%s: %w", f.Name, err)
		}
		return fetched{bytes: n}, err
	})
}

// makeSlice makes path a file with the rows of the slice f, and holds them to what the log says.
func (l *Lake) makeSlice(ctx context.Context, b storagelocations.Bucket, f *File, path string) (size int64, err error) {
	t := l.table(f.Partition.Table.ID)
	if t == nil {
		return 0, ErrUnknownTable
	}
	s := l.schemaAt(t, f.SchemaVersion)
	if s == nil {
		return 0, corruptf("schema version %d, which the table never had", f.SchemaVersion)
	}
	part := strings.TrimSuffix(path, copySuffix) + partSuffix
	defer func() {
		if err != nil {
			os.Remove(part)
		}
	}()
	w := l.newWriter(t, f.Partition.User, s, func(made *fileEntry, body []byte) error {
		if made.Rows != f.Rows || made.Deleted != f.Deleted || made.MinSeq != f.MinSeq || made.MaxSeq != f.MaxSeq ||
			made.MinUpdated != f.MinUpdated || made.MaxUpdated != f.MaxUpdated || !bytes.Equal(made.MinKey, f.MinKey) || !bytes.Equal(made.MaxKey, f.MaxKey) {
			return corruptf("the rows of %s are others than the log says", f.Partition)
		}
		size = made.Bytes
		return os.WriteFile(part, body, 0o400)
	})
	w.fileMax = math.MaxInt64
	var key []byte
	if err := l.eachOfSlice(ctx, b, f, s, func(r *row.Row) error {
		key = key[:0]
		for _, i := range w.layout.key {
			key = row.AppendKey(key, r.Values[i])
		}
		return w.write(key, r)
	}); err != nil {
		return 0, err
	}
	if err := w.finish(); err != nil {
		return 0, err
	}
	return size, os.Rename(part, path)
}

// eachOfSlice yields the rows of the slice f, which are of the schema s. The row is used again.
func (l *Lake) eachOfSlice(ctx context.Context, b storagelocations.Bucket, f *File, s *row.Schema, yield func(*row.Row) error) error {
	p, err := l.packFooter(ctx, b, f.pack)
	if err != nil {
		return err
	}
	n, at, ok := p.directory.find(f.Partition.User)
	if !ok || at.Rows != f.Rows {
		return corruptf("its directory has %d rows of %s, the log %d", at.Rows, f.Partition, f.Rows)
	}
	e, err := l.packGroup(ctx, b, f.pack, p, n)
	if err != nil {
		return err
	}
	defer l.cache.release(e)
	in, err := os.Open(e.path)
	if err != nil {
		return err
	}
	defer in.Close()
	group := &p.directory.Groups[n]
	pf, err := parquet.OpenFile(&packPart{footer: p.body, group: in, offset: group.Offset, bytes: group.Bytes, size: f.pack.Bytes}, f.pack.Bytes,
		parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return corruptf("%v", err)
	}
	layout := newLayout(s)
	groups := pf.RowGroups()
	if len(groups) != len(p.directory.Groups) || len(groups[n].ColumnChunks()) != len(layout.leaves)+1 {
		return corruptf("its directory has %d row groups, and the schema %d columns; there are %d row groups of %d columns",
			len(p.directory.Groups), len(layout.leaves), len(groups), len(groups[n].ColumnChunks()))
	}
	columns := make([]column, len(layout.leaves)+1)
	defer func() {
		for i := range columns {
			columns[i].close()
		}
	}()
	for i, c := range groups[n].ColumnChunks() {
		columns[i].pages = c.Pages()
		if i > 0 {
			k := layout.leaves[i-1].typ.Kind
			columns[i].repeated = k == row.List || k == row.Embedding
		}
		if err := columns[i].pages.SeekToRow(at.First); err != nil {
			return corruptf("seek to row %d: %v", at.First, err)
		}
	}
	r := row.Row{Schema: s.Version, Values: make([]row.Value, len(s.Columns))}
	for range at.Rows {
		user, err := columns[0].next()
		if err != nil {
			return err
		}
		if string(user[0].ByteArray()) != string(f.Partition.User) {
			return corruptf("a row of another user among those of %s", f.Partition)
		}
		for i := range layout.leaves {
			vs, err := columns[i+1].next()
			if err != nil {
				return err
			}
			layout.leaves[i].set(&r, vs)
		}
		if err := yield(&r); err != nil {
			return err
		}
	}
	return nil
}

// packGroup holds a copy of row group n.
func (l *Lake) packGroup(ctx context.Context, b storagelocations.Bucket, pack *packState, p *packFooter, n int) (*cached, error) {
	g := &p.directory.Groups[n]
	return l.cache.obtain(ctx, pack.key(b, groupPart(n)), func(ctx context.Context, path string) (fetched, error) {
		return fetchRange(ctx, b, pack.name, g.Offset, g.Bytes, g.Checksum, path)
	})
}

func groupPart(n int) string { return "group " + strconv.Itoa(n) }

const footerPart = "footer"

// A packFooter is a footer that is what was written.
type packFooter struct {
	key       string
	body      []byte
	directory packDirectory
}

// packFooter is the footer of a pack.
func (l *Lake) packFooter(ctx context.Context, b storagelocations.Bucket, pack *packState) (*packFooter, error) {
	key := cacheKey(b, pack.name)
	if p := l.packs.get(key); p != nil {
		return p, nil
	}
	e, err := l.cache.obtain(ctx, pack.key(b, footerPart), func(ctx context.Context, path string) (fetched, error) {
		return fetchRange(ctx, b, pack.name, pack.Bytes-pack.Footer, pack.Footer, pack.checksum, path)
	})
	if err != nil {
		return nil, err
	}
	defer l.cache.release(e)
	body, err := os.ReadFile(e.path)
	if err != nil {
		return nil, err
	}
	p := &packFooter{key: key, body: body}
	if err := p.parse(); err != nil {
		return nil, err
	}
	l.packs.add(p)
	return p, nil
}

// parse reads the directory.
func (p *packFooter) parse() error {
	meta, _, err := splitFooter(append([]byte(parquetMagic), p.body...))
	if err != nil {
		return err
	}
	text := ""
	for _, kv := range meta.KeyValueMetadata {
		if kv.Key == metaPack {
			text = kv.Value
		}
	}
	if err := json.Unmarshal([]byte(text), &p.directory); err != nil {
		return corruptf("its directory: %v", err)
	}
	for i := range p.directory.Groups {
		if len(p.directory.Groups[i].Users) == 0 {
			return corruptf("its directory has a row group of nobody")
		}
	}
	return nil
}

// fetchRange makes path a verified copy of a part of an object.
func fetchRange(ctx context.Context, b storagelocations.Bucket, name string, off, n int64, checksum, path string) (fetched, error) {
	r, err := b.GetRange(ctx, name, off, n)
	if err != nil {
		return fetched{}, err
	}
	defer r.Close()
	body, err := io.ReadAll(io.LimitReader(r, n+1))
	if err != nil {
		return fetched{}, fmt.Errorf("get %s: %w", name, err)
	}
	if sum := sha256.Sum256(body); int64(len(body)) != n || hex.EncodeToString(sum[:]) != checksum {
		return fetched{}, fmt.Errorf("%s: %w: %d bytes from %d on have the checksum %x, expected %d with %s", name, ErrCorrupt, len(body), off, sum, n, checksum)
	}
	part := strings.TrimSuffix(path, copySuffix) + partSuffix
	if err = os.WriteFile(part, body, 0o400); err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		os.Remove(part)
	}
	return fetched{bytes: n, got: n}, err
}

// A packPart reads a pack of which only the footer and one row group are there.
type packPart struct {
	footer        []byte
	group         io.ReaderAt
	offset, bytes int64 // of the group
	size          int64
}

func (p *packPart) ReadAt(b []byte, off int64) (int, error) {
	end := off + int64(len(b))
	switch from := p.size - int64(len(p.footer)); {
	case off >= from && end <= p.size:
		return copy(b, p.footer[off-from:]), nil
	case off >= p.offset && end <= p.offset+p.bytes:
		return p.group.ReadAt(b, off-p.offset)
	case off == 0 && end == int64(len(parquetMagic)):
		return copy(b, parquetMagic), nil
	}
	return 0, corruptf("bytes %d to %d of a pack are neither in its footer nor in the row group", off, end)
}

// packFooters keeps the footers used last in memory.
type packFooters struct {
	mu   sync.Mutex // guards the fields below
	all  map[string]*list.Element
	used list.List // of *packFooter, longest unused first
}

const packFootersMax = 16

func (c *packFooters) get(key string) *packFooter {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.all[key]
	if e == nil {
		return nil
	}
	c.used.MoveToBack(e)
	return e.Value.(*packFooter)
}

func (c *packFooters) add(p *packFooter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all[p.key] != nil {
		return
	}
	if c.all == nil {
		c.all = map[string]*list.Element{}
	}
	c.all[p.key] = c.used.PushBack(p)
	if c.used.Len() > packFootersMax {
		delete(c.all, c.used.Remove(c.used.Front()).(*packFooter).key)
	}
}

func (c *packFooters) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.all[key]; e != nil {
		c.used.Remove(e)
		delete(c.all, key)
	}
}

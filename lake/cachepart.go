package lake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/parquet-go/parquet-go"
	"golang.org/x/sync/errgroup"

	"kalamdb/storagelocations"
)

// A divided is a large file of another machine, of which the cache has parts. Each part is
// a copy like all others: a whole Parquet file of its own, with the column chunks of one
// selection and a footer that names no others. It never changes, so whoever reads it cannot
// come upon bytes that have not been fetched. A selection that no part covers becomes a
// new part, made of the chunks that other parts have and of ranges of the object, each
// compared with its sum; the parts it covers leave the cache.
type divided struct {
	turn    chan struct{}    // has a value while nobody fetches of this file
	outline *outline         // of whose turn it is; nil until needed
	loaded  map[int]struct{} // chunks whose bloom filter the outline has; of whose turn it is
	bytes   atomic.Int64     // of the outline
	parts   []*cached        // guarded by cache.mu
}

// A part is what a copy has of its file.
type part struct {
	of  *divided
	sel selection
	at  map[int]int64 // where each chunk begins in the copy
}

const (
	rangeBytesMax = 8 << 20 // of a request, unless one chunk is larger
	rangesAtOnce  = 8       // requests for one file
)

// requests asks a bucket for ranges of objects and counts how often, and the bytes.
type requests struct {
	cost     int64 // of one, see Options.RequestBytes
	n, bytes atomic.Int64
}

// ranges reads the spans of an object, ascending, with few requests. use is called for each, from several goroutines.
func (q *requests) ranges(ctx context.Context, b storagelocations.Bucket, name string, spans []span, use func(i int, body []byte) error) error {
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(rangesAtOnce)
	first := 0
	for _, r := range q.coalesce(spans) {
		from := first
		for first < len(spans) && spans[first].from+spans[first].n <= r.from+r.n {
			first++
		}
		mine := spans[from:first]
		eg.Go(func() error {
			q.n.Add(1)
			body, err := b.GetRange(ctx, name, r.from, r.n)
			if err != nil {
				return err
			}
			defer body.Close()
			buf := make([]byte, r.n)
			n, err := io.ReadFull(body, buf)
			q.bytes.Add(int64(n))
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return corruptf("%s: %d bytes from %d on, expected %d", name, n, r.from, r.n)
			}
			if err != nil {
				return fmt.Errorf("get %s: %w", name, err)
			}
			for i, s := range mine {
				if err := use(from+i, buf[s.from-r.from:][:s.n]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return eg.Wait()
}

// coalesce are the requests that bring the spans, which are ascending.
func (q *requests) coalesce(spans []span) []span {
	var out []span
	for _, s := range spans {
		if len(out) > 0 {
			last := &out[len(out)-1]
			if end := s.from + s.n; s.from-(last.from+last.n) <= q.cost && end-last.from <= rangeBytesMax {
				last.n = end - last.from
				continue
			}
		}
		out = append(out, s)
	}
	return out
}

// A partChooser says what somebody needs of the file of o; no groups at all if it is nothing.
type partChooser func(ctx context.Context, d *divided, q *requests) (selection, error)

// divisible says whether f is read in part, if somebody needs only a part.
func (c *cache) divisible(b storagelocations.Bucket, f *File) bool {
	if f.Footer.Bytes == 0 || f.Bytes < c.partMin || c.partMin < 0 {
		return false
	}
	_, local := b.LocalPath(f.Name)
	return !local
}

// part holds a copy of f or of a part of it that has what choose wants; nil if that is nothing.
func (c *cache) part(ctx context.Context, b storagelocations.Bucket, f *File, l *layout, choose partChooser) (*cached, error) {
	key := cacheKey(b, f.Name)
	c.mu.Lock()
	if c.copies[key] != nil {
		c.mu.Unlock()
		return c.get(ctx, b, f)
	}
	d := c.divided[key]
	if d == nil {
		d = &divided{turn: make(chan struct{}, 1), loaded: map[int]struct{}{}}
		d.turn <- struct{}{}
		c.divided[key] = d
	}
	c.mu.Unlock()
	select {
	case <-d.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	e, whole, err := c.turn(ctx, b, f, l, d, choose)
	d.turn <- struct{}{}
	if !whole || err != nil {
		return e, err
	}
	if e, err = c.get(ctx, b, f); err == nil {
		c.mu.Lock()
		c.forgetParts(d.parts...)
		c.mu.Unlock()
	}
	return e, err
}

// turn is part for the one whose turn it is; whole says that all of the file is the better part.
func (c *cache) turn(ctx context.Context, b storagelocations.Bucket, f *File, l *layout, d *divided, choose partChooser) (e *cached, whole bool, err error) {
	q := requests{cost: c.requestBytes}
	sel, err := c.chosen(ctx, b, f, l, d, choose, &q)
	if err != nil && !isCorrupt(err) && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	c.counts.asked(&q)
	tallyOf(ctx).asked(&q)
	if err != nil || sel.groups == nil {
		return nil, false, err
	}
	o := d.outline
	wanted := sel.chunks()
	c.mu.Lock()
	for _, p := range d.parts {
		if p.part.sel.covers(sel) {
			c.hold(p)
			c.mu.Unlock()
			c.counts.hits.Add(1)
			tallyOf(ctx).hit()
			return p, false, nil
		}
	}
	donors := map[int]*cached{}
	var here int64
	for _, p := range d.parts {
		here += p.bytes
		used := false
		for _, i := range wanted {
			if _, ok := p.part.at[i]; ok && donors[i] == nil {
				donors[i], used = p, true
			}
		}
		if used {
			c.hold(p)
			defer c.release(p)
		}
	}
	c.mu.Unlock()

	var missing []int
	var spans []span
	for _, i := range wanted {
		if donors[i] == nil {
			missing, spans = append(missing, i), append(spans, o.span(i))
		}
	}
	cost := here
	for _, r := range q.coalesce(spans) {
		cost += r.n + c.requestBytes
	}
	if len(missing) > 0 && cost > f.Bytes/4*3 {
		return nil, true, nil
	}
	made := &part{of: d, sel: sel}
	e, err = c.obtain(ctx, cacheKey(b, f.Name)+"\x00"+randomName(), func(ctx context.Context, path string) (fetched, error) {
		q := requests{cost: c.requestBytes}
		n, err := c.excerpt(ctx, b, f, o, made, donors, missing, spans, path, &q)
		return fetched{bytes: n, got: q.bytes.Load(), requests: q.n.Load()}, err
	})
	if err != nil {
		return nil, false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e.part = made
	var covered []*cached
	for _, p := range d.parts {
		if sel.covers(p.part.sel) {
			covered = append(covered, p)
		}
	}
	c.forgetParts(covered...)
	d.parts = append(d.parts, e)
	return e, false, nil
}

// chosen is what choose wants of f, whose outline is there then.
func (c *cache) chosen(ctx context.Context, b storagelocations.Bucket, f *File, l *layout, d *divided, choose partChooser, q *requests) (selection, error) {
	if d.outline == nil {
		at := span{f.Bytes - f.Footer.Bytes, f.Footer.Bytes}
		err := q.ranges(ctx, b, f.Name, []span{at}, func(_ int, body []byte) error {
			if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != f.Footer.Checksum {
				return fmt.Errorf("%s: %w: its footer has the checksum %x, expected %s", f.Name, ErrCorrupt, sum, f.Footer.Checksum)
			}
			o, err := newOutline(f, body, l)
			d.outline = o
			return err
		})
		if err != nil {
			d.outline = nil
			return selection{}, err
		}
		c.outlined(d)
	}
	return choose(ctx, d, q)
}

// outlineBytesMax bounds the memory of the outlines, except for those in use.
const outlineBytesMax = 64 << 20

// outlined takes the outlines of other files out of memory if there are too many.
func (c *cache) outlined(d *divided) {
	d.bytes.Store(d.outline.bytes)
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := int64(0)
	for _, o := range c.divided {
		sum += o.bytes.Load()
	}
	for _, o := range c.divided {
		if sum <= outlineBytesMax {
			return
		}
		if o == d {
			continue
		}
		select {
		case <-o.turn: // nobody uses it
			sum -= o.bytes.Swap(0)
			o.outline, o.loaded = nil, map[int]struct{}{}
			o.turn <- struct{}{}
		default:
		}
	}
}

// excerpt writes the part to path, n bytes.
func (c *cache) excerpt(ctx context.Context, b storagelocations.Bucket, f *File, o *outline, p *part, donors map[int]*cached, missing []int, spans []span, path string, q *requests) (n int64, err error) {
	meta, at := o.excerpt(p.sel)
	p.at = at
	tmp := strings.TrimSuffix(path, copySuffix) + partSuffix
	out, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o400)
	if err != nil {
		return 0, err
	}
	defer func() {
		if closeErr := out.Close(); err == nil {
			err = closeErr
		}
		if err == nil {
			err = os.Rename(tmp, path)
		}
		if err != nil {
			os.Remove(tmp)
		}
	}()
	end := int64(len(parMagic))
	for i := range at {
		end = max(end, at[i]+o.span(i).n)
	}
	footer, err := appendFooter(nil, meta)
	if err != nil {
		return 0, err
	}
	if _, err := out.WriteAt([]byte(parMagic), 0); err != nil {
		return 0, err
	}
	if _, err := out.WriteAt(footer, end); err != nil {
		return 0, err
	}
	for i, donor := range donors {
		if err := copyChunk(out, at[i], donor, i, o.span(i).n); err != nil {
			return 0, err
		}
	}
	return end + int64(len(footer)), q.ranges(ctx, b, f.Name, spans, func(i int, body []byte) error {
		chunk := missing[i]
		if sum := crc32.Checksum(body, castagnoli); sum != o.sums[chunk] {
			return fmt.Errorf("%s: %w: column chunk %d has the CRC %08x, expected %08x", f.Name, ErrCorrupt, chunk, sum, o.sums[chunk])
		}
		_, err := out.WriteAt(body, at[chunk])
		return err
	})
}

// copyChunk copies the chunk i of n bytes from another part.
func copyChunk(out *os.File, at int64, donor *cached, i int, n int64) error {
	in, err := os.Open(donor.path)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = io.Copy(io.NewOffsetWriter(out, at), io.NewSectionReader(in, donor.part.at[i], n))
	return err
}

// forgetParts drops parts that nobody needs any more. c.mu is held.
func (c *cache) forgetParts(parts ...*cached) {
	for _, e := range slices.Clone(parts) {
		if c.copies[e.name] == e {
			delete(c.copies, e.name)
		}
		c.partGone(e)
		if e.holders == 0 {
			c.remove(e)
		}
	}
}

// partGone takes e from the parts of its file, if it is one. c.mu is held.
func (c *cache) partGone(e *cached) {
	if e.part == nil {
		return
	}
	d := e.part.of
	d.parts = slices.DeleteFunc(d.parts, func(p *cached) bool { return p == e })
}

// blooms makes sure that the outline has the bloom filters of the key in the row groups.
func (d *divided) blooms(ctx context.Context, b storagelocations.Bucket, f *File, groups []int, q *requests) error {
	o := d.outline
	var chunks []int
	var spans []span
	for _, g := range groups {
		for i, leaf := range o.layout.key {
			chunk := g*len(o.layout.leaves) + leaf
			if _, ok := d.loaded[chunk]; ok || !bloomed(o.layout.types[i]) {
				continue
			}
			d.loaded[chunk] = struct{}{}
			if _, ok := o.blooms[chunk]; ok {
				chunks = append(chunks, chunk)
			}
		}
	}
	// Within a row group the filters are in the order of the leaves, which need not be that of the key.
	slices.Sort(chunks)
	for _, chunk := range chunks {
		spans = append(spans, bloomSpan(o.chunk(chunk)))
	}
	err := q.ranges(ctx, b, f.Name, spans, func(i int, body []byte) error {
		chunk := chunks[i]
		if sum := crc32.Checksum(body, castagnoli); sum != o.blooms[chunk] {
			return fmt.Errorf("%s: %w: bloom filter %d has the CRC %08x, expected %08x", f.Name, ErrCorrupt, chunk, sum, o.blooms[chunk])
		}
		n := len(o.layout.leaves)
		c, ok := o.groups[chunk/n].chunks[chunk%n].(*parquet.FileColumnChunk)
		invariant(ok, "an outline of something else than a file")
		_, err := c.BloomFilterFrom(&island{append([]byte(nil), body...), spans[i].from})
		return err
	})
	if err != nil {
		for _, chunk := range chunks {
			delete(d.loaded, chunk)
		}
		return err
	}
	for _, g := range groups {
		rg := &o.groups[g]
		for i, leaf := range o.layout.key {
			if _, ok := o.blooms[g*len(o.layout.leaves)+leaf]; ok && bloomed(o.layout.types[i]) {
				rg.blooms[i] = rg.chunks[leaf].BloomFilter()
			}
		}
	}
	return nil
}

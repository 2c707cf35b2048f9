package lake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"

	"github.com/parquet-go/parquet-go"

	"kalamdb/row"
)

// Find looks up the newest version in the files of m of each of the keys, also where
// that version says that the row is deleted; a key no file has is not in the answer.
// Values follow the schema version in the row's Schema, as those of buffered rows
// do: the version of the file, which may be older than schema.
func (l *Lake) Find(ctx context.Context, m *Manifest, schema *row.Schema, keys [][]byte) (map[string]row.Row, error) {
	var found map[string]row.Row
	sorted := keys
	if len(keys) > 1 {
		sorted = slices.Clone(keys)
		slices.SortFunc(sorted, bytes.Compare)
		sorted = slices.CompactFunc(sorted, bytes.Equal)
	}
	for _, f := range slices.Backward(m.Files) {
		wanted := within(sorted, f)
		if len(wanted) == 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if found == nil {
			found = map[string]row.Row{}
		}
		if err := l.findIn(ctx, f, schema, wanted, found); err != nil {
			return nil, fmt.Errorf("find in %s: %w", f.Name, err)
		}
	}
	return found, nil
}

// within are the sorted keys in the key range of f.
func within(sorted [][]byte, f *File) [][]byte {
	lo := sort.Search(len(sorted), func(i int) bool { return bytes.Compare(sorted[i], f.MinKey) >= 0 })
	hi := lo + sort.Search(len(sorted)-lo, func(i int) bool { return bytes.Compare(sorted[lo+i], f.MaxKey) > 0 })
	return sorted[lo:hi]
}

// findIn looks for the wanted keys in f, unless found has a newer version already.
func (l *Lake) findIn(ctx context.Context, f *File, schema *row.Schema, wanted [][]byte, found map[string]row.Row) error {
	if schema.Version != f.SchemaVersion {
		t := l.table(f.Partition.Table.ID)
		if t == nil {
			return ErrUnknownTable
		}
		if schema = l.schemaAt(t, f.SchemaVersion); schema == nil {
			return corruptf("schema version %d, which the table never had", f.SchemaVersion)
		}
	}
	types := schema.KeyTypes()
	targets := make([]target, 0, len(wanted))
	for _, key := range wanted {
		if old, ok := found[string(key)]; ok && old.Seq > f.MaxSeq {
			continue
		}
		t, err := newTarget(types, key)
		if err != nil {
			return err
		}
		targets = append(targets, t)
	}
	e, err := l.holding(ctx, f, targets)
	if err != nil || e == nil {
		return err
	}
	defer l.cache.release(e)
	r, err := l.cache.acquire(e, schema)
	if err != nil {
		return err
	}
	defer l.cache.drop(r)

	var here []target
	for i := range r.groups {
		g := &r.groups[i]
		here = here[:0]
		for j := range targets {
			ok, err := g.may(&targets[j])
			if err != nil {
				return err
			}
			if ok {
				here = append(here, targets[j])
			}
		}
		if len(here) == 0 {
			continue
		}
		if err := r.read(g, here, found); err != nil {
			return err
		}
	}
	return nil
}

// holding is a copy of f, or of the part of it that can hold one of the targets; nil if none can.
func (l *Lake) holding(ctx context.Context, f *File, targets []target) (*cached, error) {
	b, err := l.bucket(f)
	if err != nil {
		return nil, err
	}
	if !l.cache.divisible(b, f) {
		return l.local(ctx, f)
	}
	return l.part(ctx, f, func(ctx context.Context, d *divided, q *requests) (selection, error) {
		o := d.outline
		may := func() (groups []int, err error) {
			for i := range o.groups {
				for j := range targets {
					ok, err := o.groups[i].may(&targets[j])
					if err != nil {
						return nil, err
					}
					if ok {
						groups = append(groups, i)
						break
					}
				}
			}
			return groups, nil
		}
		groups, err := may()
		if err != nil {
			return selection{}, err
		}
		if err := d.blooms(ctx, b, f, groups, q); err != nil {
			return selection{}, err
		}
		groups, err = may()
		if err != nil || len(groups) == 0 {
			return selection{}, err
		}
		sel := o.nothing()
		for _, i := range groups {
			sel.groups[i] = true
		}
		for i := range sel.leaves {
			sel.leaves[i] = true
		}
		return sel, nil
	})
}

// A hit is a row of a row group that has a wanted key.
type hit struct {
	at  int64
	key []byte
	row row.Row
}

// read finds the targets (ascending) in g and puts their rows into found.
func (r *reader) read(g *rowGroup, targets []target, found map[string]row.Row) error {
	hits, err := r.locate(g, targets)
	if err != nil || len(hits) == 0 {
		return err
	}
	for i := range hits {
		hits[i].row = row.Row{Schema: r.layout.schema.Version, Values: make([]row.Value, len(r.layout.schema.Columns))}
	}
	for i := range r.layout.leaves {
		if err := r.readColumn(g, i, hits); err != nil {
			return err
		}
	}
	for _, h := range hits {
		if old, ok := found[string(h.key)]; !ok || old.Seq < h.row.Seq {
			found[string(h.key)] = h.row
		}
	}
	return nil
}

// locate searches the sorted primary keys of g.
func (r *reader) locate(g *rowGroup, targets []target) ([]hit, error) {
	from, to := g.span(r.layout, targets)
	if from == to {
		return nil, nil
	}
	columns := make([][]parquet.Value, len(r.layout.key))
	for i, leaf := range r.layout.key {
		values, release, err := readRows(g.chunks[leaf], from, to)
		if err != nil {
			return nil, err
		}
		defer release()
		columns[i] = values
	}
	var scratch []byte
	keyAt := func(i int) []byte {
		scratch = scratch[:0]
		for c, leaf := range r.layout.key {
			scratch = row.AppendKey(scratch, scalarOf(r.layout.leaves[leaf].typ, columns[c][i]))
		}
		return scratch
	}
	var hits []hit
	at := 0
	for _, t := range targets {
		at += sort.Search(int(to-from)-at, func(i int) bool { return bytes.Compare(keyAt(at+i), t.key) >= 0 })
		if at == int(to-from) {
			break
		}
		if bytes.Equal(keyAt(at), t.key) {
			hits = append(hits, hit{at: from + int64(at), key: t.key})
		}
	}
	return hits, nil
}

// readRows reads the values of the rows from ≤ row < to of a required scalar column. They
// are good until release.
func readRows(c parquet.ColumnChunk, from, to int64) (values []parquet.Value, release func(), err error) {
	pages := c.Pages()
	defer pages.Close()
	var kept []parquet.Page
	release = func() {
		for _, p := range kept {
			parquet.Release(p)
		}
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	if err := pages.SeekToRow(from); err != nil {
		return nil, nil, corruptf("seek to row %d: %v", from, err)
	}
	values = make([]parquet.Value, 0, to-from)
	for int64(len(values)) < to-from {
		p, err := pages.ReadPage()
		if err != nil {
			return nil, nil, corruptf("read page: %v", err)
		}
		kept = append(kept, p)
		n := min(p.NumValues(), to-from-int64(len(values)))
		dst := values[len(values) : int64(len(values))+n]
		if err := readAll(p.Values(), dst); err != nil {
			return nil, nil, err
		}
		values = values[:len(values)+len(dst)]
	}
	return values, release, nil
}

// readAll fills dst.
func readAll(r parquet.ValueReader, dst []parquet.Value) error {
	for len(dst) > 0 {
		n, err := r.ReadValues(dst)
		dst = dst[n:]
		if err != nil && (len(dst) > 0 || !errors.Is(err, io.EOF)) {
			return corruptf("read values: %v", err)
		}
	}
	return nil
}

// readColumn reads the values of leaf i of the hits, which are ascending; each page is read once.
func (r *reader) readColumn(g *rowGroup, i int, hits []hit) error {
	lf := &r.layout.leaves[i]
	pages := g.chunks[i].Pages()
	defer pages.Close()
	var page parquet.Page // the rows start … start+page.NumRows()
	start := int64(0)
	defer func() { parquet.Release(page) }()
	var values []parquet.Value
	for h := range hits {
		at := hits[h].at
		if page == nil || at >= start+page.NumRows() {
			parquet.Release(page)
			page = nil
			if err := pages.SeekToRow(at); err != nil {
				return corruptf("seek to row %d: %v", at, err)
			}
			p, err := pages.ReadPage()
			if err != nil {
				return corruptf("read page: %v", err)
			}
			page, start = p, at
		}
		one := page.Slice(at-start, at-start+1)
		values = slices.Grow(values[:0], int(one.NumValues()))[:one.NumValues()]
		err := readAll(one.Values(), values)
		if err == nil && len(values) == 0 {
			err = corruptf("row %d has no value", at)
		}
		if err != nil {
			return err
		}
		lf.set(&hits[h].row, values)
	}
	return nil
}

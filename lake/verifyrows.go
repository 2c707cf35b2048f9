package lake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/parquet-go/parquet-go"

	"kalamdb/row"
	"kalamdb/storagelocations"
)

const waitingKeysMax = 1000 // looked up at once

// waiting checks rows of the write buffer against the watermark of their partition.
func (v *verifier) waiting(ctx context.Context, seg *row.Segment) error {
	p := Problem{Table: seg.Partition.Table, User: seg.Partition.User}
	report := func(format string, args ...any) {
		p.What = "the write buffer: " + fmt.Sprintf(format, args...)
		v.problem(p)
	}
	t := v.l.table(seg.Partition.Table.ID)
	if t == nil {
		report("%d rows of a table that the catalog does not have", seg.Rows)
		return nil
	}
	if by, ok := t.overtaken(v.l.opts.Node); ok {
		report("%d rows that are not in the bucket, where the server %s has gone on without them", seg.Rows, by)
		return nil
	}
	m := t.manifest(seg.Partition.User)
	defer m.Release()
	covered := seg.Last <= m.Through
	if !covered && seg.First <= m.Through {
		report("rows of commits %d to %d, of which the bucket has those to %d: they were flushed in part", seg.First, seg.Last, m.Through)
		return nil
	}
	lost, unknown := 0, 0
	batch := map[string]row.Seq{}
	look := func() error {
		keys := make([][]byte, 0, len(batch))
		for k := range batch {
			keys = append(keys, []byte(k))
		}
		found, err := v.l.Find(ctx, m, v.l.newest(t), keys)
		if err != nil {
			return err
		}
		for k, seq := range batch {
			if found[k].Seq < seq {
				lost++
			}
		}
		clear(batch)
		return nil
	}
	err := seg.Scan(func(key []byte, r *row.Row) error {
		if v.l.schemaAt(t, r.Schema) == nil {
			unknown++
		}
		if covered && !r.Deleted { // a deletion may be gone from the files for good
			batch[string(key)] = r.Seq
		}
		if len(batch) == waitingKeysMax {
			return look()
		}
		return ctx.Err()
	})
	if err == nil && len(batch) > 0 {
		err = look()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		report("%v", err)
	}
	if lost > 0 {
		report("%d rows up to commit %d that the log says are in the bucket, and no file has them", lost, m.Through)
	}
	if unknown > 0 {
		report("%d rows of a schema version that the table never had", unknown)
	}
	return nil
}

// newest is the current schema of t.
func (l *Lake) newest(t *table) *row.Schema {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.catalog.Schema()
}

// checkFooter says what in the footer of the file of f differs from the log.
func checkFooter(path string, t *table, f *File, s *row.Schema) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	pf, err := parquet.OpenFile(in, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return corruptf("%v", err)
	}
	for _, m := range []struct{ key, want string }{
		{metaTable, t.ref.String()}, {metaTableID, tableID(t.ref.ID)}, {metaUser, string(f.Partition.User)},
		{metaSchemaVersion, strconv.FormatUint(uint64(f.SchemaVersion), 10)},
		{metaMinSeq, strconv.FormatUint(uint64(f.MinSeq), 10)}, {metaMaxSeq, strconv.FormatUint(uint64(f.MaxSeq), 10)},
	} {
		if got, _ := pf.Lookup(m.key); got != m.want {
			return corruptf("its footer says %s = %q, the log %q", m.key, got, m.want)
		}
	}
	columns := pf.Root().Columns()
	if n := len(s.Columns) + 3; len(columns) != n {
		return corruptf("%d columns, schema version %d has %d", len(columns), s.Version, n)
	}
	for i, c := range s.Columns {
		if columns[i].Name() != c.Name || columns[i].ID() != int(c.ID) {
			return corruptf("column %d is %s with id %d, schema version %d has %s with id %d", i+1, columns[i].Name(), columns[i].ID(), s.Version, c.Name, c.ID)
		}
	}
	for _, g := range pf.Metadata().RowGroups {
		for i := range g.Columns { // one leaf each
			path := g.Columns[i].MetaData.PathInSchema
			if len(path) == 0 || path[0] != columns[i].Name() {
				return corruptf("column %d is %s, but one of its row groups calls it %q", i+1, columns[i].Name(), path)
			}
		}
	}
	if f.Footer.Bytes > 0 {
		return checkSums(in, f, newLayout(s))
	}
	return nil
}

// checkSums compares the footer of f and each of its column chunks with their sums.
func checkSums(in *os.File, f *File, l *layout) error {
	footer := make([]byte, f.Footer.Bytes)
	if _, err := in.ReadAt(footer, f.Bytes-f.Footer.Bytes); err != nil {
		return err
	}
	if sum := sha256.Sum256(footer); hex.EncodeToString(sum[:]) != f.Footer.Checksum {
		return corruptf("its footer has the checksum %x, the log says %s", sum, f.Footer.Checksum)
	}
	o, err := newOutline(f, footer, l)
	if err != nil {
		return err
	}
	for i, want := range o.sums {
		body := make([]byte, o.span(i).n)
		if _, err := in.ReadAt(body, o.span(i).from); err != nil {
			return err
		}
		if got := crc32.Checksum(body, castagnoli); got != want {
			return corruptf("column chunk %d has the CRC %08x, the footer says %08x", i, got, want)
		}
	}
	return nil
}

// putBack puts f into the bucket again if there is a copy of it.
func (v *verifier) putBack(ctx context.Context, t *table, f *File) (bool, error) {
	path, err := v.copyOf(ctx, f)
	if err != nil || path == "" {
		return false, err
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != f.Checksum {
		return false, nil
	}
	_, err = t.bucket.Put(ctx, f.Name, body, storagelocations.Cond{})
	return err == nil, err
}

// copyOf is the path of a file in how.Copies with the content of f, "" if there is none.
func (v *verifier) copyOf(ctx context.Context, f *File) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.copies == nil {
		v.copies = map[string]string{}
		paths, err := filepath.Glob(filepath.Join(v.how.Copies, "*"+copySuffix))
		if err != nil || v.how.Copies == "" {
			return "", err
		}
		for _, path := range paths {
			in, err := os.Open(path)
			if err != nil {
				return "", err
			}
			h := sha256.New()
			_, err = io.Copy(h, in)
			in.Close()
			if err != nil {
				return "", err
			}
			v.copies[hex.EncodeToString(h.Sum(nil))] = path
			if ctx.Err() != nil {
				return "", ctx.Err()
			}
		}
	}
	return v.copies[f.Checksum], nil
}

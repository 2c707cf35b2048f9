package lake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"

	"kalamdb/row"
)

// A version is what says which row of which moment a row of a file is.
type version struct {
	key     []byte
	seq     row.Seq
	updated int64
	deleted bool
}

// versions reads every value of every column of the file, a row group at a time, and
// yields the rows in their order; v is used again. So what it has read to the end can be read.
func (r *reader) versions(ctx context.Context, yield func(v *version) error) error {
	var v version
	for i := range r.groups {
		if err := ctx.Err(); err != nil {
			return err
		}
		g := &r.groups[i]
		kept, err := r.readGroup(g)
		if err != nil {
			return err
		}
		for n := range int(g.rows) {
			v.key = v.key[:0]
			for _, leaf := range r.layout.key {
				v.key = row.AppendKey(v.key, scalarOf(r.layout.leaves[leaf].typ, kept[leaf][n]))
			}
			v.seq = row.Seq(kept[r.layout.seqLeaf()][n].Int64())
			v.updated = kept[r.layout.updatedLeaf()][n].Int64()
			v.deleted = kept[r.layout.deletedLeaf()][n].Boolean()
			if err := yield(&v); err != nil {
				return err
			}
		}
	}
	return nil
}

// readGroup reads all columns of g and keeps the values of the key and the system columns, by leaf.
func (r *reader) readGroup(g *rowGroup) ([][]parquet.Value, error) {
	kept := make([][]parquet.Value, len(r.layout.leaves))
	for i := range r.layout.leaves {
		lf := &r.layout.leaves[i]
		n, err := readColumnChunk(g.chunks[i], func(values []parquet.Value) {
			if lf.column < 0 || !lf.optional {
				for _, v := range values {
					kept[i] = append(kept[i], v.Clone())
				}
			}
		})
		if err == nil && n != g.rows {
			err = corruptf("%d rows in a row group of %d", n, g.rows)
		}
		if err != nil {
			return nil, fmt.Errorf("column %d: %w", i+1, err)
		}
	}
	return kept, nil
}

// readColumnChunk reads all values of c and counts its rows. values are good during the call.
func readColumnChunk(c parquet.ColumnChunk, use func(values []parquet.Value)) (rows int64, err error) {
	pages := c.Pages()
	defer pages.Close()
	var buf [256]parquet.Value
	for {
		p, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return rows, corruptf("read page: %v", err)
		}
		for values := p.Values(); ; {
			n, err := values.ReadValues(buf[:])
			use(buf[:n])
			for _, v := range buf[:n] {
				if v.RepetitionLevel() == 0 {
					rows++
				}
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				parquet.Release(p)
				return rows, corruptf("read values: %v", err)
			}
		}
		parquet.Release(p)
	}
}

// check reads the file of f whole and says what in it differs from what the log says of it.
func (r *reader) check(ctx context.Context, f *File) error {
	var got File
	var last []byte
	err := r.versions(ctx, func(v *version) error {
		if got.Rows == 0 {
			got.MinSeq, got.MaxSeq, got.MinUpdated, got.MaxUpdated = v.seq, v.seq, v.updated, v.updated
			got.MinKey = bytes.Clone(v.key)
		} else if bytes.Compare(v.key, last) <= 0 {
			return corruptf("row %d is not above the one before it in the order of keys", got.Rows+1)
		}
		last = append(last[:0], v.key...)
		got.Rows++
		got.MinSeq, got.MaxSeq = min(got.MinSeq, v.seq), max(got.MaxSeq, v.seq)
		got.MinUpdated, got.MaxUpdated = min(got.MinUpdated, v.updated), max(got.MaxUpdated, v.updated)
		if v.deleted {
			got.Deleted++
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, c := range []struct {
		what      string
		got, want any
		same      bool
	}{
		{"rows", got.Rows, f.Rows, got.Rows == f.Rows},
		{"deleted rows", got.Deleted, f.Deleted, got.Deleted == f.Deleted},
		{"as smallest _seq", got.MinSeq, f.MinSeq, got.MinSeq == f.MinSeq},
		{"as largest _seq", got.MaxSeq, f.MaxSeq, got.MaxSeq == f.MaxSeq},
		{"as first _updated", got.MinUpdated, f.MinUpdated, got.MinUpdated == f.MinUpdated},
		{"as last _updated", got.MaxUpdated, f.MaxUpdated, got.MaxUpdated == f.MaxUpdated},
		{"as first key", got.MinKey, f.MinKey, bytes.Equal(got.MinKey, f.MinKey)},
		{"as last key", last, f.MaxKey, bytes.Equal(last, f.MaxKey)},
	} {
		if !c.same {
			return corruptf("the file has %v %s, the log says %v", c.got, c.what, c.want)
		}
	}
	return nil
}

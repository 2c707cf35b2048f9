package lake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/storagelocations"
)

// Flush writes the segments of table's partitions to Parquet files and commits them.
// Nil means that all of them are committed, now or by an earlier call: rows at or below
// the watermark of their partition are left out. On any other answer flush the same
// segments again; what a failed round left in the bucket is used again or collected.
//
// A round costs one put per file (usually one per segment) and one for the log entry. Many
// small segments go into packs, which are one file each (pack.go).
func (l *Lake) Flush(ctx context.Context, table row.TableRef, segs []row.Segment) error {
	t, err := l.known(ctx, table.ID)
	if err != nil {
		return fmt.Errorf("flush %s: %w", table, err)
	}
	if !t.lock(ctx.Done()) {
		return fmt.Errorf("flush %s: %w", table, ctx.Err())
	}
	defer t.unlock()
	if t.isDropped() {
		return fmt.Errorf("flush %s: %w", table, ErrUnknownTable)
	}
	if err := l.verify(ctx, t); err != nil {
		return fmt.Errorf("flush %s: %w", table, err)
	}
	if by, ok := t.overtaken(l.opts.Node); ok {
		return fmt.Errorf("flush %s: %w", table, fmt.Errorf("%w (node %s has, and this server has not claimed it since)", ErrFenced, by))
	}
	// In order of Seq within a partition: a later segment in an earlier round would
	// move the watermark over the rows of an earlier one.
	segs = slices.Clone(segs)
	slices.SortFunc(segs, func(a, b row.Segment) int {
		return cmp.Or(strings.Compare(string(a.Partition.User), string(b.Partition.User)), cmp.Compare(a.Last, b.Last))
	})
	pack := l.packing(t, segs)
	for len(segs) > 0 {
		n := min(len(segs), roundSegmentsMax)
		err := l.round(ctx, t, segs[:n], pack)
		if errors.Is(err, errRetry) {
			continue // the watermarks have moved: decide again what is left to write
		}
		if err != nil {
			return fmt.Errorf("flush %s: %w", table, err)
		}
		segs = segs[n:]
	}
	return nil
}

// known is the table with the given id. One that is in the catalog but was never added,
// since its AddTable failed, is added now.
func (l *Lake) known(ctx context.Context, id uint64) (*table, error) {
	if t := l.table(id); t != nil {
		return t, nil
	}
	if l.opts.Tables == nil {
		return nil, ErrUnknownTable
	}
	c, ok := l.opts.Tables(id)
	if !ok || c.Dropped || c.Type == catalog.Stream {
		return nil, ErrUnknownTable
	}
	if err := l.AddTable(ctx, c); err != nil {
		return nil, err
	}
	if t := l.table(id); t != nil {
		return t, nil
	}
	return nil, ErrUnknownTable // dropped meanwhile
}

// round writes and commits segments of t, small ones in packs if pack says so.
func (l *Lake) round(ctx context.Context, t *table, segs []row.Segment, pack bool) error {
	start := wallClock()
	var picked map[int]bool
	if pack {
		picked = l.packable(t, segs)
	}
	var mu sync.Mutex // guards the list below
	var changes []change
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(l.opts.Parallel)
	if len(picked) > 0 {
		g.Go(func() error {
			all, err := l.storePacked(gctx, t, segs, picked)
			mu.Lock()
			defer mu.Unlock()
			changes = append(changes, all...)
			return err
		})
	}
	for i := range segs {
		seg := &segs[i]
		invariant(seg.Partition.Table.ID == t.ref.ID, "a segment of another table in a flush")
		if picked[i] || seg.Last <= t.through(seg.Partition.User) {
			continue
		}
		g.Go(func() error {
			c, err := l.store(gctx, t, seg)
			if err != nil {
				return ofPartition(seg.Partition, err)
			}
			mu.Lock()
			defer mu.Unlock()
			changes = append(changes, c)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	sortChanges(changes)
	for _, part := range splitChanges(changes) {
		// Unreferenced files older than Grace may be deleted, by this server or by one
		// that does not know yet that it has been replaced.
		if took := wallClock().Sub(start); took > l.opts.Grace/2 || took < -l.opts.Grace/2 {
			return fmt.Errorf("the round took %s, longer than half of the grace of %s for unreferenced files", took, l.opts.Grace)
		}
		e, err := l.commit(ctx, t, part)
		if err != nil {
			return err
		}
		l.committed(t, e, time.Since(start))
	}
	return nil
}

func (l *Lake) committed(t *table, e *entry, took time.Duration) {
	if l.opts.Events.Committed == nil {
		return
	}
	info := CommitInfo{Table: t.ref, Entry: e.Number, Partitions: len(e.Partitions), Took: took}
	for _, c := range e.Partitions {
		info.Files += len(c.Added)
		for _, f := range c.Added {
			info.Rows += f.Rows
			info.Bytes += f.Bytes
		}
	}
	l.opts.Events.Committed(info)
}

// store writes the rows of seg above the watermark to files and puts them. Rows of
// different schema versions go to different files.
func (l *Lake) store(ctx context.Context, t *table, seg *row.Segment) (change, error) {
	user := seg.Partition.User
	through := t.through(user)
	c := change{User: user, Through: seg.Last}
	done := func(f *fileEntry, body []byte) error {
		// Without a condition: the name is made from the content, and the time of an
		// orphan that is used again starts anew.
		if _, err := t.bucket.Put(ctx, f.Name, body, storagelocations.Cond{}); err != nil {
			return err
		}
		c.Added = append(c.Added, *f)
		l.cache.admit(t.bucket, f, body)
		return nil
	}
	var writers []*writer // by schema version, nearly always one
	err := seg.Scan(func(key []byte, r *row.Row) error {
		if r.Seq <= through {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		var w *writer
		for _, o := range writers {
			if o.layout.schema.Version == r.Schema {
				w = o
			}
		}
		if w == nil {
			s := l.schemaAt(t, r.Schema)
			if s == nil {
				return corruptf("a row of schema version %d, which the table never had", r.Schema)
			}
			w = l.newWriter(t, user, s, done)
			writers = append(writers, w)
		}
		invariant(r.Seq <= seg.Last, "a segment yields a row behind its last Seq")
		return w.write(key, r)
	})
	if err != nil {
		return c, err
	}
	for _, w := range writers {
		if err := w.finish(); err != nil {
			return c, err
		}
	}
	return c, nil
}

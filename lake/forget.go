package lake

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"kalamdb/row"
)

const forgetWait = 20 * time.Millisecond // between two looks whether readers have let go of files

// Forget removes all files of a partition, from the log and then from bucket and cache, without
// waiting for Grace; also those that were removed before, and those of failed flushes that no
// entry names. Packs are written again without the rows of the user. It waits for a compaction
// of the table that is under way, and for the readers of the files, until ctx is done. What it
// returns were the committed ones. The watermark stays.
func (l *Lake) Forget(ctx context.Context, p row.Partition) ([]*File, error) {
	t, err := l.known(ctx, p.Table.ID)
	if err != nil {
		return nil, fmt.Errorf("forget %s: %w", p, err)
	}
	files, packs, err := l.forget(ctx, t, p.User)
	if err != nil {
		return nil, fmt.Errorf("forget %s: %w", p, err)
	}
	// A compaction that is under way reads files that erase deletes and writes rows of the
	// user to others. At its end it finds that they are of no use; later ones do not see him.
	select {
	case <-t.compacting:
		t.compacting <- struct{}{}
	case <-ctx.Done():
		return nil, fmt.Errorf("forget %s: a compaction of the table is under way: %w", p, ctx.Err())
	}
	for {
		left, err := l.erase(ctx, t, p.User, packs)
		if err != nil {
			return nil, fmt.Errorf("forget %s: %w", p, err)
		}
		if left == 0 {
			return files, nil
		}
		select {
		case <-time.After(forgetWait):
		case <-ctx.Done():
			return nil, fmt.Errorf("forget %s: %d files are removed and still being read: %w", p, left, ctx.Err())
		}
	}
}

// forget commits that the user has no files. packs are those that have rows of him, dead now.
func (l *Lake) forget(ctx context.Context, t *table, user row.UserID) (files []*File, packs map[string]*packState, err error) {
	if !t.lock(ctx.Done()) {
		return nil, nil, ctx.Err()
	}
	defer t.unlock()
	for {
		if t.isDropped() {
			return nil, nil, ErrUnknownTable
		}
		if err := l.verify(ctx, t); err != nil {
			return nil, nil, err
		}
		if by, ok := t.overtaken(l.opts.Node); ok {
			return nil, nil, fmt.Errorf("%w (node %s has, and this server has not claimed it since)", ErrFenced, by)
		}
		m := t.manifest(user)
		m.Release()
		if packs, err = l.packsOf(ctx, t, user); err != nil {
			return nil, nil, err
		}
		changes := map[row.UserID]*change{}
		for _, name := range slices.Sorted(maps.Keys(packs)) {
			if err := l.repack(ctx, t, name, user, changes); err != nil {
				return nil, nil, err
			}
		}
		if len(m.Files) > 0 {
			c := &change{User: user, Through: m.Through}
			for _, f := range m.Files {
				c.Removed = append(c.Removed, f.Name)
			}
			changes[user] = c
		}
		if err = l.forgetAs(ctx, t, changes); !errors.Is(err, errRetry) {
			return m.Files, packs, err
		}
	}
}

// forgetAs commits the changes of a forget. If it fails in the middle, some packs are done
// and the others still have their slices. Without changes it commits an empty entry, so that
// one of a flush that is still on its way cannot name files that erase deletes.
func (l *Lake) forgetAs(ctx context.Context, t *table, changes map[row.UserID]*change) error {
	list := make([]change, 0, len(changes))
	for _, c := range changes {
		list = append(list, *c)
	}
	sortChanges(list)
	parts := splitChanges(list)
	if len(parts) == 0 {
		parts = [][]change{nil}
	}
	for _, part := range parts {
		if _, err := l.commit(ctx, t, part); err != nil {
			return err
		}
	}
	return nil
}

// erase deletes the removed files of the user that nobody is reading, and what no entry names.
func (l *Lake) erase(ctx context.Context, t *table, user row.UserID, packs map[string]*packState) (left int, err error) {
	if !t.lock(ctx.Done()) {
		return 0, ctx.Err()
	}
	defer t.unlock()
	if t.isDropped() {
		return 0, ErrUnknownTable
	}
	t.unsure = true // a server that has been replaced must not delete what its successor uses
	if err := l.verify(ctx, t); err != nil {
		return 0, err
	}
	his := func(f *File) bool { return f.pack == nil && f.Partition.User == user || packs[f.Name] != nil }
	ready := t.deletable(wallClock().Add(time.Hour)) // whenever they were removed
	ready = slices.DeleteFunc(ready, func(f *File) bool { return !his(f) })
	if err := l.bury(ctx, t, ready, &CollectInfo{}); err != nil {
		return 0, err
	}
	waiting := map[string]bool{}
	t.mu.RLock()
	for _, d := range t.dead {
		if his(d.file) {
			waiting[d.file.Name] = true
		}
	}
	t.mu.RUnlock()
	referenced := l.referenced(t.root)
	if err := l.dropUnnamed(ctx, t, t.packFolder(), referenced); err != nil {
		return 0, err
	}
	return len(waiting), l.dropOrphans(ctx, t, user, referenced)
}

package lake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"kalamdb/row"
)

const forgetWait = 20 * time.Millisecond // between two looks whether readers have let go of files

// Forget removes all files of a partition, from the log and then from bucket and cache, without
// waiting for Grace; also those that were removed before, and those of failed flushes that no
// entry names. It waits for the readers of the files until ctx is done. What it returns were
// the committed ones. The watermark stays.
func (l *Lake) Forget(ctx context.Context, p row.Partition) ([]*File, error) {
	t, err := l.known(ctx, p.Table.ID)
	if err != nil {
		return nil, fmt.Errorf("forget %s: %w", p, err)
	}
	files, err := l.forget(ctx, t, p.User)
	if err != nil {
		return nil, fmt.Errorf("forget %s: %w", p, err)
	}
	for {
		left, err := l.erase(ctx, t, p.User)
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

// forget commits that the user has no files.
func (l *Lake) forget(ctx context.Context, t *table, user row.UserID) ([]*File, error) {
	if !t.lock(ctx.Done()) {
		return nil, ctx.Err()
	}
	defer t.unlock()
	for {
		if t.isDropped() {
			return nil, ErrUnknownTable
		}
		if err := l.verify(ctx, t); err != nil {
			return nil, err
		}
		if by, ok := t.overtaken(l.opts.Node); ok {
			return nil, fmt.Errorf("%w (node %s has, and this server has not claimed it since)", ErrFenced, by)
		}
		m := t.manifest(user)
		m.Release()
		if len(m.Files) == 0 {
			return nil, nil
		}
		c := change{User: user, Through: m.Through}
		for _, f := range m.Files {
			c.Removed = append(c.Removed, f.Name)
		}
		_, err := l.commit(ctx, t, []change{c})
		if !errors.Is(err, errRetry) {
			return m.Files, err
		}
	}
}

// erase deletes the removed files of the user that nobody is reading, and what no entry names.
func (l *Lake) erase(ctx context.Context, t *table, user row.UserID) (left int, err error) {
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
	for _, f := range t.deletable(wallClock().Add(time.Hour)) { // whenever they were removed
		if f.Partition.User != user {
			continue
		}
		if err := l.dropFile(ctx, t, f.Name); err != nil {
			return 0, err
		}
		l.deleted(t, f.Name, false)
		t.mu.Lock()
		t.dead = slices.DeleteFunc(t.dead, func(d deadFile) bool { return d.file == f })
		t.mu.Unlock()
	}
	t.mu.RLock()
	for _, d := range t.dead {
		if d.file.Partition.User == user {
			left++
		}
	}
	t.mu.RUnlock()
	return left, l.dropOrphans(ctx, t, user, l.referenced(t.root))
}

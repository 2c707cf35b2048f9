package lake

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"kalamdb/catalog"
	"kalamdb/row"
)

const dropParallel = 16 // users whose files are deleted at the same time

// A Drop is what else DropTable is told.
type Drop struct {
	// Users may have files that no log names, as their rows were being flushed.
	Users []row.UserID
	// Progress is told now and then how many of the users are done.
	Progress func(done, total int)
}

// DropTable deletes the files and the log of a dropped table and forgets it. The log
// goes last and from its end, then the checkpoints, so that a call that fails can be
// repeated; dropping a table that is gone does nothing. Files in shared folders that
// belong to other tables stay.
func (l *Lake) DropTable(ctx context.Context, c *catalog.Table, d Drop) error {
	if c.Type == catalog.Stream {
		return nil
	}
	if err := l.AddTable(ctx, c); err != nil {
		return fmt.Errorf("drop %s: %w", c.Ref, err)
	}
	t := l.table(c.Ref.ID)
	t.mu.Lock()
	t.dropped = true // no flush and no compaction from here on
	t.mu.Unlock()
	select {
	case <-t.compacting:
		defer func() { t.compacting <- struct{}{} }()
	case <-ctx.Done():
		return fmt.Errorf("drop %s: %w", c.Ref, ctx.Err())
	}
	if !t.lock(ctx.Done()) {
		return fmt.Errorf("drop %s: %w", c.Ref, ctx.Err())
	}
	defer t.unlock()
	if err := l.dropData(ctx, t, d); err != nil {
		return fmt.Errorf("drop %s: %w", c.Ref, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.tables, c.Ref.ID)
	return nil
}

func (l *Lake) dropData(ctx context.Context, t *table, d Drop) error {
	if err := l.verify(ctx, t); err != nil {
		return err
	}
	if err := l.dropFiles(ctx, t, d); err != nil {
		return err
	}
	for _, kind := range []string{"log", "checkpoint"} {
		list, err := numbers(ctx, l.opts.Meta, t.folder(kind))
		if err != nil {
			return err
		}
		for i := len(list) - 1; i >= 0; i-- {
			name := t.entryName(list[i])
			if kind == "checkpoint" {
				name = t.checkpointName(list[i])
			}
			if err := l.opts.Meta.Delete(ctx, name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *Lake) dropFiles(ctx context.Context, t *table, d Drop) error {
	t.mu.RLock()
	dead := t.dead
	t.mu.RUnlock()
	for _, f := range dead {
		if f.file.pack != nil {
			continue
		}
		if err := l.dropFile(ctx, t, f.file.Name); err != nil {
			return err
		}
	}
	for _, name := range t.packNames() {
		if err := l.dropFile(ctx, t, name); err != nil {
			return err
		}
	}
	users := append(t.users(), d.Users...)
	slices.Sort(users)
	users = slices.Compact(users)
	referenced := l.referenced(t.root) // what others add later has their name in its footer
	if err := l.dropUnnamed(ctx, t, t.packFolder(), referenced); err != nil {
		return err
	}
	var done atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(dropParallel)
	for _, user := range users {
		g.Go(func() error {
			m := t.manifest(user)
			m.Release()
			for _, f := range m.Files {
				if f.pack != nil {
					continue
				}
				if err := l.dropFile(gctx, t, f.Name); err != nil {
					return err
				}
			}
			if err := l.dropOrphans(gctx, t, user, referenced); err != nil {
				return err
			}
			if n := done.Add(1); d.Progress != nil {
				d.Progress(int(n), len(users))
			}
			return nil
		})
	}
	return g.Wait()
}

func (l *Lake) dropFile(ctx context.Context, t *table, name string) error {
	l.forgetCopies(t.bucket, name)
	return t.bucket.Delete(ctx, name)
}

// dropOrphans deletes what failed and crashed flushes of t left in the folder of a user.
func (l *Lake) dropOrphans(ctx context.Context, t *table, user row.UserID, referenced map[string]bool) error {
	return l.dropUnnamed(ctx, t, t.fileName(user, "batch-"), referenced)
}

// dropUnnamed deletes the files of t that no log names and whose names start with prefix.
func (l *Lake) dropUnnamed(ctx context.Context, t *table, prefix string, referenced map[string]bool) error {
	_, ours := t.folders()
	for info, err := range t.bucket.List(ctx, prefix) {
		if err != nil {
			return err
		}
		if !ours(info.Name) || referenced[info.Name] {
			continue
		}
		own, err := writtenFor(ctx, t, info.Name)
		if err != nil && !isCorrupt(err) {
			return err
		}
		if !own {
			continue // or not certainly ours
		}
		if err := l.dropFile(ctx, t, info.Name); err != nil {
			return err
		}
	}
	return nil
}

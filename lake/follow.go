package lake

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"kalamdb/catalog"
	"kalamdb/storagelocations"
)

// followCheckpoints is how often a follower looks for a checkpoint ahead of it: its next
// entry may be gone when it slept longer than LogRetention, or when the log was rebuilt.
const followCheckpoints = time.Minute

// Follow stands in the place of Run in a Lake that reads what another server owns: once in
// a while it asks for the tables there are now and applies the entries that their logs have
// got since. It writes nothing. Faults of the bucket are logged and tried again.
func (l *Lake) Follow(ctx context.Context, every time.Duration, tables func(context.Context) ([]*catalog.Table, error)) error {
	defer l.cache.close()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now, err := tables(ctx)
		if err == nil {
			err = l.followAll(ctx, now)
		}
		if err != nil && ctx.Err() == nil {
			l.opts.Logger.Warn("what the owner of the storage wrote cannot be read, it will be tried again", "err", err)
		}
	}
}

func (l *Lake) followAll(ctx context.Context, now []*catalog.Table) error {
	known := map[uint64]bool{}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(loadParallel)
	for _, c := range now {
		known[c.Ref.ID] = true
		g.Go(func() error {
			t := l.table(c.Ref.ID)
			if t == nil {
				return l.AddTable(gctx, c)
			}
			if err := l.follow(gctx, t, c); err != nil {
				return fmt.Errorf("the log of %s: %w", t.ref, err)
			}
			return nil
		})
	}
	err := g.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range slices.Collect(maps.Keys(l.tables)) {
		if !known[id] {
			delete(l.tables, id) // who reads it goes on; its files stay for Grace
		}
	}
	return err
}

// follow applies what the log of t, the table c, has got.
func (l *Lake) follow(ctx context.Context, t *table, c *catalog.Table) error {
	for {
		n := t.last + 1 // only the follower changes it
		e, err := readEntry(ctx, l.opts.Meta, t.entryName(n), n)
		if err == nil {
			err = t.apply(e)
		}
		if err != nil {
			if !faulty(err) {
				return err
			}
			t.mu.Lock()
			t.dead = nil // the owner deletes them
			t.mu.Unlock()
			if errors.Is(err, storagelocations.ErrNotExist) && wallClock().Sub(t.verified) < followCheckpoints {
				return nil
			}
			return l.leap(ctx, t, c, err)
		}
	}
}

// leap goes on from a checkpoint that is ahead of t, whose next entry is missing or damaged.
func (l *Lake) leap(ctx context.Context, t *table, c *catalog.Table, cause error) error {
	checkpoints, err := numbers(ctx, l.opts.Meta, t.folder("checkpoint"))
	if err != nil {
		return err
	}
	if len(checkpoints) == 0 || checkpoints[len(checkpoints)-1] <= t.last {
		if !errors.Is(cause, storagelocations.ErrNotExist) {
			return cause
		}
		t.verified = wallClock()
		return nil
	}
	fresh := newTable(c, t.bucket)
	if err := l.load(ctx, fresh); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tables[t.ref.ID] = fresh
	return nil
}

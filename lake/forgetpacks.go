package lake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"kalamdb/row"
)

// FORGET USER cannot wait until the packs with rows of the user are deleted by themselves. A pack
// with slices of others is written again without him, and the entry that removes his
// files puts the new slices of the others in the place of the old ones; then the old pack is
// dead as a whole and deleted like his files.
//
// Which packs have rows of him is in their directories and not in the log: a pack may have
// rows of users whose slices no entry ever named, as a round was committed in part. Of a pack
// that is lost or damaged only the log can say it, and who has no slice there by the log
// is forgotten without it.

// packsOf are the packs that an entry names and that have rows of the user, by name.
func (l *Lake) packsOf(ctx context.Context, t *table, user row.UserID) (map[string]*packState, error) {
	var mu sync.Mutex // guards the map below
	of := map[string]*packState{}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(l.opts.Parallel)
	for _, name := range t.packNames() {
		g.Go(func() error {
			t.mu.RLock()
			p := t.packs[name]
			t.mu.RUnlock()
			footer, err := l.packFooter(gctx, t.bucket, p)
			if isCorrupt(err) { // or only the answer was cut short
				if whole := wholePack(gctx, t.bucket, p); !faulty(whole) {
					return fmt.Errorf("%s: %w", name, errors.Join(err, whole))
				}
			}
			if faulty(err) {
				his, live := t.sliceIn(p, user)
				switch {
				case !his:
					return nil // it must not keep him from being forgotten
				case live == 0: // it may be deleted, and the process died before it took note
					mu.Lock()
					defer mu.Unlock()
					of[name] = p
					return nil
				}
			}
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if _, _, ok := footer.directory.find(user); ok {
				mu.Lock()
				defer mu.Unlock()
				of[name] = p
			}
			return nil
		})
	}
	return of, g.Wait()
}

// sliceIn says whether the log knows of rows of a user in p, also removed ones, and how many
// slices of p are live.
func (t *table) sliceIn(p *packState, user row.UserID) (his bool, live int) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if of := t.partitions[user]; of != nil {
		his = slices.ContainsFunc(of.files, func(f *File) bool { return f.Name == p.name })
	}
	his = his || slices.ContainsFunc(t.dead, func(d deadFile) bool { return d.file.Partition.User == user && d.file.Name == p.name })
	return his, p.live
}

// repack writes the live slices of a pack but those of one user to other packs, and puts
// the changes to commit for that into changes. The caller holds busy.
func (l *Lake) repack(ctx context.Context, t *table, name string, without row.UserID, changes map[row.UserID]*change) error {
	var moved []*File // by user
	for _, user := range t.users() {
		m := t.manifest(user)
		m.Release()
		for _, f := range m.Files {
			if f.Name == name && user != without {
				moved = append(moved, f)
			}
		}
	}
	if len(moved) == 0 {
		return nil
	}
	s := l.schemaAt(t, moved[0].SchemaVersion)
	if s == nil {
		return corruptf("%s: schema version %d, which the table never had", name, moved[0].SchemaVersion)
	}
	of := func(user row.UserID) *change {
		if changes[user] == nil {
			changes[user] = &change{User: user, Through: t.through(user)}
		}
		return changes[user]
	}
	w := l.newPackWriter(t, s, func(list []packed, d *packDirectory, body []byte) error {
		for i := range list {
			c := of(list[i].user)
			c.Added = append(c.Added, list[i].file)
		}
		return l.putPack(ctx, t, list, d, body)
	})
	var key []byte
	for _, f := range moved {
		w.begin(f.Partition.User)
		err := l.eachOfSlice(ctx, t.bucket, f, s, func(r *row.Row) error {
			key = key[:0]
			for _, i := range w.layout.key {
				key = row.AppendKey(key, r.Values[i])
			}
			return w.write(key, r)
		})
		if err == nil {
			err = w.end()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		c := of(f.Partition.User)
		c.Removed = append(c.Removed, name)
	}
	return w.finish()
}

package lake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"regexp"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"
	"golang.org/x/sync/errgroup"

	"kalamdb/storagelocations"
)

const upkeepInterval = 10 * time.Second

// Run does the upkeep until ctx is done: compaction, checkpoints, deleting removed files
// and, once in a SweepInterval, what crashed flushes left behind. Each time it looks at the log of
// one table whether another server has taken over: whoever starts claims all tables that
// have rows of others. Faults of the bucket are logged and tried again; ErrFenced ends
// Run at once, also that of a Flush.
func (l *Lake) Run(ctx context.Context) error {
	defer l.cache.close()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.upkeepLoop(gctx) })
	g.Go(func() error { return l.compactLoop(gctx) })
	return g.Wait()
}

func (l *Lake) upkeepLoop(ctx context.Context) error {
	tick := time.NewTicker(upkeepInterval)
	defer tick.Stop()
	swept := time.Now()
	for turn := 0; ; turn++ {
		select {
		case <-ctx.Done():
			return nil
		case <-l.fenced:
			return l.fencedBy
		case <-tick.C:
		}
		sweep := time.Since(swept) >= l.opts.SweepInterval
		if sweep {
			swept = time.Now()
		}
		tables := l.sorted()
		for i, t := range tables {
			var err error
			if i == turn%len(tables) {
				err = l.lookout(ctx, t)
			}
			if err == nil {
				err = l.checkpoint(ctx, t)
			}
			if err == nil {
				err = l.buryDead(ctx, t)
			}
			switch {
			case ctx.Err() != nil:
				return nil
			case errors.Is(err, ErrFenced):
				return fmt.Errorf("upkeep of %s: %w", t.ref, err)
			case err != nil:
				l.opts.Logger.Warn("upkeep of a table failed, it will be tried again", "table", t.ref.String(), "err", err)
			}
		}
		if !sweep {
			continue
		}
		switch err := l.sweep(ctx, tables...); {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrFenced):
			return fmt.Errorf("collect unnamed files: %w", err)
		case err != nil:
			l.opts.Logger.Warn("files of crashed flushes were not all collected, it will be tried again", "err", err)
		}
	}
}

var batchName = regexp.MustCompile(`^batch-[0-9]+-[0-9]+-[0-9a-f]{16}\.parquet$`)

// sweep deletes the orphans of tables: files of crashed or failed flushes that no entry names.
//
// A file is deleted only if its name is one of ours, in a folder of the table's
// template; it is older than Grace; no table refers to it; its footer says that it was
// written for this very table; and the end of the log is still where we think it is.
// Flushes wait meanwhile, and a flush that uses an orphan again puts it anew.
func (l *Lake) sweep(ctx context.Context, tables ...*table) error {
	old, err := l.unnamed(ctx, tables)
	failed := []error{err}
	for _, t := range tables {
		if err := l.dropOld(ctx, t, old[t]); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", t.ref, err))
		}
	}
	return errors.Join(failed...)
}

// unnamed are the files that may be orphans of tables. A prefix that tables share is listed once.
// What it returns beside an error is good too.
func (l *Lake) unnamed(ctx context.Context, tables []*table) (map[*table][]storagelocations.Info, error) {
	type place struct{ root, prefix string }
	type owner struct {
		t    *table
		ours func(name string) bool
	}
	var places []place
	owners := map[place][]owner{}
	referenced := map[string]map[string]bool{} // by root
	for _, t := range tables {
		prefix, ours := t.folders()
		for _, prefix := range []string{prefix, t.packFolder()} {
			at := place{t.root, prefix}
			if owners[at] == nil {
				places = append(places, at)
			}
			owners[at] = append(owners[at], owner{t, ours})
		}
		if referenced[t.root] == nil {
			referenced[t.root] = l.referenced(t.root)
		}
	}
	old := map[*table][]storagelocations.Info{}
	var failed []error
	for _, at := range places {
		of := owners[at]
		for info, err := range of[0].t.bucket.List(ctx, at.prefix) {
			if err != nil {
				failed = append(failed, fmt.Errorf("list %s: %w", at.prefix, err))
				break
			}
			if time.Since(info.Modified) <= l.opts.Grace || referenced[at.root][info.Name] {
				continue
			}
			for _, o := range of {
				if o.ours(info.Name) {
					old[o.t] = append(old[o.t], info)
				}
			}
		}
	}
	return old, errors.Join(failed...)
}

// dropOld deletes those of the old files that are orphans of t.
func (l *Lake) dropOld(ctx context.Context, t *table, old []storagelocations.Info) (err error) {
	if len(old) == 0 {
		return nil
	}
	if !t.lock(ctx.Done()) {
		return ctx.Err()
	}
	defer t.unlock()
	if t.isDropped() {
		return nil
	}
	t.unsure = true
	if err := l.verify(ctx, t); err != nil {
		return err
	}
	referenced := l.referenced(t.root) // a flush may have come between
	info := CollectInfo{Table: t.ref, Orphans: true}
	defer func() { l.collected(&info, err) }()
	for _, o := range old {
		name := o.Name
		if referenced[name] {
			continue
		}
		if own, err := writtenFor(ctx, t, name); err != nil {
			l.opts.Logger.Warn("a file no log names cannot be read and is left alone", "name", name, "err", err)
			continue
		} else if !own {
			continue
		}
		if err := l.dropFile(ctx, t, name); err != nil {
			return err
		}
		l.deleted(t, name, true)
		info.Files, info.Bytes = info.Files+1, info.Bytes+o.Size
	}
	return nil
}

// referenced are the names of all files in the bucket with the given url that the
// lake knows, the dead ones too. Tables may share folders.
func (l *Lake) referenced(root string) map[string]bool {
	names := map[string]bool{}
	for _, t := range l.sorted() {
		if t.root != root {
			continue
		}
		t.mu.RLock()
		for _, p := range t.partitions {
			for _, f := range p.files {
				names[f.Name] = true
			}
		}
		for _, d := range t.dead {
			names[d.file.Name] = true
		}
		t.mu.RUnlock()
	}
	return names
}

// listFiles lists the folders of t, in which others may have files too.
func (t *table) listFiles(ctx context.Context) iter.Seq2[storagelocations.Info, error] {
	prefix, _ := t.folders()
	return func(yield func(storagelocations.Info, error) bool) {
		for _, prefix := range []string{prefix, t.packFolder()} {
			for info, err := range t.bucket.List(ctx, prefix) {
				if err != nil {
					yield(info, fmt.Errorf("list %s: %w", prefix, err))
					return
				}
				if !yield(info, nil) {
					return
				}
			}
		}
	}
}

// folders is what the names of all files of t start with but those of packs, and a test for
// the names of both.
func (t *table) folders() (prefix string, ours func(name string) bool) {
	const someone = "kalamdbsomeone" // needs no encoding
	path := t.path(someone)
	parts := strings.Split(path, someone)
	for i, p := range parts {
		parts[i] = regexp.QuoteMeta(p)
	}
	folder := regexp.MustCompile(`^` + strings.Join(parts, `[^/]+`) + `$`)
	prefix, _, _ = strings.Cut(t.fileName(someone, ""), someone)
	packs := t.packFolder()
	return prefix, func(name string) bool {
		if pack, ok := strings.CutPrefix(name, packs); ok && packName.MatchString(pack) {
			return true
		}
		i := strings.LastIndexByte(name, '/')
		return batchName.MatchString(name[i+1:]) && folder.MatchString(name[:max(i, 0)])
	}
}

// writtenFor says whether the footer of the object names the table t.
func writtenFor(ctx context.Context, t *table, name string) (bool, error) {
	r, info, err := t.bucket.Get(ctx, name)
	if err != nil {
		if errors.Is(err, storagelocations.ErrNotExist) {
			return false, nil
		}
		return false, err
	}
	r.Close()
	in := &ranges{ctx: ctx, bucket: t.bucket, name: name, size: info.Size}
	f, err := parquet.OpenFile(in, info.Size,
		parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true), parquet.OptimisticRead(true), parquet.ReadBufferSize(64<<10))
	switch {
	case errors.Is(in.err, storagelocations.ErrNotExist):
		return false, nil
	case in.err != nil:
		return false, in.err
	case err != nil:
		return false, corruptf("%v", err)
	}
	id, ok := f.Lookup(metaTableID)
	return ok && id == tableID(t.ref.ID), nil
}

// ranges reads an object of a bucket piece by piece.
type ranges struct {
	ctx    context.Context
	bucket storagelocations.Bucket
	name   string
	size   int64 // of the object
	err    error // of the bucket, the first one
}

func (r *ranges) ReadAt(b []byte, off int64) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	body, err := r.bucket.GetRange(r.ctx, r.name, off, int64(len(b)))
	if err != nil {
		r.err = cmp.Or(r.err, err)
		return 0, err
	}
	defer body.Close()
	n, err := io.ReadFull(body, b)
	switch {
	case err == nil:
		return n, nil
	case off+int64(n) >= r.size && (err == io.EOF || err == io.ErrUnexpectedEOF):
		return n, io.EOF // the end of the object
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	r.err = cmp.Or(r.err, fmt.Errorf("get %s: %d of %d bytes from %d on: %w", r.name, n, len(b), off, err))
	return n, r.err
}

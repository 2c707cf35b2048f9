package lake

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"kalamdb/row"
	"kalamdb/storagelocations"
)

// checkpoint writes the state of t if CheckpointEntries entries have been applied since
// the last one, and deletes the entries and checkpoints nobody needs any more.
func (l *Lake) checkpoint(ctx context.Context, t *table) error {
	if !t.lock(ctx.Done()) {
		return ctx.Err()
	}
	defer t.unlock()
	if t.fenced != nil {
		return t.fenced
	}
	if t.isDropped() || t.last < t.checkpointed+uint64(l.opts.CheckpointEntries) {
		return nil
	}
	if err := l.verify(ctx, t); err != nil {
		return err
	}
	start := time.Now()
	e := t.snapshot()
	e.Node, e.Writer, e.Nonce = l.opts.Node, l.writer, randomName()
	e.Time = start.UTC().Truncate(time.Microsecond)
	body := e.encode()
	// Whoever is first describes the same entries: an existing checkpoint is as good.
	_, err := l.opts.Meta.Put(ctx, t.checkpointName(e.Number), body, storagelocations.Cond{IfNoneMatch: true})
	if err != nil && !errors.Is(err, storagelocations.ErrPrecondition) {
		return err
	}
	t.checkpointed = e.Number
	if l.opts.Events.Checkpointed != nil {
		l.opts.Events.Checkpointed(CheckpointInfo{Table: t.ref, Entry: e.Number, Bytes: len(body), Took: time.Since(start)})
	}
	return l.trimLog(ctx, t)
}

// snapshot is the state of t as a checkpoint.
func (t *table) snapshot() *entry {
	t.mu.RLock()
	defer t.mu.RUnlock()
	e := &entry{Version: formatVersion, Number: t.last}
	for _, user := range slices.Sorted(maps.Keys(t.partitions)) {
		p := t.partitions[user]
		c := change{User: user, Through: p.through, Added: make([]fileEntry, len(p.files))}
		for i, f := range p.files {
			c.Added[i] = entryOf(f)
		}
		e.Partitions = append(e.Partitions, c)
	}
	e.Nodes = t.marks()
	for _, d := range t.dead {
		e.Dead = append(e.Dead, deadEntry{User: d.file.Partition.User, Removed: d.removed, File: entryOf(d.file)})
	}
	return e
}

// restore makes the checkpoint e the state of t.
func (t *table) restore(e *entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range e.Partitions {
		c := &e.Partitions[i]
		p := &partition{through: c.Through, files: make([]*File, len(c.Added))}
		for j := range c.Added {
			p.files[j] = c.Added[j].file(t, c.User, e.Time)
			if pack := p.files[j].pack; pack != nil {
				pack.live++
			}
		}
		t.partitions[c.User] = p
		t.maxSeq = max(t.maxSeq, c.Through)
	}
	for i := range e.Dead {
		d := &e.Dead[i]
		t.dead = append(t.dead, deadFile{file: d.File.file(t, d.User, e.Time), removed: d.Removed, version: e.Number})
	}
	for _, m := range e.Nodes {
		t.nodes[m.Node] = m
	}
	t.last, t.checkpointed = e.Number, e.Number
}

// trimLog deletes the entries covered by the newest checkpoint that are older than
// LogRetention, and all checkpoints but the newest two. The caller holds busy.
func (l *Lake) trimLog(ctx context.Context, t *table) error {
	var old []string
	for info, err := range l.opts.Meta.List(ctx, t.folder("log")) {
		if err != nil {
			return fmt.Errorf("list %s: %w", t.folder("log"), err)
		}
		n, ok := numberOf(info.Name)
		if ok && n <= t.checkpointed && time.Since(info.Modified) > l.opts.LogRetention {
			old = append(old, info.Name)
		}
	}
	checkpoints, err := numbers(ctx, l.opts.Meta, t.folder("checkpoint"))
	if err != nil {
		return err
	}
	for _, n := range checkpoints[:max(0, len(checkpoints)-2)] {
		old = append(old, t.checkpointName(n))
	}
	for _, name := range old {
		if err := l.opts.Meta.Delete(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// buryDead deletes the removed files nobody can be reading any more: removed longer than
// Grace ago, and every manifest that names them is released.
func (l *Lake) buryDead(ctx context.Context, t *table) (err error) {
	if !t.lock(ctx.Done()) {
		return ctx.Err()
	}
	defer t.unlock()
	if t.fenced != nil {
		return t.fenced
	}
	ready := t.deletable(time.Now().Add(-l.opts.Grace))
	if len(ready) == 0 {
		return nil
	}
	// A server that has been replaced must not delete what its successor put back to use.
	t.unsure = true
	if err := l.verify(ctx, t); err != nil {
		return err
	}
	info := CollectInfo{Table: t.ref}
	defer func() { l.collected(&info, err) }()
	return l.bury(ctx, t, ready, &info)
}

// bury deletes dead files that are deletable, and counts them in info. The caller holds busy.
func (l *Lake) bury(ctx context.Context, t *table, files []*File, info *CollectInfo) (err error) {
	gone := map[string]bool{}
	for _, f := range files {
		if gone[f.Name] {
			continue // a slice of a pack that is deleted
		}
		if err = l.dropFile(ctx, t, f.Name); err != nil {
			break
		}
		gone[f.Name] = true
		size := f.Bytes
		if f.pack != nil {
			size = f.pack.Bytes
		}
		info.Files, info.Bytes = info.Files+1, info.Bytes+size
		l.deleted(t, f.Name, false)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	buried := map[*File]bool{}
	for _, f := range files {
		buried[f] = gone[f.Name]
	}
	t.dead = slices.DeleteFunc(t.dead, func(d deadFile) bool { return buried[d.file] })
	for name := range gone {
		delete(t.packs, name)
	}
	return err
}

// deletable are the dead files removed before the given time that no manifest names.
func (t *table) deletable(before time.Time) []*File {
	t.mu.RLock()
	defer t.mu.RUnlock()
	oldest := t.last
	for version := range t.pins {
		oldest = min(oldest, version)
	}
	waits := func(d *deadFile) bool { return d.version > oldest || !d.removed.Before(before) }
	inUse := map[*packState]bool{} // by slices that still have to wait
	for i := range t.dead {
		if d := &t.dead[i]; d.file.pack != nil && waits(d) {
			inUse[d.file.pack] = true
		}
	}
	live := map[string]bool{}
	var ready []*File
	for i := range t.dead {
		d := &t.dead[i]
		if waits(d) {
			continue
		}
		if p := d.file.pack; p != nil {
			if p.live == 0 && !inUse[p] {
				ready = append(ready, d.file)
			}
			continue
		}
		if len(live) == 0 {
			for _, p := range t.partitions {
				for _, f := range p.files {
					live[f.Name] = true
				}
			}
		}
		if !live[d.file.Name] {
			ready = append(ready, d.file)
		}
	}
	return ready
}

func (l *Lake) collected(info *CollectInfo, err error) {
	if info.Err = err; l.opts.Events.Collected != nil && (info.Files > 0 || err != nil) {
		l.opts.Events.Collected(*info)
	}
}

func (l *Lake) deleted(t *table, name string, orphan bool) {
	if l.opts.Events.Deleted != nil {
		l.opts.Events.Deleted(DeleteInfo{Table: t.ref, Name: name, Orphan: orphan})
	}
}

// users are the users with a partition, sorted.
func (t *table) users() []row.UserID {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.Sorted(maps.Keys(t.partitions))
}

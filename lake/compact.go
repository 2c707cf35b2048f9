package lake

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"kalamdb/catalog"
	"kalamdb/row"
)

// A compaction of a partition replaces some of its files by others with the same rows,
// without the versions that newer ones replaced and the deleted rows that are past their
// retention. Its life:
//
//  1. chosen: files of one moment, see choose.
//  2. merged: the outputs are in the bucket, unreferenced, under names nobody has used.
//  3. committed: one log entry adds the outputs and removes the inputs of all partitions
//     of the round. If one of the inputs is gone by then, that partition is left out.
//  4. buried: the inputs are deleted after Grace, when no manifest names them (checkpoint.go).
//
// A crash before 3 leaves orphans for the sweep; nothing is ever half done.
//
// Readers take a moment of the buffer first and a manifest second, and leave out files
// that reach beyond the moment, since the buffer had their rows. A merged file that
// reached beyond it would hide older rows, so none ever does: a compaction takes only
// files that lie within every moment that is open (Options.Oldest), and whoever
// opens one later has all files that were there when it chose.

const (
	compactRoundMax      = 256     // partitions committed together
	compactRoundBytesMax = 1 << 30 // of inputs; the partition that passes it is the last of its round
	compactOpenMax       = 64      // inputs that are open at once
	compactRetry         = 10 * time.Minute
	compactRescan        = time.Hour // between two looks for deleted rows past their retention in a quiet table
)

// A compaction is what a round does to one partition.
type compaction struct {
	user   row.UserID
	inputs []*File
	others []*File // of the partition at that moment
	schema *row.Schema
	cutoff int64 // deleted rows not newer than this go, µs since 1970

	change  change
	rowsOut int64
	bytes   int64 // of the outputs
	err     error
}

// Compact merges the files of all partitions of a table as far as it makes sense, and
// waits. Files that a reader's moment does not include yet stay as they are.
func (l *Lake) Compact(ctx context.Context, table row.TableRef) (CompactInfo, error) {
	total := CompactInfo{Table: table}
	t, err := l.known(ctx, table.ID)
	if err != nil {
		return total, fmt.Errorf("compact %s: %w", table, err)
	}
	start := time.Now()
	users := t.users()
	merged := map[row.UserID]struct{}{}
	for len(users) > 0 && err == nil {
		var info CompactInfo
		info, users, err = l.compact(ctx, t, users, true, nil)
		total.add(&info)
		for _, u := range info.users {
			merged[u] = struct{}{}
		}
	}
	total.Partitions = len(merged)
	total.Took = time.Since(start)
	if err != nil {
		return total, fmt.Errorf("compact %s: %w", table, err)
	}
	return total, nil
}

// compactLoop compacts what is due until ctx is done.
func (l *Lake) compactLoop(ctx context.Context) error {
	if l.opts.CompactOff {
		return nil
	}
	tick := time.NewTicker(l.opts.CompactInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, t := range l.sorted() {
			err := l.compactDue(ctx, t)
			switch {
			case ctx.Err() != nil:
				return nil
			case errors.Is(err, ErrFenced):
				return fmt.Errorf("compaction of %s: %w", t.ref, err)
			case err != nil:
				l.opts.Logger.Warn("compaction failed, it will be tried again", "table", t.ref.String(), "err", err)
			}
		}
	}
}

// A compactMark is what compaction remembers of a table.
type compactMark struct {
	// Of compactLoop alone.
	entry  uint64                   // the log had no work up to here
	again  time.Time                // but look again then
	failed map[row.UserID]time.Time // partitions that are left alone until then

	// Guarded by table.compacting.
	schema   uint32    // the newest version, when last seen
	schemaAt time.Time // and since when
}

// compactDue compacts the partitions of t that are due.
func (l *Lake) compactDue(ctx context.Context, t *table) error {
	t.mu.RLock()
	last := t.last
	t.mu.RUnlock()
	m := &t.compacted
	if last == m.entry && time.Now().Before(m.again) {
		return nil
	}
	if m.failed == nil {
		m.failed = map[row.UserID]time.Time{}
	}
	users, err := t.users(), error(nil)
	for user, until := range m.failed {
		if time.Now().After(until) {
			delete(m.failed, user)
		}
	}
	users = slices.DeleteFunc(users, func(u row.UserID) bool { _, failed := m.failed[u]; return failed })
	held := false
	for len(users) > 0 && err == nil {
		_, users, err = l.compact(ctx, t, users, false, &held)
	}
	if err == nil && !held && len(m.failed) == 0 {
		m.entry, m.again = last, time.Now().Add(compactRescan)
	}
	return err
}

// compact does one round: it goes through users until there is enough to do, and gives
// back those that are left to look at. all is for COMPACT TABLE. held is set when open
// moments keep files from being taken.
func (l *Lake) compact(ctx context.Context, t *table, users []row.UserID, all bool, held *bool) (info CompactInfo, rest []row.UserID, err error) {
	info = CompactInfo{Table: t.ref}
	select {
	case <-t.compacting:
		defer func() { t.compacting <- struct{}{} }()
	case <-ctx.Done():
		return info, nil, ctx.Err()
	}
	if t.isDropped() {
		return info, nil, ErrUnknownTable
	}
	start := wallClock()
	work, rest := l.chooseRound(t, users, all, held)
	if len(work) == 0 {
		return info, rest, nil
	}
	for _, c := range work {
		info.Partitions++
		info.users = append(info.users, c.user)
		info.FilesIn += int64(len(c.inputs))
		for _, f := range c.inputs {
			info.RowsIn += f.Rows
			info.BytesIn += f.Bytes
		}
	}
	if l.opts.Events.Compacting != nil {
		var done func(CompactInfo, error)
		ctx, done = l.opts.Events.Compacting(ctx, info)
		defer func() { done(info, err) }()
	}
	defer func() { info.Took = wallClock().Sub(start) }()
	err = l.mergeRound(ctx, t, work)
	if err == nil {
		err = l.commitRound(ctx, t, work, start)
	}
	for _, c := range work {
		if c.err == nil {
			info.FilesOut += int64(len(c.change.Added))
			info.RowsOut += c.rowsOut
			info.BytesOut += c.bytes
			continue
		}
		if err == nil {
			info.FilesOut += int64(len(c.inputs)) // left as they were
			for _, f := range c.inputs {
				info.RowsOut += f.Rows
				info.BytesOut += f.Bytes
			}
		}
		if errors.Is(c.err, errGone) {
			rest = append(rest, c.user)
			continue
		}
		info.Failed++
		if err == nil {
			err = fmt.Errorf("%s: %w", row.Partition{Table: t.ref, User: c.user}, c.err)
		}
		if !all {
			t.compacted.failed[c.user] = time.Now().Add(compactRetry)
		}
	}
	return info, rest, err
}

// chooseRound finds work among users and returns the ones it did not come to. A
// partition that needs another round is among them.
func (l *Lake) chooseRound(t *table, users []row.UserID, all bool, held *bool) (work []*compaction, rest []row.UserID) {
	// The schema before the partitions, those before the open moments: see the top.
	newest := l.newestSchema(t)
	if m := &t.compacted; m.schema != newest.Version {
		m.schema, m.schemaAt = newest.Version, time.Now()
	}
	t.mu.RLock()
	partitions := maps.Clone(t.partitions)
	t.mu.RUnlock()
	oldest, opened := row.Seq(math.MaxUint64), time.Now()
	if l.opts.Oldest != nil {
		if seq, since, any := l.opts.Oldest(); any {
			oldest, opened = seq, since
		}
	}
	cutoff := int64(math.MinInt64)
	if retention := l.retention(t); retention >= 0 {
		cutoff = time.Now().Add(-retention).UnixMicro()
	}
	ch := chooser{small: l.opts.FileBytesMax / 2, filesMax: l.opts.CompactFiles, oldest: oldest, cutoff: cutoff, all: all, packRows: int64(l.opts.PackRowsMax)}
	if l.opts.PackAge > 0 {
		ch.packed = time.Now().Add(-l.opts.PackAge)
	}
	if opened.After(t.compacted.schemaAt) || l.opts.Oldest == nil {
		ch.schema = newest.Version
	}
	var again []row.UserID
	bytes := int64(0)
	for i, user := range users {
		p := partitions[user]
		if p == nil {
			continue
		}
		inputs, more := ch.choose(p.files)
		if held != nil && ch.held {
			*held = true
		}
		if len(inputs) == 0 {
			continue
		}
		c := &compaction{user: user, inputs: inputs, cutoff: cutoff, schema: newest}
		if ch.schema == 0 {
			// A reader may know an older schema than the newest, but it knows that of
			// every row of its moment.
			version := uint32(0)
			for _, f := range inputs {
				version = max(version, f.SchemaVersion)
			}
			c.schema = l.schemaAt(t, version)
		}
		for _, f := range p.files {
			if !slices.Contains(inputs, f) {
				c.others = append(c.others, f)
			}
		}
		work = append(work, c)
		if more {
			again = append(again, user)
		}
		for _, f := range inputs {
			bytes += f.Bytes
		}
		if len(work) == compactRoundMax || bytes >= compactRoundBytesMax {
			rest = users[i+1:]
			break
		}
	}
	return work, append(again, rest...)
}

// newestSchema is the current schema of t.
func (l *Lake) newestSchema(t *table) *row.Schema {
	return l.current(t).Schema()
}

// current is t as the catalog has it now.
func (l *Lake) current(t *table) *catalog.Table {
	if l.opts.Tables != nil {
		if c, ok := l.opts.Tables(t.ref.ID); ok {
			return c
		}
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.catalog
}

// retention is how long deleted rows of t are kept; negative: for ever.
func (l *Lake) retention(t *table) time.Duration {
	return l.current(t).DeletedRetention
}

// mergeRound writes the outputs of all partitions. What is wrong with one of them is
// its err; the error returned ends the round.
func (l *Lake) mergeRound(ctx context.Context, t *table, work []*compaction) error {
	var g errgroup.Group
	for _, c := range work {
		select {
		case l.merges <- struct{}{}:
		case <-ctx.Done():
			g.Wait()
			return ctx.Err()
		}
		g.Go(func() error {
			defer func() { <-l.merges }()
			if c.err = l.merge(ctx, t, c); c.err != nil {
				l.unput(ctx, t, c)
			}
			return nil
		})
	}
	g.Wait()
	return ctx.Err()
}

// errGone: a partition has changed so that what was merged is of no use.
var errGone = errors.New("the files of the partition have changed")

// commitRound makes the outputs count and the inputs not.
func (l *Lake) commitRound(ctx context.Context, t *table, work []*compaction, start time.Time) error {
	if !t.lock(ctx.Done()) {
		return ctx.Err()
	}
	defer t.unlock()
	if err := l.verify(ctx, t); err != nil {
		return err
	}
	if by, ok := t.overtaken(l.opts.Node); ok {
		return fmt.Errorf("%w (node %s has, and this server has not claimed it since)", ErrFenced, by)
	}
	for {
		changes := l.stillRight(ctx, t, work)
		parts := splitChanges(changes)
		if len(parts) == 0 {
			return nil
		}
		// Unreferenced files older than Grace may be deleted.
		if took := wallClock().Sub(start); took > l.opts.Grace/2 || took < -l.opts.Grace/2 {
			return fmt.Errorf("the round took %s, longer than half of the grace of %s for unreferenced files", took, l.opts.Grace)
		}
		e, err := l.commit(ctx, t, parts[0])
		if errors.Is(err, errRetry) {
			continue
		}
		if err != nil {
			return err
		}
		for _, c := range work {
			if slices.ContainsFunc(parts[0], func(p change) bool { return p.User == c.user }) {
				c.change.Removed = nil // done
			}
		}
		l.committed(t, e, wallClock().Sub(start))
		if len(parts) == 1 {
			return nil
		}
	}
}

// stillRight are the changes to commit. The caller holds busy.
func (l *Lake) stillRight(ctx context.Context, t *table, work []*compaction) []change {
	var changes []change
	for _, c := range work {
		if c.err != nil || len(c.change.Removed) == 0 {
			continue
		}
		t.mu.RLock()
		p := t.partitions[c.user]
		gone := t.dropped || p == nil || slices.ContainsFunc(c.inputs, func(f *File) bool { return !slices.Contains(p.files, f) })
		t.mu.RUnlock()
		if gone {
			c.err = errGone
			l.unput(ctx, t, c)
			continue
		}
		c.change.Through = p.through
		changes = append(changes, c.change)
	}
	sortChanges(changes)
	return changes
}

// unput deletes outputs that will never be committed, as well as it can: no entry has
// named them or will.
func (l *Lake) unput(ctx context.Context, t *table, c *compaction) {
	for _, f := range c.change.Added {
		if l.dropFile(context.WithoutCancel(ctx), t, f.Name) != nil {
			return // the sweep finds them
		}
	}
	c.change.Added = nil
}

package lake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"
)

// Who owns a table? Whoever wrote the last entry of its log. A server that starts where
// another one has committed rows goes through three steps:
//
//  1. [Open] loads all entries. Tables with rows of another node behind the last entry of
//     this one are overtaken: [Lake.Overtaken].
//  2. The buffer opens. If it has rows of such a table, history has split: those rows
//     were acknowledged in ignorance of the other's. The start has to fail.
//  3. Otherwise [Lake.Claim] writes an empty entry to each. From there on the other
//     server is fenced, and whatever this one buffers is above all that is in the lake.
//
// An empty entry overtakes nobody: a server started by mistake does no lasting harm as
// long as it has committed no rows.

// nodesMax is how many nodes a checkpoint remembers, those that wrote last. One that is
// forgotten counts as overtaken.
const nodesMax = 64

// A nodeMark says which entries of a log a node wrote last.
type nodeMark struct {
	Node string `json:"node"`
	Last uint64 `json:"last"`           // number of its last entry
	Rows uint64 `json:"rows,omitempty"` // and of its last one that changed a partition
}

// mark notes who wrote e. The caller holds mu.
func (t *table) mark(e *entry) {
	m := t.nodes[e.Node]
	m.Node, m.Last = e.Node, e.Number
	if len(e.Partitions) > 0 {
		m.Rows = e.Number
	}
	t.nodes[e.Node] = m
}

// marks are the nodes for a checkpoint. The caller holds mu.
func (t *table) marks() []nodeMark {
	list := slices.SortedFunc(maps.Values(t.nodes), func(a, b nodeMark) int { return cmp.Compare(b.Last, a.Last) })
	return list[:min(len(list), nodesMax)]
}

// overtaken is the node that committed rows last, if it did so behind the last entry of node.
func (t *table) overtaken(node string) (by string, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	newest := t.nodes[node].Last
	for name, m := range t.nodes {
		if name != node && m.Rows > newest {
			by, ok, newest = name, true, m.Rows
		}
	}
	return by, ok
}

// Overtaken are the tables in which another node has committed rows since this one
// wrote to their log, by id, with the name of that node. Nothing of them can be flushed before Claim.
func (l *Lake) Overtaken() map[uint64]string {
	tables := map[uint64]string{}
	for _, t := range l.sorted() {
		if by, ok := t.overtaken(l.opts.Node); ok {
			tables[t.ref.ID] = by
		}
	}
	return tables
}

// Claim makes this node the owner of the overtaken tables, at one put each. Call it
// before the first commit, and only if no row of them is buffered. ErrFenced means
// that the other server is still writing.
func (l *Lake) Claim(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(loadParallel)
	for _, t := range l.sorted() {
		if _, ok := t.overtaken(l.opts.Node); ok {
			g.Go(func() error {
				if err := l.claim(gctx, t); err != nil {
					return fmt.Errorf("claim %s: %w", t.ref, err)
				}
				return nil
			})
		}
	}
	return g.Wait()
}

func (l *Lake) claim(ctx context.Context, t *table) error {
	if !t.lock(ctx.Done()) {
		return ctx.Err()
	}
	defer t.unlock()
	for {
		if err := l.verify(ctx, t); err != nil {
			return err
		}
		if _, ok := t.overtaken(l.opts.Node); !ok {
			return nil
		}
		if _, err := l.commit(ctx, t, nil); !errors.Is(err, errRetry) {
			return err
		}
	}
}

// lookout sees whether the log of t has an entry of another server, so that a server
// that is replaced does not go on acknowledging rows until its next flush.
func (l *Lake) lookout(ctx context.Context, t *table) error {
	if !t.lock(ctx.Done()) {
		return ctx.Err()
	}
	defer t.unlock()
	if t.isDropped() {
		return nil
	}
	t.unsure = true
	return l.verify(ctx, t)
}

// fence ends all writing to t, and Run. The caller holds busy.
func (l *Lake) fence(t *table, format string, args ...any) error {
	t.fenced = fmt.Errorf("%w (%s)", ErrFenced, fmt.Sprintf(format, args...))
	l.fenceOnce.Do(func() {
		l.fencedBy = fmt.Errorf("%s: %w", t.ref, t.fenced)
		close(l.fenced)
	})
	return t.fenced
}

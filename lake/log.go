package lake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"kalamdb/storagelocations"
)

// read gets a whole object.
func read(ctx context.Context, b storagelocations.Bucket, name string) ([]byte, error) {
	r, info, err := b.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	body := make([]byte, 0, info.Size+1)
	for {
		if len(body) == cap(body) {
			body = append(body, 0)[:len(body)]
		}
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if err == io.EOF && int64(len(body)) < info.Size {
			err = fmt.Errorf("%w: %d bytes of %d", io.ErrUnexpectedEOF, len(body), info.Size)
		}
		if err == io.EOF {
			return body, nil
		}
		if err != nil {
			return nil, fmt.Errorf("get %s: %w", name, err)
		}
	}
}

// readEntry gets entry or checkpoint n.
func readEntry(ctx context.Context, b storagelocations.Bucket, name string, n uint64) (*entry, error) {
	body, err := read(ctx, b, name)
	if err != nil {
		return nil, err
	}
	e, err := decodeEntry(body, n)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return e, nil
}

// numbers lists the entries or checkpoints of a table, ascending.
func numbers(ctx context.Context, b storagelocations.Bucket, folder string) ([]uint64, error) {
	var list []uint64
	for info, err := range b.List(ctx, folder) {
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", folder, err)
		}
		if n, ok := numberOf(info.Name); ok {
			list = append(list, n)
		}
	}
	return list, nil
}

// load reads the newest checkpoint of t and the entries after it.
func (l *Lake) load(ctx context.Context, t *table) error {
	checkpoints, entries, err := l.logNumbers(ctx, t)
	if err != nil {
		return err
	}
	var newest uint64
	if len(checkpoints) > 0 {
		newest = checkpoints[len(checkpoints)-1]
	}
	return l.replay(ctx, t, newest, entries)
}

// logNumbers lists the checkpoints and the entries of t, ascending.
func (l *Lake) logNumbers(ctx context.Context, t *table) (checkpoints, entries []uint64, err error) {
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		checkpoints, err = numbers(gctx, l.opts.Meta, t.folder("checkpoint"))
		return err
	})
	g.Go(func() (err error) {
		entries, err = numbers(gctx, l.opts.Meta, t.folder("log"))
		return err
	})
	err = g.Wait()
	return checkpoints, entries, err
}

// replay makes the given checkpoint, 0 for none, and the entries behind it the state of t, which is empty.
func (l *Lake) replay(ctx context.Context, t *table, checkpoint uint64, entries []uint64) error {
	if checkpoint > 0 {
		e, err := readEntry(ctx, l.opts.Meta, t.checkpointName(checkpoint), checkpoint)
		if err != nil {
			return err
		}
		t.restore(e)
	}
	// The entries are read in parallel and applied in order.
	var todo []uint64
	for _, n := range entries {
		if n > t.last {
			todo = append(todo, n)
		}
	}
	read := make([]*entry, len(todo))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(loadParallel)
	for i, n := range todo {
		g.Go(func() (err error) {
			read[i], err = readEntry(gctx, l.opts.Meta, t.entryName(n), n)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, e := range read {
		if err := t.apply(e); err != nil {
			return err
		}
	}
	t.verified = wallClock()
	return nil
}

// catchUp applies the entries behind the last known one. Only this Lake, or the
// process before it on the same data directory, may have written them: anything
// else fences. The caller holds busy.
func (l *Lake) catchUp(ctx context.Context, t *table) error {
	for {
		n := t.last + 1
		e, err := readEntry(ctx, l.opts.Meta, t.entryName(n), n)
		if errors.Is(err, storagelocations.ErrNotExist) {
			t.unsure, t.verified = false, wallClock()
			return nil
		}
		if err != nil {
			return err
		}
		if e.Writer != l.writer && (e.Node != l.opts.Node || !e.Time.Before(l.opened)) {
			return l.fence(t, "entry %d is of node %s", n, e.Node)
		}
		if err := t.apply(e); err != nil {
			return err
		}
	}
}

// verify makes sure that nobody has written to the log behind our back: it looks for a
// later entry or checkpoint. Entries below a checkpoint are deleted after LogRetention, so a
// server that slept longer could otherwise find its next number free again and
// believe that it committed. The caller holds busy.
func (l *Lake) verify(ctx context.Context, t *table) error {
	if t.fenced != nil {
		return t.fenced
	}
	stale := time.Since(t.verified) > l.opts.LogRetention/4
	if !t.unsure && !stale {
		return nil
	}
	if stale {
		checkpoints, err := numbers(ctx, l.opts.Meta, t.folder("checkpoint"))
		if err != nil {
			return err
		}
		if n := len(checkpoints); n > 0 && checkpoints[n-1] > t.last {
			return l.fence(t, "there is a checkpoint at entry %d", checkpoints[n-1])
		}
	}
	return l.catchUp(ctx, t)
}

// errRetry: the log has grown by an earlier entry of our own; what to commit has to be decided again.
var errRetry = errors.New("the log has grown")

// commit writes the changes as the next entry and applies it. errRetry means that nothing of
// them was committed and the state is newer now. Any other error leaves open whether
// they are: the next verify finds out. The caller holds busy and has verified.
func (l *Lake) commit(ctx context.Context, t *table, changes []change) (*entry, error) {
	e := &entry{
		Version: formatVersion, Number: t.last + 1, Node: l.opts.Node, Writer: l.writer, Nonce: randomName(),
		Time: time.Now().UTC().Truncate(time.Microsecond), Partitions: changes,
	}
	name := t.entryName(e.Number)
	t.unsure = true
	_, err := l.opts.Meta.Put(ctx, name, e.encode(), storagelocations.Cond{IfNoneMatch: true}) // the commit point
	if err == nil {
		t.unsure, t.verified = false, wallClock()
		return e, t.apply(e)
	}
	// The reply may be lost, or a retry of ours may have met its own object: what is
	// there now decides.
	found, readErr := readEntry(ctx, l.opts.Meta, name, e.Number)
	switch {
	case readErr == nil && found.Nonce == e.Nonce:
		t.unsure, t.verified = false, wallClock()
		return e, t.apply(e)
	case readErr == nil:
		if err := l.catchUp(ctx, t); err != nil {
			return nil, err
		}
		return nil, errRetry
	case errors.Is(readErr, storagelocations.ErrNotExist):
		return nil, fmt.Errorf("commit entry %d: %w", e.Number, err)
	}
	return nil, fmt.Errorf("commit entry %d: %w (and reading it back: %w)", e.Number, err, readErr)
}

// wallClock is the time without Go's monotonic reading, which stands still while the machine sleeps.
func wallClock() time.Time { return time.Now().Round(0) }

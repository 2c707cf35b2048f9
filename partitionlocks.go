package kalamdb

import (
	"context"
	"sync"

	"kalamdb/row"
)

// partitionLocks serialise the statements that read a partition before they write
// to it (UPDATE, DELETE), so that they do not redo each other's work. They are not
// what keeps updates from being lost: ingest refuses a commit whose old rows have
// changed.
type partitionLocks struct {
	mu    sync.Mutex // guards locks and the count of each; nothing blocks under it
	locks map[row.Partition]*partitionLock
}

type partitionLock struct {
	held  chan struct{} // holds one token while the partition is locked
	users int           // holders and waiters
}

// lock waits for p and returns its release, or the context's error.
func (l *partitionLocks) lock(ctx context.Context, p row.Partition) (release func(), err error) {
	l.mu.Lock()
	if l.locks == nil {
		l.locks = map[row.Partition]*partitionLock{}
	}
	pl := l.locks[p]
	if pl == nil {
		pl = &partitionLock{held: make(chan struct{}, 1)}
		l.locks[p] = pl
	}
	pl.users++
	l.mu.Unlock()

	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if pl.users--; pl.users == 0 {
			delete(l.locks, p)
		}
	}
	select {
	case pl.held <- struct{}{}:
		return func() { <-pl.held; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

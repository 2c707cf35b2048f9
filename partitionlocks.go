package kalamdb

import (
	"context"
	"sync"

	"kalamdb/row"
)

// partitionLocks serialise the statements that read a partition before they write
// to it, so that they do not redo each other's work: UPDATE and DELETE from the start,
// INSERT … ON CONFLICT once it has met somebody, or while a holder insists because
// such statements keep changing its rows. The locks are not what keeps updates from
// being lost: ingest refuses a commit whose old rows have changed.
type partitionLocks struct {
	mu    sync.Mutex // guards locks and what is in each; nothing blocks under it
	locks map[row.Partition]*partitionLock
}

type partitionLock struct {
	held  chan struct{} // holds one token while the partition is locked
	users int           // holders and waiters
	// insists says that the holder has had to repeat its work. Guarded by
	// partitionLocks.mu.
	insists bool
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
		return func() {
			l.mu.Lock()
			pl.insists = false
			l.mu.Unlock()
			<-pl.held
			leave()
		}, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

// insist keeps others from changing rows of p without its lock, which the caller holds,
// until its release.
func (l *partitionLocks) insist(p row.Partition) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.locks[p].insists = true
}

// insisted says whether to wait for the lock of p before any work.
func (l *partitionLocks) insisted(p row.Partition) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	pl := l.locks[p]
	return pl != nil && pl.insists
}

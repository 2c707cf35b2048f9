package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// A LiveQuery is what a [LiveRows] shows.
type LiveQuery struct {
	SQL string // SELECT columns or * FROM t [WHERE …]
	// Key are columns that tell the rows apart, such as the primary key. Without it
	// rows are told apart by all their columns but _seq, _updated and _deleted, which is
	// right as long as rows that are alike in the rest need not be told apart.
	Key []string
	// Newest begins with the newest so many rows instead of all, at most [LiveRowsMax].
	// Later rows are added to them.
	Newest int
	// IncludeExpired lets rows go that go by their age, such as those of STREAM tables.
	IncludeExpired bool
	// OnRetry hears of each connection that was lost, from the goroutine of the view.
	// An error that it returns ends the view. It may be nil.
	OnRetry func(err error, pause time.Duration) error
}

// LiveRowsMax is how many rows a [LiveRows] can begin with.
const LiveRowsMax = 1_000_000

// resyncForget is how long a view has to be right for a wrong one to be forgotten.
const resyncForget = time.Minute

// LiveRows are the rows of a live query, which stay equal to its SELECT: changes are
// applied in the order of commits, those of one transaction at once. A lost
// connection is resumed; if that is not possible, all rows are fetched again and
// replaced at once. Until then the rows of before stay. It is safe for concurrent use.
//
// Invariant: rows is the result at seq, or what the server has ever sent is wrong. A
// change of a row that is not there shows that, and then all rows are fetched again.
type LiveRows[T any] struct {
	f      *Follower
	q      LiveQuery
	cancel context.CancelFunc
	done   chan struct{}

	// These belong to the goroutine.
	columns []Column
	next    *view[T] // what initial_data has brought so far; nil: rows is being changed
	pending []change[T]

	// mu guards the fields below. Nothing blocks under it.
	mu      sync.Mutex
	rows    *view[T] // nil until there are all
	seq     uint64
	changed chan struct{} // closed, and replaced, when any of them changes
	err     error
}

// Live starts a LiveRows, which works until Close or the end of ctx. T is as for [Select].
func Live[T any](ctx context.Context, c *Client, q LiveQuery) *LiveRows[T] {
	ctx, cancel := context.WithCancel(ctx)
	spec := Spec{SQL: q.SQL, LastRows: LiveRowsMax, BatchRows: 10_000, IncludeExpired: q.IncludeExpired}
	if q.Newest > 0 {
		spec.LastRows = q.Newest
	}
	l := &LiveRows[T]{f: c.Follow(ctx, spec, q.OnRetry), q: q, cancel: cancel, done: make(chan struct{}), changed: make(chan struct{})}
	go func() {
		defer close(l.done)
		l.run()
	}()
	return l
}

// Rows is a copy of the rows: those of the start from the oldest to the newest, then
// those that came since; a changed row keeps its place. It is nil before the first are there.
func (l *LiveRows[T]) Rows() []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rows == nil {
		return nil
	}
	return l.rows.values()
}

// Seq is the commit up to which the rows are the result.
func (l *LiveRows[T]) Seq() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seq
}

// Changed is closed when the rows are other than now, or will change no more. Take
// it before the rows.
func (l *LiveRows[T]) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// Err is why the rows change no more; nil while they do.
func (l *LiveRows[T]) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Wait waits for the first rows, maybe none. Its error is that of Err or ctx.
func (l *LiveRows[T]) Wait(ctx context.Context) error {
	for {
		l.mu.Lock()
		ready, changed, err := l.rows != nil, l.changed, l.err
		l.mu.Unlock()
		switch {
		case ready:
			return nil
		case err != nil:
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close ends the live query and waits for its goroutine. Rows stay as they are.
func (l *LiveRows[T]) Close() {
	l.cancel()
	<-l.done
}

func (l *LiveRows[T]) run() {
	wait, right := newWait(), time.Now()
	for {
		err := l.step()
		if errors.Is(err, errDiverged) {
			if time.Since(right) > resyncForget {
				wait.Reset()
			}
			right = time.Now()
			l.f.restart()
			err = l.f.pause(err, wait)
		}
		if err != nil {
			_ = l.f.Close()
			l.publish(func() { l.err = err })
			return
		}
	}
}

// publish changes what others see.
func (l *LiveRows[T]) publish(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	close(l.changed)
	if l.changed = make(chan struct{}); l.err != nil {
		close(l.changed) // for good
	}
}

// errDiverged says that rows cannot be what the server has.
var errDiverged = errors.New("the server changed a row that is not there")

func (l *LiveRows[T]) step() error {
	fr, err := l.f.next()
	if err != nil {
		return err
	}
	switch fr.Type {
	case TypeSubscribed:
		if fr.Resumed {
			if !slices.Equal(l.columns, fr.Columns) {
				l.f.restart() // rows of other columns cannot be compared
			}
			return nil
		}
		l.columns, l.pending, l.next = fr.Columns, nil, newView[T]()
		return l.keyed()
	case TypeInitialData:
		return l.begin(fr)
	case TypeChange:
		if l.next != nil {
			return errors.New("the server sent a change before all rows of its snapshot")
		}
		c, err := l.decode(fr)
		if err != nil {
			return err
		}
		if l.pending = append(l.pending, c); fr.incomplete() {
			return nil
		}
		return l.apply(fr.Seq)
	}
	return nil
}

// keyed checks that the columns of the key are there.
func (l *LiveRows[T]) keyed() error {
	for _, name := range l.q.Key {
		if !slices.ContainsFunc(l.columns, func(c Column) bool { return c.Name == name }) {
			return fmt.Errorf("the key column %s is not among the columns of the live query", name)
		}
	}
	return nil
}

func (l *LiveRows[T]) begin(fr *frame) error {
	rows, err := l.read(fr.Rows)
	if err != nil {
		return err
	}
	for _, r := range rows {
		l.next.add(r)
	}
	if fr.HasMore {
		return nil
	}
	if n := l.next.len(); l.q.Newest == 0 && n >= LiveRowsMax {
		return fmt.Errorf("the live query has %d rows or more, the limit of a view is %d less: narrow its WHERE, or ask for the newest", n, 1)
	}
	l.publish(func() { l.rows, l.next, l.seq = l.next, nil, fr.Seq })
	return nil
}

// apply makes the changes of one transaction, all at once.
func (l *LiveRows[T]) apply(seq uint64) error {
	missing := false
	l.publish(func() {
		for _, c := range l.pending {
			missing = l.rows.apply(c) || missing
		}
		l.seq = seq
	})
	l.pending = nil
	if missing && l.q.Newest == 0 {
		return errDiverged
	}
	return nil
}

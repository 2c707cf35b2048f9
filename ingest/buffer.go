package ingest

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"kalamdb/row"
)

// A Buffer holds the rows that are not in the lake yet, and the change log. Make one
// with Open, let Run work, Close it after Run has returned and all Views are closed.
type Buffer struct {
	o    Options
	log  *slog.Logger
	lock *pebble.Lock
	db   *pebble.DB

	queue    queue
	requests sync.Pool   // of *request
	seq      sequencer   // only for the sequencer's goroutine
	groups   chan *group // sequencer → syncer, capacity 1
	spare    chan *group // syncer → sequencer, to be used again

	reigns []reign // of this folder, the running one last; fixed by Open

	durable        atomic.Uint64 // row.Seq
	durableWaiters atomic.Int64
	durableMu      sync.Mutex
	durableMoved   chan struct{} // closed when durable moves; guarded by durableMu

	viewsMu sync.Mutex // guards views, and orders looks at durable for them
	views   map[*View]struct{}

	bytes, rows            atomic.Int64 // buffered
	commits, flushFailures atomic.Uint64
	diskLow                atomic.Bool
	rangeDeletes           atomic.Int64 // since the last AsyncFlush
	fenced                 atomic.Pointer[error]

	ids ids

	staging chan struct{} // holds one token while a Staging is open

	opened row.Seq // the watermark when it was opened

	wake    chan struct{}  // capacity 1: the flusher has something to look at
	tasks   sync.WaitGroup // running rounds
	pressed time.Time      // when the flusher last compared partitions by size; its own

	// mu guards what follows and the state of partitions and tables. The sequencer is
	// the only writer of parts, tables, node, floors, epochs, marks and the records, so it
	// reads those without mu. Nothing blocks under it.
	mu         sync.Mutex
	parts      map[partitionID]*partition
	streams    map[*partition]struct{} // those of parts that are streams
	tables     map[uint64]*table
	dropped    map[uint64]struct{}      // tables that were dropped since the start
	forgetting map[partitionID]struct{} // no round takes them: see Forget
	node       node
	floors     floors
	epochs     uint64 // the largest epoch ever given out
	marks      []mark // ascending; the log is trimmed up to the first
	waits      map[*flushWait]struct{}
	rounds     int    // running
	started    uint64 // rounds since the start
	stopped    bool   // no more rounds and Flush calls
}

// Run works until ctx is done: it commits, flushes and trims. It returns when
// everything that was accepted is durable and answered; a Commit or Flush after that
// gets ErrClosed. Run is called once.
func (b *Buffer) Run(ctx context.Context) error {
	stop := make(chan struct{})
	var pipeline, work sync.WaitGroup
	pipeline.Go(func() { b.sequence(stop) })
	pipeline.Go(b.sync)
	work.Go(func() { b.flushLoop(ctx) })
	work.Go(func() { b.keepHouse(ctx) })
	work.Go(func() { b.sweep(ctx) })
	work.Wait() // all use the sequencer to the end
	close(stop)
	pipeline.Wait()
	return nil
}

// Close ends the use of the folder. Run must have returned, or never been called.
func (b *Buffer) Close() error {
	b.queue.close()
	b.mu.Lock()
	b.node.high = max(b.node.last, row.Seq(b.durable.Load())) // nothing above was given out
	value := b.node.append(nil)
	b.mu.Unlock()
	err := b.db.Set(keyNode, value, pebble.Sync)
	if cerr := b.db.Close(); err == nil {
		err = cerr
	}
	if cerr := b.lock.Close(); err == nil {
		err = cerr
	}
	return err
}

// Epoch changes whenever rows of p leave the buffer. A caller that looks for a key in
// the lake's files reads it before it takes the manifest, and hands it to Commit.
func (b *Buffer) Epoch(p row.Partition) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if q := b.parts[idOf(p)]; q != nil {
		return q.epoch
	}
	return b.floors.epoch
}

// invariant stops the program at a bug of ours; faults of the world are errors.
func invariant(ok bool, what string) {
	if !ok {
		panic("ingest: broken invariant: " + what)
	}
}

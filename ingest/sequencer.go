package ingest

import (
	"context"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"kalamdb/row"
)

const (
	// seqBlock is how many Seqs are reserved at a time. A new block is reserved when half
	// of the old one is left, in a group that is long durable when that half is used up:
	// at most groupsWaiting+3 groups are under way at once, and groupBytesMax and
	// batchRowsLimit keep each far below 1,500,000 rows. So a crash loses no reservation
	// whose Seqs anybody has seen, and none is used twice.
	seqBlock = 1 << 25

	// groupsWaiting is how many groups may be written and wait for the fsync before the
	// one that the syncer waits for is durable. One fsync makes all of them durable. With
	// one, a commit waited for three fsyncs; with eight it waits for one and a half, as
	// with raw Pebble, and 16 clients commit about a tenth more.
	groupsWaiting = 8

	// groupBytesMax and groupRequestsMax end a group, so that no caller waits long for
	// the bytes of others.
	groupBytesMax    = 4 << 20
	groupRequestsMax = 4096
)

// A queue hands requests to the sequencer. It is not bounded by itself: every request
// in it has a caller who waits.
type queue struct {
	wake chan struct{} // capacity 1: something was put

	mu      sync.Mutex // guards waiting and closed
	waiting []*request
	closed  bool
}

func (q *queue) put(r *request) error {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return ErrClosed
	}
	q.waiting = append(q.waiting, r)
	first := len(q.waiting) == 1
	q.mu.Unlock()
	if first {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// take returns everything that waits and leaves spare, which is empty, in its place.
func (q *queue) take(spare []*request) []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting := q.waiting
	q.waiting = spare
	return waiting
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

// A group is one Pebble batch with all that depends on it.
type group struct {
	batch   *pebble.Batch
	last    row.Seq
	reqs    []*request   // answered when it is durable
	batches []*row.Batch // told to the Observer after that
	dirty   []*partition // whose record changes with it
	control bool         // it is a control, and nothing else
	bulk    *Staging     // that it commits; nil: none
}

// sequencer is the state of the goroutine that gives out Seqs.
type sequencer struct {
	pending *overlay // keys written in the current group: Pebble does not show them yet
	group   *group
	now     int64 // the commit time of the current group, µs since 1970

	checked []checked // of the mutations of the current request
	created []*partition
	// replacing are the streams in which events of the current group take the keys of
	// events that are over.
	replacing []*partition
	key       []byte
	head      []byte

	staged *Staging // that is open; nil: none
}

// sequence is the sequencer. After stop it refuses new requests, finishes those it
// has, and ends the syncer.
func (b *Buffer) sequence(stop <-chan struct{}) {
	defer close(b.groups)
	var spare []*request
	for stopping := false; ; {
		select {
		case <-b.queue.wake:
		case <-stop:
			stop, stopping = nil, true
			b.queue.close()
		}
		for {
			reqs := b.queue.take(spare)
			for _, r := range reqs {
				b.handle(r)
			}
			b.apply()
			clear(reqs)
			spare = reqs[:0]
			if len(reqs) == 0 {
				break
			}
		}
		if stopping {
			return
		}
	}
}

func (b *Buffer) handle(r *request) {
	if !r.state.CompareAndSwap(requestQueued, requestTaken) {
		b.release(r) // withdrawn
		return
	}
	s := &b.seq
	if s.group != nil && (r.control != nil || s.group.batch.Len() >= groupBytesMax || len(s.group.reqs) >= groupRequestsMax) {
		b.apply() // a control finds all that came before it in Pebble
	}
	if s.group == nil {
		s.group = b.newGroup(2*len(r.buf) + batchRowBytes*len(r.enc))
		s.now = max(time.Now().UnixMicro(), b.node.time)
	}
	if r.control != nil {
		s.group.control = true
		r.control(s.group)
	} else if r.err = b.commit(r); r.err != nil {
		r.done <- struct{}{}
		return
	}
	s.group.reqs = append(s.group.reqs, r)
	if r.control != nil {
		b.apply() // a commit behind it finds in Pebble what it did
	}
}

// batchRowBytes is about what a row adds to its Pebble batch beside its values, which are
// written twice.
const batchRowBytes = 80

// newGroup makes a group with room for a first request of about so many bytes: a large
// batch would be copied each time it grows.
func (b *Buffer) newGroup(size int) *group {
	select {
	case g := <-b.spare:
		g.batch = b.newBatch(size)
		return g
	default:
		return &group{batch: b.newBatch(size)}
	}
}

func (b *Buffer) newBatch(size int) *pebble.Batch {
	if size <= groupBytesMax {
		return b.db.NewBatch()
	}
	return b.db.NewBatchWithSize(size)
}

// apply writes the current group: from here on Pebble shows it. The syncer says when
// it is durable.
func (b *Buffer) apply() {
	s := &b.seq
	g := s.group
	if g == nil {
		return
	}
	s.group = nil
	s.pending.reset()
	if len(g.reqs) == 0 { // all were refused
		must(g.batch.Close())
		g.batch = nil
		b.recycle(g)
		return
	}
	if g.batch.Empty() && !g.control && b.node.high-b.node.last >= seqBlock/2 {
		// Nothing but events of ephemeral streams: the disk need not know.
		must(g.batch.Close())
		g.batch, g.last = nil, b.node.last
		b.groups <- g
		return
	}
	for _, p := range g.dirty {
		p.dirty = false
		if !p.gone {
			s.key = appendPartitionKey(s.key[:0], p.prefix)
			s.head = p.record.append(s.head[:0])
			must(g.batch.Set(s.key, s.head, nil))
		}
	}
	b.finishNode(g)
	must(b.db.ApplyNoSyncWait(g.batch, pebble.Sync))
	b.countReplaced()
	b.wakeFlusher(g.dirty)
	g.dirty = g.dirty[:0]
	b.groups <- g
}

// finishNode writes what every group says about the whole buffer.
func (b *Buffer) finishNode(g *group) {
	s := &b.seq
	b.mu.Lock()
	if b.node.high-b.node.last < seqBlock/2 {
		b.node.high += seqBlock
	}
	newest := b.marks[len(b.marks)-1]
	if b.node.last > newest.seq && (s.now-newest.time >= b.markEvery().Microseconds() ||
		b.node.logBytes-newest.logBytes >= b.o.ChangeLogBytesMax/marksPerLog) {
		m := mark{seq: b.node.last, time: s.now, logBytes: b.node.logBytes}
		b.marks = append(b.marks, m)
		must(g.batch.Set(markKey(m.seq), m.append(nil), nil))
	}
	s.head = b.node.append(s.head[:0])
	g.last = b.node.last
	b.mu.Unlock()
	must(g.batch.Set(keyNode, s.head, nil))
}

// touch says that the record of p changes with the current group.
func (b *Buffer) touch(p *partition) {
	if !p.dirty {
		p.dirty = true
		b.seq.group.dirty = append(b.seq.group.dirty, p)
	}
}

// control runs f in the sequencer and returns when what it wrote is durable. f runs at
// the start of a group of its own and may change the state of partitions.
func (b *Buffer) control(ctx context.Context, f func(g *group)) error {
	r := b.newRequest()
	r.control = f
	if err := b.submit(ctx, r); err != nil {
		return err
	}
	b.release(r)
	return nil
}

// must is for calls that fail only by a bug: a Pebble batch in memory.
func must(err error) {
	if err != nil {
		panic("ingest: broken invariant: " + err.Error())
	}
}

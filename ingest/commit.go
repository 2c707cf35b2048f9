package ingest

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"kalamdb/row"
)

// A Write is what one commit does to one partition. The buffer, the Observer and its
// receivers keep the keys and values of the mutations: nobody changes them afterwards.
type Write struct {
	Partition row.Partition
	Schema    *row.Schema // that the values follow

	// Epoch is Snapshot.Epoch of the view in which the caller looked at the rows, or
	// Buffer.Epoch from before it looked for the keys in files.
	Epoch uint64
	// Fresh says that no key of an Insert was ever used before, because it comes from
	// NextID: Epoch does not matter for them.
	Fresh bool
	// Seen is Snapshot.Seq of that view if no key may have a newer version than the view,
	// not even one that is deleted again: such a one is ErrConflict. 0 asks only for the
	// rules of Mutation.
	Seen row.Seq

	Mutations []Mutation
}

// A Mutation changes one row.
//
// Insert: the newest version of Key must be deleted or absent. If it is in the buffer
// and live, the answer is a [DuplicateError]; if the buffer does not have the key and
// rows have left it since Epoch, it is [ErrConflict].
//
// Update and Delete: Old is the version the caller saw, and must still be the newest:
// the buffer has it with that Seq, or has none and no rows have left it since Epoch.
// Otherwise ErrConflict. An Update keeps the primary key. A Delete without Values
// keeps those of Old.
type Mutation struct {
	Op     row.Op
	Key    []byte      // as row.AppendKey writes it
	Values []row.Value // one per column of Write.Schema
	OldSeq row.Seq     // Seq of the version seen; 0 means Old.Seq
	Old    *row.Row    // nil for Insert
}

// A Commit is the answer to a durable commit.
type Commit struct {
	First, Last row.Seq   // of its changes; both the watermark if it had none
	Time        time.Time // the Updated of its rows
}

// A request is a Commit call on its way through sequencer and syncer, or a control:
// a piece of work that needs the sequencer's place in the order.
type request struct {
	writes  []Write
	enc     []encoded // one per mutation of all writes
	buf     []byte    // what enc points into
	size    int64     // about what it adds to the buffer
	batches []*row.Batch

	control func(g *group)

	state  atomic.Uint32
	result Commit
	err    error
	done   chan struct{} // capacity 1: a token when result and err are set
}

// The states of a request: who moves it away from queued owns it.
const (
	requestQueued uint32 = iota
	requestTaken
	requestWithdrawn
)

// encoded are the offsets in request.buf of the parts of a mutation that do not
// depend on the commit: the tail of the new row and behind it the whole old row.
type encoded struct{ tail, tailEnd, oldEnd int }

// growRows is after how many rows a request makes room for all of its rows, taking them
// to be as large.
const growRows = 1000

// rowHeadMax is more than row.AppendRowHead writes.
const rowHeadMax = 2 + 10 + 10

// newRequest takes a request from the pool. The pool belongs to the buffer: a channel
// made in one synctest bubble must not turn up in another.
func (b *Buffer) newRequest() *request {
	if r, ok := b.requests.Get().(*request); ok {
		return r
	}
	return &request{done: make(chan struct{}, 1)}
}

// requestBufMax is how large a buffer a pooled request may keep, in bytes.
const requestBufMax = 64 << 10

func (b *Buffer) release(r *request) {
	clear(r.batches)
	r.writes, r.enc, r.buf, r.batches, r.control = nil, r.enc[:0], r.buf[:0], r.batches[:0], nil
	if cap(r.buf) > requestBufMax {
		r.buf, r.enc, r.batches = nil, nil, nil
	}
	r.result, r.err, r.size = Commit{}, nil, 0
	r.state.Store(requestQueued)
	b.requests.Put(r)
}

// Commit makes all writes durable, or none. It returns after the fsync; from then on
// every new View has the rows. A context that ends while the commit is still queued
// withdraws it; once it is being written, Commit waits for the outcome.
func (b *Buffer) Commit(ctx context.Context, writes ...Write) (Commit, error) {
	if b.bytes.Load() >= b.o.BufferBytesMax {
		return Commit{}, b.errFull()
	}
	if b.diskLow.Load() {
		return Commit{}, fmt.Errorf("%w: less than %d%% of the disk is free", ErrFull, b.o.FreeDiskPercentMin)
	}
	r := b.newRequest()
	r.writes = writes
	if err := b.encode(r); err != nil {
		b.release(r)
		return Commit{}, err
	}
	if len(r.enc) == 0 {
		b.release(r)
		seq := b.Durable()
		return Commit{First: seq, Last: seq, Time: time.Now().UTC()}, nil
	}
	if err := b.submit(ctx, r); err != nil {
		return Commit{}, err // r was withdrawn, or belongs to nobody
	}
	c, err := r.result, r.err
	b.release(r)
	return c, err
}

// submit queues r and waits until it is done or withdrawn.
func (b *Buffer) submit(ctx context.Context, r *request) error {
	if err := b.queue.put(r); err != nil {
		b.release(r)
		return err
	}
	if ctx.Done() == nil {
		<-r.done
		return nil
	}
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		if r.state.CompareAndSwap(requestQueued, requestWithdrawn) {
			return ctx.Err() // the sequencer drops it
		}
		<-r.done
		return nil
	}
}

func (b *Buffer) errFull() error {
	return fmt.Errorf("%w: %d of %d bytes are waiting to be flushed", ErrFull, b.bytes.Load(), b.o.BufferBytesMax)
}

// encode checks the mutations as far as that needs no other row, and writes the parts
// of them that are the same whatever Seq they get. It runs in the caller's goroutine,
// so that the sequencer only copies.
func (b *Buffer) encode(r *request) error {
	rows := 0
	for i := range r.writes {
		rows += len(r.writes[i].Mutations)
	}
	if rows > b.o.BatchRowsMax {
		return fmt.Errorf("%w: %d rows in one statement, the limit is %d (batch_rows_max)", ErrTooLarge, rows, b.o.BatchRowsMax)
	}
	for i := range r.writes {
		w := &r.writes[i]
		if len(w.Mutations) == 0 {
			continue
		}
		var batch *row.Batch
		if b.o.Observer != nil {
			batch = &row.Batch{Partition: w.Partition, Changes: make([]row.Change, 0, len(w.Mutations))}
			r.batches = append(r.batches, batch)
		}
		for j := range w.Mutations {
			m := &w.Mutations[j]
			values, schema, err := m.content(w.Schema)
			if err != nil {
				return fmt.Errorf("%w in %s", err, w.Partition)
			}
			e := encoded{tail: len(r.buf)}
			r.buf = row.AppendRowTail(r.buf, schema, values)
			e.tailEnd = len(r.buf)
			size := len(m.Key) + rowHeadMax + e.tailEnd - e.tail
			if size > b.o.RowBytesMax {
				return fmt.Errorf("%w: a row of %d bytes, the limit is %d (row_bytes_max)", ErrTooLarge, size, b.o.RowBytesMax)
			}
			if m.Old != nil {
				r.buf = row.AppendRow(r.buf, m.Old)
			}
			e.oldEnd = len(r.buf)
			if r.enc = append(r.enc, e); len(r.enc) == growRows && rows > growRows {
				r.buf = slices.Grow(r.buf, len(r.buf)/growRows*rows)
				r.enc = slices.Grow(r.enc, rows)
			}
			r.size += int64(size)
			if int64(len(r.buf)) > b.o.BatchBytesMax {
				return fmt.Errorf("%w: the rows of one statement take more than %d bytes (batch_bytes_max)", ErrTooLarge, b.o.BatchBytesMax)
			}
			if batch != nil {
				batch.Changes = append(batch.Changes, row.Change{
					Op: m.Op, Key: m.Key, Old: m.Old,
					New: row.Row{Deleted: m.Op == row.Delete, Schema: schema, Values: values},
				})
			}
		}
	}
	return nil
}

// content are the values of the new version, with the schema version they follow.
func (m *Mutation) content(s *row.Schema) ([]row.Value, uint32, error) {
	switch {
	case len(m.Key) == 0:
		return nil, 0, fmt.Errorf("%w: no key", ErrMutation)
	case m.Op == row.Insert && m.Old != nil, m.Op != row.Insert && m.Old == nil,
		m.Op != row.Insert && m.Op != row.Update && m.Op != row.Delete:
		return nil, 0, fmt.Errorf("%w: %s with old row: %t", ErrMutation, m.Op, m.Old != nil)
	case m.Old != nil && m.Old.Deleted:
		return nil, 0, fmt.Errorf("%w: %s of a deleted row", ErrMutation, m.Op)
	case m.Old != nil && m.OldSeq != 0 && m.OldSeq != m.Old.Seq:
		return nil, 0, fmt.Errorf("%w: old seq %d and old row of seq %d", ErrMutation, m.OldSeq, m.Old.Seq)
	case m.Op == row.Delete && m.Values == nil:
		return m.Old.Values, m.Old.Schema, nil
	case s == nil || len(m.Values) != len(s.Columns):
		return nil, 0, fmt.Errorf("%w: %d values do not fit the schema", ErrMutation, len(m.Values))
	}
	return m.Values, s.Version, nil
}

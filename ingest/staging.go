package ingest

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"kalamdb/row"
)

// stagingBatchBytes is how much of a staging is written at once. Pebble shows batches in
// their order, so that every commit behind a large one waits until it is in the memtable.
const stagingBatchBytes = 64 << 10

// A Staging is an insert of more rows into one partition than should be in memory at
// once. Its life:
//
//  1. open: a mark says which generation it writes. Nothing else leads to that one, so
//     its rows are in no view, no count and no flush.
//  2. filled: Add writes the rows, and what the change log says of them, a piece at a
//     time, with their places from 1 on instead of Seqs. Other commits go on in between.
//  3. checked: Check has compared the keys with each other and with all rows there were
//     at one moment.
//  4. committed: one small batch in the sequencer makes the generation the active one and
//     removes the mark. Only there do the rows get their Seqs and their time, all at once:
//     a place counts from the first Seq of the generation.
//
// After a crash before 4 the mark is there at the next start, which drops the rows. It is
// for one goroutine, and has to be closed.
type Staging struct {
	b      *Buffer
	ref    row.Partition
	prefix []byte
	schema *row.Schema
	num    uint32 // of its generation

	batch    *pebble.Batch
	rows     int
	bytes    int64 // of the rows, as generation.bytes
	logged   int64 // of their changes
	size     int64 // of the values, as they count for BatchBytesMax
	max      []byte
	unsorted bool // not every key was larger than the one before

	seen      row.Seq // the moment of Check
	committed bool
	head, tmp []byte
}

// Stage begins an insert of many rows. It waits while the buffer has another one.
func (b *Buffer) Stage(ctx context.Context, p row.Partition, s *row.Schema) (*Staging, error) {
	select {
	case b.staging <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	st := &Staging{b: b, ref: p, prefix: partitionPrefix(p), schema: s, batch: b.db.NewBatch()}
	invariant(b.streamOf(p.Table) == nil, "a stream is not staged")
	if err := b.control(context.Background(), func(g *group) {
		st.num = 2
		if q := b.parts[idOf(p)]; q != nil {
			st.num = b.nextGeneration(q)
		}
		b.seq.staged = st
		must(g.batch.Set(stagingKey(st.prefix, st.num), []byte{recordVersion}, nil))
	}); err != nil {
		must(st.batch.Close())
		<-b.staging
		return nil, err
	}
	return st, nil
}

// nextGeneration is a number above all that rows of p may have.
func (b *Buffer) nextGeneration(p *partition) uint32 {
	num := max(p.active.num, p.sealed.num)
	if st := b.seq.staged; st != nil && idOf(st.ref) == idOf(p.ref) {
		num = max(num, st.num)
	}
	return num + 1
}

// Add writes one row. Key and values are the caller's again afterwards.
func (st *Staging) Add(key []byte, values []row.Value) error {
	o := &st.b.o
	if st.rows == o.BatchRowsMax {
		return fmt.Errorf("%w: more than %d rows in one statement, the limit of one statement (batch_rows_max)", ErrTooLarge, o.BatchRowsMax)
	}
	if len(key) == 0 || len(values) != len(st.schema.Columns) {
		return fmt.Errorf("%w: %d values and a key of %d bytes do not fit the schema in %s", ErrMutation, len(values), len(key), st.ref)
	}
	st.rows++
	st.head = row.AppendRowHead(st.head[:0], row.Seq(st.rows), 0, false)
	headEnd := len(st.head)
	st.head = row.AppendRowTail(st.head, st.schema.Version, values)
	size := len(key) + rowHeadMax + len(st.head) - headEnd
	if size > o.RowBytesMax {
		return fmt.Errorf("%w: a row of %d bytes, the limit is %d (row_bytes_max)", ErrTooLarge, size, o.RowBytesMax)
	}
	if st.size += int64(len(st.head) - headEnd); st.size > o.BatchBytesMax {
		return fmt.Errorf("%w: the rows of one statement take more than %d bytes (batch_bytes_max)", ErrTooLarge, o.BatchBytesMax)
	}
	if string(st.max) < string(key) {
		st.max = append(st.max[:0], key...)
	} else {
		st.unsorted = true
	}

	st.tmp = append(appendGeneration(st.tmp[:0], st.prefix, st.num), key...)
	must(st.batch.Set(st.tmp, st.head, nil))
	st.bytes += int64(len(st.tmp) + len(st.head))

	st.tmp = appendStagedChangeKey(st.tmp[:0], st.prefix, st.num, st.rows)
	keyEnd := len(st.tmp)
	st.tmp = append(appendChangeHead(st.tmp, row.Insert, key, false, st.rows > 1), st.head...)
	must(st.batch.Set(st.tmp[:keyEnd], st.tmp[keyEnd:], nil))
	st.logged += int64(len(st.tmp))
	if st.batch.Len() < stagingBatchBytes {
		return nil
	}
	return st.write()
}

// write hands the rows to Pebble. They are durable when the commit is: its batch comes
// after theirs.
func (st *Staging) write() error {
	b := st.b
	if b.bytes.Load()+st.bytes > b.o.BufferBytesMax {
		return b.errFull()
	}
	if b.diskLow.Load() {
		return fmt.Errorf("%w: less than %d%% of the disk is free", ErrFull, b.o.FreeDiskPercentMin)
	}
	if err := b.db.Apply(st.batch, pebble.NoSync); err != nil {
		return fmt.Errorf("stage rows of %s: %w", st.ref, err)
	}
	st.batch.Reset()
	return nil
}

// Close ends the staging, and drops its rows if they are not committed.
func (st *Staging) Close() error {
	b := st.b
	defer func() { <-b.staging }()
	must(st.batch.Close())
	if st.committed {
		return nil
	}
	b.countRangeDeletes(2)
	return b.control(context.Background(), func(g *group) {
		dropStaged(g.batch, st.prefix, st.num)
		b.seq.staged = nil
	})
}

// dropStaged adds the deletes of everything that a staging has written.
func dropStaged(batch *pebble.Batch, prefix []byte, num uint32) {
	for _, from := range [][]byte{appendGeneration(nil, prefix, num), appendStagedChanges(nil, prefix, num)} {
		must(batch.DeleteRange(from, after(from), nil))
	}
	must(batch.Delete(stagingKey(prefix, num), nil))
}

// dropStagings adds the deletes of what was not committed before a crash.
func (b *Buffer) dropStagings(batch *pebble.Batch) error {
	return b.scanMeta(metaStaging, func(key, value []byte) error {
		if len(key) < 2+9+4 || len(value) != 1 || value[0] != recordVersion {
			return fmt.Errorf("%w: staging %x", ErrCorrupt, key)
		}
		end := len(key) - 4
		dropStaged(batch, append([]byte(nil), key[2:end]...), binary.BigEndian.Uint32(key[end:]))
		return nil
	})
}

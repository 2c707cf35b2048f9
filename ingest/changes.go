package ingest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"kalamdb/row"
)

// Changes replays what happened to p after the Seq after, up to and with through, in
// order, one Batch per commit as the Observer got it (the first and the last may lack
// the changes outside), and those of a bulk in pieces. Every Batch has memory of its own. If changes after `after`
// are not kept any more, it yields nothing and returns a [GapError].
func (b *Buffer) Changes(ctx context.Context, p row.Partition, after, through row.Seq, yield func(*row.Batch) error) error {
	if b.o.Stream != nil {
		if policy, ok := b.o.Stream(p.Table); ok && policy.Ephemeral {
			return b.heldChanges(ctx, p, after, through, yield)
		}
	}
	snap := b.db.NewSnapshot()
	defer snap.Close()
	prefix := partitionPrefix(p)
	var rec record
	var f floors
	_, err := readSnapshot(snap, keyFloors, f.read)
	found := false
	if err == nil {
		found, err = readSnapshot(snap, appendPartitionKey(nil, prefix), rec.read)
	}
	if err != nil {
		return fmt.Errorf("read changes of %s: %w", p, err)
	}
	oldest := max(rec.logTrimmed, f.all)
	if !found {
		oldest = max(f.trimmed, f.all)
	}
	if after < oldest {
		return &GapError{After: after, Oldest: oldest}
	}
	if !found || min(through, rec.last) <= after {
		return nil
	}
	through = min(through, rec.last)
	if err := b.waitDurable(ctx, through); err != nil {
		return err
	}
	if err := replayAll(ctx, snap, p, prefix, after, through, yield); err != nil {
		return fmt.Errorf("replay changes of %s: %w", p, err)
	}
	return nil
}

// replayAll yields the changes of the log and, where they belong, those of the bulks.
func replayAll(ctx context.Context, r pebble.Reader, p row.Partition, prefix []byte, after, through row.Seq, yield func(*row.Batch) error) error {
	bulks, err := readBulks(r, prefix)
	if err != nil {
		return err
	}
	for i := range bulks {
		k := &bulks[i]
		if k.last() <= after || k.first > through {
			continue
		}
		if err := replayBetween(ctx, r, p, prefix, after, k.first-1, yield); err != nil {
			return err
		}
		if err := k.replay(ctx, r, p, prefix, after, through, yield); err != nil {
			return err
		}
		after = k.last()
	}
	return replayBetween(ctx, r, p, prefix, after, through, yield)
}

func replayBetween(ctx context.Context, r pebble.Reader, p row.Partition, prefix []byte, after, through row.Seq, yield func(*row.Batch) error) error {
	if after >= through {
		return nil
	}
	it, err := r.NewIter(&pebble.IterOptions{
		LowerBound: appendChangeKey(nil, prefix, after+1),
		UpperBound: appendChangeKey(nil, prefix, through+1),
	})
	if err != nil {
		return err
	}
	return errors.Join(replay(ctx, it, p, yield), it.Close())
}

func replay(ctx context.Context, it *pebble.Iterator, p row.Partition, yield func(*row.Batch) error) error {
	var batch *row.Batch
	for ok := it.First(); ok; ok = it.Next() {
		c, continues, err := decodeChange(bytes.Clone(it.Value()))
		if err != nil {
			return err
		}
		if batch != nil && !continues {
			if err := yield(batch); err != nil {
				return err
			}
			batch = nil
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		if batch == nil {
			batch = &row.Batch{Partition: p}
		}
		batch.Changes = append(batch.Changes, c)
	}
	if batch == nil {
		return nil
	}
	return yield(batch)
}

// changeSeq is the Seq in the key of a change.
func changeSeq(key []byte) row.Seq {
	return row.Seq(binary.BigEndian.Uint64(key[len(key)-8:]))
}

package ingest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"kalamdb/row"
)

// bulkBatchRows is how many changes of a bulk Changes hands out at a time.
const bulkBatchRows = 256

// A bulk is what the change log says of a committed [Staging]: its changes lie apart, by
// generation and place.
type bulk struct {
	first row.Seq
	rows  int
	num   uint32 // of the generation
	time  int64  // of the commit, µs since 1970
	bytes int64  // of the changes
}

func (k *bulk) last() row.Seq { return k.first + row.Seq(k.rows) - 1 }

func (k *bulk) append(dst []byte) []byte {
	dst = append(dst, recordVersion)
	dst = binary.AppendUvarint(dst, uint64(k.first))
	dst = binary.AppendUvarint(dst, uint64(k.rows))
	dst = binary.AppendUvarint(dst, uint64(k.num))
	dst = binary.AppendUvarint(dst, uint64(k.time))
	return binary.AppendUvarint(dst, uint64(k.bytes))
}

func (k *bulk) read(b []byte) error {
	r := readRecord(b)
	k.first, k.rows, k.num = row.Seq(r.uint()), int(r.uint()), uint32(r.uint())
	k.time, k.bytes = int64(r.uint()), int64(r.uint())
	return r.err
}

// readBulks are the bulks in the change log of a partition, ascending.
func readBulks(r pebble.Reader, prefix []byte) ([]bulk, error) {
	from := append([]byte{prefixMeta, metaBulk}, prefix...)
	return readBulksIn(r, from, after(from))
}

func readBulksIn(r pebble.Reader, from, to []byte) (bulks []bulk, err error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return nil, err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var k bulk
		err = k.read(it.Value())
		bulks = append(bulks, k)
	}
	return bulks, errors.Join(err, it.Close())
}

// drop adds the deletes of k.
func (k *bulk) drop(deletes *pebble.Batch, prefix []byte) error {
	from := appendStagedChanges(nil, prefix, k.num)
	return errors.Join(deletes.DeleteRange(from, after(from), nil), deletes.Delete(bulkKey(prefix, k.last()), nil))
}

// replay yields the changes of k after one Seq and through another.
func (k *bulk) replay(ctx context.Context, r pebble.Reader, p row.Partition, prefix []byte, after, through row.Seq, yield func(*row.Batch) error) error {
	from, to := max(after+1, k.first), min(through, k.last())
	if from > to {
		return nil
	}
	it, err := r.NewIter(&pebble.IterOptions{
		LowerBound: appendStagedChangeKey(nil, prefix, k.num, int(from-k.first)+1),
		UpperBound: appendStagedChangeKey(nil, prefix, k.num, int(to-k.first)+2),
	})
	if err != nil {
		return err
	}
	return errors.Join(k.replayIn(ctx, it, p, to-from+1, yield), it.Close())
}

func (k *bulk) replayIn(ctx context.Context, it *pebble.Iterator, p row.Partition, want row.Seq, yield func(*row.Batch) error) error {
	batch := &row.Batch{Partition: p}
	for ok := it.First(); ok; ok = it.Next() {
		c, _, err := decodeChange(append([]byte(nil), it.Value()...))
		if err != nil {
			return err
		}
		c.New.Seq, c.New.Updated = k.first+c.New.Seq-1, k.time
		batch.Changes = append(batch.Changes, c)
		want--
		if len(batch.Changes) < bulkBatchRows && want > 0 {
			continue
		}
		batch.More = batch.Last() < k.last()
		if err := errors.Join(yield(batch), ctx.Err()); err != nil {
			return err
		}
		batch = &row.Batch{Partition: p}
	}
	if err := it.Error(); err != nil {
		return err
	}
	if want != 0 {
		return fmt.Errorf("%w: %d changes of a large insert are missing", ErrCorrupt, want)
	}
	return nil
}

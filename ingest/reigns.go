package ingest

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"kalamdb/row"
)

// reignsMax is how many starts a buffer remembers; a cursor of an older one has expired.
const reignsMax = 256

// A reign is the time from one start of a server to the next, in which one buffer gave
// out the Seqs of its history. A cursor is a Seq and the reign it was seen in.
//
// Folders can be copied, and disks set back, so two servers may have given out the same
// Seq for different changes without either knowing of the other. Each start has a name of
// its own. The reigns that a folder knows are its history: a cursor belongs to it if its
// reign is one of them and had come as far as its Seq. What a server did after the copy
// was made is of a later reign, or of the last one beyond where the copy saw it end.
type reign struct {
	id   uint64
	last row.Seq // the largest Seq that a client can have seen in it; of the running one: at its start
}

// A ForeignError means that a cursor is none of this history.
type ForeignError struct{ After, Newest row.Seq }

func (e *ForeignError) Error() string {
	return fmt.Sprintf("the cursor %d is of another server or table, or of a lost history; the newest change here is %d", e.After, e.Newest)
}

// Reign names the running reign: a cursor is a Seq together with it.
func (b *Buffer) Reign() string { return b.reigns[len(b.reigns)-1].name() }

// CheckCursor says with a [ForeignError] that after was never a cursor of this history.
// name is that of the cursor's reign; "" is any: then only a Seq that was not given out yet is refused.
func (b *Buffer) CheckCursor(name string, after row.Seq) error {
	newest := b.Durable()
	i := len(b.reigns) - 1
	if name != "" {
		i = slices.IndexFunc(b.reigns, func(r reign) bool { return r.name() == name })
	}
	switch {
	case i < 0, after > newest, i < len(b.reigns)-1 && after > b.reigns[i].last:
		return &ForeignError{After: after, Newest: newest}
	}
	return nil
}

func (r reign) name() string { return fmt.Sprintf("%016x", r.id) }

// beginReign ends the last reign at the newest Seq on disk and begins one at from.
func (b *Buffer) beginReign(batch *pebble.Batch, newest, from row.Seq) error {
	if n := len(b.reigns); n > 0 {
		b.reigns[n-1].last = max(b.reigns[n-1].last, newest)
	}
	var id [8]byte
	rand.Read(id[:])
	b.reigns = append(b.reigns, reign{id: binary.BigEndian.Uint64(id[:]), last: from})
	if n := len(b.reigns); n > reignsMax {
		b.reigns = b.reigns[n-reignsMax:]
	}
	return batch.Set(keyReigns, appendReigns(nil, b.reigns), nil)
}

func appendReigns(dst []byte, reigns []reign) []byte {
	dst = append(dst, recordVersion)
	dst = binary.AppendUvarint(dst, uint64(len(reigns)))
	for _, r := range reigns {
		dst = binary.BigEndian.AppendUint64(dst, r.id)
		dst = binary.AppendUvarint(dst, uint64(r.last))
	}
	return dst
}

func (b *Buffer) readReigns(value []byte) error {
	r := readRecord(value)
	n := r.uint()
	if n > reignsMax {
		return fmt.Errorf("%w: %d reigns, the limit is %d", ErrCorrupt, n, reignsMax)
	}
	for range n {
		b.reigns = append(b.reigns, reign{id: r.fixed(), last: row.Seq(r.uint())})
	}
	return r.err
}

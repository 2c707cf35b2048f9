package ingest

import (
	"errors"
	"slices"
	"time"

	"kalamdb/row"
)

// A partition whose rows cannot be written whatever is tried, since the buffer or the lake
// finds them corrupt (row.PartitionError), is in quarantine: it keeps its rows, is tried again
// every retryMax and by each Flush call, and no other partition waits for it.

// poisoned is the partition of r that err is about, nil if it is not about one.
func (r *round) poisoned(err error) *partition {
	var e *row.PartitionError
	if !errors.As(err, &e) {
		return nil
	}
	i := slices.IndexFunc(r.parts, func(p *partition) bool { return idOf(p.ref) == idOf(e.Partition) })
	if i < 0 {
		return nil
	}
	return r.parts[i]
}

// quarantine puts p aside and ends the waiting for it. The caller holds b.mu.
func (b *Buffer) quarantine(p *partition, err error) {
	p.retryAt = time.Now().Add(retryMax)
	p.urgent = false
	if !slices.Contains(p.table.aside, p) {
		p.table.aside = append(p.table.aside, p)
	}
	for w := range b.waits {
		if _, waits := w.left[p]; waits {
			b.endWait(w, err)
		}
	}
	b.log.Error("rows of a partition cannot be flushed, they stay buffered; others go on", "table", p.ref.Table.String(), "user", string(p.ref.User), "retry_in", retryMax, "error", err)
}

// release makes those due whose time in quarantine is over. The caller holds Buffer.mu.
func (t *table) release(now time.Time) {
	t.aside = slices.DeleteFunc(t.aside, func(p *partition) bool {
		switch {
		case p.gone || p.retryAt.IsZero():
			return true
		case now.Before(p.retryAt):
			return false
		}
		t.enqueue(p)
		return true
	})
}

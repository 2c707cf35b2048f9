package ingest

import (
	"context"
	"fmt"

	"kalamdb/row"
)

// RaiseSeq makes every Seq from now on larger than seq, durably: for rows that come into the
// lake with Seqs of another server. If that skips any, no client can resume from before.
func (b *Buffer) RaiseSeq(ctx context.Context, seq row.Seq) error {
	if seq > row.SeqMax-seqJump {
		return fmt.Errorf("the number of commits would become %d, the limit is 2^53", seq)
	}
	return b.control(ctx, func(g *group) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if seq <= b.node.last {
			return
		}
		b.node.last = seq
		b.node.high = max(b.node.high, seq+seqBlock)
		b.floors.all = seq
		must(g.batch.Set(keyFloors, b.floors.append(nil), nil))
	})
}

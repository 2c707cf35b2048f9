package ingest

// sync is the syncer: for each group, in order, it waits for the fsync, moves the
// watermark, answers the callers, and tells the Observer.
func (b *Buffer) sync() {
	var reqs []*request
	for g := range b.groups {
		if g.batch != nil {
			if err := g.batch.SyncWait(); err != nil {
				// Pebble may show these rows although they are not there: no way on.
				pebbleLogger{b.log}.Fatalf("sync: %v", err)
			}
		}
		b.advance(g.last)
		reqs = append(reqs[:0], g.reqs...)
		for _, r := range reqs {
			r.done <- struct{}{} // r is the caller's from here on
		}
		clear(reqs)
		if g.bulk != nil && b.o.Observer != nil {
			b.o.Observer.CommittedBulk(g.bulk.ref, g.last)
		}
		for _, batch := range g.batches {
			b.o.Observer.Committed(batch)
		}
		if g.batch != nil {
			must(g.batch.Close())
		}
		b.recycle(g)
	}
}

// recycle hands an empty group back to the sequencer.
func (b *Buffer) recycle(g *group) {
	clear(g.reqs)
	clear(g.batches)
	clear(g.dirty[:cap(g.dirty)])
	*g = group{reqs: g.reqs[:0], batches: g.batches[:0], dirty: g.dirty[:0]}
	select {
	case b.spare <- g:
	default:
	}
}

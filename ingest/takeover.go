package ingest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"kalamdb/row"
)

const (
	// seqJump is how far above everything in the lake a buffer starts that may follow a
	// lost one: what that one gave out since its last flush is in no file, but clients have
	// seen it. No server gives out so many Seqs between two flushes, and 2^53 holds two
	// million jumps.
	seqJump = 1 << 32

	// claimMax bounds Sink.Claim in Open.
	claimMax = time.Minute
)

// checkSplit refuses to go on where history has split: rows of this buffer are of a table
// in which another node has committed since. Their Seqs may be the same, and each server
// has acknowledged what it wrote without knowing of the other: whichever rows were dropped
// or put on top, somebody's would be lost without a word.
func (b *Buffer) checkSplit(overtaken map[uint64]string) error {
	rows := 0
	var tables, nodes = map[string]bool{}, map[string]bool{}
	for id, p := range b.parts {
		by, ok := overtaken[id.table]
		if n := p.active.rows + p.sealed.rows; ok && n > 0 {
			rows += n
			tables[p.ref.Table.String()], nodes[by] = true, true
		}
	}
	if rows == 0 {
		return nil
	}
	list := func(m map[string]bool) string { return strings.Join(slices.Sorted(maps.Keys(m)), ", ") }
	return fmt.Errorf("%w: %d acknowledged rows of %s wait here to be flushed, and node %s has committed to the same tables without them; "+
		"nothing was changed. Start the other server again instead, or move this folder away to go on with what the bucket has, without these rows",
		ErrFenced, rows, list(tables), list(nodes))
}

// startSeq decides where the Seqs go on, and from where on the change log is complete.
func (b *Buffer) startSeq(isNew, overtaken bool) (jumped bool, err error) {
	switch {
	case b.o.SeqFloor > b.node.last: // this folder is new, or older than the lake
	case isNew && b.o.Known: // the one before is lost, and had flushed nothing
	case overtaken: // the other server may have given out more than it flushed
	default:
		b.node.last = b.node.high
		return false, nil
	}
	b.node.last = max(b.node.high, b.o.SeqFloor) + seqJump
	if b.node.last > row.SeqMax-seqJump {
		return false, fmt.Errorf("the numbers of commits are used up: the next would be %d, the limit is 2^53", b.node.last)
	}
	b.floors.all = b.node.last
	return true, nil
}

// claim makes the Sink ours before the first commit.
func (b *Buffer) claim() error {
	if b.o.Sink == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), claimMax)
	defer cancel()
	return b.o.Sink.Claim(ctx)
}

// Fence refuses all commits from now on if err is an ErrFenced: the Sink is another
// server's, and what we acknowledged could never be flushed. A flush that gets such an
// error calls it; so should whoever learns of it otherwise.
func (b *Buffer) Fence(err error) {
	if errors.Is(err, ErrFenced) && b.fenced.CompareAndSwap(nil, &err) {
		b.log.Error("another server has taken over, writes are refused; rows that are not flushed stay in this folder", "rows", b.rows.Load(), "error", err)
	}
}

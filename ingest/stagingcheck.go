package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"kalamdb/row"
)

const (
	// stagingKeysMax is how many keys are looked up at once.
	stagingKeysMax = 20_000

	// missedChangesMax is how many changes since the moment of Check the sequencer looks
	// at; with more of them Check has to run again.
	missedChangesMax = 1000
)

// Check makes sure that no two rows of the staging have the same key, and that none has
// that of a row at the moment of s. stored says which of some ascending keys, which the
// buffer does not have, belong to rows in the lake's files of that moment.
//
// A key that is taken is a [DuplicateError]. What comes after the moment is Commit's business.
func (st *Staging) Check(ctx context.Context, s *Snapshot, stored func(keys [][]byte) (live [][]byte, err error)) error {
	if err := st.write(); err != nil {
		return err
	}
	var c cursor
	if err := c.open(st.b.db, st.prefix, &generation{num: st.num, rows: st.rows}, nil, nil); err != nil {
		return fmt.Errorf("check %s: %w", st.ref, err)
	}
	distinct, keys, text := 0, make([][]byte, 0, stagingKeysMax), []byte(nil)
	for c.ok {
		if err := ctx.Err(); err != nil {
			return errors.Join(err, c.close())
		}
		keys, text = keys[:0], text[:0]
		for ; c.ok && len(keys) < stagingKeysMax; c.next() {
			from := len(text)
			text = append(text, c.key()...) // what it leaves when it grows stays as it is
			keys = append(keys, text[from:])
		}
		distinct += len(keys)
		if err := st.checkKeys(s, keys, stored); err != nil {
			return errors.Join(err, c.close())
		}
	}
	if err := c.close(); err != nil {
		return fmt.Errorf("check %s: %w", st.ref, err)
	}
	if distinct != st.rows {
		return st.twice()
	}
	st.seen = s.Seq()
	return nil
}

func (st *Staging) checkKeys(s *Snapshot, keys [][]byte, stored func([][]byte) ([][]byte, error)) error {
	rest, taken := keys, []byte(nil)
	var deleted [][]byte // the buffer knows better than the files
	last := append(bytes.Clone(keys[len(keys)-1]), 0)
	err := s.Scan(keys[0], last, func(key []byte, r *row.Row) bool {
		at, found := slices.BinarySearchFunc(rest, key, bytes.Compare)
		rest = rest[at:]
		switch {
		case !found:
			return true
		case !r.Deleted:
			taken = bytes.Clone(key)
			return false
		}
		deleted = append(deleted, rest[0])
		return true
	})
	if err == nil && taken != nil {
		return &DuplicateError{Partition: st.ref, Key: taken}
	}
	if err != nil {
		return err
	}
	live, err := stored(keys)
	if err != nil {
		return err
	}
	for _, key := range live {
		if _, gone := slices.BinarySearchFunc(deleted, key, bytes.Compare); !gone {
			return &DuplicateError{Partition: st.ref, Key: key}
		}
	}
	return nil
}

// twice finds a key that two rows have: the place of the first of them is the one that
// no row has any more.
func (st *Staging) twice() error {
	invariant(st.unsorted, "fewer keys than rows, and all ascend")
	there := make([]bool, st.rows+1)
	var c cursor
	err := c.open(st.b.db, st.prefix, &generation{num: st.num, rows: st.rows}, nil, nil)
	for ; err == nil && c.ok; c.next() {
		var place row.Seq
		if place, _, _, err = row.DecodeRowHead(c.it.Value()); err == nil {
			there[place] = true
		}
	}
	if err = errors.Join(err, c.close()); err != nil {
		return fmt.Errorf("check %s: %w", st.ref, err)
	}
	place := 1 + slices.Index(there[1:], false)
	value, closer, err := st.b.db.Get(appendStagedChangeKey(nil, st.prefix, st.num, place))
	if err != nil {
		return fmt.Errorf("check %s: %w", st.ref, err)
	}
	change, _, err := decodeChange(bytes.Clone(value))
	if err = errors.Join(err, closer.Close()); err != nil {
		return fmt.Errorf("check %s: %w", st.ref, err)
	}
	return &DuplicateError{Partition: st.ref, Key: change.Key}
}

// catchUp moves the moment of Check forward, outside of the sequencer, so that few changes
// are left for checkMissed however fast others write. ErrConflict says that one of them has
// a key of the staging, which is for Check to judge.
func (st *Staging) catchUp(ctx context.Context) error {
	for n := missedChangesMax; n >= missedChangesMax/2; {
		var err error
		if n, err = st.skim(ctx); err != nil {
			return err
		}
	}
	return nil
}

// skim looks at all changes since the moment of Check, and says how many there were.
func (st *Staging) skim(ctx context.Context) (n int, err error) {
	b := st.b
	it, err := b.db.NewIter(&pebble.IterOptions{
		LowerBound: appendChangeKey(nil, st.prefix, st.seen+1), UpperBound: appendChangeKey(nil, st.prefix, row.SeqMax),
	})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	b.mu.Lock() // the state knows of a trim before the iterator can miss what it drops
	trimmed := b.floors.trimmed
	if p := b.parts[idOf(st.ref)]; p != nil {
		trimmed = max(trimmed, p.logTrimmed)
	}
	b.mu.Unlock()
	if trimmed > st.seen {
		return 0, ErrConflict
	}
	for ok := it.First(); ok; ok = it.Next() {
		c, _, err := decodeChange(it.Value())
		if err != nil {
			return n, err
		}
		there, err := st.has(c.Key)
		if err == nil && there {
			err = ErrConflict
		}
		if n++; n%missedChangesMax == 0 {
			err = errors.Join(err, ctx.Err())
		}
		if err != nil {
			return n, err
		}
		st.seen = changeSeq(it.Key())
	}
	return n, it.Error()
}

// has says whether a row of the staging has the key.
func (st *Staging) has(key []byte) (bool, error) {
	_, closer, err := st.b.db.Get(append(appendGeneration(nil, st.prefix, st.num), key...))
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, closer.Close()
}

// checkMissed compares the keys with the rows that came since the moment of Check. It
// runs in the sequencer.
func (st *Staging) checkMissed(p *partition) error {
	b := st.b
	switch {
	case max(p.logTrimmed, b.floors.trimmed) > st.seen:
		return ErrConflict // what came is not known any more
	case p.last <= st.seen:
		return nil
	}
	bulks, err := readBulks(b.db, p.prefix)
	if err != nil {
		return err
	}
	if n := len(bulks); n > 0 && bulks[n-1].last() > st.seen {
		return ErrConflict
	}
	it, err := b.db.NewIter(&pebble.IterOptions{
		LowerBound: appendChangeKey(nil, p.prefix, st.seen+1), UpperBound: appendChangeKey(nil, p.prefix, row.SeqMax),
	})
	if err != nil {
		return err
	}
	n := 0
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var c row.Change
		if c, _, err = decodeChange(it.Value()); err == nil {
			err = st.checkChanged(p, c.Key)
		}
		if n++; n > missedChangesMax {
			err = ErrConflict
		}
	}
	return errors.Join(err, it.Close())
}

func (st *Staging) checkChanged(p *partition, key []byte) error {
	if there, err := st.has(key); err != nil || !there {
		return err
	}
	v, err := st.b.newest(p, key)
	if err == nil && !v.found {
		err = ErrConflict // it has gone to the lake already: Check sees it there
	}
	if err == nil && !v.deleted {
		err = &DuplicateError{Partition: st.ref, Key: bytes.Clone(key)}
	}
	return err
}

package ingest

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamdb/row"
)

// An Inspection reads the buffer of a server that is not running. It changes nothing in
// the folder. Streams are left out: their rows never reach a file.
type Inspection struct {
	b *Buffer
}

// Inspect opens the buffer in dir, which has to exist. stream says which tables are
// streams, nil that none is. The error is ErrInUse while another process has it open.
func Inspect(dir string, stream func(row.TableRef) (StreamPolicy, bool)) (*Inspection, error) {
	o, err := Options{Dir: dir, Stream: stream, Logger: slog.New(slog.DiscardHandler)}.withDefaults()
	if err != nil {
		return nil, err
	}
	if _, err := o.FS.Stat(dir); err != nil {
		return nil, fmt.Errorf("inspect write buffer: %w", err)
	}
	lock, err := pebble.LockDirectory(dir, o.FS)
	if err != nil {
		return nil, fmt.Errorf("inspect write buffer %s: %w (%w)", dir, ErrInUse, err)
	}
	db, err := pebble.Open(dir, &pebble.Options{FS: vfs.Default, Lock: lock, ReadOnly: true, ErrorIfNotExists: true, Logger: pebbleLogger{o.Logger}})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("inspect write buffer %s: %w", dir, err), lock.Close())
	}
	b := &Buffer{o: o, log: o.Logger, lock: lock, db: db,
		parts: map[partitionID]*partition{}, streams: map[*partition]struct{}{}, tables: map[uint64]*table{}}
	i := &Inspection{b}
	if _, err := b.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("inspect write buffer %s: %w", dir, err), i.Close())
	}
	return i, nil
}

// Close ends the inspection.
func (i *Inspection) Close() error { return errors.Join(i.b.db.Close(), i.b.lock.Close()) }

// Held are the generations with rows that wait to be flushed, by partition and from old
// to new. Their Scan ends with an ErrCorrupt if a row cannot be read, is none of the
// generation's Seqs, or if there are not as many as the generation counts.
func (i *Inspection) Held() []row.Segment {
	var all []row.Segment
	for _, p := range i.b.parts {
		if p.stream != nil {
			continue
		}
		for _, g := range []generation{p.sealed, p.active} {
			if g.rows == 0 {
				continue
			}
			all = append(all, row.Segment{Partition: p.ref, First: g.first, Last: g.last, Rows: g.rows, Bytes: g.bytes,
				Scan: func(yield func(key []byte, r *row.Row) error) error { return i.scan(p, &g, yield) }})
		}
	}
	slices.SortFunc(all, func(a, b row.Segment) int {
		return cmp.Or(cmp.Compare(a.Partition.Table.String(), b.Partition.Table.String()),
			cmp.Compare(a.Partition.Table.ID, b.Partition.Table.ID), cmp.Compare(a.Partition.User, b.Partition.User), cmp.Compare(a.First, b.First))
	})
	return all
}

func (i *Inspection) scan(p *partition, g *generation, yield func(key []byte, r *row.Row) error) (err error) {
	var c cursor
	defer func() {
		if err = errors.Join(err, c.close()); err != nil {
			err = fmt.Errorf("read %s: %w", p.ref, err)
		}
	}()
	if err := c.open(i.b.db, p.prefix, g, nil, nil); err != nil {
		return err
	}
	var r row.Row
	n := 0
	for ; c.ok; c.next() {
		if err := c.row(&r); err != nil {
			return err
		}
		if r.Seq < g.first || r.Seq > g.last {
			return fmt.Errorf("%w: a row of commit %d among those of %d to %d", ErrCorrupt, r.Seq, g.first, g.last)
		}
		n++
		if err := yield(c.key(), &r); err != nil {
			return err
		}
	}
	if n != g.rows {
		return fmt.Errorf("%w: %d rows, expected %d", ErrCorrupt, n, g.rows)
	}
	return nil
}

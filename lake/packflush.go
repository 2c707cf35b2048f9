package lake

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/storagelocations"
)

// packPartitionsMin is from how many small partitions on a flush of t packs them; 0: never.
func (l *Lake) packPartitionsMin(t *table) int {
	c := l.current(t)
	if c.Type != catalog.User {
		return 0
	}
	switch o := c.Options[catalog.OptionPack]; o {
	case "":
		return l.opts.PackPartitionsMin
	case "off":
		return 0
	case "on":
		if l.opts.PackPartitionsMin > 0 {
			return l.opts.PackPartitionsMin
		}
		return PackPartitionsDefault
	default:
		n, err := strconv.Atoi(o)
		invariant(err == nil, "a table with a pack option that is none")
		return n
	}
}

// small says whether the rows of seg may go into a pack.
func (l *Lake) small(seg *row.Segment) bool {
	return seg.Rows <= l.opts.PackRowsMax && seg.Bytes <= l.opts.PackBytesMax
}

// packing says whether a flush of segs is worth packs.
func (l *Lake) packing(t *table, segs []row.Segment) bool {
	least := l.packPartitionsMin(t)
	return least > 0 && len(l.packable(t, segs)) >= least
}

// packable picks the segments of a round that go into packs: those that are small and the
// only ones of their partition, if there are two at least. The round is in the order of users.
func (l *Lake) packable(t *table, segs []row.Segment) map[int]bool {
	picked := map[int]bool{}
	same := func(i, j int) bool {
		return j >= 0 && j < len(segs) && segs[i].Partition.User == segs[j].Partition.User
	}
	for i := range segs {
		if l.small(&segs[i]) && !same(i, i-1) && !same(i, i+1) && segs[i].Last > t.through(segs[i].Partition.User) {
			picked[i] = true
		}
	}
	if len(picked) < 2 {
		return nil
	}
	return picked
}

// storePacked writes the rows of the picked segments above the watermarks to packs and puts
// them; those of different schema versions go to different packs.
func (l *Lake) storePacked(ctx context.Context, t *table, segs []row.Segment, picked map[int]bool) ([]change, error) {
	changes := make([]change, 0, len(picked))
	place := make(map[row.UserID]int, len(picked))
	done := func(list []packed, d *packDirectory, body []byte) error {
		if err := l.putPack(ctx, t, list, d, body); err != nil {
			return err
		}
		for i := range list {
			c := &changes[place[list[i].user]]
			c.Added = append(c.Added, list[i].file)
		}
		return nil
	}
	writers := map[uint32]*packWriter{} // by schema version, nearly always one
	for i := range segs {
		if !picked[i] {
			continue
		}
		seg := &segs[i]
		user, through := seg.Partition.User, t.through(seg.Partition.User)
		place[user] = len(changes)
		changes = append(changes, change{User: user, Through: seg.Last})
		begun := map[*packWriter]bool{}
		err := seg.Scan(func(key []byte, r *row.Row) error {
			if r.Seq <= through {
				return nil
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			w := writers[r.Schema]
			if w == nil {
				s := l.schemaAt(t, r.Schema)
				if s == nil {
					return corruptf("a row of schema version %d, which the table never had", r.Schema)
				}
				w = l.newPackWriter(t, s, done)
				writers[r.Schema] = w
			}
			invariant(r.Seq <= seg.Last, "a segment yields a row behind its last Seq")
			if !begun[w] {
				begun[w] = true
				w.begin(user)
			}
			return w.write(key, r)
		})
		if err != nil {
			return nil, ofPartition(seg.Partition, err)
		}
		for w := range begun {
			if err := w.end(); err != nil {
				return nil, err
			}
		}
	}
	for _, w := range writers {
		if err := w.finish(); err != nil {
			return nil, err
		}
	}
	return changes, nil
}

// ofPartition says whose fault err is.
func ofPartition(p row.Partition, err error) error {
	var known *row.PartitionError
	if isCorrupt(err) && !errors.As(err, &known) {
		return &row.PartitionError{Partition: p, Err: err}
	}
	return fmt.Errorf("%s: %w", p, err)
}

// putPack puts a pack and, like a file, lets the cache have it.
func (l *Lake) putPack(ctx context.Context, t *table, list []packed, d *packDirectory, body []byte) error {
	name, place := list[0].file.Name, list[0].file.Pack
	if _, err := t.bucket.Put(ctx, name, body, storagelocations.Cond{}); err != nil {
		return err
	}
	if _, ok := t.bucket.LocalPath(name); ok || place.Bytes > l.opts.CacheBytesMax/8 {
		return nil
	}
	p := packState{name: name}
	l.cache.put(p.key(t.bucket, footerPart), body[place.Bytes-place.Footer:])
	for i, g := range d.Groups {
		l.cache.put(p.key(t.bucket, groupPart(i)), body[g.Offset:g.Offset+g.Bytes])
	}
	return nil
}

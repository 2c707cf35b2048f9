package lake

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"kalamdb/row"
)

// A chooser decides which files of a partition are worth merging.
//
//   - More than filesMax small files: the smallest ones, and then the next larger as long as
//     it is not larger than all before it together. So a row is written about as often
//     again as its partition doubles, until its file is large.
//   - More than filesMax files over one key, whatever their size: all whose key ranges
//     hang together with it.
//   - Slices of packs with more than packRows rows together, or one of them older than PackAge.
//   - A file with deleted rows and nothing that is newer than their retention: it, and
//     all that could have an older version of its rows.
//
// COMPACT TABLE takes all that is not as it should be.
type chooser struct {
	small    int64 // bytes; larger files are as large as they get
	filesMax int
	oldest   row.Seq // files beyond it stay
	cutoff   int64   // µs since 1970: deleted rows not newer are past their retention
	schema   uint32  // COMPACT TABLE also rewrites files of older versions; 0: not
	all      bool
	packRows int64
	packed   time.Time // slices from before leave their packs

	held bool // choose has found files beyond oldest
}

// choose picks from the files of a partition. more says that there will be work left.
func (ch *chooser) choose(files []*File) (inputs []*File, more bool) {
	usable := files
	if slices.ContainsFunc(files, ch.beyond) {
		ch.held = true
		usable = slices.DeleteFunc(slices.Clone(files), ch.beyond)
	}
	switch {
	case len(usable) == 0:
		return nil, false
	case ch.all:
		inputs = ch.everything(usable)
	default:
		if inputs = ch.smallest(usable); inputs == nil {
			inputs = ch.deepest(usable)
		}
		if inputs == nil {
			inputs = ch.slices(usable)
		}
		if inputs == nil {
			inputs = ch.expired(files, usable)
		}
	}
	if depth(inputs) > compactOpenMax {
		bySize(inputs)
		return inputs[:compactOpenMax], true
	}
	return inputs, false
}

func (ch *chooser) beyond(f *File) bool { return f.MaxSeq > ch.oldest }

// everything is what COMPACT TABLE merges.
func (ch *chooser) everything(files []*File) []*File {
	var inputs []*File
	for _, f := range files {
		settled := f.pack == nil && f.Bytes >= ch.small && !ch.mayExpire(f) && (ch.schema == 0 || f.SchemaVersion == ch.schema)
		if settled && !slices.ContainsFunc(files, func(o *File) bool { return o != f && overlap(o, f) }) {
			continue
		}
		inputs = append(inputs, f)
	}
	if len(inputs) == 1 {
		if f := inputs[0]; f.pack == nil && !ch.mayExpire(f) && (ch.schema == 0 || f.SchemaVersion == ch.schema) {
			return nil
		}
	}
	return inputs
}

// mayExpire says whether f can have deleted rows past their retention.
func (ch *chooser) mayExpire(f *File) bool { return f.Deleted > 0 && f.MinUpdated <= ch.cutoff }

func (ch *chooser) smallest(files []*File) []*File {
	var small []*File
	for _, f := range files {
		if f.Bytes < ch.small {
			small = append(small, f)
		}
	}
	if len(small) <= ch.filesMax {
		return nil
	}
	bySize(small)
	n := min(len(small), max(2, len(small)-ch.filesMax/2+1)) // half of filesMax are left, this one included
	sum := int64(0)
	for _, f := range small[:n] {
		sum += f.Bytes
	}
	for n < len(small) && small[n].Bytes <= sum {
		sum += small[n].Bytes
		n++
	}
	return small[:n]
}

func (ch *chooser) deepest(files []*File) []*File {
	if len(files) <= ch.filesMax || depth(files) <= ch.filesMax {
		return nil
	}
	sorted := slices.Clone(files)
	slices.SortFunc(sorted, func(a, b *File) int { return bytes.Compare(a.MinKey, b.MinKey) })
	var inputs []*File
	var end []byte
	from := 0
	take := func(group []*File) {
		if depth(group) > ch.filesMax {
			inputs = append(inputs, group...)
		}
	}
	for i, f := range sorted {
		if i > from && bytes.Compare(f.MinKey, end) > 0 {
			take(sorted[from:i])
			from, end = i, nil
		}
		if bytes.Compare(f.MaxKey, end) > 0 {
			end = f.MaxKey
		}
	}
	take(sorted[from:])
	return inputs
}

// slices are those of packs, if it is time for a file.
func (ch *chooser) slices(files []*File) []*File {
	var inputs []*File
	rows, old := int64(0), false
	for _, f := range files {
		if f.pack != nil {
			inputs = append(inputs, f)
			rows += f.Rows
			old = old || f.Created.Before(ch.packed)
		}
	}
	if rows <= ch.packRows && !old {
		return nil
	}
	return inputs
}

// expired is the first file with nothing but rows older than the retention, some of them
// deleted, and what it lies over. files is all of the partition.
func (ch *chooser) expired(files, usable []*File) []*File {
	for _, f := range usable {
		if f.Deleted == 0 || f.MaxUpdated > ch.cutoff {
			continue
		}
		inputs := []*File{f}
		for _, o := range files {
			if o == f || !overlap(o, f) || o.MinSeq > f.MaxSeq {
				continue
			}
			if ch.beyond(o) {
				inputs = nil
				break
			}
			inputs = append(inputs, o)
		}
		if len(inputs) > 0 && depth(inputs) <= compactOpenMax {
			return inputs
		}
	}
	return nil
}

func overlap(a, b *File) bool {
	return bytes.Compare(a.MinKey, b.MaxKey) <= 0 && bytes.Compare(b.MinKey, a.MaxKey) <= 0
}

func bySize(files []*File) {
	slices.SortStableFunc(files, func(a, b *File) int { return cmp.Compare(a.Bytes, b.Bytes) })
}

// depth is the largest number of files whose key ranges have a key in common.
func depth(files []*File) int {
	starts, ends := make([][]byte, len(files)), make([][]byte, len(files))
	for i, f := range files {
		starts[i], ends[i] = f.MinKey, f.MaxKey
	}
	slices.SortFunc(starts, bytes.Compare)
	slices.SortFunc(ends, bytes.Compare)
	most, over := 0, 0
	for i, s := range starts {
		for bytes.Compare(ends[over], s) < 0 {
			over++
		}
		most = max(most, i+1-over)
	}
	return most
}

package lake

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/storagelocations"
)

// A File is one committed Parquet file, or the rows of one user in a pack. It never changes.
type File struct {
	Name      string // in the bucket; of a slice the name of its pack
	Root      string // url of the bucket, empty for the default one
	Partition row.Partition

	Rows, Bytes    int64
	Deleted        int64 // rows that say that a row is gone
	MinSeq, MaxSeq row.Seq
	MinKey, MaxKey []byte // first and last primary key

	MinUpdated, MaxUpdated int64 // µs since 1970
	SchemaVersion          uint32
	Checksum               string // SHA-256 of the bytes, of a slice that of the footer of its pack, hex
	Footer                 Footer // zero if the file is too small to be read in part
	Created                time.Time

	pack *packState // of a slice
}

// A Manifest is what the lake has of one partition at one moment. It is immutable.
// Until Release is called none of its files is deleted from the bucket.
type Manifest struct {
	Files   []*File // ascending by MinSeq
	Through row.Seq // every change of the partition up to here is in Files or has been superseded there

	table    *table
	version  uint64
	released atomic.Bool
}

// Release ends the use of the files. More calls do nothing.
func (m *Manifest) Release() {
	if m.table != nil && !m.released.Swap(true) {
		m.table.unpin(m.version)
	}
}

// A partition is the committed state of one partition. It never changes: a commit
// puts another one in its place.
type partition struct {
	through row.Seq
	files   []*File // ascending by MinSeq
}

// A deadFile has been removed by an entry and waits until nobody can be reading it.
type deadFile struct {
	file    *File
	removed time.Time
	version uint64 // the entry that removed it: who pinned an earlier one may be reading it
}

// A table is what the lake knows of one table.
//
// Two locks. busy (a channel holding one token, so that waiting can be cancelled) is
// held by whoever writes to the table's log, from choosing what to write to knowing how
// the put went; it guards fenced, unsure, verified, checkpointed and entryBytes. mu guards
// the rest and is held for moments only. Whoever takes both takes busy first. compacting
// (a token too) is held by whoever compacts the table or drops it, and taken before busy.
type table struct {
	ref      row.TableRef
	bucket   storagelocations.Bucket
	root     string // url of bucket, empty for the default one
	template storagelocations.Template
	busy     chan struct{}

	compacting chan struct{}
	compacted  compactMark

	fenced       error     // an ErrFenced, or nil
	unsure       bool      // an entry may be in the log that is not applied yet
	verified     time.Time // when the end of the log was last seen
	checkpointed uint64    // the newest checkpoint covers the entries up to this one

	mu         sync.RWMutex
	pools      map[poolKey]*sync.Pool
	catalog    *catalog.Table
	dropped    bool
	last       uint64 // number of the last applied entry
	partitions map[row.UserID]*partition
	nodes      map[string]nodeMark // who wrote to the log
	maxSeq     row.Seq
	packs      map[string]*packState // by name, those with slices in partitions or dead
	dead       []deadFile
	pins       map[uint64]int // readers by the number of the entry they saw last
}

func newTable(c *catalog.Table, b storagelocations.Bucket) *table {
	t := &table{
		ref: c.Ref, catalog: c, bucket: b, root: c.Root, template: c.Path, busy: make(chan struct{}, 1), compacting: make(chan struct{}, 1),
		partitions: map[row.UserID]*partition{}, pins: map[uint64]int{}, pools: map[poolKey]*sync.Pool{},
		nodes: map[string]nodeMark{}, packs: map[string]*packState{},
	}
	t.busy <- struct{}{}
	t.compacting <- struct{}{}
	return t
}

// manifest pins and returns the state of p.
func (t *table) manifest(user row.UserID) *Manifest {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.partitions[user]
	if p == nil {
		return &Manifest{}
	}
	t.pins[t.last]++
	return &Manifest{Files: p.files, Through: p.through, table: t, version: t.last}
}

func (t *table) unpin(version uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pins[version]--; t.pins[version] == 0 {
		delete(t.pins, version)
	}
}

func (t *table) through(user row.UserID) row.Seq {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if p := t.partitions[user]; p != nil {
		return p.through
	}
	return 0
}

// apply makes e, the entry after the last one, part of the state.
func (t *table) apply(e *entry) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.Number != t.last+1 {
		return corruptf("log of %s: entry %d follows entry %d", t.ref, e.Number, t.last)
	}
	changed := make(map[row.UserID]*partition, len(e.Partitions))
	var dead []deadFile
	for i := range e.Partitions {
		c := &e.Partitions[i]
		old := changed[c.User]
		if old == nil {
			if old = t.partitions[c.User]; old == nil {
				old = &partition{}
			}
		}
		if c.Through < old.through {
			return corruptf("log of %s: entry %d moves the watermark of %q back from %d to %d", t.ref, e.Number, c.User, old.through, c.Through)
		}
		files := make([]*File, 0, len(old.files)+len(c.Added))
		gone := 0
		for _, f := range old.files {
			if slices.Contains(c.Removed, f.Name) {
				dead = append(dead, deadFile{f, e.Time, e.Number})
				gone++
				continue
			}
			files = append(files, f)
		}
		if gone != len(c.Removed) {
			return corruptf("log of %s: entry %d removes a file of %q that is not there", t.ref, e.Number, c.User)
		}
		for _, a := range c.Added {
			f := a.file(t, c.User, e.Time)
			if slices.ContainsFunc(old.files, func(o *File) bool { return o.Name == f.Name }) {
				return corruptf("log of %s: entry %d adds %s again", t.ref, e.Number, f.Name)
			}
			files = append(files, f)
		}
		slices.SortStableFunc(files, func(a, b *File) int { return int(int64(a.MinSeq) - int64(b.MinSeq)) })
		changed[c.User] = &partition{through: c.Through, files: files}
	}
	for i := range e.Partitions {
		for _, a := range e.Partitions[i].Added {
			if a.Pack != nil {
				t.packs[a.Name].live++
			}
		}
	}
	for _, d := range dead {
		if d.file.pack != nil {
			d.file.pack.live--
		}
	}
	for user, p := range changed {
		t.partitions[user] = p
		t.maxSeq = max(t.maxSeq, p.through)
	}
	t.dead = append(t.dead, dead...)
	t.last = e.Number
	t.mark(e)
	return nil
}

// lock takes busy.
func (t *table) lock(done <-chan struct{}) bool {
	select {
	case <-t.busy:
		return true
	default:
	}
	select {
	case <-t.busy:
		return true
	case <-done:
		return false
	}
}

func (t *table) unlock() { t.busy <- struct{}{} }

// schemaAt is the schema of a version, nil if nobody knows it.
func (l *Lake) schemaAt(t *table, version uint32) *row.Schema {
	t.mu.RLock()
	c := t.catalog
	t.mu.RUnlock()
	if s := c.SchemaAt(version); s != nil || l.opts.Tables == nil {
		return s
	}
	c, ok := l.opts.Tables(t.ref.ID)
	if !ok {
		return nil
	}
	t.mu.Lock()
	t.catalog = c
	t.mu.Unlock()
	return c.SchemaAt(version)
}

func (t *table) isDropped() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.dropped
}

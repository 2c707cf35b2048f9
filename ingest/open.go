package ingest

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamdb/row"
)

func (o Options) withDefaults() (Options, error) {
	if o.Dir == "" {
		return o, errors.New("open write buffer: no folder given")
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	o.BufferBytesMax = cmp.Or(o.BufferBytesMax, bufferBytesMaxDefault)
	o.RowBytesMax = cmp.Or(o.RowBytesMax, rowBytesMaxDefault)
	o.BatchRowsMax = cmp.Or(o.BatchRowsMax, batchRowsMaxDefault)
	o.BatchBytesMax = cmp.Or(o.BatchBytesMax, batchBytesMaxDefault)
	o.ChangeLogAge = cmp.Or(o.ChangeLogAge, changeLogAgeDefault)
	o.ChangeLogBytesMax = cmp.Or(o.ChangeLogBytesMax, changeLogBytesMaxDefault)
	o.CacheBytes = cmp.Or(o.CacheBytes, cacheBytesDefault)
	o.MemTableBytes = cmp.Or(o.MemTableBytes, memTableBytesDefault)
	o.FreeDiskPercentMin = cmp.Or(o.FreeDiskPercentMin, freeDiskPercentMinDefault)
	o.FlushBytes = cmp.Or(o.FlushBytes, flushBytesDefault)
	if o.Policy == nil {
		o.Policy = func(row.TableRef) (int, time.Duration) { return flushRowsDefault, flushAgeDefault }
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.BatchBytesMax > batchBytesLimit {
		return o, fmt.Errorf("open write buffer: batch_bytes_max is %d, expected at most %d", o.BatchBytesMax, batchBytesLimit)
	}
	if o.BatchRowsMax > batchRowsLimit {
		return o, fmt.Errorf("open write buffer: batch_rows_max is %d, expected at most %d", o.BatchRowsMax, batchRowsLimit)
	}
	return o, nil
}

const (
	// batchBytesLimit keeps the largest group well below what Pebble takes as one batch.
	batchBytesLimit = 512 << 20
	// batchRowsLimit keeps a group far below half a seqBlock.
	batchRowsLimit = 1_000_000
)

// Open opens or creates the buffer of a folder and repeats what a crash interrupted.
// It starts no goroutine of ours: nothing is committed before Run.
func Open(o Options) (_ *Buffer, err error) {
	if o, err = o.withDefaults(); err != nil {
		return nil, err
	}
	if err := o.FS.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("open write buffer: %w", err)
	}
	lock, err := pebble.LockDirectory(o.Dir, o.FS)
	if err != nil {
		return nil, fmt.Errorf("open write buffer %s: %w (%w)", o.Dir, ErrInUse, err)
	}
	db, err := openPebble(o, lock)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open write buffer %s: %w", o.Dir, err), lock.Close())
	}
	b := &Buffer{
		o: o, log: o.Logger, lock: lock, db: db,
		groups: make(chan *group, groupsWaiting), spare: make(chan *group, groupsWaiting), wake: make(chan struct{}, 1),
		durableMoved: make(chan struct{}), staging: make(chan struct{}, 1), views: map[*View]struct{}{},
		parts: map[partitionID]*partition{}, streams: map[*partition]struct{}{}, tables: map[uint64]*table{},
		dropped: map[uint64]struct{}{}, forgetting: map[partitionID]struct{}{}, waits: map[*flushWait]struct{}{},
	}
	b.queue.wake = make(chan struct{}, 1)
	b.seq.pending = newOverlay()
	if err := b.recover(); err != nil {
		return nil, errors.Join(fmt.Errorf("open write buffer %s: %w", o.Dir, err), db.Close(), lock.Close())
	}
	b.checkDisk()
	return b, nil
}

func openPebble(o Options, lock *pebble.Lock) (*pebble.DB, error) {
	cache := pebble.NewCache(o.CacheBytes)
	defer cache.Unref()
	po := &pebble.Options{
		FS:                         o.FS,
		Lock:                       lock,
		Cache:                      cache,
		FormatMajorVersion:         pebble.FormatNewest,
		MemTableSize:               uint64(o.MemTableBytes),
		CompactionConcurrencyRange: func() (int, int) { return 1, 2 },
		Logger:                     pebbleLogger{o.Logger},
	}
	for i := range po.Levels {
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return pebble.Open(o.Dir, po)
}

// recover reads the state from Pebble and drops the generations the lake has already.
func (b *Buffer) recover() error {
	isNew, err := b.load()
	if err != nil {
		return err
	}
	var overtaken map[uint64]string
	if b.o.Sink != nil {
		overtaken = b.o.Sink.Overtaken()
	}
	if err := b.checkSplit(overtaken); err != nil {
		return err
	}
	batch := b.db.NewBatch()
	defer batch.Close()
	newest := b.node.last
	jumped, err := b.startSeq(isNew, len(overtaken) > 0)
	if err != nil {
		return err
	}
	if jumped { // changes up to here may be missing in the log
		if err := batch.Set(keyFloors, b.floors.append(nil), nil); err != nil {
			return err
		}
	}
	if len(b.marks) == 0 {
		b.marks = []mark{{}}
		if err := batch.Set(markKey(0), b.marks[0].append(nil), nil); err != nil {
			return err
		}
	}
	if err := b.dropStagings(batch); err != nil {
		return err
	}
	if err := b.dropCovered(batch); err != nil {
		return err
	}
	for _, p := range b.parts {
		b.forget(batch, p)
	}
	if err := b.beginReign(batch, newest, b.node.last); err != nil {
		return err
	}
	b.node.high = b.node.last + seqBlock
	if err := batch.Set(keyNode, b.node.append(nil), nil); err != nil {
		return err
	}
	if err := batch.Commit(pebble.Sync); err != nil {
		return err
	}
	b.durable.Store(uint64(b.node.last))
	b.opened = b.node.last
	for _, p := range b.parts {
		b.rows.Add(int64(p.active.rows + p.sealed.rows))
		b.bytes.Add(p.bytes())
	}
	b.link()
	if err := b.ids.open(b.db, pebbleLogger{b.log}); err != nil {
		return err
	}
	return b.claim()
}

// load fills the state with what Pebble holds. isNew says that this is the first start.
func (b *Buffer) load() (isNew bool, err error) {
	get := func(key []byte, read func([]byte) error) error {
		value, closer, err := b.db.Get(key)
		if errors.Is(err, pebble.ErrNotFound) {
			isNew = isNew || bytes.Equal(key, keyNode)
			return nil
		}
		if err != nil {
			return err
		}
		return errors.Join(read(value), closer.Close())
	}
	if err := errors.Join(get(keyNode, b.node.read), get(keyFloors, b.floors.read), get(keyReigns, b.readReigns)); err != nil {
		return false, err
	}
	b.epochs = b.floors.epoch
	err = b.scanMeta(metaTable, func(key, value []byte) error {
		ns, name, ok := strings.Cut(string(value), "\x00")
		if len(key) != 10 || !ok {
			return fmt.Errorf("%w: table %x", ErrCorrupt, key)
		}
		id := binary.BigEndian.Uint64(key[2:])
		b.tables[id] = &table{ref: row.TableRef{Namespace: ns, Name: name, ID: id}}
		return nil
	})
	if err != nil {
		return false, err
	}
	err = b.scanMeta(metaMark, func(key, value []byte) error {
		var m mark
		err := m.read(key, value)
		b.marks = append(b.marks, m)
		return err
	})
	if err != nil {
		return false, err
	}
	return isNew, b.scanMeta(metaPartition, func(key, value []byte) error {
		prefix := slices.Clone(key[2:])
		if len(prefix) < 9 {
			return fmt.Errorf("%w: partition %x", ErrCorrupt, key)
		}
		t := b.tables[binary.BigEndian.Uint64(prefix)]
		if t == nil {
			return fmt.Errorf("%w: partition %x of an unknown table", ErrCorrupt, key)
		}
		p := &partition{prefix: prefix, table: t, stream: b.streamOf(t.ref)}
		p.ref = row.Partition{Table: t.ref, User: row.UserID(prefix[8 : len(prefix)-1])}
		b.parts[idOf(p.ref)] = p
		if p.stream != nil {
			b.streams[p] = struct{}{}
		}
		err := p.record.read(value)
		b.epochs = max(b.epochs, p.epoch)
		return err
	})
}

func (b *Buffer) scanMeta(kind byte, f func(key, value []byte) error) error {
	from := []byte{prefixMeta, kind}
	it, err := b.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: after(from)})
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		err = f(it.Key(), it.Value())
	}
	return errors.Join(err, it.Close())
}

// dropCovered drops every generation the lake has whole: the crash came between the
// Sink's commit and the trim, or the folder is older than the lake.
func (b *Buffer) dropCovered(batch *pebble.Batch) error {
	if b.o.Sink == nil {
		return nil
	}
	for _, p := range b.parts {
		if p.active.rows == 0 && p.sealed.num == 0 {
			continue
		}
		through, changed := b.o.Sink.Through(p.ref), false
		for _, g := range []*generation{&p.sealed, &p.active} {
			if g.rows == 0 || g.last > through {
				continue
			}
			from := appendGeneration(nil, p.prefix, g.num)
			if err := batch.DeleteRange(from, after(from), nil); err != nil {
				return err
			}
			num := g.num + 1
			*g = generation{}
			if g == &p.active {
				g.num = num
			}
			changed = true
		}
		if !changed {
			continue
		}
		b.epochs++
		p.epoch = b.epochs
		if err := batch.Set(appendPartitionKey(nil, p.prefix), p.record.append(nil), nil); err != nil {
			return err
		}
	}
	return nil
}

// link puts the loaded partitions where the flusher finds them.
func (b *Buffer) link() {
	var waiting []*partition
	for _, p := range b.parts {
		if p.active.rows > 0 && p.stream == nil {
			waiting = append(waiting, p)
		}
		if p.sealed.num != 0 {
			p.table.enqueue(p)
		}
	}
	slices.SortFunc(waiting, func(x, y *partition) int { return cmp.Compare(x.active.oldest, y.active.oldest) })
	for _, p := range waiting {
		p.table.push(p)
	}
}

// pebbleLogger hands Pebble's messages to ours. Pebble calls Fatalf when it cannot
// write its log any more; going on would acknowledge rows that are not there, so the
// process ends.
type pebbleLogger struct{ log *slog.Logger }

func (l pebbleLogger) Infof(format string, args ...any) {
	l.log.Debug("pebble: " + fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.log.Error("pebble: " + fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Fatalf(format string, args ...any) {
	l.log.Error("write buffer cannot go on, stopping: " + fmt.Sprintf(format, args...))
	os.Exit(1)
}

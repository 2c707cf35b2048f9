package ingest

import (
	"encoding/binary"
	"fmt"

	"kalamdb/row"
)

// The buffer in Pebble, all numbers big-endian. A user id holds no 00, so the 00
// behind it ends it, and the keys of one partition are contiguous:
//
//	d <table:8> <user> 00 <generation:4> <primary key>  → row                  newest version in that generation
//	c <table:8> <user> 00 <seq:8>                       → change               the change log; of a stream: its events in order
//	s <table:8> <user> 00 <generation:4> <place:4>      → change               of a staged commit: the Seqs in it are places
//	m p <table:8> <user> 00                             → partition record     counters; says which generations exist
//	m b <table:8> <user> 00 <seq:8>                     → bulk                 a committed staging in the change log, by its last Seq
//	m s <table:8> <user> 00 <generation:4>              → version:1            a staging that is not committed
//	m t <table:8>                                       → namespace 00 name
//	m k <seq:8>                                         → mark                 when the log had which size, for trimming
//	m n                                                 → node record          seq high water, time, size of the log
//	m l                                                 → floors               what forgotten partitions leave behind
//	m i                                                 → id:8                 ids below may have been given out
//	m r                                                 → reigns               the starts of this folder and how far each came
//
// A change is <op:1> <key length:uvarint> <key> <row> [<old row>], where op has the
// row.Op in its low four bits, changeContinues and changeHasOld above. Rows are as
// row.AppendRow writes them. Records are a version byte and varints.
const (
	prefixRow    = 'd'
	prefixChange = 'c'
	prefixStaged = 's'
	prefixMeta   = 'm'

	metaPartition = 'p'
	metaBulk      = 'b'
	metaStaging   = 's'
	metaTable     = 't'
	metaMark      = 'k'

	changeOpMask    = 0x0F
	changeContinues = 0x10 // of the same commit and partition as the change before
	changeHasOld    = 0x20

	recordVersion       = 1
	recordVersionStaged = 2 // of a partition with rows that carry places instead of Seqs
)

var (
	keyNode   = []byte{prefixMeta, 'n'}
	keyFloors = []byte{prefixMeta, 'l'}
	keyIDs    = []byte{prefixMeta, 'i'}
	keyReigns = []byte{prefixMeta, 'r'}
)

// partitionPrefix is the part of the keys that names a partition.
func partitionPrefix(p row.Partition) []byte {
	b := make([]byte, 0, 9+len(p.User))
	b = binary.BigEndian.AppendUint64(b, p.Table.ID)
	b = append(b, p.User...)
	return append(b, 0)
}

// appendGeneration starts the key of a row: the primary key follows.
func appendGeneration(dst, prefix []byte, generation uint32) []byte {
	dst = append(dst, prefixRow)
	dst = append(dst, prefix...)
	return binary.BigEndian.AppendUint32(dst, generation)
}

func appendChangeKey(dst, prefix []byte, seq row.Seq) []byte {
	dst = append(dst, prefixChange)
	dst = append(dst, prefix...)
	return binary.BigEndian.AppendUint64(dst, uint64(seq))
}

// appendStagedChanges starts the keys of the changes of a staging.
func appendStagedChanges(dst, prefix []byte, generation uint32) []byte {
	dst = append(dst, prefixStaged)
	dst = append(dst, prefix...)
	return binary.BigEndian.AppendUint32(dst, generation)
}

func appendStagedChangeKey(dst, prefix []byte, generation uint32, place int) []byte {
	return binary.BigEndian.AppendUint32(appendStagedChanges(dst, prefix, generation), uint32(place))
}

func bulkKey(prefix []byte, last row.Seq) []byte {
	return binary.BigEndian.AppendUint64(append([]byte{prefixMeta, metaBulk}, prefix...), uint64(last))
}

func stagingKey(prefix []byte, generation uint32) []byte {
	return binary.BigEndian.AppendUint32(append([]byte{prefixMeta, metaStaging}, prefix...), generation)
}

func appendPartitionKey(dst, prefix []byte) []byte {
	dst = append(dst, prefixMeta, metaPartition)
	return append(dst, prefix...)
}

func tableKey(id uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixMeta, metaTable}, id)
}

func markKey(seq row.Seq) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixMeta, metaMark}, uint64(seq))
}

// tableRange are the bounds of all keys of a table behind the given first bytes.
func tableRange(first string, id uint64) (from, to []byte) {
	from = binary.BigEndian.AppendUint64([]byte(first), id)
	return from, after(from)
}

// after is the first key behind all that start with prefix; prefix is not all FF,
// since it starts with a letter.
func after(prefix []byte) []byte {
	b := append([]byte(nil), prefix...)
	for i := len(b) - 1; ; i-- {
		if b[i]++; b[i] != 0 {
			return b[:i+1]
		}
	}
}

// A reader takes a record apart. After the first broken number everything is zero
// and err is set.
type reader struct {
	b   []byte
	err error
}

func readRecord(b []byte) *reader { return readVersion(b, recordVersion) }

func readVersion(b []byte, version byte) *reader {
	if len(b) == 0 || b[0] != version {
		return &reader{err: fmt.Errorf("%w: record %x, expected version %d", ErrCorrupt, b, version)}
	}
	return &reader{b: b[1:]}
}

func (r *reader) uint() uint64 {
	n, w := binary.Uvarint(r.b)
	if w <= 0 {
		if r.err == nil {
			r.err = fmt.Errorf("%w: a record is too short", ErrCorrupt)
		}
		r.b = nil
		return 0
	}
	r.b = r.b[w:]
	return n
}

// fixed is a number of eight bytes.
func (r *reader) fixed() uint64 {
	if len(r.b) < 8 {
		if r.err == nil {
			r.err = fmt.Errorf("%w: a record is too short", ErrCorrupt)
		}
		r.b = nil
		return 0
	}
	n := binary.BigEndian.Uint64(r.b)
	r.b = r.b[8:]
	return n
}

// A record is what the buffer keeps about one partition. It changes in the same
// batch as the rows it counts, and it alone says which generations exist.
type record struct {
	epoch      uint64  // changes whenever rows leave the buffer; never the same again
	last       row.Seq // of the newest change
	logFirst   row.Seq // no change below is in the log; 0: none at all
	logTrimmed row.Seq // the newest change that was dropped from the log
	active     generation
	sealed     generation // num 0: there is none
}

// A generation is a set of rows that is flushed and dropped as a whole.
//
// Its life: 1. active: commits write into it. 2. sealed: nothing is added any more,
// the next one is active; at most one is sealed. 3. stored: the Sink has committed
// it. 4. trimmed: the record does not name it any more and its rows are deleted, in
// one batch. A crash between any two repeats from 2, or, if Sink.Through already
// covers it, goes on to 4.
type generation struct {
	num         uint32
	first, last row.Seq
	rows        int   // keys
	bytes       int64 // keys and values in Pebble; of a stream with its changes
	oldest      int64 // when its first row was written, µs since 1970
	staged      int   // it began as a Staging of so many rows: see place
}

// place is the Seq and the time of a row that is stored with these. The rows of a Staging
// are stored with places, which count from first and are below all later Seqs.
func (g *generation) place(seq row.Seq, updated int64) (row.Seq, int64) {
	if seq <= row.Seq(g.staged) {
		return g.first + seq - 1, g.oldest
	}
	return seq, updated
}

func (g *generation) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(g.num))
	if g.num == 0 {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(g.first))
	dst = binary.AppendUvarint(dst, uint64(g.last-g.first))
	dst = binary.AppendUvarint(dst, uint64(g.rows))
	dst = binary.AppendUvarint(dst, uint64(g.bytes))
	return binary.AppendUvarint(dst, uint64(g.oldest))
}

func (g *generation) read(r *reader) {
	if g.num = uint32(r.uint()); g.num == 0 {
		*g = generation{}
		return
	}
	g.first = row.Seq(r.uint())
	g.last = g.first + row.Seq(r.uint())
	g.rows = int(r.uint())
	g.bytes = int64(r.uint())
	g.oldest = int64(r.uint())
	g.staged = 0
}

func (rec *record) append(dst []byte) []byte {
	from := len(dst)
	dst = append(dst, recordVersion)
	dst = binary.AppendUvarint(dst, rec.epoch)
	dst = binary.AppendUvarint(dst, uint64(rec.last))
	dst = binary.AppendUvarint(dst, uint64(rec.logFirst))
	dst = binary.AppendUvarint(dst, uint64(rec.logTrimmed))
	dst = rec.active.append(dst)
	dst = rec.sealed.append(dst)
	if rec.active.staged+rec.sealed.staged == 0 {
		return dst
	}
	dst[from] = recordVersionStaged
	dst = binary.AppendUvarint(dst, uint64(rec.active.staged))
	return binary.AppendUvarint(dst, uint64(rec.sealed.staged))
}

func (rec *record) read(b []byte) error {
	staged := len(b) > 0 && b[0] == recordVersionStaged
	r := readVersion(b, recordVersion)
	if staged {
		r = readVersion(b, recordVersionStaged)
	}
	rec.epoch = r.uint()
	rec.last, rec.logFirst, rec.logTrimmed = row.Seq(r.uint()), row.Seq(r.uint()), row.Seq(r.uint())
	rec.active.read(r)
	rec.sealed.read(r)
	if staged {
		rec.active.staged, rec.sealed.staged = int(r.uint()), int(r.uint())
	}
	return r.err
}

// node is what every batch says about the whole buffer.
type node struct {
	high     row.Seq // no Seq above it was ever given out
	last     row.Seq // the newest Seq
	time     int64   // of the newest commit, µs since 1970; commit times never go back
	logBytes int64   // all bytes ever written to the change log
}

func (n *node) append(dst []byte) []byte {
	dst = append(dst, recordVersion)
	dst = binary.AppendUvarint(dst, uint64(n.high))
	dst = binary.AppendUvarint(dst, uint64(n.last))
	dst = binary.AppendUvarint(dst, uint64(n.time))
	return binary.AppendUvarint(dst, uint64(n.logBytes))
}

func (n *node) read(b []byte) error {
	r := readRecord(b)
	n.high, n.last, n.time, n.logBytes = row.Seq(r.uint()), row.Seq(r.uint()), int64(r.uint()), int64(r.uint())
	return r.err
}

// floors hold for partitions without a record: what was forgotten about them.
type floors struct {
	epoch   uint64  // at least the epoch of every forgotten partition
	trimmed row.Seq // at least logTrimmed of every forgotten partition
	all     row.Seq // no log is complete up to here: the lake was ahead of the buffer when it opened
}

func (f *floors) append(dst []byte) []byte {
	dst = append(dst, recordVersion)
	dst = binary.AppendUvarint(dst, f.epoch)
	dst = binary.AppendUvarint(dst, uint64(f.trimmed))
	return binary.AppendUvarint(dst, uint64(f.all))
}

func (f *floors) read(b []byte) error {
	r := readRecord(b)
	f.epoch, f.trimmed, f.all = r.uint(), row.Seq(r.uint()), row.Seq(r.uint())
	return r.err
}

// A mark says: every change up to seq is older than time, and the log had logBytes then.
type mark struct {
	seq      row.Seq
	time     int64
	logBytes int64
}

func (m *mark) append(dst []byte) []byte {
	dst = append(dst, recordVersion)
	dst = binary.AppendUvarint(dst, uint64(m.time))
	return binary.AppendUvarint(dst, uint64(m.logBytes))
}

func (m *mark) read(key, b []byte) error {
	if len(key) != 10 {
		return fmt.Errorf("%w: mark %x", ErrCorrupt, key)
	}
	r := readRecord(b)
	m.seq = row.Seq(binary.BigEndian.Uint64(key[2:]))
	m.time, m.logBytes = int64(r.uint()), int64(r.uint())
	return r.err
}

package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamdb/row"
)

// Defaults of [Options], each with its unit.
const (
	bufferBytesMaxDefault     = 2 << 30
	rowBytesMaxDefault        = 1 << 20
	batchRowsMaxDefault       = 10_000
	batchBytesMaxDefault      = 32 << 20
	changeLogAgeDefault       = 24 * time.Hour
	changeLogBytesMaxDefault  = 1 << 30
	cacheBytesDefault         = 128 << 20
	memTableBytesDefault      = 64 << 20
	freeDiskPercentMinDefault = 5
	flushRowsDefault          = 10_000
	flushBytesDefault         = 64 << 20
	flushAgeDefault           = 5 * time.Minute
)

// Options say where and how a Buffer works. The zero value of a field means its default.
type Options struct {
	Dir string // the folder of the buffer; one process at a time
	FS  vfs.FS // nil means the disk

	// SeqFloor is the lake's last Seq: every one given out is above it. A buffer that
	// is behind it follows a lost one and starts 2^32 above: see startSeq.
	SeqFloor row.Seq
	// Known says that there are tables, so that a new buffer follows a lost one even if
	// SeqFloor is 0. Without both, the first Seq is 1.
	Known bool

	BufferBytesMax     int64         // buffered rows; then Commit returns ErrFull. 2 GiB
	RowBytesMax        int           // one encoded row. 1 MiB
	BatchRowsMax       int           // rows of one Commit. 10,000
	BatchBytesMax      int64         // encoded rows of one Commit. 32 MiB
	ChangeLogAge       time.Duration // how long changes can be replayed. 24 hours
	ChangeLogBytesMax  int64         // and how many bytes of them. 1 GiB
	CacheBytes         int64         // Pebble's block cache. 128 MiB
	MemTableBytes      int64         // Pebble's memtable. 64 MiB
	FreeDiskPercentMin int           // below it Commit returns ErrFull. 5; negative turns the check off

	// Policy says when a partition of a table is due: at so many rows, at such an age
	// of its oldest row; zero turns a trigger off. It is asked at every decision, so a
	// changed policy acts at once, and must be cheap. nil means 10,000 rows or 5 minutes.
	Policy func(row.TableRef) (rows int, age time.Duration)
	// FlushBytes is the size at which a partition is due, whatever its policy. 64 MiB
	FlushBytes int64

	// SchemaVersion is the newest schema version of a table. A Commit whose Schema is older
	// gets ErrAltered: what it writes follows from a definition that is no more. It is
	// asked for every Write, by the goroutine that gives out Seqs, and must be cheap: what
	// it says may grow at any time and never shrinks. nil means that no table ever changes.
	SchemaVersion func(row.TableRef) uint32

	// Stream says which tables are streams, whose rows are events: see StreamPolicy. The
	// answer for a table never changes. nil means none.
	Stream func(row.TableRef) (StreamPolicy, bool)
	// Listening says whether somebody hears of the events of an ephemeral stream; without
	// it nobody does. It must be cheap.
	Listening func(row.Partition) bool
	// Over is told that events of a stream up to a Seq are over: before the Observer hears of
	// a commit that uses the key of one of them, and else when they were removed. nil: nobody
	// wants to know. It must not block.
	Over func(p row.Partition, through row.Seq)

	Sink     Sink     // where full partitions go; nil: nothing is flushed
	Observer Observer // who hears of every commit; may be nil
	Events   Events
	Logger   *slog.Logger // nil means slog.Default
}

// An Observer hears of every commit, once it is durable, in order of Seq.
// Committed never blocks: it is called on the write path.
type Observer interface {
	Committed(b *row.Batch)

	// CommittedBulk is Committed of more changes than should be in memory at once: those
	// of p that Buffer.Changes has after the commit before, up to and with last.
	CommittedBulk(p row.Partition, last row.Seq)
}

// A Sink stores what the buffer hands over; *lake.Lake is one.
type Sink interface {
	// Flush stores all segments, at most one of each partition, all of one table. nil
	// means that they are committed: readers find the rows there from now on. After an
	// error the buffer keeps the rows and tries again with the same segments; a Sink
	// that had stored them after all must say so in Through. After an ErrFenced the
	// buffer takes no more commits.
	Flush(ctx context.Context, table row.TableRef, segs []row.Segment) error

	// Through is the last Seq of p that this node has committed here, zero if there is
	// none. What another node committed does not count: its Seqs are not ours.
	Through(p row.Partition) row.Seq

	// Overtaken are the tables in which another node has committed since this one did,
	// by id, with its name. Open asks once, and refuses to start if it has rows of them.
	Overtaken() map[uint64]string

	// Claim makes this node the owner of the tables that are overtaken, and fences the
	// other one. Open calls it last, before anything can be committed.
	Claim(ctx context.Context) error
}

// Events tell the outside what happens inside; each may be nil, none may block.
type Events struct {
	FlushStarted func(FlushInfo)
	Flushed      func(FlushInfo) // Err says whether it worked
}

// A FlushInfo describes one round: partitions of one table flushed together.
type FlushInfo struct {
	Table      row.TableRef
	Partitions int
	Rows       int
	Bytes      int64
	Took       time.Duration // zero when the round starts
	Err        error
}

// String is one line for a log.
func (i FlushInfo) String() string {
	s := fmt.Sprintf("flushed %s: %d partitions, %d rows, %d bytes, %s", i.Table, i.Partitions, i.Rows, i.Bytes, i.Took)
	if i.Err != nil {
		s += ": " + i.Err.Error()
	}
	return s
}

package lake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/storagelocations"
)

// ErrFenced: another server has committed to this table's log. What this server
// still has to flush must not be written; the process should stop.
var ErrFenced = row.ErrFenced

// ErrCorrupt: a file, a log entry or a checkpoint is not what was written.
var ErrCorrupt = errors.New("corrupt")

// ErrUnavailable: a file of a table cannot be read from its storage at the moment, or is
// not there.
var ErrUnavailable = errors.New("the storage does not give the file")

// ErrUnknownTable: the table is neither in the lake nor in the catalog, or has been dropped.
var ErrUnknownTable = errors.New("the lake does not know this table")

const (
	roundSegmentsMax  = 4096     // partitions committed by one log entry
	entryBytesMax     = 16 << 20 // one log entry; a round that needs more is committed in several
	groupBytesMax     = 16 << 20 // values of one row group before encoding
	chunkRowsMax      = 256      // rows handed to the Parquet writer at once
	chunkBytesMax     = 256 << 10
	pageBytes         = 64 << 10 // values of one Parquet page before compression
	bloomBitsPerValue = 10       // about 1 % false positives
	readerBytesMax    = 64 << 20 // parsed footers, page indexes and bloom filters kept for Find
	loadParallel      = 32       // tables loaded at once by Open
)

// PackPartitionsDefault is from how many small partitions on packs are worth it.
const PackPartitionsDefault = 256

// Options are the settings of a Lake. Zero values mean the defaults.
type Options struct {
	// Meta is the bucket of the location `default`: logs, checkpoints, and the files
	// of tables without a Root. Required.
	Meta storagelocations.Bucket
	// Bucket is the bucket of a table with a Root. Required if there are any.
	Bucket func(*catalog.Table) storagelocations.Bucket
	// CacheDir is the folder of the local copies. It belongs to this Lake alone:
	// Open removes what an earlier one left there. Required.
	CacheDir string
	// CacheBytesMax bounds the local copies nobody is reading. Default 4 GiB.
	CacheBytesMax int64
	// PartialBytesMin is the size from which on a file of another machine is read in part
	// where a statement needs no more of it. Default 16 MiB; negative: files are read whole.
	PartialBytesMin int64
	// RequestBytes is what a request to the bucket is taken to cost, in bytes: pieces of a
	// file closer to each other than that come with one request, and a file of which a
	// statement needs too many pieces is read whole. Default 128 KiB.
	RequestBytes int64
	// Node names this data directory over restarts. An entry of the same node that is
	// older than this start is a late write of the process before, not a rival; see owner.go.
	// Default: a name of its own for each Lake.
	Node string
	// RowGroupRows is the size of a row group. Default 2,048: lookups
	// read one, and larger ones make files only 1 to 2 % smaller.
	RowGroupRows int
	// FileBytesMax bounds a Parquet file, roughly; a larger segment becomes several
	// files of one entry. A flush needs about Parallel times as much memory. Default 64 MiB.
	FileBytesMax int64
	// CheckpointEntries is how many log entries a start replays at most, roughly.
	// Default 64.
	CheckpointEntries int
	// Parallel bounds the files encoded and put at once by one flush. Default 4.
	Parallel int
	// Grace is how long an unreferenced file is kept. It has to be longer than the
	// longest query and flush. Default 1 hour.
	Grace time.Duration
	// LogRetention is how long entries below a checkpoint are kept; a server that was
	// asleep for less is certain to find the entries of the one that replaced it.
	// Default 24 hours.
	LogRetention time.Duration
	// SweepInterval is the time between two listings for files of crashed flushes.
	// Default 6 hours, never less than Grace.
	SweepInterval time.Duration
	// CompactOff leaves merging to calls of Compact.
	CompactOff bool
	// CompactInterval is the time between two looks for files worth merging. Default 10 seconds.
	CompactInterval time.Duration
	// CompactFiles is how many small files a partition may have, and how many files may
	// have versions of one row, before they are merged. Default 8.
	CompactFiles int
	// CompactParallel bounds the partitions merged at once. Default 2.
	CompactParallel int
	// PackPartitionsMin is from how many small partitions on a flush writes them as packs
	// instead of a file each. The option pack of a table goes before it. Default: no packs.
	PackPartitionsMin int
	// PackRowsMax and PackBytesMax bound what counts as small. A user whose slices have
	// more rows together gets a file. Default 1,000 rows and 256 KiB.
	PackRowsMax  int
	PackBytesMax int64
	// PackAge is when the rows of a user leave the packs, however few they are. Default
	// 24 hours; negative: never.
	PackAge time.Duration
	// Oldest is a Seq within the moment of every reader that may still take a manifest,
	// and when the first of them began; any is false if there is none. Whoever begins later
	// has every row that is in the lake by then within its moment. Default: no readers.
	Oldest func() (seq row.Seq, since time.Time, any bool)
	// Tables gives the current state of a table: for schema versions made after
	// AddTable, and for a Flush of a table whose AddTable failed. Optional.
	Tables func(id uint64) (*catalog.Table, bool)
	// Events are told what happened.
	Events Events
	// Logger gets what the upkeep cannot return to a caller. Default: nothing.
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	if o.Meta == nil {
		return o, errors.New("lake: Options.Meta is required")
	}
	if o.CacheDir == "" {
		return o, errors.New("lake: Options.CacheDir is required")
	}
	if o.CacheBytesMax <= 0 {
		o.CacheBytesMax = 4 << 30
	}
	if o.PartialBytesMin == 0 {
		o.PartialBytesMin = 16 << 20
	}
	if o.RequestBytes <= 0 {
		o.RequestBytes = 128 << 10
	}
	if o.RowGroupRows <= 0 {
		o.RowGroupRows = 2048
	}
	if o.FileBytesMax <= 0 {
		o.FileBytesMax = 64 << 20
	}
	if o.CheckpointEntries <= 0 {
		o.CheckpointEntries = 64
	}
	if o.Parallel <= 0 {
		o.Parallel = 4
	}
	if o.Grace <= 0 {
		o.Grace = time.Hour
	}
	if o.LogRetention <= 0 {
		o.LogRetention = 24 * time.Hour
	}
	if o.SweepInterval <= 0 {
		o.SweepInterval = 6 * time.Hour
	}
	o.SweepInterval = max(o.SweepInterval, o.Grace)
	if o.CompactInterval <= 0 {
		o.CompactInterval = 10 * time.Second
	}
	if o.CompactFiles <= 0 {
		o.CompactFiles = 8
	}
	if o.CompactParallel <= 0 {
		o.CompactParallel = 2
	}
	if o.PackRowsMax <= 0 {
		o.PackRowsMax = 1000
	}
	if o.PackBytesMax <= 0 {
		o.PackBytesMax = 256 << 10
	}
	if o.PackAge == 0 {
		o.PackAge = 24 * time.Hour
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// Events are told what the lake did; nil functions are skipped. They are called
// from many goroutines and must not call back into the Lake.
type Events struct {
	Committed    func(CommitInfo)
	Checkpointed func(CheckpointInfo)
	Deleted      func(DeleteInfo)
	Corrupt      func(CorruptInfo)
	// Collected is told of each round that deleted removed or orphaned files, or failed to.
	Collected func(CollectInfo)
	// Compacting is told when files are about to be merged; the merge goes on under the
	// context it returns, and done is called once at the end.
	Compacting func(context.Context, CompactInfo) (_ context.Context, done func(CompactInfo, error))
}

// CommitInfo describes one committed log entry.
type CommitInfo struct {
	Table             row.TableRef
	Entry             uint64
	Partitions, Files int
	Rows, Bytes       int64
	Took              time.Duration
}

func (i CommitInfo) String() string {
	return fmt.Sprintf("committed %s entry %d: %d partitions, %d files, %d rows, %d bytes, %s",
		i.Table, i.Entry, i.Partitions, i.Files, i.Rows, i.Bytes, i.Took.Round(time.Millisecond))
}

// CheckpointInfo describes one written checkpoint.
type CheckpointInfo struct {
	Table row.TableRef
	Entry uint64 // the last entry it covers
	Bytes int
	Took  time.Duration
}

func (i CheckpointInfo) String() string {
	return fmt.Sprintf("checkpoint %s at entry %d: %d bytes, %s", i.Table, i.Entry, i.Bytes, i.Took.Round(time.Millisecond))
}

// CompactInfo describes one round of compaction, or all of them of one Compact.
type CompactInfo struct {
	Table      row.TableRef
	Partitions int
	Failed     int // of them, left as they were
	users      []row.UserID
	FilesIn, FilesOut,
	RowsIn, RowsOut,
	BytesIn, BytesOut int64
	Took time.Duration
}

func (i *CompactInfo) add(o *CompactInfo) {
	i.Partitions += o.Partitions
	i.Failed += o.Failed
	i.FilesIn, i.FilesOut = i.FilesIn+o.FilesIn, i.FilesOut+o.FilesOut
	i.RowsIn, i.RowsOut = i.RowsIn+o.RowsIn, i.RowsOut+o.RowsOut
	i.BytesIn, i.BytesOut = i.BytesIn+o.BytesIn, i.BytesOut+o.BytesOut
}

func (i CompactInfo) String() string {
	return fmt.Sprintf("compacted %s: %d partitions, %d failed, files %d → %d, rows %d → %d, bytes %d → %d, %s",
		i.Table, i.Partitions, i.Failed, i.FilesIn, i.FilesOut, i.RowsIn, i.RowsOut, i.BytesIn, i.BytesOut, i.Took.Round(time.Millisecond))
}

// CollectInfo describes one round of deleting files of a table that nothing needs any more.
type CollectInfo struct {
	Table        row.TableRef
	Orphans      bool // files that no entry ever named; else files that a compaction replaced
	Files, Bytes int64
	Err          error // what ended the round; the rest is tried again
}

func (i CollectInfo) String() string {
	return fmt.Sprintf("collected %s: %d files, %d bytes (orphans: %t)", i.Table, i.Files, i.Bytes, i.Orphans)
}

// DeleteInfo describes one file removed from the bucket.
type DeleteInfo struct {
	Table  row.TableRef
	Name   string
	Orphan bool // no entry ever named it
}

func (i DeleteInfo) String() string {
	return fmt.Sprintf("deleted %s: %s (orphan: %t)", i.Table, i.Name, i.Orphan)
}

// CorruptInfo describes an object that is not what was written.
type CorruptInfo struct {
	Name string
	Err  error
}

func (i CorruptInfo) String() string { return fmt.Sprintf("corrupt %s: %v", i.Name, i.Err) }

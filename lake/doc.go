// Package lake keeps the flushed rows: Parquet files in a bucket, and the commit
// log that says which of them count.
//
// A flush ([Lake.Flush], flush.go) turns the sealed segments of one table's
// partitions into sorted Parquet files (schema.go, writer.go), puts each under a
// name made from its content, and then commits the whole round with one
// conditional put of the table's next log entry (log.go, entry.go). That put is
// the commit point: before it nothing of the round is visible, after it everything
// is. Checkpoints (checkpoint.go) bound what a start has to replay.
//
// One rule makes repeats harmless: a partition has a watermark, Through, and rows
// at or below it are never written again. So a lost reply, a crash between two
// steps or a second flush of the same segment changes nothing.
//
// Another rule makes two servers harmless: the entry number n+1 of a table is
// written only where it does not exist yet. The server that finds a stranger's
// entry in its place stops with [ErrFenced]; every entry carries the writer's
// nonce, so a writer recognises its own entry when a reply was lost. A server that
// starts where another one has committed claims the tables first (owner.go).
//
// Readers take a [Manifest] of one partition (table.go): an immutable list of files,
// pinned until it is released. [Lake.Local] gives the file on local disk through a
// bounded, checksummed cache (cache.go), and [Lake.Find] looks up rows by primary
// key: key range, then bloom filter, then the pages that can hold the key (find.go,
// reader.go).
//
// [Lake.Run] merges files in the background (compact.go, compactchoose.go,
// compactmerge.go) and does the upkeep (upkeep.go): checkpoints, deleting files no entry
// names and no reader pins, and collecting what crashed flushes left behind.
//
// In the bucket of the location `default`:
//
//	_kalamdb/log/<ns>/<table>/<table id>/<n>.json         one committed round or claim, see entry.go
//	_kalamdb/checkpoint/<ns>/<table>/<table id>/<n>.json  the state after entry n
//
// and in the table's own location, one folder per partition:
//
//	<path>/batch-<first seq>-<last seq>-<hash>.parquet
package lake

// Package ingest accepts rows, makes them durable in commit order, and hands them
// to the lake. It is the only package that knows Pebble.
//
// A row enters through [Buffer.Commit] (commit.go), which encodes it and queues it.
// One goroutine, the sequencer (sequencer.go), takes everything that is queued,
// checks each commit against the newest rows (check.go), gives out Seqs and writes
// one Pebble batch for all. A second one, the syncer (syncer.go), waits for the
// fsync, moves the durable watermark, answers the callers and tells the [Observer].
// So many callers share one fsync, and everything after the watermark is in order.
//
// A row is read through [Buffer.View] (view.go): one Pebble snapshot for the
// partitions of a statement. It leaves through the flusher (flusher.go decides which
// partitions are due, round.go hands those of one table to the [Sink] at once).
// [Buffer.Changes] replays what happened to a partition from the change log, and
// trim.go drops the part of the log that is too old or too large.
//
// An insert of more rows than should be in memory at once goes by a [Staging] (staging.go):
// its rows are written as they come, where nothing leads to, and become part of their
// partition with one commit (stagingcommit.go). The change log has them apart (bulk.go).
//
// The rows of a stream (stream.go) are events: they never leave for the lake, but go when
// they are too old or too many. Those of an ephemeral one (memory.go) pass through the
// sequencer for their place in the order, and are never written.
//
// Two rules tie the package to its readers:
//
//   - Pebble shows a row before it is durable; nobody outside sees it before. Acks,
//     events, flushes and views wait for the watermark.
//   - A row is dropped from the buffer only after the Sink has committed it. So at
//     every moment it is in the buffer, in the lake, or in both with the same Seq. A
//     reader takes the View first and the lake's manifest second; the other order can
//     miss a row that moves in between.
//
// The bytes on disk are in keys.go; the state in memory, which only repeats them, in
// partition.go; opening and recovery in open.go, and when another server has used the
// bucket, or this folder follows a lost one, in takeover.go.
package ingest

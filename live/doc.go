// Package live pushes committed changes to subscribers: per partition, in commit
// order, without a gap and without a repeat.
//
// A [Hub] (hub.go) gets every committed batch through [Hub.Committed], on the write
// path. All it does there is to append the batch to the queue of each
// [Subscription] of that partition. It waits for nobody, and partitions without a
// subscriber cost one look into a map.
//
// The rest happens in the goroutine of the subscriber, in [Subscription.Next]
// (subscription.go): it takes what is queued, runs the filter over all of it at once,
// and turns changes into events (event.go) by whether the old and the new row match:
//
//	old no   new yes   INSERT, Rows = new
//	old yes  new yes   UPDATE, Rows = new, Old = old
//	old yes  new no    DELETE with LeftFilter, Rows = the row as it last matched,
//	                   with _deleted true and the _seq and _updated of the change
//	                   that moved it out; what it became is not the client's business
//
// A real DELETE is an event if the row matched before or after it, with the full
// last values and _deleted true. Neighbouring changes of one commit that give the
// same kind of event are one event.
//
// How a subscription begins without a gap:
//
//  1. [Hub.Subscribe]: from now on every commit is queued.
//  2. The caller takes a snapshot. As commits are durable before the hub hears of
//     them, the snapshot holds all that was committed before 1.
//  3. [Subscription.Start] with the Seq S of the snapshot drops what the snapshot
//     holds; or [Subscription.Replay] (replay.go) first reads the changes from a
//     cursor up to S from the change log, and only then the queue.
//
// A queue is bounded in bytes. A reader that lets it overflow is ended with the
// reason lagged and the Seq up to which it was served, and can resume from there.
// Only before and while it replays is an overflow no end: the queue is dropped, and
// the replay goes on in the change log up to what was dropped.
//
// Nothing here starts a goroutine. json.go writes rows as the JSON of the events.
package live

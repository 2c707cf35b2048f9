// Package live pushes committed changes to subscribers: per partition, in commit
// order, without a gap and without a repeat.
//
// A [Hub] (hub.go) gets every committed batch through [Hub.Committed], on the write
// path. All it does there is to leave the batch at its place (place.go), the partition: it
// waits for nobody, and costs the same whatever the number of subscribers.
//
// A worker of the hub takes it from there. It finds the feeds that it may concern by the
// values of columns (route.go). A feed (feed.go) is what identical subscriptions share:
// it runs the filter once, makes the events (event.go) once, and puts them into the queue
// of each [Subscription] (subscription.go), which encodes them once (json.go). A filter
// that takes its time has workers of its own. Events come of whether the old and the new
// row match:
//
//	old no   new yes   INSERT, Rows = new
//	old yes  new yes   UPDATE, Rows = new, Old = old
//	old yes  new no    DELETE with LeftFilter, Rows = the row as it last matched,
//	                   with _deleted true and the _seq and _updated of the change
//	                   that moved it out; what it became is not the client's business
//
// A real DELETE is an event if the row matched before it, or after it for a filter that
// looks at _deleted, with the full last values and _deleted true. Neighbouring changes of
// one commit that give the same kind of event are one event.
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
// The queues of a connection are bounded in bytes (budget.go). A reader that lets them
// overflow is ended with the reason lagged and the Seq up to which it was served, and can
// resume from there. Only before and while it replays is an overflow no end: the queue is
// dropped, and the replay goes on in the change log up to what was dropped. So it does
// when the workers cannot keep up with a partition.
//
// The workers are goroutines that begin when there is work and end when there is none;
// subscriptions have none. A reader waits in [Subscription.Next], or is told by
// [Subscription.Notify] when there is something to [Subscription.Poll].
package live

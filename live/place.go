package live

import (
	"sync"
	"sync/atomic"

	"kalamdb/row"
)

// A place is one partition that has subscriptions. Its life in the hub begins with the
// first of them and ends with the last.
//
// The writer only leaves batches here ([place.leave]). A worker of the hub takes them,
// one worker at a time, and hands them out ([place.serve]): so a write costs the same
// whatever the number of subscribers.
type place struct {
	hub *Hub
	key partition

	// in guards the fields below it. The writer takes it: nothing else is done under it.
	in      sync.Mutex
	pending []*row.Batch
	bytes   int64   // of pending and of what the worker has taken
	lost    row.Seq // everything up to here that was pending is gone; the change log has it
	ended   bool    // over has grown, and who wants to hear of it was not told
	busy    bool    // in the run queue, or a worker has it

	// mu guards the fields below it, and the subscriptions of the feeds in routes. The mu
	// of a subscription may be taken under it; nothing blocks.
	mu     sync.Mutex
	routes []*routes // in no order, none without feeds

	// routed: every batch up to this Seq has been handed out by serve.
	routed atomic.Uint64

	over     atomic.Uint64 // events of a stream up to this Seq are over; set under in
	expiring atomic.Int32  // feeds that want to hear of it; set under mu
}

// leave puts b behind what is pending. More than the limit is dropped: the subscriptions
// then read it from the change log.
func (p *place) leave(b *row.Batch) {
	bytes := int64(b.Bytes())
	p.in.Lock()
	defer p.in.Unlock()
	if len(p.pending) > 0 && p.bytes+bytes > p.hub.opts.QueueBytesMax {
		p.drop(b.Last())
	} else {
		p.pending = append(p.pending, b)
		p.bytes += bytes
	}
	p.wake()
}

// leaveBulk says that changes up to last are in the change log alone.
func (p *place) leaveBulk(last row.Seq) {
	p.in.Lock()
	defer p.in.Unlock()
	p.drop(last)
	p.wake()
}

// drop forgets what is pending and everything else up to last. in is held.
func (p *place) drop(last row.Seq) {
	for _, b := range p.pending {
		p.bytes -= int64(b.Bytes())
	}
	p.pending, p.lost = nil, last
}

// wake has a worker come. in is held.
func (p *place) wake() {
	if !p.busy {
		p.busy = true
		p.hub.quick.add(p)
	}
}

// serve hands out what is pending, and comes again if there is more by then.
func (p *place) serve() {
	p.in.Lock()
	batches, lost, bytes, over := p.pending, p.lost, p.bytes, p.ended
	p.pending, p.lost, p.ended = nil, 0, false
	p.in.Unlock()

	ended := p.hand(batches, lost, over)
	for _, s := range ended {
		p.hub.remove(s)
	}

	p.in.Lock()
	defer p.in.Unlock()
	p.bytes -= bytes
	if p.busy = len(p.pending) > 0 || p.lost > 0 || p.ended; p.busy {
		p.hub.quick.add(p)
	}
}

// hand gives batches to the feeds that may want them, after it has told all that what
// is up to lost is in the change log. It returns the subscriptions that this ended.
func (p *place) hand(batches []*row.Batch, lost row.Seq, over bool) (ended []*Subscription) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if over {
		p.tellOver()
	}
	if lost > 0 {
		for _, r := range p.routes {
			for f := range r.feeds {
				ended = f.offerBulk(lost, ended)
			}
		}
		p.routed.Store(uint64(lost))
	}
	for _, b := range batches {
		for _, r := range p.routes {
			ended = r.hand(p.hub.ctx, b, ended)
		}
		p.routed.Store(uint64(b.Last()))
	}
	return ended
}

// join makes s a subscription of f, and f one of p if it is new.
func (p *place) join(f *feed, s *Subscription) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(f.subs) == 0 {
		p.routesOf(f.sel).add(f)
		if f.sel.Expired {
			p.expiring.Add(1)
		}
	}
	s.index = len(f.subs)
	f.subs = append(f.subs, s)
}

// part takes s out again. last says whether it was the last of its feed.
func (p *place) part(f *feed, s *Subscription) (last bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(f.subs) - 1
	moved := f.subs[n]
	f.subs[s.index], moved.index = moved, s.index
	f.subs[n] = nil
	f.subs = f.subs[:n]
	if n > 0 {
		return false
	}
	if f.sel.Expired {
		p.expiring.Add(-1)
	}
	for i, r := range p.routes {
		if r.sees(f.sel) {
			if r.remove(f); len(r.feeds) == 0 {
				p.routes = append(p.routes[:i:i], p.routes[i+1:]...)
			}
			break
		}
	}
	return true
}

// routesOf are the routes of the schema version that sel sees rows in.
func (p *place) routesOf(sel *Selection) *routes {
	for _, r := range p.routes {
		if r.sees(sel) {
			return r
		}
	}
	r := newRoutes(sel)
	p.routes = append(p.routes, r)
	return r
}

// A task is work for a worker. Each is in the run queue at most once.
type task interface{ serve() }

// A crew are the workers of a run queue: goroutines that begin when there is work and
// end when there is none.
type crew struct {
	max     int
	running sync.WaitGroup

	// mu guards the fields below it. It is a leaf.
	mu      sync.Mutex
	waiting []task
	workers int
	closed  bool
}

// add queues t; after close it is forgotten.
func (c *crew) add(t task) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.waiting = append(c.waiting, t)
	if c.workers < c.max {
		c.workers++
		c.running.Go(c.work)
	}
}

func (c *crew) work() {
	for t := c.take(); t != nil; t = c.take() {
		t.serve()
	}
}

// take is the next task; nil ends the worker.
func (c *crew) take() task {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		c.waiting = nil
		c.workers--
		return nil
	}
	t := c.waiting[0]
	c.waiting[0] = nil
	c.waiting = c.waiting[1:]
	return t
}

// close forgets what waits and waits for the workers.
func (c *crew) close() {
	c.mu.Lock()
	c.waiting, c.closed = nil, true
	c.mu.Unlock()
	c.running.Wait()
}

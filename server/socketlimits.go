package server

import (
	"context"
	"fmt"
	"sync"
	"time"

	"kalamdb/row"
)

// userLimits are what one user may have over all his connections.
type userLimits struct{ sockets, subscriptions userCount }

func newUserLimits(o Options) userLimits {
	return userLimits{
		sockets:       userCount{max: o.UserSocketsMax, what: "open WebSockets", counts: map[row.UserID]int{}},
		subscriptions: userCount{max: o.UserSubscriptionsMax, what: "live queries", counts: map[row.UserID]int{}},
	}
}

// A userCount counts something of each user up to a limit.
type userCount struct {
	max  int
	what string

	mu     sync.Mutex         // guards counts; a leaf
	counts map[row.UserID]int // no zeros
}

// take counts one more of the user, if he may have it. The caller gives it back.
func (c *userCount) take(user row.UserID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts[user] >= c.max {
		return fail(codeLimitExceeded, fmt.Sprintf("a user may have %d %s", c.max, c.what))
	}
	c.counts[user]++
	return nil
}

func (c *userCount) give(user row.UserID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts[user]--; c.counts[user] == 0 {
		delete(c.counts, user)
	}
}

// paceBurst is how many seconds' worth of messages a client may send at once.
const paceBurst = 10

// A pace makes a client that sends too fast wait: what it sends beyond the rate stays in
// the connection. No message is dropped. It is for one goroutine.
type pace struct {
	every time.Duration // one message on the long run
	free  time.Time     // before it the client has sent no more than it may
}

func newPace(perSecond int) pace { return pace{every: time.Second / time.Duration(perSecond)} }

// delay counts n messages and is how long to wait before the next is read.
func (p *pace) delay(now time.Time, n int) time.Duration {
	if p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(n) * p.every)
	return p.free.Sub(now) - paceBurst*time.Second
}

// wait is delay and the waiting; it ends early with ctx.
func (p *pace) wait(ctx context.Context, n int) {
	d := p.delay(time.Now(), n)
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

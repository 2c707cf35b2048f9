package query

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// A lane is a share of the engine: a number of turns, and DuckDB instances of its own
// whose memory they share. Statements of one lane cannot take the memory of another.
//
// Every statement begins in the quick lane, whose turns are short: one that needs more
// than Options.QuickTime is stopped there and starts again in the slow lane, where each
// turn has a whole instance, and threads that the others' go before. So key reads wait
// for other key reads only, however many scans there are. Streams have a lane too: they
// last as long as their readers like. So have the conditions of live queries: subscribers
// wait for them, and a condition that lags behind ends live queries. See docs/decisions/0020-lanes.md.
type lane struct {
	o     Options // of its instances
	turns *turnstile
	yield bool // its threads let others go first

	mu     sync.Mutex // guards the fields below and the counters of instances; opening a new one happens under it
	in     []*instance
	closed bool
}

// slowWaitMax is how long a statement waits for a slow turn before it is told BUSY.
const slowWaitMax = 30 * time.Second

// spillFolders numbers the folders of instances: two must not share one.
var spillFolders atomic.Int64

// clearSpills removes what a server that was killed has left in dir.
func clearSpills(dir string) error {
	if dir == "" {
		return nil
	}
	left, err := os.ReadDir(dir)
	for _, f := range left {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, f.Name())))
	}
	return err
}

// newLane makes a lane of n instances with turns each, which share memory.
func newLane(o Options, n, turns int, memory int64, waitMax time.Duration, yield bool) *lane {
	all := n * turns
	o.Concurrency, o.MemoryBytes = turns, max(memory/int64(n), instanceBytesMin)
	return &lane{o: o, turns: newTurnstile(all, max(1, min(o.UserConcurrency, all-1)), o.WaitersMax, o.UserWaitersMax, waitMax), yield: yield, in: make([]*instance, n)}
}

// instanceBytesMin is what an instance needs to do anything.
const instanceBytesMin = 16 << 20

// acquire is the instance to use now; release it.
func (l *lane) acquire() (*instance, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	best := 0
	for i, in := range l.in {
		if in == nil || in.refs == 0 {
			best = i
			break
		}
		if in.refs < l.in[best].refs {
			best = i
		}
	}
	if l.in[best] == nil {
		in, err := l.open()
		if err != nil {
			return nil, err
		}
		l.in[best] = in
	}
	l.in[best].refs++
	return l.in[best], nil
}

// open starts an instance.
func (l *lane) open() (in *instance, err error) {
	o := l.o
	if o.TempDir != "" {
		o.TempDir = filepath.Join(o.TempDir, strconv.FormatInt(spillFolders.Add(1), 10))
	}
	if !l.yield {
		in, err = openInstance(o)
	} else { // DuckDB's threads begin as the one that makes them
		done := make(chan struct{})
		go func() {
			defer close(done)
			yieldThread()
			in, err = openInstance(o)
		}()
		<-done
	}
	if err == nil {
		in.lane = l
	}
	return in, err
}

func (l *lane) release(in *instance) {
	l.mu.Lock()
	defer l.mu.Unlock()
	in.refs--
	if in.refs == 0 && (in.broken || l.closed) {
		in.close()
	}
}

// replace puts a new instance in the place of one that reported a fatal error or holds
// a statement that does not stop. What still runs on the old one ends there.
func (l *lane) replace(in *instance) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if in.broken || l.closed {
		return
	}
	next, err := l.open()
	if err != nil {
		return // the next statement that fails tries again; Ready says so until then
	}
	in.broken = true
	for i := range l.in {
		if l.in[i] == in {
			l.in[i] = next
		}
	}
}

// close ends the instances that nobody uses; the others end with their last user.
func (l *lane) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	for _, in := range l.in {
		if in != nil && in.refs == 0 {
			in.close()
		}
	}
}

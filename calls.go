package kalamdb

import "sync"

func errClosed() *Error { return fail(CodeNotReady, "the database is closed") }

// calls are the calls that use the rooms of a database. Once end has returned none runs and
// none begins, so the rooms can be closed.
type calls struct {
	mu      sync.RWMutex // guards ended, and Add of running against its Wait
	ended   bool
	running sync.WaitGroup
}

// enter says whether a call may begin; then it has to leave.
func (c *calls) enter() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.ended {
		return false
	}
	c.running.Add(1)
	return true
}

func (c *calls) leave() { c.running.Done() }

// end lets no call begin and waits for those that run.
func (c *calls) end() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.running.Wait()
}

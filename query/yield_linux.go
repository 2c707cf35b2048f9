package query

import (
	"runtime"
	"syscall"
)

// niceness of the threads of slow statements: they get little of a processor that
// others want, and all of one that nobody does.
const niceness = 15

// yieldThread lets the threads of others go before this one, and those that it makes.
// The thread ends with the goroutine, because no thread can take it back.
func yieldThread() {
	runtime.LockOSThread()
	_ = syscall.Setpriority(syscall.PRIO_PROCESS, syscall.Gettid(), niceness) // without it, they are equals
}

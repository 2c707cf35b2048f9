//go:build !linux

package query

// yieldThread does nothing where a thread has no priority of its own.
func yieldThread() {}

package live

import "sync/atomic"

// A budget is the room in bytes for what waits for the subscriptions of one connection.
type budget struct {
	max  int64
	used atomic.Int64
	subs int // subscriptions that share it, guarded by the registry of the hub
}

// take reserves room, and is false if there is none. If nothing but what is on its way
// uses any there is room for anything, or what is larger than all of it could never be
// delivered.
func (b *budget) take(bytes, onTheWay int64) bool {
	if used := b.used.Add(bytes); used > b.max && used > bytes+onTheWay {
		b.used.Add(-bytes)
		return false
	}
	return true
}

func (b *budget) give(bytes int64) { b.used.Add(-bytes) }

package server

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/semaphore"
)

// frameOverheadBytes is what a waiting frame costs beyond its text.
const frameOverheadBytes = 64

// errSealed says that a socket is closing and takes no more frames.
var errSealed = errors.New("the socket is closing")

// An outbox holds the frames that one socket has still to send, in order. push
// waits while more than max bytes wait, so whoever produces for a slow client
// stops producing. Any number of goroutines push, one takes.
type outbox struct {
	room *semaphore.Weighted // bytes
	max  int64
	some chan struct{} // capacity 1: frames may be waiting

	// mu guards frames and sealed. Nothing blocks under it.
	mu     sync.Mutex
	frames [][]byte
	sealed bool
}

func newOutbox(max int64) *outbox {
	return &outbox{room: semaphore.NewWeighted(max), max: max, some: make(chan struct{}, 1)}
}

// cost is what a frame takes of the room; a frame larger than the whole room
// waits until it is the only one.
func (o *outbox) cost(frame []byte) int64 {
	return min(int64(len(frame))+frameOverheadBytes, o.max)
}

// push puts frame behind the others and waits for room before. It is the
// outbox's from then on.
func (o *outbox) push(ctx context.Context, frame []byte) error {
	if err := o.room.Acquire(ctx, o.cost(frame)); err != nil {
		return err
	}
	o.mu.Lock()
	if o.sealed {
		o.mu.Unlock()
		o.room.Release(o.cost(frame))
		return errSealed
	}
	o.frames = append(o.frames, frame)
	o.mu.Unlock()
	o.wake()
	return nil
}

// wake has whoever takes look.
func (o *outbox) wake() {
	select {
	case o.some <- struct{}{}:
	default:
	}
}

// take is all that waits. Each frame keeps its room until it is given to done.
func (o *outbox) take() [][]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	frames := o.frames
	o.frames = nil
	return frames
}

// done frees the room of a frame that was sent.
func (o *outbox) done(frame []byte) { o.room.Release(o.cost(frame)) }

// seal lets no frame in any more.
func (o *outbox) seal() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sealed = true
}

package query

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// A turnstile gives out the turns of a lane, in turn to each user who waits.
//
// Invariants: nobody waits who could go, so whoever comes while a turn is free and he is
// below his limit takes it; the sum of running and free is the number of turns.
type turnstile struct {
	userMax        int // turns of one user
	waitersMax     int
	userWaitersMax int
	waitMax        time.Duration // then BUSY

	mu      sync.Mutex // guards the fields below and those of users and waiters; nothing blocks under it
	free    int
	waiting int
	users   map[string]*turnUser
	ring    []*turnUser // those who wait, who is next first
}

// A turnUser is a user who has turns or waits for some.
type turnUser struct {
	name    string
	running int
	waiters []*waiter // in the order they came
}

type waiter struct {
	turn    chan struct{} // closed when it has its turn
	granted bool
}

func newTurnstile(turns, userMax, waitersMax, userWaitersMax int, waitMax time.Duration) *turnstile {
	return &turnstile{free: turns, userMax: userMax, waitersMax: waitersMax, userWaitersMax: userWaitersMax, waitMax: waitMax, users: map[string]*turnUser{}}
}

// enter waits for a turn of user. done gives it back.
func (t *turnstile) enter(ctx context.Context, user string) (done func(), err error) {
	u, w, err := t.queue(user)
	if err != nil {
		return nil, err
	}
	done = func() { t.leave(u) }
	if w == nil {
		return done, nil
	}
	timer := time.NewTimer(t.waitMax)
	defer timer.Stop()
	select {
	case <-w.turn:
		return done, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
		err = &Error{Code: "BUSY", Message: "too many statements are running, try again", Pos: -1}
	}
	t.mu.Lock()
	if !w.granted {
		u.waiters = slices.DeleteFunc(u.waiters, func(other *waiter) bool { return other == w })
		t.waiting--
		t.forget(u)
		t.mu.Unlock()
		return nil, err
	}
	t.mu.Unlock()
	t.leave(u)
	return nil, err
}

// queue takes a turn, or a place among those who wait.
func (t *turnstile) queue(user string) (*turnUser, *waiter, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.users[user]
	if u == nil {
		u = &turnUser{name: user}
		t.users[user] = u
	}
	if t.free > 0 && u.running < t.userMax {
		t.free--
		u.running++
		return u, nil, nil
	}
	var err error
	switch {
	case len(u.waiters) >= t.userWaitersMax:
		err = &Error{Code: "BUSY", Message: fmt.Sprintf("%d statements of yours are waiting already, the limit of one user, try again", t.userWaitersMax), Pos: -1}
	case t.waiting >= t.waitersMax:
		err = &Error{Code: "BUSY", Message: fmt.Sprintf("%d statements are waiting already, try again", t.waitersMax), Pos: -1}
	default:
		w := &waiter{turn: make(chan struct{})}
		u.waiters = append(u.waiters, w)
		t.waiting++
		if len(u.waiters) == 1 {
			t.ring = append(t.ring, u)
		}
		return u, w, nil
	}
	t.forget(u)
	return nil, nil, err
}

// leave gives a turn of u to the next who may have it.
func (t *turnstile) leave(u *turnUser) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u.running--
	t.free++
	for i := 0; i < len(t.ring) && t.free > 0; {
		next := t.ring[i]
		if next.running >= t.userMax {
			i++
			continue
		}
		w := next.waiters[0]
		next.waiters = next.waiters[1:]
		next.running++
		t.free--
		t.waiting--
		w.granted = true
		close(w.turn)
		t.ring = slices.Delete(t.ring, i, i+1)
		if len(next.waiters) > 0 {
			t.ring = append(t.ring, next)
		}
	}
	t.forget(u)
}

// forget drops what is not needed of u.
func (t *turnstile) forget(u *turnUser) {
	if len(u.waiters) > 0 {
		return
	}
	t.ring = slices.DeleteFunc(t.ring, func(other *turnUser) bool { return other == u })
	if u.running == 0 {
		delete(t.users, u.name)
	}
}

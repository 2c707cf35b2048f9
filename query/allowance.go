package query

import (
	"sync"
	"time"
)

// An Allowance gives each user so many tokens a second, and lets him save up to burst.
// A user who is not heard of for long enough to have saved all is forgotten.
type Allowance struct {
	perSecond, burst float64

	mu    sync.Mutex // guards the fields below; nothing blocks under it
	users map[string]saved
	swept time.Time
}

type saved struct {
	tokens float64
	at     time.Time
}

// NewAllowance makes an Allowance; 0 per second is none: Take is always granted.
func NewAllowance(perSecond, burst float64) *Allowance {
	return &Allowance{perSecond: perSecond, burst: burst, users: map[string]saved{}}
}

// Take takes n tokens of user at a moment. Who has at least one gets all of them, and
// pays later what he did not have; who has none hears how long to wait.
func (a *Allowance) Take(user string, n int, now time.Time) (wait time.Duration) {
	if a.perSecond <= 0 {
		return 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sweep(now)
	s, known := a.users[user]
	if !known {
		s = saved{tokens: a.burst}
	} else {
		s.tokens = min(a.burst, s.tokens+now.Sub(s.at).Seconds()*a.perSecond)
	}
	s.at = now
	if s.tokens >= 1 {
		s.tokens -= float64(n)
	} else {
		wait = time.Duration((1 - s.tokens) / a.perSecond * float64(time.Second))
	}
	a.users[user] = s
	return wait
}

// sweep forgets those who have saved all.
func (a *Allowance) sweep(now time.Time) {
	full := time.Duration(a.burst / a.perSecond * float64(time.Second))
	if now.Sub(a.swept) < 2*full {
		return
	}
	a.swept = now
	for user, s := range a.users {
		if s.tokens+now.Sub(s.at).Seconds()*a.perSecond >= a.burst {
			delete(a.users, user)
		}
	}
}

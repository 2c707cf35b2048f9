package query

import (
	"sync"
	"time"
)

const (
	habitsMax = 4096 // statements of users that are remembered as slow ones
	// A user may begin so many statements in the quick lane that turn out to be slow; who
	// has used them up waits for slow turns with all he asks. Services are not users: one
	// of them speaks for many.
	misjudgedPerSecond, misjudgedBurst = 0.1, 5
)

// A slowness remembers what was slow for whom, so that it need not begin twice.
type slowness struct {
	misjudged *Allowance

	mu     sync.Mutex // guards habits; nothing blocks under it
	habits map[habit]struct{}
}

type habit struct {
	user string
	plan *Plan
}

func newSlowness() slowness {
	return slowness{misjudged: NewAllowance(misjudgedPerSecond, misjudgedBurst), habits: map[habit]struct{}{}}
}

// known says whether the statement should begin in the slow lane.
func (s *slowness) known(who *Session, p *Plan) bool {
	s.mu.Lock()
	_, slow := s.habits[habit{who.User, p}]
	s.mu.Unlock()
	return slow || who.Role == "user" && s.misjudged.Take(who.User, 0, time.Now()) > 0
}

// learn notes how the statement turned out.
func (s *slowness) learn(who *Session, p *Plan, slow bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slow {
		delete(s.habits, habit{who.User, p})
		return
	}
	if len(s.habits) >= habitsMax {
		clear(s.habits)
	}
	s.habits[habit{who.User, p}] = struct{}{}
	s.misjudged.Take(who.User, 1, time.Now())
}

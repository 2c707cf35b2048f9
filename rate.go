package kalamdb

import (
	"time"

	"kalamdb/auth"
	"kalamdb/query"
)

const (
	userStatementsPerSecondDefault = 5_000
	statementsSavedSeconds         = 10 // worth of statements that a user who was quiet may send at once
)

func newRate(perSecond int) *query.Allowance {
	return query.NewAllowance(float64(perSecond), float64(perSecond)*statementsSavedSeconds)
}

// allow refuses a user who has sent too many statements. Services are not bounded: one of
// them speaks for many users.
func (db *DB) allow(req *Request, n int) error {
	if req.As.Role > auth.User {
		return nil
	}
	wait := db.rate.Take(string(req.As.User), n, time.Now())
	if wait == 0 {
		return nil
	}
	e := fail(CodeRateLimited, "more than %d statements a second, the limit of one user", db.statementsPerSecond)
	e.RetryAfter, e.Statement = wait, -1
	return e
}

// owe counts statements that run, however many they are: the next request waits for them.
func (db *DB) owe(req *Request, n int) {
	if req.As.Role <= auth.User {
		db.rate.Take(string(req.As.User), n, time.Now())
	}
}

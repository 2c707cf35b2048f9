package kalamdb

import (
	"sync"

	"kalamdb/auth"
	"kalamdb/row"
)

// Identify is the principal that a token names as the database knows him now: his row
// in system.users overrides the role of the token, and a token from before his deletion,
// or an API key that was revoked, is UNAUTHENTICATED. Exec, Query and Subscribe trust the principal of their request, so
// whoever takes tokens calls it for each of them. It costs two look-ups in memory.
func (db *DB) Identify(p auth.Principal) (auth.Principal, error) {
	if deleted := db.catalog.UserDeleted(p.User); !deleted.IsZero() && !p.Issued.After(deleted) {
		return auth.Principal{}, fail(CodeUnauthenticated, "the user of the token was deleted after it was issued").
			details("ask for a new token")
	}
	if p.Key != "" {
		return db.identifyKey(p)
	}
	p.Role = db.roleOf(p.User, p.Role)
	return p, nil
}

// roleOf is the role of the user's row, or otherwise if he has none.
func (db *DB) roleOf(id row.UserID, otherwise auth.Role) auth.Role {
	if u, ok := db.catalog.User(id); ok {
		return u.Role
	}
	return otherwise
}

// A userWatch is who wants to know that users or API keys have changed.
type userWatch struct {
	mu   sync.Mutex // guards all; nothing else happens under it
	last int
	told map[int]func()
}

// OnUsersChanged has f called after every change of system.users and system.api_keys, before the statement
// that made it is answered: what Identify says may be another answer now. f must not
// block and must not change users. The caller calls stop in the end.
func (db *DB) OnUsersChanged(f func()) (stop func()) {
	w := &db.userWatch
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.told == nil {
		w.told = map[int]func(){}
	}
	w.last++
	n := w.last
	w.told[n] = f
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.told, n)
	}
}

func (w *userWatch) tell() {
	w.mu.Lock()
	told := make([]func(), 0, len(w.told))
	for _, f := range w.told {
		told = append(told, f)
	}
	w.mu.Unlock()
	for _, f := range told {
		f()
	}
}

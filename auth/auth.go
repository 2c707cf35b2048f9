// Package auth turns a bearer token into a [Principal]: who is asking, and what
// he may do.
//
// A [Verifier] (verifier.go) checks a JWT: HS256 with the server's secret and
// nothing else, exp required, iss and aud when configured. What it accepted it
// remembers in a bounded cache (cache.go) until the token's end, so that a token
// used again costs one hash. [Sign] and [LoadOrCreateSecret] (secret.go) are the
// other side: `kalamdb token` and the tests make tokens with the secret that the
// first start of the server wrote.
//
// A service may have an API key in the place of a JWT (apikey.go); the catalog keeps its
// hash, so the database checks it.
//
// The user of a request comes from here and from nowhere else. No error names the
// token, a claim's foreign content or the secret.
package auth

import (
	"errors"
	"fmt"
	"time"

	"kalamdb/row"
)

// A Role says what a principal may do. Roles are ordered, the zero Role is the weakest.
type Role uint8

const (
	User    Role = iota // own rows, and what tables grant to all
	Service             // also SHARED tables of every access level, and EXECUTE AS USER
	DBA                 // DDL and operations, no one's rows
	System              // everything
)

var roleNames = [...]string{User: "user", Service: "service", DBA: "dba", System: "system"}

func (r Role) String() string {
	if int(r) < len(roleNames) {
		return roleNames[r]
	}
	return fmt.Sprintf("role(%d)", uint8(r))
}

// ParseRole reads the name of a role.
func ParseRole(s string) (Role, error) {
	for r, name := range roleNames {
		if s == name {
			return Role(r), nil
		}
	}
	return User, errors.New("unknown role, expected user, service, dba or system")
}

// A Principal is who a request acts as.
type Principal struct {
	User    row.UserID
	Role    Role
	Expires time.Time // when the token ends; zero means never
	Issued  time.Time // when the token was made, zero if it does not say
	Key     string    // the id of the API key that the token is; "" for a JWT
}

// ErrToken is wrapped by every error of [Verifier.Verify].
var ErrToken = errors.New("invalid token")

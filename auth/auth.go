// Package auth turns a bearer token into a Principal: who is asking, and what he may do.
package auth

import (
	"errors"
	"fmt"
	"time"

	"kalamdb/row"
)

// A Role says what a principal may do. Roles are ordered: each may what the ones below it may,
// with the exceptions the contract names. The zero Role is the weakest.
type Role uint8

const (
	User Role = iota
	Service
	DBA
	System
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
	return 0, fmt.Errorf("role %q is unknown, expected user, service, dba or system", s)
}

// A Principal is who a request acts as.
type Principal struct {
	User    row.UserID
	Role    Role
	Expires time.Time // when the token ends; zero means never
}

// ErrToken is wrapped by every error of [Verifier.Verify].
var ErrToken = errors.New("invalid token")

package row

import (
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// A Seq is the node-wide commit sequence: every committed row version has its
// own, they increase in commit order, and none is used twice. It stays below
// [SeqMax] so that JavaScript keeps it exact. Zero means "before every commit".
type Seq uint64

// SeqMax is the first number a Seq may not take: 2^53.
const SeqMax Seq = 1 << 53

// A UserID names the owner of a partition of a USER table. Get one from
// [ParseUserID]; the empty UserID stands for the single partition of a SHARED table.
type UserID string

const userIDBytesMax = 128

// ErrUserID is wrapped by every error of [ParseUserID].
var ErrUserID = errors.New("invalid user id")

// ParseUserID checks s against the contract: 1 to 128 bytes of printable UTF-8
// without '/', '\' and control characters, and neither "." nor "..".
func ParseUserID(s string) (UserID, error) {
	switch {
	case s == "":
		return "", fmt.Errorf("%w: it is empty, expected 1 to %d bytes", ErrUserID, userIDBytesMax)
	case len(s) > userIDBytesMax:
		return "", fmt.Errorf("%w: %d bytes, expected at most %d", ErrUserID, len(s), userIDBytesMax)
	case s == "." || s == "..":
		return "", fmt.Errorf("%w: %q is a path, not a name", ErrUserID, s)
	case !utf8.ValidString(s):
		return "", fmt.Errorf("%w: not UTF-8", ErrUserID)
	}
	for _, r := range s {
		if r == '/' || r == '\\' || !unicode.IsPrint(r) {
			return "", fmt.Errorf("%w: character %U is not allowed", ErrUserID, r)
		}
	}
	return UserID(s), nil
}

// A TableRef names one life of a table. A table that is dropped and created again
// has the same Namespace and Name and another ID, so nothing of the old one can
// be taken for the new one.
type TableRef struct {
	Namespace, Name string
	ID              uint64 // never 0 for a stored table
}

// String is namespace.name, as a person writes it in SQL.
func (t TableRef) String() string { return t.Namespace + "." + t.Name }

// Colon is namespace:name, the table_id of the system tables.
func (t TableRef) Colon() string { return t.Namespace + ":" + t.Name }

// A Partition is one user's slice of one table, or the whole of a SHARED table
// (User is empty). No file, lock or subscription ever spans two.
type Partition struct {
	Table TableRef
	User  UserID
}

// String is namespace.name/user, for logs and errors.
func (p Partition) String() string {
	if p.User == "" {
		return p.Table.String()
	}
	return p.Table.String() + "/" + string(p.User)
}

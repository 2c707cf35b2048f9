package storagelocations

import "kalamdb/row"

// A Template is the folder of one user's (or the shared table's) files.
type Template string

// The templates of tables without a LOCATION.
const (
	DefaultUser   Template = "users/${user_id}/${namespace}/${table}"
	DefaultShared Template = "shared/${namespace}/${table}"
)

func ParseTemplate(s string, userTable bool) (root string, t Template, err error) {
	return "", "", ErrName
}

func ParseRelative(s string, userTable bool) (Template, error) { return "", ErrName }

func (t Template) Expand(namespace, table string, user row.UserID) string { return string(t) }

package storagelocations

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"kalamdb/row"
)

// A Template is the folder of one user's (or the shared table's) files inside a
// bucket: literal text and the variables ${user_id}, ${namespace} and ${table}.
// Get one from [ParseTemplate] or [ParseRelative]; they keep these invariants:
//
//   - Expanding never leaves the folder the template starts in: no segment is
//     empty, "." or "..", whatever the values are.
//   - Two users of one table never get the same folder, nor one inside the
//     other's: the user id shares its segment with literal text only and is
//     encoded without loss.
//   - Namespace and table cannot be confused: text that no name can contain
//     stands between two variables.
//   - The folder _kalamdb, which holds the catalog and the commit logs, is never part of it.
//
// The empty Template is the root of the bucket; only a SHARED table may have it.
type Template string

// The templates of tables without a LOCATION.
const (
	DefaultUser   Template = "users/${user_id}/${namespace}/${table}"
	DefaultShared Template = "shared/${namespace}/${table}"
)

// ErrTemplate is wrapped by every error of [ParseTemplate] and [ParseRelative].
var ErrTemplate = errors.New("invalid location")

const (
	varUser      = "user_id"
	varNamespace = "namespace"
	varTable     = "table"

	templateBytesMax = 500
)

// MetaFolder is the folder of a bucket that belongs to KalamDB itself.
const MetaFolder = "_kalamdb"

// ParseTemplate splits the LOCATION of a table (s3://bucket/prefix/…,
// file:///abs/path/… or /abs/path/…) at the first segment with a variable: before
// it is the url of the bucket, as [Places.Bucket] takes it, from it on the
// template inside that bucket.
func ParseTemplate(s string, userTable bool) (root string, t Template, err error) {
	u, err := parseURL(s)
	if err != nil {
		return "", "", err
	}
	if strings.Contains(u.bucket, "$") {
		return "", "", fmt.Errorf("%w: %q has a variable in the name of the bucket", ErrTemplate, s)
	}
	if strings.Contains("/"+u.path, "//") {
		return "", "", fmt.Errorf("%w: %q has an empty segment", ErrTemplate, s)
	}
	fixed, rest := u.path, ""
	if i := strings.Index(u.path, "${"); i >= 0 {
		i = strings.LastIndexByte(u.path[:i], '/') + 1
		fixed, rest = strings.TrimSuffix(u.path[:i], "/"), u.path[i:]
	}
	if u.bucket == "" && fixed == "" {
		return "", "", fmt.Errorf("%w: %q begins at the root of the file system, expected a folder before the first variable", ErrTemplate, s)
	}
	if err := checkLiteral(fixed); err != nil {
		return "", "", err
	}
	if t, err = parseTemplate(rest, userTable); err != nil {
		return "", "", err
	}
	u.path = fixed
	return u.String(), t, nil
}

// ParseRelative checks a template inside a bucket that is known already.
func ParseRelative(s string, userTable bool) (Template, error) {
	return parseTemplate(strings.Trim(s, "/"), userTable)
}

func parseTemplate(s string, userTable bool) (Template, error) {
	if len(s) > templateBytesMax {
		return "", fmt.Errorf("%w: %d bytes, expected at most %d", ErrTemplate, len(s), templateBytesMax)
	}
	users := 0
	if s != "" {
		for segment := range strings.SplitSeq(s, "/") {
			if segment == "" {
				return "", fmt.Errorf("%w: %q has an empty segment", ErrTemplate, s)
			}
			n, err := checkSegment(segment)
			if err != nil {
				return "", err
			}
			users += n
		}
	}
	switch {
	case userTable && users == 0:
		return "", fmt.Errorf("%w: ${%s} is missing, every user of a USER table needs a folder of their own", ErrTemplate, varUser)
	case !userTable && users > 0:
		return "", fmt.Errorf("%w: ${%s} is for USER tables only", ErrTemplate, varUser)
	}
	return Template(s), nil
}

// checkSegment checks one segment of a template and counts the user ids in it.
func checkSegment(segment string) (users int, err error) {
	var last string // the variable before the literal at hand
	shape := ""     // the segment with every variable replaced by one letter
	for rest := segment; ; {
		literal, after, found := strings.Cut(rest, "${")
		if strings.Contains(literal, "$") {
			return 0, fmt.Errorf("%w: a lone $ in %q, expected ${%s}, ${%s} or ${%s}", ErrTemplate, segment, varUser, varNamespace, varTable)
		}
		shape += literal
		if !found {
			break
		}
		name, tail, closed := strings.Cut(after, "}")
		if !closed {
			return 0, fmt.Errorf("%w: ${ without } in %q", ErrTemplate, segment)
		}
		if name != varUser && name != varNamespace && name != varTable {
			return 0, unknownVariable(name)
		}
		if last != "" {
			if last == varUser || name == varUser {
				return 0, fmt.Errorf("%w: %q has another variable beside ${%s}, put a / between them", ErrTemplate, segment, varUser)
			}
			if strings.Trim(literal, "abcdefghijklmnopqrstuvwxyz0123456789_") == "" {
				return 0, fmt.Errorf("%w: nothing in %q separates ${%s} from ${%s}, put a / between them", ErrTemplate, segment, last, name)
			}
		}
		if name == varUser {
			users++
		}
		last, rest = name, tail
		shape += "x"
	}
	return users, checkLiteral(shape)
}

// checkLiteral checks the text of a template as the names of objects will be checked.
func checkLiteral(path string) error {
	if path == "" {
		return nil
	}
	if strings.Contains(path, "$") {
		return fmt.Errorf("%w: a lone $ in %q", ErrTemplate, path)
	}
	if err := checkName(path); err != nil {
		return fmt.Errorf("%w: %w", ErrTemplate, err)
	}
	for segment := range strings.SplitSeq(path, "/") {
		if strings.EqualFold(segment, MetaFolder) {
			return fmt.Errorf("%w: the folder %s is reserved", ErrTemplate, MetaFolder)
		}
	}
	return nil
}

func unknownVariable(name string) error {
	hint := ""
	folded := strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r == ' ' {
			return -1
		}
		return r
	}, strings.ToLower(name))
	switch {
	case folded == "":
	case strings.HasPrefix(folded, "user") || strings.HasSuffix(folded, "id"):
		hint = varUser
	case strings.HasPrefix(folded, "n") || strings.HasPrefix(folded, "schema"):
		hint = varNamespace
	case strings.HasPrefix(folded, "t"):
		hint = varTable
	}
	if hint != "" {
		return fmt.Errorf("%w: unknown variable ${%s}, did you mean ${%s}?", ErrTemplate, name, hint)
	}
	return fmt.Errorf("%w: unknown variable ${%s}, expected ${%s}, ${%s} or ${%s}", ErrTemplate, name, varUser, varNamespace, varTable)
}

// Expand is the folder of the given user's slice of the given table, without a
// slash at either end. The user id is ignored where the template has none.
func (t Template) Expand(namespace, table string, user row.UserID) string {
	folder := strings.NewReplacer(
		"${"+varUser+"}", encodeSegment(string(user)),
		"${"+varNamespace+"}", encodeSegment(namespace),
		"${"+varTable+"}", encodeSegment(table),
	).Replace(string(t))
	segments := strings.Split(folder, "/")
	for i, segment := range segments {
		if strings.EqualFold(segment, MetaFolder) { // a user may be called so
			segments[i] = "%5F" + segment[1:]
			folder = strings.Join(segments, "/")
		}
	}
	return folder
}

// segmentBytesMax bounds an encoded id: file systems allow 255 bytes in a segment,
// and the template may put text around it.
const segmentBytesMax = 180

// encodeSegment writes id as part of a path segment. A letter, digit, '_' or '-'
// stands for itself, and so does a '.' that is neither first nor last; every other
// byte becomes %XX. So the result is never "." or "..", has no slash, and says
// which id it came from. An id whose encoding is longer than segmentBytesMax keeps
// its beginning and gets '~' and the SHA-256 of the id; no shorter one has a '~'.
func encodeSegment(id string) string {
	const hexDigits = "0123456789ABCDEF"
	b := make([]byte, 0, len(id)+16)
	cut := 0 // end of the last whole byte that leaves room for the hash
	for i := 0; i < len(id); i++ {
		c := id[i]
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-',
			c == '.' && i > 0 && i < len(id)-1:
			b = append(b, c)
		default:
			b = append(b, '%', hexDigits[c>>4], hexDigits[c&15])
		}
		if len(b) <= segmentBytesMax-1-2*sha256.Size {
			cut = len(b)
		}
	}
	if len(b) <= segmentBytesMax {
		return string(b)
	}
	sum := sha256.Sum256([]byte(id))
	return string(b[:cut]) + "~" + hex.EncodeToString(sum[:])
}

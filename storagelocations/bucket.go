package storagelocations

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"
	"unicode/utf8"
)

// A Bucket holds objects by name. Implementations are safe for concurrent use.
//
// Put is all or nothing: a reader sees the old object or the new one, never a
// part, and a put that returned nil survives a crash. A put with a [Cond] happens
// only if the condition holds at that moment; of several that race for one name
// with the same condition one wins and the others get [ErrPrecondition]. An error
// of Put that is neither ErrPrecondition nor [ErrName] says nothing about whether
// the object is there: read it back to know.
//
// Names are paths of non-empty segments joined by '/', see [ErrName]. Names are
// case-sensitive. No name may be a folder of another one: with an object "a" there
// is none "a/b".
type Bucket interface {
	// Get opens the object. ErrNotExist if there is none.
	Get(ctx context.Context, name string) (io.ReadCloser, Info, error)
	// GetRange opens n > 0 bytes of the object from off ≥ 0 on; fewer if it ends
	// before, none if it ends at or before off. ErrNotExist if there is none.
	GetRange(ctx context.Context, name string, off, n int64) (io.ReadCloser, error)
	// Put writes the object. It does not keep body.
	Put(ctx context.Context, name string, body []byte, cond Cond) (Info, error)
	// List yields the objects whose names start with prefix (any text, not only
	// whole segments), ascending by the bytes of the name. An error ends it.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]
	// Delete removes the object. Deleting nothing is not an error.
	Delete(ctx context.Context, name string) error
	// LocalPath is the file that holds the object, if the bucket is a folder of
	// this machine. The caller may read the file or hard-link it, never change it.
	LocalPath(name string) (path string, ok bool)
	// URL is s3://bucket/prefix or file:///abs, for messages to operators.
	URL() string
}

// Info describes one object.
type Info struct {
	Name     string
	Size     int64     // bytes
	ETag     string    // differs if the content does; opaque
	Modified time.Time // by the clock of the store; in the answer to Put about now
}

// Cond is what must hold for a put to happen. The zero Cond always holds.
type Cond struct {
	IfNoneMatch bool   // no object has the name
	IfMatch     string // the object has this ETag
}

var (
	// ErrNotExist says that no object has the name.
	ErrNotExist = errors.New("object does not exist")
	// ErrPrecondition says that the condition of a put did not hold. Nothing was written.
	ErrPrecondition = errors.New("object is not in the expected state")
	// ErrName says that a name cannot be the name of an object: it is empty, longer
	// than 1,000 bytes, not UTF-8, has an empty segment or one that is ".", ".." or
	// reserved, or has a backslash or a control character.
	ErrName = errors.New("invalid object name")
)

const nameBytesMax = 1000

// tempFolder holds the unfinished files of a folder bucket. No object name may
// have it as a segment, in any kind of bucket, so that buckets can be copied into each other.
const tempFolder = ".kalamdb.tmp"

func checkName(name string) error {
	if name == "" || len(name) > nameBytesMax {
		return fmt.Errorf("%w: %d bytes, expected 1 to %d", ErrName, len(name), nameBytesMax)
	}
	if !utf8.ValidString(name) {
		return fmt.Errorf("%w: %q is not UTF-8", ErrName, name)
	}
	for i := 0; i < len(name); i++ {
		if name[i] < 0x20 || name[i] == 0x7F || name[i] == '\\' {
			return fmt.Errorf("%w: %q has the character %q", ErrName, name, name[i])
		}
	}
	for segment := range strings.SplitSeq(name, "/") {
		switch segment {
		case "", ".", "..", tempFolder:
			return fmt.Errorf("%w: %q has the segment %q", ErrName, name, segment)
		}
	}
	return nil
}

// listable says whether any name can start with prefix.
func listable(prefix string) bool {
	folder := prefix[:strings.LastIndexByte(prefix, '/')+1]
	return folder == "" || checkName(strings.TrimSuffix(folder, "/")) == nil
}

func checkPut(name string, cond Cond) error {
	if cond.IfNoneMatch && cond.IfMatch != "" {
		panic("storagelocations: broken invariant: a put of " + name + " with two conditions")
	}
	return checkName(name)
}

func checkRange(name string, off, n int64) error {
	if off < 0 || n <= 0 {
		return fmt.Errorf("range of %d bytes at %d of %s, expected at least one byte at 0 or later", n, off, name)
	}
	return checkName(name)
}

package ingest

import (
	"errors"
	"fmt"

	"kalamdb/row"
)

var (
	// ErrConflict means that a row changed, or may have changed, since the caller
	// looked at it: look again and commit again.
	ErrConflict = errors.New("the row was changed by another statement")

	// ErrFull means that the buffer or its disk is full; nothing was written.
	ErrFull = errors.New("write buffer is full")

	// ErrTooLarge means that a row or a commit is over its limit; the message names the limit.
	ErrTooLarge = errors.New("too large")

	// ErrClosed means that the buffer is stopping or has stopped; nothing was written.
	ErrClosed = errors.New("write buffer is closed")

	// ErrDropped means that the table of a write was dropped; nothing was written.
	ErrDropped = errors.New("table was dropped")

	// ErrAltered means that the table of a write has a newer schema than the write; nothing
	// was written. Whoever made the write looks at the table again.
	ErrAltered = errors.New("table was altered")

	// ErrInUse means that another process has the buffer's folder open.
	ErrInUse = errors.New("in use by another process")

	// ErrFenced means that another server has committed to the lake. A Commit that gets
	// it wrote nothing; an Open that gets it has changed nothing.
	ErrFenced = row.ErrFenced

	// ErrMutation is a mutation no caller should make: a bug of the caller.
	ErrMutation = errors.New("invalid mutation")

	// ErrCorrupt means that the buffer holds bytes it did not write.
	ErrCorrupt = errors.New("corrupt write buffer")
)

// A DuplicateError means that an inserted key is there already.
type DuplicateError struct {
	Partition row.Partition
	Key       []byte // as row.AppendKey writes it
}

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("duplicate key in %s", e.Partition.Table)
}

// A GapError means that the changes right after After are not kept any more. Oldest
// is the smallest After that can still be answered.
type GapError struct{ After, Oldest row.Seq }

func (e *GapError) Error() string {
	return fmt.Sprintf("changes after %d are gone, the oldest kept follow %d", e.After, e.Oldest)
}

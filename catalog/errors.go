package catalog

import "errors"

var (
	// ErrNotFound says that what was named does not exist. See [NotFoundError].
	ErrNotFound = errors.New("does not exist")
	// ErrExists says that the name is taken.
	ErrExists = errors.New("already exists")
	// ErrNotEmpty says that a namespace still has tables.
	ErrNotEmpty = errors.New("is not empty")
	// ErrInUse says that tables still use a storage location.
	ErrInUse = errors.New("is in use")
	// ErrInvalid says that a name, a schema or a setting is not acceptable; the text says why.
	ErrInvalid = errors.New("invalid")
	// ErrConflict says that another server changed the same document first. Memory has that change now.
	ErrConflict = errors.New("changed by another server")
	// ErrUnknown says that the bucket did not answer, so that a change may or may
	// not have happened. Memory still shows the time before it; the documents
	// concerned are read again before the next change, or by [Catalog.Settle].
	ErrUnknown = errors.New("outcome unknown: the storage did not answer")
	// ErrCorrupt says that a document in the bucket cannot be understood.
	ErrCorrupt = errors.New("corrupt catalog document")
)

// A NotFoundError says what was looked for and what may have been meant. It is an [ErrNotFound].
type NotFoundError struct {
	Kind    string // namespace, table or storage location
	Name    string
	Nearest string // empty if nothing is near
}

func (e *NotFoundError) Error() string {
	s := e.Kind + " " + e.Name + " does not exist"
	if e.Nearest != "" {
		s += ", did you mean " + e.Nearest + "?"
	}
	return s
}

func (e *NotFoundError) Is(target error) bool { return target == ErrNotFound }

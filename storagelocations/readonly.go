package storagelocations

import (
	"context"
	"errors"
	"fmt"
)

// ErrReadOnly says that a bucket was opened for reading only.
var ErrReadOnly = errors.New("this storage is open for reading only")

type readOnly struct{ Bucket }

// ReadOnly is b without its writes: Put and Delete are ErrReadOnly.
func ReadOnly(b Bucket) Bucket { return readOnly{b} }

func (r readOnly) Put(_ context.Context, name string, _ []byte, _ Cond) (Info, error) {
	return Info{}, fmt.Errorf("put %s: %w", name, ErrReadOnly)
}

func (r readOnly) Delete(_ context.Context, name string) error {
	return fmt.Errorf("delete %s: %w", name, ErrReadOnly)
}

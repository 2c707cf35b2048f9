package sql

import (
	"errors"
	"time"
)

// Duration reads a length of time.
func Duration(s string) (time.Duration, error) { return 0, errors.New("not written") }

package row

import "errors"

// ErrFenced means that another server has committed to a table of this bucket: what
// this one still has must not be written there, and the process should stop. The lake
// detects it, the buffer then refuses commits; it is theirs to agree on, so it is here.
var ErrFenced = errors.New("another server has committed to this table")

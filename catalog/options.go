package catalog

import (
	"fmt"
	"strconv"
	"time"
)

// Names of Table.Options. Every one but OptionPack that belongs to the type of a table is set
// in its document: a default that changes later does not change the table.
const (
	OptionAccess    = "access"     // SHARED: an [Access]
	OptionRetention = "retention"  // STREAM: how long an event is kept, as time.Duration writes it
	OptionMaxBuffer = "max_buffer" // STREAM: how many events are kept, the newest
	OptionEphemeral = "ephemeral"  // STREAM: "true" or "false"
	OptionPack      = "pack"       // USER: "on", "off", or from how many small partitions on a flush packs them; without it the server decides
)

// An Access says what those below the role service may do with a SHARED table.
type Access string

const (
	Public  Access = "public"  // read and write
	Read    Access = "read"    // read
	Private Access = "private" // nothing: for them the table does not exist
)

const (
	retentionDefault = 10 * time.Second
	maxBufferDefault = 10_000

	retentionMin = 100 * time.Millisecond
	retentionMax = 24 * time.Hour
	maxBufferMax = 1_000_000

	packPartitionsMax = 1_000_000
)

// A StreamPolicy says how long a STREAM table keeps an event: until it is older than
// Retention, or until RowsMax newer ones have come.
type StreamPolicy struct {
	Retention time.Duration
	RowsMax   int
	Ephemeral bool // events are never written to disk, and kept only while somebody listens
}

// Access is the access level of a SHARED table.
func (t *Table) Access() Access { return Access(t.Options[OptionAccess]) }

// StreamPolicy is the policy of a STREAM table; ok is false for other types.
func (t *Table) StreamPolicy() (p StreamPolicy, ok bool) {
	if t.Type != Stream {
		return p, false
	}
	p, err := streamPolicy(t.Options)
	if err != nil { // the document was checked when it was written and when it was read
		panic("catalog: broken invariant: " + err.Error())
	}
	return p, true
}

// Versioned says that rows of t have _seq, _updated and _deleted: all but events do.
func (t *Table) Versioned() bool { return t.Type != Stream }

func streamPolicy(options map[string]string) (p StreamPolicy, err error) {
	if p.Retention, err = time.ParseDuration(options[OptionRetention]); err != nil || p.Retention < retentionMin || p.Retention > retentionMax {
		return p, fmt.Errorf("%w: %s is %q, expected %v to %v", ErrInvalid, OptionRetention, options[OptionRetention], retentionMin, retentionMax)
	}
	if p.RowsMax, err = strconv.Atoi(options[OptionMaxBuffer]); err != nil || p.RowsMax < 1 || p.RowsMax > maxBufferMax {
		return p, fmt.Errorf("%w: %s is %q, expected 1 to %d events", ErrInvalid, OptionMaxBuffer, options[OptionMaxBuffer], maxBufferMax)
	}
	switch options[OptionEphemeral] {
	case "true":
		p.Ephemeral = true
	case "false":
	default:
		return p, fmt.Errorf("%w: %s is %q, expected true or false", ErrInvalid, OptionEphemeral, options[OptionEphemeral])
	}
	return p, nil
}

// defaultOptions fills in what the type of t has and Options lacks.
func (t *Table) defaultOptions() {
	defaults := map[string]string{}
	switch t.Type {
	case Shared:
		defaults[OptionAccess] = string(Read)
	case Stream:
		defaults[OptionRetention] = retentionDefault.String()
		defaults[OptionMaxBuffer] = strconv.Itoa(maxBufferDefault)
		defaults[OptionEphemeral] = "false"
	}
	for name, value := range t.Options {
		defaults[name] = value
	}
	if len(defaults) > 0 {
		t.Options = defaults
	}
}

// validOptions says what is wrong with the options that t uses, or nil.
func (t *Table) validOptions() error {
	switch t.Type {
	case User:
		switch o, given := t.Options[OptionPack]; {
		case !given, o == "on", o == "off":
		default:
			if n, err := strconv.Atoi(o); err != nil || n < 2 || n > packPartitionsMax {
				return fmt.Errorf("%w: %s is %q, expected on, off, or a number of partitions from 2 to %d", ErrInvalid, OptionPack, o, packPartitionsMax)
			}
		}
	case Shared:
		switch t.Access() {
		case Public, Read, Private:
		default:
			return fmt.Errorf("%w: %s is %q, expected %s, %s or %s", ErrInvalid, OptionAccess, t.Access(), Public, Read, Private)
		}
	case Stream:
		_, err := streamPolicy(t.Options)
		return err
	}
	return nil
}

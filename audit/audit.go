// Package audit keeps the record of what operators and services do in the name of
// others: who, as whom, what, when, from where.
//
// [Log.Append] returns once the entry is on disk, so that the caller can refuse to do
// what could not be recorded. Entries are JSON lines in the files of one folder
// (files.go); the oldest file goes when there are too many, so the folder is bounded.
package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// An Entry is one record.
type Entry struct {
	Time      time.Time `json:"time"`
	Action    string    `json:"action"` // EXECUTE AS USER, ALL_USERS, CREATE USER …
	User      string    `json:"user"`   // who
	Role      string    `json:"role"`   // with which role
	AsUser    string    `json:"as_user,omitempty"`
	Statement string    `json:"statement"` // its text, cut at statementBytesMax
	RequestID string    `json:"request_id,omitempty"`
	Remote    string    `json:"remote,omitempty"`
}

// Options are the limits of a Log; zero means the default.
type Options struct {
	FileBytesMax int64 // then a new file begins: 8 MiB
	FilesMax     int   // then the oldest goes: 4
}

const (
	fileBytesMax      = 8 << 20
	filesMax          = 4
	statementBytesMax = 16 << 10
)

// ErrClosed says that the log was closed.
var ErrClosed = errors.New("the audit log is closed")

// A Log is an open folder of audit files. It is safe for concurrent use.
//
// Entries that arrive while others are written wait together and become one write and
// one fsync: whoever gets the turn first writes for all of them.
type Log struct {
	o     Options
	files files         // guarded by turn
	turn  chan struct{} // holds one token while somebody writes

	mu   sync.Mutex // guards next; nothing blocks under it
	next *batch     // the entries that wait
}

// A batch is entries that are written together. err and written are guarded by the turn.
type batch struct {
	lines   []byte
	written bool
	err     error
}

// Open opens the log in dir, makes it if it is not there, and cuts off an entry that a
// crash left half written, which nobody acted upon.
func Open(dir string, o Options) (*Log, error) {
	if o.FileBytesMax <= 0 {
		o.FileBytesMax = fileBytesMax
	}
	if o.FilesMax <= 0 {
		o.FilesMax = filesMax
	}
	l := &Log{o: o, turn: make(chan struct{}, 1), next: &batch{}}
	if err := l.files.open(dir); err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	return l, nil
}

// Append makes e durable.
func (l *Log) Append(e Entry) error {
	if len(e.Statement) > statementBytesMax {
		e.Statement = cut(e.Statement, statementBytesMax) + fmt.Sprintf(" … (%d bytes)", len(e.Statement))
	}
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	l.mu.Lock()
	b := l.next
	b.lines = append(append(b.lines, line...), '\n')
	l.mu.Unlock()

	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	if !b.written {
		l.mu.Lock()
		l.next = &batch{}
		l.mu.Unlock()
		b.written = true
		if b.err = l.files.append(b.lines, l.o); b.err != nil {
			b.err = fmt.Errorf("write the audit log: %w", b.err)
		}
	}
	return b.err
}

// Each calls yield for the entries of the log, the oldest first, until it returns false.
// A line that cannot be read is an error at the end; the others are yielded all the same.
func (l *Log) Each(yield func(Entry) bool) error {
	l.turn <- struct{}{}
	snapshot, err := l.files.snapshot()
	<-l.turn
	if err != nil {
		return fmt.Errorf("read the audit log: %w", err)
	}
	defer snapshot.close()
	if err := snapshot.each(yield); err != nil {
		return fmt.Errorf("read the audit log: %w", err)
	}
	return nil
}

// Close waits for what is being written and closes the log.
func (l *Log) Close() error {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	return l.files.close()
}

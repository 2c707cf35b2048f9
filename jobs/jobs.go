// Package jobs keeps the table of what the server does in the background.
package jobs

import (
	"context"
	"errors"
	"time"
)

// A Status is where a job stands.
type Status string

const (
	StatusRunning   Status = "running"
	StatusCompleted Status = "completed"
	StatusFailed    Status = "failed"
	StatusCancelled Status = "cancelled"
)

// A Job is one row of system.jobs.
type Job struct {
	ID                     string // unique, sorts by start
	Type                   string // flush, compaction, …
	Namespace, Table, User string // empty where the job is not about one
	Parameters             []string
	Status                 Status
	Started, Ended         time.Time // Ended is zero while the job runs
	Result                 string    // what it did, for people
	Error                  string    // why it failed
	Trace                  string    // the chain of errors, for operators
	MemoryUsedMB           float64   // of the process when the job ended
	CPUUsedPercent         float64   // of the process while the job ran, 100 is one core
	Node                   string
}

var (
	// ErrNotFound says that no job has the id.
	ErrNotFound = errors.New("no such job")
	// ErrFinished says that the job is over, so there is nothing to kill.
	ErrFinished = errors.New("the job has finished")
)

// A Table holds the jobs. It is safe for concurrent use.
type Table struct{ node string }

// NewTable makes a table of at most max finished jobs.
func NewTable(max int, node string) *Table { return &Table{node: node} }

// Start adds a running job. The caller fills Type, Namespace, Table, User and Parameters.
func (t *Table) Start(j Job) *Running { return &Running{} }

// Kill cancels the context of a running job.
func (t *Table) Kill(id string) error { return ErrNotFound }

// List are all jobs, the newest first.
func (t *Table) List() []Job { return nil }

// A Running is a job that was started.
type Running struct{ id string }

// ID is the job's id.
func (r *Running) ID() string { return r.id }

// Context is parent, cancelled also by Kill and by Finish.
func (r *Running) Context(parent context.Context) context.Context { return parent }

// Finish ends the job: completed if err is nil, cancelled if it was killed or err is a cancelled context, failed otherwise.
func (r *Running) Finish(result string, err error) {}

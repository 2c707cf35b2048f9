// Package jobs keeps the table of what the server does in the background: flushes,
// compactions, backups. It is what system.jobs shows and KILL JOB acts on.
//
// Whoever does the work calls [Table.Start], works under [Running.Context] and calls
// [Running.Finish] exactly once. The table is in memory and bounded: the jobs that
// finished first are forgotten first, running ones never.
//
// Files: jobs.go (Job, Table, Running), usage_unix.go and usage_other.go (what the
// process has used).
package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// tableJobs is how many jobs a table holds unless told otherwise.
const tableJobs = 1000

// A Status is where a job stands.
type Status string

const (
	StatusQueued    Status = "queued"
	StatusRunning   Status = "running"
	StatusCompleted Status = "completed"
	StatusFailed    Status = "failed"
	StatusCancelled Status = "cancelled"
)

// A Job is one row of system.jobs.
type Job struct {
	ID                     string // a ULID: unique, sorts by start
	Type                   string // flush, compaction, …
	Namespace, Table, User string // empty where the job is not about one
	Parameters             []string
	Status                 Status
	Started, Ended         time.Time // zero while the job waits, and while it runs
	Result                 string    // what it did, in words
	Error                  string    // why it failed
	Trace                  string    // the chain of causes behind Error, one a line, the outermost first
	MemoryUsedMB           float64   // memory the Go runtime held when the job ended, of the whole process
	CPUUsedPercent         float64   // what the process used while the job ran; 100 is one core
	Node                   string
}

var (
	// ErrKilled is the cause of a context that [Table.Kill] cancelled.
	ErrKilled = errors.New("the job was killed")
	// ErrFinished is the cause of a context that [Running.Finish] cancelled.
	ErrFinished = errors.New("the job has finished")
)

// A Table holds jobs. It is safe for concurrent use.
type Table struct {
	node string
	max  int

	// mu guards everything below and the fields of every Running. Nothing blocks
	// under it.
	mu       sync.Mutex
	jobs     map[string]*Running
	finished []string // ids in the order in which they finished
}

// NewTable makes a table of at most max jobs (0 means 1000), more only while more
// are running. The jobs run on the given node.
func NewTable(max int, node string) *Table {
	if max <= 0 {
		max = tableJobs
	}
	return &Table{node: node, max: max, jobs: map[string]*Running{}}
}

// A Running is a job that was started.
type Running struct {
	table  *Table
	id     string
	cpu    time.Duration // of the process when the job began
	job    Job           // its Parameters are never changed
	killed bool
	cancel []context.CancelCauseFunc // of the contexts handed out
}

// Start adds a running job. Of j it takes Type, Namespace, Table, User and Parameters.
func (t *Table) Start(j Job) *Running {
	r := t.Enqueue(j)
	r.Begin()
	return r
}

// Enqueue adds a job that waits for its turn, which comes with [Running.Begin]. It may
// be killed and finished before.
func (t *Table) Enqueue(j Job) *Running {
	r := &Running{table: t, id: ulid.Make().String()}
	r.job = Job{
		ID: r.id, Type: j.Type, Namespace: j.Namespace, Table: j.Table, User: j.User,
		Parameters: slices.Clone(j.Parameters), Status: StatusQueued, Node: t.node,
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.jobs[r.id] = r
	t.evict()
	return r
}

// evict forgets finished jobs while there are too many. mu is held.
func (t *Table) evict() {
	for len(t.jobs) > t.max && len(t.finished) > 0 {
		delete(t.jobs, t.finished[0])
		t.finished = t.finished[1:]
	}
}

// Kill cancels the contexts of a job, with [ErrKilled] as their cause, and says
// whether there was one to cancel: a job without [Running.Context] cannot be killed.
// The job is cancelled once it notices and calls Finish.
func (t *Table) Kill(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, ok := t.jobs[id]
	if !ok || r.job.over() || len(r.cancel) == 0 {
		return false
	}
	r.killed = true
	for _, cancel := range r.cancel {
		cancel(ErrKilled)
	}
	return true
}

// List are all jobs, the newest first.
func (t *Table) List() []Job {
	t.mu.Lock()
	list := make([]Job, 0, len(t.jobs))
	for _, r := range t.jobs {
		list = append(list, r.job)
	}
	t.mu.Unlock()
	slices.SortFunc(list, func(a, b Job) int { return cmp.Compare(b.ID, a.ID) })
	return list
}

// ID is the id of the job.
func (r *Running) ID() string { return r.id }

// Context is parent, cancelled also by [Table.Kill] and by Finish.
func (r *Running) Context(parent context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	r.table.mu.Lock()
	defer r.table.mu.Unlock()
	switch {
	case r.killed:
		cancel(ErrKilled)
	case r.job.over():
		cancel(ErrFinished)
	default:
		r.cancel = append(r.cancel, cancel)
	}
	return ctx
}

// Begin says that the job's turn has come. Only the first call counts.
func (r *Running) Begin() {
	cpu, now := processCPU(), time.Now()
	r.table.mu.Lock()
	defer r.table.mu.Unlock()
	if r.job.Status == StatusQueued {
		r.job.Status, r.job.Started, r.cpu = StatusRunning, now, cpu
	}
}

// Report shows how far the job is and, if it will try again, what went wrong. Neither
// outlives Finish.
func (r *Running) Report(result string, err error) {
	r.table.mu.Lock()
	defer r.table.mu.Unlock()
	if !r.job.over() {
		r.job.Result = result
		r.job.fault(err)
	}
}

// over says whether the job has ended.
func (j *Job) over() bool { return j.Status != StatusQueued && j.Status != StatusRunning }

// fault records why the job fails, nil for no reason.
func (j *Job) fault(err error) {
	j.Error, j.Trace = "", ""
	if err != nil {
		j.Error, j.Trace = err.Error(), trace(err)
	}
}

// Finish ends the job: completed if err is nil; cancelled if the job was killed or
// err is a cancelled context; failed otherwise. Only the first call counts.
func (r *Running) Finish(result string, err error) {
	memory, cpu, now := ProcessMemoryMB(), processCPU(), time.Now()
	t := r.table
	t.mu.Lock()
	defer t.mu.Unlock()
	j := &r.job
	if j.over() {
		return
	}
	j.Ended, j.Result, j.MemoryUsedMB = now, result, memory
	if took := now.Sub(j.Started); took > 0 && !j.Started.IsZero() {
		j.CPUUsedPercent = 100 * float64(cpu-r.cpu) / float64(took)
	}
	switch {
	case err == nil:
		j.Status = StatusCompleted
	case r.killed, errors.Is(err, context.Canceled):
		j.Status = StatusCancelled
	default:
		j.Status = StatusFailed
	}
	j.fault(err)
	for _, cancel := range r.cancel {
		cancel(ErrFinished)
	}
	r.cancel = nil
	t.finished = append(t.finished, r.id)
	t.evict()
}

// trace is err and everything it wraps, one a line with its Go type, indented by depth.
func trace(err error) string {
	var b strings.Builder
	var walk func(err error, depth int)
	walk = func(err error, depth int) {
		fmt.Fprintf(&b, "%s%T: %v\n", strings.Repeat("  ", depth), err, err)
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			if inner := e.Unwrap(); inner != nil {
				walk(inner, depth+1)
			}
		case interface{ Unwrap() []error }:
			for _, inner := range e.Unwrap() {
				walk(inner, depth+1)
			}
		}
	}
	walk(err, 0)
	return b.String()
}

// ProcessMemoryMB is the memory the Go runtime holds from the system, in MB.
func ProcessMemoryMB() float64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return float64(s[0].Value.Uint64()-s[1].Value.Uint64()) / 1e6
}

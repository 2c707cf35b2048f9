package jobs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func find(t testing.TB, table *Table, id string) Job {
	t.Helper()
	for _, j := range table.List() {
		if j.ID == id {
			return j
		}
	}
	t.Fatalf("job %s is not in the table", id)
	return Job{}
}

func TestLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewTable(10, "n1")
		for _, c := range []struct {
			err    error
			kill   bool
			status Status
		}{
			{nil, false, StatusCompleted},
			{nil, true, StatusCompleted}, // killed too late
			{errors.New("disk"), false, StatusFailed},
			{errors.New("stopped half way"), true, StatusCancelled},
			{fmt.Errorf("put: %w", context.Canceled), false, StatusCancelled},
		} {
			params := []string{"rows=3"}
			start := time.Now()
			r := table.Start(Job{Type: "flush", Namespace: "app", Table: "notes", User: "ana", Parameters: params, Status: "x", Error: "x"})
			params[0] = "changed later"
			j := find(t, table, r.ID())
			if j.Type != "flush" || j.Namespace != "app" || j.Table != "notes" || j.User != "ana" || j.Node != "n1" ||
				!slices.Equal(j.Parameters, []string{"rows=3"}) || j.Status != StatusRunning || j.Error != "" ||
				!j.Started.Equal(start) || !j.Ended.IsZero() {
				t.Errorf("started: %+v", j)
			}
			ctx := r.Context(t.Context())
			if c.kill {
				if !table.Kill(r.ID()) {
					t.Error("a running job cannot be killed")
				}
				if context.Cause(ctx) != ErrKilled || context.Cause(r.Context(t.Context())) != ErrKilled {
					t.Errorf("killed, and the cause is %v", context.Cause(ctx))
				}
			}
			if !c.kill && ctx.Err() != nil {
				t.Errorf("not killed, and %v", ctx.Err())
			}
			time.Sleep(time.Second)
			r.Finish("3 rows", c.err)
			r.Finish("again", errors.New("again"))
			j = find(t, table, r.ID())
			if j.Status != c.status || j.Result != "3 rows" || j.Ended.Sub(j.Started) != time.Second || j.MemoryUsedMB <= 0 {
				t.Errorf("finished: %+v, expected %s", j, c.status)
			}
			if (c.err == nil) != (j.Error == "") || c.err != nil && j.Error != c.err.Error() {
				t.Errorf("error %q, expected %v", j.Error, c.err)
			}
			if ctx.Err() == nil || r.Context(t.Context()).Err() == nil {
				t.Error("the contexts outlive the job")
			}
			if table.Kill(r.ID()) {
				t.Error("killed after the end")
			}
		}
		if table.Kill("nobody") {
			t.Error("killed nothing")
		}
	})
}

func TestParentCancelsToo(t *testing.T) {
	r := NewTable(1, "").Start(Job{})
	parent, cancel := context.WithCancel(t.Context())
	ctx := r.Context(parent)
	cancel()
	if ctx.Err() == nil {
		t.Error("the parent is cancelled, the job's context is not")
	}
	r.Finish("", ctx.Err())
}

func TestTrace(t *testing.T) {
	table := NewTable(0, "")
	r := table.Start(Job{})
	r.Finish("", fmt.Errorf("flush: %w", errors.Join(&fs.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist}, errors.New("late"))))
	got := find(t, table, r.ID()).Trace
	want := []string{"*fmt.wrapError: flush: open x", "  *errors.joinError: open x", "    *fs.PathError: open x", "      *errors.errorString: file does", "    *errors.errorString: late"}
	for _, line := range want {
		if !strings.Contains("\n"+got, "\n"+line) {
			t.Errorf("no line %q in\n%s", line, got)
		}
	}
}

// TestModel compares the table with a list of jobs and the rule of the package doc.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		max := rapid.IntRange(1, 5).Draw(t, "max")
		table := NewTable(max, "")
		var running []*Running
		var ids []string      // what the table should hold, oldest first
		var finished []string // in the order of their end
		evict := func() {
			for len(ids) > max && len(finished) > 0 {
				gone := finished[0]
				finished = finished[1:]
				ids = slices.DeleteFunc(ids, func(id string) bool { return id == gone })
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"start": func(t *rapid.T) {
				r := table.Start(Job{})
				running, ids = append(running, r), append(ids, r.ID())
				evict()
			},
			"finish": func(t *rapid.T) {
				if len(running) == 0 {
					return
				}
				i := rapid.IntRange(0, len(running)-1).Draw(t, "which")
				running[i].Finish("", nil)
				finished = append(finished, running[i].ID())
				running = slices.Delete(running, i, i+1)
				evict()
			},
			"": func(t *rapid.T) {
				var got []string
				for _, j := range table.List() {
					got = append(got, j.ID)
				}
				slices.Reverse(got)
				if !slices.Equal(got, ids) {
					t.Fatalf("the table holds %v, expected %v", got, ids)
				}
			},
		})
	})
}

func TestConcurrentUse(t *testing.T) {
	table := NewTable(8, "")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 200 {
				r := table.Start(Job{Type: "flush"})
				ctx := r.Context(t.Context())
				if i%3 == 0 {
					if !table.Kill(r.ID()) {
						t.Error("a running job cannot be killed")
					}
					<-ctx.Done()
				}
				table.List()
				r.Finish("", ctx.Err())
			}
		})
	}
	wg.Wait()
	if n := len(table.List()); n != 8 {
		t.Errorf("%d jobs are left, expected 8", n)
	}
}

// A job waits, begins, tells what it tries again, and in the end only how it ended.
func TestLifeOfAQueuedJob(t *testing.T) {
	table := NewTable(8, "")
	r := table.Enqueue(Job{Type: "cleanup"})
	if j := table.List()[0]; j.Status != StatusQueued || !j.Started.IsZero() {
		t.Errorf("a waiting job is %+v", j)
	}
	r.Begin()
	r.Report("half", errors.New("no answer"))
	if j := table.List()[0]; j.Status != StatusRunning || j.Started.IsZero() || j.Result != "half" || j.Error != "no answer" || j.Trace == "" {
		t.Errorf("a running job is %+v", j)
	}
	r.Finish("all", nil)
	r.Report("late", errors.New("late"))
	r.Begin()
	if j := table.List()[0]; j.Status != StatusCompleted || j.Result != "all" || j.Error != "" || j.Trace != "" {
		t.Errorf("a completed job is %+v", j)
	}
	waiting := table.Enqueue(Job{})
	ctx := waiting.Context(t.Context())
	if !table.Kill(waiting.ID()) || ctx.Err() == nil {
		t.Error("a waiting job cannot be killed")
	}
	waiting.Finish("", ctx.Err())
	if j := table.List()[0]; j.Status != StatusCancelled || j.CPUUsedPercent != 0 {
		t.Errorf("a killed job is %+v", j)
	}
}

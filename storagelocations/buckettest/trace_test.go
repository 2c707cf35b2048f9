package buckettest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"kalamdb/storagelocations"
)

func TestTrace(t *testing.T) {
	ctx := t.Context()
	inner := storagelocations.NewMemory()
	b := NewTrace(inner)
	do := func(name string, cond storagelocations.Cond) error {
		_, err := b.Put(ctx, name, []byte("x"), cond)
		return err
	}
	exists := func(name string) bool { _, _, err := inner.Get(ctx, name); return err == nil }

	b.Fail(Put, "*.json", 1)
	b.Lose(PutIf, "log/*", 2)
	for _, step := range []struct {
		name          string
		cond          storagelocations.Cond
		fails, exists bool
	}{
		{"a/b.json", always, true, false},
		{"a/b.json", always, false, true},
		{"log/1", always, false, true}, // not conditional
		{"log/2", ifNew, true, true},
		{"log/2", ifNew, true, true}, // the precondition is lost too
		{"log/3", ifNew, false, true},
	} {
		if err := do(step.name, step.cond); step.fails != errors.Is(err, ErrInjected) || step.exists != exists(step.name) {
			t.Errorf("%+v: %v, exists %v", step, err, exists(step.name))
		}
	}
	if err := do("log/3", ifNew); !errors.Is(err, storagelocations.ErrPrecondition) {
		t.Error(err)
	}
	b.Fail(Get, "", -1)
	for range 3 {
		if _, _, err := b.Get(ctx, "log/1"); !errors.Is(err, ErrInjected) {
			t.Error(err)
		}
	}
	b.Clear()
	b.Decide(func(op Op, name string) Action {
		if op == Delete {
			return Lose
		}
		return Pass
	})
	if err := b.Delete(ctx, "log/1"); !errors.Is(err, ErrInjected) || exists("log/1") {
		t.Errorf("lost delete: %v", err)
	}
	b.Clear()
	b.Delay(Get, "", 1, time.Hour)
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if _, _, err := b.Get(short, "log/2"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("delayed for an hour: %v", err)
	}
	for range b.List(ctx, "log/") {
		break
	}
	want := []string{
		"put a/b.json: injected error", "put a/b.json: ok", "put log/1: ok", "put-if log/2: injected error", "put-if log/2: injected error",
		"put-if log/3: ok", "put-if log/3: precondition", "get log/1: injected error", "get log/1: injected error", "get log/1: injected error",
		"delete log/1: injected error", "get log/2: context deadline exceeded", "list log/: ok",
	}
	if got := b.Log(); !slices.Equal(got, want) {
		t.Errorf("log %q, want %q", got, want)
	}
	if len(b.Log()) != 0 {
		t.Error("the log was not emptied")
	}
}

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"", "a/b", true}, {"*", "a/b", true}, {"a/b", "a/b", true}, {"a", "a/b", false}, {"a*", "a/b", true}, {"*b", "a/b", true}, {"*a", "a/b", false},
		{"a*b", "a/x/b", true}, {"a*b*c", "abbc", true}, {"a*b*c", "acb", false}, {"*.json", "a.json.tmp", false}, {"a*a", "a", false}, {"**", "", true},
	} {
		if got := match(tt.pattern, tt.name); got != tt.want {
			t.Errorf("%q matches %q: %v", tt.pattern, tt.name, got)
		}
	}
}

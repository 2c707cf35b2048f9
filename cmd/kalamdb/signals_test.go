package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestUntilSignal ends a context by the first signal.
func TestUntilSignal(t *testing.T) {
	var log bytes.Buffer
	ctx, stop := untilSignal(t.Context(), &log)
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(patience):
		t.Error("the context survived SIGTERM")
	}
	stop()
	if log.Len() != 0 {
		t.Errorf("one signal logged %q", log.String())
	}
}

const stubbornHelper = "KALAMDB_TEST_STUBBORN"

// TestStubborn is a process that does not care for the first signal.
func TestStubborn(t *testing.T) {
	if os.Getenv(stubbornHelper) == "" {
		runStubborn(t)
		return
	}
	ctx, _ := untilSignal(t.Context(), os.Stderr)
	for range 2 {
		if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		<-ctx.Done()
	}
	time.Sleep(patience)
}

// runStubborn wants the second signal to end that process.
func runStubborn(t *testing.T) {
	c := exec.Command(os.Args[0], "-test.run=^TestStubborn$")
	c.Env = append(os.Environ(), stubbornHelper+"=1")
	began := time.Now()
	out, err := c.CombinedOutput()
	if took := time.Since(began); took > patience/2 || c.ProcessState.ExitCode() != exitForced || !strings.Contains(string(out), "second signal") {
		t.Errorf("after %s: %v, exit code %d\n%s", took, err, c.ProcessState.ExitCode(), out)
	}
}

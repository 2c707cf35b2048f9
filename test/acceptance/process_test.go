package acceptance

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	startTimeout = 60 * time.Second
	stopTimeout  = 30 * time.Second
	waitTimeout  = 20 * time.Second // for an answer, a frame, a change of state
)

// A server is one process of kalamdb serve.
type server struct {
	t      *testing.T
	url    string
	cmd    *exec.Cmd
	exited chan error
	lines  []string // of standard output; read after exited
	log    logBuffer
}

// A logBuffer is standard error, which the process and the test share.
type logBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// environ is a small environment: nothing of the tester's settings reaches a process.
func environ(t *testing.T, extra []string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, extra...)
}

var urlPattern = regexp.MustCompile(`http://127\.0\.0\.1:\d+`)

// start runs kalamdb serve with args and waits for its URL.
func start(t *testing.T, env []string, args ...string) *server {
	t.Helper()
	s := &server{t: t, exited: make(chan error, 1)}
	s.cmd = exec.Command(binary, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	s.cmd.Env = environ(t, env)
	s.cmd.Stderr = &s.log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.lines = append(s.lines, lines.Text())
			select {
			case ready <- lines.Text():
			default:
			}
		}
		s.exited <- s.cmd.Wait()
	}()
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("log of the server:\n%s", s.log.String())
		}
	})
	select {
	case line := <-ready:
		if s.url = urlPattern.FindString(line); s.url == "" {
			t.Fatalf("the first line of serve is %q, expected one with its URL", line)
		}
	case err := <-s.exited:
		s.exited <- err
		t.Fatalf("serve ended before it was ready: %v\n%s", err, s.log.String())
	case <-time.After(startTimeout):
		t.Fatalf("serve was not ready after %s\n%s", startTimeout, s.log.String())
	}
	return s
}

// kill is kill -9: no chance to finish anything.
func (s *server) kill() {
	select {
	case err := <-s.exited:
		s.exited <- err
		return
	default:
	}
	_ = s.cmd.Process.Kill() // it may just have ended by itself
	_ = s.wait()             // killed, as asked
}

func (s *server) wait() error {
	select {
	case err := <-s.exited:
		s.exited <- err // for the next who asks
		return err
	case <-time.After(stopTimeout):
		s.t.Errorf("the server is still there %s after it was told to end", stopTimeout)
		return nil
	}
}

// stop is SIGTERM: a clean end with exit code 0, one line on standard output in all.
func (s *server) stop() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	if err := s.wait(); err != nil {
		s.t.Errorf("serve ended with %v after SIGTERM\n%s", err, s.log.String())
	}
	if len(s.lines) != 1 {
		s.t.Errorf("serve printed %q, expected exactly one line", s.lines)
	}
}

// command runs kalamdb with args to its end.
func command(t *testing.T, env []string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	c := exec.CommandContext(ctx, binary, args...)
	c.Env = environ(t, env)
	var out, log bytes.Buffer
	c.Stdout, c.Stderr = &out, &log
	err = c.Run()
	return out.String(), log.String(), err
}

// token mints a token with the command line.
func token(t *testing.T, dataDir, user, role string) string {
	t.Helper()
	out, log, err := command(t, nil, "token", "--user", user, "--role", role, "--data-dir", dataDir)
	if err != nil {
		t.Fatalf("token: %v\n%s", err, log)
	}
	if strings.Count(out, "\n") != 1 || strings.Count(out, ".") != 2 {
		t.Fatalf("token printed %q, expected one JWT", out)
	}
	return strings.TrimSpace(out)
}

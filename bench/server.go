package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A server is a running kalamdb binary with an empty data directory.
type server struct {
	addr  string
	token string
	dir   string
	cmd   *exec.Cmd
}

func startServer(ctx context.Context, bin string) (_ *server, err error) {
	dir, err := os.MkdirTemp("", "kalamdb-bench")
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.addr = free.Addr().String()
	if err := free.Close(); err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	s.cmd = exec.CommandContext(ctx, bin, "serve", "--data-dir", data, "--listen", s.addr, "--log-level", "warn")
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) }
	s.cmd.WaitDelay = 20 * time.Second
	s.cmd.Stderr = os.Stderr
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return nil, fmt.Errorf("the server did not say that it is ready: %w", err)
	}
	token, err := exec.CommandContext(ctx, bin, "token", "--user", "bench", "--role", "dba", "--data-dir", data).Output()
	s.token = strings.TrimSpace(string(token))
	return s, err
}

func (s *server) stop() error {
	var errs []error
	if s.cmd != nil && s.cmd.Process != nil {
		errs = append(errs, s.cmd.Process.Signal(syscall.SIGTERM), s.cmd.Wait())
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

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

	"kalamdb"
	"kalamdb/auth"
	kserver "kalamdb/server"
)

// A server is a running KalamDB with an empty data directory: a process of its own,
// or inside this one.
type server struct {
	addr  string
	token string
	dir   string
	end   func() error

	pid   int           // of the process, if it has one of its own
	ready time.Duration // until it said that it answers
}

// startServer runs the binary with the given settings (KEY=value) in its environment, or
// without a binary a server inside this process, which takes none. Either way clients
// reach it over TCP.
func startServer(ctx context.Context, bin string, settings ...string) (_ *server, err error) {
	dir, err := os.MkdirTemp("", "kalamdb-bench")
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir, end: func() error { return nil }}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.addr = ln.Addr().String()
	if bin == "" {
		return s, s.startHere(ctx, ln)
	}
	if err := ln.Close(); err != nil {
		return nil, err
	}
	return s, s.startProcess(ctx, bin, settings...)
}

// startHere runs the server in this process.
func (s *server) startHere(ctx context.Context, ln net.Listener) error {
	db, err := kalamdb.Open(ctx, kalamdb.Options{DataDir: filepath.Join(s.dir, "data")})
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	served := make(chan error, 1)
	s.end = func() error {
		cancel()
		return errors.Join(<-served, db.Close())
	}
	verifier, err := auth.NewVerifier(auth.Options{Secret: db.Secret()})
	if err == nil {
		s.token, err = auth.Sign(db.Secret(), auth.Principal{User: "bench", Role: auth.DBA}, time.Hour)
	}
	if err != nil {
		served <- ln.Close()
		return err
	}
	go func() { served <- kserver.New(db, kserver.Options{Verifier: verifier}).Run(ctx, ln) }()
	return nil
}

// startProcess runs the binary.
func (s *server) startProcess(ctx context.Context, bin string, settings ...string) error {
	data := filepath.Join(s.dir, "data")
	cmd := exec.CommandContext(ctx, bin, "serve", "--data-dir", data, "--listen", s.addr, "--log-level", "warn")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), settings...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	s.pid = cmd.Process.Pid
	s.end = func() error { return errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()) }
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return fmt.Errorf("the server did not say that it is ready: %w", err)
	}
	s.ready = time.Since(start)
	token, err := exec.CommandContext(ctx, bin, "token", "--user", "bench", "--role", "dba", "--data-dir", data).Output()
	s.token = strings.TrimSpace(string(token))
	return err
}

func (s *server) stop() error { return errors.Join(s.end(), os.RemoveAll(s.dir)) }

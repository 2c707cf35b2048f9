package server

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"
)

func TestRunRefuses(t *testing.T) {
	any4, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := newServer(&fakeDB{}, Options{Dev: true}).Run(t.Context(), any4); err == nil || !strings.Contains(err.Error(), "loopback only") {
		t.Errorf("dev mode on every interface: %v", err)
	}
	if _, err := any4.Accept(); err == nil {
		t.Error("the listener is left open")
	}
	loop, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := newServer(&fakeDB{}, Options{}).Run(t.Context(), loop); err == nil || !strings.Contains(err.Error(), "Verifier") {
		t.Errorf("no verifier: %v", err)
	}
}

func TestRunReportsABrokenListener(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- newServer(&fakeDB{}, Options{Dev: true}).Run(context.Background(), ln) }()
	time.Sleep(20 * time.Millisecond)
	ln.Close()
	if err := <-done; err == nil {
		t.Error("Run returned nil although its listener broke")
	}
}

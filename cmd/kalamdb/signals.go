package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// exitForced is the exit code after a second signal: 128 + SIGINT.
const exitForced = 130

// untilSignal is ctx until the first SIGINT or SIGTERM, which asks for a clean stop. A
// second one ends the process at once: what was acknowledged is on disk either way.
func untilSignal(ctx context.Context, log io.Writer) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		select {
		case <-signals:
		case <-ctx.Done():
			return
		}
		cancel()
		if _, again := <-signals; again {
			fmt.Fprintln(log, "kalamdb: second signal, stopping at once")
			os.Exit(exitForced)
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel()
		close(signals)
		<-done
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/spf13/cobra"

	"kalamdb/client"
)

func newWatch() *cobra.Command {
	var t target
	var lastRows int
	var fromSeq uint64
	c := &cobra.Command{
		Use:   `watch "SELECT ... FROM table [WHERE ...]"`,
		Short: "Print live changes as JSON lines, until SIGINT",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return orHelp(c, fmt.Errorf("expected one SELECT in quotes, got %d arguments", len(args)))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			w := &watcher{out: c.OutOrStdout(), log: c.ErrOrStderr(), spec: client.Spec{QueryID: "watch", SQL: args[0], LastRows: lastRows}}
			if c.Flags().Changed("from-seq") {
				if lastRows != 0 {
					return errors.New("--from-seq and --last-rows exclude each other: one continues, the other starts with a snapshot")
				}
				w.spec.FromSeq = &fromSeq
			}
			w.connect = func(ctx context.Context) (*client.Stream, error) {
				who, err := t.identify(c) // each time: a token that was made here is short-lived
				if err != nil {
					return nil, err
				}
				return newRemote(t.url, who).c.Subscribe(ctx, w.spec)
			}
			return w.run(c.Context())
		},
	}
	t.addFlags(c)
	c.Flags().IntVar(&lastRows, "last-rows", 0, "start with up to so many of the rows that are there")
	c.Flags().Uint64Var(&fromSeq, "from-seq", 0, "continue after this seq")
	return c
}

// A watcher prints the events of one live query, each once its whole line is there,
// and carries its cursor over to the next connection when one is lost.
type watcher struct {
	connect func(context.Context) (*client.Stream, error)
	spec    client.Spec // FromSeq is the cursor
	out     io.Writer
	log     io.Writer
	snapped uint64 // seq of the snapshot whose rows are still arriving
}

// errOver wraps what ends a live query for good.
var errOver = errors.New("the live query is over")

const reconnectMax = 15 * time.Second

// run watches until ctx is done, which is no error, or the server refuses. A first
// connection that fails is an error; later ones are tried again.
func (w *watcher) run(ctx context.Context) error {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 200*time.Millisecond, reconnectMax
	connected := false
	for {
		err := w.once(ctx, func() { connected = true; wait.Reset() })
		var refused *client.Error
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errOver) || !connected:
			return located(w.spec.SQL, err)
		case errors.As(err, &refused) && !passes(refused):
			return located(w.spec.SQL, err)
		}
		pause := wait.NextBackOff()
		fmt.Fprintf(w.log, "kalamdb: %v; trying again in %s\n", err, pause.Round(time.Millisecond))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// passes says whether the same request may succeed later.
func passes(e *client.Error) bool {
	return e.Status >= http.StatusInternalServerError || e.Status == http.StatusTooManyRequests ||
		slices.Contains([]string{"BUSY", "RATE_LIMITED", "NOT_READY", "INTERNAL"}, e.Code)
}

// once is one connection. It calls up when the live query has begun.
func (w *watcher) once(ctx context.Context, up func()) (err error) {
	stream, err := w.connect(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := stream.Close(); err == nil {
			err = cerr
		}
	}()
	for e, err := range stream.Events() {
		if err != nil {
			return err
		}
		switch e.Type {
		case client.TypeSubscribed:
			up()
			switch {
			case e.Resumed: // what is replayed carries the cursor on
			case w.spec.LastRows > 0:
				w.snapped = e.Seq
			default:
				w.advance(e.Seq)
			}
		case client.TypeInitialData:
			if err := w.print(e.Raw); err != nil {
				return err
			}
			if !e.HasMore {
				w.advance(w.snapped)
			}
		case client.TypeChange:
			if err := w.print(e.Raw); err != nil {
				return err
			}
			w.advance(e.Seq)
		case client.TypeEnded:
			if e.Reason == "lagged" || e.Reason == "auth_expired" || e.Reason == "shutdown" {
				return fmt.Errorf("the server ended the live query: %s", e.Reason)
			}
			return fmt.Errorf("%w: %s", errOver, e.Reason)
		case client.TypeError:
			return e.Err
		}
	}
	return nil
}

// advance makes a lost connection continue after seq.
func (w *watcher) advance(seq uint64) {
	w.spec.FromSeq, w.spec.LastRows = &seq, 0
}

func (w *watcher) print(frame []byte) error {
	line := append(frame[:len(frame):len(frame)], '\n')
	if _, err := w.out.Write(line); err != nil {
		return fmt.Errorf("%w: %w", errOver, err)
	}
	return nil
}

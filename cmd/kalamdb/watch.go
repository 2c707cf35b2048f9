package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

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
			spec := client.Spec{QueryID: "watch", SQL: args[0], LastRows: lastRows}
			if c.Flags().Changed("from-seq") {
				if lastRows != 0 {
					return errors.New("--from-seq and --last-rows exclude each other: one continues, the other starts with a snapshot")
				}
				spec.FromSeq = &fromSeq
			}
			who, err := t.identify(c)
			if err != nil {
				return err
			}
			server := newRemote(t.url, who).c
			defer server.Close()
			server.TokenSource = func(context.Context) (string, error) {
				who, err := t.identify(c) // a token that is made here is short-lived
				return who.token, err
			}
			return watch(c.Context(), server, spec, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	t.addFlags(c)
	c.Flags().IntVar(&lastRows, "last-rows", 0, "start with up to so many of the rows that are there")
	c.Flags().Uint64Var(&fromSeq, "from-seq", 0, "continue after this seq")
	return c
}

// watch prints the events of one live query until ctx is done, which is no error, or
// the server ends it. A first connection that fails is an error; later ones are tried again.
func watch(ctx context.Context, server *client.Client, spec client.Spec, out, log io.Writer) error {
	connected := false
	follower := server.Follow(ctx, spec, func(err error, pause time.Duration) error {
		if !connected {
			return err
		}
		fmt.Fprintf(log, "kalamdb: %v; trying again in %s\n", err, pause.Round(time.Millisecond))
		return nil
	})
	err := func() error {
		for e, err := range follower.Events() {
			if err != nil {
				return err
			}
			switch e.Type {
			case client.TypeSubscribed:
				connected = true
			case client.TypeInitialData, client.TypeChange:
				if _, err := out.Write(append(e.Raw[:len(e.Raw):len(e.Raw)], '\n')); err != nil {
					return err
				}
			}
		}
		return nil
	}()
	if cerr := follower.Close(); err == nil {
		err = cerr
	}
	if ctx.Err() != nil {
		return nil
	}
	return located(spec.SQL, err)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/chzyer/readline"
	"github.com/spf13/cobra"

	"kalamdb/sql"
)

func newSQL() *cobra.Command {
	var t target
	var text, file, format string
	c := &cobra.Command{
		Use:   "sql",
		Short: "Send SQL to a server, or type it at a prompt",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			print, ok := printers[format]
			if !ok {
				return unknownWord("--format", format, slices.Sorted(maps.Keys(printers)))
			}
			if text != "" && file != "" {
				return errors.New("-c and -f exclude each other")
			}
			who, err := t.identify(c)
			if err != nil {
				return err
			}
			session := &sqlSession{exec: newRemote(t.url, who).exec, print: print}
			stdin, isFile := c.InOrStdin().(*os.File)
			switch {
			case c.Flags().Changed("command"):
			case file == "" && isFile && readline.IsTerminal(int(stdin.Fd())):
				return terminal(c.Context(), session, c.OutOrStdout(), c.ErrOrStderr())
			case file == "" || file == "-":
				all, err := io.ReadAll(c.InOrStdin())
				if err != nil {
					return fmt.Errorf("read standard input: %w", err)
				}
				text = string(all)
			default:
				all, err := os.ReadFile(file)
				if err != nil {
					return err
				}
				text = string(all)
			}
			return session.run(c.Context(), text, c.OutOrStdout())
		},
	}
	t.addFlags(c)
	c.Flags().StringVarP(&text, "command", "c", "", "SQL to run, one or more statements")
	c.Flags().StringVarP(&file, "file", "f", "", "file with SQL to run, - for standard input")
	c.Flags().StringVar(&format, "format", "table", "table, json or csv")
	return c
}

// A sqlSession sends texts and prints what they answer. Its namespace is what the
// last USE said: the server forgets it after a request.
type sqlSession struct {
	exec      func(ctx context.Context, text, namespace string) ([]outcome, error)
	print     printer
	namespace string
}

func (s *sqlSession) run(ctx context.Context, text string, out io.Writer) error {
	outcomes, err := s.exec(ctx, text, s.namespace)
	if err != nil {
		return err
	}
	for _, o := range outcomes {
		if err := s.print(out, o); err != nil {
			return err
		}
	}
	statements, err := sql.Parse(text)
	if err != nil {
		return nil // a newer server understood more than this client
	}
	for _, st := range statements {
		if use, ok := st.(*sql.Use); ok {
			s.namespace = use.Namespace
		}
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/chzyer/readline"

	"kalamdb/sql"
)

const (
	promptFirst = "kalamdb> "
	promptMore  = "      -> "
)

// repl reads statements from a terminal, which may take several lines up to a
// semicolon, and runs each as it is complete. An error ends only its statement.
func repl(ctx context.Context, session *sqlSession, out, log io.Writer) (err error) {
	rl, err := readline.NewEx(&readline.Config{
		Prompt: promptFirst, HistoryFile: historyFile(),
		InterruptPrompt: "^C", EOFPrompt: "\\q", Stdout: out, Stderr: log,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rl.Close()) }()
	fmt.Fprintln(log, "End a statement with ; and leave with \\q or Ctrl-D. Ctrl-C drops what you typed.")
	var typed strings.Builder
	for ctx.Err() == nil {
		line, err := rl.Readline()
		switch {
		case errors.Is(err, readline.ErrInterrupt) && typed.Len() == 0 && line == "":
			fmt.Fprintln(log, "(leave with \\q)")
			continue
		case errors.Is(err, readline.ErrInterrupt):
			typed.Reset()
			rl.SetPrompt(promptFirst)
			continue
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if typed.Len() == 0 {
			switch strings.TrimSpace(line) {
			case "":
				continue
			case "\\q", "exit", "quit", "exit;", "quit;":
				return nil
			}
		}
		typed.WriteString(line + "\n")
		if !sql.Complete(typed.String()) {
			rl.SetPrompt(promptMore)
			continue
		}
		text := strings.TrimSpace(typed.String())
		typed.Reset()
		rl.SetPrompt(promptFirst)
		if err := session.run(ctx, text, out); err != nil && ctx.Err() == nil {
			fmt.Fprintln(log, err)
		}
	}
	return nil
}

// historyFile is in the home directory; without one there is no history.
func historyFile() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".kalamdb_history")
}

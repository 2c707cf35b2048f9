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

// terminal runs the prompt on the terminal of this process, with a history.
func terminal(ctx context.Context, session *sqlSession, out, log io.Writer) (err error) {
	rl, err := readline.NewEx(&readline.Config{Prompt: promptFirst, HistoryFile: historyFile(), Stdout: out, Stderr: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rl.Close()) }()
	defer context.AfterFunc(ctx, func() { rl.Close() })() // SIGTERM while a person thinks
	fmt.Fprintln(log, `End a statement with ; and leave with \q or Ctrl-D. Ctrl-C drops what you typed.`)
	return repl(ctx, rl, session, out, log)
}

// historyFile is in the home directory; without one there is no history.
func historyFile() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".kalamdb_history")
}

// A lineReader is *readline.Instance: io.EOF is Ctrl-D, readline.ErrInterrupt Ctrl-C.
type lineReader interface {
	Readline() (string, error)
	SetPrompt(string)
}

// repl reads statements, which may take several lines up to a semicolon, and runs
// each as it is complete. An error ends its statement only.
func repl(ctx context.Context, in lineReader, session *sqlSession, out, log io.Writer) error {
	typed := ""
	for ctx.Err() == nil {
		line, err := in.Readline()
		switch {
		case errors.Is(err, readline.ErrInterrupt):
			if typed == "" && line == "" {
				fmt.Fprintln(log, `(leave with \q)`)
			}
			typed = ""
			in.SetPrompt(promptFirst)
			continue
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if typed == "" {
			switch strings.TrimSuffix(strings.TrimSpace(line), ";") {
			case "":
				continue
			case `\q`, "exit", "quit":
				return nil
			}
		}
		typed += line + "\n"
		if !sql.Complete(typed) {
			in.SetPrompt(promptMore)
			continue
		}
		text := strings.TrimSpace(typed)
		typed = ""
		in.SetPrompt(promptFirst)
		if err := session.run(ctx, text, out); err != nil && ctx.Err() == nil {
			fmt.Fprintln(log, err)
		}
	}
	return nil
}

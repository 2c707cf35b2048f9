package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chzyer/readline"
)

// typist is a person at the prompt.
type typist struct {
	lines  []string // "^C" is Ctrl-C
	prompt string
	seen   []string
}

func (p *typist) SetPrompt(s string) { p.prompt = s }

func (p *typist) Readline() (string, error) {
	p.seen = append(p.seen, p.prompt)
	if len(p.lines) == 0 {
		return "", io.EOF
	}
	line := p.lines[0]
	p.lines = p.lines[1:]
	if line == "^C" {
		return "", readline.ErrInterrupt
	}
	return line, nil
}

func TestREPL(t *testing.T) {
	var sent []string
	session := &sqlSession{print: printTable, exec: func(_ context.Context, text, namespace string) ([]outcome, error) {
		sent = append(sent, namespace+"|"+text)
		if strings.Contains(text, "bad") {
			return nil, errors.New("refused")
		}
		return []outcome{{statement: "DONE", took: time.Millisecond}}, nil
	}}
	p := &typist{prompt: promptFirst, lines: []string{
		"", ";", "SELECT 1;", "SELECT 'a;", "b'", ";", "half a thought", "^C", "^C",
		"bad;", "USE app;", "SELECT 2; -- done", `\q`, "SELECT 'never';",
	}}
	var out, log bytes.Buffer
	if err := repl(t.Context(), p, session, &out, &log); err != nil {
		t.Fatal(err)
	}
	if want := []string{"|SELECT 1;", "|SELECT 'a;\nb'\n;", "|bad;", "|USE app;", "app|SELECT 2; -- done"}; !slices.Equal(sent, want) {
		t.Errorf("sent %q, expected %q", sent, want)
	}
	if want := strings.Repeat("DONE (1.0 ms)\n", 4); out.String() != want {
		t.Errorf("printed %q, expected %q", out.String(), want)
	}
	if want := "(leave with \\q)\nrefused\n"; log.String() != want {
		t.Errorf("complained %q, expected %q", log.String(), want)
	}
	if p.seen[4] != promptMore || p.seen[5] != promptMore || p.seen[6] != promptFirst || p.seen[8] != promptFirst {
		t.Errorf("prompts %q", p.seen)
	}
}

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/chzyer/readline"
)

const (
	progressEvery = 200 * time.Millisecond // on a terminal
	progressPlain = 10 * time.Second       // elsewhere
)

// A progress says how far something has come: on a terminal in one line that is written
// over again and again, elsewhere in a line now and then. It is safe for concurrent use.
type progress struct {
	mu       sync.Mutex // guards the fields below and the writer
	w        io.Writer
	what     string
	terminal bool
	began    time.Time
	last     time.Time
	first    int64 // where the first at was, -1 before it
	rows     int64
	width    int // of the line on the terminal
}

func newProgress(w io.Writer, what string) *progress {
	f, isFile := w.(*os.File)
	now := time.Now()
	return &progress{w: w, what: what, terminal: isFile && readline.IsTerminal(int(f.Fd())), began: now, last: now, first: -1}
}

// at says that so much of a total is done, with so many rows.
func (p *progress) at(done, total, rows int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.first < 0 {
		p.first, p.rows, p.began = done, rows, now
	}
	if !p.due(now) {
		return
	}
	took := now.Sub(p.began).Seconds()
	line := fmt.Sprintf("%s: %d %%, %s", p.what, 100*done/max(total, 1), plural(rows, "row"))
	if took > 0 && done > p.first {
		left := time.Duration(took * float64(total-done) / float64(done-p.first) * float64(time.Second))
		line += fmt.Sprintf(", %.0f rows/s, %s left", float64(rows-p.rows)/took, left.Round(time.Second))
	}
	p.show(line)
}

// note shows what is known when there is no total.
func (p *progress) note(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.due(now) {
		p.show(fmt.Sprintf("%s: %s, %s", p.what, text, now.Sub(p.began).Round(time.Second)))
	}
}

func (p *progress) due(now time.Time) bool {
	every := progressPlain
	if p.terminal {
		every = progressEvery
	}
	if now.Sub(p.last) < every {
		return false
	}
	p.last = now
	return true
}

func (p *progress) show(line string) {
	if !p.terminal {
		fmt.Fprintln(p.w, line)
		return
	}
	fmt.Fprintf(p.w, "\r%s%s", line, strings.Repeat(" ", max(0, p.width-len(line))))
	p.width = len(line)
}

// say writes a line of its own.
func (p *progress) say(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	fmt.Fprintln(p.w, line)
}

// done ends the line on the terminal.
func (p *progress) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

func (p *progress) clear() {
	if p.width > 0 {
		fmt.Fprintf(p.w, "\r%s\r", strings.Repeat(" ", p.width))
		p.width = 0
	}
}

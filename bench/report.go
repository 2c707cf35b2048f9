package main

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
)

// A report is a table of measurements with what was asked of them.
type report struct {
	title  string
	rows   []table.Row
	charts string // folder for drawings; "": none
}

// ratio adds a line: ours against raw, and the limit of ours/raw (upper if most,
// else lower).
func (r *report) ratio(what, ours, raw string, ratio, limit float64, most bool) {
	sign, ok := "≥", ratio >= limit
	if most {
		sign, ok = "≤", ratio <= limit
	}
	r.rows = append(r.rows, table.Row{what, ours, raw, fmt.Sprintf("%.2f", ratio), fmt.Sprintf("%s %.2f", sign, limit), verdict(ok)})
}

// value adds a line that is no ratio. Without a limit nothing was asked of it.
func (r *report) value(what, ours, raw, limit string, ok bool) {
	met := ""
	if limit != "" {
		met = verdict(ok)
	}
	r.rows = append(r.rows, table.Row{what, ours, raw, "", limit, met})
}

// note adds a ratio that nothing was asked of.
func (r *report) note(what, ours, raw string, ratio float64) {
	r.rows = append(r.rows, table.Row{what, ours, raw, fmt.Sprintf("%.2f", ratio), "", ""})
}

func verdict(ok bool) string {
	if ok {
		return "met"
	}
	return "missed"
}

func (r *report) print(w io.Writer) {
	t := table.NewWriter()
	t.SetTitle(r.title)
	t.AppendHeader(table.Row{"measure", "kalamdb", "raw", "ratio", "asked", ""})
	t.AppendRows(r.rows)
	fmt.Fprintln(w, t.RenderMarkdown())
	fmt.Fprintln(w)
}

// quantile is the q-quantile of d, which it sorts.
func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(len(d)-1, int(q*float64(len(d))))]
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

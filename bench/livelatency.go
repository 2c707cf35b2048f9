package main

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	latencyWriters = 16
	latencyLimit   = 10 * time.Millisecond // of p99, while the machine is less busy than busyLimit
	busyLimit      = 0.7
	latencyDrain   = 60 * time.Second
	latencyQuery   = "SELECT * FROM app.bench"
)

var (
	latencyRates       = []int{100, 1_000, 5_000}
	latencySubscribers = []int{1, 100, 1_000}
)

// A latencyRun are writes at one rate and when their events arrived.
type latencyRun struct {
	base   time.Time
	first  int64          // number of the first write
	starts []atomic.Int64 // ns after base of the begin of each write, by number from first
	next   atomic.Int64   // writes begun
	done   atomic.Int64   // writes that were answered
}

// A subscriber counts the events of one WebSocket with one live query.
type subscriber struct {
	w *watcher

	mu      sync.Mutex // guards the fields below
	of      *latencyRun
	seen    []uint64 // a bit for each write
	events  int64
	repeats int64
	resumed int64
	latency histogram
}

// benchLatency has writers of one user at several rates, and several numbers of
// subscribers, each of which has a WebSocket. A subscriber that is too slow resumes.
func benchLatency(ctx context.Context, bin string, length time.Duration, rep *report) error {
	s, c, err := manyServer(ctx, bin, createTable)
	if err != nil {
		return err
	}
	defer s.stop()
	defer c.close()
	var (
		room   audience
		subs   []*subscriber
		number int64
		chart  = latencyChart()
	)
	defer room.close()
	for _, n := range latencySubscribers {
		for len(subs) < n {
			w, err := watch(s, s.token, len(subs))
			if err != nil {
				return err
			}
			if err := w.subscribe([]string{subscription("m", latencyQuery, "")}); err != nil {
				return err
			}
			sub := &subscriber{w: w}
			subs = append(subs, sub)
			room.read(w, sub.take)
		}
		for _, rate := range latencyRates {
			run := &latencyRun{base: time.Now(), first: number, starts: make([]atomic.Int64, int(float64(rate)*length.Seconds()))}
			number += int64(len(run.starts))
			for _, sub := range subs {
				sub.begin(run)
			}
			if err := latencyCell(ctx, s, run, rate, length, subs, rep, chart); err != nil {
				return err
			}
			if err := room.err(); err != nil {
				return err
			}
		}
	}
	return chart.write(rep.charts, "live-latency.svg")
}

func latencyCell(ctx context.Context, s *server, run *latencyRun, rate int, length time.Duration, subs []*subscriber, rep *report, to *chart) error {
	cpu, err := startCPU()
	if err != nil {
		return err
	}
	if err := run.write(ctx, s, rate, length); err != nil {
		return err
	}
	took := time.Since(run.base)
	busy, err := cpu.share()
	if err != nil {
		return err
	}
	writes := run.done.Load()
	last, at := int64(-1), time.Now()
	err = settled(ctx, latencyDrain, func() bool {
		events := int64(0)
		for _, sub := range subs {
			events += sub.count()
		}
		if events != last {
			last, at = events, time.Now()
		}
		return events == writes*int64(len(subs)) || time.Since(at) > 5*time.Second
	})
	if err != nil {
		return err
	}
	var all histogram
	var repeats, resumed int64
	for _, sub := range subs {
		sub.mu.Lock()
		all.merge(&sub.latency)
		repeats, resumed = repeats+sub.repeats, resumed+sub.resumed
		sub.mu.Unlock()
	}
	lost := writes*int64(len(subs)) - all.total
	p99 := all.quantile(0.99)
	what := fmt.Sprintf("%d writes/s, %d subscribers", rate, len(subs))
	asked, ok := fmt.Sprintf("p99 ≤ %s, 0 lost", latencyLimit), p99 <= latencyLimit && lost == 0 && repeats == 0
	if busy >= busyLimit {
		asked, ok = "0 lost (no rest for the machine)", lost == 0 && repeats == 0
	}
	seen := fmt.Sprintf("p50 %s, p99 %s, p99.9 %s", millis(all.quantile(0.5)), millis(p99), millis(all.quantile(0.999)))
	load := fmt.Sprintf("%.0f writes/s, %.0f events/s, %.0f %% busy, %d lost, %d repeated, %d resumed",
		float64(writes)/took.Seconds(), float64(all.total)/took.Seconds(), busy*100, lost, repeats, resumed)
	rep.value(what, seen, load, asked, ok)
	to.line(what, busy >= busyLimit, latencyPoints(&all))
	return nil
}

// write makes the writes of the run, each at its time if one of the connections is free.
func (r *latencyRun) write(ctx context.Context, s *server, rate int, length time.Duration) error {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex // guards first
		first error
	)
	for range latencyWriters {
		c, err := dial(s)
		if err != nil {
			return err
		}
		wg.Go(func() {
			defer c.close()
			if err := r.writeSome(ctx, c, rate, length); err != nil {
				mu.Lock()
				defer mu.Unlock()
				first = err
			}
		})
	}
	wg.Wait()
	return first
}

func (r *latencyRun) writeSome(ctx context.Context, c *conn, rate int, length time.Duration) error {
	for ctx.Err() == nil && time.Since(r.base) < length {
		n := r.next.Add(1) - 1
		if n >= int64(len(r.starts)) {
			return nil
		}
		due := time.Duration(n) * time.Second / time.Duration(rate)
		time.Sleep(due - time.Since(r.base))
		r.starts[n].Store(int64(time.Since(r.base)))
		if _, err := c.post(insertBody(r.first + n)); err != nil {
			return err
		}
		r.done.Add(1)
	}
	return ctx.Err()
}

// begin is before the first write of a run.
func (u *subscriber) begin(run *latencyRun) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.of, u.seen, u.events, u.repeats, u.resumed = run, make([]uint64, len(run.starts)/64+1), 0, 0, 0
	u.latency = histogram{}
}

func (u *subscriber) count() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.events
}

// take counts the rows of a frame, and goes on where the server has ended the live query
// of a subscriber that is too slow.
func (u *subscriber) take(frame []byte) error {
	switch {
	case isChange(frame):
		at := time.Now()
		u.mu.Lock()
		defer u.mu.Unlock()
		numbers(frame, func(n int64) { u.arrived(n-u.of.first, at) })
		return nil
	case bytes.HasPrefix(frame, []byte(`{"type":"subscribed"`)):
		return nil
	case !bytes.HasPrefix(frame, []byte(`{"type":"ended"`)):
		return fmt.Errorf("frame %s", frame)
	}
	_, rest, found := bytes.Cut(frame, []byte(`"seq":`))
	seq, err := strconv.ParseUint(string(bytes.TrimRight(rest, "}")), 10, 64)
	if !found || err != nil {
		return fmt.Errorf("frame %s: %w", frame, err)
	}
	u.mu.Lock()
	u.resumed++
	u.mu.Unlock()
	return u.w.send(opText, []byte(`{"type":"subscribe","subscriptions":[`+subscription("m", latencyQuery, fmt.Sprintf(`{"from_seq":%d}`, seq))+`]}`))
}

func (u *subscriber) arrived(n int64, at time.Time) {
	if n < 0 || n >= int64(len(u.of.starts)) || u.seen[n/64]&(1<<(n%64)) != 0 {
		u.repeats++
		return
	}
	u.seen[n/64] |= 1 << (n % 64)
	u.events++
	u.latency.add(at.Sub(u.of.base) - time.Duration(u.of.starts[n].Load()))
}

// latencyPoints are a distribution as a chart has it.
func latencyPoints(h *histogram) []point {
	var points []point
	for _, q := range latencyQuantiles {
		points = append(points, point{1 / (1 - q), max(h.quantile(q).Seconds()*1e3, 0.01)})
	}
	return points
}

var latencyQuantiles = []float64{0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999}

func latencyChart() *chart {
	return &chart{
		Title: "From the begin of a write call to its event", X: axis{Name: "percentile", Low: 1, High: 1e4, Ticks: []tick{{1, "0"}, {2, "50"}, {10, "90"}, {100, "99"}, {1e3, "99.9"}, {1e4, "99.99"}}},
		Y:    axis{Name: "ms", Low: 0.1, High: 1e4, Ticks: []tick{{0.1, "0.1"}, {1, "1"}, {10, "10"}, {100, "100"}, {1e3, "1 s"}, {1e4, "10 s"}}},
		Note: "dashed: the machine was 70 % busy or more",
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	fanoutSubscriptions = 100 // of one WebSocket
	fanoutAsked         = 200_000
	fanoutRows          = 30 // at least
	fanoutWait          = 30 * time.Second
)

var fanoutSteps = []int{1, 10, 100, 1_000, 10_000}

// benchFanout writes one row of a SHARED table after the other to more and more live
// queries that match: a hundred of a WebSocket, or one. A row is over when all have it.
func benchFanout(ctx context.Context, bin string, length time.Duration, rep *report) error {
	to := fanoutChart()
	for _, shape := range []struct {
		name  string
		each  int
		steps []int
		asked bool
	}{
		{fmt.Sprintf("%d on a WebSocket", fanoutSubscriptions), fanoutSubscriptions, fanoutSteps, true},
		{"each on its own WebSocket", 1, fanoutSteps, false},
	} {
		points, err := fanout(ctx, bin, length, shape.each, shape.steps, func(subs int, rate float64, row time.Duration, lost int64) {
			asked, ok := "", true
			if shape.asked && subs == fanoutSteps[len(fanoutSteps)-1] {
				asked, ok = fmt.Sprintf("≥ %d events/s, 0 lost", fanoutAsked), rate >= fanoutAsked && lost == 0
			}
			rep.value(fmt.Sprintf("one SHARED row to %d live queries, %s", subs, shape.name), fmt.Sprintf("%.0f events/s", rate),
				fmt.Sprintf("%s from the write call to the last event, %d lost", millis(row), lost), asked, ok)
		})
		if err != nil {
			return err
		}
		to.line(shape.name, false, points)
	}
	return to.write(rep.charts, "live-fanout.svg")
}

func fanout(ctx context.Context, bin string, length time.Duration, each int, steps []int, tell func(subs int, rate float64, row time.Duration, lost int64)) ([]point, error) {
	s, c, err := manyServer(ctx, bin, createBoard)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	defer c.close()
	var (
		room   audience
		events atomic.Int64
		points []point
		number int64
	)
	defer room.close()
	subs := 0
	for _, step := range steps {
		for subs < step {
			n := min(each, step-subs)
			w, err := watch(s, s.token, len(room.sockets))
			if err != nil {
				return nil, err
			}
			var all []string
			for i := range n {
				all = append(all, subscription(fmt.Sprint("q", i), latencyQuery, ""))
			}
			if err := w.subscribe(all); err != nil {
				return nil, err
			}
			subs += n
			room.read(w, func(frame []byte) error {
				if isChange(frame) {
					events.Add(1)
				}
				return nil
			})
		}
		var times []time.Duration
		lost := int64(0)
		for start := time.Now(); len(times) < fanoutRows || time.Since(start) < length; {
			events.Store(0)
			number++
			t := time.Now()
			if _, err := c.post(insertBody(number)); err != nil {
				return nil, err
			}
			if err := arrivedAll(ctx, &room, &events, int64(subs)); err != nil {
				return nil, err
			}
			times = append(times, time.Since(t))
			lost += int64(subs) - events.Load()
		}
		row := quantile(times, 0.5)
		rate := float64(subs) / row.Seconds()
		points = append(points, point{float64(subs), rate})
		tell(subs, rate, row, lost)
	}
	return points, nil
}

// arrivedAll waits until so many events were counted.
func arrivedAll(ctx context.Context, room *audience, events *atomic.Int64, all int64) error {
	for deadline := time.Now().Add(fanoutWait); events.Load() < all && time.Now().Before(deadline); {
		if ctx.Err() != nil || room.err() != nil {
			return fmt.Errorf("%d of %d events arrived: %w", events.Load(), all, errors.Join(ctx.Err(), room.err()))
		}
		time.Sleep(20 * time.Microsecond)
	}
	return nil
}

func fanoutChart() *chart {
	return &chart{
		Title: "One SHARED row to many live queries",
		X:     axis{Name: "live queries", Low: 1, High: 1e4, Ticks: []tick{{1, "1"}, {10, "10"}, {100, "100"}, {1e3, "1,000"}, {1e4, "10,000"}}},
		Y:     axis{Name: "events/s", Low: 1e2, High: 1e6, Ticks: []tick{{1e2, "100"}, {1e3, "1,000"}, {1e4, "10,000"}, {1e5, "100,000"}, {1e6, "1,000,000"}}},
		Note:  "rows one after the other",
	}
}

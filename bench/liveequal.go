package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	equalities        = 100_000
	equalitySockets   = 1_000
	equalityLimit     = 2
	subscriptionBytes = 1024
)

// benchEqualities compares the write of a row that one live query asks for by the value
// of a column, when there is no other, and when 100,000 ask for other values.
func benchEqualities(ctx context.Context, bin string, length time.Duration, rep *report) error {
	alone, few, err := manyServer(ctx, bin, createBoard)
	if err != nil {
		return err
	}
	defer alone.stop()
	defer few.close()
	crowd, many, err := manyServer(ctx, bin, createBoard)
	if err != nil {
		return err
	}
	defer crowd.stop()
	defer many.close()
	var room audience
	defer room.close()
	arrive := func(s *server) (*watcher, *atomic.Int64, error) {
		events := &atomic.Int64{}
		w, err := watch(s, s.token, 0)
		if err == nil {
			err = w.subscribe([]string{subscription("m", "SELECT * FROM app.bench WHERE conversation = 'c7'", "")})
		}
		if err != nil {
			return nil, nil, err
		}
		room.read(w, func(frame []byte) error {
			if isChange(frame) {
				events.Add(1)
			}
			return nil
		})
		return w, events, nil
	}
	_, first, err := arrive(alone)
	if err != nil {
		return err
	}
	_, second, err := arrive(crowd)
	if err != nil {
		return err
	}
	var others []*watcher
	for i := range equalitySockets {
		w, err := watch(crowd, crowd.token, i)
		if err != nil {
			return err
		}
		others = append(others, w)
		if err := w.subscribe([]string{subscription("first", fmt.Sprintf("SELECT * FROM app.bench WHERE conversation = 'first%d'", i), "")}); err != nil {
			return err
		}
	}
	before, err := memoryOf(ctx, crowd, many)
	if err != nil {
		return err
	}
	start := time.Now()
	const each = equalities/equalitySockets - 1
	const more = equalities - equalitySockets - 1 // there are the first of each WebSocket and the one that gets the row
	var filling errgroup.Group
	filling.SetLimit(openers)
	for i, w := range others {
		var all []string
		for q := i * each; q < min((i+1)*each, more); q++ {
			all = append(all, subscription(fmt.Sprint("q", q), fmt.Sprintf("SELECT * FROM app.bench WHERE conversation = 'other%d'", q), ""))
		}
		filling.Go(func() error { return w.subscribe(all) })
	}
	if err := filling.Wait(); err != nil {
		return err
	}
	for _, w := range others {
		room.read(w, func(frame []byte) error {
			if isChange(frame) {
				return fmt.Errorf("frame %s, expected none", frame)
			}
			return nil
		})
	}
	took := time.Since(start)
	after, err := memoryOf(ctx, crowd, many)
	if err != nil {
		return err
	}
	const n = float64(more)
	rep.value("subscribe", fmt.Sprintf("%.0f live queries/s", n/took.Seconds()), fmt.Sprintf("%d of different values over %d WebSockets", equalities, equalitySockets), "", true)
	perQuery := (after.used - before.used) / n
	rep.value("memory of one more live query", fmt.Sprintf("%.0f B", perQuery), fmt.Sprintf("resident %.0f B", (after.resident-before.resident)/n),
		fmt.Sprintf("≤ %d B", subscriptionBytes), perQuery <= subscriptionBytes)
	number := int64(0)
	write := func(c *conn, events *atomic.Int64) func() error {
		return func() error {
			events.Store(0)
			number++
			if _, err := c.post(insertBody(number*100 + 7)); err != nil {
				return err
			}
			if err := arrivedAll(ctx, &room, events, 1); err != nil {
				return err
			}
			if got := events.Load(); got != 1 {
				return fmt.Errorf("%d events of one row", got)
			}
			return nil
		}
	}
	ours, base, err := alternate(ctx, length, write(many, second), write(few, first))
	if err != nil {
		return err
	}
	rep.ratio(fmt.Sprintf("write call → event, %d live queries of other values", equalities), ours.String(), base.String()+" alone", float64(ours)/float64(base), equalityLimit, true)
	return room.err()
}

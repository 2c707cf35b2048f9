package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	snapshotRows  = 100_000
	snapshotAsked = 300_000 // rows a second
	snapshotTries = 5
	snapshotPause = 10 * time.Millisecond // between the writes meanwhile
)

// benchSnapshot subscribes with 100,000 initial rows, buffered and in a file, while writes
// go on, and counts that each row came once: initial or as a change.
func benchSnapshot(ctx context.Context, bin string, _ time.Duration, rep *report) error {
	s, c, err := manyServer(ctx, bin, createTable)
	if err != nil {
		return err
	}
	defer s.stop()
	defer c.close()
	if err := c.sql(fmt.Sprintf("INSERT INTO app.bench (conversation, body, n) SELECT 'c' || i %% 100, '%s', i FROM range(%d) AS r(i)", bodyText[:40], snapshotRows)); err != nil {
		return err
	}
	number := int64(snapshotRows)
	for _, where := range []struct{ name, before string }{{"buffered", ""}, {"in a file", "FLUSH TABLE app.bench"}} {
		if where.before != "" {
			if err := c.sql(where.before); err != nil {
				return err
			}
		}
		var times, sizes []float64
		for range snapshotTries {
			took, err := snapshot(ctx, s, c, &number)
			if err != nil {
				return err
			}
			resident, err := residentBytes(s.pid)
			if err != nil {
				return err
			}
			times, sizes = append(times, took.Seconds()), append(sizes, resident)
		}
		rate := snapshotRows / median(times)
		rep.value(fmt.Sprintf("%d initial rows, %s, while writes go on", snapshotRows, where.name), fmt.Sprintf("%.0f rows/s", rate),
			fmt.Sprintf("resident afterwards %.0f MB", median(sizes)/1e6), fmt.Sprintf("≥ %d rows/s", snapshotAsked), rate >= snapshotAsked)
	}
	peak, err := peakMB(s.pid)
	rep.value("memory at its peak", fmt.Sprintf("%.0f MB", peak), "", "", true)
	return err
}

// snapshot is the time from the subscription to the last initial row.
func snapshot(ctx context.Context, s *server, c *conn, number *int64) (time.Duration, error) {
	w, err := watch(s, s.token, 0)
	if err != nil {
		return 0, err
	}
	defer w.c.Close()
	w.many()
	first := *number // rows that are there
	written := make(chan error, 1)
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				written <- nil
				return
			case <-time.After(snapshotPause):
			}
			if _, err := c.post(insertBody(*number)); err != nil {
				written <- err
				return
			}
			*number++
		}
	}()
	seen, rows := make([]bool, first, first+1000), int64(0)
	frames := func(done func(frame []byte) bool) error {
		for {
			frame, err := w.next()
			if err != nil || ctx.Err() != nil {
				return fmt.Errorf("after %d rows: %w", rows, errors.Join(err, ctx.Err()))
			}
			numbers(frame, func(n int64) {
				for int64(len(seen)) <= n {
					seen = append(seen, false)
				}
				if rows++; seen[n] {
					err = fmt.Errorf("row %d came twice", n)
				}
				seen[n] = true
			})
			if err != nil || done(frame) {
				return err
			}
		}
	}
	start := time.Now()
	err = w.send(opText, []byte(`{"type":"subscribe","subscriptions":[`+subscription("m", latencyQuery, fmt.Sprintf(`{"last_rows":%d}`, 1_000_000))+`]}`))
	if err == nil {
		err = frames(func(frame []byte) bool {
			return bytes.Contains(frame[max(0, len(frame)-64):], []byte(`"has_more":false`))
		})
	}
	took := time.Since(start)
	close(stop)
	if end := <-written; err == nil {
		err = end
	}
	if err == nil && rows < *number {
		err = frames(func([]byte) bool { return rows == *number })
	}
	return took, err
}

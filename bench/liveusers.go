package main

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"
)

const (
	manyUsers       = 10_000
	manyUsersLimit  = 1.2
	connectionBytes = 25 << 10
	openers         = 4
)

// benchUsers opens a WebSocket with one live query for each of 10,000 users of a table,
// counts the memory, and compares a write with that of a server with one live query.
func benchUsers(ctx context.Context, bin string, length time.Duration, rep *report) error {
	alone, few, err := manyServer(ctx, bin, createTable)
	if err != nil {
		return err
	}
	defer alone.stop()
	defer few.close()
	crowd, many, err := manyServer(ctx, bin, createTable)
	if err != nil {
		return err
	}
	defer crowd.stop()
	defer many.close()
	query := []string{subscription("m", latencyQuery, "")}
	var first []*watcher
	defer func() {
		for _, w := range first {
			_ = w.c.Close()
		}
	}()
	for _, s := range []*server{alone, crowd} {
		w, err := watch(s, s.token, 0)
		if err != nil {
			return err
		}
		first = append(first, w)
		if err := w.subscribe(query); err != nil {
			return err
		}
	}
	before, err := memoryOf(ctx, crowd, many)
	if err != nil {
		return err
	}
	start := time.Now()
	others, err := openMany(crowd, manyUsers-1, query)
	defer func() {
		for _, w := range others {
			_ = w.c.Close()
		}
	}()
	if err != nil {
		return err
	}
	took := time.Since(start)
	after, err := memoryOf(ctx, crowd, many)
	if err != nil {
		return err
	}
	n := float64(len(others))
	rep.value("WebSockets open at once", fmt.Sprint(manyUsers), fmt.Sprintf("%.0f opened a second, each with a user and a live query of its own", n/took.Seconds()), fmt.Sprint(manyUsers), true)
	each := (after.used - before.used) / n
	rep.value("memory of a WebSocket with one live query", fmt.Sprintf("%.1f KB", each/1024), fmt.Sprintf("resident %.1f KB", (after.resident-before.resident)/n/1024),
		fmt.Sprintf("≤ %d KB", connectionBytes/1024), each <= connectionBytes)

	number := int64(0)
	write := func(c *conn, w *watcher) func() error {
		return func() error {
			number++
			_, err := c.post(insertBody(number))
			if err != nil {
				return err
			}
			for {
				frame, err := w.next()
				if err != nil || isChange(frame) {
					return err
				}
			}
		}
	}
	ours, base, err := alternate(ctx, length, write(many, first[1]), write(few, first[0]))
	if err != nil {
		return err
	}
	rep.ratio(fmt.Sprintf("write call → event, %d users with a live query of the table", manyUsers), ours.String(), base.String()+" with one", float64(ours)/float64(base), manyUsersLimit, true)
	return nil
}

// openMany opens a WebSocket of each of n users, a few at a time.
func openMany(s *server, n int, subscriptions []string) ([]*watcher, error) {
	sign, err := tokens(s)
	if err != nil {
		return nil, err
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex // guards open and first
		open  []*watcher
		first error
	)
	for k := range openers {
		wg.Go(func() {
			for i := k; i < n; i += openers {
				w, err := openOne(s, sign, i, subscriptions)
				mu.Lock()
				if err == nil {
					open = append(open, w)
				} else if first == nil {
					first = fmt.Errorf("WebSocket %d: %w", i, err)
				}
				failed := first != nil
				mu.Unlock()
				if failed {
					return
				}
			}
		})
	}
	wg.Wait()
	runtime.GC() // those of the client share the machine
	return open, first
}

func openOne(s *server, sign func(user string) (string, error), i int, subscriptions []string) (*watcher, error) {
	token, err := sign(fmt.Sprintf("user%05d", i))
	if err != nil {
		return nil, err
	}
	w, err := watch(s, token, i)
	if err != nil {
		return nil, err
	}
	if err := w.subscribe(subscriptions); err != nil {
		_ = w.c.Close()
		return nil, err
	}
	return w, nil
}

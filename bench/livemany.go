package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// liveParts measure live queries in large numbers. They take the binary: its memory is
// that of a process, and half of the open sockets are the clients'.
var liveParts = []string{"latency", "users", "fanout", "equalities", "snapshot"}

// manySettings lift the limits that keep one user from having so many live queries.
var manySettings = []string{
	"KALAMDB_SERVER_SOCKETS_MAX=20000", "KALAMDB_SERVER_USER_SOCKETS_MAX=20000", "KALAMDB_SERVER_USER_SUBSCRIPTIONS_MAX=200000",
	"KALAMDB_SERVER_SUBSCRIPTIONS_MAX=1000", "KALAMDB_SERVER_MESSAGES_PER_SECOND=100000",
	"KALAMDB_SERVER_PING_INTERVAL=10m", // some clients do not read before all are there
}

const createBoard = "CREATE NAMESPACE IF NOT EXISTS app; CREATE SHARED TABLE IF NOT EXISTS app.bench (id BIGINT AUTO_INCREMENT, conversation TEXT, body TEXT, n BIGINT)"

var errNoBinary = errors.New("-bin is missing: this is measured in a process of its own")

// manyServer starts the binary with a table. c writes as the user bench.
func manyServer(ctx context.Context, bin, create string) (s *server, c *conn, err error) {
	if bin == "" {
		return nil, nil, errNoBinary
	}
	if s, err = startServer(ctx, bin, manySettings...); err != nil {
		return nil, nil, err
	}
	if c, err = dial(s); err == nil {
		if err = c.sql(create); err == nil {
			return s, c, nil
		}
		c.close()
	}
	return nil, nil, errors.Join(err, s.stop())
}

// A cpuClock tells how busy the machine was since it was started.
type cpuClock struct{ busy, total int64 }

func startCPU() (c cpuClock, err error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return c, err
	}
	line, _, _ := strings.Cut(string(stat), "\n")
	for i, field := range strings.Fields(line)[1:] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return c, err
		}
		if i < 8 { // guest time is in user time too
			c.total += n
		}
		if i != 3 && i != 4 && i < 8 { // not idle, not waiting for a disk
			c.busy += n
		}
	}
	return c, nil
}

// share is the part of all processors that was at work since then.
func (c cpuClock) share() (float64, error) {
	now, err := startCPU()
	if err != nil || now.total == c.total {
		return 0, err
	}
	return float64(now.busy-c.busy) / float64(now.total-c.total), nil
}

// residentBytes is the memory of a process.
func residentBytes(pid int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
			return float64(kb) * 1024, err
		}
	}
	return 0, errors.New("/proc does not say VmRSS")
}

// A memory is what a server takes: used by its Go program, for live objects and stacks,
// and resident all of the process.
type memory struct{ used, resident float64 }

const garbageBytes = 512 << 10 // of a statement that makes the server collect some

// memoryOf measures right after a garbage collection.
func memoryOf(ctx context.Context, s *server, c *conn) (m memory, err error) {
	before, err := readMetrics(ctx, s)
	if err != nil {
		return m, err
	}
	garbage := "SELECT length('" + strings.Repeat("x", garbageBytes) + "')"
	for now := before; ; {
		if m.used = now["go_memstats_heap_alloc_bytes"] + now["go_memstats_stack_inuse_bytes"]; now[collections] >= before[collections]+2 {
			break
		}
		if err := c.sql(garbage); err != nil {
			return m, err
		}
		if now, err = readMetrics(ctx, s); err != nil {
			return m, err
		}
	}
	m.resident, err = residentBytes(s.pid)
	return m, err
}

const collections = "go_gc_duration_seconds_count"

// readMetrics are the series of /metrics that have no labels.
func readMetrics(ctx context.Context, s *server) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	series := map[string]float64{}
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			series[name] = n
		}
	}
	if series[collections] == 0 {
		return nil, fmt.Errorf("/metrics has no %s: %s", collections, answer.Status)
	}
	return series, nil
}

// settled waits until done or for so long.
func settled(ctx context.Context, most time.Duration, done func() bool) error {
	for deadline := time.Now().Add(most); !done() && time.Now().Before(deadline); {
		if err := ctx.Err(); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// Command bench measures KalamDB against the raw parts it is made of, in one run on
// one machine: single-row inserts over HTTP against Pebble's synced writes of the
// same bytes (insert.go), queries over buffer and files against DuckDB on the same
// files (query.go), the time from a write call to the event at a subscriber (live.go),
// and other writes of one row against INSERT (write.go). It prints ratios, because
// absolute times say more about the machine.
//
//	go run ./bench [-bin bin/kalamdb] [-only insert,query,live,write] [-seconds 4]
//
// The server runs in this process, or with -bin as the real binary in its own, on a
// free loopback port. Client and server share the machine. Every server it starts is
// ended before it returns.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"time"
)

func main() {
	bin := flag.String("bin", "", "measure this binary in a process of its own")
	only := flag.String("only", "insert,query,live,write", "what to measure")
	seconds := flag.Int("seconds", 4, "length of one measurement, 1 to 60")
	flag.Parse()
	runtime.GOMAXPROCS(2 * runtime.GOMAXPROCS(0)) // as serve does
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *bin, *only, time.Duration(min(max(*seconds, 1), 60))*time.Second); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin, only string, length time.Duration) error {
	parts := map[string]func(context.Context, string, time.Duration, *report) error{
		"insert": benchInsert, "query": benchQuery, "live": benchLive, "write": benchWrite,
	}
	for _, name := range strings.Split(only, ",") {
		part, ok := parts[name]
		if !ok {
			return fmt.Errorf("unknown part %q, expected insert, query, live or write", name)
		}
		rep := &report{title: name}
		if err := part(ctx, bin, length, rep); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		rep.print(os.Stdout)
	}
	return nil
}

// Command bench measures KalamDB against the raw parts it is made of, in one run on
// one machine: single-row inserts over HTTP against Pebble's synced writes of the
// same bytes (insert.go), queries over buffer and files against DuckDB on the same
// files (query.go), the time from a write call to the event at a subscriber (live.go),
// other writes of one row against INSERT (write.go), flushes against the raw encoder and
// puts (lake.go), and live queries in large numbers (livemany.go). It prints ratios, because
// absolute times say more about the machine.
//
//	go run ./bench [-bin bin/kalamdb] [-only insert,query,live,write,lake,livemany] [-seconds 4] [-charts docs]
//
// The server runs in this process, or with -bin as the real binary in its own, on a
// free loopback port. Client and server share the machine. Every server it starts is
// ended before it returns.
package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"time"
)

func main() {
	bin := flag.String("bin", "", "measure this binary in a process of its own")
	only := flag.String("only", "insert,query,live,write", "what to measure")
	seconds := flag.Int("seconds", 4, "length of one measurement, 1 to 60")
	charts := flag.String("charts", "", "draw live-latency.svg and live-fanout.svg into this folder")
	flag.Parse()
	runtime.GOMAXPROCS(2 * runtime.GOMAXPROCS(0)) // as serve does
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *bin, *only, *charts, time.Duration(min(max(*seconds, 1), 60))*time.Second); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// A part measures something, with the binary or, if its name is empty, in this process.
type part func(ctx context.Context, bin string, length time.Duration, rep *report) error

var parts = map[string]part{
	"insert": benchInsert, "query": benchQuery, "live": benchLive, "write": benchWrite,
	"flush": inStores(benchFlush), "files": benchManyFiles, "backup": inStores(benchBackup), "start": benchStart, "packs": benchPacks,
	"latency": benchLatency, "users": benchUsers, "fanout": benchFanout, "equalities": benchEqualities, "snapshot": benchSnapshot, "hostile": benchHostile,
}

func run(ctx context.Context, bin, only, charts string, length time.Duration) error {
	var names []string
	for _, name := range strings.Split(only, ",") {
		switch {
		case name == "lake":
			names = append(names, lakeParts...)
		case name == "livemany":
			names = append(names, liveParts...)
		case parts[name] != nil:
			names = append(names, name)
		default:
			return fmt.Errorf("unknown part %q, expected lake, livemany or one of %s", name, strings.Join(slices.Sorted(maps.Keys(parts)), ", "))
		}
	}
	for _, name := range names {
		rep := &report{title: name, charts: charts}
		if err := parts[name](ctx, bin, length, rep); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		rep.print(os.Stdout)
	}
	return nil
}

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"kalamdb/row"
)

const (
	createTable = "CREATE NAMESPACE IF NOT EXISTS app; CREATE USER TABLE IF NOT EXISTS app.bench (id BIGINT AUTO_INCREMENT, conversation TEXT, body TEXT, n BIGINT)"
	bodyText    = "The quick brown fox jumps over the lazy dog and then it goes on for a while, as people do when they talk to each other in a chat."
	rounds      = 3

	bareRequestBytes = 560 // about what a request of insertBody takes with its head
)

// insertBody is the request of one insert.
func insertBody(n int64) []byte {
	return fmt.Appendf(nil, `{"sql":"INSERT INTO app.bench (conversation, body, n) VALUES ($1, $2, $3)","params":["c%d","%s",%d]}`, n%100, bodyText, n)
}

// benchInsert alternates raw Pebble and the server, at each number of clients, and
// compares medians of the rounds.
func benchInsert(ctx context.Context, bin string, length time.Duration, rep *report) error {
	s, err := startServer(ctx, bin)
	if err != nil {
		return err
	}
	defer s.stop()
	setup, err := dial(s)
	if err != nil {
		return err
	}
	defer setup.close()
	if err := setup.sql(createTable); err != nil {
		return err
	}
	raw, err := openRaw(filepath.Join(s.dir, "raw"))
	if err != nil {
		return err
	}
	defer raw.db.Close()
	bare, err := startBare(raw, bareRequestBytes)
	if err != nil {
		return err
	}
	defer bare.close()
	for _, clients := range []int{1, 16, 64} {
		var ours, base, socket, ourP50, baseP50 []float64
		for range rounds {
			b, err := load(ctx, clients, length, raw.client)
			if err != nil {
				return err
			}
			o, err := load(ctx, clients, length, func() (func() error, func(), error) { return insertClient(s) })
			if err != nil {
				return err
			}
			l, err := load(ctx, clients, length, func() (func() error, func(), error) { return bare.client(bareRequestBytes) })
			if err != nil {
				return err
			}
			socket = append(socket, l.perSecond)
			base, baseP50 = append(base, b.perSecond), append(baseP50, b.p50.Seconds())
			ours, ourP50 = append(ours, o.perSecond), append(ourP50, o.p50.Seconds())
		}
		if clients == 1 {
			o, b := median(ourP50), median(baseP50)
			rep.ratio("insert p50, 1 client", micros(o), micros(b), o/b, 2, true)
			continue
		}
		asked := map[int]float64{16: 0.6, 64: 0.35}[clients]
		o, b := median(ours), median(base)
		rep.ratio(fmt.Sprintf("inserts/s, %d clients", clients), fmt.Sprintf("%.0f", o), fmt.Sprintf("%.0f", b), o/b, asked, false)
		most := median(socket)
		rep.note(fmt.Sprintf("raw Pebble behind a bare socket, %d clients", clients), fmt.Sprintf("%.0f", most), fmt.Sprintf("%.0f", b), most/b)
	}
	return nil
}

func micros(seconds float64) string { return fmt.Sprintf("%.0f µs", seconds*1e6) }

type loadResult struct {
	perSecond float64
	p50, p99  time.Duration
}

// load runs clients side by side for a while, each doing one thing at a time.
func load(ctx context.Context, clients int, length time.Duration, client func() (do func() error, done func(), err error)) (loadResult, error) {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex // guards all and first
		all   []time.Duration
		first error
	)
	start := time.Now()
	for range clients {
		do, done, err := client()
		if err != nil {
			return loadResult{}, err
		}
		wg.Go(func() {
			defer done()
			var times []time.Duration
			var err error
			for ctx.Err() == nil && time.Since(start) < length {
				t := time.Now()
				if err = do(); err != nil {
					break
				}
				times = append(times, time.Since(t))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, times...)
			if first == nil {
				first = err
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	return loadResult{perSecond: float64(len(all)) / took.Seconds(), p50: quantile(all, 0.5), p99: quantile(all, 0.99)}, first
}

var inserted atomic.Int64

func insertClient(s *server) (func() error, func(), error) {
	c, err := dial(s)
	if err != nil {
		return nil, nil, err
	}
	return func() error {
		_, err := c.post(insertBody(inserted.Add(1)))
		return err
	}, c.close, nil
}

// rawPebble writes what one insert writes: a row and a change-log entry, synced.
type rawPebble struct {
	db *pebble.DB
	n  atomic.Int64
}

func openRaw(dir string) (*rawPebble, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	db, err := pebble.Open(dir, &pebble.Options{FormatMajorVersion: pebble.FormatNewest, MemTableSize: 64 << 20, Logger: silent{}})
	return &rawPebble{db: db}, err
}

func (r *rawPebble) client() (func() error, func(), error) {
	batch := r.db.NewBatch()
	var key, value []byte
	return func() error {
		n := r.n.Add(1)
		values := []row.Value{
			row.IntValue(row.BigInt, n<<11), row.TextValue(fmt.Sprintf("c%d", n%100)), row.TextValue(bodyText), row.IntValue(row.BigInt, n),
		}
		value = row.AppendRow(value[:0], &row.Row{Seq: row.Seq(n), Updated: time.Now().UnixMicro(), Schema: 1, Values: values})
		batch.Reset()
		for _, prefix := range []string{"d", "c"} {
			key = append(append(key[:0], prefix...), "tableid8bench\x00\x00\x00\x00\x01"...)
			key = binary.BigEndian.AppendUint64(key, uint64(n))
			if err := batch.Set(key, value, nil); err != nil {
				return err
			}
		}
		return r.db.Apply(batch, pebble.Sync)
	}, func() { _ = batch.Close() }, nil
}

type silent struct{}

func (silent) Infof(string, ...any)         {}
func (silent) Errorf(f string, args ...any) { fmt.Fprintf(os.Stderr, f+"\n", args...) }
func (silent) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }

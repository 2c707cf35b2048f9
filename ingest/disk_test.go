package ingest

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"kalamdb/row"
)

func TestDiskNearlyFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		free := func(percent float64) {
			fs.TestingSetDiskUsage(vfs.DiskUsage{TotalBytes: 1 << 40, AvailBytes: uint64(percent / 100 * (1 << 40))})
		}
		ballast := func() bool {
			_, err := fs.Stat("buffer/" + ballastName)
			return err == nil
		}
		free(50)
		sink := newFakeSink()
		b := start(t, Options{FS: fs, Sink: sink, Policy: never})
		defer b.stop()
		b.commit(ana, insert(1, ""))
		if !ballast() {
			t.Error("no ballast file")
		}
		free(4)
		time.Sleep(2 * houseEvery)
		if _, err := b.tryCommit(ana, insert(2, "")); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "5%") {
			t.Errorf("%v, expected ErrFull naming the limit", err)
		}
		if !b.Stats().DiskLow || !ballast() {
			t.Errorf("disk low %t, ballast %t", b.Stats().DiskLow, ballast())
		}
		free(0.001)
		time.Sleep(2 * houseEvery)
		if ballast() {
			t.Error("the ballast was not given up")
		}
		if len(b.rowsOf(ana)) != 1 {
			t.Error("rows are not readable")
		}
		b.flushAll() // moving rows out goes on
		free(50)
		time.Sleep(2 * houseEvery)
		b.commit(ana, insert(2, ""))
		if !ballast() {
			t.Error("the ballast did not come back")
		}
	})
}

func TestCheckOfTheDiskCanBeTurnedOff(t *testing.T) {
	fs := vfs.NewMem()
	fs.TestingSetDiskUsage(vfs.DiskUsage{TotalBytes: 1 << 30, AvailBytes: 1})
	b := start(t, Options{FS: fs, FreeDiskPercentMin: -1})
	b.commit(ana, insert(1, ""))
}

// A write error of the disk ends the process: it is not acknowledged, and nothing after
// it either. The test runs itself as that process.
func TestWriteErrorEndsTheProcess(t *testing.T) {
	if os.Getenv("KALAMDB_INGEST_FATAL") != "" {
		var on atomic.Bool
		fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if on.Load() && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) {
				return errors.New("the disk is gone")
			}
			return nil
		}))
		b := start(t, Options{FS: fs, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
		b.commit(ana, insert(1, ""))
		on.Store(true)
		b.commit(ana, insert(2, ""))
		os.Stderr.WriteString("acknowledged without a disk\n")
		os.Exit(0)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestWriteErrorEndsTheProcess$")
	cmd.Env = append(os.Environ(), "KALAMDB_INGEST_FATAL=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("%v, expected exit code 1:\n%s", err, out.String())
	}
	if s := out.String(); !strings.Contains(s, "write buffer cannot go on") || !strings.Contains(s, "the disk is gone") || strings.Contains(s, "acknowledged") {
		t.Errorf("output:\n%s", s)
	}
}

func TestIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))) // a bubble starts in 2000
		disk := vfs.NewCrashableMem()
		b := start(t, Options{FS: disk})
		var mu sync.Mutex
		seen, largest := map[int64]bool{}, int64(0)
		draw := func(n int) {
			last := int64(0)
			for range n {
				id := b.NextID()
				if id <= last || id >= int64(row.SeqMax) {
					t.Errorf("id %d after %d", id, last)
				}
				last = id
				mu.Lock()
				if seen[id] {
					t.Errorf("id %d twice", id)
				}
				seen[id], largest = true, max(largest, id)
				mu.Unlock()
			}
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { draw(2000) })
		}
		wg.Wait()
		time.Sleep(2 * time.Minute) // past the reserved block
		draw(1)
		if got := time.UnixMilli(largest>>idCounterBits + idEpoch); time.Since(got).Abs() > time.Second {
			t.Errorf("an id of %s at %s", got, time.Now())
		}
		crashed := disk.CrashClone(vfs.CrashCloneCfg{})
		before := largest
		b.stop()

		b = start(t, Options{FS: crashed})
		defer b.stop()
		if id := b.NextID(); id <= before {
			t.Errorf("id %d after a crash, %d was given out before", id, before)
		}
		// The clock stepped back by a day.
		b.ids.last.Add(int64(24*time.Hour/time.Millisecond) << idCounterBits)
		ahead := b.ids.last.Load()
		draw(3)
		if largest <= ahead {
			t.Errorf("id %d after %d", largest, ahead)
		}
	})
}

func TestBrokenFolderIsReported(t *testing.T) {
	for name, damage := range map[string]struct {
		key   []byte
		value []byte
	}{
		"node":            {keyNode, []byte{9}},
		"floors":          {keyFloors, []byte{recordVersion}},
		"reigns":          {keyReigns, []byte{recordVersion, 1, 7}},
		"ids":             {keyIDs, []byte("short")},
		"table":           {tableKey(7), []byte("no separator")},
		"mark":            {append(markKey(3), 0), (&mark{}).append(nil)},
		"partition":       {appendPartitionKey(nil, partitionPrefix(ana)), []byte{recordVersion, 1}},
		"table of no one": {appendPartitionKey(nil, partitionPrefix(row.Partition{Table: row.TableRef{ID: 99}})), (&record{}).append(nil)},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			b := start(t, Options{FS: fs})
			b.commit(ana, insert(1, ""))
			b.stop()
			o, err := Options{Dir: "buffer", FS: fs, Logger: quiet}.withDefaults()
			if err != nil {
				t.Fatal(err)
			}
			db, err := openPebble(o, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(db.Set(damage.key, damage.value, nil), db.Close()); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(o); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%v, expected ErrCorrupt", err)
			}
		})
	}
}

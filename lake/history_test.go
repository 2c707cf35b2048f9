package lake

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parquet-go/parquet-go"

	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/storagelocations"
	"kalamdb/storagelocations/buckettest"
)

var histories = flag.Int("histories", 300, "how many histories TestHistories plays, on all processors; with 300 and less it stops after 20 s, for busy machines")

const (
	opsPerHistory = 60
	historiesTime = 20 * time.Second
)

// TestHistories plays random histories of flushes, compactions, readers, faults, crashes
// and upkeep against a model: every row is in the buffer or in exactly one file until a
// newer version or the retention of deleted rows takes it, whatever happens; and a reader
// sees the rows of its moment, whenever it takes its manifest and reads the files. It knows
// failed calls, lost replies, bodies that end early, puts whose condition the store ignores
// or answers 412 to though they happened, and puts that land after the caller has given up,
// also after its crash. Time is simulated, so that grace and retention pass.
func TestHistories(t *testing.T) {
	first := rand.Uint64()
	start := time.Now()
	var played, merged, purged, packed, forgotten, inPart atomic.Int64
	defer func() {
		t.Logf("%d histories from seed %d: %d compactions, %d deleted keys gone, %d flushes in packs, %d times a user forgotten, %d parts of files read",
			played.Load(), first, merged.Load(), purged.Load(), packed.Load(), forgotten.Load(), inPart.Load())
		if played.Load() < 50 {
			return // a busy machine: too few to say what they show
		}
		if merged.Load() < played.Load() || purged.Load() == 0 || packed.Load() < played.Load() || forgotten.Load() == 0 || inPart.Load() == 0 {
			t.Errorf("the histories do not show what they should")
		}
	}()
	players := runtime.GOMAXPROCS(0)
	t.Run("players", func(t *testing.T) {
		for player := range players {
			t.Run(fmt.Sprint(player), func(t *testing.T) {
				t.Parallel()
				for i := player; i < *histories; i += players {
					if time.Since(start) > historiesTime && *histories <= 300 {
						break
					}
					h := play(t, first+uint64(i))
					played.Add(1)
					merged.Add(int64(h.merged))
					purged.Add(int64(h.purged))
					packed.Add(int64(h.packed))
					forgotten.Add(int64(h.forgotten))
					inPart.Add(int64(h.inPart))
				}
			})
		}
	})
}

// play plays one history. Its folder goes with it: there are thousands.
func play(t *testing.T, seed uint64) *history {
	dir, err := os.MkdirTemp("", "history")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	table := notes(7)
	table.DeletedRetention = retentionTest
	h := &history{dir: dir, rnd: rand.New(rand.NewPCG(seed, 0)), table: table, buffered: map[row.UserID][]row.Row{}, written: map[row.Seq]row.Row{}, newest: map[string]row.Seq{}}
	synctest.Test(t, func(t *testing.T) {
		h.T = t
		defer func() { // synctest.Test does not return from a test that failed
			if t.Failed() {
				t.Logf("seed %d, operations: %s", seed, strings.Join(h.ops, "; "))
			}
		}()
		h.run()
	})
	return h
}

type history struct {
	*testing.T
	rnd    *rand.Rand
	table  *catalog.Table
	bucket *flakyBucket
	lake   *Lake
	faults float64
	dir    string
	ops    []string

	seq      row.Seq
	buffered map[row.UserID][]row.Row // sealed, not known to be committed
	written  map[row.Seq]row.Row      // every row ever handed to a flush
	newest   map[string]row.Seq       // the newest of every key, by user and id

	mu      sync.Mutex // guards readers
	readers []*reading
	merged  int // compactions that did something
	purged  int // deleted keys that are gone at the end

	pack      int   // Options.PackPartitionsMin
	partial   int64 // Options.PartialBytesMin
	cache     int64 // Options.CacheBytesMax
	inPart    int   // parts of files that were read
	packed    int   // flushes that wrote packs
	forgotten int
}

// A reading is a reader on its way: 1. it has the moment. 2. it has a manifest. 3. it reads.
type reading struct {
	seq      row.Seq
	since    time.Time
	user     row.UserID
	buffered []row.Row
	newest   map[string]row.Seq
	manifest *Manifest
}

const retentionTest = 3 * time.Hour

func (h *history) run() {
	trace := buckettest.NewTrace(storagelocations.NewMemory())
	rnd := rand.New(rand.NewPCG(h.rnd.Uint64(), 2))
	trace.Decide(func(buckettest.Op, string) buckettest.Action {
		switch x := rnd.Float64(); {
		case x < h.faults:
			return buckettest.Fail
		case x < 2*h.faults:
			return buckettest.Lose
		}
		return buckettest.Pass
	})
	h.pack = []int{0, 2, 2}[h.rnd.IntN(3)]
	h.partial = []int64{-1, 1, 1}[h.rnd.IntN(3)]
	h.cache = []int64{1, 1, 1 << 20}[h.rnd.IntN(3)]
	h.bucket = &flakyBucket{Bucket: trace, rnd: rand.New(rand.NewPCG(h.rnd.Uint64(), 1))}
	h.open()
	for range opsPerHistory {
		h.fault([]float64{0, 0, 0.03, 0.1}[h.rnd.IntN(4)])
		h.step()
		if h.Failed() {
			return
		}
	}
	h.fault(0)
	h.bucket.land(-1)
	h.flush()
	for len(h.readers) > 0 {
		h.read()
	}
	h.compact()
	h.check()
}

// fault sets how often calls of the bucket go wrong.
func (h *history) fault(often float64) {
	h.faults = often
	h.bucket.behave(often)
}

func (h *history) did(format string, args ...any) {
	h.ops = append(h.ops, fmt.Sprintf(format, args...))
}

func (h *history) step() {
	ctx := context.Background()
	tolerate := func(what string, err error) {
		h.did("%s: %v", what, err)
		if err != nil && !h.bucket.injected(err) {
			h.Errorf("%s: %v", what, err)
		}
	}
	switch n := h.rnd.IntN(31); {
	case n >= 30:
		h.forget()
	case n >= 27:
		h.did("compact: %v", h.compact())
	case n >= 26:
		tolerate("compact what is due", h.lake.compactDue(ctx, h.lake.table(7)))
	case n >= 25:
		tolerate("bury", h.lake.buryDead(ctx, h.lake.table(7)))
	case n >= 20:
		h.read()
	case n < 7:
		h.write()
		h.flush()
	case n < 10:
		h.flush()
	case n < 12:
		h.did("crash")
		h.open()
	case n < 14:
		h.bucket.land(1)
		h.did("land")
	case n < 16:
		tolerate("checkpoint", h.lake.checkpoint(ctx, h.lake.table(7)))
	case n < 18:
		tolerate("sweep", h.lake.sweep(ctx, h.lake.table(7)))
	default:
		h.bucket.land(-1) // no request is in flight for hours
		time.Sleep(time.Duration(h.rnd.Int64N(int64(10 * time.Hour))))
		h.did("time")
	}
}

// write adds rows to some users' buffers.
func (h *history) write() {
	for _, user := range []row.UserID{"ana", "ben", "eve"} {
		for range h.rnd.IntN(4) {
			h.seq++
			r := note(int64(h.rnd.IntN(5)), h.seq, fmt.Sprint("text ", h.seq))
			r.Updated = time.Now().UnixMicro()
			r.Deleted = h.rnd.IntN(3) == 0
			h.buffered[user] = append(h.buffered[user], r)
			h.written[h.seq] = r
			h.newest[fmt.Sprint(user, r.Values[0].Int())] = h.seq
		}
	}
}

func (h *history) flush() {
	var segs []row.Segment
	for _, user := range slices.Sorted(maps.Keys(h.buffered)) {
		rows := h.buffered[user]
		if len(rows) == 0 {
			continue
		}
		// Sometimes two segments of one partition, in any order.
		cut := h.rnd.IntN(len(rows))
		parts := [][]row.Row{rows[:cut], rows[cut:]}
		h.rnd.Shuffle(2, func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		for _, p := range parts {
			if len(p) > 0 {
				segs = append(segs, segment(h.table, user, p...))
			}
		}
	}
	err := h.lake.Flush(context.Background(), h.table.Ref, segs)
	h.did("flush %d: %v", len(segs), err)
	switch {
	case err == nil:
		clear(h.buffered)
	case !h.bucket.injected(err):
		h.Errorf("flush: %v", err)
	}
}

// open starts a Lake on the bucket, as a process does after a crash: buffered rows the
// lake covers are dropped by number.
func (h *history) open() {
	time.Sleep(time.Millisecond) // simulated time stands still otherwise, and no process starts in the instant the last one died
	h.readers = nil
	for {
		l, err := Open(context.Background(), Options{Meta: h.bucket, CacheDir: h.dir, CacheBytesMax: h.cache, Node: "node", CheckpointEntries: 3, CompactFiles: 3, PackPartitionsMin: h.pack, PackRowsMax: 3,
			PartialBytesMin: h.partial, RequestBytes: 1, RowGroupRows: 1,
			Events: Events{Committed: h.committed}, Oldest: h.oldest}, []*catalog.Table{h.table})
		h.did("open: %v", err)
		if err == nil {
			l.codec, h.lake = &parquet.Uncompressed, l // zstd keeps channels, which no two bubbles of synctest may share
			break
		}
		if !h.bucket.injected(err) {
			h.Fatalf("open: %v", err)
		}
	}
	for user, rows := range h.buffered {
		through := h.lake.Through(row.Partition{Table: h.table.Ref, User: user})
		h.buffered[user] = slices.DeleteFunc(rows, func(r row.Row) bool { return r.Seq <= through })
	}
}

func (h *history) committed(CommitInfo) {
	for f := range h.lake.Files {
		if f.pack != nil {
			h.packed++
			return
		}
	}
}

// forget is FORGET USER for a user who writes no more until it is done, however often it fails.
func (h *history) forget() {
	user := []row.UserID{"ana", "ben", "eve"}[h.rnd.IntN(3)]
	p := row.Partition{Table: h.table.Ref, User: user}
	h.mu.Lock()
	h.readers = slices.DeleteFunc(h.readers, func(r *reading) bool { return r.user == user && r.manifest == nil })
	h.mu.Unlock()
	for try := 0; ; try++ {
		if try == 3 {
			h.fault(0) // each try adds an entry, and with many of them no open gets through
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err := h.lake.Forget(ctx, p)
		cancel()
		h.did("forget %s: %v", user, err)
		waits := errors.Is(err, context.DeadlineExceeded) // for readers
		if err != nil && !waits && !h.bucket.injected(err) {
			h.Errorf("forget %s: %v", user, err)
			return
		}
		if err == nil || waits {
			h.forgotten++
			h.unlearn(user, err == nil)
			return
		}
		if h.rnd.IntN(2) == 0 {
			h.did("crash")
			h.open()
		}
	}
}

// unlearn is what the model knows after a user was forgotten: rows that are still buffered.
// Those that a flush committed, though its reply was lost, the real buffer has erased too.
func (h *history) unlearn(user row.UserID, gone bool) {
	through := h.lake.Through(row.Partition{Table: h.table.Ref, User: user})
	h.buffered[user] = slices.DeleteFunc(h.buffered[user], func(r row.Row) bool { return r.Seq <= through })
	for id := range 5 {
		delete(h.newest, fmt.Sprint(user, id))
	}
	for _, r := range h.buffered[user] {
		h.newest[fmt.Sprint(user, r.Values[0].Int())] = r.Seq
	}
	if !gone {
		return
	}
	h.fault(0)
	for info, err := range h.bucket.List(context.Background(), "packs/") {
		if err != nil {
			h.Fatal(err)
		}
		d := directoryOf(h, body(h, h.bucket, info.Name))
		if _, _, ok := d.find(user); ok {
			h.Errorf("%s has rows of %s, who is forgotten", info.Name, user)
		}
	}
}

// compact is COMPACT TABLE.
func (h *history) compact() error {
	info, err := h.lake.Compact(context.Background(), h.table.Ref)
	if info.FilesOut < info.FilesIn {
		h.merged++
	}
	if err != nil && !h.bucket.injected(err) && !strings.Contains(err.Error(), "half of the grace") {
		h.Errorf("compact: %v", err)
	}
	return err
}

func (h *history) oldest() (seq row.Seq, since time.Time, any bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.readers {
		if !any || r.seq < seq {
			seq = r.seq
		}
		if !any || r.since.Before(since) {
			since = r.since
		}
		any = true
	}
	return seq, since, any
}

// read begins a reader, or lets one of them go a step on.
func (h *history) read() {
	if len(h.readers) < 3 && h.rnd.IntN(2) == 0 {
		user := []row.UserID{"ana", "ben", "eve"}[h.rnd.IntN(3)]
		h.mu.Lock()
		h.readers = append(h.readers, &reading{seq: h.seq, since: time.Now(), user: user, buffered: slices.Clone(h.buffered[user]), newest: maps.Clone(h.newest)})
		h.mu.Unlock()
		h.did("begin to read %s at %d", user, h.seq)
		return
	}
	if len(h.readers) == 0 {
		return
	}
	i := h.rnd.IntN(len(h.readers))
	r := h.readers[i]
	if r.manifest == nil {
		r.manifest = h.lake.Manifest(row.Partition{Table: h.table.Ref, User: r.user})
		h.did("manifest of %s at %d: %d files", r.user, r.seq, len(r.manifest.Files))
		return
	}
	h.did("read %s at %d", r.user, r.seq)
	var files []*File
	for _, f := range r.manifest.Files {
		if f.MaxSeq <= r.seq {
			files = append(files, f)
		}
	}
	h.compare(r.user, &Manifest{Files: files}, r.buffered, r.newest)
	r.manifest.Release()
	h.mu.Lock()
	h.readers = slices.Delete(h.readers, i, i+1)
	h.mu.Unlock()
}

// compare holds the rows of a user in files, with the buffered ones over them, to the newest ones.
func (h *history) compare(user row.UserID, m *Manifest, buffered []row.Row, newest map[string]row.Seq) {
	keys := make([][]byte, 5)
	for id := range keys {
		keys[id] = row.AppendKey(nil, row.IntValue(row.BigInt, int64(id)))
	}
	parts := h.lake.CacheStats().Parts
	found, err := h.lake.Find(context.Background(), m, h.table.Schema(), keys)
	if h.bucket.injected(err) {
		h.fault(0)
		found, err = h.lake.Find(context.Background(), m, h.table.Schema(), keys)
	}
	h.inPart += int(h.lake.CacheStats().Parts - parts)
	if err != nil {
		h.Errorf("find rows of %s: %v", user, err)
		return
	}
	for _, r := range buffered {
		if key := h.table.Schema().KeyOf(r.Values); found[string(key)].Seq < r.Seq {
			if found == nil {
				found = map[string]row.Row{}
			}
			found[string(key)] = r
		}
	}
	for id, key := range keys {
		want := h.written[newest[fmt.Sprint(user, id)]]
		r, ok := found[string(key)]
		if !ok && want.Deleted && want.Updated <= time.Now().Add(-retentionTest).UnixMicro() {
			h.purged++
			continue
		}
		if r.Seq != want.Seq || r.Deleted != want.Deleted || r.Updated != want.Updated || !slices.Equal(r.Values, want.Values) {
			h.Errorf("%s/%d is %+v, expected %+v", user, id, r, want)
		}
	}
}

// check opens the Lake again, since what counts is what the bucket says, and compares all
// files with the rows ever written: no row is in two files, and the newest version of
// every key is in one and is what Find gives.
func (h *history) check() {
	h.open()
	defer h.lake.cache.close()
	seen := map[row.Seq]int{}
	files := map[row.UserID]int{}
	for f := range h.lake.Files {
		files[f.Partition.User]++
		for _, seq := range seqs(h, h.lake, f) {
			seen[seq]++
		}
	}
	for seq, n := range seen {
		if n != 1 {
			h.Errorf("row %d is in the files %d times", seq, n)
		}
	}
	for user, n := range files {
		if n > 1 {
			h.Errorf("%s has %d files after the compaction, expected one", user, n)
		}
	}
	for _, user := range []row.UserID{"ana", "ben", "eve"} {
		m := h.lake.Manifest(row.Partition{Table: h.table.Ref, User: user})
		h.compare(user, m, nil, h.newest)
		m.Release()
	}
}

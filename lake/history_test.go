package lake

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parquet-go/parquet-go/compress/zstd"

	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/storagelocations"
	"kalamdb/storagelocations/buckettest"
)

const (
	histories     = 300
	opsPerHistory = 60
	historiesTime = 20 * time.Second // on a busy machine the rest is left out
)

// TestHistories plays random histories of flushes, faults, crashes and upkeep against a
// model: every row is in the buffer or in exactly one file, whatever happens. It knows
// failed calls, lost replies, and puts that land after the caller has given up, also
// after its crash. Time is simulated, so that grace and retention pass.
func TestHistories(t *testing.T) {
	first := rand.Uint64()
	start, played := time.Now(), 0
	defer func() { t.Logf("%d histories from seed %d", played, first) }()
	for i := range uint64(histories) {
		if time.Since(start) > historiesTime {
			break
		}
		played++
		seed := first + i
		h := &history{dir: t.TempDir(), codec: &zstd.Codec{}, rnd: rand.New(rand.NewPCG(seed, 0)), table: notes(7), buffered: map[row.UserID][]row.Row{}, written: map[row.Seq]row.Row{}, newest: map[string]row.Seq{}}
		synctest.Test(t, func(t *testing.T) {
			h.T = t
			h.run()
		})
		h.T = t
		if !t.Failed() {
			h.open() // what counts is what the bucket says
			h.check()
		}
		if t.Failed() {
			t.Fatalf("seed %d, operations: %v", seed, h.ops)
		}
	}
}

type history struct {
	*testing.T
	rnd    *rand.Rand
	table  *catalog.Table
	bucket *lateBucket
	lake   *Lake
	dir    string
	codec  *zstd.Codec
	ops    []string

	seq      row.Seq
	buffered map[row.UserID][]row.Row // sealed, not known to be committed
	written  map[row.Seq]row.Row      // every row ever handed to a flush
	newest   map[string]row.Seq       // the newest of every key, by user and id
}

func (h *history) run() {
	trace := buckettest.NewTrace(storagelocations.NewMemory())
	faults := 0.0
	rnd := rand.New(rand.NewPCG(h.rnd.Uint64(), 2))
	trace.Decide(func(buckettest.Op, string) buckettest.Action {
		switch x := rnd.Float64(); {
		case x < faults:
			return buckettest.Fail
		case x < 2*faults:
			return buckettest.Lose
		}
		return buckettest.Pass
	})
	h.bucket = &lateBucket{Bucket: trace, rnd: rand.New(rand.NewPCG(h.rnd.Uint64(), 1))}
	h.open()
	for range opsPerHistory {
		faults = []float64{0, 0, 0.03, 0.1}[h.rnd.IntN(4)]
		h.bucket.late = faults
		h.step()
		if h.Failed() {
			return
		}
	}
	faults, h.bucket.late = 0, 0
	h.bucket.land(-1)
	h.flush()
}

func (h *history) did(format string, args ...any) {
	h.ops = append(h.ops, fmt.Sprintf(format, args...))
}

func (h *history) step() {
	ctx := context.Background()
	tolerate := func(what string, err error) {
		h.did("%s: %v", what, err)
		if err != nil && !errors.Is(err, buckettest.ErrInjected) {
			h.Errorf("%s: %v", what, err)
		}
	}
	switch n := h.rnd.IntN(20); {
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
			r.Deleted = h.rnd.IntN(5) == 0
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
	case !errors.Is(err, buckettest.ErrInjected):
		h.Errorf("flush: %v", err)
	}
}

// open starts a Lake on the bucket, as a process does after a crash: buffered rows the
// lake covers are dropped by number.
func (h *history) open() {
	time.Sleep(time.Millisecond) // simulated time stands still otherwise, and no process starts in the instant the last one died
	for {
		l, err := Open(context.Background(), Options{Meta: h.bucket, CacheDir: h.dir, CacheBytesMax: 1, Node: "node", CheckpointEntries: 3}, []*catalog.Table{h.table})
		h.did("open: %v", err)
		if err == nil {
			l.codec, h.lake = h.codec, l // making encoders is most of the work otherwise
			break
		}
		if !errors.Is(err, buckettest.ErrInjected) {
			h.Fatalf("open: %v", err)
		}
	}
	for user, rows := range h.buffered {
		through := h.lake.Through(row.Partition{Table: h.table.Ref, User: user})
		h.buffered[user] = slices.DeleteFunc(rows, func(r row.Row) bool { return r.Seq <= through })
	}
}

// check compares all files with the rows ever written: no row is in two files, and the
// newest version of every key is in one and is what Find gives.
func (h *history) check() {
	defer h.lake.cache.close()
	seen := map[row.Seq]int{}
	for f := range h.lake.Files {
		for _, seq := range seqs(h, h.lake, f) {
			seen[seq]++
		}
	}
	for seq, n := range seen {
		if n != 1 {
			h.Errorf("row %d is in the files %d times", seq, n)
		}
	}
	for _, user := range []row.UserID{"ana", "ben", "eve"} {
		found := findAll(h, h.lake, h.table, user, 0, 1, 2, 3, 4)
		for id := range int64(5) {
			want := h.written[h.newest[fmt.Sprint(user, id)]]
			if r := found[id]; r.Seq != want.Seq || r.Deleted != want.Deleted || !slices.Equal(r.Values, want.Values) {
				h.Errorf("%s/%d is %+v, expected %+v", user, id, r, want)
			}
		}
	}
}

// seqs are the Seqs of the rows of f, in the order of the file.
func seqs(t testing.TB, l *Lake, f *File) []row.Seq {
	t.Helper()
	e, err := l.local(context.Background(), f)
	if err != nil {
		t.Fatal(err)
	}
	defer l.cache.release(e)
	r, err := l.cache.acquire(e, l.schemaAt(l.table(f.Partition.Table.ID), f.SchemaVersion))
	if err != nil {
		t.Fatal(err)
	}
	defer l.cache.drop(r)
	var list []row.Seq
	for i := range r.groups {
		values, release, err := readRows(r.groups[i].chunks[r.layout.seqLeaf()], 0, r.groups[i].rows)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			list = append(list, row.Seq(v.Int64()))
		}
		release()
	}
	if int64(len(list)) != f.Rows {
		t.Errorf("%s has %d rows, the manifest says %d", f.Name, len(list), f.Rows)
	}
	return list
}

// A lateBucket loses some puts on the way: the caller gets an error, and the put
// happens later.
type lateBucket struct {
	storagelocations.Bucket
	rnd  *rand.Rand
	late float64

	mu      sync.Mutex // guards pending and rnd; puts run in parallel
	pending []func()
}

func (b *lateBucket) Put(ctx context.Context, name string, body []byte, cond storagelocations.Cond) (storagelocations.Info, error) {
	b.mu.Lock()
	late := b.rnd.Float64() < b.late
	if late {
		body := slices.Clone(body)
		b.pending = append(b.pending, func() { b.Bucket.Put(context.Background(), name, body, cond) })
	}
	b.mu.Unlock()
	if late {
		return storagelocations.Info{}, fmt.Errorf("put %s: %w", name, buckettest.ErrInjected)
	}
	return b.Bucket.Put(ctx, name, body, cond)
}

// land lets n of the late puts happen, all of them if n is negative, in any order.
func (b *lateBucket) land(n int) {
	b.mu.Lock()
	pending := b.pending
	b.rnd.Shuffle(len(pending), func(i, j int) { pending[i], pending[j] = pending[j], pending[i] })
	if n < 0 || n > len(pending) {
		n = len(pending)
	}
	b.pending = slices.Clone(pending[n:])
	b.mu.Unlock()
	for _, put := range pending[:n] {
		put()
	}
}

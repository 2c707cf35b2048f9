package lake

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/compress/zstd"
	"golang.org/x/sync/errgroup"

	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/storagelocations"
)

// A Lake keeps the flushed rows of all tables. It is safe for concurrent use.
type Lake struct {
	opts   Options
	writer string    // names this Lake, new at every Open
	opened time.Time // an entry of the same node made before is a late one of the process before
	cache  *cache
	packs  packFooters
	merges chan struct{}  // holds a token for each partition being compacted
	codec  compress.Codec // zstd with the encoders of all tables; the default level costs twice the time for files no smaller

	fenceOnce sync.Once
	fenced    chan struct{} // closed by the first fence, after fencedBy is set
	fencedBy  error

	mu     sync.RWMutex // guards tables
	tables map[uint64]*table
}

// Open reads the log of each table: its newest checkpoint and the entries after it.
func Open(ctx context.Context, o Options, tables []*catalog.Table) (*Lake, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	c, err := openCache(o.CacheDir, o.CacheBytesMax, o.PartialBytesMin, o.RequestBytes)
	if err != nil {
		return nil, fmt.Errorf("open lake: %w", err)
	}
	l := &Lake{opts: o, writer: randomName(), opened: time.Now(), cache: c, merges: make(chan struct{}, o.CompactParallel), codec: &zstd.Codec{Level: zstd.SpeedFastest}, fenced: make(chan struct{}), tables: map[uint64]*table{}}
	if l.opts.Node == "" {
		l.opts.Node = l.writer
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(loadParallel)
	for _, t := range tables {
		if t.Type == catalog.Stream {
			continue
		}
		g.Go(func() error { return l.AddTable(gctx, t) })
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("open lake: %w", err)
	}
	return l, nil
}

// randomName is a name nobody can guess.
func randomName() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// AddTable makes t known, loading what its log has. Adding it again does nothing.
func (l *Lake) AddTable(ctx context.Context, c *catalog.Table) error {
	if l.table(c.Ref.ID) != nil || c.Type == catalog.Stream {
		return nil
	}
	b, err := l.bucketOf(c)
	if err != nil {
		return err
	}
	t := newTable(c, b)
	if err := l.load(ctx, t); err != nil {
		return fmt.Errorf("load the log of %s: %w", c.Ref, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tables[c.Ref.ID] == nil {
		l.tables[c.Ref.ID] = t
	}
	return nil
}

// bucketOf is where the files of a table are.
func (l *Lake) bucketOf(c *catalog.Table) (storagelocations.Bucket, error) {
	if c.Root == "" {
		return l.opts.Meta, nil
	}
	if l.opts.Bucket == nil {
		return nil, fmt.Errorf("table %s: nobody knows the bucket of its location %s", c.Ref, c.Root)
	}
	return l.opts.Bucket(c), nil
}

func (l *Lake) table(id uint64) *table {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.tables[id]
}

// sorted are the tables in the order of their names.
func (l *Lake) sorted() []*table {
	l.mu.RLock()
	tables := slices.Collect(maps.Values(l.tables))
	l.mu.RUnlock()
	slices.SortFunc(tables, func(a, b *table) int {
		return cmp.Or(strings.Compare(a.ref.Namespace, b.ref.Namespace), strings.Compare(a.ref.Name, b.ref.Name))
	})
	return tables
}

// Through is the last Seq of p this node has committed: all its changes of p up to it are
// in the lake. Zero if there is none, and if the table is overtaken: Seqs are numbers of
// one node, and what another one committed says nothing about the rows of this one.
// (Once the table is claimed, the Seqs of this node are above all that is there.)
func (l *Lake) Through(p row.Partition) row.Seq {
	t := l.table(p.Table.ID)
	if t == nil {
		return 0
	}
	if _, ok := t.overtaken(l.opts.Node); ok {
		return 0
	}
	return t.through(p.User)
}

// MaxSeq is the largest Through of all partitions.
func (l *Lake) MaxSeq() row.Seq {
	var n row.Seq
	for _, t := range l.sorted() {
		t.mu.RLock()
		n = max(n, t.maxSeq)
		t.mu.RUnlock()
	}
	return n
}

// Manifest is what the lake has of p now. The caller releases it.
func (l *Lake) Manifest(p row.Partition) *Manifest {
	t := l.table(p.Table.ID)
	if t == nil {
		return &Manifest{}
	}
	return t.manifest(p.User)
}

// Files yields every committed file, by table, user and Seq.
func (l *Lake) Files(yield func(*File) bool) {
	for _, t := range l.sorted() {
		if !t.eachFile(yield) {
			return
		}
	}
}

// FilesOf yields the committed files of the table with the given id.
func (l *Lake) FilesOf(id uint64, yield func(*File) bool) {
	if t := l.table(id); t != nil {
		t.eachFile(yield)
	}
}

// eachFile yields the files by user and Seq until yield is false, which it returns.
func (t *table) eachFile(yield func(*File) bool) bool {
	t.mu.RLock()
	partitions := maps.Clone(t.partitions)
	t.mu.RUnlock()
	for _, user := range slices.Sorted(maps.Keys(partitions)) {
		for _, f := range partitions[user].files {
			if !yield(f) {
				return false
			}
		}
	}
	return true
}

// Local is a local copy of f, good until release is called. Nobody else can guess
// its path; nobody may change it.
func (l *Lake) Local(ctx context.Context, f *File) (path string, release func(), err error) {
	e, err := l.local(ctx, f)
	if err != nil {
		return "", nil, err
	}
	return e.path, sync.OnceFunc(func() { l.cache.release(e) }), nil
}

func (l *Lake) local(ctx context.Context, f *File) (*cached, error) {
	b, err := l.bucket(f)
	if err != nil {
		return nil, err
	}
	var e *cached
	if f.pack == nil {
		e, err = l.cache.get(ctx, b, f)
	} else {
		e, err = l.sliceCopy(ctx, b, f)
	}
	return e, l.noticed(f, err)
}

// noticed is err, which reading f gave.
func (l *Lake) noticed(f *File, err error) error {
	if err != nil && isCorrupt(err) && l.opts.Events.Corrupt != nil {
		l.opts.Events.Corrupt(CorruptInfo{Name: f.Name, Err: err})
	}
	return err
}

// Divisible says whether Part can do with less than the whole of f.
func (l *Lake) Divisible(f *File) bool {
	b, err := l.bucket(f)
	return err == nil && l.cache.divisible(b, f)
}

// Part is Local for one who reads only the part p of f. What the Parquet file at path has
// of f contains p; partial says that it may not be all of f.
func (l *Lake) Part(ctx context.Context, f *File, p Part) (path string, partial bool, release func(), err error) {
	e, err := l.part(ctx, f, func(_ context.Context, d *divided, _ *requests) (selection, error) {
		return d.outline.choose(&p), nil
	})
	if err != nil {
		return "", false, nil, err
	}
	return e.path, e.part != nil, sync.OnceFunc(func() { l.cache.release(e) }), nil
}

func (l *Lake) part(ctx context.Context, f *File, choose partChooser) (*cached, error) {
	b, err := l.bucket(f)
	if err != nil {
		return nil, err
	}
	t := l.table(f.Partition.Table.ID)
	if t == nil {
		return nil, ErrUnknownTable
	}
	s := l.schemaAt(t, f.SchemaVersion)
	if s == nil {
		return nil, corruptf("schema version %d, which the table never had", f.SchemaVersion)
	}
	e, err := l.cache.part(ctx, b, f, newLayout(s), choose)
	return e, l.noticed(f, err)
}

func (l *Lake) bucket(f *File) (storagelocations.Bucket, error) {
	if f.Root == "" {
		return l.opts.Meta, nil
	}
	t := l.table(f.Partition.Table.ID)
	if t == nil {
		return nil, fmt.Errorf("%s: %w", f.Partition, ErrUnknownTable)
	}
	return t.bucket, nil
}

package lake

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/storagelocations"
)

// A Verification says how far [Verify] goes.
type Verification struct {
	// Waiting are the rows of the write buffer.
	Waiting []row.Segment
	// Repair puts things right where nothing can be lost by it: an object that is missing
	// or damaged is put again if Copies has it, and a damaged checkpoint that the
	// log does not need is set aside in _kalamdb/damaged.
	Repair bool
	// Copies is a folder that may hold copies of files, such as the cache of a server
	// that is not running. "" is none.
	Copies string
}

// A Report is what [Verify] found.
type Report struct {
	Tables, Partitions  int
	Files, Rows, Bytes  int64 // in the lake
	WaitingRows         int64 // in the write buffer
	Orphans, OrphanSize int64 // files that no log names: of a crashed flush, or removed and not deleted yet
	Problems            []Problem
}

// A Problem is one thing that is not as it was written.
type Problem struct {
	Table    row.TableRef
	User     row.UserID
	Object   string // in the bucket, empty for one of the write buffer
	What     string
	Repaired bool
}

// String is one line for an operator.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Table.String())
	if p.User != "" {
		fmt.Fprintf(&b, ", user %s", p.User)
	}
	if p.Object != "" {
		fmt.Fprintf(&b, ", %s", p.Object)
	}
	b.WriteString(": " + p.What)
	if p.Repaired {
		b.WriteString(" (repaired)")
	}
	return b.String()
}

// Verify reads everything that the logs of the tables name, and the rows that wait in the
// write buffer, and proves that
//
//   - the logs can be replayed without a gap,
//   - every file is there with the size and the checksum of the log, and has the table, the
//     user, the columns, the rows, the order of keys and the ranges that the log says,
//   - a version of a row is in one file, and not beyond the watermark of its partition,
//   - a row is in the buffer or in the lake: above the watermark, or below it and found there.
//
// What it finds is in the Report; the error is about what could not be asked. It claims
// nothing and takes no part in the log, so that it may run beside a server if Waiting is
// empty. o.CacheDir belongs to it alone.
func Verify(ctx context.Context, o Options, tables []*catalog.Table, how Verification) (*Report, error) {
	l, err := Open(ctx, o, nil)
	if err != nil {
		return nil, err
	}
	defer l.cache.close()
	v := &verifier{l: l, how: how}
	broken := map[uint64]bool{}
	for _, c := range tables {
		if c.Type == catalog.Stream {
			continue
		}
		v.report.Tables++
		switch t, err := v.load(ctx, c); {
		case err != nil:
			return nil, fmt.Errorf("verify %s: %w", c.Ref, err)
		case t == nil:
			broken[c.Ref.ID] = true
		default:
			l.tables[c.Ref.ID] = t
		}
	}
	for _, t := range l.sorted() {
		if err := v.table(ctx, t); err != nil {
			return nil, fmt.Errorf("verify %s: %w", t.ref, err)
		}
	}
	if err := v.orphans(ctx); err != nil {
		return nil, err
	}
	for i := range how.Waiting {
		seg := &how.Waiting[i]
		v.report.WaitingRows += int64(seg.Rows)
		if broken[seg.Partition.Table.ID] {
			continue // whose log is the problem
		}
		if err := v.waiting(ctx, seg); err != nil {
			return nil, fmt.Errorf("verify %s: %w", seg.Partition, err)
		}
	}
	slices.SortStableFunc(v.report.Problems, func(a, b Problem) int {
		return strings.Compare(a.Table.String()+"\x00"+string(a.User)+"\x00"+a.Object, b.Table.String()+"\x00"+string(b.User)+"\x00"+b.Object)
	})
	return &v.report, nil
}

type verifier struct {
	l   *Lake
	how Verification

	mu     sync.Mutex // guards the fields below
	report Report
	copies map[string]string // of how.Copies: paths by checksum; nil before it is needed
}

func (v *verifier) problem(p Problem) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Problems = append(v.report.Problems, p)
}

// faulty says that err is about what is stored and not about reaching it.
func faulty(err error) bool { return isCorrupt(err) || errors.Is(err, storagelocations.ErrNotExist) }

// load is the state of a table; nil if no checkpoint leads to the end of its log.
func (v *verifier) load(ctx context.Context, c *catalog.Table) (*table, error) {
	b, err := v.l.bucketOf(c)
	if err != nil {
		return nil, err
	}
	t := newTable(c, b)
	checkpoints, entries, err := v.l.logNumbers(ctx, t)
	if err != nil {
		return nil, err
	}
	end := uint64(0)
	for _, list := range [][]uint64{checkpoints, entries} {
		if len(list) > 0 {
			end = max(end, list[len(list)-1])
		}
	}
	var first error
	var damaged []uint64
	for _, n := range slices.Backward(append([]uint64{0}, checkpoints...)) {
		t := newTable(c, b)
		err := v.l.replay(ctx, t, n, entries)
		if err == nil && t.last == end {
			for _, n := range damaged {
				p := Problem{Table: c.Ref, Object: t.checkpointName(n), What: "damaged, but the log leads to the same state without it: " + first.Error()}
				if v.how.Repair {
					if err := v.l.setAside(ctx, p.Object); err != nil {
						return nil, err
					}
					p.Repaired = true
				}
				v.problem(p)
			}
			return t, nil
		}
		if err != nil && !faulty(err) {
			return nil, err
		}
		if first == nil {
			if first = err; err == nil {
				first = corruptf("the log ends at entry %d, there is something of number %d", t.last, end)
			}
		}
		damaged = append(damaged, n)
	}
	v.problem(Problem{Table: c.Ref, What: fmt.Sprintf("its log cannot be replayed, `kalamdb doctor --rebuild` makes a new one: %v", first)})
	return nil, nil
}

// setAside moves a damaged object of the default bucket out of the way.
func (l *Lake) setAside(ctx context.Context, name string) error {
	body, err := read(ctx, l.opts.Meta, name)
	if err != nil {
		return err
	}
	rest := strings.TrimPrefix(name, storagelocations.MetaFolder+"/")
	if _, err := l.opts.Meta.Put(ctx, storagelocations.MetaFolder+"/damaged/"+rest, body, storagelocations.Cond{}); err != nil {
		return err
	}
	return l.opts.Meta.Delete(ctx, name)
}

// table checks the files of t.
func (v *verifier) table(ctx context.Context, t *table) error {
	bad, err := v.packs(ctx, t)
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(v.l.opts.Parallel)
	for _, user := range t.users() {
		m := t.manifest(user)
		m.Release()
		v.report.Partitions++
		g.Go(func() error { return v.partition(gctx, t, user, m, bad) })
	}
	return g.Wait()
}

// partition checks the files of a user, but not slices of packs that are bad.
func (v *verifier) partition(ctx context.Context, t *table, user row.UserID, m *Manifest, bad map[string]bool) error {
	good := make([]*File, 0, len(m.Files))
	for _, f := range m.Files {
		if bad[f.Name] {
			v.counts(f)
			continue
		}
		p := Problem{Table: t.ref, User: user, Object: f.Name}
		err := v.file(ctx, t, f)
		if faulty(err) && v.how.Repair && f.pack == nil {
			if again, putErr := v.putBack(ctx, t, f); putErr != nil {
				return putErr
			} else if again {
				p.What, p.Repaired = err.Error(), true
				v.problem(p)
				err = v.file(ctx, t, f)
			}
		}
		switch {
		case err == nil:
			good = append(good, f)
		case faulty(err):
			p.What, p.Repaired = err.Error(), false
			v.problem(p)
		default:
			return err
		}
		if f.MaxSeq > m.Through {
			p.What, p.Repaired = fmt.Sprintf("its rows reach commit %d, the log says that the partition does to %d", f.MaxSeq, m.Through), false
			v.problem(p)
		}
		v.counts(f)
	}
	slices.SortFunc(good, func(a, b *File) int { return cmp.Compare(a.MinSeq, b.MinSeq) })
	for i, a := range good {
		for _, b := range good[i+1:] {
			if b.MinSeq > a.MaxSeq {
				break // and so are the ones behind it
			}
			if bytes.Compare(a.MinKey, b.MaxKey) > 0 || bytes.Compare(b.MinKey, a.MaxKey) > 0 {
				continue
			}
			n, err := v.common(ctx, t, a, b)
			if err != nil {
				return err
			}
			if n > 0 {
				v.problem(Problem{Table: t.ref, User: user, Object: a.Name, What: fmt.Sprintf("%d of its rows are in %s too", n, b.Name)})
			}
		}
	}
	return nil
}

func (v *verifier) counts(f *File) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Files, v.report.Rows, v.report.Bytes = v.report.Files+1, v.report.Rows+f.Rows, v.report.Bytes+f.Bytes
}

// open is the reader of f; release ends its use and that of the local copy.
func (v *verifier) open(ctx context.Context, t *table, f *File) (r *reader, path string, release func(), err error) {
	s := v.l.schemaAt(t, f.SchemaVersion)
	if s == nil {
		return nil, "", nil, corruptf("schema version %d, which the table never had", f.SchemaVersion)
	}
	path, unhold, err := v.l.Local(ctx, f)
	if err != nil {
		return nil, "", nil, err
	}
	done := func() {
		v.l.cache.forgetKey(f.copyKey(t.bucket))
		unhold()
	}
	if r, err = openReader(path, newLayout(s)); err != nil {
		done()
		return nil, "", nil, err
	}
	return r, path, func() { r.file.Close(); done() }, nil
}

// file checks f and what is in it.
func (v *verifier) file(ctx context.Context, t *table, f *File) error {
	r, path, release, err := v.open(ctx, t, f)
	if err != nil {
		return err
	}
	defer release()
	if err := checkFooter(path, t, f, r.layout.schema); err != nil {
		return err
	}
	return r.check(ctx, f)
}

// common counts the versions that are in both files.
func (v *verifier) common(ctx context.Context, t *table, a, b *File) (n int, err error) {
	var errs [2]error
	var next [2]func() (*version, bool)
	for i, f := range []*File{a, b} {
		r, _, release, err := v.open(ctx, t, f)
		if err != nil {
			return 0, err
		}
		defer release()
		step, stop := iter.Pull(func(yield func(*version) bool) {
			errs[i] = r.versions(ctx, func(v *version) error {
				if !yield(v) {
					return context.Canceled
				}
				return nil
			})
		})
		defer stop()
		next[i] = step
	}
	x, okX := next[0]()
	y, okY := next[1]()
	for okX && okY {
		c := bytes.Compare(x.key, y.key)
		if c == 0 && x.seq == y.seq {
			n++
		}
		if c <= 0 {
			x, okX = next[0]()
		}
		if c >= 0 {
			y, okY = next[1]()
		}
	}
	if okX || okY { // stopped before its end: its error is about that
		return n, nil
	}
	return n, errors.Join(errs[:]...)
}

// orphans counts the files that look like ours and that no log names.
func (v *verifier) orphans(ctx context.Context) error {
	type place struct {
		bucket storagelocations.Bucket
		tables []func(string) bool
	}
	places := map[string]*place{}
	for _, t := range v.l.sorted() {
		p := places[t.root]
		if p == nil {
			p = &place{bucket: t.bucket}
			places[t.root] = p
		}
		_, ours := t.folders()
		p.tables = append(p.tables, ours)
	}
	for root, p := range places {
		named := v.l.referenced(root)
		for info, err := range p.bucket.List(ctx, "") {
			if err != nil {
				return fmt.Errorf("list %s: %w", p.bucket.URL(), err)
			}
			if named[info.Name] || !isPack(info.Name) && !batchName.MatchString(info.Name[strings.LastIndexByte(info.Name, '/')+1:]) {
				continue
			}
			if slices.ContainsFunc(p.tables, func(ours func(string) bool) bool { return ours(info.Name) }) {
				v.report.Orphans++
				v.report.OrphanSize += info.Size
			}
		}
	}
	return nil
}

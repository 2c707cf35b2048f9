package lake

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"kalamdb/storagelocations"
)

// A cache keeps local copies of committed files in one folder.
//
// The life of a copy: 1. fetched into <random>.part, by the first of all who want
// it; the others wait. 2. verified: its checksum is that of the manifest. 3. renamed to
// <random>.parquet and usable. 4. idle when nobody holds it: the copies idle for
// longest are removed once all copies together pass bytesMax. A copy that is held is
// never removed, so readers that hold more than bytesMax make the cache larger for a while.
//
// The random names keep SQL, which may read files of this folder, from naming
// another user's file. Nothing in the folder outlives the process: openCache removes
// what it finds, so a copy torn by a crash cannot be taken for a good one.
type cache struct {
	dir      string
	bytesMax int64
	partMin  int64 // bytes of a file that may be read in part; negative: none is

	requestBytes int64 // what a request is taken to cost

	mu      sync.Mutex // guards the fields below and those of every cached; no I/O under it but removing files
	copies  map[string]*cached
	idle    list.List // of *cached nobody holds, longest idle first
	readers list.List // of *cached with a reader, longest unused first
	parsed  int64     // bytes of the readers
	divided map[string]*divided
	bytes   int64

	counts cacheCounts
}

// A cached is one local copy.
type cached struct {
	name  string // bucket url and object name
	path  string
	bytes int64
	ready chan struct{} // closed when the copy is usable or err is set
	err   error

	holders int
	inIdle  *list.Element
	part    *part         // of a file that is read in part
	reader  *reader       // parsed for Find, nil until needed
	inRead  *list.Element // of readers
}

const (
	copySuffix = ".parquet"
	partSuffix = ".part"
)

// openCache makes the folder and removes the copies of an earlier process.
func openCache(dir string, bytesMax, partMin, requestBytes int64) (*cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if !isCopy(f.Name()) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
			return nil, err
		}
	}
	return &cache{dir: dir, bytesMax: bytesMax, partMin: partMin, requestBytes: requestBytes,
		copies: map[string]*cached{}, divided: map[string]*divided{}}, nil
}

// isCopy says whether name is one of ours, so that nothing else is ever removed.
func isCopy(name string) bool {
	base, ok := strings.CutSuffix(name, copySuffix)
	if !ok {
		base, ok = strings.CutSuffix(name, partSuffix)
	}
	b, err := hex.DecodeString(base)
	return ok && err == nil && len(b) == 16
}

func cacheKey(b storagelocations.Bucket, name string) string { return b.URL() + "\x00" + name }

// get holds the copy of f, fetching it if there is none. The caller releases it.
func (c *cache) get(ctx context.Context, b storagelocations.Bucket, f *File) (*cached, error) {
	return c.obtain(ctx, cacheKey(b, f.Name), func(ctx context.Context, path string) (fetched, error) {
		linked, err := c.fetch(ctx, b, f, path)
		return fetched{bytes: f.Bytes, got: f.Bytes, linked: linked}, err
	})
}

// A fetched says what a fetch has made.
type fetched struct {
	bytes  int64 // of the copy
	got    int64 // of them read from the bucket; 0: it was made from other copies
	linked bool  // nothing was read, the copy is a link
	// requests are how many of them there were; 0: one, for the whole object.
	requests int64
}

// obtain holds the copy with the given key. If there is none, fetch makes path a verified one.
func (c *cache) obtain(ctx context.Context, key string, fetch func(ctx context.Context, path string) (fetched, error)) (*cached, error) {
	tally := tallyOf(ctx)
	for {
		c.mu.Lock()
		e := c.copies[key]
		if e == nil {
			e = c.begin(key)
			c.mu.Unlock()
			made, err := fetch(ctx, e.path)
			e.bytes = made.bytes
			if err != nil && !isCorrupt(err) && ctx.Err() == nil {
				err = fmt.Errorf("%w: %w", ErrUnavailable, err)
			}
			c.end(e, err)
			if e.err != nil {
				return nil, e.err
			}
			if made.got > 0 {
				c.counts.missed(made)
				tally.missed(made)
			}
			return e, nil
		}
		c.hold(e)
		c.mu.Unlock()
		select {
		case <-e.ready:
		case <-ctx.Done():
			c.release(e)
			return nil, ctx.Err()
		}
		if e.err == nil {
			c.counts.hits.Add(1)
			tally.hit()
			return e, nil
		}
		err := e.err
		c.release(e)
		if isCorrupt(err) || errors.Is(err, storagelocations.ErrNotExist) {
			return nil, err
		}
		// Whoever fetched it may have been cancelled: try ourselves.
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// begin registers a copy that the caller fetches and holds. c.mu is held.
func (c *cache) begin(key string) *cached {
	e := &cached{name: key, path: filepath.Join(c.dir, randomName()+copySuffix), ready: make(chan struct{}), holders: 1}
	c.copies[key] = e
	return e
}

// end publishes how fetching e went.
func (c *cache) end(e *cached, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.err = err; err != nil {
		delete(c.copies, e.name)
		e.holders--
	} else {
		c.bytes += e.bytes
		c.evict()
	}
	close(e.ready)
}

// admit makes a copy of a file that was just written, so that it need not be fetched
// back. Folders of this machine are linked when they are first read instead.
func (c *cache) admit(b storagelocations.Bucket, f *fileEntry, body []byte) {
	if _, ok := b.LocalPath(f.Name); !ok && f.Bytes <= c.bytesMax/8 {
		c.put(cacheKey(b, f.Name), body)
	}
}

// put makes body the copy with the given key, unless there is one.
func (c *cache) put(key string, body []byte) {
	c.mu.Lock()
	if c.copies[key] != nil {
		c.mu.Unlock()
		return
	}
	e := c.begin(key)
	e.bytes = int64(len(body))
	c.mu.Unlock()
	err := os.WriteFile(e.path, body, 0o400)
	if err != nil {
		os.Remove(e.path)
	}
	c.end(e, err)
	if err == nil {
		c.release(e)
	}
}

func (c *cache) hold(e *cached) {
	e.holders++
	if e.inIdle != nil {
		c.idle.Remove(e.inIdle)
		e.inIdle = nil
	}
}

// release ends a hold.
func (c *cache) release(e *cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.holders--; e.holders == 0 && e.err == nil {
		if c.copies[e.name] != e {
			c.remove(e) // forgotten while it was held
			return
		}
		e.inIdle = c.idle.PushBack(e)
		c.evict()
	}
}

// evict removes idle copies until the rest fits. c.mu is held.
func (c *cache) evict() {
	for c.bytes > c.bytesMax && c.idle.Len() > 0 {
		e := c.idle.Front().Value.(*cached)
		delete(c.copies, e.name)
		c.remove(e)
		c.counts.evicted.Add(1)
	}
}

// remove deletes a copy nobody holds. c.mu is held.
func (c *cache) remove(e *cached) {
	if e.inIdle != nil {
		c.idle.Remove(e.inIdle)
		e.inIdle = nil
	}
	c.closeReader(e)
	c.partGone(e)
	c.bytes -= e.bytes
	os.Remove(e.path) // what stays is removed by the next openCache
}

// forget drops the copy of an object that is gone for good.
func (c *cache) forget(b storagelocations.Bucket, name string) { c.forgetKey(cacheKey(b, name)) }

func (c *cache) forgetKey(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.divided[key]; d != nil {
		delete(c.divided, key)
		c.forgetParts(d.parts...)
	}
	c.lose(key)
}

// forgetPartsOf drops the copies of parts of an object that is gone for good.
func (c *cache) forgetPartsOf(b storagelocations.Bucket, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	prefix := cacheKey(b, name) + "\x00"
	for key := range c.copies {
		if strings.HasPrefix(key, prefix) {
			c.lose(key)
		}
	}
}

// lose drops a copy if it is there. c.mu is held.
func (c *cache) lose(key string) {
	e := c.copies[key]
	if e == nil {
		return
	}
	select {
	case <-e.ready:
	default:
		return // being fetched, which fails by itself
	}
	delete(c.copies, key)
	if e.holders == 0 {
		c.remove(e)
	}
}

// fetch makes path a verified copy of f, which is linked if the bucket is a folder of the
// same file system.
func (c *cache) fetch(ctx context.Context, b storagelocations.Bucket, f *File, path string) (linked bool, err error) {
	part := strings.TrimSuffix(path, copySuffix) + partSuffix
	defer func() {
		if err != nil {
			os.Remove(part)
		}
	}()
	if local, ok := b.LocalPath(f.Name); ok {
		linkErr := os.Link(local, part)
		if errors.Is(linkErr, os.ErrNotExist) {
			return false, fmt.Errorf("get %s: %w", f.Name, storagelocations.ErrNotExist)
		}
		if linkErr == nil {
			if err := verifyFile(part, f); err != nil {
				return false, err
			}
			return true, os.Rename(part, path)
		}
		// Another file system, or one without links: copy.
	}
	r, _, err := b.Get(ctx, f.Name)
	if err != nil {
		return false, err
	}
	defer r.Close()
	out, err := os.OpenFile(part, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o400)
	if err != nil {
		return false, err
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, h), io.LimitReader(r, f.Bytes+1))
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return false, fmt.Errorf("get %s: %w", f.Name, err)
	}
	if err := checkSum(f, n, h.Sum(nil)); err != nil {
		return false, err
	}
	return false, os.Rename(part, path)
}

func verifyFile(path string, f *File) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	h := sha256.New()
	n, err := io.Copy(h, in)
	if err != nil {
		return err
	}
	return checkSum(f, n, h.Sum(nil))
}

func checkSum(f *File, n int64, hash []byte) error {
	if n != f.Bytes {
		return fmt.Errorf("%s: %w: %d bytes, expected %d", f.Name, ErrCorrupt, n, f.Bytes)
	}
	if got := hex.EncodeToString(hash); got != f.Checksum {
		return fmt.Errorf("%s: %w: checksum %s, expected %s", f.Name, ErrCorrupt, got, f.Checksum)
	}
	return nil
}

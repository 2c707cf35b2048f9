package lake

import (
	"context"
	"sync/atomic"
)

// CacheStats are the numbers of the local copies since the Lake was opened.
type CacheStats struct {
	Hits    int64 // files that were there when somebody wanted them
	Misses  int64 // files that were not
	Parts   int64 // of these misses: parts of files fetched
	Gets    int64 // requests for files and parts of files; the files of the other misses were linked
	Fetched int64 // bytes that came with them
	Evicted int64 // copies removed to make room

	Files, Bytes, BytesMax int64 // what is there now
}

// CacheStats are those of this moment.
func (l *Lake) CacheStats() CacheStats {
	c := l.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	n := &c.counts
	return CacheStats{
		Hits: n.hits.Load(), Misses: n.misses.Load(), Parts: n.parts.Load(), Gets: n.gets.Load() + n.partGets.Load(),
		Fetched: n.fetched.Load() + n.partFetched.Load(), Evicted: n.evicted.Load(),
		Files: int64(len(c.copies)), Bytes: c.bytes, BytesMax: c.bytesMax,
	}
}

// cacheCounts are the sums behind CacheStats.
type cacheCounts struct {
	hits, misses, gets, fetched, evicted atomic.Int64
	parts, partGets, partFetched         atomic.Int64
}

func (n *cacheCounts) missed(f fetched) {
	n.misses.Add(1)
	if f.requests > 0 {
		n.parts.Add(1)
		n.partGets.Add(f.requests)
		n.partFetched.Add(f.got)
		return
	}
	if !f.linked {
		n.gets.Add(1)
		n.fetched.Add(f.got)
	}
}

// asked counts requests for what says which part of a file is needed.
func (n *cacheCounts) asked(q *requests) {
	n.partGets.Add(q.n.Load())
	n.partFetched.Add(q.bytes.Load())
}

// A Tally counts which files one statement found in the cache and which it had to fetch.
type Tally struct{ counts cacheCounts }

type tallyKey struct{}

// Tallied is a context whose use of files is counted.
func Tallied(ctx context.Context) (context.Context, *Tally) {
	t := &Tally{}
	return context.WithValue(ctx, tallyKey{}, t), t
}

func tallyOf(ctx context.Context) *Tally {
	t, _ := ctx.Value(tallyKey{}).(*Tally)
	return t
}

func (t *Tally) hit() {
	if t != nil {
		t.counts.hits.Add(1)
	}
}

func (t *Tally) asked(q *requests) {
	if t != nil {
		t.counts.asked(q)
	}
}

func (t *Tally) missed(f fetched) {
	if t != nil {
		t.counts.missed(f)
	}
}

// Counts are the files that were in the cache, those that were linked into it from a
// folder of this machine, and those that were read from the bucket, with their bytes.
func (t *Tally) Counts() (cached, linked, fetched, bytes int64) {
	n := &t.counts
	return n.hits.Load(), n.misses.Load() - n.gets.Load() - n.parts.Load(), n.gets.Load(), n.fetched.Load()
}

// Parts are the files of which parts were fetched, and the requests for parts of files, with their bytes.
func (t *Tally) Parts() (files, requests, bytes int64) {
	n := &t.counts
	return n.parts.Load(), n.partGets.Load(), n.partFetched.Load()
}

package lake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"

	"kalamdb/storagelocations"
	"kalamdb/storagelocations/buckettest"
)

// A flakyBucket does what a Trace cannot, each thing as often as it says:
//
//   - A put is lost on the way: the caller gets an error, and the put happens later. A late
//     put keeps its condition: no log survives a store that forgets the order of puts and
//     their conditions at once, which is why Probe refuses stores without conditions.
//   - A put whose condition holds happens and is answered with ErrPrecondition, as if a retry
//     had met the caller's own object.
//   - The condition of a put is ignored.
//   - A body ends early, with an error or as if it ended there.
type flakyBucket struct {
	storagelocations.Bucket
	often float64

	mu      sync.Mutex // guards the fields below; calls run in parallel
	rnd     *rand.Rand
	pending []func()
	cut     int // bodies that ended early without an error
}

func (b *flakyBucket) Put(ctx context.Context, name string, body []byte, cond storagelocations.Cond) (storagelocations.Info, error) {
	b.mu.Lock()
	x := b.rnd.Float64()
	late, own, ignored := x < b.often, x < 2*b.often, x < 3*b.often
	if late {
		body := slices.Clone(body)
		b.pending = append(b.pending, func() { b.Bucket.Put(context.Background(), name, body, cond) })
	}
	b.mu.Unlock()
	switch {
	case late:
		return storagelocations.Info{}, fmt.Errorf("put %s: %w", name, buckettest.ErrInjected)
	case own && cond != storagelocations.Cond{}:
		if _, err := b.Bucket.Put(ctx, name, body, cond); err != nil {
			return storagelocations.Info{}, err
		}
		return storagelocations.Info{}, fmt.Errorf("put %s: %w", name, storagelocations.ErrPrecondition)
	case ignored && !own:
		cond = storagelocations.Cond{}
	}
	return b.Bucket.Put(ctx, name, body, cond)
}

// land lets n of the late puts happen, all of them if n is negative, in any order.
func (b *flakyBucket) land(n int) {
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

func (b *flakyBucket) Get(ctx context.Context, name string) (io.ReadCloser, storagelocations.Info, error) {
	r, info, err := b.Bucket.Get(ctx, name)
	if err == nil {
		r, err = b.shorten(r)
	}
	return r, info, err
}

func (b *flakyBucket) GetRange(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	r, err := b.Bucket.GetRange(ctx, name, off, n)
	if err == nil {
		r, err = b.shorten(r)
	}
	return r, err
}

// shorten sometimes makes a body end early.
func (b *flakyBucket) shorten(r io.ReadCloser) (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rnd.Float64() >= b.often {
		return r, nil
	}
	body, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || len(body) == 0 {
		return io.NopCloser(bytes.NewReader(nil)), err
	}
	part := io.Reader(bytes.NewReader(body[:b.rnd.IntN(len(body))]))
	if b.rnd.IntN(2) == 0 {
		return io.NopCloser(io.MultiReader(part, failing{})), nil
	}
	b.cut++
	return io.NopCloser(part), nil
}

// injected says whether err is the fault of the bucket.
func (b *flakyBucket) injected(err error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return errors.Is(err, buckettest.ErrInjected) || b.cut > 0 && (errors.Is(err, io.ErrUnexpectedEOF) || isCorrupt(err))
}

// behave sets how often things go wrong from here on.
func (b *flakyBucket) behave(often float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.often, b.cut = often, 0
}

// failing is the rest of a body whose connection broke.
type failing struct{}

func (failing) Read([]byte) (int, error) {
	return 0, fmt.Errorf("the rest of a body: %w", buckettest.ErrInjected)
}

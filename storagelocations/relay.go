package storagelocations

import (
	"context"
	"io"
	"iter"
	"strings"
	"sync"
)

// A Relay is a bucket that is opened by the first operation that needs it. While it
// cannot be opened its operations fail, and each tries again: a place out of reach keeps
// no server from starting. After [Relay.Reopen] operations go to a bucket opened anew;
// those under way end in the old one.
type Relay struct {
	url  string
	open func(context.Context) (Bucket, error)

	mu     sync.Mutex // guards the fields below; nothing blocks under it
	bucket Bucket     // nil until it is opened
	opens  int        // times that Reopen was called
}

// NewRelay makes a Relay to the bucket at url, which open opens.
func NewRelay(url string, open func(context.Context) (Bucket, error)) *Relay {
	if l, err := parseURL(url); err == nil {
		url = l.String()
	}
	return &Relay{url: url, open: open}
}

// Reopen makes the next operation open the bucket again.
func (r *Relay) Reopen() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bucket = nil
	r.opens++
}

func (r *Relay) to(ctx context.Context) (Bucket, error) {
	r.mu.Lock()
	b, opens := r.bucket, r.opens
	r.mu.Unlock()
	if b != nil {
		return b, nil
	}
	b, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.opens == opens { // otherwise it may be the old one already
		r.bucket = b
	}
	return b, nil
}

// Get is that of the bucket.
func (r *Relay) Get(ctx context.Context, name string) (io.ReadCloser, Info, error) {
	b, err := r.to(ctx)
	if err != nil {
		return nil, Info{}, err
	}
	return b.Get(ctx, name)
}

// GetRange is that of the bucket.
func (r *Relay) GetRange(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	b, err := r.to(ctx)
	if err != nil {
		return nil, err
	}
	return b.GetRange(ctx, name, off, n)
}

// Put is that of the bucket.
func (r *Relay) Put(ctx context.Context, name string, body []byte, cond Cond) (Info, error) {
	b, err := r.to(ctx)
	if err != nil {
		return Info{}, err
	}
	return b.Put(ctx, name, body, cond)
}

// List is that of the bucket.
func (r *Relay) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		b, err := r.to(ctx)
		if err != nil {
			yield(Info{}, err)
			return
		}
		b.List(ctx, prefix)(yield)
	}
}

// Delete is that of the bucket.
func (r *Relay) Delete(ctx context.Context, name string) error {
	b, err := r.to(ctx)
	if err != nil {
		return err
	}
	return b.Delete(ctx, name)
}

// LocalPath is that of the bucket.
func (r *Relay) LocalPath(name string) (string, bool) {
	if strings.HasPrefix(r.url, "s3://") {
		return "", false // also before it is opened
	}
	b, err := r.to(context.Background())
	if err != nil {
		return "", false
	}
	return b.LocalPath(name)
}

// URL is that of the bucket.
func (r *Relay) URL() string { return r.url }

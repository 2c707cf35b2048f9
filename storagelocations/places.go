package storagelocations

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"sync"
)

// ErrURL says that a text is not the url of a bucket.
var ErrURL = errors.New("invalid storage url")

// A location is a storage url taken apart: s3://bucket/path, or file:///path with
// an empty bucket. path has no slash at either end.
type location struct {
	bucket, path string
}

func parseURL(s string) (location, error) {
	if rest, ok := strings.CutPrefix(s, "s3://"); ok {
		bucket, path, _ := strings.Cut(rest, "/")
		if strings.Contains(bucket, "@") { // the text may have a password: it is not repeated
			return location{}, fmt.Errorf("%w: it has an @ before the path, expected s3://bucket/prefix; keys are never part of it", ErrURL)
		}
		if bucket == "" || strings.ContainsAny(bucket, " \t\r\n@:?#%\\") {
			return location{}, fmt.Errorf("%w: %q, expected s3://bucket/prefix", ErrURL, s)
		}
		return location{bucket, strings.TrimSuffix(path, "/")}, nil
	}
	path, ok := strings.CutPrefix(s, "file://")
	if (!ok && strings.Contains(s, "://")) || !strings.HasPrefix(path, "/") {
		return location{}, fmt.Errorf("%w: %q, expected s3://bucket/prefix, file:///path or /path", ErrURL, s)
	}
	if path = strings.Trim(path, "/"); path == "" {
		return location{}, fmt.Errorf("%w: %q is the root of the file system, expected a folder", ErrURL, s)
	}
	return location{"", path}, nil
}

func (l location) String() string {
	if l.bucket == "" {
		return "file:///" + l.path
	}
	return strings.TrimSuffix("s3://"+l.bucket+"/"+l.path, "/")
}

// Options configure [NewPlaces].
type Options struct {
	S3 S3Options // for s3:// urls; Bucket and Prefix come from the url
}

// A Place is where a bucket is and how to reach it.
type Place struct {
	URL string    // s3://bucket/prefix, file:///abs/path or /abs/path
	S3  S3Options // of an s3:// url; what is empty is that of [Options]
}

// Places opens buckets. Each place is opened once.
type Places struct {
	options Options

	mu      sync.Mutex // guards the fields below; nothing blocks under it
	buckets map[placeKey]Bucket
	clients map[S3Options]s3Client // without Bucket and Prefix
}

type placeKey struct {
	location
	s3 S3Options // the zero value for a folder
}

// NewPlaces makes Places that open buckets as o says.
func NewPlaces(o Options) *Places {
	o.S3.Bucket, o.S3.Prefix = "", ""
	return &Places{options: o, buckets: map[placeKey]Bucket{}, clients: map[S3Options]s3Client{}}
}

// Bucket is [Places.At] without S3 options of its own.
func (p *Places) Bucket(ctx context.Context, url string) (Bucket, error) {
	return p.At(ctx, Place{URL: url})
}

// At is the bucket at a place. A folder that does not exist is created; of an S3 bucket
// nothing is asked yet but credentials that the place refers to.
func (p *Places) At(ctx context.Context, at Place) (Bucket, error) {
	l, err := parseURL(at.URL)
	if err != nil {
		return nil, err
	}
	if l.path != "" {
		if err := checkName(l.path); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrURL, err)
		}
	}
	key := placeKey{location: l}
	if l.bucket != "" {
		key.s3 = at.S3.over(p.options.S3)
		key.s3.Bucket, key.s3.Prefix = "", ""
	}
	p.mu.Lock()
	b, ok := p.buckets[key]
	p.mu.Unlock()
	if ok {
		return b, nil
	}
	if l.bucket == "" {
		b, err = NewDir(filepath.FromSlash("/" + path.Clean(l.path)))
	} else {
		b, err = p.openS3(ctx, key)
	}
	if err != nil {
		return nil, fmt.Errorf("open storage %s: %w", l, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if other, ok := p.buckets[key]; ok { // opened meanwhile
		return other, nil
	}
	p.buckets[key] = b
	return b, nil
}

func (p *Places) openS3(ctx context.Context, key placeKey) (Bucket, error) {
	p.mu.Lock()
	c, ok := p.clients[key.s3]
	p.mu.Unlock()
	if !ok {
		made, err := newS3Client(ctx, key.s3)
		if err != nil {
			return nil, err
		}
		p.mu.Lock()
		if c, ok = p.clients[key.s3]; !ok {
			c = made
			p.clients[key.s3] = c
		}
		p.mu.Unlock()
	}
	return c.open(key.bucket, key.path)
}

// Close ends idle connections. No bucket that came from p may be in use.
func (p *Places) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.clients {
		c.http.CloseIdleConnections()
	}
	clear(p.clients)
	clear(p.buckets)
}

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

// Places opens buckets by url. Each url is opened once.
type Places struct {
	options Options

	mu      sync.Mutex // guards the fields below; opening a bucket under it asks the network for nothing but credentials
	buckets map[location]Bucket
	s3      *s3Client // of all S3 buckets, nil before the first
}

// NewPlaces makes Places that open buckets as o says.
func NewPlaces(o Options) *Places {
	return &Places{options: o, buckets: map[location]Bucket{}}
}

// Bucket is the bucket at url: s3://bucket/prefix, file:///abs/path or /abs/path.
// A folder that does not exist is created.
func (p *Places) Bucket(ctx context.Context, url string) (Bucket, error) {
	l, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	if l.path != "" {
		if err := checkName(l.path); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrURL, err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if b, ok := p.buckets[l]; ok {
		return b, nil
	}
	var b Bucket
	if l.bucket == "" {
		b, err = NewDir(filepath.FromSlash("/" + path.Clean(l.path)))
	} else {
		b, err = p.openS3(ctx, l)
	}
	if err != nil {
		return nil, fmt.Errorf("open storage %s: %w", l, err)
	}
	p.buckets[l] = b
	return b, nil
}

func (p *Places) openS3(ctx context.Context, l location) (Bucket, error) {
	if p.s3 == nil {
		c, err := newS3Client(ctx, p.options.S3)
		if err != nil {
			return nil, err
		}
		p.s3 = &c
	}
	return p.s3.open(l.bucket, l.path)
}

// Close ends idle connections. No bucket that came from p may be in use.
func (p *Places) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.s3 != nil {
		p.s3.http.CloseIdleConnections()
	}
	p.s3 = nil
	clear(p.buckets)
}

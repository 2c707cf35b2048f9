package storagelocations

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

var memoryBuckets atomic.Int64

type memory struct {
	url string

	mu      sync.Mutex // guards the fields below; nothing blocks under it
	objects map[string]memoryObject
	puts    uint64
}

// A memoryObject never changes: a put replaces it.
type memoryObject struct {
	body []byte
	info Info
}

// NewMemory makes an empty bucket that lives as long as the process, for tests.
func NewMemory() Bucket {
	return &memory{
		url:     fmt.Sprintf("memory:%d", memoryBuckets.Add(1)),
		objects: map[string]memoryObject{},
	}
}

func (m *memory) find(ctx context.Context, name string) (memoryObject, error) {
	if err := ctx.Err(); err != nil {
		return memoryObject{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[name]
	if !ok {
		return memoryObject{}, fmt.Errorf("get %s: %w", name, ErrNotExist)
	}
	return o, nil
}

func (m *memory) Get(ctx context.Context, name string) (io.ReadCloser, Info, error) {
	if err := checkName(name); err != nil {
		return nil, Info{}, err
	}
	o, err := m.find(ctx, name)
	if err != nil {
		return nil, Info{}, err
	}
	return io.NopCloser(bytes.NewReader(o.body)), o.info, nil
}

func (m *memory) GetRange(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if err := checkRange(name, off, n); err != nil {
		return nil, err
	}
	o, err := m.find(ctx, name)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(io.NewSectionReader(bytes.NewReader(o.body), off, n)), nil
}

func (m *memory) Put(ctx context.Context, name string, body []byte, cond Cond) (Info, error) {
	if err := checkPut(name, cond); err != nil {
		return Info{}, err
	}
	if err := ctx.Err(); err != nil {
		return Info{}, err
	}
	body = bytes.Clone(body)
	m.mu.Lock()
	defer m.mu.Unlock()
	old, exists := m.objects[name]
	if cond.IfNoneMatch && exists || cond.IfMatch != "" && (!exists || old.info.ETag != cond.IfMatch) {
		return Info{}, fmt.Errorf("put %s: %w", name, ErrPrecondition)
	}
	m.puts++
	info := Info{Name: name, Size: int64(len(body)), ETag: strconv.FormatUint(m.puts, 10), Modified: time.Now()}
	m.objects[name] = memoryObject{body, info}
	return info, nil
}

func (m *memory) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		m.mu.Lock()
		objects := maps.Clone(m.objects)
		m.mu.Unlock()
		for _, name := range slices.Sorted(maps.Keys(objects)) {
			if err := ctx.Err(); err != nil {
				yield(Info{}, err)
				return
			}
			if strings.HasPrefix(name, prefix) && !yield(objects[name].info, nil) {
				return
			}
		}
	}
}

func (m *memory) Delete(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, name)
	return nil
}

func (m *memory) LocalPath(string) (string, bool) { return "", false }

func (m *memory) URL() string { return m.url }

package storagelocations_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"kalamdb/storagelocations"
	"kalamdb/storagelocations/buckettest"
)

// A lossy stands between a bucket and its store. It carries every request there,
// and drops the connection in the place of the next answers that lose counts.
type lossy struct {
	*httptest.Server
	lose     atomic.Int64
	requests atomic.Int64 // puts that reached the store
}

func newLossy(t *testing.T, o *storagelocations.S3Options) *lossy {
	t.Helper()
	target, err := url.Parse(o.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	l := &lossy{}
	transport := &http.Transport{}
	proxy := &httputil.ReverseProxy{
		Transport: transport,
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host }, // the signature covers the host
	}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			l.requests.Add(1)
		}
		if l.lose.Add(-1) >= 0 {
			proxy.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { l.Close(); transport.CloseIdleConnections() })
	o.Endpoint = l.URL
	return l
}

// A conditional put that happened says so, however many of its replies were lost:
// the SDK's own retry is refused by the object the first attempt has written.
func TestLostReplies(t *testing.T) {
	t.Setenv("AWS_MAX_ATTEMPTS", "2")
	o := buckettest.StartMinIO(t)
	o.Prefix += "/lost"
	net := newLossy(t, &o)
	b := newS3(t, o)
	ctx := t.Context()
	for _, lost := range []int64{1, 2} { // 2: all of the SDK's attempts
		net.requests.Store(0)
		net.lose.Store(lost)
		name := "new" + strings.Repeat("x", int(lost))
		info, err := b.Put(ctx, name, []byte("1"), storagelocations.Cond{IfNoneMatch: true})
		if err != nil {
			t.Fatalf("%d replies lost: %v", lost, err)
		}
		if got := net.requests.Load(); got < 2 {
			t.Fatalf("%d replies lost, but only %d puts reached the store: nothing was tested", lost, got)
		}
		net.lose.Store(lost)
		if _, err = b.Put(ctx, name, []byte("2"), storagelocations.Cond{IfMatch: info.ETag}); err != nil {
			t.Fatalf("overwrite, %d replies lost: %v", lost, err)
		}
		net.lose.Store(lost)
		_, err = b.Put(ctx, name, []byte("3"), storagelocations.Cond{IfMatch: info.ETag})
		if err == nil || lost == 1 && !errors.Is(err, storagelocations.ErrPrecondition) {
			t.Fatalf("another's object, %d replies lost: %v", lost, err)
		}
	}
	// Nothing at all comes back: the error must not claim to know.
	net.lose.Store(1000)
	_, err := b.Put(ctx, "silence", []byte("1"), storagelocations.Cond{IfNoneMatch: true})
	if err == nil || errors.Is(err, storagelocations.ErrPrecondition) || errors.Is(err, storagelocations.ErrNotExist) {
		t.Fatalf("silence: %v", err)
	}
	net.lose.Store(0)
	if _, _, err := b.Get(ctx, "silence"); err != nil {
		t.Fatalf("the put had its effect, but: %v", err)
	}
}

// An error of the store that is not about the object is never ErrNotExist.
func TestS3Errors(t *testing.T) {
	o := buckettest.StartMinIO(t)
	ctx := t.Context()
	noBucket, badKey := o, o
	noBucket.Bucket = "another-bucket"
	badKey.SecretKey = "wrong-secret-key"
	for name, o := range map[string]storagelocations.S3Options{"no bucket": noBucket, "wrong key": badKey} {
		if name == "wrong key" && o.AccessKey == "" {
			continue // the keys come from the environment
		}
		b := newS3(t, o)
		_, _, getErr := b.Get(ctx, "a")
		_, putErr := b.Put(ctx, "a", nil, storagelocations.Cond{})
		_, createErr := b.Put(ctx, "a", nil, storagelocations.Cond{IfNoneMatch: true})
		_, matchErr := b.Put(ctx, "a", nil, storagelocations.Cond{IfMatch: `"abc"`})
		for i, err := range []error{getErr, putErr, createErr, matchErr, storagelocations.Probe(ctx, b)} {
			if err == nil || errors.Is(err, storagelocations.ErrNotExist) || errors.Is(err, storagelocations.ErrPrecondition) {
				t.Errorf("%s, call %d: %v", name, i, err)
			}
		}
	}
}

func TestS3OptionErrors(t *testing.T) {
	for name, o := range map[string]storagelocations.S3Options{
		"bucket is empty": {}, "checksums": {Bucket: "b", Checksums: "sometimes"}, "endpoint": {Bucket: "b", Endpoint: "localhost:9000"}, "prefix": {Bucket: "b", Prefix: "a/../b"},
	} {
		if _, err := storagelocations.NewS3(t.Context(), o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An endpoint and keys from the AWS environment are enough, with either kind of checksums.
func TestS3FromEnvironment(t *testing.T) {
	o := buckettest.StartMinIO(t)
	t.Setenv("AWS_ENDPOINT_URL_S3", strings.Replace(o.Endpoint, "127.0.0.1", "localhost", 1))
	if o.AccessKey != "" {
		t.Setenv("AWS_ACCESS_KEY_ID", o.AccessKey)
		t.Setenv("AWS_SECRET_ACCESS_KEY", o.SecretKey)
	}
	for _, checksums := range []string{"", "when_supported", "when_required"} {
		places := storagelocations.NewPlaces(storagelocations.Options{S3: storagelocations.S3Options{Checksums: checksums}})
		defer places.Close()
		target := strings.TrimSuffix("s3://"+o.Bucket+"/"+o.Prefix, "/") + "/env"
		b, err := places.Bucket(t.Context(), target+"/")
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := places.Bucket(t.Context(), target); again != b || b.URL() != target {
			t.Errorf("the same place twice is %v and %v (%s)", again, b, b.URL())
		}
		if err := storagelocations.Probe(t.Context(), b); err != nil {
			t.Error(err)
		}
	}
}

// A store that ignores conditions is found out.
func TestProbeFindsUnsafeStores(t *testing.T) {
	for name, spoil := range map[string]func(*storagelocations.Cond){
		"If-None-Match": func(c *storagelocations.Cond) { c.IfNoneMatch = false },
		"If-Match":      func(c *storagelocations.Cond) { c.IfMatch = "" },
	} {
		err := storagelocations.Probe(t.Context(), careless{storagelocations.NewMemory(), spoil})
		if !errors.Is(err, storagelocations.ErrUnsafe) || !strings.Contains(err.Error(), name) {
			t.Errorf("ignoring %s: %v", name, err)
		}
	}
	for _, op := range []buckettest.Op{buckettest.Get, buckettest.Range, buckettest.PutIf, buckettest.List, buckettest.Delete} {
		b := buckettest.NewTrace(storagelocations.NewMemory())
		b.Fail(op, "", 1)
		if err := storagelocations.Probe(t.Context(), b); !errors.Is(err, buckettest.ErrInjected) || errors.Is(err, storagelocations.ErrUnsafe) {
			t.Errorf("a failing %s: %v", op, err)
		}
	}
}

type careless struct {
	storagelocations.Bucket
	spoil func(*storagelocations.Cond)
}

func (c careless) Put(ctx context.Context, name string, body []byte, cond storagelocations.Cond) (storagelocations.Info, error) {
	c.spoil(&cond)
	return c.Bucket.Put(ctx, name, body, cond)
}

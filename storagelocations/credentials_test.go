package storagelocations_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kalamdb/storagelocations"
	"kalamdb/storagelocations/buckettest"
)

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Each kind of reference leads to the keys of a store that knows no others.
func TestCredentials(t *testing.T) {
	o := buckettest.StartOwnMinIO(t)
	key, secret := o.AccessKey, o.SecretKey
	o.AccessKey, o.SecretKey = "", ""
	// What the SDK would find by itself is wrong.
	t.Setenv("AWS_ACCESS_KEY_ID", "wrong")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	t.Setenv("COLD_ACCESS_KEY_ID", key)
	t.Setenv("COLD_SECRET_ACCESS_KEY", secret)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", writeFile(t, fmt.Sprintf("[other]\naws_access_key_id = x\naws_secret_access_key = y\n[cold-1]\naws_access_key_id = %s\naws_secret_access_key = %s\n", key, secret)))
	document := fmt.Sprintf(`{"Code":"Success","AccessKeyId":%q,"SecretAccessKey":%q,"Token":"","Expiration":%q}`, key, secret, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	machine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/container":
			if r.Header.Get("Authorization") != "the-token" {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			fmt.Fprint(w, document)
		case "/latest/api/token":
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
			fmt.Fprint(w, "token")
		case "/latest/meta-data/iam/security-credentials/":
			fmt.Fprint(w, "a-role")
		case "/latest/meta-data/iam/security-credentials/a-role":
			fmt.Fprint(w, document)
		default:
			http.NotFound(w, r)
		}
	}))
	defer machine.Close()
	for name, c := range map[string]struct {
		ref string
		env map[string]string
	}{
		"environment":         {ref: "env:COLD"},
		"profile":             {ref: "profile:cold-1"},
		"file":                {ref: "file:" + writeFile(t, fmt.Sprintf("# keys\n[default]\naws_access_key_id = %s\naws_secret_access_key=%s\n", key, secret))},
		"file of environment": {ref: "file:" + writeFile(t, fmt.Sprintf("export AWS_ACCESS_KEY_ID=%q\nAWS_SECRET_ACCESS_KEY='%s'\n", key, secret))},
		"container":           {ref: "iam", env: map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": machine.URL + "/container", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "the-token"}},
		"instance":            {ref: "iam", env: map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": machine.URL}},
	} {
		t.Run(name, func(t *testing.T) {
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			o := o
			o.Credentials = c.ref
			if err := storagelocations.Probe(t.Context(), newS3(t, o)); err != nil {
				t.Error(err)
			}
		})
	}
	if err := storagelocations.Probe(t.Context(), newS3(t, o)); err == nil || !strings.Contains(err.Error(), "write: put") || !strings.Contains(err.Error(), "403") {
		t.Errorf("with the keys that the SDK finds: %v", err)
	}
}

// A reference that leads nowhere is found when the bucket is opened, and the error says
// where it led and nothing that is there.
func TestCredentialsMissing(t *testing.T) {
	t.Setenv("HALF_ACCESS_KEY_ID", "hush")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	for ref, want := range map[string]string{
		"env:NOWHERE_AT_ALL":    "NOWHERE_AT_ALL_ACCESS_KEY_ID is not set",
		"env:HALF":              "HALF_SECRET_ACCESS_KEY is not set",
		"profile:nobody-has-it": "no AWS file",
		"file:/nowhere/at/all":  "no such file",
		"iam":                   "iam",
		"file:" + writeFile(t, "aws_access_key_id = hush\n"):                                                                 "does not have both",
		"file:" + writeFile(t, "[a]\naws_access_key_id = hush\naws_secret_access_key = hush\n[b]\naws_access_key_id = hush"): "several sections",
		"file:" + writeFile(t, strings.Repeat("hush", 20_000)):                                                               "larger than",
	} {
		_, err := storagelocations.NewS3(t.Context(), storagelocations.S3Options{Bucket: "b", Credentials: ref})
		if !errors.Is(err, storagelocations.ErrCredentials) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v, expected something with %q", ref, err, want)
		}
	}
}

func TestCheckCredentials(t *testing.T) {
	for _, ref := range []string{"", "iam", "env:A", "env:MY_STORE_2", "profile:default", "profile:me@work", "file:/run/secrets/s3"} {
		if err := storagelocations.CheckCredentials(ref); err != nil {
			t.Errorf("%q: %v", ref, err)
		}
	}
	for _, ref := range []string{"AKIAIOSFODNN7EXAMPLE", "hush:hush", "env:", "env:2A", "env:A B", "env:A=hush", "profile:", "profile:a\nb", "profile:-x", "file:", "file:relative",
		"file:/a/../b", "file:/a\x00", "iam:hush", "IAM", " iam", "env:" + strings.Repeat("A", 101)} {
		if err := storagelocations.CheckCredentials(ref); !errors.Is(err, storagelocations.ErrCredentials) || strings.Contains(err.Error(), "hush") || strings.Contains(err.Error(), "AKIA") {
			t.Errorf("%q: %v", ref, err)
		}
	}
}

// One url at two stores is two places, and what a place does not say is that of all.
func TestPlaces(t *testing.T) {
	one, two := buckettest.StartOwnMinIO(t), buckettest.StartOwnMinIO(t)
	t.Setenv("TWO_ACCESS_KEY_ID", two.AccessKey)
	t.Setenv("TWO_SECRET_ACCESS_KEY", two.SecretKey)
	places := storagelocations.NewPlaces(storagelocations.Options{S3: one})
	defer places.Close()
	url := "s3://" + one.Bucket + "/p"
	at := func(o storagelocations.S3Options) storagelocations.Bucket {
		t.Helper()
		b, err := places.At(t.Context(), storagelocations.Place{URL: url, S3: o})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	first, second := at(storagelocations.S3Options{}), at(storagelocations.S3Options{Endpoint: two.Endpoint, Credentials: "env:TWO"})
	plain, err := places.Bucket(t.Context(), url+"/")
	if err != nil || plain != first || first == second || at(storagelocations.S3Options{Endpoint: two.Endpoint, Credentials: "env:TWO"}) != second {
		t.Fatalf("buckets %p %p %p, %v", plain, first, second, err)
	}
	for _, b := range []storagelocations.Bucket{first, second} {
		if err := storagelocations.Probe(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		for info, err := range b.List(t.Context(), "") {
			t.Fatalf("%s is there already, %v", info.Name, err)
		}
		if _, err := b.Put(t.Context(), "x", []byte("1"), storagelocations.Cond{IfNoneMatch: true}); err != nil {
			t.Fatal(err)
		}
	}
	for _, options := range []map[string]string{{"endpoint": "ftp://h"}, {"endpoint": "http://"}, {"endpoint": "http://a:hush@h"}, {"endpoint": "http://h?x=hush"}, {"sse": "x"}, {"sse": "AES256", "sse_kms_key_id": "k"},
		{"checksums": "x"}, {"path_style": "x"}, {"no_such_option": "x"}} {
		if _, err := storagelocations.ParseS3Options(options); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%v: %v", options, err)
		}
	}
	if o, err := storagelocations.ParseS3Options(map[string]string{"endpoint": "https://h/s3", "path_style": "false", "sse": "aws:kms", "sse_kms_key_id": "k", "region": ""}); err != nil ||
		o != (storagelocations.S3Options{Endpoint: "https://h/s3", HostStyle: true, SSE: "aws:kms", SSEKMSKeyID: "k"}) {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestRelay(t *testing.T) {
	buckettest.Run(t, func(t *testing.T) storagelocations.Bucket {
		b := newDir(t)
		return storagelocations.NewRelay(b.URL(), func(context.Context) (storagelocations.Bucket, error) { return b, nil })
	})
}

// A bucket that cannot be opened fails its operations until it can; Reopen opens another.
func TestRelayOpens(t *testing.T) {
	ctx := t.Context()
	var next atomic.Pointer[storagelocations.Bucket]
	closed := errors.New("closed for now")
	opens := 0
	r := storagelocations.NewRelay("file:///somewhere/", func(context.Context) (storagelocations.Bucket, error) {
		opens++
		if b := next.Load(); b != nil {
			return *b, nil
		}
		return nil, closed
	})
	all := func() []error {
		_, _, getErr := r.Get(ctx, "a")
		_, rangeErr := r.GetRange(ctx, "a", 0, 1)
		_, putErr := r.Put(ctx, "b", nil, storagelocations.Cond{})
		var listErr error
		for _, err := range r.List(ctx, "") {
			listErr = err
		}
		return []error{getErr, rangeErr, putErr, listErr, r.Delete(ctx, "b")}
	}
	for i, err := range all() {
		if !errors.Is(err, closed) || errors.Is(err, storagelocations.ErrNotExist) {
			t.Errorf("call %d of what cannot be opened: %v", i, err)
		}
	}
	if _, local := r.LocalPath("a"); local || r.URL() != "file:///somewhere" {
		t.Errorf("before it is open: a local path, or the url %s", r.URL())
	}
	for _, body := range []string{"1", "2"} {
		b := storagelocations.NewMemory()
		put := []byte(body)
		if _, err := b.Put(ctx, "a", put, storagelocations.Cond{}); err != nil {
			t.Fatal(err)
		}
		next.Store(&b)
		r.Reopen()
		opens = 0
		for i, err := range all() {
			if err != nil {
				t.Errorf("call %d: %v", i, err)
			}
		}
		got, _, err := r.Get(ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		read := make([]byte, 2)
		n, _ := got.Read(read)
		if got.Close(); string(read[:n]) != body || opens != 1 {
			t.Errorf("it has %q after %d opens, want %s after one", read[:n], opens, body)
		}
	}
}

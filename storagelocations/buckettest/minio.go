package buckettest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kalamdb/storagelocations"
)

const (
	storeReadyTimeout = 30 * time.Second
	minioBucket       = "kalamdb"

	// SecondBucket is another bucket in a MinIO of the test's own.
	SecondBucket = "kalamdb-2"
)

// StartMinIO returns an empty place in an S3 store that lives as long as the test.
//
// With KALAMDB_TEST_S3_ENDPOINT set that store is used: its bucket
// KALAMDB_TEST_S3_BUCKET (kalamdb if unset), with the credentials of the AWS
// environment. Otherwise a MinIO of the test's own is started on a free loopback
// port with its data in a temporary folder. It is built from the module minio-dev,
// once per machine, or KALAMDB_MINIO_BIN names the program.
func StartMinIO(t testing.TB) storagelocations.S3Options {
	t.Helper()
	if endpoint := os.Getenv("KALAMDB_TEST_S3_ENDPOINT"); endpoint != "" {
		bucket := os.Getenv("KALAMDB_TEST_S3_BUCKET")
		if bucket == "" {
			bucket = minioBucket
		}
		return storagelocations.S3Options{Endpoint: endpoint, Bucket: bucket, Prefix: "test/" + rand.Text()}
	}
	return StartOwnMinIO(t)
}

// StartOwnMinIO is StartMinIO with a MinIO of the test's own in any case. Each has keys
// that no other one has.
func StartOwnMinIO(t testing.TB) storagelocations.S3Options {
	t.Helper()
	return startStore(t, minio)
}

// StartVersityGW returns an empty bucket in a versitygw of the test's own, an S3 store
// that shares no code with MinIO. It is built from the module minio-dev/versitygw, once
// per machine, or KALAMDB_VERSITYGW_BIN names the program. Metadata are extended
// attributes of its files: with a sidecar folder for them it mixes the data of one put
// with the checksum of another, and the suite fails.
func StartVersityGW(t testing.TB) storagelocations.S3Options {
	t.Helper()
	return startStore(t, versitygw)
}

// An s3Store is a program that serves folders as buckets.
type s3Store struct {
	name     string
	variable string // of the environment, with the path of the program
	health   string // path that answers when it is ready
	build    func() (string, error)
	args     func(address, data, health string) []string
	env      func(home, key, secret string) []string
}

var minio = &s3Store{
	name: "MinIO", variable: "KALAMDB_MINIO_BIN", health: "/minio/health/cluster",
	build: sync.OnceValues(func() (string, error) { return build("--print-program") }),
	args: func(address, data, _ string) []string {
		return []string{"server", "--quiet", "--address", address, data}
	},
	env: func(home, key, secret string) []string {
		return []string{"HOME=" + home, "MINIO_ROOT_USER=" + key, "MINIO_ROOT_PASSWORD=" + secret, "MINIO_BROWSER=off", "MINIO_UPDATE=off", "MINIO_CI_CD=on"}
	},
}

var versitygw = &s3Store{
	name: "versitygw", variable: "KALAMDB_VERSITYGW_BIN", health: "/kalamdb-health",
	build: sync.OnceValues(func() (string, error) { return build("--print-versitygw") }),
	args: func(address, data, health string) []string {
		return []string{"--quiet", "--port", address, "--health", health, "--keep-alive", "posix", data}
	},
	env: func(_, key, secret string) []string {
		return []string{"ROOT_ACCESS_KEY_ID=" + key, "ROOT_SECRET_ACCESS_KEY=" + secret}
	},
}

func startStore(t testing.TB, s *s3Store) storagelocations.S3Options {
	t.Helper()
	program := os.Getenv(s.variable)
	if program == "" {
		var err error
		if program, err = s.build(); err != nil {
			t.Fatalf("build %s: %v", s.name, err)
		}
	}
	const tries = 3 // somebody may take the port between finding and using it
	for try := 1; ; try++ {
		o, err := s.start(t, program)
		if err == nil {
			return o
		}
		if try == tries {
			t.Fatalf("start %s: %v", s.name, err)
		}
	}
}

// build runs minio-dev, which builds a program if need be and prints where it is.
func build(flag string) (string, error) {
	folder, err := os.Getwd() // of the package under test
	if err != nil {
		return "", err
	}
	for {
		module := filepath.Join(folder, "minio-dev")
		if _, err := os.Stat(filepath.Join(module, "go.mod")); err == nil {
			var out, problems bytes.Buffer
			build := exec.Command("go", "run", ".", flag)
			build.Dir, build.Stdout, build.Stderr = module, &out, &problems
			if err := build.Run(); err != nil {
				return "", fmt.Errorf("%w\n%s", err, &problems)
			}
			return strings.TrimSpace(out.String()), nil
		}
		if folder == filepath.Dir(folder) {
			return "", errors.New("there is no folder minio-dev above the test")
		}
		folder = filepath.Dir(folder)
	}
}

// start starts the program and waits until it answers.
func (s *s3Store) start(t testing.TB, program string) (storagelocations.S3Options, error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return storagelocations.S3Options{}, err
	}
	address := listener.Addr().String()
	listener.Close()

	home := t.TempDir()
	data, key, secret := filepath.Join(home, "data"), "kalamdb-"+rand.Text()[:8], rand.Text()
	for _, bucket := range []string{minioBucket, SecondBucket} { // a folder at the top is a bucket
		if err := os.MkdirAll(filepath.Join(data, bucket), 0o700); err != nil {
			return storagelocations.S3Options{}, err
		}
	}
	output, err := os.Create(filepath.Join(home, "output"))
	if err != nil {
		return storagelocations.S3Options{}, err
	}
	defer output.Close()
	cmd := exec.Command(program, s.args(address, data, s.health)...)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.Env = append(os.Environ(), s.env(home, key, secret)...)
	if err := cmd.Start(); err != nil {
		return storagelocations.S3Options{}, err
	}
	ended := make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() { ended <- cmd.Wait() })
	stop := func() {
		_ = cmd.Process.Kill() // its data goes too; an error means that it has ended
		wg.Wait()
	}
	if err := waitForStore(t.Context(), "http://"+address+s.health, ended); err != nil {
		stop()
		said, _ := os.ReadFile(output.Name())
		return storagelocations.S3Options{}, fmt.Errorf("%w\n%s", err, said)
	}
	t.Cleanup(stop)
	return storagelocations.S3Options{
		Bucket: minioBucket, Endpoint: "http://" + address, Region: "us-east-1",
		AccessKey: key, SecretKey: secret, PathStyle: true,
	}, nil
}

func waitForStore(ctx context.Context, url string, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, storeReadyTimeout)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		err := ready(ctx, client, url)
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return errors.New("it has ended")
		case <-ctx.Done():
			return fmt.Errorf("not ready after %v: %w", storeReadyTimeout, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func ready(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	reply, err := client.Do(req)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	if _, err := io.Copy(io.Discard, reply.Body); err != nil {
		return err
	}
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, reply.Status)
	}
	return nil
}

// Command minio-dev runs MinIO for development: an S3 store on this machine with a
// bucket and keys, ready to be used as the storage of KalamDB.
//
//	go run -C minio-dev . --data DIR --listen 127.0.0.1:9000 --bucket kalamdb
//
// MinIO publishes no programs any more, so this one builds it from the source that
// go.mod pins, once, into the user's cache folder (build.go). It then runs it as a
// process of its own, prints the environment for kalamdb, and ends it on SIGINT or
// SIGTERM. MinIO is under the AGPL: it is a tool of this module and never linked into KalamDB.
// versitygw, which the tests hold buckets to as well, is a tool of the module versitygw.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

const (
	readyTimeout = 30 * time.Second
	stopTimeout  = 10 * time.Second
)

type options struct {
	data, listen, bucket, accessKey, secretKey, program string
	printProgram, printVersityGW                        bool
}

func main() {
	var o options
	flag.StringVar(&o.data, "data", "", "`folder` of the objects (required; a relative one is below minio-dev with go run -C)")
	flag.StringVar(&o.listen, "listen", "127.0.0.1:9000", "`address` to listen on")
	flag.StringVar(&o.bucket, "bucket", "kalamdb", "`name` of the bucket to create")
	flag.StringVar(&o.accessKey, "access-key", "kalamdb", "access `key`, at least 3 characters")
	flag.StringVar(&o.secretKey, "secret-key", "kalamdb-dev-secret", "secret `key`, at least 8 characters")
	flag.StringVar(&o.program, "program", os.Getenv("KALAMDB_MINIO_BIN"), "MinIO `program` to use instead of building one; also KALAMDB_MINIO_BIN")
	flag.BoolVar(&o.printProgram, "print-program", false, "build MinIO if need be, print where it is, and end")
	flag.BoolVar(&o.printVersityGW, "print-versitygw", false, "build versitygw, the other S3 store of the tests, if need be, print where it is, and end")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "minio-dev:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, rest []string) error {
	if len(rest) > 0 {
		return fmt.Errorf("unexpected argument %q", rest[0])
	}
	if o.printVersityGW {
		program, err := versitygw.build(ctx)
		if err == nil {
			_, err = fmt.Println(program)
		}
		return err
	}
	if o.program == "" {
		program, err := minio.build(ctx)
		if err != nil {
			return fmt.Errorf("build MinIO: %w", err)
		}
		o.program = program
	}
	if o.printProgram {
		fmt.Println(o.program)
		return nil
	}
	if err := o.check(); err != nil {
		return err
	}
	// For MinIO on one drive a folder at the top of its data is a bucket.
	if err := os.MkdirAll(filepath.Join(o.data, o.bucket), 0o700); err != nil {
		return err
	}
	return serve(ctx, o)
}

func (o options) check() error {
	if o.data == "" {
		return errors.New("--data is missing")
	}
	if len(o.accessKey) < 3 || len(o.secretKey) < 8 {
		return errors.New("--access-key needs at least 3 characters and --secret-key 8")
	}
	if len(o.bucket) < 3 || len(o.bucket) > 63 {
		return fmt.Errorf("--bucket %q: a bucket name has 3 to 63 characters", o.bucket)
	}
	for _, c := range o.bucket {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return fmt.Errorf("--bucket %q: a bucket name has lower-case letters, digits and -", o.bucket)
		}
	}
	listener, err := net.Listen("tcp", o.listen) // MinIO would retry for long
	if err != nil {
		return err
	}
	return listener.Close()
}

// serve runs MinIO until it ends or ctx does.
func serve(ctx context.Context, o options) error {
	cmd := exec.CommandContext(ctx, o.program, "server", "--quiet", "--address", o.listen, o.data)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+o.accessKey, "MINIO_ROOT_PASSWORD="+o.secretKey,
		"MINIO_BROWSER=off", "MINIO_UPDATE=off")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTimeout
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	host, port, _ := net.SplitHostPort(o.listen)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	endpoint := "http://" + net.JoinHostPort(host, port)
	readyCtx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for !ready(readyCtx, endpoint+"/minio/health/cluster") {
		select {
		case err := <-ended:
			return result(ctx, err)
		case <-readyCtx.Done():
			if ctx.Err() != nil {
				return result(ctx, <-ended)
			}
			_ = cmd.Process.Kill() // it may have ended
			<-ended
			return fmt.Errorf("MinIO is not ready after %v", readyTimeout)
		case <-time.After(50 * time.Millisecond):
		}
	}
	fmt.Printf(`MinIO is ready at %s, its data is in %s. To use it:

export AWS_ENDPOINT_URL_S3=%s
export AWS_REGION=us-east-1
export AWS_ACCESS_KEY_ID=%s
export AWS_SECRET_ACCESS_KEY=%s
kalamdb serve --storage s3://%s/dev
`, endpoint, o.data, endpoint, o.accessKey, o.secretKey, o.bucket)
	return result(ctx, <-ended)
}

// result is nil if MinIO ended because it was asked to.
func result(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("MinIO has ended: %v", err)
}

func ready(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	reply, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	reply.Body.Close()
	return reply.StatusCode == http.StatusOK
}

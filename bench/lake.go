package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"kalamdb"
	"kalamdb/auth"
	"kalamdb/lake"
	"kalamdb/storagelocations"
)

// The parts of `-only lake` measure the way of rows into the bucket and back: flushes against
// the raw encoder and puts (lakeflush.go), puts of small partitions (lakepacks.go), queries over
// many small files before and after their compaction (lakequery.go), backups
// (lakebackup.go), and the start with 100,000 partitions (lakestart.go).
var lakeParts = []string{"flush", "packs", "files", "backup", "start"}

// inStores measures in a folder and, if KALAMDB_MINIO_BIN names the program, in MinIO.
func inStores(measure func(context.Context, string, store, *report) error) part {
	return func(ctx context.Context, _ string, _ time.Duration, rep *report) (err error) {
		dir, err := os.MkdirTemp("", "kalamdb-bench")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		if err := measure(ctx, filepath.Join(dir, "folder"), store{name: "folder"}, rep); err != nil {
			return err
		}
		program := os.Getenv("KALAMDB_MINIO_BIN")
		if program == "" {
			return nil
		}
		minio, stop, err := startMinIO(ctx, program, filepath.Join(dir, "minio"))
		if err != nil {
			return fmt.Errorf("start MinIO: %w", err)
		}
		defer stop()
		return measure(ctx, filepath.Join(dir, "MinIO"), minio, rep)
	}
}

// A store is where a bench keeps its bucket: below the data directory, or an S3 store.
type store struct {
	name string
	s3   storagelocations.S3Options
}

// url is a place of its own in the store, "" for the default one.
func (s store) url(place string) string {
	if s.s3.Endpoint == "" {
		return ""
	}
	return "s3://" + minioBucket + "/" + place
}

// open opens a database with its data in dir, and all its buckets in s.
func (s store) open(ctx context.Context, dir string) (*kalamdb.DB, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return kalamdb.Open(ctx, kalamdb.Options{
		DataDir: dir, Storage: s.url(filepath.Base(dir)), S3: s.s3, Lake: lake.Options{CompactOff: true},
	})
}

// execAs runs text as the given user.
func execAs(ctx context.Context, db *kalamdb.DB, user auth.Principal, text string) error {
	_, err := db.Exec(ctx, kalamdb.Request{SQL: text, As: user})
	return err
}

const (
	minioBucket  = "kalamdb"
	minioTimeout = 30 * time.Second
)

// startMinIO runs MinIO with its data in dir until stop is called.
func startMinIO(ctx context.Context, program, dir string) (_ store, stop func(), err error) {
	s := store{name: "MinIO"}
	if err := os.MkdirAll(filepath.Join(dir, minioBucket), 0o700); err != nil {
		return s, nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return s, nil, err
	}
	address := ln.Addr().String()
	if err := ln.Close(); err != nil {
		return s, nil, err
	}
	s.s3 = storagelocations.S3Options{Endpoint: "http://" + address, Region: "us-east-1", AccessKey: "kalamdb", SecretKey: "kalamdb-bench"}
	cmd := exec.CommandContext(ctx, program, "server", "--quiet", "--address", address, dir)
	cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+s.s3.AccessKey, "MINIO_ROOT_PASSWORD="+s.s3.SecretKey, "MINIO_BROWSER=off", "MINIO_UPDATE=off")
	if err := cmd.Start(); err != nil {
		return s, nil, err
	}
	stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = cmd.Wait()
	}
	for deadline := time.Now().Add(minioTimeout); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		reply, err := http.Get(s.s3.Endpoint + "/minio/health/cluster")
		if err != nil {
			continue
		}
		_ = reply.Body.Close()
		if reply.StatusCode == http.StatusOK {
			return s, stop, nil
		}
	}
	stop()
	return s, nil, fmt.Errorf("it does not answer at %s", address)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kalamdb/auth"
	"kalamdb/row"
	"kalamdb/storagelocations"
)

const (
	backupUsers      = 8
	backupRows       = 100_000 // of a user, of some 150 bytes that do not compress well
	backupMBAsked    = 50      // a second
	backupBytesLeast = 50 << 20
)

// benchBackup makes a namespace of some 100 MB in s and backs it up to another place there.
func benchBackup(ctx context.Context, dir string, s store, rep *report) (err error) {
	db, err := s.open(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	dba := auth.Principal{User: "bench", Role: auth.DBA}
	if err := execAs(ctx, db, dba, "CREATE NAMESPACE app; CREATE USER TABLE app.t (id BIGINT PRIMARY KEY, body TEXT) FLUSH POLICY ROWS 10000000 INTERVAL '1 hour'"); err != nil {
		return err
	}
	for u := range backupUsers {
		who := auth.Principal{User: row.UserID(fmt.Sprint("user", u)), Role: auth.User}
		if err := execAs(ctx, db, who, fmt.Sprintf("INSERT INTO app.t SELECT i, base64(sha256(i || 'a%d')::BLOB) || base64(sha256(i || 'b%d')::BLOB) FROM range(%d) r(i)", u, u, backupRows)); err != nil {
			return err
		}
	}
	if err := execAs(ctx, db, dba, "FLUSH TABLE app.t"); err != nil {
		return err
	}
	to := s.url(filepath.Base(dir) + "-copy")
	if to == "" {
		folder := filepath.Join(dir, "transfer", "copy")
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return err
		}
		to = "file://" + folder
	}
	start := time.Now()
	if err := execAs(ctx, db, dba, "BACKUP DATABASE app TO '"+to+"'"); err != nil {
		return err
	}
	took := time.Since(start)
	size, err := sizeOf(ctx, s, to)
	if err != nil {
		return err
	}
	if size < backupBytesLeast {
		return fmt.Errorf("the backup has %d bytes, expected at least %d", size, backupBytesLeast)
	}
	rate := float64(size) / 1e6 / took.Seconds()
	rep.value("backup from and to "+s.name, fmt.Sprintf("%.0f MB/s", rate), fmt.Sprintf("%.0f MB", float64(size)/1e6), fmt.Sprintf("≥ %d MB/s", backupMBAsked), rate >= backupMBAsked)
	return nil
}

// sizeOf counts the bytes of the Parquet files at a place.
func sizeOf(ctx context.Context, s store, url string) (size int64, err error) {
	places := storagelocations.NewPlaces(storagelocations.Options{S3: s.s3})
	defer places.Close()
	bucket, err := places.Bucket(ctx, url)
	if err != nil {
		return 0, err
	}
	for info, err := range bucket.List(ctx, "users/") {
		if err != nil {
			return 0, err
		}
		if strings.HasSuffix(info.Name, ".parquet") {
			size += info.Size
		}
	}
	return size, nil
}

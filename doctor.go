package kalamdb

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"kalamdb/ingest"
	"kalamdb/lake"
	"kalamdb/storagelocations"
)

// A Finding is what [Doctor] says about one thing.
type Finding struct {
	What string // data directory, disk, storage, clock, catalog, log of a table
	OK   bool
	Text string
}

// clockSkewMax is how far the clock of a storage may be from ours. Files are deleted by
// its times and our grace, which is an hour unless it is configured.
const clockSkewMax = time.Minute

// Doctor looks at a database that is not open: the data directory, the disk, every storage
// with a probe that writes and deletes an object in _kalamdb/probe, the clock, the
// catalog, and whether the log of every table can be replayed. With rebuild the logs that
// cannot are made anew: see lake.Rebuild. The error says what ended the examination.
func Doctor(ctx context.Context, o Options, rebuild bool) (findings []Finding, err error) {
	add := func(what string, err error, format string, args ...any) {
		f := Finding{What: what, OK: err == nil, Text: fmt.Sprintf(format, args...)}
		if err != nil {
			f.Text = err.Error()
		}
		findings = append(findings, f)
	}
	st, err := openStored(ctx, o, false)
	if err != nil {
		return nil, fmt.Errorf("doctor: %w", err)
	}
	defer func() { err = errors.Join(err, st.close()) }()
	add("data directory", checkSecret(st.o.DataDir), "%s, in no use", st.o.DataDir)
	text, err := checkDisk(st.o.DataDir, o.Ingest)
	add("disk", err, "%s", text)
	if st.buffer != nil {
		rows := 0
		for _, seg := range st.waiting() {
			rows += seg.Rows
		}
		add("write buffer", nil, "%d rows that are not in the bucket yet", rows)
	} else {
		add("write buffer", nil, "none: the next start makes one")
	}
	buckets := map[string]storagelocations.Bucket{st.bucket.URL(): st.bucket}
	for _, t := range st.catalog.Tables() {
		if t.Root != "" {
			b := st.o.Lake.Bucket(t)
			buckets[b.URL()] = b
		}
	}
	for url, b := range buckets {
		add("storage", storagelocations.Probe(ctx, b), "%s keeps its promises", url)
	}
	skew, err := clockSkew(ctx, st.bucket)
	add("clock", err, "%s from that of the storage", skew.Round(time.Millisecond))
	add("catalog", nil, "%d tables", len(st.catalog.Tables()))
	for _, d := range st.damage {
		add("catalog", fmt.Errorf("%w; no server starts with it: put an older version of the object in its place", d.Err), "")
	}
	for _, t := range st.catalog.Tables() {
		r, err := lake.Rebuild(ctx, st.o.Lake, t, st.waiting(), !rebuild)
		if err == nil && r.Needed {
			text := rebuilt(r)
			if !rebuild {
				err = fmt.Errorf("it cannot be replayed; --rebuild makes a new one: %s", text)
			}
			add("log of "+t.Ref.String(), err, "rebuilt: %s", text)
			continue
		}
		add("log of "+t.Ref.String(), err, "whole")
	}
	return findings, nil
}

// rebuilt is r in a sentence for an operator.
func rebuilt(r *lake.Rebuilt) string {
	text := fmt.Sprintf("%d files with %d rows, %d of the files from their footers alone", r.Files, r.Rows, r.Found)
	for _, part := range []struct {
		what  string
		names []string
	}{{"replaced or still in the write buffer", r.LeftOut}, {"lost", r.Lost}, {"unreadable", r.Unreadable}} {
		if len(part.names) > 0 {
			text += fmt.Sprintf("; %d %s: %v", len(part.names), part.what, part.names)
		}
	}
	return text
}

// checkSecret says whether somebody else can read the key of the tokens.
func checkSecret(dir string) error {
	info, err := os.Stat(filepath.Join(dir, "secret"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = fmt.Errorf("%s is open to others (%s), expected mode 0600", filepath.Join(dir, "secret"), info.Mode().Perm())
	}
	return err
}

// checkDisk compares the free part of the disk with what writes need.
func checkDisk(dir string, o ingest.Options) (string, error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return "", fmt.Errorf("%s: %w", dir, err)
	}
	least := o.FreeDiskPercentMin
	if least == 0 {
		least = 5
	}
	percent := int(100 * fs.Bavail / max(1, fs.Blocks))
	if percent < least {
		return "", fmt.Errorf("%d%% free, writes are refused below %d%%", percent, least)
	}
	return fmt.Sprintf("%d%% free", percent), nil
}

// clockSkew is how far our clock is from that of the storage.
func clockSkew(ctx context.Context, b storagelocations.Bucket) (skew time.Duration, err error) {
	name := storagelocations.MetaFolder + "/probe/" + rand.Text()
	before := time.Now()
	if _, err := b.Put(ctx, name, []byte("clock"), storagelocations.Cond{IfNoneMatch: true}); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, b.Delete(context.WithoutCancel(ctx), name)) }()
	after := time.Now()
	for info, err := range b.List(ctx, name) {
		if err != nil {
			return 0, err
		}
		switch { // the store may cut to seconds
		case info.Modified.Before(before.Add(-time.Second)):
			skew = before.Sub(info.Modified)
		case info.Modified.After(after.Add(time.Second)):
			skew = info.Modified.Sub(after)
		}
	}
	if skew > clockSkewMax {
		return skew, fmt.Errorf("%s from that of the storage, expected at most %s", skew.Round(time.Second), clockSkewMax)
	}
	return skew, nil
}

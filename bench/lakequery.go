package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"kalamdb/auth"
)

const (
	smallFiles     = 1000
	smallFileRows  = 20
	smallFileTries = 9
)

// benchManyFiles asks a partition of 1,000 small files, compacts it, and asks again.
func benchManyFiles(ctx context.Context, _ string, _ time.Duration, rep *report) (err error) {
	dir, err := os.MkdirTemp("", "kalamdb-bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	db, err := store{}.open(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	dba := auth.Principal{User: "bench", Role: auth.DBA}
	exec := func(text string) error { return execAs(ctx, db, dba, text) }
	if err := exec("CREATE NAMESPACE app; CREATE USER TABLE app.t (id BIGINT PRIMARY KEY, conversation TEXT, body TEXT, n BIGINT) FLUSH POLICY ROWS 1000000 INTERVAL '1 hour'"); err != nil {
		return err
	}
	for f := range smallFiles {
		if err := exec(fmt.Sprintf("INSERT INTO app.t SELECT i * 7919 %% %d, 'c' || (i %% 100), '%s' || i, i * 7 %% 1000003 FROM range(%d, %d) r(i); FLUSH TABLE app.t",
			smallFiles*smallFileRows, bodyText, f*smallFileRows, (f+1)*smallFileRows)); err != nil {
			return err
		}
	}
	queries := []struct{ what, text string }{
		{"aggregate", "SELECT count(*), sum(n), avg(n), max(conversation) FROM app.t"},
		{"filter", "SELECT count(*), min(body) FROM app.t WHERE conversation = 'c7' AND n > 1000"},
		{"key lookup", "SELECT * FROM app.t WHERE id = 12345"},
	}
	ask := func() ([]time.Duration, error) {
		medians := make([]time.Duration, len(queries))
		for i, q := range queries {
			var times []time.Duration
			for range smallFileTries {
				start := time.Now()
				if err := exec(q.text); err != nil {
					return nil, err
				}
				times = append(times, time.Since(start))
			}
			medians[i] = quantile(times, 0.5)
		}
		return medians, nil
	}
	before, err := ask()
	if err != nil {
		return err
	}
	start := time.Now()
	if err := exec("COMPACT TABLE app.t"); err != nil {
		return err
	}
	rep.value(fmt.Sprintf("COMPACT TABLE, %d files of %d rows", smallFiles, smallFileRows), millis(time.Since(start)), "", "", true)
	after, err := ask()
	if err != nil {
		return err
	}
	for i, q := range queries {
		rep.note(fmt.Sprintf("%s, compacted against %d files", q.what, smallFiles), millis(after[i]), millis(before[i]), after[i].Seconds()/before[i].Seconds())
	}
	return nil
}

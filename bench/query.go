package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "github.com/duckdb/duckdb-go/v2" // the raw side

	"kalamdb"
	"kalamdb/auth"
)

const (
	files       = 20
	rowsPerFile = 10_000
	hotRows     = 1_000
)

// benchQuery compares the embedded database over 1,000 buffered rows and 20 files
// of 10,000 rows with DuckDB over the same files, first with no file touched by a
// buffered row, then with one.
func benchQuery(ctx context.Context, _ string, length time.Duration, rep *report) (err error) {
	dir, err := os.MkdirTemp("", "kalamdb-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	raw, err := sql.Open("duckdb", "")
	if err != nil {
		return err
	}
	defer raw.Close()
	raw.SetMaxOpenConns(1)
	for _, set := range []string{"SET threads=2", "SET parquet_metadata_cache=true", "SET preserve_insertion_order=false"} {
		if _, err := raw.ExecContext(ctx, set); err != nil {
			return err
		}
	}
	for _, touched := range []bool{false, true} {
		if err := compareQueries(ctx, filepath.Join(dir, fmt.Sprint(touched)), raw, touched, length, rep); err != nil {
			return err
		}
	}
	return nil
}

func compareQueries(ctx context.Context, dir string, raw *sql.DB, touched bool, length time.Duration, rep *report) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	db, err := kalamdb.Open(ctx, kalamdb.Options{DataDir: dir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	who := auth.Principal{User: "bench", Role: auth.DBA}
	exec := func(text string) error {
		_, err := db.Exec(ctx, kalamdb.Request{SQL: text, As: who})
		return err
	}
	if err := fill(exec, touched); err != nil {
		return err
	}
	var paths []string
	err = filepath.WalkDir(filepath.Join(dir, "storage", "users"), func(path string, d fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".parquet") {
			paths = append(paths, "'"+path+"'")
		}
		return err
	})
	if err != nil {
		return err
	}
	from := "read_parquet([" + strings.Join(paths, ", ") + "])"
	name, limit := "nothing overlaps", 1.3
	if touched {
		name, limit = "one touched file", 1.6
	}
	for _, q := range []struct{ what, text string }{
		{"aggregate", "SELECT count(*), sum(n), avg(n), max(conversation) FROM %s"},
		{"filter", "SELECT count(*), min(body) FROM %s WHERE conversation = 'c7' AND n > 1000"},
		{"key lookup", "SELECT * FROM %s WHERE id = 123456"},
	} {
		ours, base, err := alternate(ctx, length/2,
			func() error { return exec(fmt.Sprintf(q.text, "app.t")) },
			func() error { return drain(ctx, raw, fmt.Sprintf(q.text, from)) })
		if err != nil {
			return err
		}
		rep.ratio(q.what+", "+name, ours.String(), base.String(), float64(ours)/float64(base), limit, true)
	}
	return nil
}

// fill makes the files, then the buffered rows: new keys, or new versions of keys
// of one file.
func fill(exec func(string) error, touched bool) error {
	insert := func(from, to int) error {
		return exec(fmt.Sprintf("INSERT INTO app.t SELECT i, 'c' || (i %% 100), '%s' || i, i * 7 %% 1000003 FROM range(%d, %d) r(i)", bodyText, from, to))
	}
	err := exec("CREATE NAMESPACE app; CREATE USER TABLE app.t (id BIGINT PRIMARY KEY, conversation TEXT, body TEXT, n BIGINT) FLUSH POLICY ROWS 1000000 INTERVAL '1 hour'")
	for f := 0; f < files && err == nil; f++ {
		if err = insert(f*rowsPerFile, (f+1)*rowsPerFile); err == nil {
			err = exec("FLUSH TABLE app.t")
		}
	}
	if err != nil {
		return err
	}
	if touched {
		return exec(fmt.Sprintf("UPDATE app.t SET n = n + 1 WHERE id >= %d AND id < %d", 7*rowsPerFile, 7*rowsPerFile+hotRows))
	}
	return insert(files*rowsPerFile, files*rowsPerFile+hotRows)
}

// alternate runs a and b in turn for a while and returns the median of each.
func alternate(ctx context.Context, length time.Duration, a, b func() error) (time.Duration, time.Duration, error) {
	var as, bs []time.Duration
	for start := time.Now(); len(as) < 20 || time.Since(start) < length; {
		if err := ctx.Err(); err != nil {
			return 0, 0, err
		}
		for _, side := range []struct {
			do    func() error
			times *[]time.Duration
		}{{a, &as}, {b, &bs}} {
			t := time.Now()
			if err := side.do(); err != nil {
				return 0, 0, err
			}
			*side.times = append(*side.times, time.Since(t))
		}
	}
	return quantile(as, 0.5), quantile(bs, 0.5), nil
}

func drain(ctx context.Context, db *sql.DB, text string) error {
	rows, err := db.QueryContext(ctx, text)
	if err != nil {
		return err
	}
	defer rows.Close()
	cols, err := rows.Columns()
	if err != nil {
		return err
	}
	values := make([]any, len(cols))
	for i := range values {
		values[i] = new(any)
	}
	for rows.Next() {
		if err := rows.Scan(values...); err != nil {
			return err
		}
	}
	return rows.Err()
}

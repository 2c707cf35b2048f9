package kalamdb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"kalamdb/catalog"
	"kalamdb/ingest"
	"kalamdb/lake"
	"kalamdb/row"
	"kalamdb/storagelocations"
)

// A VerifyMode says what [Verify] looks at, and whether it may put things right.
type VerifyMode struct {
	// BucketOnly leaves the write buffer alone, so that a server may be running.
	BucketOnly bool
	// Repair is lake.Verification.Repair.
	Repair bool
}

// Verify reads everything that a database has, in the bucket and in the write buffer,
// and proves that all of it is there once: see lake.Verify. The database must not be
// open, unless only the bucket is asked for. The error is about what could not be asked.
func Verify(ctx context.Context, o Options, mode VerifyMode) (_ *lake.Report, err error) {
	st, err := openStored(ctx, o, mode.BucketOnly)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	defer func() { err = errors.Join(err, st.close()) }()
	how := lake.Verification{Repair: mode.Repair, Waiting: st.waiting()}
	if !mode.BucketOnly {
		how.Copies = filepath.Join(st.o.DataDir, "cache")
	}
	report, err := lake.Verify(ctx, st.o.Lake, st.catalog.Tables(), how)
	if err != nil {
		return nil, err
	}
	for _, d := range st.damage {
		report.Problems = append(report.Problems, lake.Problem{Object: d.Object, What: d.Err.Error()})
	}
	return report, nil
}

// A stored is what a database that is not open has stored.
type stored struct {
	o       Options // with the lake's filled in
	places  *storagelocations.Places
	bucket  storagelocations.Bucket
	catalog *catalog.Catalog
	damage  []catalog.Damage
	buffer  *ingest.Inspection // nil: not looked at, or there is none
	lock    *os.File
	temp    string
}

// openStored changes nothing in the bucket and in the write buffer.
func openStored(ctx context.Context, o Options, bucketOnly bool) (_ *stored, err error) {
	if o.DataDir, err = filepath.Abs(o.DataDir); err != nil {
		return nil, err
	}
	st := &stored{o: o}
	defer func() {
		if err != nil {
			err = errors.Join(err, st.close())
		}
	}()
	if !bucketOnly {
		if _, err := os.Stat(o.DataDir); err != nil {
			return nil, fmt.Errorf("the data directory: %w", err)
		}
		if st.lock, err = lockDir(o.DataDir); err != nil {
			return nil, err
		}
		if st.o.Lake.Node, err = knownNodeID(o.DataDir); err != nil {
			return nil, err
		}
	}
	if url := o.storageURL(); o.Storage == "" {
		if _, err := os.Stat(filepath.Join(o.DataDir, "storage")); err != nil {
			return nil, fmt.Errorf("the storage %s: %w", url, err)
		}
	}
	st.places = storagelocations.NewPlaces(storagelocations.Options{S3: o.S3})
	if st.bucket, err = st.places.Bucket(ctx, o.storageURL()); err != nil {
		return nil, err
	}
	if st.catalog, st.damage, err = catalog.Inspect(ctx, st.bucket); err != nil {
		return nil, err
	}
	if st.temp, err = os.MkdirTemp(o.DataDir, "verify-"); err != nil {
		if st.temp, err = os.MkdirTemp("", "kalamdb-verify-"); err != nil {
			return nil, err
		}
	}
	l := &st.o.Lake
	l.Meta, l.Bucket, l.Tables, l.CacheDir = st.bucket, newTableBuckets(st.catalog, st.places).of, st.catalog.TableByID, st.temp
	if bucketOnly {
		return st, nil
	}
	st.buffer, err = ingest.Inspect(filepath.Join(o.DataDir, "buffer"), func(t row.TableRef) (ingest.StreamPolicy, bool) {
		c, ok := st.catalog.TableByID(t.ID)
		return ingest.StreamPolicy{}, ok && c.Type == catalog.Stream
	})
	if errors.Is(err, os.ErrNotExist) {
		err = nil // a server that never started, or whose buffer is lost
	}
	return st, err
}

// waiting are the rows of the write buffer, without those of dropped tables.
func (st *stored) waiting() []row.Segment {
	if st.buffer == nil {
		return nil
	}
	var list []row.Segment
	for _, seg := range st.buffer.Held() {
		if c, ok := st.catalog.TableByID(seg.Partition.Table.ID); !ok || !c.Dropped {
			list = append(list, seg)
		}
	}
	return list
}

func (st *stored) close() error {
	var errs []error
	if st.buffer != nil {
		errs = append(errs, st.buffer.Close())
	}
	if st.temp != "" {
		errs = append(errs, os.RemoveAll(st.temp))
	}
	if st.places != nil {
		st.places.Close()
	}
	if st.lock != nil {
		errs = append(errs, st.lock.Close())
	}
	return errors.Join(errs...)
}

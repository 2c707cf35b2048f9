package kalamdb

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"kalamdb/catalog"
	"kalamdb/jobs"
	"kalamdb/lake"
	"kalamdb/row"
	"kalamdb/sql"
	"kalamdb/storagelocations"
)

const (
	backupParallel    = 8   // partitions copied at the same time
	backupReportEvery = 100 // partitions
	backupMomentTries = 5   // to find a moment
)

// backup runs BACKUP DATABASE n TO 'url'.
//
// All tables are of one moment: one view of the buffer and the files that were there
// then. What is buffered is flushed first, so that most rows are in files that the next
// backup finds again by their names; what is written meanwhile becomes files of this backup
// alone. Nothing exists of a backup before its manifest, which is put last.
func (db *DB) backup(ctx context.Context, s *statement, st *sql.Backup) (Result, error) {
	n, err := db.catalog.Namespace(st.Namespace)
	if err != nil {
		return Result{}, asError(err).at(st.Pos)
	}
	to, err := db.place(ctx, s, st.URL, st.URLPos)
	if err != nil {
		return Result{}, err
	}
	if err := db.record(s, s.Verb(), ""); err != nil {
		return Result{}, err
	}
	var m *backupManifest
	out := &lake.CopyOut{Lake: db.lake, To: to}
	err = db.transferring(ctx, jobs.Job{Type: "backup", Namespace: n.Name, Parameters: []string{"to=" + st.URL}}, func(ctx context.Context, job *jobs.Running) (string, error) {
		if _, err := db.buffer.Flush(ctx, func(p row.Partition) bool { return p.Table.Namespace == n.Name }); err != nil {
			if ctx.Err() != nil {
				return "", err
			}
			db.log.Warn("backup without a flush before it", "namespace", n.Name, "err", err)
		}
		if out.Have, err = filesAt(ctx, to); err != nil {
			return "", err
		}
		if m, err = db.copyOut(ctx, n, out, job); err != nil {
			return "", err
		}
		if err := m.putConfirmed(ctx, to); err != nil {
			return "", err
		}
		files, bytes := out.Copied()
		return fmt.Sprintf("backup %d of %s; copied %d files, %d bytes", m.Number, m.summary(), files, bytes), nil
	})
	if err != nil {
		return Result{}, db.exportFailed(to, err, st.URLPos)
	}
	res := backupTable([]*backupManifest{m})
	files, bytes := out.Copied()
	res.Columns = append(res.Columns, Column{"copied_files", "BIGINT"}, Column{"copied_bytes", "BIGINT"})
	res.Rows[0] = append(res.Rows[0], row.IntValue(row.BigInt, files), row.IntValue(row.BigInt, bytes))
	return res, nil
}

// filesAt are the Parquet files of a place with their sizes.
func filesAt(ctx context.Context, at storagelocations.Bucket) (map[string]int64, error) {
	have := map[string]int64{}
	for _, prefix := range []string{"users/", "shared/"} {
		for info, err := range at.List(ctx, prefix) {
			if err != nil {
				return nil, err
			}
			have[info.Name] = info.Size
		}
	}
	return have, nil
}

// A backupMoment is a namespace at one moment. Release it.
type backupMoment struct {
	*tableSources
	tables []*catalog.Table
	users  map[uint64][]row.UserID // by table, sorted
	seq    row.Seq                 // every change of the tables up to it is in the moment, none after it
}

// moment takes the moment, while no definition changes.
func (db *DB) moment(ctx context.Context, namespace string) (*backupMoment, error) {
	end, err := db.lockDefinitions(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	m := &backupMoment{tableSources: &tableSources{db: db}, tables: db.catalog.TablesIn(namespace), users: map[uint64][]row.UserID{}}
	m.seq = db.buffer.Durable()
	m.open()
	users := map[uint64]map[row.UserID]struct{}{}
	for _, t := range m.tables {
		users[t.Ref.ID] = map[row.UserID]struct{}{}
	}
	for _, p := range db.buffer.Partitions() {
		if of := users[p.Partition.Table.ID]; of != nil {
			of[p.Partition.User] = struct{}{}
		}
	}
	for _, t := range m.tables {
		if t.Type == catalog.Stream {
			continue
		}
		db.lake.FilesOf(t.Ref.ID, func(f *lake.File) bool {
			users[t.Ref.ID][f.Partition.User] = struct{}{}
			return true
		})
		m.users[t.Ref.ID] = slices.Sorted(maps.Keys(users[t.Ref.ID]))
		for _, u := range m.users[t.Ref.ID] {
			p, err := m.at(ctx, row.Partition{Table: t.Ref, User: u})
			if err != nil {
				m.release()
				return nil, err
			}
			m.seq = max(m.seq, p.snap.Seq())
		}
	}
	return m, nil
}

// copyOut copies the namespace as it is at one moment.
func (db *DB) copyOut(ctx context.Context, n catalog.Namespace, out *lake.CopyOut, job *jobs.Running) (*backupManifest, error) {
	var now *backupMoment
	var err error
	for range backupMomentTries { // a moment may fall on a compaction
		if now, err = db.moment(ctx, n.Name); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	defer now.release()
	return db.copyMoment(ctx, n, now, out, job)
}

// copyMoment copies what is in a moment. A table may be dropped meanwhile: its files go at once.
func (db *DB) copyMoment(ctx context.Context, n catalog.Namespace, now *backupMoment, out *lake.CopyOut, job *jobs.Running) (_ *backupManifest, err error) {
	m := &backupManifest{Version: backupVersion, Namespace: n.Name, Options: n.Options, Time: time.Now().UTC().Truncate(time.Microsecond), Seq: now.seq, Node: db.nodeID}
	var mu sync.Mutex // guards done
	done, total := 0, 0
	for _, users := range now.users {
		total += len(users)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(backupParallel)
	m.Tables = make([]backupTableEntry, len(now.tables))
	for i, t := range now.tables {
		e := &m.Tables[i]
		if e.Table, err = catalog.MarshalTable(t); err != nil {
			return nil, err
		}
		e.Partitions = make([]lake.CopiedPartition, len(now.users[t.Ref.ID]))
		for j, user := range now.users[t.Ref.ID] {
			p, err := now.at(ctx, row.Partition{Table: t.Ref, User: user}) // known since moment
			if err != nil {
				return nil, err
			}
			g.Go(func() error {
				var err error
				e.Partitions[j], err = out.Partition(gctx, t, user, p.files, scanAll(p.snap.Scan))
				if c, ok := db.catalog.TableByID(t.Ref.ID); err != nil && gctx.Err() == nil && (!ok || c.Dropped) {
					return fail(CodeTableNotFound, "%s was dropped while it was being copied", t.Ref).details("there is no backup; start again for one without the table")
				}
				if err != nil {
					return fmt.Errorf("%s: %w", row.Partition{Table: t.Ref, User: user}, err)
				}
				mu.Lock()
				defer mu.Unlock()
				if done++; done%backupReportEvery == 0 {
					job.Report(fmt.Sprintf("%d of %d partitions", done, total), nil)
				}
				return nil
			})
		}
	}
	return m, g.Wait()
}

// scanAll turns the scan of a snapshot into one whose yield may fail.
func scanAll(scan func(from, to []byte, yield func(key []byte, r *row.Row) bool) error) func(func(key []byte, r *row.Row) error) error {
	return func(yield func(key []byte, r *row.Row) error) error {
		var failed error
		err := scan(nil, nil, func(key []byte, r *row.Row) bool {
			failed = yield(key, r)
			return failed == nil
		})
		if failed != nil {
			return failed
		}
		return err
	}
}

// showBackup runs SHOW BACKUP 'url'.
func (db *DB) showBackup(ctx context.Context, s *statement, st *sql.ShowBackup) (Result, error) {
	at, err := db.place(ctx, s, st.URL, st.URLPos)
	if err != nil {
		return Result{}, err
	}
	if err := db.record(s, s.Verb(), ""); err != nil {
		return Result{}, err
	}
	list, err := backupsAt(ctx, at, "")
	if err != nil {
		return Result{}, db.exportFailed(at, err, st.URLPos)
	}
	var all []*backupManifest
	for _, b := range list {
		m, err := readBackup(ctx, at, b)
		if err != nil {
			return Result{}, db.exportFailed(at, err, st.URLPos)
		}
		all = append(all, m)
	}
	return backupTable(all), nil
}

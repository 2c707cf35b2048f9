package kalamdb

import (
	"context"
	"errors"
	"fmt"

	"kalamdb/catalog"
	"kalamdb/jobs"
	"kalamdb/lake"
	"kalamdb/row"
	"kalamdb/sql"
	"kalamdb/storagelocations"
)

// restore runs RESTORE DATABASE n FROM 'url' [AT number] [AS other].
//
// The tables get new ids and are in the location default, with all schema versions, deleted
// rows, and the Seqs and times that their rows had. Nobody sees anything before all is there: see
// catalog.StageTables. What fails or is killed is removed as a dropped table is.
func (db *DB) restore(ctx context.Context, s *statement, st *sql.Restore) (Result, error) {
	from, err := db.place(ctx, s, st.URL, st.URLPos)
	if err != nil {
		return Result{}, err
	}
	if err := db.restorable(st); err != nil {
		return Result{}, err
	}
	m, err := findBackup(ctx, from, st)
	if err != nil {
		return Result{}, db.exportFailed(from, err, st.URLPos)
	}
	if err := db.record(s, s.Verb(), ""); err != nil {
		return Result{}, err
	}
	parameters := []string{"from=" + st.URL, fmt.Sprintf("number=%d", m.Number), "backup_of=" + m.Namespace}
	err = db.transferring(ctx, jobs.Job{Type: "restore", Namespace: st.As, Parameters: parameters}, func(ctx context.Context, job *jobs.Running) (string, error) {
		return m.summary(), db.copyIn(ctx, m, st.As, from, job)
	})
	if errors.Is(err, lake.ErrCorrupt) || errors.Is(err, storagelocations.ErrNotExist) {
		return Result{}, fail(CodeInvalidValue, "backup %d of %s is not complete: %s", m.Number, m.Namespace, err).details("nothing was restored").at(st.URLPos)
	}
	if err != nil {
		return Result{}, db.exportFailed(from, err, st.AsPos)
	}
	return backupTable([]*backupManifest{m}), nil
}

// restorable refuses to restore over a namespace.
func (db *DB) restorable(st *sql.Restore) error {
	_, err := db.catalog.Namespace(st.As)
	if err == nil {
		return fail(CodeAlreadyExists, "namespace %s exists, and RESTORE replaces nothing", st.As).
			details("restore it AS another name, or drop it first").at(st.AsPos)
	}
	return nil
}

// findBackup reads the backup that st names.
func findBackup(ctx context.Context, at storagelocations.Bucket, st *sql.Restore) (*backupManifest, error) {
	list, err := backupsAt(ctx, at, st.Namespace)
	if err != nil {
		return nil, err
	}
	for i := len(list) - 1; i >= 0; i-- {
		if st.Number == 0 || list[i].number == st.Number {
			return readBackup(ctx, at, list[i])
		}
	}
	if st.Number != 0 {
		return nil, fail(CodeNotFound, "there is no backup %d of %s", st.Number, st.Namespace).details("SHOW BACKUP lists the backups of a place").at(st.URLPos)
	}
	return nil, fail(CodeNotFound, "there is no backup of %s", st.Namespace).details("SHOW BACKUP lists the backups of a place").at(st.URLPos)
}

// copyIn makes the namespace from m.
func (db *DB) copyIn(ctx context.Context, m *backupManifest, namespace string, from storagelocations.Bucket, job *jobs.Running) (err error) {
	tables, err := m.tables()
	if err != nil {
		return err
	}
	staged, err := db.catalog.StageTables(ctx, namespace, tables)
	committed := false
	defer func() {
		if !committed {
			for _, t := range staged {
				db.removeDropped(t)
			}
		}
	}()
	if err != nil {
		return err
	}
	// From here on no row of this server has a Seq that a restored one may have.
	if err := db.buffer.RaiseSeq(ctx, m.maxSeq()); err != nil {
		return err
	}
	for i, t := range staged {
		if t.Type == catalog.Stream {
			continue
		}
		parts := m.Tables[i].Partitions
		err := db.lake.Adopt(ctx, t, parts, from, func(done int) {
			job.Report(fmt.Sprintf("table %d of %d: %d of %d partitions of %s", i+1, len(staged), done, len(parts), t.Ref), nil)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", row.TableRef{Namespace: m.Namespace, Name: t.Ref.Name}, err)
		}
	}
	end, err := db.lockDefinitions(ctx)
	if err != nil {
		return err
	}
	defer end()
	committed, err = db.catalog.PublishTables(ctx, catalog.Namespace{Name: namespace, Options: m.Options}, staged)
	return err
}

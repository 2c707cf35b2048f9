package kalamdb

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"kalamdb/jobs"
	"kalamdb/row"
	"kalamdb/sql"
	"kalamdb/storagelocations"
)

// Backups share files, so dropping one deletes those that no other backup of the place names.
// A backup that is being made counts on files that are there. The two find out about each other:
//
//   - A drop puts a marker first, then reads the manifests, then deletes.
//   - A backup puts its manifest first, then looks for markers, then looks whether all its files
//     are there. If not, it takes its manifest back.
//
// So either the drop has read the manifest and keeps its files, or the backup has seen the marker
// or misses the files.
const (
	dropsFolder   = storagelocations.MetaFolder + "/backup-drops/"
	dropTimeMax   = 30 * time.Minute
	dropMarkerMax = time.Hour      // a marker that is older is one of a drop that crashed
	orphanAgeMin  = 24 * time.Hour // of a file that no manifest names; no backup takes that long
)

// dropBackup runs DROP BACKUP DATABASE n FROM 'url' {AT number | KEEP count}.
func (db *DB) dropBackup(ctx context.Context, s *statement, st *sql.DropBackup) (Result, error) {
	at, err := db.place(ctx, s, st.URL, st.URLPos)
	if err != nil {
		return Result{}, err
	}
	if err := db.record(s, s.Verb(), ""); err != nil {
		return Result{}, err
	}
	var d droppedBackups
	err = db.transferring(ctx, jobs.Job{Type: "drop_backup", Namespace: st.Namespace, Parameters: []string{"from=" + st.URL}}, func(ctx context.Context, _ *jobs.Running) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, dropTimeMax)
		defer cancel()
		err := d.run(ctx, at, st)
		return fmt.Sprintf("%d backups, %d files, %d bytes", d.backups, d.files, d.bytes), err
	})
	if err != nil {
		return Result{}, db.exportFailed(at, err, st.URLPos)
	}
	return Result{
		Columns: []Column{{"dropped_backups", "BIGINT"}, {"dropped_files", "BIGINT"}, {"dropped_bytes", "BIGINT"}},
		Rows:    [][]row.Value{{row.IntValue(row.BigInt, d.backups), row.IntValue(row.BigInt, d.files), row.IntValue(row.BigInt, d.bytes)}},
	}, nil
}

// droppedBackups is what a drop has deleted.
type droppedBackups struct{ backups, files, bytes int64 }

func (d *droppedBackups) run(ctx context.Context, at storagelocations.Bucket, st *sql.DropBackup) (err error) {
	marker := dropsFolder + rand.Text()
	if _, err := at.Put(ctx, marker, []byte("{}"), storagelocations.Cond{IfNoneMatch: true}); err != nil {
		return err
	}
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), transferCleanMax)
		defer cancel()
		err = errors.Join(err, at.Delete(clean, marker))
	}()
	all, err := backupsAt(ctx, at, "")
	if err != nil {
		return err
	}
	drop := chosenBackups(st, all)
	if len(drop) == 0 && st.Number > 0 {
		return fail(CodeNotFound, "there is no backup %d of %s", st.Number, st.Namespace).details("SHOW BACKUP lists the backups of a place").at(st.URLPos)
	}
	kept, dropped := map[string]bool{}, map[string]bool{}
	for _, b := range all {
		names := kept
		if drop[b] {
			names = dropped
		}
		m, err := readBackup(ctx, at, b)
		if err != nil {
			if drop[b] {
				continue // damaged; its files go when they are old
			}
			return err // nobody knows what it needs
		}
		m.eachFile(func(name string, _ int64) { names[name] = true })
	}
	for b := range drop {
		if err := at.Delete(ctx, b.name()); err != nil {
			return err
		}
		d.backups++
	}
	for _, prefix := range []string{"users/", "shared/"} {
		for info, err := range at.List(ctx, prefix) {
			if err != nil {
				return err
			}
			base := path.Base(info.Name)
			ours := strings.HasPrefix(base, "batch-") && strings.HasSuffix(base, ".parquet")
			if kept[info.Name] || !dropped[info.Name] && (!ours || time.Since(info.Modified) < orphanAgeMin) {
				continue
			}
			if err := at.Delete(ctx, info.Name); err != nil {
				return err
			}
			d.files, d.bytes = d.files+1, d.bytes+info.Size
		}
	}
	return nil
}

// confirm makes sure that the files of m, whose manifest was put, are there to stay.
func (m *backupManifest) confirm(ctx context.Context, at storagelocations.Bucket) error {
	for info, err := range at.List(ctx, dropsFolder) {
		if err != nil {
			return err
		}
		if time.Since(info.Modified) < dropMarkerMax {
			return fail(CodeConflict, "backups at this place are being dropped").details("try again when DROP BACKUP is through")
		}
	}
	have, err := filesAt(ctx, at)
	if err != nil {
		return err
	}
	missing := 0
	m.eachFile(func(name string, bytes int64) {
		if size, ok := have[name]; !ok || size != bytes {
			missing++
		}
	})
	if missing > 0 {
		return fail(CodeConflict, "%d files of the backup went while it was made", missing).details("does somebody else drop backups here? try again")
	}
	return nil
}

// eachFile calls f with the files of m.
func (m *backupManifest) eachFile(f func(name string, bytes int64)) {
	for i := range m.Tables {
		for _, p := range m.Tables[i].Partitions {
			for _, file := range p.Files {
				f(file.Name, file.Bytes)
			}
		}
	}
}

// putConfirmed is put, taken back if the files are not all there.
func (m *backupManifest) putConfirmed(ctx context.Context, to storagelocations.Bucket) error {
	if err := m.put(ctx, to); err != nil {
		return err
	}
	err := m.confirm(ctx, to)
	if err == nil {
		return nil
	}
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), transferCleanMax)
	defer cancel()
	return errors.Join(err, to.Delete(clean, backupID{m.Namespace, m.Number}.name()))
}

// chosenBackups are those of all, which are ascending, that st drops.
func chosenBackups(st *sql.DropBackup, all []backupID) map[backupID]bool {
	var own []backupID
	for _, b := range all {
		if b.namespace == st.Namespace {
			own = append(own, b)
		}
	}
	chosen := map[backupID]bool{}
	for i, b := range own {
		if b.number == st.Number || st.Number == 0 && i < len(own)-st.Keep {
			chosen[b] = true
		}
	}
	return chosen
}

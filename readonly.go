package kalamdb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kalamdb/catalog"
	"kalamdb/sql"
	"kalamdb/storagelocations"
)

// A database that is read-only reads what another server, the owner, keeps in its storage:
//
//   - Every bucket is wrapped so that nothing can be written to it.
//   - The catalog and the commit logs are read again every followEvery.
//   - The write buffer, which is its own, stays empty and has no Sink: no table is ever
//     claimed. So every file counts, whatever Seqs the buffer has seen.
//   - Statements that write, and live queries, which nobody would feed, are refused.

const followEvery = 2 * time.Second

// openReadOnly opens the catalog of the owner.
func openReadOnly(ctx context.Context, o Options, b storagelocations.Bucket) (*catalog.Catalog, error) {
	if o.Storage == "" {
		return nil, errors.New("a read-only database needs Options.Storage: the storage that another server writes")
	}
	c, damage, err := catalog.Inspect(ctx, b)
	if err == nil && len(damage) > 0 {
		err = damage[0].Err
	}
	return c, err
}

// follow keeps up with the owner until ctx is done.
func (db *DB) follow(ctx context.Context) error {
	return db.lake.Follow(ctx, followEvery, func(ctx context.Context) ([]*catalog.Table, error) {
		err := db.catalog.Refresh(ctx)
		return db.catalog.Tables(), err
	})
}

// refuseReadOnly refuses what a read-only database cannot do.
func (db *DB) refuseReadOnly(s *statement) error {
	if !db.readOnly || onlyReads(s.Statement) {
		return nil
	}
	return readOnlyError(s.Verb()).at(s.Start())
}

func readOnlyError(what string) *Error {
	return fail(CodeReadOnly, "%s is not possible here: this server reads what another one writes", what)
}

func onlyReads(st sql.Statement) bool {
	switch st := st.(type) {
	case *sql.Select, *sql.Explain, *sql.ShowNamespaces, *sql.ShowTables, *sql.ShowTableStats, *sql.Describe, *sql.Use,
		*sql.Begin, *sql.Commit, *sql.Rollback, *sql.Unsupported:
		return true
	case *sql.ExecuteAs:
		return onlyReads(st.Inner)
	}
	return false
}

// bucketOf is the bucket of a table for the lake.
func (db *DB) bucketOf(t *catalog.Table) storagelocations.Bucket {
	if db.readOnly {
		return storagelocations.ReadOnly(db.buckets.of(t))
	}
	return db.buckets.of(t)
}

// openCatalog opens the catalog, and the bucket it is in.
func (db *DB) openCatalog(ctx context.Context, o Options) (err error) {
	if db.bucket, err = db.places.Bucket(ctx, o.storageURL()); err != nil {
		return err
	}
	if !o.ReadOnly {
		db.catalog, err = catalog.Open(ctx, db.bucket)
		return err
	}
	db.bucket = storagelocations.ReadOnly(db.bucket)
	if db.catalog, err = openReadOnly(ctx, o, db.bucket); err != nil {
		return fmt.Errorf("read only: %w", err)
	}
	return nil
}

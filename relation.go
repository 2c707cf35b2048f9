package kalamdb

import (
	"context"
	"slices"

	"kalamdb/catalog"
	"kalamdb/ingest"
	"kalamdb/lake"
	"kalamdb/query"
	"kalamdb/row"
)

// tableSources is the moment that a statement, or all of a transaction, reads: one view
// of the buffer, and the files that were there then. The view is taken before the
// manifests, since the other order would lose the rows that a flush moves between the
// two. What was committed in between is left out by the Seqs of the files: see frozenPartition.
type tableSources struct {
	db     *DB
	view   *ingest.View // taken with the first stored table
	frozen map[row.Partition]*frozenPartition
	txn    *transaction // its own writes lie over the rows; nil outside of one
}

// A frozenPartition is one partition as a statement sees it.
//
// A file that reaches beyond the snapshot was flushed after the view was taken, so all
// its rows are in the view or newer than it: such files are not among files. That holds
// for merged files too, since none reaches beyond a view that is open: see lake/compact.go.
type frozenPartition struct {
	snap     *ingest.Snapshot
	manifest *lake.Manifest
	files    []*lake.File
}

// sources is the moment of s: a new one, or that of its transaction, which release
// leaves alone.
func (db *DB) sources(s *statement) (_ *tableSources, release func()) {
	if s.txn != nil {
		return &s.txn.sources, func() {}
	}
	ts := &tableSources{db: db}
	return ts, ts.release
}

func (ts *tableSources) release() {
	for _, m := range ts.frozen {
		m.manifest.Release()
	}
	if ts.view != nil {
		ts.view.Close()
	}
}

// affectedName is the table that RETURNING and SET read: the rows of the statement. No
// stored table can have the name.
const affectedName = "kalamdb affected"

// relations resolves tables, in order, to the rows the caller may see; affected is the
// one of that name, if the statement has it.
func (ts *tableSources) relations(ctx context.Context, s *statement, tables []query.TableRef, affected *query.Relation, where relocate) ([]*query.Relation, error) {
	rels := make([]*query.Relation, len(tables))
	for i, t := range tables {
		namespace := t.Namespace
		if namespace == "" {
			namespace = s.namespace
			if affected != nil && t.Name == affectedName {
				rels[i] = affected
				continue
			}
		}
		rel, err := ts.named(ctx, s, t, namespace)
		if err != nil {
			return nil, asError(err).at(where(t.Pos))
		}
		rels[i] = rel
	}
	return rels, nil
}

// at is the moment of one partition.
func (ts *tableSources) at(ctx context.Context, p row.Partition) (*frozenPartition, error) {
	if m := ts.frozen[p]; m != nil {
		return m, nil
	}
	if ts.view == nil {
		ts.view = ts.db.buffer.View()
	}
	snap, err := ts.view.Partition(ctx, p)
	if err != nil {
		return nil, err
	}
	m := &frozenPartition{snap: snap, manifest: ts.db.lake.Manifest(p)}
	m.files = m.manifest.Files
	if !ts.db.readOnly && slices.ContainsFunc(m.files, func(f *lake.File) bool { return f.MaxSeq > snap.Seq() }) {
		m.files = slices.DeleteFunc(slices.Clone(m.files), func(f *lake.File) bool { return f.MaxSeq > snap.Seq() })
	}
	if ts.frozen == nil {
		ts.frozen = map[row.Partition]*frozenPartition{}
	}
	ts.frozen[p] = m
	return m, nil
}

// find is the newest version of each of the keys, in the schema of t; a key that no row
// ever had is not in the answer, that of a deleted row is.
func (ts *tableSources) find(ctx context.Context, t *catalog.Table, p row.Partition, keys [][]byte) (map[string]*row.Row, error) {
	m, err := ts.at(ctx, p)
	if err != nil {
		return nil, err
	}
	mapping := row.NewMapping(t.Schema(), t.SchemaAt)
	found := make(map[string]*row.Row, len(keys))
	put := func(key []byte, r row.Row) (err error) {
		found[string(key)], err = mapping.Row(&r)
		return err
	}
	hot := ts.hot(p, m.snap)
	var missing [][]byte
	for _, key := range keys {
		r, ok, err := hot.Get(key)
		if err == nil && ok {
			err = put(key, r)
		}
		if err != nil {
			return nil, err
		}
		if !ok && len(m.files) > 0 {
			missing = append(missing, key)
		}
	}
	if len(missing) == 0 {
		return found, nil
	}
	stored, err := ts.db.lake.Find(ctx, &lake.Manifest{Files: m.files}, t.Schema(), missing)
	if err != nil {
		return nil, err
	}
	for key, r := range stored {
		if err := put([]byte(key), r); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// hot is the buffered rows of p with the transaction's own writes over them.
func (ts *tableSources) hot(p row.Partition, snap *ingest.Snapshot) query.Hot {
	if ts.txn != nil {
		if own := ts.txn.own[p]; own != nil {
			return own.over(snap)
		}
	}
	return snap
}

// named is the relation of what a statement calls t.
func (ts *tableSources) named(ctx context.Context, s *statement, t query.TableRef, namespace string) (*query.Relation, error) {
	if t.AllUsers {
		return ts.everyone(ctx, s, namespace, t.Name)
	}
	return ts.relation(ctx, s, namespace, t.Name)
}

func (ts *tableSources) relation(ctx context.Context, s *statement, namespace, name string) (*query.Relation, error) {
	if namespace == systemNS || namespace == infoSchemaNS {
		return ts.db.systemRelation(s.req.As, namespace, name)
	}
	ts.open()
	t, err := ts.db.readable(s.req.As, namespace, name)
	if err != nil {
		return nil, err
	}
	guard, err := ts.db.rulesOf(s, t).guard()
	if err != nil {
		return nil, err
	}
	rel, _, err := ts.stored(ctx, t, s.partition(t))
	if err == nil {
		rel.Guard = guard
	}
	return rel, err
}

// stored is the relation of one partition, with the snapshot of its buffered rows.
func (ts *tableSources) stored(ctx context.Context, t *catalog.Table, p row.Partition) (*query.Relation, *ingest.Snapshot, error) {
	m, err := ts.at(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	rel := &query.Relation{Schema: t.Schema(), SchemaAt: t.SchemaAt, System: t.Versioned(), Hot: ts.hot(p, m.snap), Files: make([]query.File, len(m.files))}
	for i, f := range m.files {
		rel.Files[i] = query.File{
			Rows: f.Rows, Deleted: f.Deleted, Bytes: f.Bytes,
			MinKey: f.MinKey, MaxKey: f.MaxKey, MinSeq: f.MinSeq, MaxSeq: f.MaxSeq,
			MinUpdated: f.MinUpdated, MaxUpdated: f.MaxUpdated,
			Schema: t.SchemaAt(f.SchemaVersion),
			Local: func(ctx context.Context) (string, func(), error) {
				return ts.db.lake.Local(ctx, f)
			},
		}
		if ts.db.lake.Divisible(f) {
			rel.Files[i].Part = func(ctx context.Context, columns []row.ColumnID, from, to []byte) (string, bool, func(), error) {
				return ts.db.lake.Part(ctx, f, lake.Part{Columns: columns, From: from, To: to})
			}
		}
	}
	return rel, m.snap, nil
}

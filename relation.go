package kalamdb

import (
	"context"

	"kalamdb/catalog"
	"kalamdb/ingest"
	"kalamdb/query"
	"kalamdb/row"
)

// relations resolves the tables of a statement, in order, to the rows the caller
// may see, all of one moment: one view of the buffer is taken first, then the
// manifests. The other order would lose the rows that a flush moves between the
// two. release gives everything back.
func (db *DB) relations(ctx context.Context, s *statement, tables []query.TableRef, where relocate) (_ []*query.Relation, release func(), err error) {
	sources := tableSources{db: db}
	defer func() {
		if err != nil {
			sources.release()
		}
	}()
	rels := make([]*query.Relation, len(tables))
	for i, t := range tables {
		namespace := t.Namespace
		if namespace == "" {
			namespace = s.namespace
		}
		rel, err := sources.relation(ctx, s, namespace, t.Name)
		if err != nil {
			return nil, nil, asError(err).at(where(t.Pos))
		}
		rels[i] = rel
	}
	return rels, sources.release, nil
}

// tableSources holds what the relations of one statement are read from.
type tableSources struct {
	db   *DB
	view *ingest.View // taken with the first stored table
	pins []interface{ Release() }
}

func (ts *tableSources) release() {
	for _, p := range ts.pins {
		p.Release()
	}
	if ts.view != nil {
		ts.view.Close()
	}
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
	rel, _, err := ts.stored(ctx, t, s.partition(t))
	return rel, err
}

// stored is the relation of one partition, with the snapshot of its buffered rows.
func (ts *tableSources) stored(ctx context.Context, t *catalog.Table, p row.Partition) (*query.Relation, *ingest.Snapshot, error) {
	if ts.view == nil {
		ts.view = ts.db.buffer.View()
	}
	snap, err := ts.view.Partition(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	m := ts.db.lake.Manifest(p)
	ts.pins = append(ts.pins, m)
	rel := &query.Relation{Schema: t.Schema(), SchemaAt: t.SchemaAt, System: t.Versioned(), Hot: snap, Files: make([]query.File, len(m.Files))}
	for i, f := range m.Files {
		rel.Files[i] = query.File{
			Rows: f.Rows, Deleted: f.Deleted,
			MinKey: f.MinKey, MaxKey: f.MaxKey, MinSeq: f.MinSeq, MaxSeq: f.MaxSeq,
			MinUpdated: f.MinUpdated, MaxUpdated: f.MaxUpdated,
			Schema: t.SchemaAt(f.SchemaVersion),
			Local: func(ctx context.Context) (string, func(), error) {
				return ts.db.lake.Local(ctx, f)
			},
		}
	}
	return rel, snap, nil
}

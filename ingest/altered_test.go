package ingest

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"kalamdb/row"
)

// TestAltered: from the moment the table has a newer schema, nothing is written with an
// older one, and a commit that holds such a write does nothing at all.
func TestAltered(t *testing.T) {
	var newest atomic.Uint32
	newest.Store(1)
	b := start(t, Options{SchemaVersion: func(ref row.TableRef) uint32 {
		if ref == testTable {
			return newest.Load()
		}
		return 1
	}})
	b.commit(ana, insert(1, "one"))
	newest.Store(2)
	if _, err := b.tryCommit(ana, insert(2, "two")); !errors.Is(err, ErrAltered) {
		t.Errorf("a write of schema version 1 in a table of version 2: %v", err)
	}
	other := row.Partition{Table: row.TableRef{Namespace: "app", Name: "other", ID: 8}, User: "ana"}
	_, err := b.Commit(context.Background(),
		Write{Partition: other, Schema: testSchema, Mutations: []Mutation{insert(1, "x")}},
		Write{Partition: ana, Schema: testSchema, Mutations: []Mutation{update(b.get(ana, 1), "uno")}})
	if !errors.Is(err, ErrAltered) || len(b.rowsOf(other)) != 0 {
		t.Errorf("a commit with one old write: %v, and it left %d rows", err, len(b.rowsOf(other)))
	}
	two := *testSchema
	two.Version = 2
	if _, err := b.Commit(context.Background(), Write{Partition: ana, Schema: &two, Epoch: b.Epoch(ana), Mutations: []Mutation{insert(2, "two")}}); err != nil {
		t.Errorf("a write of the newest version: %v", err)
	}
	rows := b.rowsOf(ana)
	if one, two := rows[string(keyOf(1))], rows[string(keyOf(2))]; len(rows) != 2 || one.Schema != 1 || one.Values[1].Str() != "one" || two.Schema != 2 {
		t.Errorf("rows are %v", rows)
	}
}

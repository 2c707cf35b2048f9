package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/storagelocations"
)

// dying is a bucket that does so many more puts and deletes, and then nothing.
type dying struct {
	storagelocations.Bucket
	left int
}

var errDead = errors.New("the bucket is dead")

func (d *dying) Put(ctx context.Context, name string, body []byte, cond storagelocations.Cond) (storagelocations.Info, error) {
	if d.left--; d.left < 0 {
		return storagelocations.Info{}, errDead
	}
	return d.Bucket.Put(ctx, name, body, cond)
}

func (d *dying) Delete(ctx context.Context, name string) error {
	if d.left--; d.left < 0 {
		return errDead
	}
	return d.Bucket.Delete(ctx, name)
}

// Wherever a restore is cut off, the next start has either none of its tables, and knows
// those whose files have to go, or all of them.
func TestRestoreIsAllOrNothing(t *testing.T) {
	ctx := t.Context()
	schema := &row.Schema{Version: 1, Key: []row.ColumnID{1}, Columns: []row.Column{{ID: 1, Name: "id", Type: row.Type{Kind: row.Int}, NotNull: true}}}
	var from []*catalog.Table
	for i := range 3 {
		from = append(from, &catalog.Table{
			Ref: row.TableRef{Namespace: "old", Name: fmt.Sprintf("t%d", i), ID: uint64(i + 1)}, Type: catalog.User, Root: "s3://elsewhere", Path: "x/${user_id}", Location: "gone",
			Versions: []catalog.SchemaVersion{{Schema: schema, Changes: "CREATE TABLE"}},
		})
	}
	outcomes := map[int]int{}
	for writes := 0; ; writes++ {
		memory := storagelocations.NewMemory()
		c, err := catalog.Open(ctx, memory)
		if err != nil {
			t.Fatal(err)
		}
		// A table of the same name was dropped before and is not forgotten yet.
		if err := c.CreateNamespace(ctx, catalog.Namespace{Name: "n"}); err != nil {
			t.Fatal(err)
		}
		before, err := c.CreateTable(ctx, catalog.Table{Ref: row.TableRef{Namespace: "n", Name: "t1"}, Type: catalog.User, Versions: []catalog.SchemaVersion{{Schema: schema}}})
		if err == nil {
			_, err = c.DropTable(ctx, "n", "t1")
		}
		if err == nil {
			err = c.DropNamespace(ctx, "n")
		}
		if err != nil {
			t.Fatal(err)
		}
		dead := &dying{Bucket: memory, left: writes}
		c, err = catalog.Open(ctx, dead)
		if err != nil {
			t.Fatal(err)
		}
		staged, err := c.StageTables(ctx, "n", from)
		if len(c.Tables()) != 0 {
			t.Fatalf("%d tables are there before they are published", len(c.Tables()))
		}
		committed := false
		if err == nil {
			committed, err = c.PublishTables(ctx, catalog.Namespace{Name: "n", Options: map[string]string{"a": "b"}}, staged)
		}
		c, reopened := catalog.Open(ctx, memory)
		if reopened != nil {
			t.Fatal(reopened)
		}
		tables, dropped := c.Tables(), c.Dropped()
		outcomes[len(tables)]++
		switch _, exists := c.Namespace("n"); {
		case len(tables) == 0 && exists != nil && err != nil && len(dropped) == len(staged)+1:
		case len(tables) == 3 && exists == nil && committed && len(dropped) == 1 && dropped[0].Ref.ID == before.Ref.ID:
			for i, table := range tables {
				if table.Root != "" || table.Location != "" || table.Path != storagelocations.DefaultUser || table.Ref.ID == from[i].Ref.ID {
					t.Errorf("restored as %+v", table)
				}
			}
		default:
			t.Errorf("after %d writes (%v, committed %t): %d tables, %d dropped ones, %d staged, namespace: %v", writes, err, committed, len(tables), len(dropped), len(staged), exists)
		}
		if err == nil {
			break
		}
	}
	if outcomes[0] < 3 || outcomes[3] < 5 {
		t.Errorf("outcomes %v: the test shows too little", outcomes)
	}
}

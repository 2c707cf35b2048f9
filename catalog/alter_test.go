package catalog

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kalamdb/row"
	"kalamdb/storagelocations"
)

// with is the current schema of t after a change.
func with(t *Table, change func(s *row.Schema)) *row.Schema {
	s := *t.Schema()
	s.Columns = slices.Clone(s.Columns)
	change(&s)
	return &s
}

func TestAlterTable(t *testing.T) {
	ctx := t.Context()
	c := open(t, storagelocations.NewMemory())
	first := create(t, c, messages("default", "m"))
	schema := with(first, func(s *row.Schema) {
		s.Columns = append(slices.Delete(s.Columns, 2, 3), row.Column{ID: first.NextColumnID(), Name: "tags", Type: row.Type{Kind: row.Bytes}, Default: "'x'", Initial: row.BytesValue([]byte{0, 'x'})})
		s.Columns[1].Type.Precision = 20
	})
	a := Alteration{Schema: schema, Changes: "DROP COLUMN tags, …", Flush: FlushPolicy{Rows: 5}, DeletedRetention: -1, Options: map[string]string{"access": "public"}}
	second, err := c.AlterTable(ctx, first, a)
	if err != nil {
		t.Fatal(err)
	}
	mustEqualBucket(t, c)
	if len(first.Versions) != 1 || first.Options["access"] != "private" {
		t.Error("the table handed out before has changed")
	}
	if second.Schema().Version != 2 || !reflect.DeepEqual(second.Schema().Columns, schema.Columns) || second.SchemaAt(1).Columns[2].Name != "tags" {
		t.Errorf("the schemas are %+v", second.Versions)
	}
	if second.Flush != (FlushPolicy{5, 5 * time.Minute}) || second.DeletedRetention != -1 || second.Options["access"] != "public" || !second.Updated.After(first.Updated) {
		t.Errorf("the table is %+v", second)
	}
	if second.NextColumnID() != 6 {
		t.Errorf("the next column id is %d, expected 6", second.NextColumnID())
	}
	if _, err := c.AlterTable(ctx, first, a); !errors.Is(err, ErrConflict) {
		t.Errorf("altering a table as it was: %v", err)
	}
	third, err := c.AlterTable(ctx, second, Alteration{DeletedRetention: time.Hour, Flush: second.Flush})
	if err != nil || len(third.Versions) != 2 {
		t.Errorf("options alone made %+v, %v", third, err)
	}
	mustEqualBucket(t, c)
	if _, err := c.DropTable(ctx, "default", "m"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AlterTable(ctx, third, a); !errors.Is(err, ErrNotFound) {
		t.Errorf("altering a dropped table: %v", err)
	}
}

func TestEvolutionIsChecked(t *testing.T) {
	ctx := t.Context()
	c := open(t, storagelocations.NewMemory())
	table := create(t, c, messages("default", "m"))
	table, err := c.AlterTable(ctx, table, Alteration{Schema: with(table, func(s *row.Schema) { s.Columns = s.Columns[:2] }), Flush: table.Flush})
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(s *row.Schema){
		"an id of a dropped column": func(s *row.Schema) {
			s.Columns = append(s.Columns, row.Column{ID: 3, Name: "new", Type: row.Type{Kind: row.List, Elem: row.Text}})
		},
		"a narrower type": func(s *row.Schema) { s.Columns[1].Type.Precision = 9 },
		"another key": func(s *row.Schema) {
			s.Columns[1].NotNull, s.Key = true, []row.ColumnID{2}
		},
		"a wider key":          func(s *row.Schema) { s.Columns[0].Type = row.Type{Kind: row.Decimal, Precision: 30} },
		"a wrong initial":      func(s *row.Schema) { s.Columns[1].Initial = row.TextValue("x") },
		"a system column name": func(s *row.Schema) { s.Columns[1].Name = row.ColSeq },
		"a doubled name":       func(s *row.Schema) { s.Columns[1].Name = "id" },
	} {
		if _, err := c.AlterTable(ctx, table, Alteration{Schema: with(table, change), Flush: table.Flush}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	mustEqualBucket(t, c)
	for len(table.Versions) < schemaVersionsMax {
		table.Versions = append(table.Versions, table.Versions[1]) // the bucket never sees these
	}
	if _, err := c.AlterTable(ctx, table, Alteration{Schema: table.Schema(), Flush: table.Flush}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "1000 schemas") {
		t.Errorf("one schema too many: %v", err)
	}
}

// TestAlterationsDoNotOverwriteEachOther: of two changes of the same table one is told.
func TestAlterationsDoNotOverwriteEachOther(t *testing.T) {
	ctx := t.Context()
	bucket := storagelocations.NewMemory()
	c := open(t, bucket)
	table := create(t, c, messages("default", "m"))
	other := open(t, bucket)
	theirs, err := other.Table("default", "m")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i, do := range []func() error{
		func() error {
			_, err := c.AlterTable(ctx, table, Alteration{Flush: FlushPolicy{Rows: 1}})
			return err
		},
		func() error {
			_, err := other.AlterTable(ctx, theirs, Alteration{Flush: FlushPolicy{Rows: 2}})
			return err
		},
	} {
		wg.Go(func() { errs[i] = do() })
	}
	wg.Wait()
	if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs...), ErrConflict) {
		t.Fatalf("both were answered with %v", errs)
	}
}

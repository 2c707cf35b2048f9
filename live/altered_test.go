package live

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"kalamdb/row"
)

// TestRowsOfOtherVersions: whatever schema a row was written with, older or newer, the
// filter and the subscriber see it in the schema of the subscription; other receivers
// of the batch see it as it was.
func TestRowsOfOtherVersions(t *testing.T) {
	text, number := row.Type{Kind: row.Text}, row.Type{Kind: row.BigInt}
	id := testSchema.Columns[0]
	n := row.Column{ID: 2, Name: "n", Type: number, Initial: row.IntValue(row.BigInt, 9)}
	versions := []*row.Schema{
		{Version: 1, Key: testSchema.Key, Columns: []row.Column{id, {ID: 3, Name: "n", Type: text}}},
		{Version: 2, Key: testSchema.Key, Columns: []row.Column{n, id}},
		{Version: 3, Key: testSchema.Key, Columns: []row.Column{{ID: 4, Name: "x", Type: text}, id, n}},
	}
	at := func(v uint32) *row.Schema {
		if v < 1 || int(v) > len(versions) {
			return nil
		}
		return versions[v-1]
	}
	key, num := row.TextValue("k"), func(i int64) row.Value { return row.IntValue(row.BigInt, i) }
	rows := []row.Row{
		{Schema: 1, Values: []row.Value{key, row.TextValue("dropped")}},
		{Schema: 2, Values: []row.Value{num(5), key}},
		{Schema: 3, Values: []row.Value{row.TextValue("new"), key, num(7)}},
		{Schema: 3, Values: []row.Value{row.TextValue("new"), key, num(-1)}}, // does not match
	}
	hub := NewHub(Options{})
	var seen []int64
	subscribeIn := func(id string, version uint32) *Subscription {
		s := at(version)
		columns := []int{s.ByName("id"), s.ByName("n"), ColSeq}
		f := filterFunc(func(r *row.Row) bool {
			v := r.Values[s.ByName("n")]
			seen = append(seen, v.Int())
			return v.Int() >= 0
		})
		return subscribe(t, hub, Spec{ID: id, Selection: &Selection{Partition: testPartition("ana"), Shape: &Shape{Schema: s, SchemaAt: at, Columns: columns, Names: []string{"id", "n", "_seq"}}, Filter: f, Uses: []row.ColumnID{1, s.Columns[s.ByName("n")].ID}}})
	}
	subs := []*Subscription{subscribeIn("two", 2), subscribeIn("three", 3)}
	b := &row.Batch{Partition: testPartition("ana")}
	for i := range rows {
		c := row.Change{Op: row.Insert, Key: []byte("k"), New: rows[i]}
		c.New.Seq = row.Seq(i + 1)
		if i > 0 {
			c.Op, c.Old = row.Update, &b.Changes[i-1].New
		}
		b.Changes = append(b.Changes, c)
	}
	before := fmt.Sprintf("%+v", b.Changes)
	for _, s := range subs {
		s.Start(0)
	}
	hub.Committed(b)
	settle(hub)
	for _, s := range subs {
		var got []string
		for len(got) < 4 {
			e, err := s.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range e.Rows {
				got = append(got, fmt.Sprintf("%s %s", e.Op, s.AppendRow(nil, r)))
				if e.Op == row.Update && len(e.Old[i].Values) != len(s.spec.Schema.Columns) {
					t.Errorf("old row %+v", e.Old[i])
				}
			}
		}
		want := []string{`INSERT {"id":"k","n":9,"_seq":1}`, `UPDATE {"id":"k","n":5,"_seq":2}`, `UPDATE {"id":"k","n":7,"_seq":3}`, `DELETE {"id":"k","n":7,"_seq":4}`}
		if !slices.Equal(got, want) {
			t.Errorf("%s got %q, expected %q", s.spec.ID, got, want)
		}
	}
	if want := []int64{9, 9, 5, 5, 7, 7, -1}; !slices.Equal(seen, append(want, want...)) {
		t.Errorf("the filters saw %v", seen)
	}
	if after := fmt.Sprintf("%+v", b.Changes); after != before {
		t.Errorf("the shared batch was changed from %s to %s", before, after)
	}
	hub.Committed(&row.Batch{Partition: b.Partition, Changes: []row.Change{{Op: row.Insert, Key: []byte("k"), New: row.Row{Seq: 9, Schema: 77}}}})
	settle(hub)
	if _, err := subs[0].Next(t.Context()); err == nil {
		t.Error("a row of a version that never was is delivered")
	}
}

// A filterFunc is a filter of single rows.
type filterFunc func(r *row.Row) bool

func (filterFunc) Fast() bool { return true }

func (f filterFunc) Match(_ context.Context, rows []*row.Row) ([]bool, error) {
	ok := make([]bool, len(rows))
	for i, r := range rows {
		ok[i] = f(r)
	}
	return ok, nil
}

func TestUsing(t *testing.T) {
	hub := NewHub(Options{})
	spec := testSpec("a", "ana", nil)
	spec.Uses = []row.ColumnID{1, 2}
	a := subscribe(t, hub, spec)
	spec = testSpec("b", "ana", nil)
	spec.Uses = []row.ColumnID{1}
	b := subscribe(t, hub, spec)
	a.Start(0)
	b.Start(0)
	if i, ok := hub.Using(7, []row.ColumnID{5, 2}); !ok || i.ID != "a" {
		t.Errorf("column 2 is used by %q, %t", i.ID, ok)
	}
	for _, none := range []struct {
		table   uint64
		columns []row.ColumnID
	}{{7, []row.ColumnID{3}}, {8, []row.ColumnID{1}}, {7, nil}} {
		if i, ok := hub.Using(none.table, none.columns); ok {
			t.Errorf("%v is used by %q", none, i.ID)
		}
	}
	if n := hub.EndUsing(7, []row.ColumnID{2}, ReasonLagged); n != 1 {
		t.Errorf("%d live queries ended, expected one", n)
	}
	if _, err := a.Next(t.Context()); err == nil || err.(*EndedError).Reason != ReasonLagged {
		t.Errorf("a: %v", err)
	}
	if hub.Count() != 1 {
		t.Errorf("%d live queries are left, expected b", hub.Count())
	}
}

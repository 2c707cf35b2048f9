package live

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"kalamdb/row"
)

func TestTransitions(t *testing.T) {
	hub := NewHub(Options{})
	st := newStore(hub)
	s := subscribe(t, hub, testSpec("a", "ana", where(func(n int64) bool { return n >= 10 })))
	s.Start(0)
	for _, c := range []struct {
		n    int64
		want string // "" is no event
	}{
		{1, ""},
		{2, ""},
		{10, "INSERT k=10 @3"},
		{11, "UPDATE k=11<10 @4"},
		{3, "DELETE left k=11(deleted) @5"},
		{4, ""},
		{12, "INSERT k=12 @7"},
		{gone, "DELETE k=12(deleted) @8"},
		{5, ""},
		{gone, ""},
		{13, "INSERT k=13 @11"},
	} {
		st.commit("ana", write{"k", c.n})
		if c.want != "" {
			expect(t, s, c.want)
		}
		idle(t, s)
	}
}

// TestLeftFilterRow: what a row became is not shown, only that it is gone and since when.
func TestLeftFilterRow(t *testing.T) {
	hub := NewHub(Options{})
	st := newStore(hub)
	spec := testSpec("a", "ana", where(func(n int64) bool { return n == 1 }))
	spec.Columns, spec.Names = []int{0, 1, ColSeq, ColUpdated, ColDeleted}, []string{"id", "n", "_seq", "_updated", "_deleted"}
	s := subscribe(t, hub, spec)
	s.Start(0)
	st.commit("ana", write{"k", 1})
	b := st.commit("ana", write{"k", 2})
	expect(t, s, "INSERT k=1 @1")
	e, err := s.Next(t.Context())
	if err != nil || e.Op != row.Delete || !e.LeftFilter || e.Old != nil {
		t.Fatalf("%+v, %v", e, err)
	}
	want := `{"id":"k","n":1,"_seq":2,"_updated":"1970-01-01T00:00:00.002000Z","_deleted":true}`
	if got := string(s.AppendRow(nil, e.Rows[0])); got != want {
		t.Errorf("got %s, expected %s", got, want)
	}
	if old := b.Changes[0].Old; old.Deleted || old.Seq != 1 {
		t.Errorf("the shared row was changed: %+v", old)
	}
}

// A filter over system columns sees both versions of a deleted row.
func TestDeleteMatchesBeforeOrAfter(t *testing.T) {
	for _, deleted := range []bool{false, true} {
		hub := NewHub(Options{})
		st := newStore(hub)
		s := subscribe(t, hub, testSpec("a", "ana", rowFilter(func(r *row.Row) bool { return r.Deleted == deleted })))
		s.Start(0)
		st.commit("ana", write{"k", 1})
		st.commit("ana", write{"k", gone})
		if !deleted {
			expect(t, s, "INSERT k=1 @1")
		}
		expect(t, s, "DELETE k=1(deleted) @2")
		idle(t, s)
	}
}

type rowFilter func(*row.Row) bool

func (f rowFilter) Match(_ context.Context, rows []*row.Row) ([]bool, error) {
	matched := make([]bool, len(rows))
	for i, r := range rows {
		matched[i] = f(r)
	}
	return matched, nil
}

func TestGrouping(t *testing.T) {
	commits := [][]write{
		{{"a", 1}, {"b", 2}, {"c", 3}},
		{{"a", 4}, {"b", 5}, {"d", 6}, {"e", 7}, {"c", gone}, {"d", gone}},
		{{"f", 1}, {"a", 8}, {"g", 2}},
		{{"h", 1}},
		{{"i", 1}},
	}
	for _, c := range []struct {
		name      string
		where     where
		batchRows int
		want      []string
	}{
		{"everything", nil, 0, []string{
			"INSERT a=1 b=2 c=3 @3",
			"UPDATE a=4<1 b=5<2 @5", "INSERT d=6 e=7 @7", "DELETE c=3(deleted) d=6(deleted) @9",
			"INSERT f=1 @10", "UPDATE a=8<4 @11", "INSERT g=2 @12",
			"INSERT h=1 @13", "INSERT i=1 @14", // two commits are two events
		}},
		{"what does not match parts nothing", func(n int64) bool { return n < 4 }, 0, []string{
			"INSERT a=1 b=2 c=3 @3",
			"DELETE left a=1(deleted) b=2(deleted) @5", "DELETE c=3(deleted) @8",
			"INSERT f=1 g=2 @12",
			"INSERT h=1 @13", "INSERT i=1 @14",
		}},
		{"at most two rows", nil, 2, []string{
			"INSERT a=1 b=2 @2", "INSERT c=3 @3",
			"UPDATE a=4<1 b=5<2 @5", "INSERT d=6 e=7 @7", "DELETE c=3(deleted) d=6(deleted) @9",
			"INSERT f=1 @10", "UPDATE a=8<4 @11", "INSERT g=2 @12",
			"INSERT h=1 @13", "INSERT i=1 @14",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			hub := NewHub(Options{})
			st := newStore(hub)
			spec := testSpec("a", "ana", c.where.asFilter())
			spec.BatchRows = c.batchRows
			s := subscribe(t, hub, spec)
			s.Start(0)
			for _, writes := range commits {
				st.commit("ana", writes...)
			}
			expect(t, s, c.want...)
			idle(t, s)
			if i := hub.List()[0]; i.Changes == 0 || i.Updated.Before(i.Created) {
				t.Errorf("info %+v", i)
			}
		})
	}
}

// A backlog of small commits is one call of the filter.
func TestFilterRunsOverTheBacklogAtOnce(t *testing.T) {
	hub := NewHub(Options{})
	st := newStore(hub)
	calls := 0
	s := subscribe(t, hub, testSpec("a", "ana", rowFilter(func(r *row.Row) bool {
		if r.Seq == 1 {
			calls++
		}
		return r.Seq == 1 || r.Seq == 1500
	})))
	s.Start(0)
	for range 1500 {
		st.commit("ana", write{"k", 1})
	}
	expect(t, s, "INSERT k=1 @1")
	if calls != 2 { // as the new row of 1 and the old row of 2
		t.Errorf("the filter saw the first row %d times", calls)
	}
	expect(t, s, "DELETE left k=1(deleted) @2", "INSERT k=1 @1500")
	idle(t, s)
}

func TestFilterErrorLosesNothing(t *testing.T) {
	hub := NewHub(Options{})
	st := newStore(hub)
	f := &failing{err: errors.New("conversion error")}
	s := subscribe(t, hub, testSpec("q1", "ana", f))
	s.Start(0)
	st.commit("ana", write{"k", 1})
	for range 2 {
		if _, err := s.Next(t.Context()); !errors.Is(err, f.err) || !strings.Contains(err.Error(), "q1") {
			t.Fatalf("got %v", err)
		}
	}
	f.err, f.short = nil, true
	if _, err := s.Next(t.Context()); err == nil || !strings.Contains(err.Error(), "0 answers for 1 rows") {
		t.Fatalf("got %v", err)
	}
	f.short = false
	expect(t, s, "INSERT k=1 @1")
}

type failing struct {
	err   error
	short bool
}

func (f *failing) Match(_ context.Context, rows []*row.Row) ([]bool, error) {
	if f.err != nil || f.short {
		return nil, f.err
	}
	return []bool{true}, nil
}

func TestAppendRow(t *testing.T) {
	schema := &row.Schema{Columns: make([]row.Column, 3)}
	r := &row.Row{
		Seq: row.SeqMax - 1, Updated: 1_767_323_045_123_456, Deleted: true,
		Values: []row.Value{row.TextValue("I'm \"great\"\n"), row.IntValue(row.BigInt, math.MaxInt64), row.NullValue},
	}
	for _, c := range []struct {
		columns []int
		names   []string
		want    string
	}{
		{nil, nil, `{}`},
		{[]int{2}, []string{"x"}, `{"x":null}`},
		{[]int{1, 0, 1}, []string{"big", `a "b"`, "again"}, `{"big":"9223372036854775807","a \"b\"":"I'm \"great\"\n","again":"9223372036854775807"}`},
		{[]int{ColDeleted, ColUpdated, ColSeq}, []string{"_deleted", "_updated", "_seq"},
			`{"_deleted":true,"_updated":"2026-01-02T03:04:05.123456Z","_seq":9007199254740991}`},
	} {
		hub := NewHub(Options{})
		s := subscribe(t, hub, Spec{Schema: schema, Columns: c.columns, Names: c.names})
		if got := string(s.AppendRow([]byte("> "), r)); got != "> "+c.want {
			t.Errorf("got %s, expected > %s", got, c.want)
		}
	}
}

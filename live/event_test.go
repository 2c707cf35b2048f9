package live

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

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

// Only a filter that looks at _deleted sees both versions of a deleted row.
func TestDeleteMatchesBeforeOrAfter(t *testing.T) {
	for _, deleted := range []bool{false, true} {
		hub := NewHub(Options{})
		st := newStore(hub)
		spec := testSpec("a", "ana", rowFilter(func(r *row.Row) bool { return r.Deleted == deleted }))
		spec.Deleted = true
		s := subscribe(t, hub, spec)
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

// What a DELETE makes of the system columns does not bring a row into a filter, nor hide
// that it was there.
func TestDeleteMatchesBefore(t *testing.T) {
	for _, was := range []bool{false, true} {
		hub := NewHub(Options{})
		st := newStore(hub)
		s := subscribe(t, hub, testSpec("a", "ana", rowFilter(func(r *row.Row) bool { return (r.Seq <= 1) == was })))
		s.Start(1)
		st.commit("ana", write{"k", 1})
		st.commit("ana", write{"k", gone})
		if was {
			expect(t, s, "DELETE k=1(deleted) @2")
		}
		idle(t, s)
	}
}

type rowFilter func(*row.Row) bool

func (rowFilter) Fast() bool { return true }

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

// A slowFilter answers when the test lets it, and counts what it was asked.
type slowFilter struct {
	rowFilter
	let   chan struct{} // one for each call
	calls []int         // rows of each

	bad    error // for the row with badSeq
	badSeq row.Seq
}

func (*slowFilter) Fast() bool { return false }

func (f *slowFilter) Match(ctx context.Context, rows []*row.Row) ([]bool, error) {
	f.calls = append(f.calls, len(rows))
	select {
	case <-f.let:
		if f.bad != nil && slices.ContainsFunc(rows, func(r *row.Row) bool { return r.Seq == f.badSeq }) {
			return nil, f.bad
		}
		return f.rowFilter.Match(ctx, rows)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A slow filter holds up nobody else, and what comes meanwhile is one call of it.
func TestSlowFilterTakesABacklogAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := NewHub(Options{})
		st := newStore(hub)
		st.publish = make(chan *row.Batch, 1)
		f := &slowFilter{rowFilter: func(r *row.Row) bool { return r.Seq == 1 || r.Seq == 500 }, let: make(chan struct{})}
		s, other := subscribe(t, hub, testSpec("a", "ana", f)), subscribe(t, hub, testSpec("b", "ana", nil))
		s.Start(0)
		other.Start(0)
		for range 500 {
			st.commit("ana", write{"k", 1})
			hub.Committed(<-st.publish)
			synctest.Wait()
			if e, err := other.Poll(); e == nil || err != nil {
				t.Fatalf("the other live query has %v, %v", e, err)
			}
		}
		close(f.let)
		expect(t, s, "INSERT k=1 @1", "DELETE left k=1(deleted) @2", "INSERT k=1 @500")
		idle(t, s)
		settle(hub)
		if want := []int{1, 2 * 499}; !slices.Equal(f.calls, want) {
			t.Errorf("the filter was called with %d rows, expected %d", f.calls, want)
		}
	})
}

// What comes before a change that the filter fails for is delivered, however many go
// through the filter at once.
func TestFilterErrorInABacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := NewHub(Options{})
		st := newStore(hub)
		st.publish = make(chan *row.Batch, 10)
		bad := errors.New("row 5")
		f := &slowFilter{rowFilter: func(*row.Row) bool { return true }, let: make(chan struct{}), bad: bad, badSeq: 5}
		s := subscribe(t, hub, testSpec("a", "ana", f))
		s.Start(0)
		for i := range int64(8) {
			st.commit("ana", write{"k", i})
			hub.Committed(<-st.publish)
		}
		synctest.Wait()
		close(f.let)
		expect(t, s, "INSERT k=0 @1", "UPDATE k=1<0 @2", "UPDATE k=2<1 @3", "UPDATE k=3<2 @4")
		if e := ended(t, s); e.Seq != 4 || !errors.Is(e, bad) {
			t.Errorf("got %+v", e)
		}
		again := subscribe(t, hub, testSpec("b", "ana", f))
		if err := again.Replay(t.Context(), st, 1, 8); err != nil {
			t.Fatal(err)
		}
		expect(t, again, "UPDATE k=1<0 @2", "UPDATE k=2<1 @3", "UPDATE k=3<2 @4")
		if e := ended(t, again); e.Seq != 4 || !errors.Is(e, bad) {
			t.Errorf("replayed: got %+v", e)
		}
	})
}

// A filter that fails ends the live query, with the place to resume from; the others of
// the partition go on.
func TestFilterError(t *testing.T) {
	for _, fast := range []bool{true, false} {
		for name, f := range map[string]*failing{
			"conversion error":    {err: errors.New("conversion error")},
			"0 answers for 1 row": {short: true},
			"panic: mine":         {panics: true},
		} {
			hub := NewHub(Options{})
			st := newStore(hub)
			f.fast = fast
			spec := testSpec("q1", "ana", f)
			spec.Query = "SELECT broken"
			s, other := subscribe(t, hub, spec), subscribe(t, hub, testSpec("q2", "ana", nil))
			s.Start(0)
			other.Start(0)
			f.ok = true
			st.commit("ana", write{"k", 1})
			expect(t, s, "INSERT k=1 @1")
			f.ok = false
			st.commit("ana", write{"l", 1})
			st.commit("ana", write{"m", 1})
			e := ended(t, s)
			if e.Reason != ReasonError || e.Seq != 1 || e.Cause == nil || !strings.Contains(e.Error(), name) || !strings.Contains(e.Error(), spec.Query) {
				t.Errorf("fast=%t %s: got %+v, %v", fast, name, e, e)
			}
			expect(t, other, "INSERT k=1 @1", "INSERT l=1 @2", "INSERT m=1 @3")
			if hub.Count() != 1 {
				t.Errorf("%d live queries, expected the other one", hub.Count())
			}
			f.ok = true
			s = subscribe(t, hub, spec)
			if err := s.Replay(t.Context(), st, e.Seq, st.now()); err != nil {
				t.Fatal(err)
			}
			expect(t, s, "INSERT l=1 @2", "INSERT m=1 @3")
		}
	}
}

type failing struct {
	err               error
	short, panics, ok bool
	fast              bool
}

func (f *failing) Fast() bool { return f.fast }

func (f *failing) Match(_ context.Context, rows []*row.Row) ([]bool, error) {
	switch {
	case f.ok:
		matched := make([]bool, len(rows))
		for i := range matched {
			matched[i] = true
		}
		return matched, nil
	case f.panics:
		panic("mine")
	}
	return nil, f.err
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
		s := subscribe(t, hub, Spec{Selection: &Selection{Shape: &Shape{Schema: schema, Columns: c.columns, Names: c.names}}})
		if got := string(s.AppendRow([]byte("> "), r)); got != "> "+c.want {
			t.Errorf("got %s, expected > %s", got, c.want)
		}
	}
}

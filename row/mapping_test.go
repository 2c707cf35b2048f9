package row_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"kalamdb/row"
)

var widenings = [][]row.Type{
	{{Kind: row.SmallInt}, {Kind: row.Int}, {Kind: row.BigInt}, {Kind: row.Decimal, Precision: 20, Scale: 1}, {Kind: row.Decimal, Precision: 38, Scale: 5}},
	{{Kind: row.Float}, {Kind: row.Double}},
	{{Kind: row.List, Elem: row.SmallInt}, {Kind: row.List, Elem: row.BigInt}},
	{{Kind: row.Text}},
}

func typed(t *rapid.T, typ row.Type, label string) row.Value {
	var v row.Value
	switch typ.Kind {
	case row.Text:
		v = row.TextValue(rapid.StringN(0, 3, -1).Draw(t, label))
	case row.List:
		v = row.ListValue([]row.Value{row.NullValue, row.IntValue(typ.Elem, rapid.Int64Range(-9, 9).Draw(t, label))})
	default:
		var err error
		if v, err = row.Coerce(row.IntValue(row.BigInt, rapid.Int64Range(-99, 99).Draw(t, label)), typ); err != nil {
			t.Fatal(err)
		}
	}
	if rapid.IntRange(0, 4).Draw(t, "null") == 0 {
		return row.NullValue
	}
	return v
}

// TestMappingIsARewrite alters a schema at random and holds the mapping of rows of
// every version against a table whose rows are rewritten by each change, by name.
func TestMappingIsARewrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		versions := []*row.Schema{{Version: 1, Columns: []row.Column{{ID: 1, Name: "id", Type: row.Type{Kind: row.BigInt}, NotNull: true}}, Key: []row.ColumnID{1}}}
		at := func(v uint32) *row.Schema {
			if v < 1 || int(v) > len(versions) {
				return nil
			}
			return versions[v-1]
		}
		type stored struct {
			version uint32
			values  []row.Value
			now     map[string]row.Value // what a rewriting table has
		}
		var rows []stored
		lastID, lastName := row.ColumnID(1), 0
		chain := map[row.ColumnID][]row.Type{}
		for range rapid.IntRange(1, 15).Draw(t, "changes") {
			cur := versions[len(versions)-1]
			if rapid.Bool().Draw(t, "write") {
				r := stored{version: cur.Version, now: map[string]row.Value{}}
				for _, c := range cur.Columns {
					v := row.IntValue(row.BigInt, int64(len(rows)))
					if c.ID != 1 {
						v = typed(t, c.Type, c.Name)
					}
					r.values = append(r.values, v)
					r.now[c.Name] = v
				}
				rows = append(rows, r)
			}
			next := &row.Schema{Version: cur.Version + 1, Columns: slices.Clone(cur.Columns), Key: cur.Key}
			i := rapid.IntRange(0, len(next.Columns)-1).Draw(t, "column")
			c := &next.Columns[i]
			switch op := rapid.IntRange(0, 3).Draw(t, "op"); {
			case op == 0 || i == 0:
				lastID++
				types := rapid.SampledFrom(widenings).Draw(t, "type")
				chain[lastID] = types[1:]
				name := fmt.Sprintf("c%d", rapid.IntRange(0, 3).Draw(t, "name")) // dropped names come back
				if next.ByName(name) >= 0 {
					lastName++
					name = fmt.Sprintf("n%d", lastName)
				}
				added := row.Column{ID: lastID, Name: name, Type: types[0], Initial: typed(t, types[0], "initial")}
				next.Columns = slices.Insert(next.Columns, rapid.IntRange(1, len(next.Columns)).Draw(t, "place"), added)
				for _, r := range rows {
					r.now[name] = added.Initial
				}
			case op == 1:
				for _, r := range rows {
					delete(r.now, c.Name)
				}
				next.Columns = slices.Delete(next.Columns, i, i+1)
			case op == 2:
				lastName++
				name := fmt.Sprintf("n%d", lastName)
				for _, r := range rows {
					r.now[name] = r.now[c.Name]
					delete(r.now, c.Name)
				}
				c.Name = name
			case len(chain[c.ID]) > 0:
				to := chain[c.ID][0]
				chain[c.ID] = chain[c.ID][1:]
				if err := c.Type.WidensTo(to); err != nil {
					t.Fatal(err)
				}
				widen := func(v row.Value) row.Value {
					w, err := row.Coerce(v, to)
					if err != nil {
						t.Fatal(err)
					}
					return w
				}
				for _, r := range rows {
					r.now[c.Name] = widen(r.now[c.Name])
				}
				c.Type, c.Initial = to, widen(c.Initial)
			}
			if err := next.Valid(); err != nil {
				t.Fatal(err)
			}
			b, err := json.Marshal(next)
			if err != nil {
				t.Fatal(err)
			}
			next = &row.Schema{} // what a restart reads
			if err := json.Unmarshal(b, next); err != nil {
				t.Fatal(err)
			}
			versions = append(versions, next)
		}
		now := versions[len(versions)-1]
		m := row.NewMapping(now, at)
		for _, r := range rows {
			before := slices.Clone(r.values)
			got, err := m.Row(&row.Row{Seq: 7, Schema: r.version, Values: r.values})
			if err != nil {
				t.Fatal(err)
			}
			if got.Seq != 7 || len(got.Values) != len(now.Columns) || !slices.Equal(before, r.values) {
				t.Fatalf("row %+v of %+v", got, r)
			}
			for i, c := range now.Columns {
				if got.Values[i] != r.now[c.Name] {
					t.Fatalf("column %s of a row of version %d is %v, expected %v", c.Name, r.version, got.Values[i], r.now[c.Name])
				}
			}
		}
	})
}

func TestMappingToAnOlderVersion(t *testing.T) {
	old := &row.Schema{Version: 1, Columns: []row.Column{{ID: 1, Name: "id", Type: row.Type{Kind: row.BigInt}}, {ID: 2, Name: "a", Type: row.Type{Kind: row.SmallInt}}, {ID: 3, Name: "b", Type: row.Type{Kind: row.Text}}}}
	now := &row.Schema{Version: 2, Columns: []row.Column{{ID: 1, Name: "id", Type: row.Type{Kind: row.BigInt}}, {ID: 2, Name: "a", Type: row.Type{Kind: row.BigInt}}, {ID: 4, Name: "b", Type: row.Type{Kind: row.Text}}}}
	m := row.NewMapping(old, func(uint32) *row.Schema { return now })
	for n, want := range map[int64]row.Value{5: row.IntValue(row.SmallInt, 5), 1 << 20: row.NullValue} {
		got, err := m.Values(2, []row.Value{row.IntValue(row.BigInt, 1), row.IntValue(row.BigInt, n), row.TextValue("new b")})
		if err != nil || got[1] != want || !got[2].IsNull() {
			t.Errorf("%d: %v, %v", n, got, err)
		}
	}
	m = row.NewMapping(old, func(uint32) *row.Schema { return nil })
	if _, err := m.Values(2, nil); err == nil {
		t.Error("a version that never was is taken")
	}
	m = row.NewMapping(old, func(uint32) *row.Schema { return now })
	if _, err := m.Values(2, []row.Value{row.NullValue}); err == nil {
		t.Error("a row with too few values is taken")
	}
}

func TestWidensTo(t *testing.T) {
	dec := func(p, s uint8) row.Type { return row.Type{Kind: row.Decimal, Precision: p, Scale: s} }
	kind := func(k row.Kind) row.Type { return row.Type{Kind: k} }
	yes := [][2]row.Type{{kind(row.Int), kind(row.Double)}, {kind(row.BigInt), dec(19, 0)}, {dec(4, 2), dec(6, 4)}, {kind(row.Text), kind(row.Text)}}
	no := [][2]row.Type{
		{kind(row.BigInt), kind(row.Int)}, {kind(row.BigInt), kind(row.Double)}, {kind(row.Int), kind(row.Float)}, {kind(row.BigInt), dec(18, 0)}, {kind(row.BigInt), dec(20, 2)},
		{kind(row.Double), kind(row.Float)}, {dec(4, 2), dec(5, 4)}, {dec(4, 2), dec(10, 1)}, {dec(4, 2), kind(row.Double)}, {kind(row.Text), kind(row.JSON)}, {kind(row.Int), kind(row.Text)},
		{{Kind: row.Embedding, Dim: 3}, {Kind: row.Embedding, Dim: 4}}, {{Kind: row.List, Elem: row.Int}, {Kind: row.List, Elem: row.SmallInt}}, {kind(row.Int), {Kind: row.List, Elem: row.Int}},
	}
	for _, c := range yes {
		if err := c[0].WidensTo(c[1]); err != nil {
			t.Errorf("%s to %s: %v", c[0], c[1], err)
		}
	}
	for _, c := range no {
		if c[0].WidensTo(c[1]) == nil {
			t.Errorf("%s to %s is a widening", c[0], c[1])
		}
	}
}

func TestValueTextKeepsEveryBit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := anyValue().Draw(t, "value")
		text, err := v.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var again row.Value
		if err := again.UnmarshalText(text); err != nil || again != v {
			t.Fatalf("%v became %v, %v", v, again, err)
		}
	})
}

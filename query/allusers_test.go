package query

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"kalamdb/row"
)

// TestAllUsers: ALL_USERS(t) is what each user sees in t, with his name in front.
func TestAllUsers(t *testing.T) {
	dir := t.TempDir()
	e := open(t, Options{CacheDir: dir})
	schema := &row.Schema{Version: 1, Key: []row.ColumnID{1}, Columns: []row.Column{
		{ID: 1, Name: "k", Type: row.Type{Kind: row.BigInt}, NotNull: true}, {ID: 2, Name: "v", Type: row.Type{Kind: row.Text}}}}
	version := func(rt *rapid.T, seq int) row.Row {
		return row.Row{Seq: row.Seq(seq), Schema: 1, Deleted: rapid.IntRange(0, 3).Draw(rt, "deleted") == 0,
			Values: []row.Value{row.IntValue(row.BigInt, rapid.Int64Range(0, 9).Draw(rt, "k")), row.TextValue(fmt.Sprint("v", seq))}}
	}
	rapid.Check(t, func(rt *rapid.T) {
		all := &Relation{Schema: schema, System: true, Users: []UserRows{}}
		seq := 0
		for i := range rapid.IntRange(0, 5).Draw(rt, "users") {
			u := UserRows{User: fmt.Sprintf("us'er %d", i)}
			for range rapid.IntRange(0, 3).Draw(rt, "files") {
				h := &memHot{}
				for range rapid.IntRange(1, 4).Draw(rt, "rows") {
					seq++
					r := version(rt, seq)
					h.put(schema.KeyOf(r.Values), r)
				}
				u.Files = append(u.Files, writeFile(t, dir, schema, h.rows))
			}
			h := &memHot{}
			for range rapid.IntRange(0, 4).Draw(rt, "hot") {
				seq++
				r := version(rt, seq)
				h.put(schema.KeyOf(r.Values), r)
			}
			u.Hot = h
			all.Users = append(all.Users, u)
		}
		for _, where := range []string{"", " WHERE k = 3", " WHERE k > 4", " WHERE _deleted IN (true, false)", " WHERE _seq % 2 = 0"} {
			var want []string
			for _, u := range all.Users {
				rel := &Relation{Schema: schema, System: true, Hot: u.Hot, Files: u.Files}
				lines, _, err := run(e, "SELECT k, v FROM t"+where, func(TableRef) *Relation { return rel })
				if err != nil {
					rt.Fatal(err)
				}
				for _, l := range lines {
					want = append(want, string(row.TextValue(u.User).AppendJSON(nil))+" "+l)
				}
			}
			got, columns, err := run(e, "SELECT * EXCLUDE (_updated, _deleted, _seq) FROM (SELECT *, _seq FROM ALL_USERS(app.t)"+where+")", func(r TableRef) *Relation {
				if !r.AllUsers || r.Namespace != "app" || r.Name != "t" {
					rt.Fatalf("%+v", r)
				}
				return all
			})
			if err != nil {
				rt.Fatal(err)
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) || columns[0].Name != UserColumn {
				rt.Fatalf("%s: %v %v, expected %v", where, columns, got, want)
			}
		}
	})
}

// TestAllUsersIsClosed: a relation without users is not taken for that of all users.
func TestAllUsersIsClosed(t *testing.T) {
	e := open(t, Options{})
	rel := &Relation{Schema: benchSchema, System: true, Hot: &memHot{}}
	if _, _, err := run(e, "SELECT * FROM ALL_USERS(t)", func(TableRef) *Relation { return rel }); code(err) != "NOT_SUPPORTED_YET" {
		t.Error(err)
	}
	for _, text := range []string{"ALL_USERS()", "ALL_USERS('t')", "ALL_USERS(a.b.c)", "ALL_USERS(t, u)", "ALL_USERS((SELECT 1))", "ALL_USERS(t) WITH ORDINALITY", "x.ALL_USERS(t)", "ALL_USERS(t.*)", "ALL_USERS(x := t)", "ALL_USERS(DISTINCT t)"} {
		if p, err := e.Plan("SELECT * FROM " + text); err == nil {
			t.Errorf("%s passed: %+v", text, p.tables)
		}
	}
	if _, err := e.Plan("SELECT ALL_USERS(t)"); code(err) != "FORBIDDEN_FUNCTION" {
		t.Error(err)
	}
}

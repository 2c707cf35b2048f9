package kalamdb_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kalamdb"
)

// A ruledRow is a row of the table that the model of policies has.
type ruledRow struct {
	owner string // "": NULL
	grp   int
	note  string
}

// A ruledCondition is one about a row, in SQL and in Go. One that fails for a row is not
// true for it.
type ruledCondition struct {
	sql   string
	holds func(r ruledRow, user string) bool
}

var ruledConditions = []ruledCondition{
	{"owner = CURRENT_USER()", func(r ruledRow, user string) bool { return r.owner == user }},
	{"grp = 1", func(r ruledRow, _ string) bool { return r.grp == 1 }},
	{"grp > 1 AND owner IS NOT NULL", func(r ruledRow, _ string) bool { return r.grp > 1 && r.owner != "" }},
	{"NOT (owner = 'ana')", func(r ruledRow, _ string) bool { return r.owner != "ana" && r.owner != "" }},
	{"CAST(note AS INT) >= 0", func(r ruledRow, _ string) bool { return r.note != "x" }},
	{"grp % 2 = 0 OR t.owner = CURRENT_USER()", func(r ruledRow, user string) bool { return r.grp%2 == 0 || r.owner == user }},
	{"true", func(ruledRow, string) bool { return true }},
	{"CURRENT_ROLE() = 'service' -- a comment", func(_ ruledRow, user string) bool { return user == "service" }},
}

type ruledPolicy struct {
	command, role string // role "": all
	using, check  int    // of ruledConditions; check -1: using
}

// A ruledModel is what the rows are and who may do what with them.
type ruledModel struct {
	rows     map[int]ruledRow
	policies map[string]ruledPolicy
}

func (m *ruledModel) allows(command, user string, check bool, r ruledRow) bool {
	if len(m.policies) == 0 {
		return true
	}
	role := principal(user).Role.String()
	for _, p := range m.policies {
		if p.command != "all" && p.command != command || p.role != "" && p.role != role {
			continue
		}
		at := p.using
		if check && p.check >= 0 {
			at = p.check
		}
		if ruledConditions[at].holds(r, user) {
			return true
		}
	}
	return false
}

// seen is the table as the user sees it.
func (m *ruledModel) seen(user string) string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(m.rows)) {
		if r := m.rows[id]; m.allows("select", user, false, r) {
			fmt.Fprintf(&b, "%d %s %d %q\n", id, ruledText(r.owner), r.grp, r.note)
		}
	}
	return b.String()
}

func ruledText(s string) string {
	if s == "" {
		return "null"
	}
	return fmt.Sprintf("%q", s)
}

func ruledValue(s string) string { return strings.ReplaceAll(ruledText(s), `"`, "'") }

// update is UPDATE of the rows that match; ok is false if it is refused.
func (m *ruledModel) update(user string, match func(int, ruledRow) bool, set func(ruledRow) ruledRow) (n int, ok bool) {
	changed := map[int]ruledRow{}
	for id, r := range m.rows {
		if !match(id, r) || !m.allows("select", user, false, r) || !m.allows("update", user, false, r) {
			continue
		}
		changed[id] = set(r)
		if !m.allows("update", user, true, changed[id]) || !m.allows("select", user, false, changed[id]) {
			return 0, false
		}
	}
	maps.Copy(m.rows, changed)
	return len(changed), true
}

// Random statements of several users and random policies give what a model in Go gives,
// wherever the rows are, and live queries follow.
func TestPoliciesModel(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	for seed := range uint64(2) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			g := ruledGame{t: t, db: db, r: rand.New(rand.NewPCG(seed, 1)), ns: fmt.Sprint("n", seed),
				m: ruledModel{rows: map[int]ruledRow{}, policies: map[string]ruledPolicy{}}, live: map[string]*ruledView{}}
			mustExec(t, db, "root", "CREATE NAMESPACE "+g.ns+"; CREATE SHARED TABLE "+g.table()+" (id INT PRIMARY KEY, owner TEXT, grp INT, note TEXT) WITH (access = 'public')")
			for step := 0; step < 90 && !t.Failed(); step++ {
				g.step()
			}
			if t.Failed() {
				t.Logf("statements:\n%s", strings.Join(g.log, "\n"))
			}
			for _, v := range g.live {
				v.sub.Close()
			}
		})
	}
}

var ruledUsers = []string{"ana", "ben", "service"}

// A ruledGame plays one history.
type ruledGame struct {
	t    *testing.T
	db   *kalamdb.DB
	r    *rand.Rand
	ns   string
	m    ruledModel
	live map[string]*ruledView
	log  []string
}

// A ruledView is the result of a live query as its events tell it.
type ruledView struct {
	sub  *kalamdb.Subscription
	rows map[int]string
}

func (g *ruledGame) table() string { return g.ns + ".t" }

// run is how many rows the statement of the user has changed, or the code of its error.
func (g *ruledGame) run(user, text string) string {
	g.log = append(g.log, user+": "+text)
	res, err := g.db.Exec(context.Background(), kalamdb.Request{SQL: text, As: principal(user)})
	var e *kalamdb.Error
	switch {
	case errors.As(err, &e):
		return e.Code
	case err != nil:
		return err.Error()
	}
	last := res[len(res)-1]
	return fmt.Sprint(last.Affected)
}

func (g *ruledGame) want(user, text, want string) {
	g.t.Helper()
	if got := g.run(user, text); got != want {
		g.t.Errorf("%s: %s gives %s, expected %s", user, text, got, want)
	}
}

func (g *ruledGame) pick(list ...string) string { return list[g.r.IntN(len(list))] }

func (g *ruledGame) randomRow() ruledRow {
	return ruledRow{g.pick("ana", "ben", "service", ""), g.r.IntN(4), g.pick("x", "7", "0")}
}

func (g *ruledGame) step() {
	user, id, r := g.pick(ruledUsers...), g.r.IntN(12), g.randomRow()
	values := fmt.Sprintf("(%d, %s, %d, '%s')", id, ruledValue(r.owner), r.grp, r.note)
	affected := func(n int, ok bool) string {
		if !ok {
			return kalamdb.CodeForbidden
		}
		return fmt.Sprint(n)
	}
	switch g.r.IntN(12) {
	case 0:
		g.policy()
	case 1:
		mustExec(g.t, g.db, "root", "FLUSH TABLE "+g.table())
	case 2, 3:
		want := "1"
		_, taken := g.m.rows[id]
		switch {
		case !g.m.allows("insert", user, true, r):
			want = kalamdb.CodeForbidden
		case taken:
			want = kalamdb.CodeDuplicateKey
		default:
			g.m.rows[id] = r
		}
		g.want(user, "INSERT INTO "+g.table()+" VALUES "+values, want)
	case 4:
		old, taken := g.m.rows[id]
		want := "1"
		switch {
		case !g.m.allows("insert", user, true, r), !g.m.allows("select", user, false, r):
			want = kalamdb.CodeForbidden
		case !taken:
			g.m.rows[id] = r
		case !g.m.allows("select", user, false, old), !g.m.allows("update", user, false, old),
			!g.m.allows("update", user, true, r), !g.m.allows("select", user, false, r):
			want = kalamdb.CodeForbidden
		default:
			g.m.rows[id] = r
		}
		g.want(user, "INSERT INTO "+g.table()+" VALUES "+values+" ON CONFLICT DO UPDATE SET owner = excluded.owner, grp = excluded.grp, note = excluded.note", want)
	case 5:
		n, ok := g.m.update(user, func(i int, _ ruledRow) bool { return i == id }, func(ruledRow) ruledRow { return r })
		g.want(user, fmt.Sprintf("UPDATE %s SET owner = %s, grp = %d, note = '%s' WHERE id = %d", g.table(), ruledValue(r.owner), r.grp, r.note, id), affected(n, ok))
	case 6, 7:
		n, ok := g.m.update(user, func(_ int, o ruledRow) bool { return o.grp >= r.grp }, func(o ruledRow) ruledRow { o.grp = (o.grp + 1) % 4; return o })
		g.want(user, fmt.Sprintf("BEGIN; UPDATE %s SET grp = (grp + 1) %% 4 WHERE grp >= %d; COMMIT", g.table(), r.grp), affected(n, ok))
	case 8:
		n := 0
		for i, o := range g.m.rows {
			if i%3 == id%3 && g.m.allows("select", user, false, o) && g.m.allows("delete", user, false, o) {
				delete(g.m.rows, i)
				n++
			}
		}
		g.want(user, fmt.Sprintf("DELETE FROM %s WHERE id %% 3 = %d", g.table(), id%3), fmt.Sprint(n))
	default:
		g.look(user)
	}
}

// policy makes or drops a policy.
func (g *ruledGame) policy() {
	name := fmt.Sprint("p", g.r.IntN(4))
	if _, there := g.m.policies[name]; there && g.r.IntN(2) == 0 {
		mustExec(g.t, g.db, "root", "DROP POLICY "+name+" ON "+g.table())
		delete(g.m.policies, name)
		g.log = append(g.log, "DROP POLICY "+name)
	} else {
		p := ruledPolicy{g.pick("all", "all", "select", "insert", "update", "delete"), g.pick("", "user", "service"), g.r.IntN(len(ruledConditions)), -1}
		text := "CREATE OR REPLACE POLICY " + name + " ON " + g.table() + " FOR " + p.command
		if p.role != "" {
			text += " TO " + p.role
		}
		text += " USING (" + ruledConditions[p.using].sql + "\n)"
		if p.command != "select" && p.command != "delete" && g.r.IntN(2) == 0 {
			p.check = g.r.IntN(len(ruledConditions))
			text += " WITH CHECK (" + ruledConditions[p.check].sql + "\n)"
		}
		mustExec(g.t, g.db, "root", text)
		g.log = append(g.log, text)
		g.m.policies[name] = p
	}
	for user, v := range g.live { // begins anew
		for {
			if _, err := v.sub.Next(context.Background()); err != nil {
				break
			}
		}
		delete(g.live, user)
	}
}

// look compares what the user reads, and what the live query of the user has told.
func (g *ruledGame) look(user string) {
	want := g.m.seen(user)
	if got := answer(g.t, g.db, user, "SELECT id, owner, grp, note FROM "+g.table()+" ORDER BY id"); got != want {
		g.t.Errorf("%s reads\n%sexpected\n%s", user, got, want)
	}
	v := g.live[user]
	if v == nil {
		v = &ruledView{rows: map[int]string{}}
		v.sub = subscribe(g.t, g.db, user, kalamdb.SubscribeRequest{QueryID: fmt.Sprint(g.ns, user, len(g.log)), SQL: "SELECT id, owner, grp, note FROM " + g.table() + " WHERE id < 100", LastRows: 100})
		g.live[user] = v
		g.log = append(g.log, user+": subscribe")
	}
	ctx, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	for v.text() != want { // what has not come yet has to come
		ev, err := v.sub.Next(ctx)
		if err != nil {
			g.t.Errorf("the live query of %s: %v; it tells\n%sexpected\n%s", user, err, v.text(), want)
			return
		}
		g.apply(v, ev)
	}
}

// text is the result as a SELECT would show it.
func (v *ruledView) text() string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(v.rows)) {
		b.WriteString(v.rows[id])
	}
	return b.String()
}

// apply changes the view as the event says.
func (g *ruledGame) apply(v *ruledView, ev kalamdb.Event) {
	for i, object := range ev.Rows {
		id, line := g.parse(object)
		old, there := v.rows[id]
		if !ev.Initial && there == (ev.Change == "INSERT") {
			g.t.Errorf("%s of %s, which the subscriber has: %v", ev.Change, object, there)
		}
		if ev.Change == "UPDATE" {
			if _, was := g.parse(ev.Old[i]); was != old {
				g.t.Errorf("UPDATE of %s, the subscriber has %s", was, old)
			}
		}
		if v.rows[id] = line; ev.Change == "DELETE" {
			delete(v.rows, id)
			if line != old {
				g.t.Errorf("DELETE of %s, the subscriber has %s", line, old)
			}
		}
	}
}

// parse is a row of a live query as a SELECT would show it.
func (g *ruledGame) parse(object []byte) (id int, line string) {
	var r struct {
		ID    int
		Owner string
		Grp   int
		Note  string
	}
	if err := json.Unmarshal(object, &r); err != nil {
		g.t.Fatal(err)
	}
	return r.ID, fmt.Sprintf("%d %s %d %q\n", r.ID, ruledText(r.Owner), r.Grp, r.Note)
}

package kalamdb_test

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"kalamdb"
)

const modelChecks = "20" // unless the command line says how many

// TestModel runs random definitions, writes, flushes and restarts against maps in memory.
// rapid prints the seed of a failure and keeps its shortest script; a long run is
// go test . -run TestModel -rapid.checks=2000
func TestModel(t *testing.T) {
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		if err := flag.Set(f.Name, modelChecks); err != nil {
			t.Fatal(err)
		}
		defer flag.Set(f.Name, f.DefValue)
	}
	r := &modelRun{t: t, options: kalamdb.Options{DataDir: t.TempDir()}}
	r.open()
	t.Cleanup(func() { r.close() })
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		m := &model{run: r, namespace: fmt.Sprintf("m%d", n), tables: map[string]*modelTable{}}
		m.must(t, "root", "CREATE NAMESPACE "+m.namespace)
		t.Repeat(map[string]func(*rapid.T){
			"create": m.create, "drop": m.drop, "addColumn": m.addColumn, "dropColumn": m.dropColumn, "renameColumn": m.renameColumn, "widen": m.widen,
			"insert": m.insert, "insert2": m.insert, "copy": m.copy, "upsert": m.upsert, "transaction": m.transaction, "transaction2": m.transaction, "update": m.update, "delete": m.delete, "flush": m.flush, "flush2": m.flush, "compact": m.compact, "restart": m.restart,
			"": m.check,
		})
		m.must(t, "root", "DROP NAMESPACE "+m.namespace+" CASCADE")
	})
}

// A modelRun is the database that all checks share, each in a namespace of its own.
type modelRun struct {
	t       *testing.T
	options kalamdb.Options
	db      *kalamdb.DB
}

func (r *modelRun) open() {
	db, err := kalamdb.Open(context.Background(), r.options)
	if err != nil {
		r.t.Fatal(err)
	}
	r.db = db
}

func (r *modelRun) close() {
	if err := r.db.Close(); err != nil {
		r.t.Errorf("close: %v", err)
	}
}

var modelUsers = []string{"alice", "bob"}

type model struct {
	run       *modelRun
	namespace string
	tables    map[string]*modelTable
	columns   int // ever named
}

// A modelTable is a table as it should be. Cells are JSON texts.
type modelTable struct {
	name       string
	shared     bool
	columns    []modelColumn // the first keys are the primary key
	keys       int
	partitions map[string]*modelPartition
}

type modelColumn struct{ name, typ, initial string } // initial: the DEFAULT, as JSON

type modelPartition struct {
	rows    map[string][]string // by key
	deleted map[string]bool
}

// modelValues are, for each type, SQL and JSON of some values.
var modelValues = map[string][][2]string{
	"INT":     {{"0", "0"}, {"1", "1"}, {"-7", "-7"}, {"2147483647", "2147483647"}, {"NULL", "null"}},
	"BIGINT":  {{"0", "0"}, {"5000000000", "5000000000"}, {"-1", "-1"}, {"NULL", "null"}},
	"TEXT":    {{"''", `""`}, {"'it''s; --'", `"it's; --"`}, {"'ü😀'", `"ü😀"`}, {"NULL", "null"}},
	"BOOLEAN": {{"TRUE", "true"}, {"FALSE", "false"}, {"NULL", "null"}},
	"DATE":    {{"DATE '2026-02-28'", `"2026-02-28"`}, {"DATE '1969-12-31'", `"1969-12-31"`}, {"NULL", "null"}},
}

var modelTypes = slices.Sorted(maps.Keys(modelValues))

func (m *model) must(t *rapid.T, as, text string) []kalamdb.Result {
	res, err := m.exec(as, text)
	if err != nil {
		t.Fatalf("%s: %s: %v", as, text, err)
	}
	return res
}

func (m *model) exec(as, text string) ([]kalamdb.Result, error) {
	return m.run.db.Exec(context.Background(), kalamdb.Request{SQL: text, Namespace: m.namespace, As: principal(as)})
}

func (m *model) pick(t *rapid.T) *modelTable {
	if len(m.tables) == 0 {
		t.Skip("no table")
	}
	return m.tables[rapid.SampledFrom(slices.Sorted(maps.Keys(m.tables))).Draw(t, "table")]
}

func (tb *modelTable) partition(user string) *modelPartition {
	if tb.shared {
		user = ""
	}
	p := tb.partitions[user]
	if p == nil {
		p = &modelPartition{rows: map[string][]string{}, deleted: map[string]bool{}}
		tb.partitions[user] = p
	}
	return p
}

func (tb *modelTable) names() string {
	var names []string
	for _, c := range tb.columns {
		names = append(names, c.name)
	}
	return strings.Join(names, ", ")
}

func (tb *modelTable) key(cells []string) string { return strings.Join(cells[:tb.keys], "|") }

func (m *model) newColumn(t *rapid.T, withDefault bool) (c modelColumn, definition string) {
	m.columns++
	c = modelColumn{name: fmt.Sprintf("c%d", m.columns%5), typ: rapid.SampledFrom(modelTypes).Draw(t, "type"), initial: "null"}
	definition = c.name + " " + c.typ
	if withDefault {
		v := rapid.SampledFrom(modelValues[c.typ]).Draw(t, "default")
		definition += " DEFAULT " + v[0]
		c.initial = v[1]
	}
	return c, definition
}

func (m *model) create(t *rapid.T) {
	tb := &modelTable{name: rapid.SampledFrom([]string{"t0", "t1", "t2"}).Draw(t, "name"), shared: rapid.Bool().Draw(t, "shared"), keys: rapid.IntRange(1, 2).Draw(t, "keys"), partitions: map[string]*modelPartition{}}
	if m.tables[tb.name] != nil {
		_, err := m.exec("root", "CREATE USER TABLE "+tb.name+" (a INT PRIMARY KEY)")
		wantModelCode(t, err, kalamdb.CodeAlreadyExists)
		return
	}
	tb.columns = []modelColumn{{"k1", "INT", "null"}, {"k2", "TEXT", "null"}}[:tb.keys]
	definitions := []string{"k1 INT", "k2 TEXT"}[:tb.keys]
	for range rapid.IntRange(1, 3).Draw(t, "columns") {
		c, d := m.newColumn(t, rapid.Bool().Draw(t, "with default"))
		tb.columns, definitions = append(tb.columns, c), append(definitions, d)
	}
	text := "CREATE USER TABLE "
	if tb.shared {
		text = "CREATE SHARED TABLE "
	}
	text += tb.name + " (" + strings.Join(definitions, ", ") + ", PRIMARY KEY (" + strings.Join([]string{"k1", "k2"}[:tb.keys], ", ") + "))"
	if tb.shared {
		text += " WITH (access = 'public')"
	}
	m.must(t, "root", text)
	m.tables[tb.name] = tb
}

func (m *model) drop(t *rapid.T) {
	tb := m.pick(t)
	m.must(t, "root", "DROP TABLE "+tb.name)
	delete(m.tables, tb.name)
}

func (m *model) addColumn(t *rapid.T) {
	tb := m.pick(t)
	c, d := m.newColumn(t, rapid.Bool().Draw(t, "with default"))
	if slices.ContainsFunc(tb.columns, func(o modelColumn) bool { return o.name == c.name }) {
		_, err := m.exec("root", "ALTER TABLE "+tb.name+" ADD COLUMN "+d)
		wantModelCode(t, err, kalamdb.CodeAlreadyExists)
		return
	}
	m.must(t, "root", "ALTER TABLE "+tb.name+" ADD COLUMN "+d)
	tb.columns = append(tb.columns, c)
	for _, p := range tb.partitions {
		for key, cells := range p.rows {
			p.rows[key] = append(slices.Clone(cells), c.initial)
		}
	}
}

// value is the index of a column that is no key.
func (tb *modelTable) value(t *rapid.T) int {
	if len(tb.columns) == tb.keys {
		t.Skip("no column but the key")
	}
	return rapid.IntRange(tb.keys, len(tb.columns)-1).Draw(t, "column")
}

func (m *model) dropColumn(t *rapid.T) {
	tb := m.pick(t)
	i := tb.value(t)
	m.must(t, "root", "ALTER TABLE "+tb.name+" DROP COLUMN "+tb.columns[i].name)
	tb.columns = slices.Delete(slices.Clone(tb.columns), i, i+1)
	for _, p := range tb.partitions {
		for key, cells := range p.rows {
			p.rows[key] = slices.Delete(slices.Clone(cells), i, i+1)
		}
	}
}

func (m *model) renameColumn(t *rapid.T) {
	tb := m.pick(t)
	i := tb.value(t)
	to := fmt.Sprintf("c%d", rapid.IntRange(0, 6).Draw(t, "to"))
	_, err := m.exec("root", "ALTER TABLE "+tb.name+" RENAME COLUMN "+tb.columns[i].name+" TO "+to)
	if j := slices.IndexFunc(tb.columns, func(o modelColumn) bool { return o.name == to }); j >= 0 && j != i {
		wantModelCode(t, err, kalamdb.CodeAlreadyExists)
		return
	}
	if err != nil && tb.columns[i].name != to { // to its own name: either answer will do
		t.Fatal(err)
	}
	tb.columns[i].name = to
}

func (m *model) widen(t *rapid.T) {
	tb := m.pick(t)
	i := tb.value(t)
	if tb.columns[i].typ != "INT" {
		t.Skip("only INT is widened")
	}
	m.must(t, "root", "ALTER TABLE "+tb.name+" MODIFY COLUMN "+tb.columns[i].name+" BIGINT")
	tb.columns[i].typ = "BIGINT"
}

func (m *model) insert(t *rapid.T) {
	tb, user := m.pick(t), rapid.SampledFrom(modelUsers).Draw(t, "user")
	p := tb.partition(user)
	given := []int{}
	for i := range tb.columns {
		if i < tb.keys || rapid.IntRange(0, 4).Draw(t, "given") > 0 {
			given = append(given, i)
		}
	}
	var names, tuples []string
	for _, i := range given {
		names = append(names, tb.columns[i].name)
	}
	added := map[string][]string{}
	duplicate := false
	for range rapid.IntRange(1, 4).Draw(t, "rows") {
		cells := make([]string, len(tb.columns))
		for i, c := range tb.columns {
			cells[i] = c.initial
		}
		var literals []string
		for _, i := range given {
			v := [2]string{}
			switch {
			case i == 0:
				n := fmt.Sprint(rapid.IntRange(0, 12).Draw(t, "k1"))
				v = [2]string{n, n}
			case i < tb.keys:
				v = rapid.SampledFrom([][2]string{{"'a'", `"a"`}, {"'B'", `"B"`}, {"''", `""`}}).Draw(t, "k2")
			default:
				v = rapid.SampledFrom(modelValues[tb.columns[i].typ]).Draw(t, "value")
			}
			literals, cells[i] = append(literals, v[0]), v[1]
		}
		key := tb.key(cells)
		_, here := added[key]
		_, there := p.rows[key]
		duplicate = duplicate || here || there
		added[key] = cells
		tuples = append(tuples, "("+strings.Join(literals, ", ")+")")
	}
	text := "INSERT INTO " + tb.name + " (" + strings.Join(names, ", ") + ") VALUES " + strings.Join(tuples, ", ")
	m.added(t, p, user, text, added, len(tuples), duplicate)
}

// copy inserts what is there with other keys.
func (m *model) copy(t *rapid.T) {
	tb, user := m.pick(t), rapid.SampledFrom(modelUsers).Draw(t, "user")
	p := tb.partition(user)
	added := map[string][]string{}
	duplicate := false
	by := rapid.IntRange(1, 5).Draw(t, "by")
	for _, cells := range p.rows {
		cells = slices.Clone(cells)
		var n int
		fmt.Sscan(cells[0], &n)
		cells[0] = fmt.Sprint(n + by)
		_, there := p.rows[tb.key(cells)]
		duplicate = duplicate || there
		added[tb.key(cells)] = cells
	}
	text := fmt.Sprintf("INSERT INTO %[1]s (%[2]s) SELECT k1 + %[3]d%[4]s FROM %[1]s", tb.name, tb.names(), by, strings.TrimPrefix(tb.names(), "k1"))
	m.added(t, p, user, text, added, len(added), duplicate)
}

func (m *model) added(t *rapid.T, p *modelPartition, user, text string, added map[string][]string, n int, duplicate bool) {
	res, err := m.exec(user, text)
	if duplicate {
		wantModelCode(t, err, kalamdb.CodeDuplicateKey)
		return
	}
	if err != nil || res[0].Affected != int64(n) {
		t.Fatalf("%s: %+v, %v, expected %d rows", text, res, err, n)
	}
	for key, cells := range added {
		p.rows[key] = cells
		delete(p.deleted, key)
	}
}

// where is a random condition: as SQL and as a test of cells.
func (tb *modelTable) where(t *rapid.T) (string, func([]string) bool) {
	k := rapid.IntRange(0, 12).Draw(t, "bound")
	i := rapid.IntRange(0, len(tb.columns)-1).Draw(t, "tested")
	c := tb.columns[i]
	number := func(cells []string) (n int) { fmt.Sscan(cells[0], &n); return n }
	switch rapid.IntRange(0, 5).Draw(t, "condition") {
	case 0:
		return fmt.Sprintf(" WHERE k1 = %d", k), func(cells []string) bool { return number(cells) == k }
	case 1:
		return fmt.Sprintf(" WHERE k1 < %d", k), func(cells []string) bool { return number(cells) < k }
	case 2:
		return fmt.Sprintf(" WHERE k1 IN (%d, %d)", k, k+3), func(cells []string) bool { return number(cells) == k || number(cells) == k+3 }
	case 3:
		return " WHERE " + c.name + " IS NULL", func(cells []string) bool { return cells[i] == "null" }
	case 4:
		v := modelValues[c.typ][0]
		return " WHERE " + c.name + " = " + v[0], func(cells []string) bool { return cells[i] == v[1] }
	}
	return "", func([]string) bool { return true }
}

func (m *model) update(t *rapid.T) {
	tb, user := m.pick(t), rapid.SampledFrom(modelUsers).Draw(t, "user")
	p, i := tb.partition(user), tb.value(t)
	v := rapid.SampledFrom(modelValues[tb.columns[i].typ]).Draw(t, "value")
	where, matches := tb.where(t)
	n := 0
	for key, cells := range p.rows {
		if matches(cells) {
			n++
			cells = slices.Clone(cells)
			cells[i] = v[1]
			p.rows[key] = cells
		}
	}
	text := "UPDATE " + tb.name + " SET " + tb.columns[i].name + " = " + v[0] + where
	if res := m.must(t, user, text); res[0].Affected != int64(n) {
		t.Fatalf("%s: %d rows, expected %d", text, res[0].Affected, n)
	}
}

func (m *model) delete(t *rapid.T) {
	tb, user := m.pick(t), rapid.SampledFrom(modelUsers).Draw(t, "user")
	p := tb.partition(user)
	where, matches := tb.where(t)
	n := 0
	for key, cells := range p.rows {
		if matches(cells) {
			n++
			delete(p.rows, key)
			p.deleted[key] = true
		}
	}
	if res := m.must(t, user, "DELETE FROM "+tb.name+where); res[0].Affected != int64(n) {
		t.Fatalf("DELETE FROM %s%s: %d rows, expected %d", tb.name, where, res[0].Affected, n)
	}
}

func (m *model) flush(t *rapid.T) {
	if rapid.Bool().Draw(t, "all") {
		m.must(t, "root", "FLUSH ALL")
		return
	}
	m.must(t, "root", "FLUSH TABLE "+m.pick(t).name)
}

func (m *model) compact(t *rapid.T) {
	m.must(t, "root", "COMPACT TABLE "+m.pick(t).name)
}

func (m *model) restart(t *rapid.T) {
	if rapid.IntRange(0, 3).Draw(t, "really") > 0 {
		t.Skip("seldom")
	}
	m.run.close()
	m.run.open()
}

// check compares everything that can be seen.
func (m *model) check(t *rapid.T) {
	for _, name := range slices.Sorted(maps.Keys(m.tables)) {
		tb := m.tables[name]
		for _, user := range modelUsers {
			p := tb.partition(user)
			var want []string
			for _, cells := range slices.SortedFunc(maps.Values(p.rows), func(a, b []string) int { return compareKeys(a[:tb.keys], b[:tb.keys]) }) {
				want = append(want, strings.Join(cells, " "))
			}
			order := strings.Join([]string{"k1", "k2"}[:tb.keys], ", ")
			m.compare(t, user, "SELECT "+tb.names()+" FROM "+name+" ORDER BY "+order, want)
			m.compare(t, user, "SELECT count(*) FROM "+name+" WHERE _deleted", []string{fmt.Sprint(len(p.deleted))})
			where, matches := tb.where(t)
			n := 0
			for _, cells := range p.rows {
				if matches(cells) {
					n++
				}
			}
			m.compare(t, user, "SELECT count(*) FROM "+name+where, []string{fmt.Sprint(n)})
		}
	}
	m.compare(t, "alice", "SELECT count(*) FROM information_schema.tables WHERE table_schema = '"+m.namespace+"'", []string{fmt.Sprint(len(m.tables))})
}

func compareKeys(a, b []string) int {
	var x, y int
	fmt.Sscan(a[0], &x)
	fmt.Sscan(b[0], &y)
	return cmp.Or(cmp.Compare(x, y), slices.Compare(a[1:], b[1:]))
}

func (m *model) compare(t *rapid.T, user, question string, want []string) {
	got := modelRows(m.must(t, user, question)[0])
	if !slices.Equal(got, want) {
		t.Fatalf("%s: %s\ngives\n%s\nexpected\n%s", user, question, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func modelRows(res kalamdb.Result) (got []string) {
	for _, values := range res.Rows {
		var cells []string
		for _, v := range values {
			cells = append(cells, string(v.AppendJSON(nil)))
		}
		got = append(got, strings.Join(cells, " "))
	}
	return got
}

func wantModelCode(t *rapid.T, err error, code string) {
	var e *kalamdb.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("error %v, expected the code %s", err, code)
	}
}

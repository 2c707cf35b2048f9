package kalamdb

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
	"sync"

	"kalamdb/auth"
	"kalamdb/catalog"
	"kalamdb/query"
	"kalamdb/row"
)

// A keptRows holds rows of system tables between statements, so that a question about
// ten thousand tables costs a walk over rows that are there. Rows handed out never change.
type keptRows struct {
	mu     sync.Mutex // guards all; under it rows are made, which reads catalog documents in memory
	tables map[string]*keptTables
}

// keptTables are the rows of one system table by the table they are about.
type keptTables struct {
	version uint64 // of the catalog
	groups  []tableGroup
}

type tableGroup struct {
	table *catalog.Table
	rows  []row.Row
}

// ofTables are the rows about each table of the catalog.
func (k *keptRows) ofTables(db *DB, full string, st *systemTable) []tableGroup {
	k.mu.Lock()
	defer k.mu.Unlock()
	version := db.catalog.Version() // before the tables: newer ones are found again, not missed
	kept := k.tables[full]
	if kept != nil && kept.version == version {
		return kept.groups
	}
	old := map[*catalog.Table][]row.Row{}
	if kept != nil {
		for _, g := range kept.groups {
			old[g.table] = g.rows
		}
	}
	tables := db.catalog.Tables()
	kept = &keptTables{version: version, groups: make([]tableGroup, len(tables))}
	for i, t := range tables {
		rows, ok := old[t]
		if !ok {
			st.ofTable(db, t, func(values ...row.Value) { rows = append(rows, row.Row{Schema: 1, Values: values}) })
		}
		kept.groups[i] = tableGroup{t, rows}
	}
	if k.tables == nil {
		k.tables = map[string]*keptTables{}
	}
	k.tables[full] = kept
	return kept.groups
}

func madeRows(db *DB, st *systemTable, as auth.Principal) []row.Row {
	var rows []row.Row
	st.rows(db, as, func(values ...row.Value) { rows = append(rows, row.Row{Schema: 1, Values: values}) })
	return rows
}

// systemRows finds the rows of a system table that one statement can see. They are those
// of its first look, also if it looks more than once.
func (db *DB) systemRows(full string, st *systemTable, as auth.Principal) func([]query.Condition, *query.Top) query.Hot {
	look := sync.OnceValues(func() (groups []tableGroup, rows []row.Row) {
		if st.ofTable != nil {
			groups = db.kept.ofTables(db, full, st)
		}
		if st.rows != nil {
			rows = madeRows(db, st, as)
		}
		return groups, rows
	})
	return func(where []query.Condition, top *query.Top) query.Hot {
		if st.hot != nil {
			hot := st.hot(db, as, where)
			if top != nil {
				hot = hot.first(st.columns, top)
			}
			return hot
		}
		tests := rowTests(st.columns, where)
		groups, rows := look()
		hot := heldRows{}
		for i := range groups {
			if g := &groups[i]; g.mayPass(tests) && mayRead(as, g.table) {
				hot.keep(g.rows, tests)
			}
		}
		hot.keep(rows, tests)
		return hot
	}
}

// mayPass is false if no row of the group passes, as they are all about one table.
func (g *tableGroup) mayPass(tests []rowTest) bool {
	for _, t := range tests {
		if t.ofTable && len(g.rows) > 0 && !t.passes(g.rows[0].Values[t.column]) {
			return false
		}
	}
	return true
}

// A rowTest is a condition on the value at an index.
type rowTest struct {
	column  int
	passes  func(row.Value) bool
	ofTable bool       // all rows about one stored table have the same value
	only    *row.Value // the one value that passes; nil: there may be more
}

func rowTests(columns []row.Column, where []query.Condition) []rowTest {
	var tests []rowTest
	for _, c := range where {
		column := slices.IndexFunc(columns, func(col row.Column) bool { return col.Name == c.Column })
		if passes := valueTest(columns[column].Type.Kind, c); passes != nil {
			ofTable := slices.Contains([]string{"table_id", "namespace", "table_name", "table_schema"}, c.Column)
			test := rowTest{column: column, passes: passes, ofTable: ofTable}
			if (c.Op == "=" || c.Op == "in") && len(c.Values) == 1 {
				test.only = &c.Values[0]
			}
			tests = append(tests, test)
		}
	}
	return tests
}

// valueTest is nil for a type whose order is left to DuckDB.
func valueTest(kind row.Kind, c query.Condition) func(row.Value) bool {
	compare := comparison(kind)
	if compare == nil {
		return nil
	}
	var holds func(n int) bool
	switch c.Op {
	case "=", "in":
		if len(c.Values) == 1 { // a value is equal to another of its kind with ==
			return func(v row.Value) bool { return v == c.Values[0] }
		}
		return func(v row.Value) bool {
			return !v.IsNull() && slices.ContainsFunc(c.Values, func(w row.Value) bool { return compare(v, w) == 0 })
		}
	case "<":
		holds = func(n int) bool { return n < 0 }
	case "<=":
		holds = func(n int) bool { return n <= 0 }
	case ">":
		holds = func(n int) bool { return n > 0 }
	case ">=":
		holds = func(n int) bool { return n >= 0 }
	default:
		return nil
	}
	return func(v row.Value) bool { return !v.IsNull() && holds(compare(v, c.Values[0])) }
}

// comparison compares values of a kind, none of them NULL; nil if that is left to DuckDB.
func comparison(kind row.Kind) func(a, b row.Value) int {
	switch kind {
	case row.Text:
		return func(a, b row.Value) int { return strings.Compare(a.Str(), b.Str()) }
	case row.Int, row.BigInt, row.Timestamp:
		return func(a, b row.Value) int { return cmp.Compare(a.Int(), b.Int()) }
	}
	return nil
}

// heldRows is a query.Hot of rows whose keys are their numbers.
type heldRows []*row.Row

// keep adds the rows that pass all tests.
func (h *heldRows) keep(rows []row.Row, tests []rowTest) {
	if len(tests) == 0 {
		*h = slices.Grow(*h, len(rows))
	}
next:
	for i := range rows {
		for _, t := range tests {
			if !t.passes(rows[i].Values[t.column]) {
				continue next
			}
		}
		*h = append(*h, &rows[i])
	}
}

func (h heldRows) Len() int                          { return len(h) }
func (h heldRows) Get([]byte) (row.Row, bool, error) { return row.Row{}, false, nil }

func (h heldRows) Scan(from, _ []byte, yield func([]byte, *row.Row) bool) error {
	var key [4]byte
	for i := numberAfter(from); i < len(h); i++ {
		if !yield(numberKey(&key, i), h[i]) {
			break
		}
	}
	return nil
}

// numberKey makes the number of a row its key.
func numberKey(key *[4]byte, n int) []byte {
	binary.BigEndian.PutUint32(key[:], uint32(n))
	return key[:]
}

// numberAfter is the number of the row to go on with behind that of the key. A scan of such
// rows knows no other bound.
func numberAfter(key []byte) int {
	if len(key) == 0 {
		return 0
	}
	return int(binary.BigEndian.Uint32(key)) + 1
}

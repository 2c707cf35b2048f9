package kalamdb_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/duckdb/duckdb-go/v2"

	"kalamdb"
	"kalamdb/row"
)

const (
	generatedSelects = 200
	differentialRows = 400 // of the table orders
)

// Each SELECT of testdata/selects.sql, and generated ones, give the rows that plain DuckDB
// gives, wherever our rows are.
func TestSelectsAgainstDuckDB(t *testing.T) {
	plain := plainDuckDB(t)
	questions := append(writtenSelects(t), generateSelects(rand.New(rand.NewPCG(1, 2)))...)
	want := make([][]string, len(questions))
	for i, q := range questions {
		want[i] = plain.answer(t, q)
	}
	for _, mode := range []string{"buffered", "half", "flushed"} {
		t.Run(mode, func(t *testing.T) {
			db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
			for _, text := range ourDefinitions {
				mustExec(t, db, "root", text)
			}
			writes := differentialWrites()
			for i, text := range writes {
				mustExec(t, db, "alice", text)
				if mode == "flushed" && (i%6 == 5 || i == len(writes)-1) || mode == "half" && i%6 == 2 {
					mustExec(t, db, "root", "FLUSH ALL")
				}
			}
			mustExec(t, db, "bob", "INSERT INTO orders (id, customer) VALUES (1, 1), (777, 2); INSERT INTO customers VALUES (1, 'bob''s', 'north')")
			for i, q := range questions {
				res, err := db.Exec(context.Background(), kalamdb.Request{SQL: q, As: principal("alice")})
				if err != nil {
					t.Errorf("%s\n%v", q, err)
					continue
				}
				var rows []string
				for _, values := range res[0].Rows {
					cells := make([]string, len(values))
					for j, v := range values {
						cells[j] = ourCell(v)
					}
					rows = append(rows, strings.Join(cells, " | "))
				}
				if got := inOrder(q, rows); !slices.Equal(got, want[i]) {
					t.Errorf("%s\n%s", q, firstDifference(got, want[i]))
				}
			}
		})
	}
}

var ourDefinitions = []string{
	`CREATE USER TABLE orders (id BIGINT PRIMARY KEY, customer INT, amount DECIMAL(10,2), note TEXT, day DATE, placed TIMESTAMP, flag BOOLEAN, score DOUBLE, tags TEXT[], doc JSON)`,
	`CREATE USER TABLE customers (cid INT PRIMARY KEY, name TEXT, region TEXT)`,
	`CREATE SHARED TABLE rates (region TEXT, year INT, rate DOUBLE, PRIMARY KEY (region, year)) WITH (access = 'public')`,
}

// differentialWrites are the statements that make the rows, the same for both.
func differentialWrites() []string {
	r := rand.New(rand.NewPCG(7, 7))
	maybe := func(text string) string {
		if r.IntN(8) == 0 {
			return "NULL"
		}
		return text
	}
	notes := []string{"'ünïcode 😀'", "''", "'it''s; -- not a comment'", "'É'", "'note_x'"}
	colors := []string{"'red'", "'green'", "'blue'", "NULL"}
	var writes, rows []string
	for i := range differentialRows {
		note := fmt.Sprintf("'note %d'", r.IntN(30))
		if r.IntN(10) == 0 {
			note = notes[r.IntN(len(notes))]
		}
		var tags []string
		for range r.IntN(4) {
			tags = append(tags, colors[r.IntN(len(colors))])
		}
		doc := fmt.Sprintf(`'{"a": %d, "b": [%d, null, "x"], "c": "%s"}'`, r.IntN(10), r.IntN(5), []string{"k", "l", "m"}[r.IntN(3)])
		rows = append(rows, fmt.Sprintf("(%d, %s, %s, %s, %s, %s, %s, %s, %s, %s)", i, maybe(strconv.Itoa(r.IntN(8))), maybe(fmt.Sprintf("%d.%02d", i*37%101, i*53%100)), maybe(note),
			maybe(fmt.Sprintf("DATE '2026-01-%02d'", 1+r.IntN(28))), maybe(fmt.Sprintf("TIMESTAMP '2026-01-01 %02d:%02d:00.%06d'", r.IntN(12), r.IntN(60), r.IntN(1_000_000))),
			maybe([]string{"TRUE", "FALSE"}[r.IntN(2)]), maybe(strconv.FormatFloat(r.NormFloat64(), 'f', 6, 64)), maybe("["+strings.Join(tags, ", ")+"]"), maybe(doc)))
		if len(rows) == 50 {
			writes = append(writes, "INSERT INTO orders VALUES "+strings.Join(rows, ", "))
			rows = nil
		}
	}
	return append(writes,
		"INSERT INTO customers VALUES (1, 'Ada', 'north'), (2, 'Bob', 'south'), (3, 'Cy', 'north'), (4, 'Dee', NULL), (9, 'Nobody', 'west')",
		"UPDATE orders SET amount = amount + 1, note = 'note 99' WHERE id % 11 = 0",
		"INSERT INTO rates VALUES ('north', 2023, 0.5), ('north', 2024, 0.75), ('south', 2024, 1.25), ('south', 2025, NULL)",
		"DELETE FROM orders WHERE id % 13 = 5",
		"INSERT INTO rates VALUES ('north', 2025, 2), ('west', 2026, 3)",
		"UPDATE orders SET tags = ['blue', 'new'], flag = NOT flag WHERE id BETWEEN 120 AND 140",
		"INSERT INTO orders (id, note) VALUES (5, 'back'), (1000, 'late')",
		"UPDATE rates SET rate = rate * 2 WHERE year = 2024",
		"DELETE FROM customers WHERE cid = 3",
		"UPDATE orders SET customer = 3 WHERE id > 380",
	)
}

type plainDB struct{ db *sql.DB }

func plainDuckDB(t *testing.T) plainDB {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	setup := []string{"SET TimeZone = 'UTC'"}
	for _, text := range ourDefinitions {
		text = regexp.MustCompile(`CREATE (USER|SHARED) TABLE`).ReplaceAllString(text, "CREATE TABLE")
		text, _, _ = strings.Cut(text, " WITH (")
		setup = append(setup, text)
	}
	db.SetMaxOpenConns(1)
	for _, text := range append(setup, differentialWrites()...) {
		if _, err := db.Exec(text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	return plainDB{db}
}

func (p plainDB) answer(t *testing.T, question string) []string {
	rows, err := p.db.Query(question)
	if err != nil {
		t.Errorf("DuckDB refuses %s: %v", question, err)
		return nil
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for rows.Next() {
		values, targets := make([]any, len(types)), make([]any, len(types))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := rows.Scan(targets...); err != nil {
			t.Fatal(err)
		}
		cells := make([]string, len(values))
		for i, v := range values {
			cells[i] = plainCell(v, types[i].DatabaseTypeName())
		}
		list = append(list, strings.Join(cells, " | "))
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", question, err)
	}
	return inOrder(question, list)
}

// plainCell is a value of the driver as ourCell shows ours.
func plainCell(v any, typ string) string {
	elem, isList := strings.CutSuffix(typ, "[]")
	switch v := v.(type) {
	case nil:
		return "null"
	case float64:
		return number(v)
	case float32:
		return number(float64(v))
	case string:
		return text(v)
	case time.Time:
		switch typ {
		case "DATE":
			return text(v.Format("2006-01-02"))
		case "TIME":
			return text(v.Format("15:04:05.000000"))
		}
		return text(v.UTC().Format("2006-01-02T15:04:05.000000Z"))
	case duckdb.Decimal:
		return text(decimalText(v))
	case uint64: // ours has no unsigned type and goes to the next wider one
		return text(strconv.FormatUint(v, 10))
	case *big.Int:
		return text(v.String())
	case []any:
		if isList {
			cells := make([]string, len(v))
			for i := range v {
				cells[i] = plainCell(v[i], elem)
			}
			return "[" + strings.Join(cells, ",") + "]"
		}
	}
	if typ == "JSON" {
		return canonical(v)
	}
	return fmt.Sprint(v)
}

// decimalText has all digits of the scale.
func decimalText(d duckdb.Decimal) string {
	digits := new(big.Int).Abs(d.Value).String()
	if missing := int(d.Scale) + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	if d.Scale > 0 {
		point := len(digits) - int(d.Scale)
		digits = digits[:point] + "." + digits[point:]
	}
	if d.Value.Sign() < 0 {
		digits = "-" + digits
	}
	return digits
}

func ourCell(v row.Value) string {
	switch v.Kind() {
	case row.Double:
		return number(v.Double())
	case row.Float:
		return number(float64(v.Float()))
	case row.JSON:
		var x any
		if err := json.Unmarshal([]byte(v.Str()), &x); err != nil {
			return "not JSON: " + v.Str()
		}
		return canonical(x)
	case row.List:
		elems := v.List()
		cells := make([]string, len(elems))
		for i, e := range elems {
			cells[i] = ourCell(e)
		}
		return "[" + strings.Join(cells, ",") + "]"
	}
	return string(v.AppendJSON(nil))
}

func canonical(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// number leaves out the last digits, which depend on the order of a sum.
func number(f float64) string { return strconv.FormatFloat(f, 'g', 9, 64) }

func text(s string) string { return string(row.AppendJSONString(nil, s)) }

var endsOrdered = regexp.MustCompile(`ORDER BY [^)]*$`)

// inOrder sorts rows unless the question does.
func inOrder(question string, rows []string) []string {
	if !endsOrdered.MatchString(question) {
		slices.Sort(rows)
	}
	return rows
}

func firstDifference(got, want []string) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("row %d is      %s\nDuckDB gives %s", i, got[i], want[i])
		}
	}
	return fmt.Sprintf("%d rows, DuckDB gives %d", len(got), len(want))
}

func writtenSelects(t *testing.T) []string {
	b, err := os.ReadFile("testdata/selects.sql")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSuffix(line, "\n"); !strings.HasPrefix(line, "--") {
			list = append(list, line)
		}
	}
	return list
}

// generateSelects combines conditions, joins, groups and orders.
func generateSelects(r *rand.Rand) []string {
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	id := func() int { return r.IntN(differentialRows + 10) }
	var condition func(depth int) string
	condition = func(depth int) string {
		if depth > 0 && r.IntN(2) == 0 {
			return "(" + condition(depth-1) + pick(" AND ", " OR ") + condition(depth-1) + ")"
		}
		switch r.IntN(10) {
		case 0:
			return fmt.Sprintf("o.id %s %d", pick("=", "<", "<=", ">", ">=", "<>"), id())
		case 1:
			low := id()
			return fmt.Sprintf("o.id BETWEEN %d AND %d", low, low+r.IntN(80))
		case 2:
			return fmt.Sprintf("o.id IN (%d, %d, %d)", id(), id(), id())
		case 3:
			return fmt.Sprintf("o.customer %s %d", pick("=", "<>", ">", "IS DISTINCT FROM"), r.IntN(9))
		case 4:
			return "o." + pick("note", "amount", "flag", "day", "tags") + pick(" IS NULL", " IS NOT NULL")
		case 5:
			return fmt.Sprintf("o.note %s 'note %d'", pick("=", ">", "<", "<>"), r.IntN(30))
		case 6:
			return fmt.Sprintf("o.day %s DATE '2026-01-%02d'", pick("=", ">=", "<"), 1+r.IntN(28))
		case 7:
			return fmt.Sprintf("o.amount %s %d.%02d", pick(">", "<"), r.IntN(100), r.IntN(100))
		case 8:
			return pick("o.flag", "NOT o.flag", "o.flag IS NOT TRUE")
		}
		return fmt.Sprintf("o.id %% %d = %d", 2+r.IntN(5), r.IntN(3))
	}
	var list []string
	for range generatedSelects {
		from := "orders o"
		if joined := r.IntN(3); joined > 0 {
			from += pick(" JOIN ", " LEFT JOIN ", " RIGHT JOIN ", " FULL JOIN ") + "customers c ON c.cid = o.customer"
			if joined == 2 {
				from += pick(" JOIN ", " LEFT JOIN ") + "rates r ON r.region = c.region"
			}
		}
		where := " WHERE " + condition(2)
		switch r.IntN(4) {
		case 0:
			group := pick("o.customer", "o.flag", "o.day", "o.note")
			list = append(list, fmt.Sprintf("SELECT %s, count(*), count(o.amount), sum(o.amount), min(o.id), max(o.note) FROM %s%s GROUP BY 1", group, from, where))
		case 1:
			order := pick("o.amount DESC NULLS LAST", "o.note", "o.day NULLS FIRST", "o.id DESC")
			list = append(list, fmt.Sprintf("SELECT o.id, o.note, o.amount FROM orders o%s ORDER BY %s, o.id LIMIT %d", where, order, 1+r.IntN(30)))
		case 2:
			list = append(list, fmt.Sprintf("SELECT o.id, o.customer, o.flag, o.tags, o.placed FROM %s%s", from, where))
		default:
			list = append(list, fmt.Sprintf("SELECT count(*), sum(o.id), count(DISTINCT o.note) FROM %s%s", from, where))
		}
	}
	return list
}

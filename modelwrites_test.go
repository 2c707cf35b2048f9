package kalamdb_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// upsertOf is an INSERT … ON CONFLICT with what it does to p and what it returns.
func (tb *modelTable) upsertOf(t *rapid.T, p *modelPartition) (text string, returned []string) {
	i := tb.value(t)
	var tuples []string
	taken := map[string]bool{}
	skip := rapid.Bool().Draw(t, "do nothing")
	for range rapid.IntRange(1, 3).Draw(t, "rows") {
		n := fmt.Sprint(rapid.IntRange(0, 12).Draw(t, "k1"))
		cells, tuple := []string{n}, n
		if tb.keys == 2 {
			cells, tuple = []string{n, `"a"`}, n+", 'a'"
		}
		key := strings.Join(cells, "|")
		if taken[key] {
			continue
		}
		taken[key] = true
		v := rapid.SampledFrom(modelValues[tb.columns[i].typ]).Draw(t, "value")
		tuples = append(tuples, "("+tuple+", "+v[0]+")")
		old, met := p.rows[key]
		if met && skip {
			continue
		}
		for j := tb.keys; j < len(tb.columns); j++ {
			cells = append(cells, tb.columns[j].initial)
		}
		if met {
			cells = slices.Clone(old)
		}
		cells[i] = v[1]
		p.rows[key] = cells
		delete(p.deleted, key)
		returned = append(returned, n+" "+v[1])
	}
	keys, name := strings.Join([]string{"k1", "k2"}[:tb.keys], ", "), tb.columns[i].name
	action := "DO UPDATE SET " + name + " = excluded." + name
	if skip {
		action = "DO NOTHING"
	}
	return fmt.Sprintf("INSERT INTO %s (%s, %s) VALUES %s ON CONFLICT (%s) %s RETURNING k1, %s", tb.name, keys, name, strings.Join(tuples, ", "), keys, action, name), returned
}

func (m *model) upsert(t *rapid.T) {
	tb, user := m.pick(t), rapid.SampledFrom(modelUsers).Draw(t, "user")
	text, returned := tb.upsertOf(t, tb.partition(user))
	m.compare(t, user, text, returned)
}

// transaction runs some statements that are kept all or not at all.
func (m *model) transaction(t *rapid.T) {
	tb, user := m.pick(t), rapid.SampledFrom(modelUsers).Draw(t, "user")
	p := tb.partition(user)
	now := &modelPartition{rows: maps.Clone(p.rows), deleted: maps.Clone(p.deleted)}
	texts, want := []string{"BEGIN"}, [][]string{nil}
	for range rapid.IntRange(1, 4).Draw(t, "statements") {
		if rapid.IntRange(0, 3).Draw(t, "delete") > 0 {
			text, returned := tb.upsertOf(t, now)
			texts, want = append(texts, text), append(want, returned)
			continue
		}
		where, matches := tb.where(t)
		for key, cells := range now.rows {
			if matches(cells) {
				delete(now.rows, key)
				if _, before := p.rows[key]; before || p.deleted[key] {
					now.deleted[key] = true
				}
			}
		}
		texts, want = append(texts, "DELETE FROM "+tb.name+where), append(want, nil)
		texts, want = append(texts, "SELECT count(*) FROM "+tb.name), append(want, []string{fmt.Sprint(len(now.rows))})
	}
	end := rapid.SampledFrom([]string{"COMMIT", "ROLLBACK"}).Draw(t, "end")
	text := strings.Join(append(texts, end), "; ")
	for i, res := range m.must(t, user, text)[:len(want)] {
		if got := modelRows(res); !slices.Equal(got, want[i]) {
			t.Fatalf("%s: statement %d gives %v, expected %v", text, i, got, want[i])
		}
	}
	if end == "COMMIT" {
		p.rows, p.deleted = now.rows, now.deleted
	}
}

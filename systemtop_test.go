package kalamdb_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"kalamdb"
)

// The first rows of a system table are those of the whole one, also with NULL and with
// many rows alike.
func TestSystemTableFirstRows(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	var values []string
	for i := range 300 {
		name := "NULL"
		if rand.IntN(4) > 0 {
			name = fmt.Sprintf("'é%d'", rand.IntN(30))
		}
		values = append(values, fmt.Sprintf("('u%d', %s, '%s')", i, name, []string{"user", "service"}[rand.IntN(2)]))
	}
	mustExec(t, db, "root", "INSERT INTO system.users (user_id, username, role) VALUES "+strings.Join(values, ", "))
	for range 200 {
		order := []string{"username", "role", "created_at", "updated_at", "metadata"}
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		order = append(order[:rand.IntN(3)], "user_id")
		for i := range order {
			order[i] += []string{"", " ASC", " DESC"}[rand.IntN(3)]
		}
		limit := fmt.Sprintf(" ORDER BY %s LIMIT %d OFFSET %d", strings.Join(order, ", "), rand.IntN(310), rand.IntN(3)*rand.IntN(150))
		got := answer(t, db, "root", "SELECT user_id, username, role FROM system.users"+limit)
		if want := answer(t, db, "root", "SELECT user_id, username, role FROM (FROM system.users)"+limit); got != want {
			t.Fatalf("%s gives\n%s expected\n%s", limit, got, want)
		}
	}
}

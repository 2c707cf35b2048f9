package acceptance

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	kills       = 5
	untilKill   = 700 * time.Millisecond
	crashUsers  = 3
	flushPause  = 30 * time.Millisecond
	createTally = "CREATE NAMESPACE app; CREATE USER TABLE app.tally (id BIGINT PRIMARY KEY, n BIGINT) FLUSH POLICY ROWS 50 INTERVAL '1 second'"
)

// Users insert and update while the server flushes and is killed, again and again.
// What was acknowledged is there, once, with its last acknowledged value or a later
// one that was on its way; nothing else is.
func TestKilledAgainAndAgain(t *testing.T) { killed(t, place{}) }

// The same with the rows, the logs and the catalog in MinIO. In the end the data directory is
// lost too: all that was flushed is there.
func TestKilledAgainAndAgainOnMinIO(t *testing.T) {
	killed(t, onMinIO(t))
}

func killed(t *testing.T, p place) {
	dir := t.TempDir()
	args := append([]string{"--data-dir", dir}, p.args...)
	srv := start(t, p.env, args...)
	root := srv.as("root", "dba", dir)
	if a := root.post(createTally); a.HTTP != http.StatusOK {
		t.Fatal(a.Body)
	}
	tallies := make([]*tally, crashUsers)
	for i := range tallies {
		tallies[i] = &tally{user: fmt.Sprintf("user%d", i), acked: map[int64]int64{}}
		tallies[i].token = token(t, dir, tallies[i].user, "user")
	}
	for round := range kills {
		var wg sync.WaitGroup
		var stop atomic.Bool
		for _, w := range tallies {
			wg.Go(func() { w.write(srv.url, &stop) })
		}
		wg.Go(func() {
			for !stop.Load() {
				if _, err := try(srv.url, root.token, "FLUSH TABLE app.tally"); err != nil {
					return
				}
				time.Sleep(flushPause) // lets rows gather
			}
		})
		time.Sleep(untilKill) // the kill is to come in the middle of whatever runs then
		srv.kill()
		stop.Store(true)
		wg.Wait()
		srv = start(t, p.env, args...)
		for _, w := range tallies {
			w.check(t, srv, round)
		}
	}
	if p.lose {
		srv.as("root", "dba", dir).ok("FLUSH ALL")
		srv.kill()
		newDir := t.TempDir()
		srv = start(t, p.env, append([]string{"--data-dir", newDir}, p.args...)...)
		for _, w := range tallies {
			w.token = token(t, newDir, w.user, "user")
			w.check(t, srv, kills)
		}
	}
	srv.stop()
}

// A tally is what one user wrote: keys 1, 2, 3 …, each updated once.
type tally struct {
	user, token string
	next        int64           // key of the next insert
	acked       map[int64]int64 // key → acknowledged n
	maybe       string          // the statement without an answer
	refused     string          // the answer that was no success
}

func (w *tally) write(url string, stop *atomic.Bool) {
	for !stop.Load() {
		w.next++
		id := w.next
		for n, text := range []string{
			fmt.Sprintf("INSERT INTO app.tally VALUES (%d, 0)", id),
			fmt.Sprintf("UPDATE app.tally SET n = n + 1 WHERE id = %d", id),
		} {
			switch refused, err := try(url, w.token, text); {
			case err != nil:
				w.maybe = text
				return
			case refused != "":
				w.refused = text + ": " + refused
				return
			}
			w.acked[id] = int64(n)
		}
	}
}

// check compares the table with what was acknowledged, and takes over what it has.
func (w *tally) check(t *testing.T, srv *server, round int) {
	t.Helper()
	s := session{t: t, url: srv.url, token: w.token}
	found := map[int64]int64{}
	for _, r := range s.ok("SELECT id, n FROM app.tally").Rows {
		id, n := number(t, r["id"]), number(t, r["n"])
		if _, twice := found[id]; twice {
			t.Errorf("round %d, %s: key %d is there twice", round, w.user, id)
		}
		found[id] = n
	}
	for id, n := range w.acked {
		got, ok := found[id]
		if !ok || got != n && !(id == w.next && got == n+1) {
			t.Errorf("round %d, %s: key %d has n = %d (there: %t), acknowledged %d; without an answer: %s", round, w.user, id, got, ok, n, w.maybe)
		}
	}
	for id := range found {
		if _, ok := w.acked[id]; !ok && id != w.next {
			t.Errorf("round %d, %s: key %d is there, but was never written", round, w.user, id)
		}
	}
	if w.refused != "" {
		t.Errorf("round %d, %s: %s", round, w.user, w.refused)
	}
	if len(w.acked) == 0 {
		t.Errorf("round %d, %s: nothing was written", round, w.user)
	}
	w.acked = found
}

// try runs SQL. The error says that there was no whole answer, refused is an answer
// that is no success.
func try(url, token, sql string) (refused string, err error) {
	r, err := http.NewRequest(http.MethodPost, url+"/api/sql", strings.NewReader(fmt.Sprintf(`{"sql":%q}`, sql)))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := httpClient.Do(r)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(resp.Body)
	if err := closeAfter(err, resp.Body); err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return string(body), nil
	}
	return "", nil
}

func number(t *testing.T, v any) int64 {
	t.Helper()
	n, ok := v.(json.Number)
	if !ok {
		t.Fatalf("%v is no number", v)
	}
	i, err := n.Int64()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

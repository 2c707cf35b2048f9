package kalamdb_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kalamdb"
	"kalamdb/row"
)

// Transactions run side by side, with flushes in between; afterwards their history is
// checked against snapshot isolation, exactly:
//
//   - the first read of a transaction is one state that the database had: all of the
//     commits up to some Seq, nothing of any other (atomic, nothing dirty), and none older
//     than what was acknowledged before it began;
//   - its last read is that state with its own writes (repeatable, reads its writes);
//   - between that state and its commit nobody else committed a row that it changed (no
//     update is lost).
func TestTransactionsAreSnapshotIsolated(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE USER TABLE app.t (k TEXT PRIMARY KEY, v TEXT); CREATE SHARED TABLE app.s (k TEXT PRIMARY KEY, v TEXT) WITH (access = 'public')")
	h := &history{db: db}
	var workers, flusher sync.WaitGroup
	for w := range 5 {
		workers.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(w)))
			for n := range 25 {
				h.transaction(t, r, fmt.Sprintf("%d.%d", w, n))
			}
		})
	}
	stop := make(chan struct{})
	flusher.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				if _, err := db.Exec(context.Background(), kalamdb.Request{SQL: "FLUSH ALL", As: principal("root")}); err != nil {
					t.Error(err)
				}
			}
		}
	})
	workers.Wait()
	close(stop)
	flusher.Wait()
	h.check(t)
}

// A state is what both tables hold: "t/k" or "s/k" → v.
type state map[string]string

// An attempt is one transaction as its client saw it.
type attempt struct {
	name        string
	text        string
	ops         []op
	acked       row.Seq // acknowledged to anybody before it began
	first, last state   // its reads
	affected    []int64
	seq         row.Seq // of its commit; 0 if it changed nothing or did not commit
}

// An op is one statement of a transaction, as SQL and as what it does to a state.
type op struct {
	text  string
	apply func(state) (affected int64)
}

// A history is all attempts of a run.
type history struct {
	db *kalamdb.DB

	mu        sync.Mutex // guards the rest
	attempts  []*attempt
	acked     row.Seq
	conflicts int
}

func randomOp(r *rand.Rand, tag string) op {
	table := []string{"t", "s"}[r.IntN(2)]
	key := fmt.Sprintf("k%d", r.IntN(6))
	at := table + "/" + key
	switch r.IntN(6) {
	case 0:
		return op{fmt.Sprintf("INSERT INTO %s VALUES ('%s', '%s') ON CONFLICT DO NOTHING", table, key, tag), func(s state) int64 {
			if _, ok := s[at]; ok {
				return 0
			}
			s[at] = tag
			return 1
		}}
	case 1:
		return op{fmt.Sprintf("DELETE FROM %s WHERE k = '%s'", table, key), func(s state) int64 {
			if _, ok := s[at]; !ok {
				return 0
			}
			delete(s, at)
			return 1
		}}
	case 2:
		return op{fmt.Sprintf("INSERT INTO %s VALUES ('%s', '%s') ON CONFLICT (k) DO UPDATE SET v = excluded.v", table, key, tag), func(s state) int64 {
			s[at] = tag
			return 1
		}}
	case 3: // every row of the table up to the key
		return op{fmt.Sprintf("UPDATE %s SET v = '%s' || k WHERE k <= '%s'", table, tag, key), func(s state) (n int64) {
			for k := range s {
				if strings.HasPrefix(k, table) && k <= at {
					s[k] = tag + k[2:]
					n++
				}
			}
			return n
		}}
	case 4: // from the other table
		other := map[string]string{"t": "s", "s": "t"}[table]
		return op{fmt.Sprintf("UPDATE %[1]s SET v = '%[3]s' || o.v FROM %[2]s AS o WHERE o.k = %[1]s.k", table, other, tag), func(s state) (n int64) {
			for k, v := range s {
				if w, ok := s[other+k[1:]]; ok && strings.HasPrefix(k, table) && v != "" {
					s[k] = tag + w
					n++
				}
			}
			return n
		}}
	}
	return op{fmt.Sprintf("UPDATE %s SET v = '%s' WHERE k = '%s'", table, tag, key), func(s state) int64 {
		if _, ok := s[at]; !ok {
			return 0
		}
		s[at] = tag
		return 1
	}}
}

const readAll = "SELECT 't/' || k AS k, v FROM t UNION ALL SELECT 's/' || k, v FROM s"

// transaction runs one and notes what its client saw.
func (h *history) transaction(t *testing.T, r *rand.Rand, name string) {
	a := &attempt{name: name}
	for i := range 1 + r.IntN(4) {
		a.ops = append(a.ops, randomOp(r, fmt.Sprintf("%s.%d ", name, i)))
	}
	end := "COMMIT"
	if r.IntN(8) == 0 {
		end = "ROLLBACK"
	}
	var b strings.Builder
	b.WriteString("BEGIN; " + readAll)
	for _, o := range a.ops {
		b.WriteString("; " + o.text)
	}
	b.WriteString("; " + readAll + "; " + end)
	a.text = b.String()
	h.mu.Lock()
	a.acked = h.acked
	h.mu.Unlock()

	res, err := h.db.Exec(context.Background(), kalamdb.Request{SQL: a.text, Namespace: "app", As: principal("alice")})
	h.mu.Lock()
	defer h.mu.Unlock()
	var e *kalamdb.Error
	if errors.As(err, &e) && e.Code == kalamdb.CodeTransactionConflict {
		if len(res) != 0 {
			t.Errorf("%s: results %v of a transaction that was rolled back", name, res)
		}
		h.conflicts++
		return
	}
	if err != nil {
		t.Errorf("%s: %v", a.text, err)
		return
	}
	a.first, a.last = stateOf(res[1]), stateOf(res[len(res)-2])
	for _, got := range res[2 : len(res)-2] {
		if got.Seq != 0 {
			t.Errorf("%s: seq %d inside of a transaction", name, got.Seq)
		}
		a.affected = append(a.affected, got.Affected)
	}
	a.seq = res[len(res)-1].Seq
	h.acked = max(h.acked, a.seq)
	h.attempts = append(h.attempts, a)
}

func stateOf(res kalamdb.Result) state {
	s := state{}
	for _, values := range res.Rows {
		s[values[0].Str()] = values[1].Str()
	}
	return s
}

// check replays the commits in the order of their Seqs.
func (h *history) check(t *testing.T) {
	commits := slices.DeleteFunc(slices.Clone(h.attempts), func(a *attempt) bool { return a.seq == 0 })
	slices.SortFunc(commits, func(a, b *attempt) int { return int(a.seq) - int(b.seq) })
	states := []state{{}}
	for _, c := range commits {
		states = append(states, after(states[len(states)-1], c.written()))
	}
	index := map[*attempt]int{}
	for i, c := range commits {
		index[c] = i + 1
	}
	if got := stateOf(mustExec(t, h.db, "alice", "USE app; "+readAll)[1]); !maps.Equal(got, states[len(states)-1]) {
		t.Errorf("the tables hold %v, the commits give %v", got, states[len(states)-1])
	}
	for _, a := range h.attempts {
		seen := slices.IndexFunc(states, func(s state) bool { return maps.Equal(s, a.first) })
		if seen < 0 {
			t.Errorf("%s read %v, which the database never held", a.name, a.first)
			continue
		}
		// Two states may be equal: the newest one before the commit that is equal is the kindest.
		for i := seen; i < len(states); i++ {
			if maps.Equal(states[i], a.first) && (a.seq == 0 || i < index[a]) {
				seen = i
			}
		}
		if seen < len(states)-1 && commits[seen].seq <= a.acked {
			t.Errorf("%s read a state before seq %d, though %d was acknowledged when it began", a.name, commits[seen].seq, a.acked)
		}
		want := maps.Clone(a.first)
		for i, o := range a.ops {
			if n := o.apply(want); n != a.affected[i] {
				t.Errorf("%s: %s affected %d rows, expected %d of %v", a.name, o.text, a.affected[i], n, a.first)
			}
		}
		if !maps.Equal(want, a.last) {
			t.Errorf("%s read %v at its end, expected %v after %s", a.name, a.last, want, a.text)
		}
		if a.seq == 0 {
			continue
		}
		for _, between := range commits[seen : index[a]-1] {
			for k := range between.written() {
				if _, both := a.written()[k]; both {
					t.Errorf("%s and %s ran side by side and both changed %s: an update is lost", a.name, between.name, k)
				}
			}
		}
	}
	t.Logf("%d committed, %d others, %d conflicts", len(commits), len(h.attempts)-len(commits), h.conflicts)
	if len(commits) < 20 || h.conflicts == 0 {
		t.Errorf("%d commits and %d conflicts: the test shows nothing", len(commits), h.conflicts)
	}
}

// written are the rows that the transaction changed; "" for a deleted one.
func (a *attempt) written() state {
	w := state{}
	for k, v := range a.last {
		if old, ok := a.first[k]; !ok || old != v {
			w[k] = v
		}
	}
	for k := range a.first {
		if _, ok := a.last[k]; !ok {
			w[k] = ""
		}
	}
	return w
}

func after(before, writes state) state {
	s := maps.Clone(before)
	for k, v := range writes {
		if v == "" {
			delete(s, k)
		} else {
			s[k] = v
		}
	}
	return s
}

// TestUpsertsOfOneRow: however many statements want to change one row, each does, and
// none repeats its work until it gives up.
func TestUpsertsOfOneRow(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE SHARED TABLE app.hits (id INT PRIMARY KEY, n BIGINT) WITH (access = 'public')")
	const writers, each = 60, 4
	texts := []string{
		"INSERT INTO app.hits VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET n = hits.n + (SELECT count(*) FROM app.hits)",
		"INSERT INTO app.hits VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET n = hits.n + 1",
		"UPDATE app.hits SET n = abs(n) + 1 WHERE id > 0",
	}
	mustExec(t, db, "root", "INSERT INTO app.hits VALUES (1, 0)")
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for j := range each {
				if err := execAs(db, fmt.Sprint("user", i), texts[(i/20+j/3)%len(texts)]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := mustExec(t, db, "root", "SELECT n FROM app.hits")[0].Rows[0][0].Int(); got != writers*each {
		t.Errorf("n is %d, expected %d", got, writers*each)
	}
}

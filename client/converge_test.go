package client_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"kalamdb"
	"kalamdb/auth"
	"kalamdb/client"
	"kalamdb/row"
	"kalamdb/server"
)

var (
	seeds     = flag.Int("converge.seeds", 2, "how many seeds TestLiveRowsConverge runs")
	firstSeed = flag.Uint64("converge.first", 1, "the first of them")
)

// A host is a server on a data directory, which can be stopped and started again.
type host struct {
	t       *testing.T
	dir     string
	secret  []byte
	address string
	stop    func()
}

func newHost(t *testing.T) *host {
	h := &host{t: t, dir: t.TempDir()}
	h.start()
	t.Cleanup(func() { h.stop() })
	return h
}

func (h *host) start() {
	h.t.Helper()
	db, err := kalamdb.Open(context.Background(), kalamdb.Options{DataDir: h.dir})
	if err != nil {
		h.t.Fatal(err)
	}
	h.secret = db.Secret()
	v, err := auth.NewVerifier(auth.Options{Secret: h.secret})
	if err != nil {
		h.t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	h.address = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.New(db, server.Options{Verifier: v}).Run(ctx, ln) }()
	h.stop = func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("run: %v", err)
		}
		if err := db.Close(); err != nil {
			h.t.Errorf("close: %v", err)
		}
	}
}

func (h *host) token(user string, role auth.Role, ttl time.Duration) string {
	h.t.Helper()
	token, err := auth.Sign(h.secret, auth.Principal{User: row.UserID(user), Role: role}, ttl)
	if err != nil {
		h.t.Fatal(err)
	}
	return token
}

// exec runs sql past the proxy.
func (h *host) exec(user string, role auth.Role, sql string) {
	h.t.Helper()
	c := client.New("http://"+h.address, h.token(user, role, time.Hour))
	defer c.Close()
	if _, err := c.Exec(h.t.Context(), sql); err != nil {
		h.t.Fatalf("%s: %v", sql, err)
	}
}

// queries are live queries, each of which has to equal its own SELECT.
var queries = []client.LiveQuery{
	{SQL: "SELECT * FROM app.t WHERE room = 'a'"},
	{SQL: "SELECT n, room FROM app.t WHERE n % 3 <> 0"},
	{SQL: "SELECT _seq, _updated, n AS m, id FROM app.t", Key: []string{"id"}},
	{SQL: "SELECT * FROM app.shared WHERE v > 10"},
}

const createConverge = `CREATE NAMESPACE app;
	CREATE USER TABLE app.t (id BIGINT AUTO_INCREMENT, room TEXT, n BIGINT, f DOUBLE, d DECIMAL(12,3), j JSON, tags TEXT[], b BLOB, ts TIMESTAMP, u UUID, e EMBEDDING(2));
	CREATE SHARED TABLE app.shared (k INT PRIMARY KEY, v INT) WITH (access = 'public')`

// statement is one random statement of plain users.
func statement(rng *rand.Rand) string {
	room := func() string { return string("abc"[rng.IntN(3)]) }
	value := func() string {
		return fmt.Sprintf(`('%s', %d, %s, %d.5, %s, %s, '\x0%d'::BLOB, '2026-01-02 03:04:0%d', uuid_v7(), [%d, 0.1])`, room(), rng.Int64()>>rng.IntN(63),
			[]string{"1.5", "'nan'::DOUBLE", "'inf'::DOUBLE", "-0.0", "1e300", "NULL", "0.1"}[rng.IntN(7)], rng.IntN(1000),
			[]string{`'{"b": 1, "a":[1, 2.50, null]}'`, `' "x" '`, "NULL", "'1e2'"}[rng.IntN(4)],
			[]string{"['x', NULL]", "[]", "NULL"}[rng.IntN(3)], rng.IntN(10), rng.IntN(10), rng.IntN(9))
	}
	switch rng.IntN(10) {
	case 0, 1, 2:
		rows := make([]string, 1+rng.IntN(20))
		for i := range rows {
			rows[i] = value()
		}
		return "INSERT INTO app.t (room, n, f, d, j, tags, b, ts, u, e) VALUES " + strings.Join(rows, ", ")
	case 3, 4:
		return fmt.Sprintf("UPDATE app.t SET n = n // 2 + 1, j = NULL WHERE id %% %d = 0", 2+rng.IntN(9))
	case 5:
		return fmt.Sprintf("UPDATE app.t SET room = '%s' WHERE id %% 10 = %d", room(), rng.IntN(10))
	case 6:
		return fmt.Sprintf("DELETE FROM app.t WHERE id %% 20 = %d", rng.IntN(20))
	case 7:
		return fmt.Sprintf("INSERT INTO app.shared VALUES (%d, %d) ON CONFLICT (k) DO UPDATE SET v = excluded.v", rng.IntN(20), rng.IntN(20))
	case 8:
		return fmt.Sprintf("DELETE FROM app.shared WHERE k = %d", rng.IntN(20))
	}
	return "BEGIN; " + statementAlone(rng) + "; UPDATE app.t SET n = n + 1 WHERE room = '" + room() + "'; DELETE FROM app.t WHERE n % 17 = 0; COMMIT"
}

func statementAlone(rng *rand.Rand) string {
	for {
		if s := statement(rng); !strings.HasPrefix(s, "BEGIN") {
			return s
		}
	}
}

// TestLiveRowsConverge lets random statements run while the connections of a client
// are cut, stalled and delayed, the server is restarted and a table altered. Whenever
// the network is calm again, the view is what the SELECT says.
func TestLiveRowsConverge(t *testing.T) {
	for i := range uint64(*seeds) {
		seed := *firstSeed + i
		t.Run(fmt.Sprint(seed), func(t *testing.T) { converge(t, seed) })
	}
}

func converge(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	h := newHost(t)
	h.exec("root", auth.DBA, createConverge)
	proxy := newRoughProxy(t, seed)
	proxy.leadTo(h.address)

	c := client.New(proxy.url(), "")
	defer c.Close()
	c.SilenceMax = 2 * time.Second
	c.TokenSource = func(context.Context) (string, error) { return h.token("ana", auth.User, 2*time.Second), nil } // which has to be renewed all the time
	var views []*client.LiveRows[client.Row]
	for _, q := range queries {
		q.OnRetry = func(err error, _ time.Duration) error {
			if strings.Contains(err.Error(), "not there") {
				t.Errorf("%s: %v", q.SQL, err)
			}
			return nil
		}
		v := client.Live[client.Row](t.Context(), c, q)
		defer v.Close()
		views = append(views, v)
	}
	const rounds = 4
	for round := range rounds {
		proxy.enrage()
		for range 25 {
			h.exec("ana", auth.User, statement(rng))
			switch rng.IntN(30) {
			case 0:
				h.exec("root", auth.DBA, "FLUSH ALL")
			case 1:
				h.exec("ben", auth.User, "INSERT INTO app.t (room, n) VALUES ('a', 1)")
			}
		}
		switch round {
		case 1:
			h.stop()
			h.start()
			proxy.leadTo(h.address)
		case 2:
			h.exec("root", auth.DBA, "ALTER TABLE app.t ADD COLUMN late INT DEFAULT 7")
			proxy.cutAll()
		}
		h.exec("ana", auth.User, statement(rng))
		proxy.soothe()
		for i, v := range views {
			settle(t, h, queries[i].SQL, v)
		}
	}
	t.Logf("seed %d: faults %v", seed, proxy.faults)
}

// TestLiveRowsShowWholeTransactions moves money between accounts while the network is
// rough. No one who looks at the view ever finds some of it missing.
func TestLiveRowsShowWholeTransactions(t *testing.T) {
	const accounts, each, moves = 8, 100, 200
	h := newHost(t)
	h.exec("root", auth.DBA, "CREATE NAMESPACE app; CREATE USER TABLE app.money (account INT PRIMARY KEY, amount INT)")
	for i := range accounts {
		h.exec("ana", auth.User, fmt.Sprintf("INSERT INTO app.money VALUES (%d, %d)", i, each))
	}
	proxy := newRoughProxy(t, 1)
	proxy.leadTo(h.address)
	c := client.New(proxy.url(), h.token("ana", auth.User, time.Hour))
	defer c.Close()
	c.SilenceMax = 2 * time.Second
	view := client.Live[struct{ Account, Amount int }](t.Context(), c, client.LiveQuery{SQL: "SELECT account, amount FROM app.money", Key: []string{"account"}})
	defer view.Close()
	if err := view.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen := make(chan int)
	go func() {
		defer close(seen)
		for view.Err() == nil {
			changed, sum := view.Changed(), 0
			for _, r := range view.Rows() {
				sum += r.Amount
			}
			if sum != accounts*each {
				t.Errorf("the view at %d shows %d of %d", view.Seq(), sum, accounts*each)
				return
			}
			<-changed
		}
	}()
	proxy.enrage()
	rng := rand.New(rand.NewPCG(1, 1))
	amounts := slices.Repeat([]int{each}, accounts)
	for range moves {
		from := rng.IntN(accounts)
		to := (from + 1 + rng.IntN(accounts-1)) % accounts
		moved := amounts[from]
		h.exec("ana", auth.User, fmt.Sprintf("BEGIN; DELETE FROM app.money WHERE account = %d; UPDATE app.money SET amount = amount + %d WHERE account = %d; COMMIT", from, moved, to))
		amounts[to] += moved
		back := rng.IntN(amounts[to] + 1)
		h.exec("ana", auth.User, fmt.Sprintf("BEGIN; UPDATE app.money SET amount = amount - %d WHERE account = %d; INSERT INTO app.money VALUES (%d, %[1]d); COMMIT", back, to, from))
		amounts[from], amounts[to] = back, amounts[to]-back
	}
	proxy.soothe()
	view.Close()
	<-seen
}

// settle waits until a view is what the server says.
func settle(t *testing.T, h *host, sql string, v *client.LiveRows[client.Row]) {
	t.Helper()
	c := client.New("http://"+h.address, h.token("ana", auth.User, time.Hour))
	defer c.Close()
	rows, err := client.Select[client.Row](t.Context(), c, sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	want := lines(t, rows)
	deadline := time.After(time.Minute)
	for {
		changed := v.Changed()
		got := lines(t, v.Rows())
		if slices.Equal(got, want) {
			return
		}
		if err := v.Err(); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%s: the view has %d rows, the SELECT %d:\n%s", sql, len(got), len(want), difference(got, want))
		}
	}
}

// lines are the rows as JSON, sorted.
func lines(t *testing.T, rows []client.Row) []string {
	t.Helper()
	out := make([]string, len(rows))
	for i, r := range rows {
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		out[i] = string(text)
	}
	slices.Sort(out)
	return out
}

func difference(got, want []string) string {
	var b strings.Builder
	for _, l := range got {
		if !slices.Contains(want, l) && b.Len() < 2000 {
			fmt.Fprintln(&b, "+", l)
		}
	}
	for _, l := range want {
		if !slices.Contains(got, l) && b.Len() < 4000 {
			fmt.Fprintln(&b, "-", l)
		}
	}
	return b.String()
}

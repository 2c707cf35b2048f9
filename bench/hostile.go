package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

const (
	honestUsers    = 50
	honestRows     = 1_000                  // of each, half of them in files
	honestEvery    = 200 * time.Millisecond // between two requests of one user
	hostileUsers   = 5
	hostileConns   = 4 // of each
	hostileRatio   = 3
	hostileMBMax   = 2_048
	hostileWarmUps = 5
)

// hostileTexts are statements that take what they can get: time, memory, temporary
// space, and answers.
var hostileTexts = []string{
	"SELECT count(*) FROM range(1000000000) a(x), range(1000000000) b(y) WHERE x * y = -%d",
	"SELECT max(len(l)) FROM (SELECT list(x) AS l FROM range(100000000) t(x) GROUP BY x %% %d)",
	"SELECT x FROM range(200000000) t(x) ORDER BY hash(x + %d) LIMIT 1 OFFSET 100000000",
	"SELECT string_agg(repeat('x', 10000) || %d, '') FROM range(1000000)",
	"SELECT x, repeat('y', 1000) FROM range(%d, 900000) t(x)",
	"WITH RECURSIVE r(n) AS (SELECT %d UNION ALL SELECT n + 1 FROM r) SELECT max(n) FROM r",
	"SELECT count(DISTINCT md5((x + %d)::VARCHAR)) FROM range(100000000) t(x)",
	"SELECT regexp_replace(repeat('a', 10000), 'a', 'aaaaaaaaaaaaaaaaaaaa%d', 'g') FROM range(100000)",
}

// benchHostile lets 50 users read by key, count and insert at their own pace, first alone
// and then beside 5 users who send what hurts, in other words each time.
func benchHostile(ctx context.Context, bin string, length time.Duration, rep *report) (err error) {
	if bin == "" {
		return errors.New("give -bin: the memory measured is that of the server's process")
	}
	s, err := startServer(ctx, bin)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	sign, err := tokens(s)
	if err != nil {
		return err
	}
	as := func(user string) (*conn, error) {
		token, err := sign(user)
		if err != nil {
			return nil, err
		}
		return dial(&server{addr: s.addr, token: token})
	}
	if err := honestTables(s, as); err != nil {
		return err
	}
	quiet, err := honest(ctx, as, 2*length)
	if err != nil {
		return err
	}
	before, err := peakMB(s.pid)
	if err != nil {
		return err
	}
	attack, stop := context.WithCancel(ctx)
	answers, ended := attackers(attack, as)
	time.Sleep(length) // until the attack has all that it can get
	loud, err := honest(ctx, as, 2*length)
	stop()
	ended()
	if err != nil {
		return err
	}
	after, err := peakMB(s.pid)
	if err != nil {
		return err
	}
	who := fmt.Sprintf("%d honest clients beside %d hostile users with %d connections each", honestUsers, hostileUsers, hostileConns)
	for _, q := range []float64{0.5, 0.99} {
		ours, raw := loud.reads.quantile(q), quiet.reads.quantile(q)
		what := fmt.Sprintf("%s, reads p%g", who, 100*q)
		if q == 0.99 {
			rep.ratio(what, ours.String(), raw.String()+" alone", float64(ours)/float64(raw), hostileRatio, true)
		} else {
			rep.note(what, ours.String(), raw.String()+" alone", float64(ours)/float64(raw))
		}
		ours, raw = loud.writes.quantile(q), quiet.writes.quantile(q)
		rep.note(fmt.Sprintf("%s, inserts p%g", who, 100*q), ours.String(), raw.String()+" alone", float64(ours)/float64(raw))
	}
	rep.value("largest resident memory", fmt.Sprintf("%.0f MB", after), fmt.Sprintf("%.0f MB alone", before), fmt.Sprintf("≤ %d MB", hostileMBMax), after <= hostileMBMax)
	rep.value("answers to the hostile", answers(), "", "", true)
	return nil
}

// honestTables gives each honest user rows of his own.
func honestTables(s *server, as func(string) (*conn, error)) error {
	dba, err := dial(s)
	if err != nil {
		return err
	}
	defer dba.c.Close()
	if err := dba.sql("CREATE NAMESPACE app; CREATE USER TABLE app.notes (id BIGINT PRIMARY KEY, text TEXT, n INT)"); err != nil {
		return err
	}
	fill := func(from, to int) error {
		for i := range honestUsers {
			c, err := as(fmt.Sprint("honest", i))
			if err != nil {
				return err
			}
			err = c.sql(fmt.Sprintf("INSERT INTO app.notes (id, text, n) SELECT x, 'note ' || x, x %% 10 FROM range(%d, %d) t(x)", from, to))
			c.c.Close()
			if err != nil {
				return err
			}
		}
		return nil
	}
	if err := fill(0, honestRows/2); err != nil {
		return err
	}
	if err := dba.sql("FLUSH TABLE app.notes"); err != nil {
		return err
	}
	return fill(honestRows/2, honestRows)
}

// waits are how long the honest waited.
type waits struct{ reads, writes histogram }

// honest measures what honest users wait for in length, each at an even pace.
func honest(ctx context.Context, as func(string) (*conn, error), length time.Duration) (*waits, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	all := &waits{}
	var wg sync.WaitGroup
	for i := range honestUsers {
		c, err := as(fmt.Sprint("honest", i))
		if err != nil {
			return nil, err
		}
		wg.Go(func() {
			defer c.c.Close()
			var reads, writes histogram
			next := time.Now().Add(time.Duration(i) * honestEvery / honestUsers)
			for n, until := 0, next.Add(length); next.Before(until) && ctx.Err() == nil; n++ {
				time.Sleep(time.Until(next))
				own, text := &reads, fmt.Sprintf("SELECT * FROM app.notes WHERE id = %d", n*37%honestRows)
				switch n % 8 {
				case 3:
					text = "SELECT n, count(*) FROM app.notes GROUP BY n"
				case 7:
					own, text = &writes, fmt.Sprintf("INSERT INTO app.notes (id, text, n) VALUES (%d, 'new', 1)", time.Now().UnixNano()>>10)
				}
				if err := c.sql(text); err != nil {
					cancel(fmt.Errorf("an honest user was told: %w", err))
					return
				}
				if n >= hostileWarmUps {
					own.add(time.Since(next)) // with the time that it could not be sent in
				}
				next = next.Add(honestEvery)
			}
			mu.Lock()
			defer mu.Unlock()
			all.reads.merge(&reads)
			all.writes.merge(&writes)
		})
	}
	wg.Wait()
	return all, context.Cause(ctx)
}

// attackers send hostile statements until ctx is done. ended waits for them.
func attackers(ctx context.Context, as func(string) (*conn, error)) (answers func() string, ended func()) {
	var mu sync.Mutex
	codes := map[string]int{}
	var wg sync.WaitGroup
	for i := range hostileUsers * hostileConns {
		wg.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				c, err := as(fmt.Sprint("mal", i%hostileUsers))
				if err != nil {
					continue
				}
				stop := context.AfterFunc(ctx, func() { c.c.Close() })
				err = c.sql(fmt.Sprintf(hostileTexts[n%len(hostileTexts)], n+2))
				stop()
				c.c.Close()
				mu.Lock()
				codes[codeIn(err)]++
				mu.Unlock()
			}
		})
	}
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Trim(fmt.Sprint(codes), "map[]")
	}, wg.Wait
}

// codeIn is the code of an error's answer.
func codeIn(err error) string {
	if err == nil {
		return "done"
	}
	_, body, _ := strings.Cut(err.Error(), "answer: ")
	var answer struct{ Error struct{ Code string } }
	if json.Unmarshal([]byte(body), &answer) != nil {
		return "cut off"
	}
	return answer.Error.Code
}

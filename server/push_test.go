package server

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"kalamdb"
	"kalamdb/auth"
	"kalamdb/row"
)

// Frames of every length have the right head.
func TestFrameLengths(t *testing.T) {
	hub := newFakeHub()
	s := start(t, &fakeDB{subscribe: hub.subscribe}, Options{OutboxBytesMax: 10 << 20})
	k := s.connect(t, "alice")
	k.say(subscribeM)
	k.hear(subscribedM)
	for _, n := range []int{1, 10, 100, 1000, 65_300, 65_400, 65_500, 65_600, 70_000, 140_000, 2_000_000} {
		text := strings.Repeat("x", n)
		hub.sub("m").events <- kalamdb.Event{Change: "INSERT", Rows: rowsOf(`"` + text + `"`), Seq: row.Seq(n), TxnLast: true}
		k.hear(fmt.Sprintf(`{"type":"change","subscription_id":"CONN-m","query_id":"m","change_type":"INSERT","rows":["%s"],"seq":%d,"txn_last":true}`, text, n))
	}
	for n := 40; n < 200; n++ { // around 125
		k.say(fmt.Sprintf(`{"type":"unsubscribe","query_id":"%s"}`, strings.Repeat("q", n)))
		if got := k.frame(); !strings.Contains(got, strings.Repeat("q", min(n, queryIDBytesMax))) && n <= queryIDBytesMax {
			t.Errorf("%d: %s", n, got)
		}
	}
}

// changesOf hears changes until it has so many rows of one query, and returns their ids.
func (k *talk) changesOf(queryID string, rows int) (ids []string, last row.Seq) {
	k.t.Helper()
	for len(ids) < rows {
		var f struct {
			Type    string
			QueryID string `json:"query_id"`
			Rows    []struct{ Text string }
			Seq     row.Seq
		}
		text := k.frame()
		if err := json.Unmarshal([]byte(text), &f); err != nil || f.Type != "change" {
			k.t.Fatalf("%v: %s", err, text)
		}
		if f.QueryID != queryID {
			continue
		}
		for _, r := range f.Rows {
			ids = append(ids, r.Text)
		}
		last = f.Seq
	}
	return ids, last
}

// A live query that has caught up has no goroutine; a large insert, which is only in the
// change log, brings it one for as long as it reads.
func TestLiveQueriesNeedNoGoroutines(t *testing.T) {
	r := startReal(t)
	root, alice := r.client("root", auth.DBA), r.client("alice", auth.User)
	r.must(root, createMessages)
	token, err := auth.Sign(r.db.Secret(), auth.Principal{User: "alice", Role: auth.User}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	k := r.connect(t, token)
	before := runtime.NumGoroutine()
	for i := range 90 {
		k.say(fmt.Sprintf(`{"type":"subscribe","subscriptions":[{"query_id":"q%d","sql":"SELECT text FROM app.messages WHERE conversation_id = 'c%d'"}]}`, i, i/2))
		k.frame()
	}
	eventually(t, "the goroutines of 90 live queries end", func() bool { return runtime.NumGoroutine() < before+20 })
	r.must(alice, "INSERT INTO app.messages (text, conversation_id) VALUES ('one', 'c7')")
	if ids, _ := k.changesOf("q15", 1); ids[0] != "one" { // q14 has it too, from the same place
		t.Errorf("got %q", ids)
	}
	for i := range 90 {
		if i != 15 {
			k.say(fmt.Sprintf(`{"type":"unsubscribe","query_id":"q%d"}`, i))
		}
	}
	const many = 30_000
	r.must(alice, fmt.Sprintf("INSERT INTO app.messages (text, conversation_id) SELECT 'bulk ' || range, 'c7' FROM range(%d)", many))
	r.must(alice, "INSERT INTO app.messages (text, conversation_id) VALUES ('after', 'c7')")
	ids, _ := k.changesOf("q15", many+1)
	for i, id := range ids {
		if want := fmt.Sprintf("bulk %d", i); id != want && (i < many || id != "after") {
			t.Fatalf("row %d is %q", i, id)
		}
	}
	r.must(alice, "INSERT INTO app.messages (text, conversation_id) VALUES ('live again', 'c7')")
	if ids, _ := k.changesOf("q15", 1); ids[0] != "live again" {
		t.Errorf("got %q", ids)
	}
	eventually(t, "the goroutine ends again", func() bool { return runtime.NumGoroutine() < before+20 })
	if n := r.must(root, "SELECT count(*) AS n FROM system.live_queries"); n != `{"n":1}` {
		t.Errorf("%s live queries, expected one", n)
	}
}

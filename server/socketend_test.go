package server

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"kalamdb"
	"kalamdb/auth"
	"kalamdb/row"
)

func TestTokenExpires(t *testing.T) {
	hub := newFakeHub()
	v := fakeVerifier{
		"short": auth.Principal{User: "alice", Expires: time.Now().Add(700 * time.Millisecond)},
		"later": auth.Principal{User: "alice", Expires: time.Now().Add(1500 * time.Millisecond)},
		"dba":   auth.Principal{User: "alice", Role: auth.DBA},
	}
	s := start(t, &fakeDB{subscribe: hub.subscribe}, Options{Verifier: v, TokenNotice: 1})
	k := s.connect(t, "short")
	renewed := s.connect(t, "short")
	for _, k := range []*talk{k, renewed} {
		k.say(subscribeM)
		k.hear(subscribedM)
	}
	m := hub.sub("m") // of renewed, the last one
	m.events <- kalamdb.Event{Change: "INSERT", Rows: rowsOf(`{}`), Seq: 131}
	renewed.frame()
	renewed.say(`{"type":"auth","token":"dba"}`)
	if got := renewed.frame(); !strings.Contains(got, `"code":"FORBIDDEN"`) {
		t.Errorf("another role: %s", got)
	}
	renewed.say(`{"type":"auth","token":"later"}`)
	k.hear(`{"type":"ended","subscription_id":"CONN-m","query_id":"m","reason":"auth_expired","seq":130}`)
	k.closed(websocket.ClosePolicyViolation)
	m.events <- kalamdb.Event{Change: "INSERT", Rows: rowsOf(`{}`), Seq: 132} // the renewed one lives on
	renewed.frame()
	renewed.hear(`{"type":"ended","subscription_id":"CONN-m","query_id":"m","reason":"auth_expired","seq":132}`)
	renewed.closed(websocket.ClosePolicyViolation)
	<-m.closed
}

func TestShutdownClosesSockets(t *testing.T) {
	hub := newFakeHub()
	entered := make(chan struct{})
	s := start(t, &fakeDB{subscribe: hub.subscribe, exec: func(ctx context.Context, r kalamdb.Request) ([]kalamdb.Result, error) {
		close(entered)
		time.Sleep(300 * time.Millisecond)
		return echo(ctx, r)
	}}, Options{})
	k := s.connect(t, "alice")
	k.say(subscribeM)
	k.hear(subscribedM)
	inFlight := make(chan answer, 1)
	go func() {
		a, err := s.try("POST", "/api/sql", strings.NewReader(`{"sql":"late"}`), jsonBody, asAlice)
		if err != nil {
			a.body = err.Error()
		}
		inFlight <- a
	}()
	<-entered
	s.stop()
	k.closed(websocket.CloseGoingAway)
	if a := <-inFlight; a.status != 200 || !strings.Contains(a.body, "late") {
		t.Errorf("request in flight: %d %s", a.status, a.body)
	}
	<-hub.sub("m").closed
	if err := <-s.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	s.done <- nil
	if _, err := s.try("GET", "/healthz", nil); err == nil {
		t.Error("the server still answers")
	}
}

func TestShutdownIsBounded(t *testing.T) {
	entered := make(chan struct{})
	s := start(t, &fakeDB{exec: func(ctx context.Context, _ kalamdb.Request) ([]kalamdb.Result, error) {
		close(entered)
		<-ctx.Done()
		return nil, ctx.Err()
	}}, Options{ShutdownTimeout: 100 * time.Millisecond})
	failed := make(chan error, 1)
	go func() {
		_, err := s.try("POST", "/api/sql", strings.NewReader(`{"sql":"x"}`), jsonBody, asAlice)
		failed <- err
	}()
	<-entered
	s.stop()
	<-failed
	if err := <-s.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	s.done <- nil
}

// A slow reader fills its outbox; then its live query pulls no more events, and
// what the hub says at the end arrives with everything before it, in order.
func TestSlowReader(t *testing.T) {
	hub := newFakeHub()
	s := start(t, &fakeDB{subscribe: hub.subscribe}, Options{OutboxBytesMax: 64 << 10})
	k := s.connect(t, "alice")
	k.say(subscribeM)
	k.hear(subscribedM)
	big := rowsOf(`{"text":"` + strings.Repeat("x", 32<<10) + `"}`)
	m := hub.sub("m")
	sent := 0
	for stuck := false; !stuck; {
		select {
		case m.events <- kalamdb.Event{Change: "INSERT", Rows: big, Seq: row.Seq(1000 + sent)}:
			if sent++; sent > 10_000 {
				t.Fatal("320 MB went to a client that reads nothing")
			}
		case <-time.After(300 * time.Millisecond):
			stuck = true
		}
	}
	m.end <- &kalamdb.Ended{Reason: "lagged", Seq: row.Seq(1000 + sent - 1)}
	for i := range sent {
		var f struct {
			Type string
			Seq  int
		}
		if err := json.Unmarshal([]byte(k.frame()), &f); err != nil || f.Type != "change" || f.Seq != 1000+i {
			t.Fatalf("event %d: %+v %v", i, f, err)
		}
	}
	k.hear(fmt.Sprintf(`{"type":"ended","subscription_id":"CONN-m","query_id":"m","reason":"lagged","seq":%d}`, 1000+sent-1))
}

func TestDeadReaderIsDropped(t *testing.T) {
	hub := newFakeHub()
	s := start(t, &fakeDB{subscribe: hub.subscribe}, Options{OutboxBytesMax: 64 << 10, WriteTimeout: 200 * time.Millisecond})
	k := s.connect(t, "alice")
	k.say(subscribeM)
	k.hear(subscribedM)
	big := rowsOf(`{"text":"` + strings.Repeat("x", 1<<20) + `"}`)
	m := hub.sub("m")
	for i := 0; ; i++ {
		select {
		case m.events <- kalamdb.Event{Change: "INSERT", Rows: big, Seq: 1}:
			if i > 1000 {
				t.Fatal("a gigabyte went to a client that reads nothing")
			}
			continue
		case <-m.closed:
		case <-time.After(10 * time.Second):
			t.Fatal("the live query is still open")
		}
		return
	}
}

func TestSilentClientIsDropped(t *testing.T) {
	hub := newFakeHub()
	s := start(t, &fakeDB{subscribe: hub.subscribe}, Options{PingInterval: 50 * time.Millisecond})
	alive, dead := s.connect(t, "alice"), s.connect(t, "bob")
	dead.say(subscribeM)
	dead.hear(subscribedM)
	gone := hub.sub("m")
	alive.say(subscribeM)
	alive.hear(subscribedM)
	go func() { // answers pings; dead does not read any more
		<-gone.closed
		hub.sub("m").events <- kalamdb.Event{Change: "INSERT", Rows: rowsOf(`{}`), Seq: 200}
	}()
	alive.hear(`{"type":"change","subscription_id":"CONN-m","query_id":"m","change_type":"INSERT","rows":[{}],"seq":200,"txn_last":false}`)
}

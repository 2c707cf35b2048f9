package server

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"kalamdb"
	"kalamdb/auth"
)

// The end of a token is announced; a newer one renews the connection, with an announcement
// of its own.
func TestTokenExpiring(t *testing.T) {
	hub := newFakeHub()
	begin := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // bubbles begin at midnight
	v := fakeVerifier{
		"alice":  auth.Principal{User: "alice", Expires: begin.Add(time.Hour)},
		"later":  auth.Principal{User: "alice", Expires: begin.Add(2 * time.Hour)},
		"short":  auth.Principal{User: "alice", Expires: begin.Add(2*time.Hour + 30*time.Second)},
		"always": auth.Principal{User: "alice"},
	}
	inBubble(t, &fakeDB{subscribe: hub.subscribe}, Options{Verifier: v, PingInterval: 24 * time.Hour}, func(b *bubble) {
		k := b.connect("alice")
		k.patience = 24 * time.Hour
		at := func(want time.Duration) {
			t.Helper()
			if got := time.Since(begin); got != want {
				t.Errorf("at %v, expected %v", got, want)
			}
		}
		k.say(subscribeM)
		k.hear(subscribedM)
		k.hear(`{"type":"token_expiring","expires_at":"2000-01-01T01:00:00.000000Z"}`)
		at(time.Hour - time.Minute)
		k.say(`{"type":"auth","token":"later"}`)
		k.hear(`{"type":"token_expiring","expires_at":"2000-01-01T02:00:00.000000Z"}`)
		at(2*time.Hour - time.Minute)
		time.Sleep(50 * time.Second)
		k.say(`{"type":"auth","token":"short"}`) // 40 s are left: half of them
		k.hear(`{"type":"token_expiring","expires_at":"2000-01-01T02:00:30.000000Z"}`)
		at(2*time.Hour + 10*time.Second)
		hub.sub("m").events <- kalamdb.Event{Change: "INSERT", Rows: rowsOf(`{}`), Seq: 131}
		k.frame()
		k.hear(`{"type":"ended","subscription_id":"CONN-m","query_id":"m","reason":"auth_expired","seq":131}`)
		at(2*time.Hour + 30*time.Second)
		k.closed(websocket.ClosePolicyViolation)

		k = b.connect("always")
		k.patience = 1000 * time.Hour
		go func() {
			time.Sleep(500 * time.Hour)
			k.say(`{"type":"ping"}`)
		}()
		k.hear(`{"type":"pong"}`) // and nothing about a token before it
	})
}

// A client that is gone without a word is noticed two and a half pings after its last
// sign of life, and its connection is given up at once, even while something is being
// written to it.
func TestHalfOpenSocket(t *testing.T) {
	hub := newFakeHub()
	inBubble(t, &fakeDB{subscribe: hub.subscribe}, Options{PingInterval: 30 * time.Second, WriteTimeout: time.Hour}, func(b *bubble) {
		k := b.connect("alice")
		k.say(subscribeM)
		k.hear(subscribedM)
		conn := k.conn.NetConn()
		taken := make(chan struct{})
		go func() { // takes bytes and answers nothing, for 74 s
			defer close(taken)
			conn.SetReadDeadline(time.Now().Add(74 * time.Second))
			for buf := make([]byte, 100); ; {
				if _, err := conn.Read(buf); err != nil {
					return
				}
			}
		}()
		<-taken
		hub.sub("m").events <- kalamdb.Event{Change: "INSERT", Rows: rowsOf(`{}`), Seq: 131}
		<-hub.sub("m").closed
		synctest.Wait()
		if n, at := len(b.sockets), time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)); n != 0 || at > 76*time.Second {
			t.Errorf("%d sockets left after %v, expected none after 75s", n, at)
		}
	})
}

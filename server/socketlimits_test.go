package server

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kalamdb/row"
)

func TestPace(t *testing.T) {
	now := time.Now()
	p := newPace(100)
	for i := range 1000 { // ten seconds' worth at once
		if d := p.delay(now, 1); d > 0 {
			t.Fatalf("message %d waits %v", i, d)
		}
	}
	if d := p.delay(now, 1); d != 10*time.Millisecond {
		t.Errorf("one more waits %v", d)
	}
	if d := p.delay(now.Add(time.Second), 100); d != 10*time.Millisecond {
		t.Errorf("100 more a second later wait %v", d)
	}
	if d := p.delay(now.Add(time.Hour), 1000); d != 0 {
		t.Errorf("after an hour of silence %v", d)
	}
}

// A client that sends too much is slowed down, and loses nothing.
func TestSocketIsPaced(t *testing.T) {
	hub := newFakeHub()
	inBubble(t, &fakeDB{subscribe: hub.subscribe}, Options{MessagesPerSecond: 10}, func(b *bubble) {
		k := b.connect("alice")
		begin := time.Now()
		go func() {
			for range 200 {
				k.say(`{"type":"ping"}`)
			}
		}()
		for range 200 {
			k.hear(`{"type":"pong"}`)
		}
		if took := time.Since(begin); took < 9*time.Second || took > 11*time.Second {
			t.Errorf("200 messages at 10 a second, 100 at once, took %v", took)
		}
	})
}

// What a user has open counts over all connections and is free again when it ends.
func TestLimitsOfAUser(t *testing.T) {
	hub := newFakeHub()
	inBubble(t, &fakeDB{subscribe: hub.subscribe}, Options{UserSocketsMax: 2, UserSubscriptionsMax: 3}, func(b *bubble) {
		one, two, other := b.connect("alice"), b.connect("alice"), b.connect("bob")
		ask := func(k *talk, id, want string) {
			t.Helper()
			k.say(`{"type":"subscribe","subscriptions":[{"query_id":"` + id + `","sql":"SELECT"}]}`)
			if got := k.frame(); !strings.Contains(got, want) {
				t.Errorf("%s: %s, expected %s", id, got, want)
			}
		}
		const refused = `"code":"LIMIT_EXCEEDED","message":"a user may have 3 live queries"`
		ask(one, "a", "subscribed")
		ask(one, "b", "subscribed")
		ask(two, "c", "subscribed")
		ask(two, "d", refused)
		ask(other, "a", "subscribed")
		one.say(`{"type":"unsubscribe","query_id":"b"}`)
		ask(two, "d", "subscribed")
		ask(one, "e", refused)

		e := b.events(askEvents)
		if e.reply.StatusCode != 429 {
			t.Errorf("a third connection: %s", e.reply.Status)
		}
		e.hangUp()
		one.conn.Close()
		synctest.Wait()
		e = b.events(askEvents) // in place of a
		if e.reply.StatusCode != 200 {
			t.Errorf("in the place of another: %s", e.reply.Status)
		}
		e.hangUp()
		two.conn.Close()
		synctest.Wait()
		if n, m := b.limits.sockets.counts, b.limits.subscriptions.counts; len(n) != 1 || len(m) != 1 || m[row.UserID("bob")] != 1 {
			t.Errorf("counted %v connections and %v live queries, expected those of bob", n, m)
		}
	})
}

package server

import (
	"io"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kalamdb"
	"kalamdb/auth"
)

const askEvents = "sql=SELECT&token=alice"

const subscribedEvents = `data: {"type":"subscribed","subscription_id":"CONN-events","query_id":"events","columns":[{"name":"id","type":"BIGINT"}],"seq":130,"resumed":false}`

func TestEvents(t *testing.T) {
	hub := newFakeHub()
	inBubble(t, &fakeDB{subscribe: hub.subscribe}, Options{}, func(b *bubble) {
		e := b.events("sql=" + url.QueryEscape("SELECT * FROM t") + "&last_rows=3&batch_rows=2&query_id=m&token=alice")
		if ct := e.reply.Header.Get("Content-Type"); e.reply.StatusCode != 200 || ct != mediaEvents {
			t.Fatalf("%s %s", e.reply.Status, ct)
		}
		if a := hub.asks[0]; a.SQL != "SELECT * FROM t" || a.LastRows != 3 || a.BatchRows != 2 || a.QueryID != "m" || a.As.User != "alice" || a.FromSeq != nil {
			t.Errorf("asked %+v", a)
		}
		e.hear("retry: 1000")
		// Who breaks off before all initial rows are there has to begin anew: no id.
		e.hear(`data: {"type":"subscribed","subscription_id":"CONN-m","query_id":"m","columns":[{"name":"id","type":"BIGINT"}],"seq":130,"resumed":false}`)
		m := hub.sub("m")
		m.events <- kalamdb.Event{Initial: true, HasMore: true, Rows: rowsOf(`{"id":1}`), Seq: 130}
		e.hear(`data: {"type":"initial_data","subscription_id":"CONN-m","query_id":"m","rows":[{"id":1}],"has_more":true,"seq":130}`)
		m.events <- kalamdb.Event{Initial: true, Rows: rowsOf(`{"id":2}`), Seq: 130}
		e.hear("id: 130\n" + `data: {"type":"initial_data","subscription_id":"CONN-m","query_id":"m","rows":[{"id":2}],"has_more":false,"seq":130}`)
		m.events <- kalamdb.Event{Change: "INSERT", Rows: rowsOf("{\"id\":3,\"j\":{\n\"a\":\r\n1}}"), Seq: 131}
		e.hear("id: 131\n" + `data: {"type":"change","subscription_id":"CONN-m","query_id":"m","change_type":"INSERT","rows":[{"id":3,"j":{` +
			"\ndata: \"a\":\ndata: \ndata: 1}}],\"seq\":131,\"txn_last\":false}")
		time.Sleep(30 * time.Second)
		e.hear(": ping")
		m.end <- &kalamdb.Ended{Reason: "lagged", Seq: 131}
		e.hear("id: 131\n" + `data: {"type":"ended","subscription_id":"CONN-m","query_id":"m","reason":"lagged","seq":131}`)
		e.hear("EOF")
		synctest.Wait()
		select {
		case <-m.closed:
		default:
			t.Error("the live query is still open")
		}
	})
}

// A browser comes back with the address of before and the id of the last event.
func TestEventsResume(t *testing.T) {
	hub := newFakeHub()
	inBubble(t, &fakeDB{subscribe: hub.subscribe}, Options{}, func(b *bubble) {
		e := b.events(askEvents+"&last_rows=100", "Last-Event-ID: 120")
		e.hear("retry: 1000")
		e.hear("id: 120\n" + `data: {"type":"subscribed","subscription_id":"CONN-events","query_id":"events","columns":[{"name":"id","type":"BIGINT"}],"seq":130,"resumed":true}`)
		if a := hub.asks[0]; a.FromSeq == nil || *a.FromSeq != 120 || a.LastRows != 0 {
			t.Errorf("asked %+v", a)
		}
		e.hangUp()
		synctest.Wait()
		select {
		case <-hub.sub("events").closed:
		default:
			t.Error("the client has gone, the live query is still open")
		}
		e = b.events(askEvents + "&from_seq=99&epoch=0a")
		if a := hub.asks[1]; *a.FromSeq != 99 || a.Epoch != "0a" {
			t.Errorf("asked %+v", a)
		}
		hub.sub("events").end <- &kalamdb.Error{Code: "INVALID_VALUE", Message: "no", Position: -1}
		e.hear("retry: 1000")
		e.hear("id: 99\n" + `data: {"type":"subscribed","subscription_id":"CONN-events","query_id":"events","columns":[{"name":"id","type":"BIGINT"}],"seq":130,"resumed":true}`)
		e.hear(`data: {"type":"error","query_id":"events","code":"INVALID_VALUE","message":"no"}`)
		e.hear("id: 99\n" + `data: {"type":"ended","subscription_id":"CONN-events","query_id":"events","reason":"error","seq":99}`)
		e.hear("EOF")
	})
}

// Before the first event everything that is wrong is an HTTP error, upon which a browser
// gives up.
func TestEventsRefused(t *testing.T) {
	hub := newFakeHub()
	inBubble(t, &fakeDB{subscribe: hub.subscribe}, Options{SocketsMax: 1}, func(b *bubble) {
		for _, c := range []struct {
			query  string
			header string
			status int
			code   string
		}{
			{"sql=SELECT", "", 401, "UNAUTHENTICATED"},
			{"sql=SELECT&token=nobody", "", 401, "UNAUTHENTICATED"},
			{askEvents, "Origin: https://evil.example", 403, "FORBIDDEN"},
			{"token=alice", "", 400, "INVALID_REQUEST"},
			{askEvents + "&last_rows=x", "", 400, "INVALID_REQUEST"},
			{askEvents + "&last_rows=1000001", "", 400, "INVALID_REQUEST"},
			{askEvents + "&last_row=1", "", 400, "INVALID_REQUEST"},
			{askEvents + "&sql=SELECT", "", 400, "INVALID_REQUEST"},
			{askEvents + "&query_id=%0A", "", 400, "INVALID_REQUEST"},
			{askEvents + "&from_seq=%zz", "", 400, "INVALID_REQUEST"},
			{askEvents, "Last-Event-ID: -1", 400, "INVALID_REQUEST"},
			{"sql=bad&token=alice", "", 400, "SYNTAX_ERROR"},
		} {
			e := b.events(c.query, c.header)
			body, err := io.ReadAll(e.reply.Body)
			if err != nil {
				t.Fatal(err)
			}
			e.hangUp()
			at := -1
			if c.code == "SYNTAX_ERROR" {
				at = 3 // fakeHub says
			}
			checkError(t, c.query+" "+c.header, answer{e.reply.StatusCode, e.reply.Header, string(body)}, c.status, c.code, "", at)
		}
		e := b.events(askEvents)
		e.hear("retry: 1000")
		over := b.events(askEvents)
		if over.reply.StatusCode != 429 {
			t.Errorf("one too many: %s", over.reply.Status)
		}
		over.hangUp()
		e.hangUp()
		synctest.Wait()
		if len(b.sockets) != 0 {
			t.Error("the stream is still counted")
		}
	})
}

// The token of an event stream is that of its address; when it ends so does the stream.
func TestEventsTokenEnds(t *testing.T) {
	hub := newFakeHub()
	expires := time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC) // bubbles begin at midnight
	v := fakeVerifier{"alice": auth.Principal{User: "alice", Expires: expires}}
	inBubble(t, &fakeDB{subscribe: hub.subscribe}, Options{Verifier: v, PingInterval: 24 * time.Hour}, func(b *bubble) {
		e := b.events(askEvents)
		e.hear("retry: 1000")
		e.hear("id: 130\n" + subscribedEvents)
		e.hear(`data: {"type":"token_expiring","expires_at":"2000-01-01T01:00:00.000000Z"}`)
		if left := time.Until(expires); left != time.Minute {
			t.Errorf("announced %v before", left)
		}
		e.hear("id: 130\n" + `data: {"type":"ended","subscription_id":"CONN-events","query_id":"events","reason":"auth_expired","seq":130}`)
		e.hear("EOF")
	})
}

// Options that a query string and a frame have in common, and the frames they lead to.
func TestOptions(t *testing.T) {
	hub := newFakeHub()
	inBubble(t, &fakeDB{subscribe: hub.subscribe}, Options{}, func(b *bubble) {
		e := b.events(askEvents + "&coalesce=true&checkpoint_ms=1500")
		e.hear("retry: 1000")
		e.hear("id: 130\n" + subscribedEvents)
		hub.sub("events").events <- kalamdb.Event{Checkpoint: &kalamdb.Checkpoint{Rows: 2, Hash: 0xab}, Seq: 131}
		e.hear("id: 131\n" + `data: {"type":"checkpoint","subscription_id":"CONN-events","query_id":"events","seq":131,"row_count":2,"hash":"00000000000000ab"}`)
		e.hangUp()
		k := b.connect("alice")
		for _, options := range []string{`"coalesce":1`, `"coalesce":"true"`, `"checkpoint_ms":3600001`, `"checkpoint_ms":true`, `"include_expired":1`} {
			k.say(`{"type":"subscribe","subscriptions":[{"query_id":"bad","sql":"SELECT","options":{` + options + `}}]}`)
			if got := k.frame(); !strings.Contains(got, `"code":"INVALID_REQUEST"`) {
				t.Errorf("%s: %s", options, got)
			}
		}
		k.say(`{"type":"subscribe","subscriptions":[{"query_id":"m","sql":"SELECT","options":{"coalesce":true,"checkpoint_ms":1500}}]}`)
		k.hear(subscribedM)
		for _, a := range hub.asks {
			if !a.Coalesce || a.CheckpointEvery != 1500*time.Millisecond {
				t.Errorf("asked %+v", a)
			}
		}
		// With ends of events there is no way back, so no event has an id.
		ends := b.events(askEvents + "&include_expired=true")
		ends.hear("retry: 1000")
		ends.hear(subscribedEvents)
		hub.sub("events").events <- kalamdb.Event{Change: "DELETE", Rows: rowsOf(`{"id":1,"_deleted":true}`), Reason: "expired", Seq: 131, TxnLast: true}
		ends.hear(`data: {"type":"change","subscription_id":"CONN-events","query_id":"events","change_type":"DELETE","rows":[{"id":1,"_deleted":true}],"reason":"expired","seq":131,"txn_last":true}`)
		ends.hangUp()
		if a := hub.asks[len(hub.asks)-1]; !a.IncludeExpired || a.Coalesce {
			t.Errorf("asked %+v", a)
		}
		refused := b.events(askEvents + "&coalesce=yes")
		if refused.reply.StatusCode != 400 {
			t.Error(refused.reply.Status)
		}
		refused.hangUp()
	})
}

package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// serveSockets is a server whose n-th connection runs the n-th script. One more is an error.
func serveSockets(t *testing.T, scripts ...func(conn *websocket.Conn, token string)) *Client {
	var n atomic.Int64
	return serve(t, "one", func(w http.ResponseWriter, r *http.Request) {
		i := int(n.Add(1)) - 1
		if i >= len(scripts) {
			t.Errorf("connection %d, expected %d", i+1, len(scripts))
			w.WriteHeader(http.StatusTeapot)
			return
		}
		conn, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		scripts[i](conn, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	})
}

const (
	subscribeAll = `{"type":"subscribe","subscriptions":[{"query_id":"q","sql":"S","options":{"last_rows":1000000,"batch_rows":10000}}]}`
	columnsA     = `"columns":[{"name":"a","type":"INT"}]`
)

func resumes(seq int, epoch string) string {
	return fmt.Sprintf(`{"type":"subscribe","subscriptions":[{"query_id":"q","sql":"S","options":{"from_seq":%d,%s"batch_rows":10000}}]}`, seq, epoch)
}

type a struct{ A int }

// shows waits until the rows of a view are want.
func shows(t *testing.T, l *LiveRows[a], want ...int) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		changed := l.Changed()
		got := []int{}
		for _, r := range l.Rows() {
			got = append(got, r.A)
		}
		if reflect.DeepEqual(got, append([]int{}, want...)) {
			return
		}
		if l.Err() != nil {
			t.Fatalf("rows %v, want %v: %v", got, want, l.Err())
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("rows %v, want %v", got, want)
		}
	}
}

// A gate lets a script wait for the test.
type gate chan struct{}

func (g gate) open() { close(g) }

func TestLiveRowsReplacesAllAtOnceAfterAnExpiredCursor(t *testing.T) {
	half, rest := make(gate), make(gate)
	c := serveSockets(t, func(conn *websocket.Conn, _ string) {
		hears(t, conn, subscribeAll)
		says(t, conn, `{"type":"subscribed","query_id":"q",`+columnsA+`,"seq":5,"epoch":"e1","resumed":false}`)
		says(t, conn, `{"type":"initial_data","query_id":"q","rows":[{"a":1},{"a":2}],"has_more":false,"seq":5}`)
		says(t, conn, `{"type":"change","query_id":"q","change_type":"INSERT","rows":[{"a":3}],"seq":6}`)
		says(t, conn, `{"type":"ended","query_id":"q","reason":"lagged","seq":6}`)
		untilClosed(conn)
	}, func(conn *websocket.Conn, _ string) {
		hears(t, conn, resumes(6, `"epoch":"e1",`))
		says(t, conn, `{"type":"error","query_id":"q","code":"CURSOR_EXPIRED","message":"too old"}`)
		hears(t, conn, subscribeAll)
		says(t, conn, `{"type":"subscribed","query_id":"q",`+columnsA+`,"seq":90,"epoch":"e2","resumed":false}`)
		says(t, conn, `{"type":"initial_data","query_id":"q","rows":[{"a":7}],"has_more":true,"seq":90}`)
		half.open()
		<-rest
		says(t, conn, `{"type":"initial_data","query_id":"q","rows":[{"a":8}],"has_more":false,"seq":90}`)
		untilClosed(conn)
	})
	l := Live[a](t.Context(), c, LiveQuery{SQL: "S"})
	defer l.Close()
	<-half
	shows(t, l, 1, 2, 3)
	rest.open()
	shows(t, l, 7, 8)
	if l.Seq() != 90 {
		t.Errorf("seq %d", l.Seq())
	}
	l.Close()
	if !errors.Is(l.Err(), context.Canceled) {
		t.Errorf("error %v", l.Err())
	}
	<-l.Changed()
	shows(t, l, 7, 8)
}

func TestLiveRowsAppliesATransactionAtOnce(t *testing.T) {
	second := make(gate)
	c := serveSockets(t, func(conn *websocket.Conn, _ string) {
		hears(t, conn, subscribeAll)
		says(t, conn, `{"type":"subscribed","query_id":"q",`+columnsA+`,"seq":5,"resumed":false}`)
		says(t, conn, `{"type":"initial_data","query_id":"q","rows":[{"a":1},{"a":1}],"has_more":false,"seq":5}`)
		says(t, conn, `{"type":"change","query_id":"q","change_type":"UPDATE","rows":[{"a":2}],"old_values":[{"a":1}],"seq":6,"txn_last":false}`)
		conn.NetConn().Close() // in the middle of the transaction
	}, func(conn *websocket.Conn, _ string) {
		hears(t, conn, resumes(6, ""))
		says(t, conn, `{"type":"subscribed","query_id":"q",`+columnsA+`,"seq":8,"resumed":true}`)
		says(t, conn, `{"type":"change","query_id":"q","change_type":"INSERT","rows":[{"a":9}],"seq":7,"txn_last":false}`)
		<-second
		says(t, conn, `{"type":"change","query_id":"q","change_type":"DELETE","rows":[{"a":1,"_deleted":true}],"seq":8,"txn_last":true}`)
		says(t, conn, `{"type":"change","query_id":"q","change_type":"INSERT","rows":[{"a":9}],"seq":8,"txn_last":true}`) // sent before
		says(t, conn, `{"type":"invented later","query_id":"q"}`)
		says(t, conn, `{"type":"change","query_id":"q","change_type":"INSERT","rows":[{"a":10}],"seq":9}`)
		untilClosed(conn)
	})
	l := Live[a](t.Context(), c, LiveQuery{SQL: "S"})
	defer l.Close()
	if err := l.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	changed := l.Changed()
	second.open()
	<-changed
	if rows := l.Rows(); len(rows) < 2 || rows[0].A != 2 || rows[1].A != 9 {
		t.Errorf("the first change of the rows made them %v, want 2 and 9", rows)
	}
	shows(t, l, 2, 9, 10)
}

func TestLiveRowsFetchesAllAgain(t *testing.T) {
	for name, second := range map[string]func(conn *websocket.Conn){
		"a row that is not there is changed": func(conn *websocket.Conn) {
			says(t, conn, `{"type":"subscribed","query_id":"q",`+columnsA+`,"seq":8,"resumed":true}`)
			says(t, conn, `{"type":"change","query_id":"q","change_type":"DELETE","rows":[{"a":4}],"seq":7}`)
		},
		"the columns are others": func(conn *websocket.Conn) {
			says(t, conn, `{"type":"subscribed","query_id":"q","columns":[{"name":"a","type":"INT"},{"name":"b","type":"INT"}],"seq":8,"resumed":true}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			begin := func(conn *websocket.Conn, rows string) {
				hears(t, conn, subscribeAll)
				says(t, conn, `{"type":"subscribed","query_id":"q",`+columnsA+`,"seq":5,"resumed":false}`)
				says(t, conn, `{"type":"initial_data","query_id":"q","rows":[`+rows+`],"has_more":false,"seq":5}`)
			}
			c := serveSockets(t, func(conn *websocket.Conn, _ string) {
				begin(conn, `{"a":1}`)
			}, func(conn *websocket.Conn, _ string) {
				hears(t, conn, resumes(5, ""))
				second(conn)
				untilClosed(conn)
			}, func(conn *websocket.Conn, _ string) {
				begin(conn, `{"a":4},{"a":5}`)
				untilClosed(conn)
			})
			l := Live[a](t.Context(), c, LiveQuery{SQL: "S"})
			defer l.Close()
			shows(t, l, 4, 5)
		})
	}
}

func TestFollowRenewsTokens(t *testing.T) {
	given := 0
	c := serveSockets(t, func(conn *websocket.Conn, token string) {
		hears(t, conn, `{"type":"subscribe","subscriptions":[{"query_id":"q","sql":"S","options":{}}]}`)
		says(t, conn, `{"type":"subscribed","query_id":"q",`+columnsA+`,"seq":5,"resumed":false}`)
		says(t, conn, `{"type":"token_expiring","expires_in_ms":1000}`)
		hears(t, conn, `{"token":"token 1","type":"auth"}`)
		says(t, conn, `{"type":"error","code":"UNAUTHENTICATED","message":"not good enough"}`) // the old one still counts
		says(t, conn, `{"type":"change","query_id":"q","change_type":"INSERT","rows":[{"a":1}],"seq":6}`)
		says(t, conn, `{"type":"ended","query_id":"q","reason":"auth_expired","seq":6}`)
		if token != "one" {
			t.Errorf("token %q", token)
		}
		untilClosed(conn)
	}, func(conn *websocket.Conn, token string) {
		hears(t, conn, `{"type":"subscribe","subscriptions":[{"query_id":"q","sql":"S","options":{"from_seq":6}}]}`)
		if token != "token 2" {
			t.Errorf("token %q", token)
		}
		says(t, conn, `{"type":"subscribed","query_id":"q",`+columnsA+`,"seq":6,"resumed":true}`)
		closing := websocket.FormatCloseMessage(websocket.ClosePolicyViolation, "auth_expired")
		if err := conn.WriteControl(websocket.CloseMessage, closing, time.Now().Add(time.Second)); err != nil {
			t.Error(err)
		}
		untilClosed(conn)
	}, func(conn *websocket.Conn, token string) {
		hears(t, conn, `{"type":"subscribe","subscriptions":[{"query_id":"q","sql":"S","options":{"from_seq":6}}]}`)
		if token != "token 3" {
			t.Errorf("token %q", token)
		}
		says(t, conn, `{"type":"subscribed","query_id":"q",`+columnsA+`,"seq":6,"resumed":true}`)
		says(t, conn, `{"type":"ended","query_id":"q","reason":"killed","seq":6}`)
		untilClosed(conn)
	})
	c.TokenSource = func(context.Context) (string, error) { given++; return fmt.Sprintf("token %d", given), nil }
	f := c.Follow(t.Context(), Spec{SQL: "S"}, nil)
	var kinds []string
	var last error
	for e, err := range f.Events() {
		if last = err; err == nil {
			kinds = append(kinds, fmt.Sprint(e.Type, " ", e.Seq))
		}
	}
	var ended *EndedError
	if want := []string{"subscribed 5", "change 6", "subscribed 6", "subscribed 6"}; !reflect.DeepEqual(kinds, want) || !errors.As(last, &ended) || ended.Reason != "killed" {
		t.Errorf("events %v, want %v; %v", kinds, want, last)
	}
	if s := f.Spec(); s.FromSeq == nil || *s.FromSeq != 6 {
		t.Errorf("to go on with: %+v", s)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := f.Next(); !errors.Is(err, last) {
		t.Errorf("after the end: %v", err)
	}
}

// A gap is never silent: without rows to start again with, an expired cursor is an error.
func TestFollowErrors(t *testing.T) {
	for _, x := range []struct{ frame, want string }{
		{`{"type":"error","query_id":"q","code":"CURSOR_EXPIRED","message":"too old"}`, "CURSOR_EXPIRED: too old"},
		{`{"type":"error","query_id":"q","code":"TABLE_NOT_FOUND","message":"no table"}`, "TABLE_NOT_FOUND: no table"},
		{`{"type":"ended","query_id":"q","reason":"table_dropped"}`, "the server ended the live query: table_dropped"},
	} {
		c := serveSockets(t, func(conn *websocket.Conn, _ string) {
			hears(t, conn, `{"type":"subscribe","subscriptions":[{"query_id":"q","sql":"S","options":{"from_seq":3}}]}`)
			says(t, conn, x.frame)
			untilClosed(conn)
		})
		seq := uint64(3)
		f := c.Follow(t.Context(), Spec{SQL: "S", FromSeq: &seq}, nil)
		if _, err := f.Next(); err == nil || err.Error() != x.want {
			t.Errorf("error %v, want %s", err, x.want)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	boom := errors.New("no more")
	f := New("http://127.0.0.1:1", "").Follow(t.Context(), Spec{SQL: "S"}, func(err error, pause time.Duration) error {
		if err == nil || pause <= 0 {
			t.Errorf("retry after %v in %s", err, pause)
		}
		return boom
	})
	if _, err := f.Next(); !errors.Is(err, boom) {
		t.Errorf("error %v", err)
	}
}

func TestSilenceEndsAStream(t *testing.T) {
	c, done := serveSocket(t, func(conn *websocket.Conn) {
		pings := 0
		conn.SetPingHandler(func(string) error { pings++; return nil }) // and no pong
		untilClosed(conn)
		if pings == 0 {
			t.Error("the client did not ping")
		}
	})
	c.SilenceMax = 300 * time.Millisecond
	s, err := c.Subscribe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Next(); err == nil || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("Next: %v", err)
	}
	s.Close()
	<-done
}

package server

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"kalamdb"
	"kalamdb/auth"
	"kalamdb/live"
	"kalamdb/row"
)

var (
	slowMegabytes = flag.Int("slow.megabytes", 16, "how much TestSlowReaderIsBounded writes")
	churnRounds   = flag.Int("churn", 400, "how often TestSubscribeChurn subscribes and unsubscribes")
)

// Subscribing and unsubscribing leaves nothing behind: no live query, no goroutine, no
// memory. The whole is -churn 100000.
func TestSubscribeChurn(t *testing.T) {
	const sockets, open = 4, 8
	r := startRealWith(t, kalamdb.Options{}, Options{MessagesPerSecond: 1 << 20})
	root, alice := r.client("root", auth.DBA), r.client("alice", auth.User)
	r.must(root, createMessages+"; CREATE STREAM TABLE app.s (id INT PRIMARY KEY)")
	token, err := auth.Sign(r.db.Secret(), auth.Principal{User: "alice", Role: auth.User}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	r.must(alice, "INSERT INTO app.messages (text, conversation_id) SELECT 'x', 'c' || range FROM range(50)")
	ctx, stop := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			if _, err := alice.Exec(ctx, "UPDATE app.messages SET created_at = now() WHERE conversation_id = $1", fmt.Sprint("c", i%50)); err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
		}
	})
	churn := func(rounds int) {
		var all sync.WaitGroup
		for s := range sockets {
			k, _, err := r.dial(t, "", http.Header{"Authorization": {"Bearer " + token}})
			if err != nil {
				t.Fatal(err)
			}
			all.Go(func() {
				defer k.conn.Close()
				queries := []string{"SELECT text FROM app.messages WHERE conversation_id = 'c%d'", "SELECT * FROM app.messages WHERE text LIKE '%%%d' OR id = %[1]d",
					"SELECT id, text FROM app.messages", "SELECT id FROM app.s WHERE id > %d"}
				say := func(text string) bool {
					err := k.conn.WriteMessage(1, []byte(text))
					if err != nil {
						t.Error(err)
					}
					return err == nil
				}
				begun := 0
				for i := range rounds / sockets {
					query := queries[i%len(queries)]
					if strings.Contains(query, "%") {
						query = fmt.Sprintf(query, i%50)
					}
					if !say(fmt.Sprintf(`{"type":"subscribe","subscriptions":[{"query_id":"%d","sql":"%s","options":{"last_rows":%d}}]}`, i, query, i%3)) ||
						i >= open && !say(fmt.Sprintf(`{"type":"unsubscribe","query_id":"%d"}`, i-open)) {
						return
					}
					for begun <= i { // changes come in between
						k.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
						_, frame, err := k.conn.ReadMessage()
						if err != nil || strings.HasPrefix(string(frame), `{"type":"error"`) {
							t.Errorf("socket %d, round %d: %s %v", s, i, frame, err)
							return
						}
						if strings.HasPrefix(string(frame), `{"type":"subscribed"`) {
							begun++
						}
					}
				}
			})
		}
		all.Wait()
		eventually(t, "the live queries of the sockets end", func() bool { return r.db.Stats().LiveQueries == 0 })
	}
	size := func() (int, int64) {
		debug.FreeOSMemory()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return runtime.NumGoroutine(), int64(m.HeapAlloc)
	}
	churn(*churnRounds / 4)
	goroutines, heap := size()
	rss := resident()
	churn(*churnRounds - *churnRounds/4)
	stop()
	writing.Wait()
	eventually(t, "the goroutines of the sockets end", func() bool { return runtime.NumGoroutine() <= goroutines+4 })
	n, grown := size()
	t.Logf("%d goroutines, before %d; heap %d KiB, before %d KiB; resident %s, before %s", n, goroutines, grown>>10, heap>>10, resident(), rss)
	if grown > heap+(8<<20) {
		t.Errorf("the heap has grown from %d to %d bytes", heap, grown)
	}
}

// resident is the memory of this process as Linux counts it, that of DuckDB included.
func resident() string {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "unknown"
	}
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	line, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(line)
}

// heard are the ids and the frame of one change; of another frame only that.
func heard(t *testing.T, k *talk) (ids []int, frame string) {
	t.Helper()
	k.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	_, text, err := k.conn.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	frame = string(text)
	for rest := frame; ; {
		_, after, found := strings.Cut(rest, `{"id":`)
		if !found {
			return ids, frame
		}
		var id int
		if _, err := fmt.Sscanf(after[:min(len(after), 20)], "%d,", &id); err != nil {
			t.Fatalf("%v in %.100s", err, frame)
		}
		ids, rest = append(ids, id), after
	}
}

// A reader that takes nothing while megabytes come has no more kept for it than its queues
// and those of the kernel hold, is told so, and gets the rest when it comes back; another
// one hears all of it. The whole is -slow.megabytes 60.
func TestSlowReaderIsBounded(t *testing.T) {
	const (
		each, bytes = 4, 256 << 10 // rows of one commit, a megabyte
		keptMax     = 12 << 20     // queue and outbox below, and what the kernel buffers
	)
	commits := *slowMegabytes
	r := startRealWith(t, kalamdb.Options{Live: live.Options{QueueBytesMax: 256 << 10}}, Options{OutboxBytesMax: 256 << 10, WriteTimeout: time.Minute})
	r.must(r.client("root", auth.DBA), "CREATE NAMESPACE app; CREATE SHARED TABLE app.news (id INT PRIMARY KEY, text TEXT)")
	connect := func(user row.UserID) *talk {
		token, err := auth.Sign(r.db.Secret(), auth.Principal{User: user, Role: auth.User}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		k := r.connect(t, token)
		if err := k.conn.NetConn().(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
			t.Fatal(err)
		}
		k.say(`{"type":"subscribe","subscriptions":[{"query_id":"m","sql":"SELECT id, text FROM app.news"}]}`)
		k.frame()
		return k
	}
	slow, quick := connect("slow"), connect("quick")
	text := row.TextValue(strings.Repeat("x", bytes))
	want := 0
	for i := range commits {
		var values []string
		for j := range each {
			values = append(values, fmt.Sprintf("(%d, $1)", i*each+j))
		}
		if _, err := r.db.Exec(t.Context(), kalamdb.Request{SQL: "INSERT INTO app.news VALUES " + strings.Join(values, ", "), Params: []row.Value{text},
			As: auth.Principal{User: "worker", Role: auth.Service}}); err != nil {
			t.Fatal(err)
		}
		for want < (i+1)*each {
			ids, frame := heard(t, quick)
			for _, id := range ids {
				if id != want {
					t.Fatalf("the quick reader got %d, expected %d", id, want)
				}
				want++
			}
			if len(ids) == 0 {
				t.Fatalf("the quick reader got %.200s", frame)
			}
		}
	}
	var ended struct {
		Type, Reason string
		Seq          row.Seq
	}
	kept, next := 0, 0
	take := func(k *talk) string {
		ids, frame := heard(t, k)
		kept += len(frame)
		for _, id := range ids {
			if id != next {
				t.Fatalf("the slow reader got %d, expected %d", id, next)
			}
			next++
		}
		return frame
	}
	for ended.Type != "ended" {
		if frame := take(slow); len(frame) < 1000 {
			if err := json.Unmarshal([]byte(frame), &ended); err != nil {
				t.Fatal(err)
			}
		}
	}
	if ended.Reason != "lagged" || kept > keptMax || next == commits*each {
		t.Errorf("%+v after %d rows and %d bytes of %d that were written, expected lagged and at most %d", ended, next, kept, commits*each*bytes, keptMax)
	}
	slow.say(fmt.Sprintf(`{"type":"subscribe","subscriptions":[{"query_id":"m","sql":"SELECT id, text FROM app.news","options":{"from_seq":%d}}]}`, ended.Seq))
	for next < commits*each {
		take(slow)
	}
}

package acceptance

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"kalamdb/storagelocations/buckettest"
)

const (
	ordered = `SELECT id, text, conversation_id, created_at FROM app.messages WHERE conversation_id = 'c1' ORDER BY created_at`
	watched = `SELECT * FROM app.messages WHERE conversation_id = 'c1'`
)

// A place is where the server of one run of the script keeps its data.
type place struct {
	args, env []string
	lose      bool // the bucket outlives the data directory
}

func TestFolder(t *testing.T) { script(t, place{}) }

func TestFolderElsewhere(t *testing.T) {
	script(t, place{args: []string{"--storage", "file://" + filepath.Join(t.TempDir(), "bucket")}, lose: true})
}

func TestMinIO(t *testing.T) { script(t, onMinIO(t)) }

// onMinIO is an empty place in MinIO.
func onMinIO(t *testing.T) place {
	t.Helper()
	o := buckettest.StartMinIO(t)
	env := []string{"KALAMDB_STORAGE_S3_ENDPOINT=" + o.Endpoint, "KALAMDB_STORAGE_S3_PATH_STYLE=true"}
	if o.AccessKey == "" { // a store of the tester's, with his own environment
		for _, pair := range os.Environ() {
			if strings.HasPrefix(pair, "AWS_") {
				env = append(env, pair)
			}
		}
	} else {
		env = append(env, "AWS_REGION="+cmp.Or(o.Region, "us-east-1"), "AWS_ACCESS_KEY_ID="+o.AccessKey, "AWS_SECRET_ACCESS_KEY="+o.SecretKey)
	}
	prefix := path.Join(o.Prefix, fmt.Sprintf("acceptance-%d", time.Now().UnixNano()))
	return place{args: []string{"--storage", "s3://" + o.Bucket + "/" + prefix}, env: env, lose: true}
}

// script is the founding acceptance script: write, read, live, flush, kill, again.
func script(t *testing.T, p place) {
	data := filepath.Join(t.TempDir(), "data")
	args := append([]string{"--data-dir", data}, p.args...)
	srv := start(t, p.env, args...)
	refuseSecond(t, p, args)
	root, alice, bob := srv.as("root", "dba", data), srv.as("alice", "user", data), srv.as("bob", "user", data)

	root.ok(`CREATE NAMESPACE app`)
	root.ok(`CREATE USER TABLE app.messages (id BIGINT AUTO_INCREMENT, text STRING, conversation_id STRING, created_at TIMESTAMP) FLUSH POLICY ROW_LIMIT 1000`)
	alice.fails(http.StatusForbidden, "FORBIDDEN", `CREATE NAMESPACE mine`)
	session{t: t, url: srv.url}.fails(http.StatusUnauthorized, "UNAUTHENTICATED", `SELECT 1`)

	write(alice)
	want := alice.ok(ordered)
	if got := want.texts("text"); got != "hello|I'm great!|see you" {
		t.Fatalf("the ordered SELECT has the texts %s", got)
	}
	if got := want.Rows[1]["created_at"]; got != "2026-01-02T03:04:06.000000Z" {
		t.Errorf("created_at is %v", got)
	}
	checkIDs(t, want.Rows)

	k, cursor, changes := watch(alice, want)
	other := bob.dial()
	if f := other.subscribe("b", watched, map[string]any{"last_rows": 10}); f.Resumed {
		t.Error("a new subscription says that it resumed")
	}
	if f := other.next("initial_data"); len(f.Rows) != 0 || f.HasMore {
		t.Errorf("bob's first rows are %v, he has none", f.Rows)
	}
	liveQueries(root, alice)
	noneFor(bob)
	other.nothing()

	after := alice.ok(ordered) // the live part left its traces
	sameRows(t, "bob's statements", alice.ok(ordered), after)
	root.ok(`FLUSH TABLE app.messages`)
	if files := root.ok(`SELECT path, rows FROM system.files WHERE namespace = 'app' AND table_name = 'messages' AND user_id = 'alice'`); len(files.Rows) == 0 {
		t.Error("no Parquet file after FLUSH TABLE")
	}
	sameRows(t, "FLUSH", alice.ok(ordered), after)
	k.nothing() // a flush is no change

	tail := alice.ok(`INSERT INTO app.messages (text, conversation_id, created_at) VALUES ('not flushed', 'c1', TIMESTAMP '2026-01-02 03:05:00')`)
	k.next("change")
	after = alice.ok(ordered)
	srv.kill()

	srv = start(t, p.env, args...)
	root, alice, bob = srv.as("root", "dba", data), srv.as("alice", "user", data), srv.as("bob", "user", data)
	sameRows(t, "kill -9 and a new start", alice.ok(ordered), after)
	noneFor(bob)
	k = resume(alice, cursor, append(changes, tail.Seq))
	root.ok(`FLUSH TABLE app.messages`)
	sameRows(t, "a second flush", alice.ok(ordered), after)
	stopTellsSockets(srv, k)

	if p.lose {
		if err := os.RemoveAll(data); err != nil {
			t.Fatal(err)
		}
	}
	srv = start(t, p.env, args...)
	sameRows(t, "a start from what was stored", srv.as("alice", "user", data).ok(ordered), after)
	noneFor(srv.as("bob", "user", data))
	srv.stop()
}

// refuseSecond starts another server on the data directory, which must not come up.
func refuseSecond(t *testing.T, p place, args []string) {
	t.Helper()
	out, log, err := command(t, p.env, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	if err == nil || out != "" || !strings.Contains(log, "in use by another server") {
		t.Errorf("a second server on one data directory: error %v, stdout %q, stderr %q", err, out, log)
	}
}

// write inserts alice's three messages: a literal with a quote, parameters, and one
// in another order of columns.
func write(alice session) {
	alice.t.Helper()
	var last int64
	for _, r := range []result{
		alice.ok(`INSERT INTO app.messages (text, conversation_id, created_at) VALUES ('hello', 'c1', '2026-01-02 03:04:05')`),
		alice.ok(`INSERT INTO app.messages (text, conversation_id, created_at) VALUES ('I''m great!', 'c1', TIMESTAMP '2026-01-02 03:04:06')`),
		alice.ok(`INSERT INTO app.messages (created_at, conversation_id, text) VALUES ($1, $2, $3)`, "2026-01-02T03:04:07.5Z", "c1", "see you"),
	} {
		if r.Statement != "INSERT" || r.AffectedRows != 1 || r.Seq <= last {
			alice.t.Errorf("answer of an INSERT after seq %d: %+v", last, r)
		}
		last = r.Seq
	}
}

// checkIDs wants ids that increase and that JavaScript keeps exact.
func checkIDs(t *testing.T, rows []map[string]any) {
	t.Helper()
	var last int64
	for _, row := range rows {
		n, ok := row["id"].(json.Number)
		id, err := n.Int64()
		if !ok || err != nil || id <= last || id >= 1<<53 {
			t.Errorf("id %v after %d, expected a larger one below 2^53", row["id"], last)
		}
		last = id
	}
}

// watch subscribes and changes rows under the subscription's eyes. It returns the
// socket, the cursor before the changes and the seq of each.
func watch(alice session, before result) (k *socket, cursor int64, changes []int64) {
	t := alice.t
	t.Helper()
	k = alice.dial()
	sub := k.subscribe("m", watched, map[string]any{"last_rows": 10})
	if sub.QueryID != "m" || !strings.HasSuffix(sub.SubscriptionID, "-m") || sub.Resumed {
		t.Errorf("subscribed frame %+v", sub)
	}
	first := k.next("initial_data")
	if len(first.Rows) != 3 || first.HasMore {
		t.Errorf("initial_data has %d rows, has_more %v, expected the 3 of before", len(first.Rows), first.HasMore)
	}
	for _, want := range before.Rows {
		if !slices.ContainsFunc(first.Rows, func(r map[string]any) bool { return r["id"] == want["id"] && r["text"] == want["text"] }) {
			t.Errorf("initial_data lacks %v", want)
		}
	}
	cursor = sub.Seq

	in := alice.ok(`INSERT INTO app.messages (text, conversation_id, created_at) VALUES ('live', 'c1', '2026-01-02 03:04:08')`)
	f := k.next("change")
	if f.ChangeType != "INSERT" || f.Seq != in.Seq || len(f.Rows) != 1 || f.Rows[0]["text"] != "live" || f.Rows[0]["_deleted"] != false {
		t.Errorf("change of INSERT (seq %d): %+v", in.Seq, f)
	}
	up := alice.ok(`UPDATE app.messages SET text = 'edited' WHERE text = 'live'`)
	f = k.next("change")
	if f.ChangeType != "UPDATE" || f.Seq != up.Seq || len(f.Rows) != 1 || len(f.OldValues) != 1 ||
		f.Rows[0]["text"] != "edited" || f.OldValues[0]["text"] != "live" || f.OldValues[0]["id"] != f.Rows[0]["id"] {
		t.Errorf("change of UPDATE (seq %d): %+v", up.Seq, f)
	}
	del := alice.ok(`DELETE FROM app.messages WHERE text = 'edited'`)
	f = k.next("change")
	if f.ChangeType != "DELETE" || f.Seq != del.Seq || len(f.Rows) != 1 || f.Rows[0]["_deleted"] != true || f.Reason != "" {
		t.Errorf("change of DELETE (seq %d): %+v", del.Seq, f)
	}
	alice.ok(`INSERT INTO app.messages (text, conversation_id) VALUES ('elsewhere', 'c2')`)
	k.nothing() // another conversation
	away := alice.ok(`UPDATE app.messages SET conversation_id = 'c1', created_at = '2026-01-02 03:04:09' WHERE text = 'elsewhere'`)
	if f = k.next("change"); f.ChangeType != "INSERT" || f.Seq != away.Seq || f.Rows[0]["text"] != "elsewhere" {
		t.Errorf("a row that an UPDATE moves into the filter: %+v", f)
	}
	return k, cursor, []int64{in.Seq, up.Seq, del.Seq, away.Seq}
}

// liveQueries waits until system.live_queries shows the subscriptions to an operator,
// and to alice only her own.
func liveQueries(root, alice session) {
	t := root.t
	t.Helper()
	const query = `SELECT user_id, query_id, table_id, changes FROM system.live_queries ORDER BY user_id`
	deadline := time.Now().Add(waitTimeout)
	for {
		r := root.ok(query)
		if r.texts("user_id") == "alice|bob" && r.texts("query_id") == "m|b" && r.texts("table_id") == "app:messages|app:messages" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("system.live_queries has %v", r.Rows)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if r := alice.ok(query); r.texts("user_id") != "alice" {
		t.Errorf("alice sees live queries of %s", r.texts("user_id"))
	}
}

// noneFor checks that a user without rows neither sees nor changes any.
func noneFor(bob session) {
	bob.t.Helper()
	if r := bob.ok(ordered); len(r.Rows) != 0 {
		bob.t.Errorf("bob sees %v", r.Rows)
	}
	if r := bob.ok(`SELECT count(*) AS n FROM app.messages WHERE _deleted OR NOT _deleted`); r.Rows[0]["n"] != json.Number("0") {
		bob.t.Errorf("bob counts %v rows", r.Rows[0]["n"])
	}
	for _, sql := range []string{`UPDATE app.messages SET text = 'mine'`, `DELETE FROM app.messages`} {
		if r := bob.ok(sql); r.AffectedRows != 0 {
			bob.t.Errorf("%s of bob changed %d rows", sql, r.AffectedRows)
		}
	}
}

// resume continues after cursor and wants exactly the changes, in order.
func resume(alice session, cursor int64, changes []int64) *socket {
	t := alice.t
	t.Helper()
	k := alice.dial()
	if f := k.subscribe("again", watched, map[string]any{"from_seq": cursor}); !f.Resumed {
		t.Errorf("subscribed frame %+v, expected resumed", f)
	}
	for _, seq := range changes {
		if f := k.next("change"); f.Seq != seq {
			t.Errorf("resumed change has seq %d, expected %d: %+v", f.Seq, seq, f)
		}
	}
	k.nothing()
	return k
}

// stopTellsSockets stops the server, which closes k with 1001, going away.
func stopTellsSockets(srv *server, k *socket) {
	srv.t.Helper()
	closed := make(chan error, 1)
	go func() {
		for {
			if _, _, err := k.conn.ReadMessage(); err != nil {
				closed <- err
				return
			}
		}
	}()
	srv.stop()
	if err := <-closed; !websocket.IsCloseError(err, websocket.CloseGoingAway) {
		srv.t.Errorf("the socket ended with %v, expected close code 1001", err)
	}
}

// sameRows compares answers row by row, value by value.
func sameRows(t *testing.T, after string, got, want result) {
	t.Helper()
	if !slices.EqualFunc(got.Rows, want.Rows, func(a, b map[string]any) bool { return maps.Equal(a, b) }) {
		t.Errorf("rows after %s:\n%v\nexpected\n%v", after, got.Rows, want.Rows)
	}
}

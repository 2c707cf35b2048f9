package kalamdb_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"kalamdb"
	"kalamdb/row"
)

// A clientCopy is what a client makes of the events of a live query, by the column id.
type clientCopy struct {
	t    *testing.T
	rows map[int][]byte
	seq  row.Seq
}

func (c *clientCopy) apply(e kalamdb.Event) {
	c.t.Helper()
	if e.Seq < c.seq {
		c.t.Errorf("seq %d after %d", e.Seq, c.seq)
	}
	c.seq = e.Seq
	for _, object := range e.Rows {
		var r struct{ ID int }
		if err := json.Unmarshal(object, &r); err != nil {
			c.t.Fatal(err)
		}
		_, had := c.rows[r.ID]
		if e.Change == "DELETE" {
			delete(c.rows, r.ID)
		} else {
			c.rows[r.ID] = object
		}
		if want := e.Change != "INSERT" && !e.Initial; had != want {
			c.t.Errorf("%s of %s: the client had it: %t", e.Change, object, had)
		}
	}
}

// checkpoint is what the documentation says, computed anew.
func (c *clientCopy) checkpoint() kalamdb.Checkpoint {
	var p kalamdb.Checkpoint
	for _, object := range c.rows {
		text, err := row.AppendCanonicalJSON(nil, object)
		if err != nil {
			c.t.Fatal(err)
		}
		sum := sha256.Sum256(text)
		p.Rows++
		p.Hash += binary.BigEndian.Uint64(sum[:8])
	}
	return p
}

// follow applies events until a checkpoint about the Seq through or a later one, and
// compares each checkpoint with what the client has.
func (c *clientCopy) follow(sub *kalamdb.Subscription, through row.Seq) (checkpoints int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	for {
		e, err := sub.Next(ctx)
		if err != nil {
			c.t.Fatalf("before seq %d, at %d: %v", through, c.seq, err)
		}
		c.apply(e)
		if e.Checkpoint == nil {
			continue
		}
		checkpoints++
		if want := c.checkpoint(); *e.Checkpoint != want {
			c.t.Errorf("checkpoint at %d is %+v, the copy is %+v", e.Seq, *e.Checkpoint, want)
		}
		if e.Seq >= through {
			return checkpoints
		}
	}
}

// A client that applies what it hears has the result that the checkpoints speak of: over
// all kinds of changes, a filter, files, and a resume in between.
func TestCheckpoints(t *testing.T) {
	o := kalamdb.Options{DataDir: t.TempDir()}
	db := openDB(t, o)
	mustExec(t, db, "root", "CREATE NAMESPACE app; CREATE USER TABLE app.n (id INT PRIMARY KEY, a INT, t TEXT, j JSON, f FLOAT, d DECIMAL(20,3), ts TIMESTAMP, l DOUBLE[])")
	rng := rand.New(rand.NewPCG(1, 2))
	write := func() row.Seq {
		id, a := rng.IntN(40), rng.IntN(100)
		sql := fmt.Sprintf(`INSERT INTO app.n VALUES (%d, %d, 'ä"\😀', '{"z": 1.50,  "a": [1e3, "\u00e9"]}', %d.1, 12345678901234.5, '2026-01-02 03:04:05', [1e-7, 0.5, 1e30])
			ON CONFLICT (id) DO UPDATE SET a = excluded.a, f = excluded.f`, id, a, a)
		switch rng.IntN(6) {
		case 0:
			sql = fmt.Sprintf("DELETE FROM app.n WHERE id = %d", id)
		case 1:
			sql = fmt.Sprintf("UPDATE app.n SET a = a + 50 WHERE id %% 7 = %d", id%7)
		case 2:
			sql = fmt.Sprintf("BEGIN; DELETE FROM app.n WHERE id < 5; %s; COMMIT", sql)
		}
		last := row.Seq(0)
		for _, r := range mustExec(t, db, "alice", sql) {
			last = max(last, r.Seq)
		}
		return last
	}
	newest := row.Seq(0)
	some := func(n int) {
		for range n {
			newest = max(newest, write())
		}
	}
	some(60)
	mustExec(t, db, "root", "FLUSH ALL")
	some(20)
	for _, columns := range []string{"*", "id, j, f, a AS x", "id, _seq, _updated, l"} {
		ask := kalamdb.SubscribeRequest{SQL: "SELECT " + columns + " FROM app.n WHERE a < 60", LastRows: 1000, BatchRows: 7, CheckpointEvery: 100 * time.Millisecond}
		sub := subscribe(t, db, "alice", ask)
		c := &clientCopy{t: t, rows: map[int][]byte{}}
		if n := c.follow(sub, sub.Seq); n != 1 {
			t.Errorf("%d checkpoints for the snapshot", n)
		}
		some(40)
		c.follow(sub, c.seq+1)
		sub.Close()
		epoch := sub.Epoch
		some(20)
		mustExec(t, db, "root", "FLUSH ALL; COMPACT TABLE app.n")
		ask.LastRows, ask.FromSeq, ask.Epoch = 0, &c.seq, epoch
		cursor := c.seq
		ask.FromSeq, ask.Coalesce = &cursor, columns != "*"
		sub = subscribe(t, db, "alice", ask)
		some(20)
		c.follow(sub, sub.Seq)
		sub.Close()
		if len(c.rows) == 0 {
			t.Errorf("%s: an empty result proves little", columns)
		}
	}
}

func TestCheckpointsRefused(t *testing.T) {
	db := openDB(t, kalamdb.Options{DataDir: t.TempDir()})
	mustExec(t, db, "root", createMessages+"; CREATE STREAM TABLE app.s (id INT PRIMARY KEY)")
	for _, req := range []kalamdb.SubscribeRequest{
		{SQL: "SELECT * FROM app.messages", CheckpointEvery: time.Millisecond},
		{SQL: "SELECT * FROM app.messages", CheckpointEvery: 2 * time.Hour},
		{SQL: "SELECT * FROM app.messages", CheckpointEvery: -time.Second},
		{SQL: "SELECT * FROM app.messages WHERE _deleted", CheckpointEvery: time.Second},
		{SQL: "SELECT * FROM app.s", CheckpointEvery: time.Second},
	} {
		req.ConnectionID, req.QueryID, req.As = "c", "q", principal("alice")
		_, err := db.Subscribe(context.Background(), req)
		wantCode(t, err, kalamdb.CodeInvalidRequest)
	}
}

package lake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/parquet-go/parquet-go"

	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/storagelocations"
	"kalamdb/storagelocations/buckettest"
)

var (
	hashInName  = regexp.MustCompile(`-[0-9a-f]{16}\.parquet`)
	writerInErr = regexp.MustCompile(`of node [0-9a-f]{32}`)
	sumInErr    = regexp.MustCompile(`checksum [0-9a-f]{16}, expected [0-9a-f]{16}`)
)

// TestTranscripts replays what reaches the bucket, with faults, from testdata/flush.
// Rewrite with: go test ./lake -run TestTranscripts -rewrite
//
//	open [as=NAME] [node=NAME]           starts a Lake (the newest is used by default)
//	claim [as=NAME]                      says which tables are overtaken and claims them
//	fail|lose OP PATTERN [n]             the next n calls fail, or have their effect and fail
//	flush [as=NAME]                      lines "user seq id text" are flushed, one segment per user
//	files [as=NAME]                      what the Lake has
//	flip NAME                            changes one byte of an object
//	delete NAME                          removes an object
//	checkpoint [as=NAME]                 one step of the upkeep
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/flush", func(t *testing.T, path string) {
		memory := storagelocations.NewMemory()
		trace := buckettest.NewTrace(memory)
		table := notes(7)
		lakes := map[string]*Lake{}
		last := ""
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			as := last
			d.MaybeScanArgs(t, "as", &as)
			out := transcript(t, d, as, memory, trace, table, lakes)
			if d.Cmd == "open" {
				last = as
			}
			log := trace.Log()
			if d.Cmd == "open" {
				slices.Sort(log) // lists and gets run in parallel
			}
			out = strings.Join(log, "\n") + "\n" + out
			out = hashInName.ReplaceAllString(out, "-HASH.parquet")
			out = writerInErr.ReplaceAllString(out, "of node NODE")
			out = sumInErr.ReplaceAllString(out, "checksum SUM, expected SUM")
			out = strings.ReplaceAll(out, table.Path.Expand("app", "notes", "ana"), "ANA")
			out = strings.ReplaceAll(out, table.Path.Expand("app", "notes", "ben"), "BEN")
			return strings.TrimLeft(strings.TrimRight(out, "\n")+"\n", "\n")
		})
	})
}

func transcript(t *testing.T, d *datadriven.TestData, as string, b storagelocations.Bucket, trace *buckettest.Trace, table *catalog.Table, lakes map[string]*Lake) string {
	ctx := context.Background()
	l := lakes[as]
	answer := func(err error) string {
		if err != nil {
			return err.Error()
		}
		return "ok"
	}
	switch d.Cmd {
	case "open":
		node := "a"
		d.MaybeScanArgs(t, "node", &node)
		l, err := Open(ctx, Options{Meta: trace, CacheDir: t.TempDir(), Parallel: 1, CheckpointEntries: 2, Node: node}, []*catalog.Table{table})
		if err == nil {
			lakes[as] = l
		}
		return answer(err)
	case "claim":
		return fmt.Sprintf("%d overtaken; %s", len(l.Overtaken()), answer(l.Claim(ctx)))
	case "fail", "lose":
		op, pattern, n := buckettest.Op(d.CmdArgs[0].Key), d.CmdArgs[1].Key, 1
		if len(d.CmdArgs) > 2 {
			fmt.Sscan(d.CmdArgs[2].Key, &n)
		}
		if d.Cmd == "fail" {
			trace.Fail(op, pattern, n)
		} else {
			trace.Lose(op, pattern, n)
		}
		return ""
	case "flush":
		var users []row.UserID
		rows := map[row.UserID][]row.Row{}
		for line := range strings.Lines(d.Input) {
			var user, text string
			var seq, id int64
			if _, err := fmt.Sscan(line, &user, &seq, &id, &text); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			u := row.UserID(user)
			if rows[u] == nil {
				users = append(users, u)
			}
			rows[u] = append(rows[u], note(id, row.Seq(seq), text))
		}
		var segs []row.Segment
		for _, u := range users {
			segs = append(segs, segment(table, u, rows[u]...))
		}
		return answer(l.Flush(ctx, table.Ref, segs))
	case "files":
		var b strings.Builder
		for f := range l.Files {
			fmt.Fprintf(&b, "%s: %d rows, seq %d-%d\n", f.Name, f.Rows, f.MinSeq, f.MaxSeq)
		}
		for _, u := range l.table(table.Ref.ID).users() {
			fmt.Fprintf(&b, "%s through %d\n", u, l.Through(row.Partition{Table: table.Ref, User: u}))
		}
		return b.String()
	case "flip":
		name := d.CmdArgs[0].Key
		c := body(t, b, name)
		c[len(c)/2] ^= 1
		_, err := b.Put(ctx, name, c, storagelocations.Cond{})
		return answer(err)
	case "delete":
		return answer(b.Delete(ctx, d.CmdArgs[0].Key))
	case "checkpoint":
		return answer(l.checkpoint(ctx, l.table(table.Ref.ID)))
	}
	d.Fatalf(t, "unknown command")
	return ""
}

func TestFlushNeedsAKnownTable(t *testing.T) {
	table := notes(7)
	l := openLake(t, storagelocations.NewMemory(), Options{})
	if err := l.Flush(context.Background(), table.Ref, []row.Segment{segment(table, "ana", note(1, 1, "x"))}); !errors.Is(err, ErrUnknownTable) {
		t.Fatalf("Flush = %v, expected ErrUnknownTable", err)
	}
}

// TestReusedWritersNameColumns: parquet-java looks columns up by the names in the row groups,
// which a writer must not lose from one file to the next.
func TestReusedWritersNameColumns(t *testing.T) {
	c := notes(3)
	b := storagelocations.NewMemory()
	l := openLake(t, b, Options{RowGroupRows: 2}, c)
	for i := range int64(20) {
		mustFlush(t, l, segment(c, "ana", note(3*i, row.Seq(3*i+1), "a"), note(3*i+1, row.Seq(3*i+2), "b"), note(3*i+2, row.Seq(3*i+3), "c")))
	}
	for f := range l.Files {
		data := body(t, b, f.Name)
		pf, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		for g, group := range pf.Metadata().RowGroups {
			var got []string
			for _, col := range group.Columns {
				got = append(got, strings.Join(col.MetaData.PathInSchema, "."))
			}
			if want := "id text kind _seq _updated _deleted"; strings.Join(got, " ") != want {
				t.Fatalf("%s, row group %d: columns %q, expected %s", f.Name, g, got, want)
			}
			if len(group.SortingColumns) != 1 || group.SortingColumns[0].ColumnIdx != 0 || group.SortingColumns[0].Descending {
				t.Fatalf("%s, row group %d: sorted by %+v", f.Name, g, group.SortingColumns)
			}
		}
	}
}

// What is wrong with the rows of one partition is said of it alone, so that the buffer can
// flush the others without it.
func TestFlushNamesTheCorruptPartition(t *testing.T) {
	table := notes(3)
	l := openLake(t, storagelocations.NewMemory(), Options{}, table)
	short := segment(table, "ana", note(1, 1, "a value missing"))
	scan := short.Scan
	short.Scan = func(yield func([]byte, *row.Row) error) error {
		return scan(func(key []byte, r *row.Row) error {
			r.Values = r.Values[:1]
			return yield(key, r)
		})
	}
	good := segment(table, "ben", note(1, 2, "fine"))
	err := l.Flush(context.Background(), table.Ref, []row.Segment{short, good})
	var e *row.PartitionError
	if !errors.As(err, &e) || e.Partition != short.Partition || !errors.Is(err, ErrCorrupt) {
		t.Fatalf("Flush = %v, expected a PartitionError of ana", err)
	}
	mustFlush(t, l, good)
}

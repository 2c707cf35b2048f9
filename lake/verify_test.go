package lake

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/storagelocations"
)

func verify(t *testing.T, b storagelocations.Bucket, c *catalog.Table, how Verification) *Report {
	t.Helper()
	rep, err := Verify(context.Background(), Options{Meta: b, CacheDir: t.TempDir(), Node: "n"}, []*catalog.Table{c}, how)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// problems are those of the report, a line each.
func problems(rep *Report) string {
	var lines []string
	for _, p := range rep.Problems {
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

// written is a bucket with three files of ana, two of them with rows of the same keys, and one of ben.
func written(t *testing.T, c *catalog.Table) (storagelocations.Bucket, []*File) {
	t.Helper()
	b := storagelocations.NewMemory()
	l := openLake(t, b, Options{Node: "n", RowGroupRows: 2}, c)
	mustFlush(t, l, segment(c, "ana", note(1, 1, "a"), note(2, 2, "b"), note(3, 3, "c"), note(9, 4, "d")))
	mustFlush(t, l, segment(c, "ana", note(2, 5, "b2"), note(4, 6, "e")), segment(c, "ben", note(1, 7, "ben")))
	gone := note(3, 8, "c")
	gone.Deleted = true
	mustFlush(t, l, segment(c, "ana", gone))
	var files []*File
	for f := range l.Files {
		files = append(files, f)
	}
	return b, files
}

func put(t *testing.T, b storagelocations.Bucket, name string, body []byte) {
	t.Helper()
	if _, err := b.Put(context.Background(), name, body, storagelocations.Cond{}); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyFindsNothingInGoodTables(t *testing.T) {
	c := notes(3)
	b, files := written(t, c)
	put(t, b, "users/ana/app/notes/batch-9-9-0123456789abcdef.parquet", []byte("orphan"))
	rep := verify(t, b, c, Verification{Waiting: []row.Segment{segment(c, "ana", note(1, 9, "x")), segment(c, "eve", note(1, 10, "y"))}})
	if len(rep.Problems) > 0 || rep.Tables != 1 || rep.Partitions != 2 || rep.Files != int64(len(files)) || rep.Rows != 8 || rep.WaitingRows != 2 || rep.Orphans != 1 {
		t.Errorf("%+v", rep)
	}
}

// TestVerifyFindsEveryFlippedByte changes each byte of a file in turn: no change may go
// unseen, neither with the checksum of the log nor when the log was made to agree.
func TestVerifyFindsEveryFlippedByte(t *testing.T) {
	c := notes(3)
	b, files := written(t, c)
	good := body(t, b, files[1].Name)
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		put(t, b, files[1].Name, bad)
		rep := verify(t, b, c, Verification{})
		if len(rep.Problems) != 1 || rep.Problems[0].Object != files[1].Name || rep.Problems[0].User != "ana" {
			t.Fatalf("byte %d: %s", i, problems(rep))
		}
	}
}

// relog writes the log of c anew as one entry, after f has changed it.
func relog(t *testing.T, b storagelocations.Bucket, c *catalog.Table, f func(e *entry)) {
	t.Helper()
	l := openLake(t, b, Options{}, c)
	e := l.table(c.Ref.ID).snapshot()
	e.Node, e.Time = "n", l.opened
	f(e)
	put(t, b, l.table(c.Ref.ID).checkpointName(e.Number), e.encode())
}

func TestVerifyComparesFilesWithTheLog(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		change     func(e *entry)
	}{
		{"rows", "the file has 4 rows, the log says 5", func(e *entry) { e.Partitions[0].Added[0].Rows++ }},
		{"deleted", "deleted rows", func(e *entry) { e.Partitions[0].Added[0].Deleted++ }},
		{"key", "as last key", func(e *entry) { e.Partitions[0].Added[0].MaxKey = []byte{9} }},
		{"seq", `kalamdb.min_seq = "1", the log "0"`, func(e *entry) { e.Partitions[0].Added[0].MinSeq = 0 }},
		{"updated", "as first _updated", func(e *entry) { e.Partitions[0].Added[0].MinUpdated++ }},
		{"schema", "schema version 7, which the table never had", func(e *entry) { e.Partitions[0].Added[0].Schema = 7 }},
		{"user", `kalamdb.user = "ana", the log "eve"`, func(e *entry) { e.Partitions[0].User = "eve" }},
		{"watermark", "its rows reach commit 8, the log says that the partition does to 7", func(e *entry) { e.Partitions[0].Through = 7 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := notes(3)
			b, _ := written(t, c)
			relog(t, b, c, tt.change)
			if rep := verify(t, b, c, Verification{}); !strings.Contains(problems(rep), tt.want) {
				t.Errorf("%s\nexpected %q", problems(rep), tt.want)
			}
		})
	}
}

func TestVerifyFindsRowsThatAreTwice(t *testing.T) {
	c := notes(3)
	b, _ := written(t, c)
	other := notes(3)
	elsewhere := storagelocations.NewMemory()
	l := openLake(t, elsewhere, Options{}, other)
	mustFlush(t, l, segment(c, "ana", note(1, 1, "a"), note(2, 5, "b2"), note(8, 7, "z")))
	var double *File
	for f := range l.Files {
		double = f
	}
	put(t, b, double.Name, body(t, elsewhere, double.Name))
	relog(t, b, c, func(e *entry) { e.Partitions[0].Added = append(e.Partitions[0].Added, entryOf(double)) })
	rep := verify(t, b, c, Verification{})
	if got := problems(rep); strings.Count(got, "1 of its rows are in") != 2 {
		t.Errorf("%s\nexpected that each of two rows is found in two files", got)
	}
}

func TestVerifyComparesTheBufferWithTheLog(t *testing.T) {
	c := notes(3)
	b, _ := written(t, c)
	for _, tt := range []struct {
		name, want string
		seg        row.Segment
	}{
		{"flushed, not dropped yet", "", segment(c, "ana", note(2, 5, "b2"), note(4, 6, "e"))},
		{"lost", "1 rows up to commit 8 that the log says are in the bucket", segment(c, "ana", note(2, 5, "b2"), note(7, 6, "e"))},
		{"in part", "flushed in part", segment(c, "ana", note(2, 5, "b2"), note(7, 9, "e"))},
		{"no table", "a table that the catalog does not have", segment(notes(4), "ana", note(2, 5, "b2"))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := problems(verify(t, b, c, Verification{Waiting: []row.Segment{tt.seg}}))
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("%q, expected %q", got, tt.want)
			}
		})
	}
	rep, err := Verify(context.Background(), Options{Meta: b, CacheDir: t.TempDir(), Node: "another"}, []*catalog.Table{c},
		Verification{Waiting: []row.Segment{segment(c, "ana", note(7, 99, "e"))}})
	if err != nil || !strings.Contains(problems(rep), "the server n has gone on without them") {
		t.Errorf("%v, %s", err, problems(rep))
	}
}

func TestVerifyRepairsFromCopies(t *testing.T) {
	c := notes(3)
	b, files := written(t, c)
	copies := t.TempDir()
	for i, f := range files[:2] {
		if err := os.WriteFile(filepath.Join(copies, randomName()+copySuffix), body(t, b, files[i].Name), 0o600); err != nil {
			t.Fatal(err)
		}
		put(t, b, f.Name, []byte("damaged"))
	}
	for _, f := range files[1:3] {
		if err := b.Delete(context.Background(), f.Name); err != nil {
			t.Fatal(err)
		}
	}
	if rep := verify(t, b, c, Verification{Copies: copies}); len(rep.Problems) != 3 || strings.Contains(problems(rep), "repaired") {
		t.Fatal(problems(rep))
	}
	rep := verify(t, b, c, Verification{Copies: copies, Repair: true})
	if strings.Count(problems(rep), "(repaired)") != 2 || len(rep.Problems) != 3 {
		t.Fatal(problems(rep))
	}
	if rep := verify(t, b, c, Verification{}); len(rep.Problems) != 1 || rep.Problems[0].Object != files[2].Name {
		t.Error(problems(rep))
	}
}

func TestVerifyLooksBehindADamagedCheckpoint(t *testing.T) {
	c := notes(3)
	b, _ := written(t, c)
	relog(t, b, c, func(*entry) {})
	l := openLake(t, b, Options{}, c)
	tb := l.table(c.Ref.ID)
	want := state(l)
	name := tb.checkpointName(tb.last)
	put(t, b, name, []byte("damaged"))
	if rep := verify(t, b, c, Verification{}); !strings.Contains(problems(rep), "leads to the same state without it") || rep.Files != 4 {
		t.Fatal(problems(rep))
	}
	if rep := verify(t, b, c, Verification{Repair: true}); !strings.HasSuffix(problems(rep), "(repaired)") {
		t.Fatal(problems(rep))
	}
	if got := state(openLake(t, b, Options{}, c)); got != want {
		t.Errorf("after the repair\n%s\nbefore\n%s", got, want)
	}
	if body(t, b, "_kalamdb/damaged/"+strings.TrimPrefix(name, "_kalamdb/")) == nil {
		t.Error("the damaged checkpoint was not kept")
	}
	put(t, b, tb.entryName(2), []byte("damaged"))
	if rep := verify(t, b, c, Verification{Repair: true}); !strings.Contains(problems(rep), "cannot be replayed") || strings.Contains(problems(rep), "(repaired)") {
		t.Error(problems(rep))
	}
}

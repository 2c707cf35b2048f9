package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

func openLog(t testing.TB, dir string, o Options) *Log {
	t.Helper()
	l, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func statements(t testing.TB, l *Log) (all []string) {
	t.Helper()
	if err := l.Each(func(e Entry) bool { all = append(all, e.Statement); return true }); err != nil {
		t.Fatal(err)
	}
	return all
}

func mustAppend(t testing.TB, l *Log, statement string) {
	t.Helper()
	if err := l.Append(Entry{Statement: statement}); err != nil {
		t.Fatal(err)
	}
}

func TestEntriesComeBackAsTheyWere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a [1]*") // a pattern, were it one
	l := openLog(t, dir, Options{})
	want := Entry{Time: time.Now().UTC(), Action: "EXECUTE AS USER", User: "svc", Role: "service", AsUser: "Zoë \"日本\"\n", Statement: "SELECT ';\n'", RequestID: "r1", Remote: "127.0.0.1:5"}
	if err := l.Append(want); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var got []Entry
		if err := l.Each(func(e Entry) bool { got = append(got, e); return true }); err != nil || len(got) != 1 || got[0] != want {
			t.Fatalf("got %+v, %v", got, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := l.Append(want); !errors.Is(err, ErrClosed) {
			t.Fatalf("after Close: %v", err)
		}
		l = openLog(t, dir, Options{})
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFolderIsBounded(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir, Options{FileBytesMax: 1000, FilesMax: 3})
	for i := range 200 {
		if i%50 == 49 {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l = openLog(t, dir, Options{FileBytesMax: 1000, FilesMax: 3})
		}
		mustAppend(t, l, fmt.Sprint(i))
	}
	found, err := os.ReadDir(dir)
	if err != nil || len(found) != 3 {
		t.Fatalf("%d files, %v", len(found), err)
	}
	for _, f := range found {
		if info, err := f.Info(); err != nil || info.Size() > 1000 || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v", f.Name(), info)
		}
	}
	all := statements(t, l)
	for i, s := range all {
		if s != fmt.Sprint(200-len(all)+i) {
			t.Fatalf("entries are not the last ones in order: %v", all)
		}
	}
	if len(all) < 10 {
		t.Errorf("only %d entries are left", len(all))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestHalfALineIsCutOff(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir, Options{})
	mustAppend(t, l, "whole")
	name := l.files.names[0]
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"statement":"ha`); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, dir, Options{})
	mustAppend(t, l, "next")
	if got := strings.Join(statements(t, l), ","); got != "whole,next" {
		t.Errorf("entries are %s", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestABrokenLineHidesNoOther(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "000000000001.jsonl"), []byte("{\"statement\":\"a\"}\nnonsense\n{\"statement\":\"b\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := openLog(t, dir, Options{})
	var all []string
	err := l.Each(func(e Entry) bool { all = append(all, e.Statement); return true })
	if strings.Join(all, ",") != "a,b" || err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("%v, %v", all, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// What could not be written is an error, does not show, and is in nobody's way.
func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	l := openLog(t, t.TempDir(), Options{})
	mustAppend(t, l, "before")
	disk := l.files.last
	l.files.last = full
	if err := l.Append(Entry{Statement: "lost"}); err == nil {
		t.Error("an entry on a full disk")
	}
	l.files.last = disk
	mustAppend(t, l, "after")
	if got := strings.Join(statements(t, l), ","); got != "before,after" {
		t.Errorf("entries are %s", got)
	}
	// A file that cannot be synced is left for a new one.
	disk = l.files.last
	if err := disk.Close(); err != nil {
		t.Fatal(err)
	}
	if l.Append(Entry{Statement: "lost"}) == nil {
		t.Error("an entry in a closed file")
	}
	l.files.last = nil
	mustAppend(t, l, "in a new file")
	if got := strings.Join(statements(t, l), ","); got != "before,after,in a new file" {
		t.Errorf("entries are %s", got)
	}
	if err := errors.Join(l.Close(), full.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestLongStatementIsCutAtARune(t *testing.T) {
	l := openLog(t, t.TempDir(), Options{})
	mustAppend(t, l, strings.Repeat("é", statementBytesMax))
	mustAppend(t, l, "x"+strings.Repeat("é", statementBytesMax))
	for _, s := range statements(t, l) {
		if len(s) > statementBytesMax+40 || !utf8.ValidString(s) || strings.ContainsRune(s, utf8.RuneError) || !strings.HasSuffix(s, "bytes)") {
			t.Errorf("%d bytes: …%s", len(s), s[len(s)-40:])
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestConcurrentEntriesAreAllThere(t *testing.T) {
	l := openLog(t, t.TempDir(), Options{FileBytesMax: 4000, FilesMax: 1000})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 50 {
				mustAppend(t, l, fmt.Sprintf("%d %d", w, i))
				if i%10 == 0 {
					statements(t, l)
				}
			}
		})
	}
	wg.Wait()
	next := map[string]int{}
	for _, s := range statements(t, l) {
		w, i, _ := strings.Cut(s, " ")
		if i != fmt.Sprint(next[w]) {
			t.Fatalf("writer %s: entry %s, expected %d", w, i, next[w])
		}
		next[w]++
	}
	for w, n := range next {
		if n != 50 {
			t.Errorf("writer %s: %d entries", w, n)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkAppend is what an entry costs alone and with others at the same time.
func BenchmarkAppend(b *testing.B) {
	l := openLog(b, b.TempDir(), Options{})
	e := Entry{Time: time.Now(), Action: "EXECUTE AS USER", User: "svc", Role: "service", AsUser: "ana", Statement: "INSERT INTO app.t VALUES (1)"}
	b.Run("alone", func(b *testing.B) {
		for b.Loop() {
			if err := l.Append(e); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("together", func(b *testing.B) {
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := l.Append(e); err != nil {
					b.Error(err)
				}
			}
		})
	})
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}

package lake

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/storagelocations"
)

func rebuild(t *testing.T, b storagelocations.Bucket, c *catalog.Table, waiting ...row.Segment) *Rebuilt {
	t.Helper()
	r, err := Rebuild(context.Background(), Options{Meta: b, CacheDir: t.TempDir(), Node: "n"}, c, waiting, false)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// contents are the newest versions of the notes 0 to 9 of ana.
func contents(t *testing.T, l *Lake, c *catalog.Table) string {
	t.Helper()
	found := findAll(t, l, c, "ana", 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	var out []string
	for id := range int64(10) {
		if r, ok := found[id]; ok && !r.Deleted {
			out = append(out, fmt.Sprintf("%d=%s@%d", id, r.Values[1].Str(), r.Seq))
		}
	}
	return strings.Join(out, " ")
}

// damage hurts the log of c: of its objects those whose names contain part.
func damage(t *testing.T, b storagelocations.Bucket, part string, remove bool) {
	t.Helper()
	n := 0
	for _, name := range names(t, b, "_kalamdb/") {
		if !strings.Contains(name, part) {
			continue
		}
		n++
		if !remove {
			put(t, b, name, []byte("damaged"))
		} else if err := b.Delete(context.Background(), name); err != nil {
			t.Fatal(err)
		}
	}
	if n == 0 {
		t.Fatalf("nothing is called %s", part)
	}
}

func TestRebuildALog(t *testing.T) {
	for _, tt := range []struct {
		name   string
		part   string
		remove bool
		found  int64
	}{
		{"an entry is damaged", "02.json", false, 2},
		{"an entry is missing", "02.json", true, 2},
		{"everything is damaged", "/log/", false, 4},
		{"everything is gone", "/log/", true, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := notes(3)
			b, files := written(t, c)
			old := openLake(t, b, Options{Node: "n"}, c)
			want, through := contents(t, old, c), old.Through(files[0].Partition)
			if r := rebuild(t, b, c); r.Needed {
				t.Fatalf("a good log was rebuilt: %+v", r)
			}
			damage(t, b, tt.part, tt.remove)
			other := notes(77) // with a file in the same folder, which is not ours
			mustFlush(t, openLake(t, b, Options{}, other), segment(other, "ana", note(1, 1, "other")))
			before := names(t, b, "")
			r := rebuild(t, b, c)
			if !r.Needed || r.Files != 4 || r.Rows != 8 || r.Found != tt.found || len(r.LeftOut)+len(r.Lost)+len(r.Unreadable) > 0 {
				t.Fatalf("%+v", r)
			}
			if after := names(t, b, ""); len(after) != len(before)+2 {
				t.Errorf("the bucket had\n%q and has\n%q", before, after)
			}
			l := openLake(t, b, Options{Node: "n"}, c)
			if got := contents(t, l, c); got != want || l.Through(files[0].Partition) != through {
				t.Errorf("%s through %d, expected %s through %d", got, l.Through(files[0].Partition), want, through)
			}
			if rep := verify(t, b, c, Verification{}); len(rep.Problems) > 0 || rep.Rows != 8 {
				t.Error(problems(rep))
			}
			if r := rebuild(t, b, c); r.Needed {
				t.Errorf("it was rebuilt again: %+v", r)
			}
			mustFlush(t, l, segment(c, "ana", note(5, 9, "new")))
			if got := contents(t, openLake(t, b, Options{Node: "n"}, c), c); !strings.Contains(got, "5=new@9") {
				t.Errorf("after one more flush %s", got)
			}
		})
	}
}

// TestRebuildOfMerges destroys the log while files that were merged are still there.
func TestRebuildOfMerges(t *testing.T) {
	for gone := range 4 { // how many of the merged files were deleted already
		c := notes(3)
		c.DeletedRetention = time.Nanosecond
		b := storagelocations.NewMemory()
		l := openLake(t, b, Options{Node: "n"}, c)
		mustFlush(t, l, segment(c, "ana", note(1, 1, "a"), note(2, 2, "b"), note(3, 3, "c")))
		mustFlush(t, l, segment(c, "ana", note(2, 4, "b2")))
		deleted := note(3, 5, "c")
		deleted.Deleted = true
		mustFlush(t, l, segment(c, "ana", deleted))
		inputs := map[string][]byte{}
		var order []string
		for f := range l.Files {
			inputs[f.Name] = body(t, b, f.Name)
			order = append([]string{f.Name}, order...) // the deletion first
		}
		want := contents(t, l, c)
		if info, err := l.Compact(context.Background(), c.Ref); err != nil || info.FilesOut != 1 || info.FilesIn != 3 {
			t.Fatalf("%+v, %v", info, err)
		}
		damage(t, b, "/log/", true)
		for _, name := range order[:gone] {
			if err := b.Delete(context.Background(), name); err != nil {
				t.Fatal(err)
			}
		}
		r := rebuild(t, b, c)
		files := int64(1)
		if gone == 0 {
			files = 3
		}
		if r.Files != files || len(r.LeftOut) != 4-gone-int(files) {
			t.Errorf("%d gone: %+v", gone, r)
		}
		if got := contents(t, openLake(t, b, Options{Node: "n"}, c), c); got != want {
			t.Errorf("%d gone: %s, expected %s", gone, got, want)
		}
	}
}

func TestRebuildLeavesToTheBufferWhatItHas(t *testing.T) {
	c := notes(3)
	b, files := written(t, c)
	damage(t, b, "03.json", false) // it had the deletion of note 3, commit 8
	gone := note(3, 8, "c")
	gone.Deleted = true
	r := rebuild(t, b, c, segment(c, "ana", gone))
	if !r.Needed || r.Files != int64(len(files)-1) || len(r.LeftOut) != 1 || r.Found != 0 {
		t.Fatalf("%+v", r)
	}
	l := openLake(t, b, Options{Node: "n"}, c)
	if got := l.Through(files[0].Partition); got != 6 {
		t.Errorf("the watermark is %d, expected 6: the buffer has the rest", got)
	}
	mustFlush(t, l, segment(c, "ana", gone))
	if got := contents(t, l, c); got != "1=a@1 2=b2@5 4=e@6 9=d@4" {
		t.Error(got)
	}
	if rep := verify(t, b, c, Verification{}); len(rep.Problems) > 0 {
		t.Error(problems(rep))
	}
}

func TestRebuildFencesWhoGoesOn(t *testing.T) {
	c := notes(3)
	b, _ := written(t, c)
	running := openLake(t, b, Options{Node: "other"}, c)
	damage(t, b, "02.json", false)
	rebuild(t, b, c)
	if err := running.Flush(context.Background(), c.Ref, []row.Segment{segment(c, "ana", note(5, 99, "x"))}); !errors.Is(err, ErrFenced) {
		t.Errorf("a server with the old log flushed: %v", err)
	}
}

func TestRebuildNamesWhatIsLost(t *testing.T) {
	c := notes(3)
	b, files := written(t, c)
	damage(t, b, "02.json", false)
	if err := b.Delete(context.Background(), files[0].Name); err != nil {
		t.Fatal(err)
	}
	put(t, b, files[1].Name, []byte("damaged"))
	before := names(t, b, "")
	dry, err := Rebuild(context.Background(), Options{Meta: b, CacheDir: t.TempDir(), Node: "n"}, c, nil, true)
	if err != nil || !dry.Needed || dry.Files != 2 || len(names(t, b, "")) != len(before) {
		t.Errorf("dry: %+v, %v", dry, err)
	}
	r := rebuild(t, b, c)
	if r.Files != 2 || len(r.Lost) != 1 || r.Lost[0] != files[0].Name || len(r.Unreadable) != 1 || r.Unreadable[0] != files[1].Name {
		t.Errorf("%+v", r)
	}
}

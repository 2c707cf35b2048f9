package lake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parquet-go/parquet-go"

	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/storagelocations"
	"kalamdb/storagelocations/buckettest"
)

// directoryOf is the directory in the footer of a pack.
func directoryOf(t testing.TB, pack []byte) *packDirectory {
	t.Helper()
	p := &packFooter{body: pack}
	if err := p.parse(); err != nil {
		t.Fatal(err)
	}
	return &p.directory
}

func userName(i int) row.UserID { return row.UserID(fmt.Sprintf("user %05d/ü", i)) }

// crowd are segments of n users with the given number of rows each, with the Seqs from first on.
func crowd(c *catalog.Table, n, rows int, first row.Seq) []row.Segment {
	segs := make([]row.Segment, n)
	for i := range segs {
		var list []row.Row
		for j := range rows {
			list = append(list, note(int64(j), first, fmt.Sprintf("%d of %s", j, userName(i))))
			first++
		}
		segs[i] = segment(c, userName(i), list...)
	}
	return segs
}

// packs are the names of the packs in b.
func packs(t testing.TB, b storagelocations.Bucket) []string {
	t.Helper()
	return slices.DeleteFunc(names(t, b, ""), func(name string) bool { return !isPack(name) })
}

// checkCrowd reads every row that crowd made.
func checkCrowd(t testing.TB, l *Lake, c *catalog.Table, n, rows int, but ...row.UserID) {
	t.Helper()
	ids := make([]int64, rows)
	for j := range ids {
		ids[j] = int64(j)
	}
	for i := range n {
		found := findAll(t, l, c, userName(i), ids...)
		if slices.Contains(but, userName(i)) {
			if len(found) > 0 {
				t.Fatalf("%s has %d rows, expected none", userName(i), len(found))
			}
			continue
		}
		for j := range ids {
			if got, want := found[int64(j)].Values, fmt.Sprintf("%d of %s", j, userName(i)); len(got) == 0 || got[1].Str() != want {
				t.Fatalf("row %d of %s is %v", j, userName(i), got)
			}
		}
	}
}

func TestManySmallPartitionsAreOnePack(t *testing.T) {
	for _, own := range []bool{false, true} {
		c := notes(7)
		inner := storagelocations.NewMemory()
		trace := buckettest.NewTrace(inner)
		o := Options{PackPartitionsMin: 256, Node: "n"}
		folder := "packs/app/notes/"
		if own {
			c.Root, c.Path, folder = "elsewhere", "${user_id}", "_kalamdb/packs/app/notes/"
			o.Bucket = func(*catalog.Table) storagelocations.Bucket { return trace }
		}
		l := openLake(t, trace, o, c)
		mustFlush(t, l, crowd(c, 300, 6, 1)...)
		all := packs(t, inner)
		if len(all) != 1 || !strings.HasPrefix(all[0], folder) || len(names(t, inner, "")) != 2 {
			t.Fatalf("the bucket has %q, expected a pack in %s and an entry", names(t, inner, ""), folder)
		}
		checkCrowd(t, l, c, 300, 6)

		again := openLake(t, trace, o, c)
		if got, want := state(again), state(l); got != want {
			t.Fatalf("after a restart:\n%s\nexpected\n%s", got[:500], want[:500])
		}
		trace.Log() // forgets what it gives
		checkCrowd(t, again, c, 300, 6)
		gets := slices.DeleteFunc(trace.Log(), func(op string) bool { return !strings.HasPrefix(op, "range") })
		if d := directoryOf(t, body(t, inner, all[0])); len(gets) != 1+len(d.Groups) || len(d.Groups) < 2 {
			t.Errorf("%d requests for the rows of 300 users in %d row groups, expected one for each and the footer", len(gets), len(d.Groups))
		}
	}
}

func TestPutsWithAndWithoutPacks(t *testing.T) {
	puts := map[int]float64{}
	for _, least := range []int{0, PackPartitionsDefault} {
		c := notes(7)
		trace := buckettest.NewTrace(storagelocations.NewMemory())
		l := openLake(t, trace, Options{PackPartitionsMin: least}, c)
		mustFlush(t, l, crowd(c, 2000, 10, 1)...)
		n := 0
		for _, op := range trace.Log() {
			if strings.HasPrefix(op, "put") {
				n++
			}
		}
		puts[least] = float64(n) / 2
	}
	t.Logf("2,000 users with 10 rows each: %.1f PUTs per 10,000 rows without packs, %.1f with", puts[0], puts[PackPartitionsDefault])
	if puts[PackPartitionsDefault] > 2 {
		t.Errorf("%.1f PUTs per 10,000 rows, expected one for the pack and one for the entry of a round", puts[PackPartitionsDefault])
	}
}

func TestPacksAreForManySmallPartitions(t *testing.T) {
	shared := notes(8)
	shared.Type, shared.Path = catalog.Shared, storagelocations.DefaultShared
	for _, tt := range []struct {
		name   string
		option string
		users  int
		packs  int
	}{
		{"too few", "", 9, 0},
		{"enough", "", 10, 1},
		{"the table says off", "off", 10, 0},
		{"the table wants more", "11", 10, 0},
		{"the table takes fewer", "3", 4, 1},
		{"the table says on", "on", 10, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := notes(7)
			if tt.option != "" {
				c.Options = map[string]string{catalog.OptionPack: tt.option}
			}
			b := storagelocations.NewMemory()
			l := openLake(t, b, Options{PackPartitionsMin: 10, PackRowsMax: 5}, c)
			segs := crowd(c, tt.users, 5, 1)
			var large []row.Row
			for i := range int64(6) {
				large = append(large, note(i, row.Seq(1000+i), "large"))
			}
			segs = append(segs, segment(c, "zoe", large...))
			// Two segments of one user are not packed.
			segs = append(segs, segment(c, "yan", note(1, 2000, "a")), segment(c, "yan", note(2, 2001, "b")))
			mustFlush(t, l, segs...)
			if n := len(packs(t, b)); n != tt.packs {
				t.Errorf("%d packs, expected %d", n, tt.packs)
			}
			checkCrowd(t, l, c, tt.users, 5)
			if found := findAll(t, l, c, "yan", 1, 2); len(found) != 2 {
				t.Errorf("%d rows of yan, expected 2", len(found))
			}
			for _, u := range []row.UserID{"yan", "zoe"} {
				if len(names(t, b, "users/"+string(u)+"/")) == 0 {
					t.Errorf("%s has no file", u)
				}
			}
		})
	}
	b := storagelocations.NewMemory()
	l := openLake(t, b, Options{PackPartitionsMin: 1}, shared)
	mustFlush(t, l, segment(shared, "", note(1, 1, "a")))
	if len(packs(t, b)) > 0 {
		t.Error("a SHARED table has a pack")
	}
}

func TestSlicesOfSeveralSchemaVersions(t *testing.T) {
	c := notes(7)
	next := *c.Schema()
	next.Version = 2
	next.Columns = append(slices.Clone(next.Columns), row.Column{ID: 4, Name: "n", Type: row.Type{Kind: row.List, Elem: row.BigInt}})
	c.Versions = append(c.Versions, catalog.SchemaVersion{Schema: &next})
	newer := func(id int64, seq row.Seq, n ...int64) row.Row {
		r := note(id, seq, fmt.Sprint("text ", id))
		r.Schema = 2
		r.Values = append(r.Values, row.ListValue(ints(row.BigInt, n...)))
		return r
	}
	b := storagelocations.NewMemory()
	l := openLake(t, b, Options{PackPartitionsMin: 2, Node: "n"}, c)
	mustFlush(t, l,
		segment(c, "ana", note(1, 1, "text 1"), newer(2, 2, 7, 8)),
		segment(c, "ben", newer(2, 3)), segment(c, "eve", note(3, 4, "text 3"), newer(2, 5, 9)))
	if n := len(packs(t, b)); n != 2 {
		t.Fatalf("%d packs, expected one for each schema version", n)
	}
	for user, want := range map[row.UserID]string{"ana": "[7 8][]", "ben": "[]", "eve": "[9][]"} {
		var got []string
		for _, r := range findAll(t, l, c, user, 1, 2, 3) {
			var list []int64
			if r.Schema == 2 {
				for _, v := range r.Values[3].List() {
					list = append(list, v.Int())
				}
			}
			got = append(got, fmt.Sprint(list))
		}
		slices.Sort(got)
		if strings.Join(got, "") != want {
			t.Errorf("%s has the lists %v, expected %s", user, got, want)
		}
	}
	if rep := verify(t, b, c, Verification{}); len(rep.Problems) > 0 || rep.Rows != 5 {
		t.Errorf("%d rows, %s", rep.Rows, problems(rep))
	}
}

// Any reader has the rows of a pack with their user, of every type.
func TestDuckDBReadsPacks(t *testing.T) {
	s := &row.Schema{Version: 1, Key: []row.ColumnID{1}, Columns: []row.Column{{ID: 1, Name: "id", Type: row.Type{Kind: row.BigInt}, NotNull: true}}}
	for i, cc := range columnCases {
		s.Columns = append(s.Columns, row.Column{ID: row.ColumnID(2 + i), Name: fmt.Sprint("c", i), Type: cc.typ})
	}
	c := tableOf(9, "types", s)
	b := storagelocations.NewMemory()
	l := openLake(t, b, Options{PackPartitionsMin: 2}, c)
	var segs []row.Segment
	for u := range 3 {
		var rows []row.Row
		for id := range 5 {
			r := row.Row{Seq: row.Seq(u*10 + id + 1), Updated: 1, Schema: 1, Values: []row.Value{row.IntValue(row.BigInt, int64(id))}}
			for _, cc := range columnCases {
				v := row.NullValue
				if id > 0 {
					v = cc.values[(u+id)%len(cc.values)]
				}
				r.Values = append(r.Values, v)
			}
			rows = append(rows, r)
		}
		segs = append(segs, segment(c, userName(u), rows...))
	}
	mustFlush(t, l, segs...)
	name := packs(t, b)[0]
	path := t.TempDir() + "/pack.parquet"
	writeFile(t, path, body(t, b, name))
	db := duckDB(t)
	for u := range 3 {
		own := local(t, l, c, userName(u))
		for i, cc := range columnCases {
			var same, rows int
			q := fmt.Sprintf(`SELECT count(*), count(*) FILTER (a.c%[1]d IS NOT DISTINCT FROM b.c%[1]d AND typeof(a.c%[1]d) = typeof(b.c%[1]d) AND a._seq = b._seq)
				FROM read_parquet($1) a JOIN read_parquet($2) b USING (id) WHERE a._user_id = $3`, i)
			if err := db.QueryRow(q, path, own, string(userName(u))).Scan(&rows, &same); err != nil {
				t.Fatal(err)
			}
			if rows != 5 || same != 5 {
				t.Errorf("%s: %d of %d rows are in the pack as in the slice, expected 5", cc.typ, same, rows)
			}
		}
	}
	in, err := parquet.OpenFile(bytes.NewReader(body(t, b, name)), int64(len(body(t, b, name))))
	if err != nil {
		t.Fatal(err)
	}
	if got := in.RowGroups()[0].SortingColumns(); len(got) != 2 || got[0].Path()[0] != row.ColUserID {
		t.Errorf("sorted by %v", got)
	}
}

// Users leave packs when COMPACT TABLE says so, when their slices are old, or have many rows;
// a pack is deleted when the last of them has gone.
func TestCompactionEmptiesPacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		c := notes(7)
		b := storagelocations.NewMemory()
		l := openLake(t, b, Options{PackPartitionsMin: 2, PackRowsMax: 4}, c)
		l.codec = &parquet.Uncompressed
		mustFlush(t, l, crowd(c, 3, 3, 1)...)
		due := func() {
			t.Helper()
			if err := l.compactDue(ctx, l.table(7)); err != nil {
				t.Fatal(err)
			}
		}
		slicesOf := func() (list []string) {
			for f := range l.Files {
				if f.pack != nil {
					list = append(list, string(f.Partition.User[5:10]))
				}
			}
			return list
		}
		due()
		if got := slicesOf(); len(got) != 3 {
			t.Fatalf("slices of %v, expected all three", got)
		}
		// Two of them get more rows than are small.
		mustFlush(t, l, crowd(c, 2, 2, 100)...)
		due()
		if got := slicesOf(); !slices.Equal(got, []string{"00002"}) {
			t.Fatalf("slices of %v, expected the user without more rows", got)
		}
		time.Sleep(2 * time.Hour)
		if err := l.buryDead(ctx, l.table(7)); err != nil {
			t.Fatal(err)
		}
		if n := len(packs(t, b)); n != 1 {
			t.Fatalf("%d packs, expected the first one, which has a slice yet", n)
		}
		m := l.Manifest(row.Partition{Table: c.Ref, User: userName(2)})
		time.Sleep(24 * time.Hour)
		due()
		if got := slicesOf(); len(got) > 0 {
			t.Fatalf("slices of %v after a day", got)
		}
		time.Sleep(2 * time.Hour)
		if err := l.buryDead(ctx, l.table(7)); err != nil {
			t.Fatal(err)
		}
		if n := len(packs(t, b)); n != 1 {
			t.Fatalf("%d packs, expected the one that a reader has", n)
		}
		if _, err := l.Find(ctx, m, c.Schema(), [][]byte{row.AppendKey(nil, row.IntValue(row.BigInt, 1))}); err != nil {
			t.Errorf("the reader: %v", err)
		}
		m.Release()
		if err := l.buryDead(ctx, l.table(7)); err != nil {
			t.Fatal(err)
		}
		if got := packs(t, b); len(got) > 0 || len(l.table(7).packs) > 0 || len(l.table(7).dead) > 0 {
			t.Errorf("there are %v", got)
		}
		checkCrowd(t, l, c, 2, 2)
		checkCrowd(t, openLake(t, b, Options{}, c), c, 2, 2)
	})
}

func TestCompactTableTakesSlices(t *testing.T) {
	c := notes(7)
	b := storagelocations.NewMemory()
	l := openLake(t, b, Options{PackPartitionsMin: 2}, c)
	mustFlush(t, l, crowd(c, 30, 2, 1)...)
	info, err := l.Compact(context.Background(), c.Ref)
	if err != nil || info.FilesOut != 30 {
		t.Fatalf("%v, %v", info, err)
	}
	for f := range l.Files {
		if f.pack != nil {
			t.Fatalf("%s is a slice", f.Partition)
		}
	}
	checkCrowd(t, l, c, 30, 2)
}

func TestForgetRewritesPacks(t *testing.T) {
	ctx := context.Background()
	c := notes(7)
	b := storagelocations.NewMemory()
	l := openLake(t, b, Options{PackPartitionsMin: 2, Node: "n"}, c)
	mustFlush(t, l, crowd(c, 60, 3, 1)...)
	old := packs(t, b)
	checkCrowd(t, l, c, 60, 3) // all of them are in the cache
	gone := userName(23)
	files, err := l.Forget(ctx, row.Partition{Table: c.Ref, User: gone})
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	now := packs(t, b)
	if len(now) != 1 || now[0] == old[0] {
		t.Fatalf("packs %v, were %v", now, old)
	}
	pack := body(t, b, now[0])
	if _, _, ok := directoryOf(t, pack).find(gone); ok || bytes.Contains(pack, []byte(gone)) {
		t.Error("the pack has the forgotten user")
	}
	for key := range l.cache.copies {
		if strings.Contains(key, old[0]) {
			t.Errorf("the cache has %q", key)
		}
	}
	checkCrowd(t, l, c, 60, 3, gone)
	checkCrowd(t, openLake(t, b, Options{}, c), c, 60, 3, gone)
	if rep := verify(t, b, c, Verification{}); len(rep.Problems) > 0 || rep.Rows != 59*3 || rep.Orphans > 0 {
		t.Errorf("%+v", rep)
	}
	// His rows may be in a pack where his slice is long gone.
	if _, err := l.Compact(ctx, c.Ref); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Forget(ctx, row.Partition{Table: c.Ref, User: userName(5)}); err != nil {
		t.Fatal(err)
	}
	if got := packs(t, b); len(got) > 0 {
		t.Errorf("packs %v with a forgotten user", got)
	}
	checkCrowd(t, l, c, 60, 3, gone, userName(5))
}

func TestDropTableDeletesPacks(t *testing.T) {
	c := notes(7)
	b := storagelocations.NewMemory()
	trace := buckettest.NewTrace(b)
	l := openLake(t, trace, Options{PackPartitionsMin: 2}, c)
	mustFlush(t, l, crowd(c, 10, 3, 1)...)
	trace.Fail(buckettest.PutIf, "*/log/*", -1) // the pack of this one is an orphan
	if err := l.Flush(context.Background(), c.Ref, crowd(c, 10, 3, 100)); !errors.Is(err, buckettest.ErrInjected) {
		t.Fatal(err)
	}
	if n := len(packs(t, b)); n != 2 {
		t.Fatalf("%d packs, expected 2", n)
	}
	if err := l.DropTable(context.Background(), c, Drop{}); err != nil {
		t.Fatal(err)
	}
	if left := names(t, b, ""); len(left) > 0 {
		t.Errorf("there are %v", left)
	}
}

// A flipped byte anywhere in a pack is found, and never read.
func TestDamagedPacks(t *testing.T) {
	c := notes(7)
	b := storagelocations.NewMemory()
	l := openLake(t, b, Options{PackPartitionsMin: 2, Node: "n"}, c)
	mustFlush(t, l, crowd(c, 12, 100, 1)...)
	name := packs(t, b)[0]
	good := body(t, b, name)
	if rep := verify(t, b, c, Verification{}); len(rep.Problems) > 0 || rep.Files != 12 {
		t.Fatalf("%+v", rep)
	}
	for at := 4; at < len(good); at += len(good)/40 + 1 {
		bad := bytes.Clone(good)
		bad[at] ^= 0x10
		put(t, b, name, bad)
		if rep := verify(t, b, c, Verification{}); len(rep.Problems) != 1 || rep.Problems[0].Object != name {
			t.Fatalf("byte %d: %s", at, problems(rep))
		}
		fresh := openLake(t, b, Options{}, c)
		for i := range 12 {
			m := fresh.Manifest(row.Partition{Table: c.Ref, User: userName(i)})
			found, err := fresh.Find(context.Background(), m, c.Schema(), [][]byte{row.AppendKey(nil, row.IntValue(row.BigInt, 7))})
			m.Release()
			if err == nil && (len(found) != 1 || !strings.HasPrefix(oneOf(found).Values[1].Str(), "7 of "+string(userName(i)))) || err != nil && !isCorrupt(err) {
				t.Fatalf("byte %d: %v, %v", at, found, err)
			}
		}
	}
}

func oneOf(m map[string]row.Row) row.Row {
	for _, r := range m {
		return r
	}
	return row.Row{}
}

func TestRebuildFromPacks(t *testing.T) {
	ctx := context.Background()
	for _, part := range []string{"02.json", "/log/"} {
		c := notes(7)
		b := storagelocations.NewMemory()
		trace := buckettest.NewTrace(b)
		l := openLake(t, trace, Options{PackPartitionsMin: 2, PackRowsMax: 4, Node: "n"}, c)
		mustFlush(t, l, crowd(c, 20, 3, 1)...)
		// A flush fails and comes back with more: its pack is an orphan, and has the same rows.
		trace.Fail(buckettest.PutIf, "*/log/*", 1)
		if err := l.Flush(ctx, c.Ref, crowd(c, 10, 2, 100)); !errors.Is(err, buckettest.ErrInjected) {
			t.Fatal(err)
		}
		mustFlush(t, l, crowd(c, 12, 2, 100)...)
		// Some users leave the packs, and one of their rows goes for good.
		if err := l.compactDue(ctx, l.table(7)); err != nil {
			t.Fatal(err)
		}
		before := state(l)
		damage(t, b, part, true)
		r := rebuild(t, b, c)
		if !r.Needed || len(r.Lost)+len(r.Unreadable) > 0 {
			t.Fatalf("%+v", r)
		}
		again := openLake(t, b, Options{Node: "n"}, c)
		checkCrowd(t, again, c, 20, 3-1) // of the first 12 rows 0 and 1 are the newer ones
		if rep := verify(t, b, c, Verification{}); len(rep.Problems) > 0 {
			t.Errorf("%s: %s\nbefore:\n%s", part, problems(rep), before)
		}
	}
}

func TestBackupTakesSlicesAsFiles(t *testing.T) {
	ctx := context.Background()
	c := notes(7)
	l := openLake(t, storagelocations.NewMemory(), Options{PackPartitionsMin: 2, Node: "n"}, c)
	mustFlush(t, l, crowd(c, 5, 3, 1)...)
	to := storagelocations.NewMemory()
	have := map[string]int64{}
	var parts []CopiedPartition
	for round := range 2 {
		parts = nil
		out := &CopyOut{Lake: l, To: to, Have: have}
		for i := range 5 {
			m := l.Manifest(row.Partition{Table: c.Ref, User: userName(i)})
			p, err := out.Partition(ctx, c, userName(i), m.Files, func(func([]byte, *row.Row) error) error { return nil })
			m.Release()
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, p)
		}
		if files, _ := out.Copied(); files != int64(5*(1-round)) {
			t.Errorf("backup %d copied %d files", round, files)
		}
		for info, err := range to.List(ctx, "") {
			if err != nil {
				t.Fatal(err)
			}
			have[info.Name] = info.Size
		}
	}
	other := tableOf(8, "other", c.Schema())
	b := storagelocations.NewMemory()
	restored := openLake(t, b, Options{Node: "n"}, other)
	if err := restored.Adopt(ctx, other, parts, to, nil); err != nil {
		t.Fatal(err)
	}
	checkCrowd(t, restored, other, 5, 3)
	if rep := verify(t, b, other, Verification{}); len(rep.Problems) > 0 {
		t.Error(problems(rep))
	}
}

package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kalamdb/row"
	"kalamdb/storagelocations"
	"kalamdb/storagelocations/buckettest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, b storagelocations.Bucket) *Catalog {
	t.Helper()
	c, err := Open(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func messages(namespace, name string) Table {
	return Table{
		Ref:  row.TableRef{Namespace: namespace, Name: name},
		Type: User,
		Versions: []SchemaVersion{{Schema: &row.Schema{
			Columns: []row.Column{
				{ID: 1, Name: "id", Type: row.Type{Kind: row.BigInt}, NotNull: true, AutoIncrement: true},
				{ID: 2, Name: "price", Type: row.Type{Kind: row.Decimal, Precision: 10, Scale: 2}, Default: "0.00"},
				{ID: 3, Name: "tags", Type: row.Type{Kind: row.List, Elem: row.Text}},
				{ID: 4, Name: "v", Type: row.Type{Kind: row.Embedding, Dim: 3}},
			},
			Key: []row.ColumnID{1},
		}}},
		Options: map[string]string{"access": "private"},
	}
}

func create(t testing.TB, c *Catalog, table Table) *Table {
	t.Helper()
	got, err := c.CreateTable(t.Context(), table)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// contents is all a catalog knows, for comparison.
func contents(c *Catalog) any {
	type all struct {
		Namespaces      []Namespace
		Tables, Dropped []Table
		Locations       []Location
		ByID            map[uint64]Table
		Users           []UserRow
		Deleted         map[row.UserID]time.Time
	}
	values := func(tables []*Table) (v []Table) {
		for _, t := range tables {
			v = append(v, *t)
		}
		return v
	}
	a := all{c.Namespaces(), values(c.Tables()), values(c.Dropped()), c.Locations(), map[uint64]Table{}, nil, map[row.UserID]time.Time{}}
	for _, u := range c.Users().All() {
		a.Users = append(a.Users, *u)
	}
	for _, shard := range c.state.Load().users {
		if shard != nil {
			maps.Copy(a.Deleted, shard.deleted)
		}
	}
	for _, t := range append(a.Tables, a.Dropped...) {
		if found, ok := c.TableByID(t.Ref.ID); ok {
			a.ByID[t.Ref.ID] = *found
		}
	}
	if len(a.ByID) != len(c.state.Load().byID) {
		return "tables by id differ from the tables"
	}
	return a
}

// mustEqualBucket compares memory with what a new server reads.
func mustEqualBucket(t *testing.T, c *Catalog) {
	t.Helper()
	if got, want := contents(open(t, c.bucket)), contents(c); !reflect.DeepEqual(got, want) {
		t.Fatalf("a restart reads\n%+v\nand memory has\n%+v", got, want)
	}
}

func TestLifeOfEverything(t *testing.T) {
	buckets := map[string]func(t *testing.T) storagelocations.Bucket{
		"memory": func(*testing.T) storagelocations.Bucket { return storagelocations.NewMemory() },
		"dir": func(t *testing.T) storagelocations.Bucket {
			b, err := storagelocations.NewDir(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			return b
		},
		"s3": func(t *testing.T) storagelocations.Bucket {
			b, err := storagelocations.NewS3(t.Context(), buckettest.StartMinIO(t))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { b.(io.Closer).Close() })
			return b
		},
	}
	for name, bucket := range buckets {
		t.Run(name, func(t *testing.T) { testLife(t, bucket(t)) })
	}
}

func testLife(t *testing.T, b storagelocations.Bucket) {
	ctx := t.Context()
	c := open(t, b)
	if got := c.Namespaces(); len(got) != 1 || got[0].Name != "default" || got[0].Created.IsZero() {
		t.Fatalf("a new catalog has the namespaces %+v", got)
	}
	if got := c.Locations(); len(got) != 1 || got[0].Name != "default" || got[0].Path != b.URL() {
		t.Fatalf("a new catalog has the locations %+v", got)
	}
	steps := []struct {
		name string
		do   func() error
		want error
	}{
		{"create namespace", func() error {
			return c.CreateNamespace(ctx, Namespace{Name: "app", Options: map[string]string{"a": "1"}})
		}, nil},
		{"create it again", func() error { return c.CreateNamespace(ctx, Namespace{Name: "app"}) }, ErrExists},
		{"alter namespace", func() error { return c.AlterNamespace(ctx, "app", map[string]string{"b": "2"}) }, nil},
		{"alter another", func() error { return c.AlterNamespace(ctx, "apple", nil) }, ErrNotFound},
		{"create location", func() error {
			return c.CreateLocation(ctx, Location{Name: "cold-1", LocationVersion: LocationVersion{Path: "s3://b/cold/${user_id}", CredentialsRef: "env:COLD"}})
		}, nil},
		{"create location again", func() error {
			return c.CreateLocation(ctx, Location{Name: "cold-1", LocationVersion: LocationVersion{Path: "/other"}})
		}, ErrExists},
		{"create table without namespace", func() error { _, err := c.CreateTable(ctx, messages("nowhere", "messages")); return err }, ErrNotFound},
		{"create table without location", func() error {
			m := messages("app", "messages")
			m.Location = "cold-2"
			_, err := c.CreateTable(ctx, m)
			return err
		}, ErrNotFound},
		{"create table", func() error {
			m := messages("app", "messages")
			m.Location, m.Root, m.Path = "cold-1", "s3://b/cold", "${user_id}"
			m.Flush, m.DeletedRetention = FlushPolicy{1000, time.Minute}, -1
			_, err := c.CreateTable(ctx, m)
			return err
		}, nil},
		{"create table again", func() error { _, err := c.CreateTable(ctx, messages("app", "messages")); return err }, ErrExists},
		{"drop used location", func() error { return c.DropLocation(ctx, "cold-1") }, ErrInUse},
		{"drop used namespace", func() error { return c.DropNamespace(ctx, "app") }, ErrNotEmpty},
		{"drop default location", func() error { return c.DropLocation(ctx, "default") }, ErrInvalid},
		{"drop default namespace", func() error { return c.DropNamespace(ctx, "default") }, ErrInvalid},
		{"drop table", func() error { _, err := c.DropTable(ctx, "app", "messages"); return err }, nil},
		{"drop table again", func() error { _, err := c.DropTable(ctx, "app", "messages"); return err }, ErrNotFound},
		{"create its successor", func() error { _, err := c.CreateTable(ctx, messages("app", "messages")); return err }, nil},
		{"drop the successor", func() error { _, err := c.DropTable(ctx, "app", "messages"); return err }, nil},
		{"create a third", func() error { _, err := c.CreateTable(ctx, messages("app", "messages")); return err }, nil},
		{"forget the first", func() error { return c.ForgetTable(ctx, c.Dropped()[0]) }, nil},
		{"forget the second", func() error { return c.ForgetTable(ctx, c.Dropped()[0]) }, nil},
		{"forget a living one", func() error { return c.ForgetTable(ctx, c.Tables()[0]) }, ErrInvalid},
		{"drop the third", func() error { _, err := c.DropTable(ctx, "app", "messages"); return err }, nil},
		{"forget the third", func() error { return c.ForgetTable(ctx, c.Dropped()[0]) }, nil},
		{"drop location", func() error { return c.DropLocation(ctx, "cold-1") }, nil},
		{"drop namespace", func() error { return c.DropNamespace(ctx, "app") }, nil},
		{"drop namespace again", func() error { return c.DropNamespace(ctx, "app") }, ErrNotFound},
	}
	for _, step := range steps {
		if err := step.do(); !errors.Is(err, step.want) {
			t.Fatalf("%s: %v, want %v", step.name, err, step.want)
		}
		mustEqualBucket(t, c)
	}
	for info, err := range b.List(ctx, folder) {
		if err != nil || info.Name != namespaceDoc("default") {
			t.Errorf("left in the bucket: %s, %v", info.Name, err)
		}
	}
}

func TestTableDefaultsAndVersions(t *testing.T) {
	c := open(t, storagelocations.NewMemory())
	in := messages("default", "m")
	got := create(t, c, in)
	if got.Path != storagelocations.DefaultUser || got.Flush != (FlushPolicy{10_000, 5 * time.Minute}) || got.DeletedRetention != 7*24*time.Hour {
		t.Errorf("defaults are %q %+v %v", got.Path, got.Flush, got.DeletedRetention)
	}
	if got.Ref.ID == 0 || got.Ref.ID >= 1<<63 || got.Created.IsZero() || got.Versions[0].Changes != "CREATE TABLE" {
		t.Errorf("table is %+v", got)
	}
	if s := got.Schema(); s != got.SchemaAt(1) || s.Version != 1 || !reflect.DeepEqual(s.Columns, in.Versions[0].Columns) || got.SchemaAt(2) != nil {
		t.Errorf("schema is %+v", got.Schema())
	}
	in.Options["access"], in.Versions[0].Columns[0].Name = "public", "changed"
	if got.Options["access"] != "private" || got.Schema().Columns[0].Name != "id" {
		t.Error("the table shares memory with its creator")
	}
	shared := messages("default", "s")
	shared.Type = Shared
	if got := create(t, c, shared); got.Path != storagelocations.DefaultShared {
		t.Errorf("the folder of a shared table is %q", got.Path)
	}
	stream := messages("default", "e")
	stream.Type = Stream
	if got := create(t, c, stream); got.Path != "" || got.Flush != (FlushPolicy{}) {
		t.Errorf("a stream table has files: %+v", got)
	}
	if c.Usage()["default"] != 2 { // a stream has no files
		t.Errorf("%d tables use the default location, want 2", c.Usage()["default"])
	}
	mustEqualBucket(t, c)
}

func TestBadInput(t *testing.T) {
	ctx := t.Context()
	c := open(t, storagelocations.NewMemory())
	for _, name := range []string{"system", "information_schema", "pg_catalog", "main", "temp", "memory",
		"", "1a", "App", "a-b", "a.b", "a/b", "é", "a b", "..", strings.Repeat("a", 64)} {
		if err := c.CreateNamespace(ctx, Namespace{Name: name}); !errors.Is(err, ErrInvalid) {
			t.Errorf("namespace %q: %v", name, err)
		}
	}
	for _, name := range []string{"a", "_", "a1_", strings.Repeat("a", 63)} {
		if err := c.CreateNamespace(ctx, Namespace{Name: name}); err != nil {
			t.Errorf("namespace %q: %v", name, err)
		}
	}
	tables := map[string]func(*Table){
		"table name":       func(m *Table) { m.Ref.Name = "Messages" },
		"no type":          func(m *Table) { m.Type = "" },
		"no schema":        func(m *Table) { m.Versions = nil },
		"nil schema":       func(m *Table) { m.Versions[0].Schema = nil },
		"no columns":       func(m *Table) { m.Versions[0].Columns = nil },
		"no key":           func(m *Table) { m.Versions[0].Key = nil },
		"column name":      func(m *Table) { m.Versions[0].Columns[1].Name = "two words" },
		"system column":    func(m *Table) { m.Versions[0].Columns[1].Name = "_seq" },
		"column twice":     func(m *Table) { m.Versions[0].Columns[1].Name = "id" },
		"shared with user": func(m *Table) { m.Type, m.Path = Shared, "x/${user_id}" },
		"user without":     func(m *Table) { m.Path = "x/${table}" },
		"user at the root": func(m *Table) { m.Root = "s3://b" },
		"escaping path":    func(m *Table) { m.Path = "../${user_id}" },
		"negative rows":    func(m *Table) { m.Flush.Rows = -1 },
		"negative age":     func(m *Table) { m.Flush.Interval = -1 },
	}
	for name, spoil := range tables {
		m := messages("default", "m")
		spoil(&m)
		if _, err := c.CreateTable(ctx, m); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	at := func(name string, v LocationVersion) Location { return Location{Name: name, LocationVersion: v} }
	s3 := func(options map[string]string) LocationVersion {
		return LocationVersion{Path: "s3://b/p", Options: options}
	}
	for _, l := range []Location{
		at("", LocationVersion{Path: "/a"}), at("A", LocationVersion{Path: "/a"}), at("-a", LocationVersion{Path: "/a"}), at("..", LocationVersion{Path: "/a"}),
		at("a", LocationVersion{}), at("a", LocationVersion{Path: "relative"}), at("a", LocationVersion{Path: "s3://"}), at("a", LocationVersion{Path: "/x/${users}"}),
		at("a", LocationVersion{Path: "/x", Type: "s3"}), at("a", LocationVersion{Path: "/x", Type: "gcs"}), at("a", LocationVersion{Path: "/x", CredentialsRef: "iam"}),
		at("a", LocationVersion{Path: "/x", Options: map[string]string{"region": "r"}}), at("a", LocationVersion{Path: "/" + strings.Repeat("x/", 500)}),
		at("a", LocationVersion{Path: "s3://b", CredentialsRef: "AKIA"}), at("a", s3(map[string]string{"colour": "blue"})), at("a", s3(map[string]string{"endpoint": "host"})),
		at("a", s3(map[string]string{"sse": "rot13"})), at("a", s3(map[string]string{"sse_kms_key_id": "k"})), at("a", s3(map[string]string{"path_style": "perhaps"})),
	} {
		if err := c.CreateLocation(ctx, l); !errors.Is(err, ErrInvalid) {
			t.Errorf("location %+v: %v", l, err)
		}
	}
	if len(c.Tables()) != 0 || len(c.Locations()) != 1 {
		t.Error("something that was refused is there")
	}
	mustEqualBucket(t, c)
}

func TestNearestNames(t *testing.T) {
	c := open(t, storagelocations.NewMemory())
	if err := c.CreateNamespace(t.Context(), Namespace{Name: "app"}); err != nil {
		t.Fatal(err)
	}
	create(t, c, messages("app", "messages"))
	for _, tt := range []struct {
		err           func() error
		kind, nearest string
	}{
		{func() error { _, err := c.Table("app", "mesages"); return err }, "table", "app.messages"},
		{func() error { _, err := c.Table("ap", "messages"); return err }, "table", "app.messages"},
		{func() error { _, err := c.Table("app", "entirely_different"); return err }, "table", ""},
		{func() error { _, err := c.Namespace("appp"); return err }, "namespace", "app"},
		{func() error { _, err := c.Location("defualt"); return err }, "storage location", "default"},
	} {
		var nf *NotFoundError
		if err := tt.err(); !errors.As(err, &nf) || !errors.Is(err, ErrNotFound) || nf.Kind != tt.kind || nf.Nearest != tt.nearest {
			t.Errorf("%v (%+v), want a %s near %q", err, nf, tt.kind, tt.nearest)
		}
	}
}

func TestCorruptDocumentsStopOpen(t *testing.T) {
	ctx := t.Context()
	b := storagelocations.NewMemory()
	c := open(t, b)
	create(t, c, messages("default", "m"))
	good := readAll(t, b, tableDoc("default", "m"))
	for name, body := range map[string]string{
		"empty":         "",
		"cut":           good[:len(good)/2],
		"two":           good + good,
		"other name":    strings.Replace(good, `"name": "m"`, `"name": "n"`, 1),
		"no revision":   strings.Replace(good, `"revision"`, `"x"`, 1),
		"no type":       strings.Replace(good, `"type": "user"`, `"type": "users"`, 1),
		"column type":   strings.Replace(good, "DECIMAL(10,2)", "DECIMAL(2,10)", 1),
		"interval":      strings.Replace(good, "5m0s", "5 minutes", 1),
		"zero id":       strings.Replace(good, `"id": "`, `"id": "0 `, 1),
		"nothing in it": `{"format": 1, "revision": "x"}`,
		"newer format":  strings.Replace(good, `"format": 1`, `"format": 3`, 1),
	} {
		if body == good {
			t.Fatalf("%s: the document was not changed", name)
		}
		if _, err := b.Put(ctx, tableDoc("default", "m"), []byte(body), storagelocations.Cond{}); err != nil {
			t.Fatal(err)
		}
		_, err := Open(ctx, b)
		if name != "newer format" {
			c, damage, err := Inspect(ctx, b)
			if err != nil || len(damage) != 1 || damage[0].Object != tableDoc("default", "m") || len(c.Tables()) != 0 || len(c.Namespaces()) != 1 {
				t.Errorf("%s: Inspect reports %v, %v", name, damage, err)
			}
		}
		if err == nil || !errors.Is(err, ErrCorrupt) && name != "newer format" || !strings.Contains(err.Error(), tableDoc("default", "m")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A namespace without its document comes back with its tables; strange objects do not hurt.
func TestOpenHeals(t *testing.T) {
	ctx := t.Context()
	b := storagelocations.NewMemory()
	c := open(t, b)
	if err := c.CreateNamespace(ctx, Namespace{Name: "app"}); err != nil {
		t.Fatal(err)
	}
	create(t, c, messages("app", "m"))
	if err := b.Delete(ctx, namespaceDoc("app")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(ctx, tablesFolder+"app/m.json~", []byte("an editor's copy"), storagelocations.Cond{}); err != nil {
		t.Fatal(err)
	}
	c = open(t, b)
	if _, err := c.Namespace("app"); err != nil {
		t.Error(err)
	}
	if _, err := c.Table("app", "m"); err != nil {
		t.Error(err)
	}
	mustEqualBucket(t, c)
}

// Of two servers that make the same change one wins and the other knows.
func TestTwoServers(t *testing.T) {
	ctx := t.Context()
	b := storagelocations.NewMemory()
	one, two := open(t, b), open(t, b)
	for i := range 20 {
		name := fmt.Sprintf("t%d", i)
		var ids [2]uint64
		errs := both(func(n int, c *Catalog) error {
			table, err := c.CreateTable(ctx, messages("default", name))
			if err == nil {
				ids[n] = table.Ref.ID
			}
			return err
		}, one, two)
		if oneWinner(errs, ErrExists) != nil {
			t.Fatalf("create: %v", errs)
		}
		loser, id := two, ids[0]
		if errs[0] != nil {
			loser, id = one, ids[1]
		}
		if got, err := loser.Table("default", name); err != nil || got.Ref.ID != id {
			t.Fatalf("the loser sees %+v, %v; want id %x", got, err, id)
		}
		errs = both(func(_ int, c *Catalog) error { _, err := c.DropTable(ctx, "default", name); return err }, one, two)
		if oneWinner(errs, ErrConflict) != nil {
			t.Fatalf("drop: %v", errs)
		}
	}
	// A stale memory cannot overwrite: each change is told of the other.
	if err := one.AlterNamespace(ctx, "default", map[string]string{"a": "1"}); err != nil {
		t.Fatal(err)
	}
	if err := two.AlterNamespace(ctx, "default", map[string]string{"b": "2"}); !errors.Is(err, ErrConflict) {
		t.Fatalf("a change from a stale memory: %v", err)
	}
	if err := two.AlterNamespace(ctx, "default", map[string]string{"b": "2"}); err != nil {
		t.Fatal(err)
	}
	if n, _ := two.Namespace("default"); n.Options["a"] != "1" || n.Options["b"] != "2" {
		t.Errorf("options are %v", n.Options)
	}
	mustEqualBucket(t, two)
}

func both(f func(int, *Catalog) error, catalogs ...*Catalog) []error {
	errs := make([]error, len(catalogs))
	var wg sync.WaitGroup
	for i, c := range catalogs {
		wg.Go(func() { errs[i] = f(i, c) })
	}
	wg.Wait()
	return errs
}

func oneWinner(errs []error, loser error) error {
	if n := slices.Index(errs, nil); n < 0 || !errors.Is(errs[1-n], loser) {
		return errors.Join(errs...)
	}
	return nil
}

// Readers never wait and never see half a change, whatever writers do.
func TestConcurrentReaders(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	b := buckettest.NewTrace(storagelocations.NewMemory())
	c := open(t, b)
	b.Delay(buckettest.Put, "", -1, time.Millisecond)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for ctx.Err() == nil {
				table, err := c.Table("default", "m")
				if err == nil && (table.Ref.Name != "m" || table.Dropped || table.Schema() == nil) {
					t.Errorf("half a table: %+v", table)
				}
				c.Tables()
				c.Dropped()
			}
		})
	}
	for range 20 {
		create(t, c, messages("default", "m"))
		dropped, err := c.DropTable(ctx, "default", "m")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.ForgetTable(ctx, dropped); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	wg.Wait()
}

package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"kalamdb/auth"
	"kalamdb/storagelocations"
	"kalamdb/storagelocations/buckettest"
)

func readAll(t *testing.T, b storagelocations.Bucket, name string) string {
	t.Helper()
	r, _, err := b.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	body, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// changes are one of each kind; before is what must exist already.
var changes = map[string]struct {
	before, do func(ctx context.Context, c *Catalog) error
}{
	"create namespace": {nil, createNamespace},
	"alter namespace": {createNamespace, func(ctx context.Context, c *Catalog) error {
		return c.AlterNamespace(ctx, "app", map[string]string{"a": "1"})
	}},
	"drop namespace":  {createNamespace, func(ctx context.Context, c *Catalog) error { return c.DropNamespace(ctx, "app") }},
	"create location": {nil, createLocation},
	"alter location": {createLocation, func(ctx context.Context, c *Catalog) error {
		l, err := c.Location("cold")
		if err == nil {
			_, err = c.AlterLocation(ctx, l, LocationVersion{Path: "/colder"})
		}
		return err
	}},
	"drop location": {createLocation, func(ctx context.Context, c *Catalog) error { return c.DropLocation(ctx, "cold") }},
	"create users":  {nil, createUsers},
	"update users": {createUsers, func(ctx context.Context, c *Catalog) error {
		u, _ := c.User("ana")
		changed := *u
		changed.Role = auth.System
		return c.UpdateUsers(ctx, []UserRow{changed})
	}},
	"drop users":   {createUsers, func(ctx context.Context, c *Catalog) error { return dropUser(ctx, c, "ana") }},
	"create table": {nil, createTable},
	"drop table":   {createTable, dropTable},
	"create it again": {func(ctx context.Context, c *Catalog) error {
		return errors.Join(createTable(ctx, c), dropTable(ctx, c))
	}, createTable},
	"forget table": {func(ctx context.Context, c *Catalog) error {
		return errors.Join(createTable(ctx, c), dropTable(ctx, c))
	},
		func(ctx context.Context, c *Catalog) error { return c.ForgetTable(ctx, c.Dropped()[0]) }},
}

func createNamespace(ctx context.Context, c *Catalog) error {
	return c.CreateNamespace(ctx, Namespace{Name: "app"})
}

func createLocation(ctx context.Context, c *Catalog) error {
	return c.CreateLocation(ctx, Location{Name: "cold", LocationVersion: LocationVersion{Path: "/cold"}})
}

func createTable(ctx context.Context, c *Catalog) error {
	_, err := c.CreateTable(ctx, messages("default", "m"))
	return err
}

func dropTable(ctx context.Context, c *Catalog) error {
	_, err := c.DropTable(ctx, "default", "m")
	return err
}

// Every kind of change meets every kind of fault. Afterwards memory is equal to the
// bucket, or the error was ErrUnknown and memory is equal after Settle.
func TestFaults(t *testing.T) {
	faults := map[string]struct {
		inject  func(b *buckettest.Trace)
		happens bool // the change must take place and say so
		unknown bool // the error must be ErrUnknown
	}{
		"put fails":         {func(b *buckettest.Trace) { b.Fail(buckettest.Put, "", 1) }, false, false},
		"reply lost":        {func(b *buckettest.Trace) { b.Lose(buckettest.Put, "", 1) }, true, false},
		"fails, unreadable": {func(b *buckettest.Trace) { b.Fail(buckettest.Put, "", 1); b.Fail(buckettest.Get, "", 1) }, false, true},
		"lost, unreadable":  {func(b *buckettest.Trace) { b.Lose(buckettest.Put, "", 1); b.Fail(buckettest.Get, "", 1) }, false, true},
		"delete fails":      {func(b *buckettest.Trace) { b.Fail(buckettest.Delete, "", 1) }, true, false},
		"delete lost":       {func(b *buckettest.Trace) { b.Lose(buckettest.Delete, "", 1) }, true, false},
	}
	for changeName, change := range changes {
		for faultName, fault := range faults {
			t.Run(changeName+", "+faultName, func(t *testing.T) {
				ctx := t.Context()
				b := buckettest.NewTrace(storagelocations.NewMemory())
				c := open(t, b)
				if change.before != nil {
					if err := change.before(ctx, c); err != nil {
						t.Fatal(err)
					}
				}
				before := contents(c)
				fault.inject(b)
				err := change.do(ctx, c)
				b.Clear()
				if fault.happens != (err == nil) || fault.unknown != errors.Is(err, ErrUnknown) {
					t.Fatalf("the answer is %v", err)
				}
				if err == nil && reflect.DeepEqual(contents(c), before) {
					t.Fatal("the change did not happen")
				}
				if err != nil && !reflect.DeepEqual(contents(c), before) && changeName != "create it again" {
					t.Fatal("memory has what failed")
				}
				if fault.unknown {
					if err := c.Settle(ctx); err != nil {
						t.Fatal(err)
					}
				}
				mustEqualBucket(t, c)
				if again := change.do; err != nil && faultName != "lost, unreadable" {
					if err := again(ctx, c); err != nil {
						t.Fatalf("and again: %v", err)
					}
					mustEqualBucket(t, c)
				}
			})
		}
	}
}

// While the outcome of a change is unknown no other one is made on top of it.
func TestUnknownBlocksChanges(t *testing.T) {
	ctx := t.Context()
	b := buckettest.NewTrace(storagelocations.NewMemory())
	c := open(t, b)
	b.Lose(buckettest.Put, "", 1)
	b.Fail(buckettest.Get, "", -1)
	if err := createTable(ctx, c); !errors.Is(err, ErrUnknown) {
		t.Fatal(err)
	}
	if err := createNamespace(ctx, c); !errors.Is(err, ErrUnknown) {
		t.Fatalf("a change while the storage does not answer: %v", err)
	}
	b.Clear()
	if err := createTable(ctx, c); !errors.Is(err, ErrExists) {
		t.Fatalf("the table was created after all, but: %v", err)
	}
	mustEqualBucket(t, c)
}

// A name whose document could not be deleted stays closed until the delete has
// surely ended: a late one would take the new document away.
func TestLateDelete(t *testing.T) {
	ctx := t.Context()
	b := buckettest.NewTrace(storagelocations.NewMemory())
	c := open(t, b)
	if err := createNamespace(ctx, c); err != nil {
		t.Fatal(err)
	}
	b.Fail(buckettest.Delete, "", 1)
	if err := c.DropNamespace(ctx, "app"); err != nil {
		t.Fatal(err)
	}
	if err := createNamespace(ctx, c); !errors.Is(err, ErrConflict) {
		t.Fatalf("created at once: %v", err)
	}
	e := c.entries[namespaceDoc("app")]
	past := e.doc.Gone.Add(-goneGrace)
	e.doc.Gone = &past
	if err := createNamespace(ctx, c); err != nil {
		t.Fatal(err)
	}
	mustEqualBucket(t, c)
}

// A random walk through all changes under random faults and restarts. One server is
// compared with the bucket after every answer it is sure of, two after restarts.
func TestRandomFaults(t *testing.T) {
	for n := 1; n <= 2; n++ {
		t.Run(fmt.Sprintf("%d servers", n), func(t *testing.T) { testRandomFaults(t, n) })
	}
}

func testRandomFaults(t *testing.T, n int) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	ctx := t.Context()
	b := buckettest.NewTrace(storagelocations.NewMemory())
	start := func() (servers []*Catalog) {
		for range n {
			servers = append(servers, open(t, b))
		}
		return servers
	}
	servers := start()
	happened := 0
	for step := range 3000 {
		b.Decide(func(buckettest.Op, string) buckettest.Action {
			switch rnd.IntN(12) {
			case 0:
				return buckettest.Fail
			case 1:
				return buckettest.Lose
			}
			return buckettest.Pass
		})
		c := servers[rnd.IntN(n)]
		namespace, table := fmt.Sprintf("n%d", rnd.IntN(2)), fmt.Sprintf("t%d", rnd.IntN(2))
		var err error
		switch rnd.IntN(10) {
		case 0:
			err = c.CreateNamespace(ctx, Namespace{Name: namespace})
		case 1:
			err = c.AlterNamespace(ctx, namespace, map[string]string{"step": fmt.Sprint(step)})
		case 2:
			err = c.DropNamespace(ctx, namespace)
		case 3, 4:
			_, err = c.CreateTable(ctx, messages(namespace, table))
		case 5:
			_, err = c.DropTable(ctx, namespace, table)
		case 6:
			if dropped := c.Dropped(); len(dropped) > 0 {
				err = c.ForgetTable(ctx, dropped[0])
			}
		case 7:
			err = createUsers(ctx, c)
		case 8:
			if u, ok := c.User("ana"); ok {
				err = c.UpdateUsers(ctx, []UserRow{*u})
			}
		case 9:
			err = dropUser(ctx, c, "ana")
		}
		if err == nil {
			happened++
		}
		b.Clear()
		if !known(err) {
			t.Fatalf("step %d: %v", step, err)
		}
		if n == 1 && !errors.Is(err, ErrUnknown) && len(c.unsure) == 0 {
			mustEqualBucket(t, c)
		}
		if rnd.IntN(20) == 0 {
			servers = start()
			mustEqualBucket(t, servers[0])
		}
	}
	if happened < 300 {
		t.Errorf("only %d changes happened: the test tests nothing", happened)
	}
}

func known(err error) bool {
	if err == nil {
		return true
	}
	for _, e := range []error{ErrNotFound, ErrExists, ErrNotEmpty, ErrConflict, ErrUnknown, buckettest.ErrInjected} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

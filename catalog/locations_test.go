package catalog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"

	"kalamdb/storagelocations"
)

func alterLocation(t *testing.T, c *Catalog, name string, to LocationVersion) Location {
	t.Helper()
	l, err := c.Location(name)
	if err == nil {
		l, err = c.AlterLocation(t.Context(), l, to)
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Tables keep the place they were made in, and get to it as its version says now.
func TestLocationVersions(t *testing.T) {
	ctx := t.Context()
	c := open(t, storagelocations.NewMemory())
	place := func(path, ref, endpoint string) LocationVersion {
		return LocationVersion{Path: path, CredentialsRef: ref, Options: map[string]string{"endpoint": endpoint}}
	}
	if err := c.CreateLocation(ctx, Location{Name: "cold", LocationVersion: place("s3://a", "env:A", "http://one")}); err != nil {
		t.Fatal(err)
	}
	made := map[string]*Table{}
	create := func(name string) {
		t.Helper()
		m := messages("default", name)
		l, err := c.Location("cold")
		if err != nil {
			t.Fatal(err)
		}
		m.Location, m.LocationVersion, m.Root, m.Path = "cold", l.Version, l.Path, storagelocations.DefaultUser
		if made[name], err = c.CreateTable(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	check := func(want map[string]string) {
		t.Helper()
		for _, c := range []*Catalog{c, open(t, c.bucket)} {
			got := map[string]string{}
			for name, table := range made {
				v, ok, err := c.LocationOf(table)
				if err != nil || !ok || v.Type != "s3" {
					t.Fatalf("%s: %+v %v %v", name, v, ok, err)
				}
				o, err := v.S3()
				if err != nil {
					t.Fatal(err)
				}
				got[name] = v.Path + " " + o.Credentials + " " + o.Endpoint
			}
			if !maps.Equal(got, want) {
				t.Fatalf("the tables are at %v, want %v", got, want)
			}
		}
	}
	create("one")
	check(map[string]string{"one": "s3://a env:A http://one"})

	// How to get there: for all tables of the version.
	first := alterLocation(t, c, "cold", place("s3://a", "env:B", "http://one"))
	check(map[string]string{"one": "s3://a env:B http://one"})

	// Another place: for tables that come.
	if l := alterLocation(t, c, "cold", place("s3://b", "env:B", "http://one")); l.Version != 2 || len(l.Earlier) != 1 {
		t.Fatalf("another path gave %+v", l)
	}
	create("two")
	check(map[string]string{"one": "s3://a env:B http://one", "two": "s3://b env:B http://one"})

	// The same path at another store is another place; a version that no table has goes.
	alterLocation(t, c, "cold", place("s3://b", "env:B", "http://two"))
	if l := alterLocation(t, c, "cold", place("s3://b", "env:B", "http://three")); l.Version != 4 || len(l.Earlier) != 2 {
		t.Fatalf("a third endpoint gave %+v", l)
	}
	create("three")
	check(map[string]string{"one": "s3://a env:B http://one", "two": "s3://b env:B http://one", "three": "s3://b env:B http://three"})

	// Back at an earlier place: its version, with the credentials given now.
	if l := alterLocation(t, c, "cold", place("s3://a", "profile:p", "http://one")); l.Version != 1 || len(l.Earlier) != 2 {
		t.Fatalf("the way back gave %+v", l)
	}
	check(map[string]string{"one": "s3://a profile:p http://one", "two": "s3://b env:B http://one", "three": "s3://b env:B http://three"})
	if _, err := c.AlterLocation(ctx, first, place("s3://c", "", "")); !errors.Is(err, ErrConflict) {
		t.Fatalf("a change of what was seen before another change: %v", err)
	}
	m := messages("default", "late")
	m.Location, m.LocationVersion, m.Root, m.Path = "cold", 2, "s3://x", storagelocations.DefaultUser
	if _, err := c.CreateTable(ctx, m); !errors.Is(err, ErrConflict) {
		t.Fatalf("a table planned for an earlier version: %v", err)
	}
	if n := c.Usage(); n["cold"] != 3 {
		t.Fatalf("the usage is %v", n)
	}
	mustEqualBucket(t, c)
}

// A location is dropped when the last file of the last table is gone.
func TestDropLocation(t *testing.T) {
	ctx := t.Context()
	c := open(t, storagelocations.NewMemory())
	if err := createLocation(ctx, c); err != nil {
		t.Fatal(err)
	}
	m := messages("default", "a")
	m.Location, m.Root, m.Path = "cold", "file:///cold", storagelocations.DefaultUser
	for _, name := range strings.Split("abcdefghijklmn", "") {
		m.Ref.Name = name
		if _, err := c.CreateTable(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	err := c.DropLocation(ctx, "cold")
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "default.a, default.b,") || !strings.Contains(err.Error(), "and 4 more") {
		t.Fatalf("in use: %v", err)
	}
	for _, table := range c.Tables() {
		if _, err := c.DropTable(ctx, "default", table.Ref.Name); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.DropLocation(ctx, "cold"); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "being removed") {
		t.Fatalf("with files that are being removed: %v", err)
	}
	for _, table := range c.Dropped() {
		if _, ok, err := c.LocationOf(table); !ok || err != nil {
			t.Fatalf("where the files of %s are: %v %v", table.Ref, ok, err)
		}
		if err := c.ForgetTable(ctx, table); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.DropLocation(ctx, "cold"); err != nil {
		t.Fatal(err)
	}
	if err := c.DropLocation(ctx, "cold"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("dropped again: %v", err)
	}
	mustEqualBucket(t, c)
}

// The document of a server that knew no versions.
func TestLocationWithoutVersion(t *testing.T) {
	b := storagelocations.NewMemory()
	body := `{"format":1,"revision":"x","location":{"name":"cold","type":"s3","path":"s3://b/p","created":"2026-01-02T03:04:05Z","updated":"2026-01-02T03:04:05Z"}}`
	if _, err := b.Put(context.Background(), locationDoc("cold"), []byte(body), storagelocations.Cond{}); err != nil {
		t.Fatal(err)
	}
	l, err := open(t, b).Location("cold")
	if want := (LocationVersion{Version: 1, Type: "s3", Path: "s3://b/p"}); err != nil || !reflect.DeepEqual(l.LocationVersion, want) {
		t.Fatalf("%+v, %v; want %+v", l, err, want)
	}
}

// Tables are made while their location is altered and dropped: each one's place is known.
func TestLocationsUnderChange(t *testing.T) {
	ctx := t.Context()
	b := storagelocations.NewMemory()
	c := open(t, b)
	var wg sync.WaitGroup
	made := make([]int, 4)
	for i := range made {
		wg.Go(func() {
			for n := 0; made[i] < 30; n++ {
				l, err := c.Location("cold")
				if err != nil { // it is dropped at the moment
					runtime.Gosched()
					continue
				}
				m := messages("default", fmt.Sprintf("t%d_%d", i, n))
				m.Location, m.LocationVersion, m.Root, m.Path = "cold", l.Version, l.Path+"/users", "${user_id}/${table}"
				switch table, err := c.CreateTable(ctx, m); {
				case err == nil:
					made[i]++
					if v, ok, err := c.LocationOf(table); err != nil || !ok || v.Path+"/users" != table.Root {
						t.Errorf("table %s at %s has the place %+v, %v", table.Ref, table.Root, v, err)
					}
				case errors.Is(err, ErrConflict), errors.Is(err, ErrNotFound):
				default:
					t.Error(err)
				}
				if n%3 == 0 {
					if table, err := c.DropTable(ctx, "default", m.Ref.Name); err == nil {
						if err := c.ForgetTable(ctx, table); err != nil {
							t.Error(err)
						}
					}
				}
			}
		})
	}
	change := func(n int) {
		err := c.CreateLocation(ctx, Location{Name: "cold", LocationVersion: LocationVersion{Path: fmt.Sprintf("file:///p%d", n%7)}})
		if l, found := c.Location("cold"); errors.Is(err, ErrExists) && found == nil {
			_, err = c.AlterLocation(ctx, l, LocationVersion{Path: fmt.Sprintf("file:///p%d", n%5)})
		}
		if err != nil {
			t.Error(err)
		}
		if n%4 == 0 {
			if err := c.DropLocation(ctx, "cold"); err != nil && !errors.Is(err, ErrInUse) {
				t.Error(err)
			}
		}
	}
	created := make(chan struct{})
	go func() { wg.Wait(); close(created) }()
	for n := 0; ; n++ {
		select {
		case <-created:
		default:
			change(n)
			continue
		}
		break
	}
	for _, c := range []*Catalog{c, open(t, b)} {
		for _, table := range c.Tables() {
			if v, ok, err := c.LocationOf(table); err != nil || !ok || v.Path+"/users" != table.Root {
				t.Errorf("table %s at %s has the place %+v, %v", table.Ref, table.Root, v, err)
			}
		}
	}
	mustEqualBucket(t, c)
}

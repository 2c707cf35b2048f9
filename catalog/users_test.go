package catalog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kalamdb/auth"
	"kalamdb/row"
	"kalamdb/storagelocations"
	"kalamdb/storagelocations/buckettest"
)

func createUsers(ctx context.Context, c *Catalog) error {
	return c.CreateUsers(ctx, []UserRow{{ID: "ana", Role: auth.DBA, Name: "Ana", Metadata: `{"team": "a"}`}})
}

func dropUser(ctx context.Context, c *Catalog, id row.UserID) error {
	u, ok := c.User(id)
	if !ok {
		return ErrNotFound
	}
	return c.DropUsers(ctx, []UserRow{*u})
}

func mustUsers(t testing.TB, c *Catalog, want string) {
	t.Helper()
	var got []string
	for _, u := range c.Users().All() {
		got = append(got, fmt.Sprintf("%s=%s", u.ID, u.Role))
		if found, ok := c.User(u.ID); !ok || *found != *u {
			t.Errorf("User(%s) is not the one of the list", u.ID)
		}
	}
	if s := strings.Join(got, " "); s != want {
		t.Errorf("users are %q, expected %q", s, want)
	}
}

func TestUsers(t *testing.T) {
	ctx := t.Context()
	b := storagelocations.NewMemory()
	c := open(t, b)
	changes := 0
	c.OnUsers(func() { changes++ })
	if err := createUsers(ctx, c); err != nil {
		t.Fatal(err)
	}
	if changes != 1 {
		t.Errorf("%d notices of one change", changes)
	}
	if err := c.CreateUsers(ctx, []UserRow{{ID: "ben"}, {ID: "ana"}}); !errors.Is(err, ErrExists) {
		t.Errorf("ana twice: %v", err)
	}
	if err := c.CreateUsers(ctx, []UserRow{{ID: "cy"}, {ID: "cy"}}); !errors.Is(err, ErrExists) {
		t.Errorf("cy twice in one: %v", err)
	}
	mustUsers(t, c, "ana=dba")
	seen, _ := c.User("ana")
	changed := *seen
	changed.Role = auth.Service
	if err := c.UpdateUsers(ctx, []UserRow{changed}); err != nil {
		t.Fatal(err)
	}
	if seen.Role != auth.DBA {
		t.Error("a published row has changed")
	}
	if err := c.UpdateUsers(ctx, []UserRow{changed}); !errors.Is(err, ErrConflict) {
		t.Errorf("an update of a version that is gone: %v", err)
	}
	if err := c.UpdateUsers(ctx, []UserRow{{ID: "nobody"}}); !errors.Is(err, ErrConflict) {
		t.Errorf("an update of nobody: %v", err)
	}
	mustUsers(t, c, "ana=service")
	mustEqualBucket(t, c)
	before := time.Now()
	if err := c.DropUsers(ctx, []UserRow{*seen}); !errors.Is(err, ErrConflict) {
		t.Errorf("a version that is gone was dropped: %v", err)
	}
	if err := dropUser(ctx, c, "ana"); err != nil {
		t.Fatal(err)
	}
	if at := c.UserDeleted("ana"); at.Before(before) || !c.UserDeleted("nobody").IsZero() {
		t.Errorf("ana was deleted at %v, nobody at %v", at, c.UserDeleted("nobody"))
	}
	at := c.UserDeleted("ana")
	if err := createUsers(ctx, c); err != nil {
		t.Fatal(err)
	}
	again := open(t, b)
	mustUsers(t, again, "ana=dba")
	if !again.UserDeleted("ana").Equal(at) {
		t.Errorf("a new life forgets the old end: %v, expected %v", again.UserDeleted("ana"), at)
	}
}

func TestBadUsers(t *testing.T) {
	c := open(t, storagelocations.NewMemory())
	for _, u := range []UserRow{
		{ID: ""}, {ID: "a/b"}, {ID: ".."}, {ID: row.UserID(strings.Repeat("x", 129))},
		{ID: "a", Role: 9}, {ID: "a", Name: "a\nb"}, {ID: "a", Name: strings.Repeat("x", 257)}, {ID: "a", Name: "\xff"},
		{ID: "a", Metadata: "{"}, {ID: "a", Metadata: `"` + strings.Repeat("x", userMetadataBytesMax) + `"`},
	} {
		if err := c.CreateUsers(t.Context(), []UserRow{{ID: "ok"}, u}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", u, err)
		}
	}
	mustUsers(t, c, "")
}

func TestCorruptUsers(t *testing.T) {
	for name, body := range map[string]string{
		"shard name":  `"shard":"0","users":[]`,
		"other shard": `"shard":"00","users":[{"id":"ana","role":"user"}]`,
		"role":        `"shard":"%s","users":[{"id":"ana","role":"root"}]`,
		"twice":       `"shard":"%s","users":[{"id":"ana","role":"user"},{"id":"ana","role":"dba"}]`,
		"id":          `"shard":"%s","users":[{"id":"a/b","role":"user"}]`,
	} {
		b := storagelocations.NewMemory()
		shard := shardName(shardOf("ana"))
		doc := fmt.Sprintf(`{"format":1,"revision":"x","users":{%s}}`, strings.ReplaceAll(body, "%s", shard))
		if _, err := b.Put(t.Context(), usersFolder+shard+suffix, []byte(doc), storagelocations.Cond{}); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A bucket that fails leaves whole shards changed, says how many, and memory is as the bucket.
func TestUsersHalfWay(t *testing.T) {
	ctx := t.Context()
	b := buckettest.NewTrace(storagelocations.NewMemory())
	c := open(t, b)
	var users []UserRow
	for i := range 50 {
		users = append(users, UserRow{ID: row.UserID(fmt.Sprint("u", i))})
	}
	puts := 0
	b.Decide(func(op buckettest.Op, _ string) buckettest.Action {
		if op == buckettest.PutIf {
			if puts++; puts > 3 {
				return buckettest.Fail
			}
		}
		return buckettest.Pass
	})
	err := c.CreateUsers(ctx, users)
	b.Clear()
	if n := len(c.Users().All()); err == nil || n < 3 || n == 50 || !strings.Contains(err.Error(), fmt.Sprintf("%d of 50 users", n)) {
		t.Errorf("%d users, %v", n, err)
	}
	if err := c.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	mustEqualBucket(t, c)
}

// Any list of changes leaves what a map would hold, in memory and after a restart.
func TestUsersAsMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		b := storagelocations.NewMemory()
		c, err := Open(ctx, b)
		if err != nil {
			t.Fatal(err)
		}
		model := map[row.UserID]auth.Role{}
		ids := rapid.SliceOfNDistinct(rapid.Map(rapid.IntRange(0, 20), func(i int) row.UserID { return row.UserID(fmt.Sprint("u", i)) }), 1, 5, rapid.ID)
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) {
				var users []UserRow
				taken := false
				for _, id := range ids.Draw(t, "ids") {
					users = append(users, UserRow{ID: id, Role: auth.Role(rapid.IntRange(0, 3).Draw(t, "role"))})
					_, is := model[id]
					taken = taken || is
				}
				err := c.CreateUsers(ctx, users)
				if taken != errors.Is(err, ErrExists) || !taken && err != nil {
					t.Fatalf("taken is %v: %v", taken, err)
				}
				for _, u := range users {
					if !taken {
						model[u.ID] = u.Role
					}
				}
			},
			"drop": func(t *rapid.T) {
				var users []UserRow
				for _, id := range ids.Draw(t, "ids") {
					if u, ok := c.User(id); ok {
						users = append(users, *u)
						delete(model, id)
					}
				}
				if err := c.DropUsers(ctx, users); err != nil {
					t.Fatal(err)
				}
			},
			"": func(t *rapid.T) {
				again, err := Open(ctx, b)
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range []*Catalog{c, again} {
					got := map[row.UserID]auth.Role{}
					for _, u := range c.Users().All() {
						got[u.ID] = u.Role
					}
					if !reflect.DeepEqual(got, model) || !slices.IsSortedFunc(c.Users().All(), func(a, b *UserRow) int { return strings.Compare(string(a.ID), string(b.ID)) }) {
						t.Fatalf("users are %v, expected %v", got, maps.Collect(maps.All(model)))
					}
				}
			},
		})
	})
}

func manyUsers(n int) []UserRow {
	users := make([]UserRow, n)
	for i := range users {
		users[i] = UserRow{ID: row.UserID(fmt.Sprintf("user-%06d", i)), Name: fmt.Sprint("User ", i), Metadata: `{"plan": "free"}`}
	}
	return users
}

// BenchmarkOpen100000Users is what a start costs, on a folder.
func BenchmarkOpen100000Users(b *testing.B) {
	bucket, err := storagelocations.NewDir(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	if err := open(b, bucket).CreateUsers(b.Context(), manyUsers(100_000)); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		open(b, bucket)
	}
}

// BenchmarkUser are the questions and changes among 100,000 users.
func BenchmarkUser(b *testing.B) {
	c := open(b, storagelocations.NewMemory())
	if err := c.CreateUsers(b.Context(), manyUsers(100_000)); err != nil {
		b.Fatal(err)
	}
	b.Run("find", func(b *testing.B) {
		for b.Loop() {
			if _, ok := c.User("user-050000"); !ok {
				b.Fatal("not found")
			}
		}
	})
	b.Run("change", func(b *testing.B) {
		for b.Loop() {
			u, _ := c.User("user-050000")
			if err := c.UpdateUsers(b.Context(), []UserRow{*u}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("list", func(b *testing.B) {
		for b.Loop() {
			c.state.Load().sortUsers()
		}
	})
}

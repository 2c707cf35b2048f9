package lake

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/parquet-go/parquet-go"

	"kalamdb/row"
	"kalamdb/storagelocations"
)

// A user is forgotten while a compaction has chosen his files and a pack that he shares: it
// neither fails, for files that are gone, nor leaves rows of his behind.
func TestForgetDuringCompaction(t *testing.T) {
	for _, c := range []struct {
		name string
		pack int
	}{{"files", -1}, {"packs", 2}} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				ctx, table := context.Background(), notes(7)
				ana := row.Partition{Table: table.Ref, User: "ana"}
				b := storagelocations.NewMemory()
				var l *Lake
				forgetting := false
				forgotten := make(chan error, 1)
				during := func(ctx context.Context, _ CompactInfo) (context.Context, func(CompactInfo, error)) {
					if !forgetting {
						forgetting = true
						go func() {
							_, err := l.Forget(context.WithoutCancel(ctx), ana)
							forgotten <- err
						}()
						synctest.Wait() // it is over, or waits
					}
					return ctx, func(CompactInfo, error) {}
				}
				l = openLake(t, b, Options{CacheDir: dir, CacheBytesMax: 1, PackPartitionsMin: c.pack, Events: Events{Compacting: during}}, table)
				l.codec = &parquet.Uncompressed // see history_test.go
				mustFlush(t, l, segment(table, "ana", note(1, 1, "a")), segment(table, "ben", note(1, 2, "b")))
				mustFlush(t, l, segment(table, "ana", note(2, 4, "a")), segment(table, "ben", note(2, 3, "b")))
				if _, err := l.Compact(ctx, table.Ref); err != nil {
					t.Error(err)
				}
				if err := <-forgotten; err != nil {
					t.Error(err)
				}
				if left := names(t, b, "users/ana/"); len(left) > 0 {
					t.Errorf("%v are left of the user who is forgotten", left)
				}
				for _, name := range names(t, b, "packs/") {
					if _, _, ok := directoryOf(t, body(t, b, name)).find("ana"); ok {
						t.Errorf("%s has rows of the user who is forgotten", name)
					}
				}
				m := l.Manifest(row.Partition{Table: table.Ref, User: "ben"})
				defer m.Release()
				if len(m.Files) != 1 || m.Files[0].Rows != 2 {
					t.Errorf("the other user has %d files, expected one of 2 rows", len(m.Files))
				}
			})
		})
	}
}

// A pack that is lost or damaged keeps nobody from being forgotten but those who have rows in it.
func TestForgetBesideALostPack(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(b storagelocations.Bucket, name string) error
	}{
		{"lost", func(b storagelocations.Bucket, name string) error { return b.Delete(context.Background(), name) }},
		{"damaged", func(b storagelocations.Bucket, name string) error {
			pack := body(t, b, name)
			pack[len(pack)-20] ^= 1
			_, err := b.Put(context.Background(), name, pack, storagelocations.Cond{})
			return err
		}},
		{"cut", func(b storagelocations.Bucket, name string) error {
			pack := body(t, b, name)
			_, err := b.Put(context.Background(), name, pack[:len(pack)/2], storagelocations.Cond{})
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, table := context.Background(), notes(7)
			b := storagelocations.NewMemory()
			l := openLake(t, b, Options{CacheBytesMax: 1, PackPartitionsMin: 2, Node: "node"}, table)
			mustFlush(t, l, segment(table, "eve", note(1, 1, "e")), segment(table, "fay", note(1, 2, "f")))
			lost := names(t, b, "packs/")
			mustFlush(t, l, segment(table, "ana", note(1, 3, "a")), segment(table, "ben", note(1, 4, "b")))
			if err := c.damage(b, lost[0]); err != nil {
				t.Fatal(err)
			}
			l = openLake(t, b, Options{CacheBytesMax: 1, PackPartitionsMin: 2, Node: "node"}, table)
			files, err := l.Forget(ctx, row.Partition{Table: table.Ref, User: "ana"})
			if err != nil || len(files) != 1 {
				t.Errorf("forget a user without rows in it: %d files, %v, expected one", len(files), err)
			}
			for _, name := range names(t, b, "packs/") {
				if name == lost[0] {
					continue
				}
				if _, _, ok := directoryOf(t, body(t, b, name)).find("ana"); ok {
					t.Errorf("%s has rows of the user who is forgotten", name)
				}
			}
			if got := findAll(t, l, table, "ben", 1); len(got) != 1 {
				t.Errorf("%v of the other user of the pack, expected one row", got)
			}
			if _, err := l.Forget(ctx, row.Partition{Table: table.Ref, User: "eve"}); !faulty(err) {
				t.Errorf("forget a user with rows in it: %v, expected that the pack is at fault", err)
			}
		})
	}
}

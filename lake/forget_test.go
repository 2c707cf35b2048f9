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

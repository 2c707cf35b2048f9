package lake

import (
	"context"
	"testing"
	"time"

	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/storagelocations"
)

// TestFollow: a Lake that follows has what the owner has, also when entries that it has not
// seen are gone, or damaged and replaced by a rebuilt log.
func TestFollow(t *testing.T) {
	for _, tt := range []string{"entries", "a checkpoint ahead", "a rebuilt log"} {
		t.Run(tt, func(t *testing.T) {
			c := notes(3)
			b, _ := written(t, c)
			follower := openLake(t, storagelocations.ReadOnly(b), Options{}, c)
			pinned := follower.Manifest(row.Partition{Table: c.Ref, User: "ana"})
			defer pinned.Release()
			owner := openLake(t, b, Options{Node: "n"}, c)
			mustFlush(t, owner, segment(c, "ana", note(5, 20, "new")))
			mustFlush(t, owner, segment(c, "eve", note(1, 21, "new")))
			switch tt {
			case "a checkpoint ahead":
				relog(t, b, c, func(*entry) {})
				damage(t, b, "/log/", true)
				follower.table(c.Ref.ID).verified = time.Now().Add(-2 * followCheckpoints)
			case "a rebuilt log":
				damage(t, b, "04.json", false)
				rebuild(t, b, c)
			}
			if err := follower.followAll(context.Background(), []*catalog.Table{c}); err != nil {
				t.Fatal(err)
			}
			want := state(openLake(t, b, Options{Node: "n"}, c))
			if got := state(follower); got != want {
				t.Errorf("the follower has\n%s\nthe owner has\n%s", got, want)
			}
			if len(pinned.Files) != 3 {
				t.Errorf("a manifest from before has %d files, expected 3", len(pinned.Files))
			}
			if err := follower.followAll(context.Background(), nil); err != nil || follower.table(c.Ref.ID) != nil {
				t.Errorf("after the table was dropped it is still there, %v", err)
			}
		})
	}
}

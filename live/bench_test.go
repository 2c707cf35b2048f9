package live

import (
	"context"
	"fmt"
	"testing"

	"kalamdb/row"
)

// BenchmarkCommitted is what a commit pays for live queries: none at all, many of
// other partitions, and some of its own.
func BenchmarkCommitted(b *testing.B) {
	for _, others := range []int{0, 1, 10_000} {
		for _, own := range []int{0, 1, 100} {
			b.Run(fmt.Sprintf("others=%d/own=%d", others, own), func(b *testing.B) {
				hub := NewHub(Options{QueueBytesMax: 1 << 40})
				defer hub.CloseAll("done")
				for i := range others {
					subscribe(b, hub, testSpec(fmt.Sprint("o", i), row.UserID(fmt.Sprint("other", i)), nil)).Start(0)
				}
				var mine []*Subscription
				for i := range own {
					s := subscribe(b, hub, testSpec(fmt.Sprint("m", i), "ana", nil))
					s.Start(0)
					mine = append(mine, s)
				}
				batch := bigBatch("ana", 1, 100)
				for i := 0; b.Loop(); i++ {
					hub.Committed(batch)
					if i%1000 == 999 {
						b.StopTimer() // what the workers do is none of the writer's time
						settle(hub)
						b.StartTimer()
						for _, s := range mine {
							s.mu.Lock()
							s.unqueue()
							s.mu.Unlock()
						}
					}
				}
			})
		}
	}
}

// BenchmarkNext is a change from Committed to its JSON.
func BenchmarkNext(b *testing.B) {
	for _, name := range []string{"all", "filter"} {
		b.Run(name, func(b *testing.B) {
			var w where
			if name == "filter" {
				w = func(n int64) bool { return n == 1 }
			}
			hub := NewHub(Options{})
			s := subscribe(b, hub, testSpec("a", "ana", w.asFilter()))
			s.Start(0)
			batch := bigBatch("ana", 1, 100)
			var dst []byte
			b.ReportAllocs()
			for seq := row.Seq(1); b.Loop(); seq++ {
				batch.Changes[0].New.Seq = seq
				hub.Committed(batch)
				e, err := s.Next(context.Background())
				if err != nil {
					b.Fatal(err)
				}
				dst = s.AppendRow(dst[:0], e.Rows[0])
			}
		})
	}
}

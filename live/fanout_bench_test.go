package live

import (
	"fmt"
	"runtime"
	"testing"

	"kalamdb/row"
)

// deliver is one commit of the partition until every event of it was taken.
func deliver(b *testing.B, hub *Hub, batch *row.Batch, subs []*Subscription) {
	batch.Changes[0].New.Seq++
	hub.Committed(batch)
	settle(hub)
	for _, s := range subs {
		for e, err := s.Poll(); e != nil || err != nil; e, err = s.Poll() {
			if err != nil {
				b.Fatal(err)
			}
			s.Encoded(e)
		}
	}
}

// pushed are n subscriptions that poll, of which spec makes the i-th.
func pushed(b *testing.B, hub *Hub, n int, spec func(i int) Spec) []*Subscription {
	subs := make([]*Subscription, n)
	for i := range subs {
		s, err := hub.Subscribe(spec(i))
		if err != nil {
			b.Fatal(err)
		}
		s.Start(0)
		s.Notify(func() {})
		if _, err := s.Poll(); err != nil {
			b.Fatal(err)
		}
		subs[i] = s
	}
	return subs
}

// BenchmarkFanout is one row to identical subscriptions, with the encoding.
func BenchmarkFanout(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			hub := NewHub(Options{})
			defer hub.CloseAll("done")
			subs := pushed(b, hub, n, func(i int) Spec {
				s := testSpec(fmt.Sprint("c", i), "", nil)
				s.Key = "all"
				return s
			})
			batch := bigBatch("", 1, 100)
			for b.Loop() {
				deliver(b, hub, batch, subs)
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkEqualities is a row that one subscription wants, among many that ask for
// other values.
func BenchmarkEqualities(b *testing.B) {
	for _, n := range []int{1, 1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			hub := NewHub(Options{})
			defer hub.CloseAll("done")
			subs := pushed(b, hub, n, func(i int) Spec {
				own := int64(i + 1)
				s := testSpec(fmt.Sprint("c", i), "", where(func(n int64) bool { return n == own }))
				s.Equal = []Equality{{Column: 1, Values: []row.Value{row.IntValue(row.BigInt, own)}}}
				return s
			})
			batch := bigBatch("", 1, 100)
			for b.Loop() {
				deliver(b, hub, batch, subs[:1])
			}
		})
	}
}

// BenchmarkSubscriptionMemory is what subscriptions of one connection need: identical
// ones, and those that differ in a value.
func BenchmarkSubscriptionMemory(b *testing.B) {
	for _, kind := range []string{"identical", "distinct"} {
		b.Run(kind, func(b *testing.B) {
			const n = 10_000
			for b.Loop() {
				hub := NewHub(Options{})
				before := heap()
				subs := pushed(b, hub, n, func(i int) Spec {
					s := testSpec(fmt.Sprint("c-", i), "", where(func(n int64) bool { return n == 1 }))
					s.ConnectionID, s.Key = "c", "all"
					if kind == "distinct" {
						own := int64(i)
						s.Key, s.Filter = fmt.Sprint("k", i), where(func(n int64) bool { return n == own })
						s.Equal = []Equality{{Column: 1, Values: []row.Value{row.IntValue(row.BigInt, own)}}}
					}
					return s
				})
				b.ReportMetric(float64(heap()-before)/n, "B/subscription")
				runtime.KeepAlive(subs)
				hub.CloseAll("done")
			}
		})
	}
}

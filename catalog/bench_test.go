package catalog

import (
	"fmt"
	"testing"

	"kalamdb/storagelocations"
)

// fill makes a catalog of n tables in bucket.
func fill(b *testing.B, bucket storagelocations.Bucket, n int) {
	b.Helper()
	c := open(b, bucket)
	for i := range n {
		create(b, c, messages(DefaultName, fmt.Sprintf("t%d", i)))
	}
}

// BenchmarkTable is the question every statement asks.
func BenchmarkTable(b *testing.B) {
	bucket := storagelocations.NewMemory()
	fill(b, bucket, 10_000)
	c := open(b, bucket)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Table(DefaultName, "t5000"); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkMissingTable is the question with a typing error in it.
func BenchmarkMissingTable(b *testing.B) {
	bucket := storagelocations.NewMemory()
	fill(b, bucket, 10_000)
	c := open(b, bucket)
	for b.Loop() {
		if _, err := c.Table(DefaultName, "t5000x"); err == nil {
			b.Error("found")
		}
	}
}

// BenchmarkOpen10000Tables is what a start costs, on a folder.
func BenchmarkOpen10000Tables(b *testing.B) {
	bucket, err := storagelocations.NewDir(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	fill(b, bucket, 10_000)
	for b.Loop() {
		open(b, bucket)
	}
}

package main

import (
	"math/bits"
	"time"
)

const (
	histogramBits = 6 // of precision: a bucket is 1/64 of its value wide
	histogramSize = 40 << histogramBits
)

// A histogram counts durations of 1 µs and more, within 1.6 percent.
type histogram struct {
	counts [histogramSize]int64
	total  int64
}

func (h *histogram) add(d time.Duration) {
	h.counts[min(bucketOf(d.Microseconds()), histogramSize-1)]++
	h.total++
}

func bucketOf(v int64) int {
	v = max(v, 0)
	shift := max(bits.Len64(uint64(v))-histogramBits-1, 0)
	return shift<<histogramBits + int(v>>shift)
}

// bucketValue is the largest value of a bucket.
func bucketValue(bucket int) int64 {
	if bucket < 2<<histogramBits {
		return int64(bucket)
	}
	shift := bucket>>histogramBits - 1
	return (int64(bucket)-int64(shift)<<histogramBits+1)<<shift - 1
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
}

// quantile is the q-quantile, zero without any durations.
func (h *histogram) quantile(q float64) time.Duration {
	rank, seen := int64(q*float64(h.total)), int64(0)
	for i, n := range h.counts {
		if seen += n; n > 0 && seen > rank {
			return time.Duration(bucketValue(i)) * time.Microsecond
		}
	}
	for i := histogramSize - 1; i >= 0; i-- {
		if h.counts[i] > 0 {
			return time.Duration(bucketValue(i)) * time.Microsecond
		}
	}
	return 0
}

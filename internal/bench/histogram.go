package bench

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets that are at most 1/32 wide: each power of two
// of nanoseconds is cut into 32. Adding costs a few instructions and no memory.
type histogram struct {
	counts [64 * 32]uint64
	total  uint64
	most   time.Duration
}

func bucket(ns uint64) int {
	if ns < 32 {
		return int(ns)
	}
	high := bits.Len64(ns) - 1 // 5 and up
	return (high-4)*32 + int(ns>>(high-5)&31)
}

// ceiling is the longest duration in a bucket.
func ceiling(b int) time.Duration {
	if b < 32 {
		return time.Duration(b)
	}
	high := b/32 + 4
	return time.Duration((uint64(32+b%32)+1)<<(high-5) - 1)
}

func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.counts[bucket(uint64(d))]++
	h.total++
	h.most = max(h.most, d)
}

// quantile is the time that a share q of the durations did not exceed, 0 where there
// are none.
func (h *histogram) quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	rank := max(uint64(q*float64(h.total)+0.999999), 1)
	for b, n := range h.counts {
		if n >= rank {
			return min(ceiling(b), h.most)
		}
		rank -= n
	}
	return h.most
}

// Latency is a distribution, in milliseconds.
type Latency struct {
	P50   float64 `json:"p50_ms"`
	P95   float64 `json:"p95_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`
	Count uint64  `json:"count"`
}

func (h *histogram) latency() Latency {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return Latency{P50: ms(h.quantile(0.50)), P95: ms(h.quantile(0.95)), P99: ms(h.quantile(0.99)), Max: ms(h.most), Count: h.total}
}

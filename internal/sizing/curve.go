// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"math"
	"time"
)

// Curve is the hit ratio of a least-recently-used cache as a function of its size.
type Curve struct {
	counts histogram
	scale  float64 // of what is counted, to bytes accessed now
}

// Curve returns the curve of all accesses so far as seen from now. It does not change with later ones.
func (s *Sampler) Curve(now time.Time) Curve {
	c := Curve{counts: s.counts}
	if !s.began.IsZero() {
		c.scale = math.Exp2(-float64(now.Sub(s.began)) / float64(halfLife))
	}
	return c
}

// Accesses is the number of recorded accesses.
func (c Curve) Accesses() int64 { return c.counts.Accesses }

// SeenBytes is the accessed bytes, with a half-life of two weeks.
func (c Curve) SeenBytes() float64 { return c.counts.Seen * c.scale }

// HitRatio is the part of the accessed bytes, in [0, 1], that a least-recently-used cache of cacheBytes would have
// held; 0 before any access.
func (c Curve) HitRatio(cacheBytes float64) float64 {
	if c.counts.Seen <= 0 {
		return 0
	}
	hits := 0.0
	if cacheBytes >= smallest {
		exact := 1 + math.Log2(cacheBytes/smallest)*perOctave
		whole := min(int(exact), len(c.counts.Hits)-1)
		for i := range whole {
			hits += c.counts.Hits[i]
		}
		// distances are assumed to spread evenly in a bucket
		hits += c.counts.Hits[whole] * min(1, exact-float64(whole))
	}
	// SHARDS-adj: a sample with more or fewer accesses than its rate predicts differs by objects accessed often, which
	// have short distances.
	hits += c.counts.Seen - c.counts.Followed
	return max(0, min(1, hits/c.counts.Seen))
}

// Reusable is the part of the accessed bytes that were accessed before: no cache holds more.
func (c Curve) Reusable() float64 { return c.HitRatio(math.MaxInt64) }

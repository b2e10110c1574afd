// SPDX-License-Identifier: Apache-2.0

// Package sizing estimates, from the accesses to cached objects, the hit ratio that a cache of any size would have had.
//
// For least-recently-used eviction that is a matter of reuse distance: an access is a hit in every cache that can
// hold the bytes of all different objects accessed since the object's last access, itself included (R. L. Mattson et
// al., "Evaluation techniques for storage hierarchies", IBM Systems Journal 9(2), 1970). Distances are measured on
// line, in bounded memory, over a spatial sample of the objects whose rate falls as more objects are seen: C. A.
// Waldspurger, N. Park, A. Garthwaite, I. Ahmad, "Efficient MRC Construction with SHARDS", FAST '15, the fixed-size
// variant with the correction "SHARDS-adj". Here objects have sizes, so distances, hits and the correction are in
// bytes.
package sizing

import (
	"math"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/openllb/hlb-operator/internal/heap"
)

const (
	// sampled bounds the objects that a sampler follows. All that belongs to them stays below 900 KiB, and below as
	// many objects nothing is estimated at all.
	sampled = 8192
	// perOctave and octaves shape the histogram of distances: from 1 KiB to 16 TiB in steps of 2.2 %.
	perOctave, octaves, smallest = 32, 34, 1 << 10
	// wholeRate is the sampling rate 1: an object is followed when its hash, of 24 bits as in the paper, is below the
	// threshold.
	wholeRate = 1 << 24
	// halfLife of an access's weight: advice follows a team's work of the last weeks.
	halfLife = 14 * 24 * time.Hour
)

// Sampler follows the accesses to a daemon's objects. It is not safe for concurrent use.
type Sampler struct {
	threshold uint32              // objects whose hash is below it are followed
	objects   map[uint64]*object  // by whole hash
	byHash    *heap.Heap[*object] // greatest sampling hash first
	order     order               // of last accesses
	distinct  distinct            // bytes of all objects seen, followed or not, at their first access
	first     int64               // those of the objects followed
	counts    histogram
	began     time.Time // weights are relative to it
}

// object is one that is followed.
type object struct {
	id           uint64 // whole hash
	bytes, first int64  // at the last and at the first access
	at           int32  // place in the order of accesses
}

// hash is what decides whether an object is followed.
func (o *object) hash() uint32 { return samplingHash(o.id) }

func samplingHash(id uint64) uint32 { return uint32(id>>40) & (wholeRate - 1) }

// histogram has the bytes of accesses by their distance.
type histogram struct {
	// Hits are weighted bytes by distance; the first bucket has those below 1 KiB, the last those of 16 TiB and more.
	Hits [perOctave*octaves + 2]float64
	// Seen are the weighted bytes of all accesses, followed or not; Followed those of objects followed, scaled by the
	// rate of sampling.
	Seen, Followed float64
	Accesses       int64
}

// NewSampler returns one that has seen nothing.
func NewSampler() *Sampler {
	return &Sampler{
		threshold: wholeRate,
		objects:   map[uint64]*object{},
		byHash:    heap.New(func(a, b *object) bool { return a.hash() > b.hash() }),
	}
}

// Access records the use of an object. Times must not run backwards by much. Objects without bytes are ignored.
func (s *Sampler) Access(name string, bytes int64, now time.Time) {
	if bytes <= 0 {
		return
	}
	weight := s.weight(now)
	s.counts.Accesses++
	s.counts.Seen += weight * float64(bytes)
	id := xxhash.Sum64String(name)
	s.distinct.add(id, bytes)
	if samplingHash(id) >= s.threshold {
		return
	}
	rate := s.byteRate()
	s.counts.Followed += weight * float64(bytes) / rate
	o, known := s.objects[id]
	if known {
		// The object's own bytes are not a sample of anything.
		distance := float64(s.order.since(o.at)-o.bytes)/rate + float64(bytes)
		s.counts.Hits[bucket(distance)] += weight * float64(min(bytes, o.bytes)) / rate // what it grew by was not there
		s.order.remove(o.at, o.bytes)
	} else {
		o = &object{id: id, first: bytes}
		s.first += bytes
		s.objects[id] = o
		s.byHash.Push(o)
	}
	o.bytes = bytes
	s.place(o)
	for len(s.objects) > sampled {
		s.lowerRate()
	}
}

// byteRate is the part of all objects' bytes that the objects followed have. By chance it differs from the rate of
// sampling, the more the less alike objects are in size, and all distances and hits with it; so it is measured.
func (s *Sampler) byteRate() float64 {
	rate := float64(s.threshold) / wholeRate
	if all, known := s.distinct.bytes(); rate < 1 && known && s.first > 0 {
		return float64(s.first) / all
	}
	return rate
}

// weight of an access now. Weights grow with time, which ages everything before; before they grow out of hand all are
// scaled down.
func (s *Sampler) weight(now time.Time) float64 {
	if s.began.IsZero() {
		s.began = now
	}
	age := now.Sub(s.began)
	if age > 40*halfLife {
		scale := math.Exp2(-float64(age) / float64(halfLife))
		for i := range s.counts.Hits {
			s.counts.Hits[i] *= scale
		}
		s.counts.Seen *= scale
		s.counts.Followed *= scale
		s.began, age = now, 0
	}
	return math.Exp2(float64(age) / float64(halfLife))
}

// place puts an object at the end of the order of accesses.
func (s *Sampler) place(o *object) {
	if s.order.isFull() {
		s.renumber(o)
	}
	o.at = s.order.append(o.bytes)
}

// renumber closes the gaps in the order. The object next is not part of it at the moment.
func (s *Sampler) renumber(next *object) {
	latest := make([]*object, s.order.len())
	for _, o := range s.objects {
		if o != next {
			latest[o.at] = o
		}
	}
	s.order = order{}
	for _, o := range latest {
		if o != nil {
			o.at = s.order.append(o.bytes)
		}
	}
}

// lowerRate stops following the object with the greatest hash and samples below it from now on. What was counted was
// scaled by the rate at its time and stays.
func (s *Sampler) lowerRate() {
	s.threshold = s.byHash.Peek().hash()
	for s.byHash.Len() > 0 && s.byHash.Peek().hash() >= s.threshold {
		o := s.byHash.Pop()
		s.order.remove(o.at, o.bytes)
		s.first -= o.first
		delete(s.objects, o.id)
	}
}

// bucket of a distance in bytes.
func bucket(distance float64) int {
	if distance < smallest {
		return 0
	}
	return min(1+int(math.Log2(distance/smallest)*perOctave), perOctave*octaves+1)
}

// SPDX-License-Identifier: Apache-2.0

// Package sizingreplay measures how far estimates of package sizing are from the truth, which it finds by running a
// cache.
package sizingreplay

import (
	"container/list"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/openllb/hlb-operator/internal/sizing"
)

// Access is one use of an object.
type Access struct {
	Object int
	Bytes  int64
}

// Workload is a named sequence of accesses.
type Workload struct {
	Name     string
	Accesses []Access
}

// Workloads are the cases that estimates are judged by, from a seed. Their objects are three times as many as a
// sampler follows.
func Workloads(seed uint64) []Workload {
	r := rand.New(rand.NewPCG(seed, 1))
	const objects, accesses = 24_000, 200_000
	sizes := make([]int64, objects)
	for i := range sizes {
		// log-normal around 20 MiB, as folders of compilers are
		sizes[i] = int64(math.Exp(r.NormFloat64()*1.2) * (20 << 20))
	}
	make := func(name string, next func(i int) int) Workload {
		w := Workload{Name: name}
		for i := range accesses {
			o := next(i)
			w.Accesses = append(w.Accesses, Access{Object: o, Bytes: sizes[o]})
		}
		return w
	}
	skewed, steep := rand.NewZipf(r, 1.01, 20, objects-1), rand.NewZipf(r, 1.3, 5, objects-1)
	few := rand.NewZipf(r, 1.2, 2, 199)
	return []Workload{
		make("a team's few mounts", func(int) int { return int(few.Uint64()) }),
		make("popularity by Zipf's law", func(int) int { return int(skewed.Uint64()) }),
		make("steep popularity", func(int) int { return int(steep.Uint64()) }),
		make("all alike", func(int) int { return r.IntN(objects) }),
		make("scans over everything", func(i int) int { return i % 18_000 }),
		make("popularity with scans in between", func(i int) int {
			if i%12_000 < 3_000 {
				return 12_000 + i%12_000
			}
			return int(skewed.Uint64() % 12_000)
		}),
		make("work that moves on", func(i int) int { return (int(skewed.Uint64()) + i/10) % objects }),
	}
}

// HitRatio runs a least-recently-used cache of cacheBytes and returns the part of the accessed bytes that it held.
func HitRatio(accesses []Access, cacheBytes int64) float64 {
	var held, seen, hit int64
	latest, entries := list.New(), map[int]*list.Element{}
	for _, a := range accesses {
		seen += a.Bytes
		if e, ok := entries[a.Object]; ok {
			hit += a.Bytes
			latest.MoveToFront(e)
			continue
		}
		entries[a.Object] = latest.PushFront(a)
		held += a.Bytes
		for held > cacheBytes {
			oldest := latest.Remove(latest.Back()).(Access)
			delete(entries, oldest.Object)
			held -= oldest.Bytes
		}
	}
	return float64(hit) / float64(seen)
}

// Footprint is what all different objects take.
func Footprint(accesses []Access) int64 {
	var bytes int64
	met := map[int]bool{}
	for _, a := range accesses {
		if !met[a.Object] {
			met[a.Object] = true
			bytes += a.Bytes
		}
	}
	return bytes
}

// Errors are by how many percentage points the estimate misses the truth at half of a cache's size, at its size, at
// twice and at four times that, for caches of a ninth and a third of what all objects take.
func Errors(w Workload) []float64 {
	s := sizing.NewSampler()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, a := range w.Accesses {
		s.Access(fmt.Sprint("mount-", a.Object), a.Bytes, at)
	}
	curve, footprint := s.Curve(at), Footprint(w.Accesses)
	var out []float64
	for _, today := range []int64{footprint / 9, footprint / 3} {
		for _, size := range []int64{today / 2, today, today * 2, today * 4} {
			out = append(out, 100*math.Abs(curve.HitRatio(float64(size))-HitRatio(w.Accesses, size)))
		}
	}
	return out
}

// MaxErrorPoints is the largest of all errors over all workloads of a seed, in percentage points.
func MaxErrorPoints(seed uint64) float64 {
	worst := 0.0
	for _, w := range Workloads(seed) {
		for _, e := range Errors(w) {
			worst = max(worst, e)
		}
	}
	return worst
}

// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"cmp"
	"slices"

	"github.com/openllb/hlb-operator/internal/heap"
)

// LB0 is a lower bound on the mean completion time of the measured builds under any policy: every build starts at once
// and is warm, except the first build of its program, which is cold. (Builds that overtake the first of their program
// could be counted the other way round; the difference is negligible.)
func LB0(w *Workload) float64 {
	sum, n := 0.0, 0
	forEachLeast(w, func(b *Build, least float64) {
		if b.ArriveSeconds >= w.WarmUpSeconds {
			sum += least
			n++
		}
	})
	return sum / float64(max(n, 1))
}

// LB0Flight is LB0 with one more constraint: no build finds a copy of a program before the first of its builds can have
// ended. A build that arrives earlier runs cold, or waits for that end and runs warm, whichever is less.
func LB0Flight(w *Workload) float64 {
	earliest := map[int]float64{} // possible end of any build of the program
	for i := range w.Builds {
		b := &w.Builds[i]
		if end, known := earliest[b.Program]; !known || b.ArriveSeconds+b.ColdSeconds < end {
			earliest[b.Program] = b.ArriveSeconds + b.ColdSeconds
		}
	}
	sum, n := 0.0, 0
	for i := range w.Builds {
		b := &w.Builds[i]
		if b.ArriveSeconds >= w.WarmUpSeconds {
			sum += min(b.ColdSeconds, max(earliest[b.Program]-b.ArriveSeconds, 0)+b.WarmSeconds)
			n++
		}
	}
	return sum / float64(max(n, 1))
}

// LB1 is a lower bound for loaded fleets. Replace all slots by one machine of their joint speed that may preempt builds
// and knows every length. It can process the same work at the same mean instants M of processing as any schedule of the
// slots, and the order with the least sum of M is known: shortest whole length first (mean busy time, after Goemans,
// Wein, Williamson; each unit of a build's work weighs 1/length). A build that runs without a break on one slot ends at
// M + length/2, so the least sum of M plus half the lengths bounds the sum of completions. It counts only the measured
// builds, as if the others took no slot.
func LB1(w *Workload) float64 {
	speed := float64(w.Daemons) * float64(w.Slots)
	jobs := []*job{}
	forEachLeast(w, func(b *Build, least float64) {
		if b.ArriveSeconds >= w.WarmUpSeconds {
			jobs = append(jobs, &job{arrive: b.ArriveSeconds, length: least, left: least / speed})
		}
	})
	slices.SortStableFunc(jobs, func(a, b *job) int { return cmp.Compare(a.arrive, b.arrive) })
	sum := 0.0
	for _, j := range shortestFirst(jobs) {
		sum += j.busyMean + j.length/2 - j.arrive
	}
	return sum / float64(max(len(jobs), 1))
}

// forEachLeast calls visit with each build's least possible length.
func forEachLeast(w *Workload, visit func(b *Build, least float64)) {
	seen := make([]bool, len(w.Programs))
	for i := range w.Builds {
		b := &w.Builds[i]
		least := b.WarmSeconds
		if !seen[b.Program] {
			seen[b.Program] = true
			least = b.ColdSeconds
		}
		visit(b, least)
	}
}

// job is one build on the joint machine.
type job struct {
	arrive, length float64
	left           float64 // seconds at full speed
	busyMean       float64 // mean instant of its processing, once done
}

// shortestFirst processes jobs, given in the order of arrival, always the one with the shortest whole length first, and
// sets busyMean.
func shortestFirst(all []*job) []*job {
	q := heap.New(func(a, b *job) bool { return a.length < b.length })
	now := 0.0
	whole := make(map[*job]float64, len(all))
	next := 0
	for next < len(all) || q.Len() > 0 {
		if q.Len() == 0 {
			now = max(now, all[next].arrive)
		}
		for next < len(all) && all[next].arrive <= now {
			whole[all[next]] = all[next].left
			q.Push(all[next])
			next++
		}
		j := q.Peek()
		until, ends := now+j.left, true
		if next < len(all) && all[next].arrive < until {
			until, ends = all[next].arrive, false
		}
		done := until - now
		j.busyMean += (now + done/2) * done / whole[j]
		j.left -= done
		if ends {
			q.Pop()
		}
		now = until
	}
	return all
}

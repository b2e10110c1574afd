// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"cmp"
	"container/heap"
	"slices"
)

// LB0 is a bound on the mean completion of the measured builds that no policy can beat: a slot for everybody at once,
// and every build warm except the first ever of its program, which nothing can save from being cold. (Builds of one
// program that overtake its first could in theory be counted the other way round; what that is worth is negligible.)
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

// LB0Flight is LB0 with one more certainty: nobody finds a copy of a program before the first of its builds could
// have ended. A build that arrives earlier runs cold, or waits for that end and runs warm, whichever is less.
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

// LB1 is a bound for loaded fleets. Melt all slots into one machine of their joint speed that may interrupt builds at
// will and knows every length. Whatever the slots do, that machine can do the same work at the same mean instants M
// of processing; and the order that makes the sum of all M least, shortest whole length first, is known (mean busy
// time, after Goemans, Wein, Williamson; each unit of a build's work weighs 1/length). A build that runs without a
// break on one slot ends at M + length/2, so the least sum of M plus half the lengths bounds the sum of completions.
// It counts only the measured builds, as if the others took no slot.
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

// job is one build on the melted machine.
type job struct {
	arrive, length float64
	left           float64 // seconds at full speed
	busyMean       float64 // mean instant of its processing, once done
}

type jobs []*job

func (q jobs) Len() int           { return len(q) }
func (q jobs) Less(i, j int) bool { return q[i].length < q[j].length }
func (q jobs) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *jobs) Push(x any)        { *q = append(*q, x.(*job)) }
func (q *jobs) Pop() any {
	last := len(*q) - 1
	x := (*q)[last]
	*q = (*q)[:last]
	return x
}

// shortestFirst works off jobs, which are in the order of arrival, always the one of the shortest whole length first,
// and fills in busyMean.
func shortestFirst(all []*job) []*job {
	var q jobs
	now := 0.0
	whole := make(map[*job]float64, len(all))
	next := 0
	for next < len(all) || len(q) > 0 {
		if len(q) == 0 {
			now = max(now, all[next].arrive)
		}
		for next < len(all) && all[next].arrive <= now {
			whole[all[next]] = all[next].left
			heap.Push(&q, all[next])
			next++
		}
		j := q[0]
		until, ends := now+j.left, true
		if next < len(all) && all[next].arrive < until {
			until, ends = all[next].arrive, false
		}
		done := until - now
		j.busyMean += (now + done/2) * done / whole[j]
		j.left -= done
		if ends {
			heap.Pop(&q)
		}
		now = until
	}
	return all
}

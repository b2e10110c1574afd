// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/serialx/hashring"

	"github.com/openllb/hlb-operator/scheduler"
)

// quiet is the part of Policy that most baselines do without.
type noEvents struct{}

func (noEvents) Started(*Simulation, *run)                     {}
func (noEvents) Ended(*Simulation, *run)                       {}
func (noEvents) Evicted(*Simulation, scheduler.KeyID, int)     {}
func (noEvents) Changed(w *Simulation, at int, newVolume bool) {}

// central is a policy with one queue in the order of arrival. choose picks a daemon with a free slot, or -1 to leave
// the build waiting; daemons prime on their own judgement.
type centralQueue struct {
	noEvents
	queue []int
	// skip goes on to the next build when choose leaves one waiting; otherwise the head blocks all.
	skip   bool
	choose func(w *Simulation, build int) int
}

func (c *centralQueue) Arrived(_ *Simulation, build int) { c.queue = append(c.queue, build) }

func (c *centralQueue) Decide(w *Simulation) []Start {
	var out []Start
	taken := make(map[int]int32)
	free := 0
	for i := range w.View.Daemons {
		free += int(w.freeSlots(i))
	}
	kept := c.queue[:0]
	for i, build := range c.queue {
		at := -1
		if free > 0 {
			at = c.choose(w, build)
		}
		if at < 0 {
			kept = append(kept, build)
			if free == 0 || !c.skip {
				kept = append(kept, c.queue[i+1:]...)
				break
			}
			continue
		}
		w.View.Daemons[at].Reserved++
		taken[at]++
		free--
		out = append(out, Start{Build: build, At: at, PrimeIfCheaper: true})
	}
	c.queue = kept
	for at, n := range taken {
		w.View.Daemons[at].Reserved -= n
	}
	return out
}

// free is how many builds daemon at may be given now.
func (w *Simulation) freeSlots(at int) int32 {
	d := &w.View.Daemons[at]
	if d.Phase != scheduler.Ready {
		return 0
	}
	return max(d.Slots-d.Running-d.Reserved, 0)
}

// suits reports whether daemon at takes builds like this one at all.
func (w *Simulation) canRun(at, build int) bool {
	d := &w.View.Daemons[at]
	p := w.program(build)
	return d.Phase == scheduler.Ready &&
		(p.Platform == "" || len(d.Platforms) == 0 || slices.Contains(d.Platforms, p.Platform))
}

func (w *Simulation) program(build int) *Program {
	return &w.Workload.Programs[w.Workload.Builds[build].Program]
}

// early is a policy that binds each build to a daemon's own queue when it arrives. When a daemon goes away, its queue
// is bound anew.
type earlyBinding struct {
	noEvents
	queues  [][]int
	pending []int // arrived or given back while nothing suited
	assign  func(w *Simulation, e *earlyBinding, build int) int
}

func (e *earlyBinding) Arrived(_ *Simulation, build int) { e.pending = append(e.pending, build) }

func (e *earlyBinding) Changed(w *Simulation, at int, _ bool) {
	if w.View.Daemons[at].Phase != scheduler.Ready && len(e.queues) > at {
		e.pending = append(e.pending, e.queues[at]...)
		e.queues[at] = nil
	}
}

func (e *earlyBinding) Decide(w *Simulation) []Start {
	if e.queues == nil {
		e.queues = make([][]int, len(w.View.Daemons))
	}
	waiting := e.pending
	e.pending = nil
	for _, build := range waiting {
		if at := e.assign(w, e, build); at >= 0 {
			e.queues[at] = append(e.queues[at], build)
		} else {
			e.pending = append(e.pending, build)
		}
	}
	var out []Start
	for at := range e.queues {
		n := min(int(w.freeSlots(at)), len(e.queues[at]))
		for _, build := range e.queues[at][:n] {
			out = append(out, Start{Build: build, At: at, PrimeIfCheaper: true})
		}
		e.queues[at] = e.queues[at][n:]
	}
	return out
}

// load is what daemon at runs and has queued.
func (e *earlyBinding) load(w *Simulation, at int) int {
	return int(w.View.Daemons[at].Running) + len(e.queues[at])
}

// Random binds to any suitable daemon.
func Random(seed uint64) Policy {
	rng := rand.New(rand.NewPCG(seed, 1))
	return &earlyBinding{assign: func(w *Simulation, _ *earlyBinding, build int) int {
		return pick(w, build, rng.IntN(len(w.View.Daemons)))
	}}
}

// RoundRobin binds to the suitable daemons in turn.
func RoundRobin() Policy {
	next := 0
	return &earlyBinding{assign: func(w *Simulation, _ *earlyBinding, build int) int {
		at := pick(w, build, next)
		next = (max(at, 0) + 1) % len(w.View.Daemons)
		return at
	}}
}

// pick is the first suitable daemon from start on, or -1.
func pick(w *Simulation, build, start int) int {
	n := len(w.View.Daemons)
	for i := range n {
		if at := (start + i) % n; w.canRun(at, build) {
			return at
		}
	}
	return -1
}

// LowestOrdinal starts the oldest build on the free daemon of the lowest ordinal.
func LowestOrdinal() Policy {
	return &centralQueue{choose: func(w *Simulation, build int) int {
		for _, at := range w.position {
			if w.freeSlots(at) > 0 && w.canRun(at, build) {
				return at
			}
		}
		return -1
	}}
}

// LeastLoaded starts the oldest build on the daemon with the most free slots.
func LeastLoaded() Policy { return &centralQueue{choose: leastLoaded} }

func leastLoaded(w *Simulation, build int) int {
	best := -1
	for at := range w.View.Daemons {
		if w.freeSlots(at) > 0 && w.canRun(at, build) && (best < 0 || w.freeSlots(at) > w.freeSlots(best)) {
			best = at
		}
	}
	return best
}

// Greedy starts the oldest build on a free daemon that holds its key, else on the least loaded: residency without
// waiting.
func Greedy() Policy { return Delay(0) }

// Delay starts a build where its key is; only after it waited for so long does it start anywhere.
func Delay(seconds float64) Policy {
	return &centralQueue{skip: true, choose: func(w *Simulation, build int) int {
		held, best := false, -1
		c := w.content(w.program(build).Keys[0].ID)
		for i := range c.copies {
			x := &c.copies[i]
			if !w.canRun(x.at, build) {
				continue
			}
			held = true
			if w.freeSlots(x.at) > 0 &&
				(best < 0 || x.version > c.copyOn(best).version || x.version == c.copyOn(best).version && x.at < best) {
				best = x.at
			}
		}
		if best >= 0 {
			return best
		}
		if held && w.Now-w.Workload.Builds[build].ArriveSeconds < seconds {
			return -1
		}
		return leastLoaded(w, build)
	}}
}

// BuildxSticky binds by the ring that buildx's Kubernetes driver uses, the same library called the same way: one
// point a pod, over the pods that are up. (buildx makes the ring anew for each build; keeping it until the fleet
// changes gives the same answers.)
func BuildxSticky() Policy {
	var ring *hashring.HashRing
	var up []string
	return &earlyBinding{assign: func(w *Simulation, _ *earlyBinding, build int) int {
		now := []string{}
		byName := map[string]int{}
		for at := range w.View.Daemons {
			if w.canRun(at, build) {
				now = append(now, w.View.Daemons[at].Name)
				byName[w.View.Daemons[at].Name] = at
			}
		}
		if !slices.Equal(now, up) || ring == nil {
			up, ring = now, hashring.New(now)
		}
		name, ok := ring.GetNode(ringKey(w.program(build)))
		if !ok {
			return -1
		}
		return byName[name]
	}}
}

// ringKey spells a key for the ring.
func ringKey(p *Program) string {
	var b [8]byte
	for i := range b {
		b[i] = byte(p.Keys[0].ID >> (8 * i))
	}
	return string(b[:])
}

// order is the rendezvous order of the suitable daemons for a build, k at most.
func order(w *Simulation, build, k int) []int {
	var out []int
	for _, at := range scheduler.Ranks(w.View, w.program(build).Keys[0].ID, 8) {
		if w.canRun(at, build) {
			out = append(out, at)
			if len(out) == k {
				return out
			}
		}
	}
	if len(out) == 0 { // the first eight are all away
		if at := pick(w, build, int(uint64(w.program(build).Keys[0].ID)%uint64(len(w.View.Daemons)))); at >= 0 {
			out = append(out, at)
		}
	}
	return out
}

// Rendezvous binds each build to its key's home, whatever its load.
func Rendezvous() Policy {
	return &earlyBinding{assign: func(w *Simulation, _ *earlyBinding, build int) int {
		for _, at := range order(w, build, 1) {
			return at
		}
		return -1
	}}
}

// PowerOfTwo binds to the less loaded of a key's first two daemons.
func PowerOfTwo() Policy {
	return &earlyBinding{assign: func(w *Simulation, e *earlyBinding, build int) int {
		best := -1
		for _, at := range order(w, build, 2) {
			if best < 0 || e.load(w, at) < e.load(w, best) {
				best = at
			}
		}
		return best
	}}
}

// BoundedLoad is consistent hashing with bounded loads: the first daemon of the key's order that has less than 1.25
// times the mean load; with floored, a daemon with a free slot is never passed over.
func BoundedLoad(floored bool) Policy {
	return &earlyBinding{assign: func(w *Simulation, e *earlyBinding, build int) int {
		total, up := 1, 0
		for at := range w.View.Daemons {
			total += e.load(w, at)
			if w.View.Daemons[at].Phase == scheduler.Ready {
				up++
			}
		}
		bound := int(math.Ceil(1.25 * float64(total) / float64(max(up, 1))))
		if floored {
			bound = max(bound, int(w.Workload.Slots))
		}
		candidates := order(w, build, 8)
		for _, at := range candidates {
			if e.load(w, at) < bound {
				return at
			}
		}
		best := -1
		for at := range w.View.Daemons {
			if w.canRun(at, build) && (best < 0 || e.load(w, at) < e.load(w, best)) {
				best = at
			}
		}
		return best
	}}
}

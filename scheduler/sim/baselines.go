// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/serialx/hashring"

	"github.com/openllb/hlb-operator/scheduler"
)

// noEvents implements the part of Policy that most baselines do not need.
type noEvents struct{}

func (noEvents) Started(*Simulation, *run)                       {}
func (noEvents) Ended(*Simulation, *run)                         {}
func (noEvents) Evicted(*Simulation, scheduler.KeyID, int)       {}
func (noEvents) Changed(sim *Simulation, at int, newVolume bool) {}

// centralQueue is a policy with one queue in the order of arrival. choose returns a daemon with a free slot, or -1 to
// leave the build waiting.
type centralQueue struct {
	noEvents
	queue []int
	// skip continues with the next build when choose leaves one waiting; otherwise the head blocks the queue.
	skip   bool
	choose func(sim *Simulation, build int) int
}

func (c *centralQueue) Arrived(_ *Simulation, build int) { c.queue = append(c.queue, build) }

func (c *centralQueue) Decide(sim *Simulation) []Start {
	var out []Start
	taken := make(map[int]int32)
	free := 0
	for i := range sim.View.Daemons {
		free += int(sim.freeSlots(i))
	}
	kept := c.queue[:0]
	for i, build := range c.queue {
		at := -1
		if free > 0 {
			at = c.choose(sim, build)
		}
		if at < 0 {
			kept = append(kept, build)
			if free == 0 || !c.skip {
				kept = append(kept, c.queue[i+1:]...)
				break
			}
			continue
		}
		sim.View.Daemons[at].Reserved++
		taken[at]++
		free--
		out = append(out, Start{Build: build, At: at, PrimeIfCheaper: true})
	}
	c.queue = kept
	for at, n := range taken {
		sim.View.Daemons[at].Reserved -= n
	}
	return out
}

// freeSlots returns how many builds can start on daemon at now.
func (sim *Simulation) freeSlots(at int) int32 {
	d := &sim.View.Daemons[at]
	if d.Phase != scheduler.Ready {
		return 0
	}
	return max(d.Slots-d.Running-d.Reserved, 0)
}

// canRun reports whether daemon at takes builds of this platform.
func (sim *Simulation) canRun(at, build int) bool {
	d := &sim.View.Daemons[at]
	p := sim.program(build)
	return d.Phase == scheduler.Ready &&
		(p.Platform == "" || len(d.Platforms) == 0 || slices.Contains(d.Platforms, p.Platform))
}

func (sim *Simulation) program(build int) *Program {
	return &sim.Workload.Programs[sim.Workload.Builds[build].Program]
}

// earlyBinding is a policy that binds each build to a daemon's own queue on arrival. When a daemon becomes unavailable,
// the builds in its queue are bound again.
type earlyBinding struct {
	noEvents
	queues  [][]int
	pending []int // not bound: no daemon could run them
	assign  func(sim *Simulation, e *earlyBinding, build int) int
}

func (e *earlyBinding) Arrived(_ *Simulation, build int) { e.pending = append(e.pending, build) }

func (e *earlyBinding) Changed(sim *Simulation, at int, _ bool) {
	if sim.View.Daemons[at].Phase != scheduler.Ready && len(e.queues) > at {
		e.pending = append(e.pending, e.queues[at]...)
		e.queues[at] = nil
	}
}

func (e *earlyBinding) Decide(sim *Simulation) []Start {
	if e.queues == nil {
		e.queues = make([][]int, len(sim.View.Daemons))
	}
	waiting := e.pending
	e.pending = nil
	for _, build := range waiting {
		if at := e.assign(sim, e, build); at >= 0 {
			e.queues[at] = append(e.queues[at], build)
		} else {
			e.pending = append(e.pending, build)
		}
	}
	var out []Start
	for at := range e.queues {
		n := min(int(sim.freeSlots(at)), len(e.queues[at]))
		for _, build := range e.queues[at][:n] {
			out = append(out, Start{Build: build, At: at, PrimeIfCheaper: true})
		}
		e.queues[at] = e.queues[at][n:]
	}
	return out
}

// load returns the running and queued builds of daemon at.
func (e *earlyBinding) load(sim *Simulation, at int) int {
	return int(sim.View.Daemons[at].Running) + len(e.queues[at])
}

// Random binds to any suitable daemon.
func Random(seed uint64) Policy {
	rng := rand.New(rand.NewPCG(seed, 1))
	return &earlyBinding{assign: func(sim *Simulation, _ *earlyBinding, build int) int {
		return pick(sim, build, rng.IntN(len(sim.View.Daemons)))
	}}
}

// RoundRobin binds to the suitable daemons in turn.
func RoundRobin() Policy {
	next := 0
	return &earlyBinding{assign: func(sim *Simulation, _ *earlyBinding, build int) int {
		at := pick(sim, build, next)
		next = (max(at, 0) + 1) % len(sim.View.Daemons)
		return at
	}}
}

// pick is the first suitable daemon from start on, or -1.
func pick(sim *Simulation, build, start int) int {
	n := len(sim.View.Daemons)
	for i := range n {
		if at := (start + i) % n; sim.canRun(at, build) {
			return at
		}
	}
	return -1
}

// LowestOrdinal starts the oldest build on the free daemon of the lowest ordinal.
func LowestOrdinal() Policy {
	return &centralQueue{choose: func(sim *Simulation, build int) int {
		for _, at := range sim.position {
			if sim.freeSlots(at) > 0 && sim.canRun(at, build) {
				return at
			}
		}
		return -1
	}}
}

// LeastLoaded starts the oldest build on the daemon with the most free slots.
func LeastLoaded() Policy { return &centralQueue{choose: leastLoaded} }

func leastLoaded(sim *Simulation, build int) int {
	best := -1
	for at := range sim.View.Daemons {
		if sim.freeSlots(at) > 0 && sim.canRun(at, build) && (best < 0 || sim.freeSlots(at) > sim.freeSlots(best)) {
			best = at
		}
	}
	return best
}

// Greedy starts the oldest build on a free daemon that holds its key, else on the least loaded: residency without
// waiting.
func Greedy() Policy { return Delay(0) }

// Delay starts a build on a daemon that holds its key; after it waited for so many seconds, on any.
func Delay(seconds float64) Policy {
	return &centralQueue{skip: true, choose: func(sim *Simulation, build int) int {
		held, best := false, -1
		c := sim.content(sim.program(build).Keys[0].ID)
		for i := range c.copies {
			x := &c.copies[i]
			if !sim.canRun(x.at, build) {
				continue
			}
			held = true
			if sim.freeSlots(x.at) > 0 &&
				(best < 0 || x.version > c.copyOn(best).version || x.version == c.copyOn(best).version && x.at < best) {
				best = x.at
			}
		}
		if best >= 0 {
			return best
		}
		if held && sim.Now-sim.Workload.Builds[build].ArriveSeconds < seconds {
			return -1
		}
		return leastLoaded(sim, build)
	}}
}

// BuildxSticky binds by the ring that buildx's Kubernetes driver uses, the same library called the same way: one
// point a pod, over the pods that are up. (buildx makes the ring anew for each build; keeping it until the fleet
// changes gives the same answers.)
func BuildxSticky() Policy {
	var ring *hashring.HashRing
	var up []string
	return &earlyBinding{assign: func(sim *Simulation, _ *earlyBinding, build int) int {
		now := []string{}
		byName := map[string]int{}
		for at := range sim.View.Daemons {
			if sim.canRun(at, build) {
				now = append(now, sim.View.Daemons[at].Name)
				byName[sim.View.Daemons[at].Name] = at
			}
		}
		if !slices.Equal(now, up) || ring == nil {
			up, ring = now, hashring.New(now)
		}
		name, ok := ring.GetNode(ringKey(sim.program(build)))
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
func order(sim *Simulation, build, k int) []int {
	var out []int
	for _, at := range scheduler.Ranks(sim.View, sim.program(build).Keys[0].ID, 8) {
		if sim.canRun(at, build) {
			out = append(out, at)
			if len(out) == k {
				return out
			}
		}
	}
	if len(out) == 0 { // the first eight are all away
		if at := pick(sim, build, int(uint64(sim.program(build).Keys[0].ID)%uint64(len(sim.View.Daemons)))); at >= 0 {
			out = append(out, at)
		}
	}
	return out
}

// Rendezvous binds each build to its key's home, whatever its load.
func Rendezvous() Policy {
	return &earlyBinding{assign: func(sim *Simulation, _ *earlyBinding, build int) int {
		for _, at := range order(sim, build, 1) {
			return at
		}
		return -1
	}}
}

// PowerOfTwo binds to the less loaded of a key's first two daemons.
func PowerOfTwo() Policy {
	return &earlyBinding{assign: func(sim *Simulation, e *earlyBinding, build int) int {
		best := -1
		for _, at := range order(sim, build, 2) {
			if best < 0 || e.load(sim, at) < e.load(sim, best) {
				best = at
			}
		}
		return best
	}}
}

// BoundedLoad is consistent hashing with bounded loads: the first daemon of the key's order that has less than 1.25
// times the mean load; with floored, a daemon with a free slot is never passed over.
func BoundedLoad(floored bool) Policy {
	return &earlyBinding{assign: func(sim *Simulation, e *earlyBinding, build int) int {
		total, up := 1, 0
		for at := range sim.View.Daemons {
			total += e.load(sim, at)
			if sim.View.Daemons[at].Phase == scheduler.Ready {
				up++
			}
		}
		bound := int(math.Ceil(1.25 * float64(total) / float64(max(up, 1))))
		if floored {
			bound = max(bound, int(sim.Workload.Slots))
		}
		candidates := order(sim, build, 8)
		for _, at := range candidates {
			if e.load(sim, at) < bound {
				return at
			}
		}
		best := -1
		for at := range sim.View.Daemons {
			if sim.canRun(at, build) && (best < 0 || e.load(sim, at) < e.load(sim, best)) {
				best = at
			}
		}
		return best
	}}
}

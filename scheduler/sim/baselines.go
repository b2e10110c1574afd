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
type quiet struct{}

func (quiet) Started(*World, *run)                     {}
func (quiet) Ended(*World, *run)                       {}
func (quiet) Evicted(*World, scheduler.KeyID, int)     {}
func (quiet) Changed(w *World, at int, newVolume bool) {}

// central is a policy with one queue in the order of arrival. choose picks a daemon with a free slot, or -1 to leave
// the build waiting; daemons prime on their own judgement.
type central struct {
	quiet
	queue []int
	// skip goes on to the next build when choose leaves one waiting; otherwise the head blocks all.
	skip   bool
	choose func(w *World, build int) int
}

func (c *central) Arrived(_ *World, build int) { c.queue = append(c.queue, build) }

func (c *central) Starts(w *World) []Start {
	var out []Start
	taken := make(map[int]int32)
	free := 0
	for i := range w.View.Daemons {
		free += int(w.free(i))
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
		out = append(out, Start{Build: build, At: at, OwnJudgement: true})
	}
	c.queue = kept
	for at, n := range taken {
		w.View.Daemons[at].Reserved -= n
	}
	return out
}

// free is how many builds daemon at may be given now.
func (w *World) free(at int) int32 {
	d := &w.View.Daemons[at]
	if d.Phase != scheduler.Ready {
		return 0
	}
	return max(d.Slots-d.Running-d.Reserved, 0)
}

// suits reports whether daemon at takes builds like this one at all.
func (w *World) suits(at, build int) bool {
	d := &w.View.Daemons[at]
	p := w.program(build)
	return d.Phase == scheduler.Ready &&
		(p.Platform == "" || len(d.Platforms) == 0 || slices.Contains(d.Platforms, p.Platform))
}

func (w *World) program(build int) *Program {
	return &w.Workload.Programs[w.Workload.Builds[build].Program]
}

// early is a policy that binds each build to a daemon's own queue when it arrives. When a daemon goes away, its queue
// is bound anew.
type early struct {
	quiet
	queues  [][]int
	pending []int // arrived or given back while nothing suited
	assign  func(w *World, e *early, build int) int
}

func (e *early) Arrived(_ *World, build int) { e.pending = append(e.pending, build) }

func (e *early) Changed(w *World, at int, _ bool) {
	if w.View.Daemons[at].Phase != scheduler.Ready && len(e.queues) > at {
		e.pending = append(e.pending, e.queues[at]...)
		e.queues[at] = nil
	}
}

func (e *early) Starts(w *World) []Start {
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
		n := min(int(w.free(at)), len(e.queues[at]))
		for _, build := range e.queues[at][:n] {
			out = append(out, Start{Build: build, At: at, OwnJudgement: true})
		}
		e.queues[at] = e.queues[at][n:]
	}
	return out
}

// load is what daemon at runs and has queued.
func (e *early) load(w *World, at int) int {
	return int(w.View.Daemons[at].Running) + len(e.queues[at])
}

// Random binds to any suitable daemon.
func Random(seed uint64) Policy {
	rng := rand.New(rand.NewPCG(seed, 1))
	return &early{assign: func(w *World, _ *early, build int) int {
		return pick(w, build, rng.IntN(len(w.View.Daemons)))
	}}
}

// RoundRobin binds to the suitable daemons in turn.
func RoundRobin() Policy {
	next := 0
	return &early{assign: func(w *World, _ *early, build int) int {
		at := pick(w, build, next)
		next = (max(at, 0) + 1) % len(w.View.Daemons)
		return at
	}}
}

// pick is the first suitable daemon from start on, or -1.
func pick(w *World, build, start int) int {
	n := len(w.View.Daemons)
	for i := range n {
		if at := (start + i) % n; w.suits(at, build) {
			return at
		}
	}
	return -1
}

// LowestOrdinal starts the oldest build on the free daemon of the lowest ordinal.
func LowestOrdinal() Policy {
	return &central{choose: func(w *World, build int) int {
		for _, at := range w.position {
			if w.free(at) > 0 && w.suits(at, build) {
				return at
			}
		}
		return -1
	}}
}

// LeastLoaded starts the oldest build on the daemon with the most free slots.
func LeastLoaded() Policy { return &central{choose: leastLoaded} }

func leastLoaded(w *World, build int) int {
	best := -1
	for at := range w.View.Daemons {
		if w.free(at) > 0 && w.suits(at, build) && (best < 0 || w.free(at) > w.free(best)) {
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
	return &central{skip: true, choose: func(w *World, build int) int {
		held, best := false, -1
		c := w.content(w.program(build).Keys[0].ID)
		for i := range c.copies {
			x := &c.copies[i]
			if !w.suits(x.at, build) {
				continue
			}
			held = true
			if w.free(x.at) > 0 &&
				(best < 0 || x.version > c.on(best).version || x.version == c.on(best).version && x.at < best) {
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
	return &early{assign: func(w *World, _ *early, build int) int {
		now := []string{}
		byName := map[string]int{}
		for at := range w.View.Daemons {
			if w.suits(at, build) {
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
func order(w *World, build, k int) []int {
	var out []int
	for _, at := range scheduler.Ranks(w.View, w.program(build).Keys[0].ID, 8) {
		if w.suits(at, build) {
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
	return &early{assign: func(w *World, _ *early, build int) int {
		for _, at := range order(w, build, 1) {
			return at
		}
		return -1
	}}
}

// PowerOfTwo binds to the less loaded of a key's first two daemons.
func PowerOfTwo() Policy {
	return &early{assign: func(w *World, e *early, build int) int {
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
	return &early{assign: func(w *World, e *early, build int) int {
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
			if w.suits(at, build) && (best < 0 || e.load(w, at) < e.load(w, best)) {
				best = at
			}
		}
		return best
	}}
}

// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"math"

	"github.com/openllb/hlb-operator/scheduler"
)

// regrets measures what waiting costs: a build's regret is how much later it ends than it would have, had it started on
// the best of the daemons with a free slot at the best of the instants at which the policy left it waiting. It is known
// with hindsight only, since it goes by true lengths.
type regrets struct {
	waiting []int           // builds, in the order of arrival
	best    map[int]float64 // earliest end that a waiting or running build was offered
}

// note notes what the builds that wait are offered now, after the policy has decided.
func (r *regrets) note(sim *Simulation) {
	var free []int
	for at := range sim.View.Daemons {
		if d := &sim.View.Daemons[at]; d.Phase == scheduler.Ready && d.Running < d.Slots {
			free = append(free, at)
		}
	}
	if len(free) == 0 {
		return
	}
	for _, build := range r.waiting {
		best, known := r.best[build]
		if !known {
			best = math.Inf(1)
		}
		for _, at := range free {
			best = min(best, sim.Now+sim.wouldTake(build, at))
		}
		r.best[build] = best
	}
}

// end returns the regret of a build that ends now, 0 for one that was offered nothing better.
func (r *regrets) end(build int, now float64) float64 {
	best, offered := r.best[build]
	delete(r.best, build)
	if !offered {
		return 0
	}
	return max(now-best, 0)
}

// wouldTake is how long a build would take if it started on a daemon now, in seconds; +Inf if it can't.
func (sim *Simulation) wouldTake(build, at int) float64 {
	b := &sim.Workload.Builds[build]
	p := &sim.Workload.Programs[b.Program]
	d := &sim.View.Daemons[at]
	if len(d.Platforms) > 0 && p.Platform != "" && d.Platforms[0] != p.Platform {
		return math.Inf(1)
	}
	r := &run{Start: Start{Build: build, At: at, PrimeIfCheaper: true}, serviceSeconds: b.WarmSeconds}
	lock, pulled := 0.0, sim.primeSum
	for k := range p.Keys {
		lock = max(lock, sim.applyKey(r, b, p, k))
	}
	sim.primeSum = pulled // nothing was
	return r.setupSeconds + r.serviceSeconds + lock
}

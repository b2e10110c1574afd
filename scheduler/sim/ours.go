// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"slices"

	"github.com/openllb/hlb-operator/scheduler"
)

// Ours is the project's policy as the cluster runs it: a loop around scheduler.DecideStarts that learns from what
// happens.
type Ours struct {
	Params scheduler.Params
	// Foresight replaces estimates by every build's true lengths.
	Foresight bool
	// NoReturns leaves out that daemons which restart are expected back.
	NoReturns bool
	// ForgetAtSeconds, if above 0, is when it loses its ledger, estimates and all other state.
	ForgetAtSeconds float64

	estimates  *scheduler.Estimates
	hot        *scheduler.HotKeys
	candidates *scheduler.RankCache
	usage      *scheduler.Usage
	restarts   *scheduler.Restarts
	wentAt     map[int]float64 // when daemons went that restart
	queue      []scheduler.Request
	build      []int // index in the workload of each queued request
	nextSweep  float64
	forgotten  bool
}

// sweepSeconds is the interval of counting hot keys and pricing evictions.
const sweepSeconds = 300

// NewOurs returns the policy with these parameters.
func NewOurs(p scheduler.Params) *Ours { return &Ours{Params: p} }

// setUp resets all state. Of the physics the policy knows what an operator can measure: the losses of primed and
// joining builds, and of a copy with each build that it missed, which is less than with each push if a push has several
// builds.
func (o *Ours) setUp(sim *Simulation) {
	o.Params.PrimedFactor, o.Params.RefreshSpread = sim.Workload.PrimedFactor, sim.Workload.RefreshSpread
	o.Params.JoinLoses = 1
	if sim.Workload.Merging {
		o.Params.JoinLoses = 0
	}
	o.Params.StalePerVersion = stalePerPush * float64(sim.Workload.pushes) / float64(max(len(sim.Workload.Builds), 1))
	o.estimates, o.hot, o.candidates = scheduler.NewEstimates(), scheduler.NewHotKeys(), scheduler.NewRankCache()
	o.usage = scheduler.NewUsage()
	o.restarts, o.wentAt = scheduler.NewRestarts(), map[int]float64{}
	sim.View.Ledger = scheduler.NewLedger()
	sim.View.Shares = scheduler.NewShares()
	o.candidates.Follow(sim.View)
}

// scopes returns the wider scopes whose lengths are priors for a program's.
func scopes(p *Program) []string {
	if p.Queue == "" {
		return []string{"fleet"}
	}
	return []string{p.Queue, "fleet"}
}

// Arrived queues a build.
func (o *Ours) Arrived(sim *Simulation, build int) {
	if o.estimates == nil {
		o.setUp(sim)
	}
	p := sim.program(build)
	o.candidates.Learn(sim.View, p.Keys[0].ID)
	r := scheduler.Request{
		UID:      uid(build),
		Queue:    p.Queue,
		Priority: p.Priority,
		Platform: p.Platform,
		Keys:     slices.Clone(p.Keys),
	}
	o.expect(sim, &r, build)
	o.hot.Observe(p.Keys[0].ID, sim.Now, r.WarmSeconds)
	o.queue = append(o.queue, r)
	o.build = append(o.build, build)
}

// uid formats a build's number so that texts sort like numbers.
func uid(build int) string {
	var b [8]byte
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = byte('0' + build%10)
		build /= 10
	}
	return string(b[:])
}

// expect updates a request's lengths and snapshots.
func (o *Ours) expect(sim *Simulation, r *scheduler.Request, build int) {
	b := &sim.Workload.Builds[build]
	p := &sim.Workload.Programs[b.Program]
	r.AgeSeconds = sim.Now - b.ArriveSeconds
	if o.Foresight {
		r.WarmSeconds, r.ColdSeconds = b.WarmSeconds, b.ColdSeconds
	} else {
		r.WarmSeconds, r.ColdSeconds = o.estimates.Expect(p.Keys[0].ID, scopes(p), &o.Params)
		if bias := sim.Workload.EstimateBias; b.Program%2 == 0 {
			r.WarmSeconds, r.ColdSeconds = r.WarmSeconds*bias, r.ColdSeconds*bias
		} else {
			r.WarmSeconds, r.ColdSeconds = r.WarmSeconds/bias, r.ColdSeconds/bias
		}
	}
	if !sim.Workload.Priming {
		return
	}
	for k := range r.Keys {
		if sim.content(r.Keys[k].ID).built {
			r.Keys[k].SnapshotBytes, r.Keys[k].SnapshotFresh = r.Keys[k].Bytes, 1
		}
	}
}

// Decide asks the scheduler.
func (o *Ours) Decide(sim *Simulation) []Start {
	if o.ForgetAtSeconds > 0 && sim.Now >= o.ForgetAtSeconds && !o.forgotten {
		o.forgotten = true
		o.setUp(sim)
	}
	o.usage.Observe(sim.View)
	if sim.Now >= o.nextSweep {
		o.sweep(sim)
	}
	if !slices.ContainsFunc(
		sim.View.Daemons,
		func(d scheduler.Daemon) bool { return d.Phase == scheduler.Ready && d.Running < d.Slots },
	) {
		return nil // saves updating a long queue
	}
	for i := range o.queue {
		o.expect(sim, &o.queue[i], o.build[i])
	}
	var out []Start
	started := map[string]bool{}
	for _, d := range scheduler.DecideStarts(sim.View, o.queue, &o.Params) {
		i := slices.IndexFunc(o.queue, func(r scheduler.Request) bool { return r.UID == d.UID })
		started[d.UID] = true
		c := &d.Chosen.Cost
		out = append(
			out,
			Start{
				Build:           o.build[i],
				At:              int(d.Chosen.At),
				Prime:           d.Chosen.Prime,
				ExpectedSeconds: c.SetupSeconds + c.ServiceSeconds,
			},
		)
	}
	if len(out) > 0 {
		n := 0
		for i := range o.queue {
			if !started[o.queue[i].UID] {
				o.queue[n], o.build[n] = o.queue[i], o.build[i]
				n++
			}
		}
		o.queue, o.build = o.queue[:n], o.build[:n]
	}
	return out
}

// sweep does the periodic work.
func (o *Ours) sweep(sim *Simulation) {
	o.nextSweep = sim.Now + sweepSeconds
	o.hot.Sweep(sim.View.Ledger, sim.Now, sim.Workload.Slots)
	sim.View.Ledger.Expire(sim.Now)
	for at := range sim.View.Daemons {
		sim.View.Daemons[at].EvictSecondsPerGB = o.evictionPrice(sim, at)
	}
}

// evictionPrice values the next eviction that a daemon's agent publishes.
func (o *Ours) evictionPrice(sim *Simulation, at int) float64 {
	if scheduler.Roomy(sim.View.Daemons[at].FreeBytes, sim.Workload.DiskBytes) {
		return 0
	}
	key, next, found := sim.nextEviction(at)
	if !found {
		return 0
	}
	return scheduler.EvictionPrice(next, o.hot.PerSecond(key, sim.Now), len(sim.View.Ledger.Copies(key)))
}

// evictsByWorth marks the policy as one whose agents do; see the interface.
func (o *Ours) evictsByWorth() {}

// Started updates the ledger and the shares.
func (o *Ours) Started(sim *Simulation, r *run) {
	p := sim.program(r.Build)
	d := &sim.View.Daemons[r.At]
	for k := range p.Keys {
		expires := sim.Now + 10*p.ColdSeconds + 3600
		sim.View.Ledger.Begin(p.Keys[k].ID, d.ID, d.Epoch, sim.Now, sim.Now+r.ExpectedSeconds, expires)
	}
	sim.View.Shares.Begin(p.Queue, r.ExpectedSeconds)
}

// Ended learns from an end.
func (o *Ours) Ended(sim *Simulation, r *run) {
	p := sim.program(r.Build)
	d := &sim.View.Daemons[r.At]
	for k := range p.Keys {
		sim.View.Ledger.End(p.Keys[k].ID, d.ID, r.epoch, sim.Now, true, p.Keys[k].Bytes)
	}
	sim.View.Shares.End(p.Queue, r.ExpectedSeconds, sim.Now-r.startSeconds)
	key := p.Keys[0].ID
	if r.behind > 2 { // too stale to count as a warm build
		warm, cold := o.estimates.Expect(key, scopes(p), &o.Params)
		o.estimates.ObserveStale(r.behind, r.serviceSeconds, warm, cold)
		return
	}
	if !r.joined { // shared work says nothing about a build's own length
		o.estimates.Observe(key, scopes(p), r.mode, r.serviceSeconds, &o.Params)
	}
}

// Evicted forgets the copy.
func (o *Ours) Evicted(sim *Simulation, key scheduler.KeyID, at int) {
	sim.View.Ledger.Drop(key, sim.View.Daemons[at].ID)
}

// Changed expects a daemon back that restarts, as package fleet does: in the same time as earlier ones, counted from
// when its last build is expected to end, or from when it went. Phases and epochs are in the view.
func (o *Ours) Changed(sim *Simulation, at int, _ bool) {
	d := &sim.View.Daemons[at]
	d.Return = scheduler.Busy{}
	if o.restarts == nil || o.NoReturns {
		return
	}
	const cause = "AgentStopped"
	switch d.Phase {
	case scheduler.Ready:
		if went, restarted := o.wentAt[at]; restarted {
			o.restarts.Observe(cause, sim.Now-went)
		}
		delete(o.wentAt, at)
		return
	case scheduler.NotReady:
		o.wentAt[at] = sim.Now
	case scheduler.Draining:
	default:
		return
	}
	from, takes := sim.Now, o.restarts.Expect(cause)
	for i := range d.Busy {
		from = max(from, d.Busy[i].EndsAtSeconds)
	}
	d.Return = scheduler.Busy{EndsAtSeconds: from + takes, ExpectedSeconds: takes}
}

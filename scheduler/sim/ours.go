// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"slices"

	"github.com/openllb/hlb-operator/scheduler"
)

// Ours is the project's policy as the cluster runs it: a loop around scheduler.Starts that learns from what happens.
type Ours struct {
	Params scheduler.Params
	// Foresight gives it every build's true lengths instead of estimates.
	Foresight bool
	// ForgetAtSeconds, if above 0, makes it lose its ledger, estimates and all else at that instant, as if restarted
	// without any record.
	ForgetAtSeconds float64

	estimates  *scheduler.Estimates
	hot        *scheduler.HotKeys
	candidates *scheduler.RankCache
	usage      *scheduler.Usage
	queue      []scheduler.Request
	build      []int // of each queued request
	nextSweep  float64
	forgotten  bool
}

// sweepSeconds is how often hot keys are counted and eviction is priced.
const sweepSeconds = 300

// NewOurs is the policy with these parameters.
func NewOurs(p scheduler.Params) *Ours { return &Ours{Params: p} }

// setUp gives the policy an empty memory. Of the physics it knows what an operator can measure: what primed and
// joining builds lose, and what a copy loses with each build that it misses, which is less than with each push where
// a push is several builds.
func (o *Ours) setUp(w *Simulation) {
	o.Params.PrimedFactor, o.Params.RefreshSpread, o.Params.JoinLoses = w.Workload.PrimedFactor, w.Workload.RefreshSpread, 1
	if w.Workload.Merging {
		o.Params.JoinLoses = 0
	}
	o.Params.StalePerVersion = stalePerPush * float64(w.Workload.pushes) / float64(max(len(w.Workload.Builds), 1))
	o.estimates, o.hot, o.candidates = scheduler.NewEstimates(), scheduler.NewHotKeys(), scheduler.NewRankCache()
	o.usage = scheduler.NewUsage()
	w.View.Ledger = scheduler.NewLedger()
	w.View.Shares = scheduler.NewShares()
	o.candidates.Follow(w.View)
}

// scopes are the wider circles whose lengths are priors for a program's.
func scopes(p *Program) []string {
	if p.Queue == "" {
		return []string{"fleet"}
	}
	return []string{p.Queue, "fleet"}
}

// Arrived queues a build.
func (o *Ours) Arrived(w *Simulation, build int) {
	if o.estimates == nil {
		o.setUp(w)
	}
	p := w.program(build)
	o.candidates.Learn(w.View, p.Keys[0].ID)
	r := scheduler.Request{
		UID:      uid(build),
		Queue:    p.Queue,
		Priority: p.Priority,
		Platform: p.Platform,
		Keys:     slices.Clone(p.Keys),
	}
	o.expect(w, &r, build)
	o.hot.Observe(p.Keys[0].ID, w.Now, r.WarmSeconds)
	o.queue = append(o.queue, r)
	o.build = append(o.build, build)
}

// uid spells a build's number so that texts sort as numbers do.
func uid(build int) string {
	var b [8]byte
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = byte('0' + build%10)
		build /= 10
	}
	return string(b[:])
}

// expect brings a request's lengths and snapshots up to date.
func (o *Ours) expect(w *Simulation, r *scheduler.Request, build int) {
	b := &w.Workload.Builds[build]
	p := &w.Workload.Programs[b.Program]
	r.AgeSeconds = w.Now - b.ArriveSeconds
	if o.Foresight {
		r.WarmSeconds, r.ColdSeconds = b.WarmSeconds, b.ColdSeconds
	} else {
		r.WarmSeconds, r.ColdSeconds = o.estimates.Expect(p.Keys[0].ID, scopes(p), &o.Params)
		if bias := w.Workload.EstimateBias; b.Program%2 == 0 {
			r.WarmSeconds, r.ColdSeconds = r.WarmSeconds*bias, r.ColdSeconds*bias
		} else {
			r.WarmSeconds, r.ColdSeconds = r.WarmSeconds/bias, r.ColdSeconds/bias
		}
	}
	if !w.Workload.Priming {
		return
	}
	for k := range r.Keys {
		if w.content(r.Keys[k].ID).built {
			r.Keys[k].SnapshotBytes, r.Keys[k].SnapshotFresh = r.Keys[k].Bytes, 1
		}
	}
}

// Starts asks the scheduler.
func (o *Ours) Decide(w *Simulation) []Start {
	if o.ForgetAtSeconds > 0 && w.Now >= o.ForgetAtSeconds && !o.forgotten {
		o.forgotten = true
		o.setUp(w)
	}
	o.usage.Observe(w.View)
	if w.Now >= o.nextSweep {
		o.sweep(w)
	}
	if !slices.ContainsFunc(
		w.View.Daemons,
		func(d scheduler.Daemon) bool { return d.Phase == scheduler.Ready && d.Running < d.Slots },
	) {
		return nil // saves bringing a long queue up to date
	}
	for i := range o.queue {
		o.expect(w, &o.queue[i], o.build[i])
	}
	var out []Start
	started := map[string]bool{}
	for _, d := range scheduler.DecideStarts(w.View, o.queue, &o.Params) {
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

// sweep does the minute's housekeeping.
func (o *Ours) sweep(w *Simulation) {
	o.nextSweep = w.Now + sweepSeconds
	o.hot.Sweep(w.View.Ledger, w.Now, w.Workload.Slots)
	w.View.Ledger.Expire(w.Now)
	for at := range w.View.Daemons {
		w.View.Daemons[at].EvictSecondsPerGB = o.evictionPrice(w, at)
	}
}

// evictionPrice values the copy that would go next on a daemon.
func (o *Ours) evictionPrice(w *Simulation, at int) float64 {
	if scheduler.Roomy(w.View.Daemons[at].FreeBytes, w.Workload.DiskBytes) {
		return 0
	}
	held := make([]scheduler.Held, 0, len(w.volumes[at].keys))
	for _, key := range w.volumes[at].keys {
		held = append(held, scheduler.Held{Key: key, LostSeconds: o.lostSeconds(w, key, w.contents[key].copyOn(at).bytes)})
	}
	victim := w.View.NextVictim(at, held)
	return w.View.EvictionPrice(victim, o.hot.PerSecond(victim.Key, w.Now))
}

// lostSeconds is what the next build of a key loses without a copy of so many bytes. That the world asks for it marks
// how the project's agents evict: copies that another daemon has and used later go first, and of the others those
// that are worth least.
func (o *Ours) lostSeconds(w *Simulation, key scheduler.KeyID, bytes int64) float64 {
	warm, cold := o.estimates.Expect(key, nil, &o.Params)
	if !w.Workload.Priming {
		bytes = 0
	}
	return o.Params.LostSeconds(cold-warm, bytes)
}

// Started tells the ledger and the shares.
func (o *Ours) Started(w *Simulation, r *run) {
	p := w.program(r.Build)
	d := &w.View.Daemons[r.At]
	for k := range p.Keys {
		w.View.Ledger.Begin(p.Keys[k].ID, d.ID, d.Epoch, w.Now, w.Now+r.ExpectedSeconds, w.Now+10*p.ColdSeconds+3600)
	}
	w.View.Shares.Begin(p.Queue, r.ExpectedSeconds)
}

// Ended learns from an end.
func (o *Ours) Ended(w *Simulation, r *run) {
	p := w.program(r.Build)
	d := &w.View.Daemons[r.At]
	for k := range p.Keys {
		w.View.Ledger.End(p.Keys[k].ID, d.ID, r.epoch, w.Now, true, p.Keys[k].Bytes)
	}
	w.View.Shares.End(p.Queue, r.ExpectedSeconds, w.Now-r.startSeconds)
	key := p.Keys[0].ID
	if r.behind > 2 { // too stale to stand for a warm build
		warm, cold := o.estimates.Expect(key, scopes(p), &o.Params)
		o.estimates.ObserveStale(r.behind, r.serviceSeconds, warm, cold)
		return
	}
	if !r.joined { // shared work tells nothing of a build's own length
		o.estimates.Observe(key, scopes(p), r.mode, r.serviceSeconds, &o.Params)
	}
}

// Evicted forgets the copy.
func (o *Ours) Evicted(w *Simulation, key scheduler.KeyID, at int) {
	w.View.Ledger.Drop(key, w.View.Daemons[at].ID)
}

// Changed needs nothing: phases and epochs are in the view.
func (o *Ours) Changed(*Simulation, int, bool) {}

// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"math"
	"strconv"

	"github.com/openllb/hlb-operator/scheduler"
)

// Policy chooses daemons for builds. The engine tells it everything it may know, then asks.
type Policy interface {
	// Arrived tells of a build that now waits, Started and Ended of one that the policy started.
	Arrived(w *Simulation, build int)
	Started(w *Simulation, r *run)
	Ended(w *Simulation, r *run)
	// Changed tells of a daemon whose phase or volume changed, Evicted of a copy that its daemon dropped.
	Changed(w *Simulation, at int, newVolume bool)
	Evicted(w *Simulation, key scheduler.KeyID, at int)
	// Starts says what to start now. Asked again after each instant at which anything happened.
	Decide(w *Simulation) []Start
}

// Start binds one build to one daemon, by position in the view.
type Start struct {
	Build, At int
	// Prime has bit i set to prime key i first. With OwnJudgement the daemon primes what is expected to be worth it.
	Prime          uint8
	PrimeIfCheaper bool
	// Expected is how long the policy takes the build to hold its slot; 0 if it has no opinion.
	ExpectedSeconds float64
}

// run is a build that was started.
type run struct {
	Start
	startSeconds   float64
	setupSeconds   float64
	serviceSeconds float64 // waiting for locks and the build itself
	staleSeconds   float64 // of the service: what was done again because the copies were behind,
	missingSeconds float64 // and because there were none
	lockSeconds    float64 // and waiting for locks
	mode           scheduler.Mode
	behind         uint32 // versions that the primary copy was behind
	joined         bool   // it shared the work of another build that was making a copy
	epoch          scheduler.Epoch
	busy           scheduler.Busy
}

// World is the fleet as it really is at Now. View.Daemons is true in every field; View.Ledger is the policy's own
// affair.
type Simulation struct {
	Workload *Workload
	View     *scheduler.View
	Now      float64

	policy    Policy
	position  []int // of each ordinal in the view
	contents  map[scheduler.KeyID]*content
	volumes   []volume
	endings   endings
	sequence  int
	started   int
	arrived   int
	primeSum  int64
	firstSeen []bool // by program
	isFirst   []bool // by build
	measured  *measures
}

// pool names the simulated fleet.
const pool = "sim/builds"

// newWorld sets up the fleet with empty volumes.
func newSimulation(wl *Workload, policy Policy) (*Simulation, error) {
	daemons := make([]scheduler.Daemon, wl.Daemons)
	for i := range daemons {
		daemons[i] = scheduler.Daemon{
			ID:                 scheduler.DaemonOf(pool, i),
			Name:               "builds-" + strconv.Itoa(i),
			Phase:              scheduler.Ready,
			Slots:              wl.Slots,
			FreeBytes:          wl.DiskBytes,
			VolumeBytes:        wl.DiskBytes,
			PullBytesPerSecond: wl.PullBytesPerSecond,
		}
		if n := len(wl.Platforms); n > 0 {
			daemons[i].Platforms = wl.Platforms[i%n]
		}
	}
	v, err := scheduler.NewView(daemons, nil, 0)
	if err != nil {
		return nil, fmt.Errorf("set up the fleet: %w", err)
	}
	w := &Simulation{
		Workload: wl,
		View:     v,
		policy:   policy,
		position: make([]int, wl.Daemons),
		contents: map[scheduler.KeyID]*content{},
		volumes: make(
			[]volume,
			wl.Daemons,
		),
		firstSeen: make([]bool, len(wl.Programs)),
		isFirst:   make([]bool, len(wl.Builds)),
		measured:  newMeasures(wl),
	}
	for i := range w.position {
		w.position[i], _ = v.Position(scheduler.DaemonOf(pool, i))
	}
	return w, nil
}

// Run plays a workload against a policy to the end of its last build. It gives up, and says so in the result, when
// more than sixty builds a slot are waiting.
func Run(wl *Workload, name string, policy Policy) (*Result, error) {
	w, err := newSimulation(wl, policy)
	if err != nil {
		return nil, err
	}
	changes := wl.Changes
	limit := 60 * wl.Daemons * int(wl.Slots)
	for w.arrived < len(wl.Builds) || len(w.endings) > 0 || w.started < w.arrived {
		next := math.Inf(1)
		if w.arrived < len(wl.Builds) {
			next = wl.Builds[w.arrived].ArriveSeconds
		}
		if len(w.endings) > 0 {
			next = min(next, w.endings.soonest())
		}
		if len(changes) > 0 {
			next = min(next, changes[0].AtSeconds)
		}
		if math.IsInf(next, 1) {
			return nil, fmt.Errorf(
				"policy %s leaves %d builds waiting for ever on workload %s",
				name,
				w.arrived-w.started,
				wl.Name,
			)
		}
		w.Now, w.View.NowSeconds = next, next
		for len(changes) > 0 && changes[0].AtSeconds <= next {
			w.change(changes[0])
			changes = changes[1:]
		}
		for len(w.endings) > 0 && w.endings.soonest() <= next {
			w.end(w.endings.take().run)
		}
		for w.arrived < len(wl.Builds) && wl.Builds[w.arrived].ArriveSeconds <= next {
			w.arrive()
		}
		if w.arrived > w.started {
			for _, s := range policy.Decide(w) {
				if err := w.begin(s); err != nil {
					return nil, fmt.Errorf("policy %s at %.1fs: %w", name, next, err)
				}
			}
		}
		w.measured.sample(next, w.arrived-w.started)
		if w.arrived-w.started > limit {
			return w.measured.unstable(name), nil
		}
	}
	return w.measured.result(name, w.primeSum), nil
}

// arrive takes in the next build.
func (w *Simulation) arrive() {
	b := w.arrived
	w.arrived++
	p := w.Workload.Builds[b].Program
	w.isFirst[b] = !w.firstSeen[p]
	w.firstSeen[p] = true
	w.policy.Arrived(w, b)
}

// change carries out a change of the fleet.
func (w *Simulation) change(c Change) {
	at := w.position[c.Daemon]
	d := &w.View.Daemons[at]
	d.Phase = c.Phase
	if c.NewVolume {
		w.wipe(at)
		d.Epoch++
	}
	w.policy.Changed(w, at, c.NewVolume)
}

// begin starts a build. The physics: with every key fresh the build takes its warm length; each key that is missing
// adds its part of cold-warm, one that is stale the stale part of it. A key that another build is making on the
// daemon is ready when that build ends, or is made again if that is sooner; with Merging it is ready at once. A
// locked key in use is waited for; a private one in use is missing. Priming takes 5 s and the bytes that the copy
// lacks at the pull rate, and leaves the key's part of the warm length longer by PrimedFactor.
func (w *Simulation) begin(s Start) error {
	d := &w.View.Daemons[s.At]
	if d.Phase != scheduler.Ready || d.Running >= d.Slots {
		return fmt.Errorf(
			"starts a build on %s, which is %s with %d of %d slots taken",
			d.Name,
			d.Phase,
			d.Running,
			d.Slots,
		)
	}
	b := &w.Workload.Builds[s.Build]
	p := &w.Workload.Programs[b.Program]
	if len(d.Platforms) > 0 && p.Platform != "" && d.Platforms[0] != p.Platform {
		return fmt.Errorf("starts a build for %s on %s, which builds for %s", p.Platform, d.Name, d.Platforms[0])
	}
	r := &run{Start: s, startSeconds: w.Now, serviceSeconds: b.WarmSeconds, epoch: d.Epoch}
	lock := 0.0
	for k := range p.Keys {
		lock = max(lock, w.applyKey(r, b, p, k))
	}
	r.lockSeconds = lock
	r.serviceSeconds += lock
	ends := w.Now + r.setupSeconds + r.serviceSeconds
	for k := range p.Keys {
		use := &p.Keys[k]
		c := w.content(use.ID).copyOn(s.At)
		if c == nil {
			c = w.store(use.ID, s.At, use.Bytes)
		}
		c.users++
		c.usedAt = w.Now
		c.endsAt = max(c.endsAt, ends)
	}
	expected := s.ExpectedSeconds
	if expected <= 0 {
		expected = p.ColdSeconds
	}
	r.busy = scheduler.Busy{EndsAtSeconds: w.Now + expected, ExpectedSeconds: expected}
	d.Running++
	d.Busy = append(d.Busy, r.busy)
	w.started++
	w.sequence++
	w.endings.add(ending{atSeconds: ends, sequence: w.sequence, run: r})
	w.measured.start(w.Now-b.ArriveSeconds, b, r, w.isFirst[s.Build])
	w.policy.Started(w, r)
	return nil
}

// find is how fresh a build finds the copy x of a key, nil for none, what it has to do again of the key's gain, and
// how long it waits for a lock.
func (w *Simulation) lookup(
	use *scheduler.KeyUse,
	c *content,
	x *contentCopy,
	gain float64,
) (fresh, missingSeconds, lockSeconds float64) {
	fresh = c.fresh(x)
	missingSeconds = gain * (1 - fresh)
	if x == nil || x.users == 0 {
		return fresh, missingSeconds, 0
	}
	rest := x.endsAt - w.Now
	switch {
	case use.Sharing == scheduler.Private:
		return 0, gain, 0
	case use.Sharing == scheduler.Locked && x.making:
		return 1, 0, rest
	case use.Sharing == scheduler.Locked:
		return fresh, missingSeconds, rest
	case x.making && w.Workload.Merging:
		return 1, 0, 0
	case x.making:
		return fresh, min(gain, rest), 0
	}
	return fresh, missingSeconds, 0
}

// meet works out what key k adds to the run r, and returns how long a lock on it must be waited for.
func (w *Simulation) applyKey(r *run, b *Build, p *Program, k int) (lockSeconds float64) {
	use := &p.Keys[k]
	c := w.content(use.ID)
	x := c.copyOn(r.At)
	fresh, missing, lockSeconds := w.lookup(use, c, x, use.Gain*(b.ColdSeconds-b.WarmSeconds))
	bytes := use.Bytes
	if x != nil {
		bytes = int64(float64(bytes) * min(w.Workload.RefreshSpread*(1-fresh), 1))
	}
	pull := 5 + float64(bytes)/w.Workload.PullBytesPerSecond
	prime := r.Prime&(1<<k) != 0
	if r.PrimeIfCheaper {
		part := use.Gain * (p.ColdSeconds - p.WarmSeconds) * (1 - fresh)
		prime = pull+(w.Workload.PrimedFactor-1)*p.WarmSeconds*use.Gain < part
	}
	if prime && w.Workload.Priming && c.built && fresh < 1 && (x == nil || !x.making) {
		r.setupSeconds += pull
		r.serviceSeconds += (w.Workload.PrimedFactor - 1) * b.WarmSeconds / float64(len(p.Keys))
		w.primeSum += bytes
		if k == 0 {
			r.mode = scheduler.Primed
		}
		return lockSeconds
	}
	if k == 0 && fresh > 0 {
		r.mode = scheduler.Warm
		if !x.making {
			r.behind = c.version - min(c.version, x.version)
		}
	}
	r.joined = r.joined || x != nil && x.making
	r.serviceSeconds += missing
	if fresh > 0 {
		r.staleSeconds += missing
	} else {
		r.missingSeconds += missing
	}
	return lockSeconds
}

// end finishes a run.
func (w *Simulation) end(r *run) {
	d := &w.View.Daemons[r.At]
	d.Running--
	for i := range d.Busy {
		if d.Busy[i] == r.busy {
			d.Busy[i] = d.Busy[len(d.Busy)-1]
			d.Busy = d.Busy[:len(d.Busy)-1]
			break
		}
	}
	b := &w.Workload.Builds[r.Build]
	p := &w.Workload.Programs[b.Program]
	for k := range p.Keys {
		c := w.content(p.Keys[k].ID)
		version := c.recordBuild(b.Push)
		c.built = true
		if x := c.copyOn(r.At); x != nil && r.epoch == d.Epoch {
			x.users--
			x.making = false
			x.version = max(x.version, version)
			x.usedAt = w.Now
			if x.users == 0 {
				x.endsAt = 0
			}
		}
	}
	w.measured.end(w.Now, b)
	w.policy.Ended(w, r)
}

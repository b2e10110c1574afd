// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/openllb/hlb-operator/internal/heap"
	"github.com/openllb/hlb-operator/scheduler"
)

// Policy chooses daemons for builds. The simulation reports everything a policy may know before it asks for decisions.
type Policy interface {
	// Arrived reports a build that now waits; Started and Ended report a build that the policy started.
	Arrived(sim *Simulation, build int)
	Started(sim *Simulation, r *run)
	Ended(sim *Simulation, r *run)
	// Changed reports a daemon whose phase or volume changed, Evicted a copy that its daemon evicted.
	Changed(sim *Simulation, at int, newVolume bool)
	Evicted(sim *Simulation, key scheduler.KeyID, at int)
	// Decide returns the builds to start now. It is called after each instant at which anything happened.
	Decide(sim *Simulation) []Start
}

// Start binds one build to one daemon, by position in the view.
type Start struct {
	Build, At int
	// Prime has bit i set to prime key i first. With PrimeIfCheaper the daemon primes every key for which that is
	// expected to be cheaper.
	Prime          uint8
	PrimeIfCheaper bool
	// ExpectedSeconds is the time for which the policy expects the build to hold its slot; 0: unknown.
	ExpectedSeconds float64
}

// run is a started build.
type run struct {
	Start
	startSeconds   float64
	setupSeconds   float64
	serviceSeconds float64 // waiting for locks and the build itself
	staleSeconds   float64 // part of the service: work redone because copies were stale
	missingSeconds float64 // part of the service: work redone because copies were missing
	lockSeconds    float64 // part of the service: waiting for locks
	mode           scheduler.Mode
	behind         uint32 // versions that the primary copy missed
	joined         bool   // it shared the work of a build that was making the copy
	epoch          scheduler.Epoch
	busy           scheduler.Busy
}

// ending is the end of a running build.
type ending struct {
	atSeconds float64
	sequence  int // in the order of starts
	run       *run
}

// before orders endings by time, and equal times by start.
func (e ending) before(o ending) bool {
	if e.atSeconds != o.atSeconds {
		return e.atSeconds < o.atSeconds
	}
	return e.sequence < o.sequence
}

// Simulation is the true state of the fleet at Now. View.Daemons is true in every field; View.Ledger belongs to the
// policy.
type Simulation struct {
	Workload *Workload
	View     *scheduler.View
	Now      float64

	policy    Policy
	position  []int // of each ordinal in the view
	contents  map[scheduler.KeyID]*content
	volumes   []volume
	endings   *heap.Heap[ending]
	restarts  []float64             // of each daemon that drains for a restart, its length
	returns   *heap.Heap[returning] // of those that are away
	sequence  int
	started   int
	arrived   int
	primeSum  int64
	firstSeen []bool // by program
	isFirst   []bool // by build
	measured  *measures
	regrets   regrets
}

// pool names the simulated fleet.
const pool = "sim/builds"

// newSimulation returns a fleet with empty volumes.
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
	sim := &Simulation{
		Workload: wl,
		View:     v,
		policy:   policy,
		position: make([]int, wl.Daemons),
		contents: map[scheduler.KeyID]*content{},
		endings:  heap.New(ending.before),
		restarts: make([]float64, wl.Daemons),
		returns:  heap.New(returning.before),
		volumes: make(
			[]volume,
			wl.Daemons,
		),
		firstSeen: make([]bool, len(wl.Programs)),
		isFirst:   make([]bool, len(wl.Builds)),
		measured:  newMeasures(wl),
		regrets:   regrets{best: map[int]float64{}},
	}
	for i := range sim.position {
		sim.position[i], _ = v.Position(scheduler.DaemonOf(pool, i))
	}
	return sim, nil
}

// Run plays a workload against a policy to the end of its last build. It stops, with an unstable result, when more than
// sixty builds a slot are waiting.
func Run(wl *Workload, name string, policy Policy) (*Result, error) {
	sim, err := newSimulation(wl, policy)
	if err != nil {
		return nil, err
	}
	changes := wl.Changes
	limit := 60 * wl.Daemons * int(wl.Slots)
	for sim.arrived < len(wl.Builds) || sim.endings.Len() > 0 || sim.started < sim.arrived {
		next := math.Inf(1)
		if sim.arrived < len(wl.Builds) {
			next = wl.Builds[sim.arrived].ArriveSeconds
		}
		if sim.endings.Len() > 0 {
			next = min(next, sim.endings.Peek().atSeconds)
		}
		if len(changes) > 0 {
			next = min(next, changes[0].AtSeconds)
		}
		if sim.returns.Len() > 0 {
			next = min(next, sim.returns.Peek().atSeconds)
		}
		if math.IsInf(next, 1) {
			return nil, fmt.Errorf(
				"policy %s leaves %d builds waiting for ever on workload %s",
				name,
				sim.arrived-sim.started,
				wl.Name,
			)
		}
		sim.Now, sim.View.NowSeconds = next, next
		for len(changes) > 0 && changes[0].AtSeconds <= next {
			sim.change(changes[0])
			changes = changes[1:]
		}
		for sim.returns.Len() > 0 && sim.returns.Peek().atSeconds <= next {
			sim.setPhase(sim.returns.Pop().at, scheduler.Ready)
		}
		for sim.endings.Len() > 0 && sim.endings.Peek().atSeconds <= next {
			sim.end(sim.endings.Pop().run)
		}
		for sim.arrived < len(wl.Builds) && wl.Builds[sim.arrived].ArriveSeconds <= next {
			sim.arrive()
		}
		if sim.arrived > sim.started {
			for _, s := range policy.Decide(sim) {
				if err := sim.begin(s); err != nil {
					return nil, fmt.Errorf("policy %s at %.1fs: %w", name, next, err)
				}
			}
		}
		sim.regrets.note(sim)
		sim.measured.sample(next, sim.arrived-sim.started)
		if sim.arrived-sim.started > limit {
			return sim.measured.unstable(name), nil
		}
	}
	return sim.measured.result(name, sim.primeSum), nil
}

// arrive adds the next build.
func (sim *Simulation) arrive() {
	b := sim.arrived
	sim.arrived++
	p := sim.Workload.Builds[b].Program
	sim.isFirst[b] = !sim.firstSeen[p]
	sim.firstSeen[p] = true
	sim.regrets.waiting = append(sim.regrets.waiting, b)
	sim.policy.Arrived(sim, b)
}

// begin starts a build. The physics: with every key fresh, the build takes its warm length. Each missing key adds its
// part of cold - warm, and a stale key the stale part of that. A key that another build is making on the daemon is
// ready when that build ends, or is made again if that is sooner; with Merging it is ready at once. A Locked key in use
// is waited for; a Private key in use is missing. Priming takes 5 s plus the bytes that the copy lacks at the pull
// rate, and multiplies the key's part of the warm length by PrimedFactor.
func (sim *Simulation) begin(s Start) error {
	d := &sim.View.Daemons[s.At]
	if d.Phase != scheduler.Ready || d.Running >= d.Slots {
		return fmt.Errorf(
			"starts a build on %s, which is %s with %d of %d slots taken",
			d.Name,
			d.Phase,
			d.Running,
			d.Slots,
		)
	}
	b := &sim.Workload.Builds[s.Build]
	p := &sim.Workload.Programs[b.Program]
	if len(d.Platforms) > 0 && p.Platform != "" && d.Platforms[0] != p.Platform {
		return fmt.Errorf("starts a build for %s on %s, which builds for %s", p.Platform, d.Name, d.Platforms[0])
	}
	r := &run{Start: s, startSeconds: sim.Now, serviceSeconds: b.WarmSeconds, epoch: d.Epoch}
	lock := 0.0
	for k := range p.Keys {
		lock = max(lock, sim.applyKey(r, b, p, k))
	}
	r.lockSeconds = lock
	r.serviceSeconds += lock
	ends := sim.Now + r.setupSeconds + r.serviceSeconds
	for k := range p.Keys {
		use := &p.Keys[k]
		c := sim.content(use.ID).copyOn(s.At)
		if c == nil {
			c = sim.store(use.ID, s.At, use.Bytes)
		}
		c.users++
		c.usedAt = sim.Now
		c.endsAt = max(c.endsAt, ends)
	}
	expected := s.ExpectedSeconds
	if expected <= 0 {
		expected = p.ColdSeconds
	}
	r.busy = scheduler.Busy{EndsAtSeconds: sim.Now + expected, ExpectedSeconds: expected}
	d.Running++
	d.Busy = append(d.Busy, r.busy)
	sim.started++
	waiting := sim.regrets.waiting
	sim.regrets.waiting = slices.DeleteFunc(waiting, func(build int) bool { return build == s.Build })
	sim.sequence++
	sim.endings.Push(ending{atSeconds: ends, sequence: sim.sequence, run: r})
	sim.measured.start(sim.Now-b.ArriveSeconds, b, r, sim.isFirst[s.Build])
	sim.policy.Started(sim, r)
	return nil
}

// lookup returns how fresh a build finds the copy x of a key (nil: none), the seconds of the gain that it has to redo,
// and how long it waits for a lock.
func (sim *Simulation) lookup(
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
	rest := x.endsAt - sim.Now
	switch {
	case use.Sharing == scheduler.Private:
		return 0, gain, 0
	case use.Sharing == scheduler.Locked && x.making:
		return 1, 0, rest
	case use.Sharing == scheduler.Locked:
		return fresh, missingSeconds, rest
	case x.making && sim.Workload.Merging:
		return 1, 0, 0
	case x.making:
		return fresh, min(gain, rest), 0
	}
	return fresh, missingSeconds, 0
}

// applyKey adds the effect of key k to the run r, and returns how long it waits for a lock on the key.
func (sim *Simulation) applyKey(r *run, b *Build, p *Program, k int) (lockSeconds float64) {
	use := &p.Keys[k]
	c := sim.content(use.ID)
	x := c.copyOn(r.At)
	fresh, missing, lockSeconds := sim.lookup(use, c, x, use.Gain*(b.ColdSeconds-b.WarmSeconds))
	bytes := use.Bytes
	if x != nil {
		bytes = int64(float64(bytes) * min(sim.Workload.RefreshSpread*(1-fresh), 1))
	}
	pull := 5 + float64(bytes)/sim.Workload.PullBytesPerSecond
	prime := r.Prime&(1<<k) != 0
	if r.PrimeIfCheaper {
		part := use.Gain * (p.ColdSeconds - p.WarmSeconds) * (1 - fresh)
		prime = pull+(sim.Workload.PrimedFactor-1)*p.WarmSeconds*use.Gain < part
	}
	if prime && sim.Workload.Priming && c.built && fresh < 1 && (x == nil || !x.making) {
		r.setupSeconds += pull
		r.serviceSeconds += (sim.Workload.PrimedFactor - 1) * b.WarmSeconds / float64(len(p.Keys))
		sim.primeSum += bytes
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
func (sim *Simulation) end(r *run) {
	d := &sim.View.Daemons[r.At]
	d.Running--
	for i := range d.Busy {
		if d.Busy[i] == r.busy {
			d.Busy[i] = d.Busy[len(d.Busy)-1]
			d.Busy = d.Busy[:len(d.Busy)-1]
			break
		}
	}
	b := &sim.Workload.Builds[r.Build]
	p := &sim.Workload.Programs[b.Program]
	for k := range p.Keys {
		c := sim.content(p.Keys[k].ID)
		version := c.recordBuild(b.Push)
		c.built = true
		if x := c.copyOn(r.At); x != nil && r.epoch == d.Epoch {
			x.users--
			x.making = false
			x.version = max(x.version, version)
			x.usedAt = sim.Now
			x.measure(b.Program, len(p.Keys), r.mode != scheduler.Warm || r.joined, sim.Now-r.startSeconds)
			if x.users == 0 {
				x.endsAt = 0
			}
		}
	}
	sim.measured.end(sim.Now, b, sim.regrets.end(r.Build, sim.Now))
	sim.policy.Ended(sim, r)
	sim.restart(r.At)
}

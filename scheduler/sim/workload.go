// SPDX-License-Identifier: Apache-2.0

// Package sim replays recorded and generated build workloads against placement policies on a virtual clock. The
// project's own policy is the code that runs in the cluster: scheduler.DecideStarts on a scheduler.View. The physics —
// how long a build takes on which daemon — is documented at Simulation.begin and is kept apart from what the scheduler
// believes.
package sim

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/openllb/hlb-operator/scheduler"
)

// Program is a program that is built repeatedly: its caches and its lengths.
type Program struct {
	Keys        []scheduler.KeyUse // the primary first; Gain sums to 1
	Queue       string
	Platform    string
	Priority    int32
	WarmSeconds float64 // medians over its builds
	ColdSeconds float64
}

// Build is one arrival. Its lengths include the noise of this build. Builds of one push have the same sources, so a
// copy that one of them updated is not stale for the others; later pushes have higher numbers.
type Build struct {
	Program       int
	Push          int
	ArriveSeconds float64
	WarmSeconds   float64
	ColdSeconds   float64
}

// Change is one change of the fleet.
type Change struct {
	AtSeconds float64
	Daemon    int // ordinal
	Phase     scheduler.Phase
	NewVolume bool
	// RestartSeconds, if above 0, makes it a restart: with Phase Draining, the daemon goes when its last build has
	// ended, and is back with its volume so long after that.
	RestartSeconds float64
}

// Workload is everything a run needs except the policy.
type Workload struct {
	Name     string
	Programs []Program
	Builds   []Build  // by arrival
	Changes  []Change // by time
	Daemons  int
	Slots    int32
	// Platforms of ordinal i are Platforms[i % len]; empty: any.
	Platforms [][]string
	DiskBytes int64 // a daemon's volume
	// Builds that arrive before WarmUpSeconds are not measured; EndSeconds is when arrivals end.
	WarmUpSeconds float64
	EndSeconds    float64
	// Priming is whether snapshots exist, pulled at PullBytesPerSecond.
	Priming            bool
	PullBytesPerSecond float64
	// A build on a primed copy takes PrimedFactor × its warm length. With Merging, a build that runs beside the build
	// that makes its copy finds it at once; without, when that build ends. Priming a stale copy moves min(1,
	// RefreshSpread × missing part) of its bytes.
	PrimedFactor  float64
	RefreshSpread float64
	Merging       bool

	pushes int // so far
	// EstimateBias multiplies the estimates of every other program and divides those of the rest; 1: no bias.
	EstimateBias float64
	Utilisation  float64 // warm work offered over slots, for plots; 0 if recorded
}

const day = 86400.0

// hourFactors are arrivals by hour of day, UTC, relative to the mean, after the recorded builds of 2019: least at 4,
// most at 15.
var hourFactors = [24]float64{
	0.80,
	0.74,
	0.69,
	0.65,
	0.63,
	0.66,
	0.75,
	0.88,
	1.00,
	1.08,
	1.12,
	1.14,
	1.18,
	1.26,
	1.33,
	1.35,
	1.31,
	1.24,
	1.17,
	1.12,
	1.09,
	1.03,
	0.95,
	0.87,
}

// Generated are the parameters of a synthetic workload; see Generate.
type Generated struct {
	Name        string
	Seed        uint64
	Daemons     int
	Slots       int32
	Programs    int
	Utilisation float64 // warm seconds arriving per second and slot
	Zipf        float64
	ColdRatio   float64 // median cold/warm
	Days        float64
	WarmUpDays  float64
	Priming     bool
	// DemandByQueue gives the relative arrivals of queues "team-0".. ; nil means one queue.
	DemandByQueue []float64
	MountKeys     int // programs share this many extra mount keys, 0 for none
	Sharing       scheduler.Sharing
	Platforms     []string // programs are spread over these; daemons too
}

// newWorkload returns a fleet with the common physics and nothing to build.
func newWorkload(daemons int, slots int32, diskBytes int64, priming bool) *Workload {
	return &Workload{
		Daemons:            daemons,
		Slots:              slots,
		DiskBytes:          diskBytes,
		Priming:            priming,
		PullBytesPerSecond: 2e8,
		PrimedFactor:       1.1,
		RefreshSpread:      2.7,
		EstimateBias:       1,
	}
}

// Generate draws a workload: programs of Zipf popularity, cold lengths lognormal(5.21, 1.0) seconds, cold/warm
// lognormal around ColdRatio with sigma 0.6 in 1.2..30, copies of lognormal(2 GB, 0.8); pushes come as a Poisson
// process with the recorded hours of day, each push being one build and a geometric number of further ones within ten
// seconds, two in the mean; each build's length varies by lognormal(0, 0.2). In the first half of the warm-up
// arrivals grow from a tenth, because a whole fleet that starts empty under full load is another experiment.
func Generate(g Generated) *Workload {
	rng := rand.New(rand.NewPCG(g.Seed, 0x5eed))
	w := newWorkload(g.Daemons, g.Slots, 150e9, g.Priming)
	w.Name, w.Utilisation = g.Name, g.Utilisation
	w.WarmUpSeconds, w.EndSeconds = g.WarmUpDays*day, g.Days*day
	for i := range g.Programs {
		w.Programs = append(w.Programs, g.program(i, rng))
	}
	for i := range g.Platforms {
		w.Platforms = append(w.Platforms, g.Platforms[i:i+1])
	}
	popularity, meanWarm := g.popularity(w.Programs, rng)
	const buildsPerPush = 2
	pushes := g.Utilisation * float64(g.Daemons) * float64(g.Slots) / meanWarm / buildsPerPush // a second
	for t := 0.0; t < w.EndSeconds; {
		hour := int(t/3600) % 24
		ramp := 1.0
		if half := w.WarmUpSeconds / 2; t < half {
			ramp = 0.1 + 0.9*t/half
		}
		t += rng.ExpFloat64() / (pushes * hourFactors[hour] * ramp)
		program, _ := slices.BinarySearch(popularity, rng.Float64())
		program = min(program, len(w.Programs)-1)
		w.pushes++
		for at := t; ; at = t + 10*rng.Float64() {
			w.add(program, at, rng)
			if rng.Float64() < 0.5 {
				break
			}
		}
	}
	w.sort()
	return w
}

// program draws one program.
func (g *Generated) program(i int, rng *rand.Rand) Program {
	cold := math.Exp(5.21 + rng.NormFloat64())
	ratio := min(max(g.ColdRatio*math.Exp(0.6*rng.NormFloat64()), 1.2), 30)
	bytes := int64(2e9 * math.Exp(0.8*rng.NormFloat64()))
	p := Program{WarmSeconds: cold / ratio, ColdSeconds: cold}
	p.Keys = []scheduler.KeyUse{
		{ID: scheduler.KeyOf("sim", "program-"+strconv.Itoa(i)), Gain: 1, Bytes: bytes, Sharing: g.Sharing},
	}
	if g.MountKeys > 0 {
		mount := rng.IntN(g.MountKeys)
		p.Keys[0].Gain = 0.6
		p.Keys = append(
			p.Keys,
			scheduler.KeyUse{ID: scheduler.KeyOf("sim", "mount-"+strconv.Itoa(mount)), Gain: 0.4, Bytes: 2e9},
		)
	}
	if n := len(g.Platforms); n > 0 {
		p.Platform = g.Platforms[i%n]
	}
	return p
}

// popularity returns the cumulated share of programs, and the mean warm length it implies. Popularity is assigned at
// random, also over queues.
func (g *Generated) popularity(programs []Program, rng *rand.Rand) (cumulated []float64, meanWarmSeconds float64) {
	share := make([]float64, len(programs))
	for rank, i := range rng.Perm(len(programs)) {
		share[i] = math.Pow(float64(rank+1), -g.Zipf)
		if n := len(g.DemandByQueue); n > 0 {
			q := i % n
			programs[i].Queue = "team-" + strconv.Itoa(q)
			share[i] *= g.DemandByQueue[q]
		}
	}
	sum := 0.0
	for _, s := range share {
		sum += s
	}
	cumulated = make([]float64, len(share))
	run := 0.0
	for i, s := range share {
		run += s / sum
		cumulated[i] = run
		meanWarmSeconds += s / sum * programs[i].WarmSeconds
	}
	return cumulated, meanWarmSeconds * math.Exp(0.02) // the mean of the noise, exp(0.2²/2)
}

// add draws one build of a program, of the newest push.
func (w *Workload) add(program int, at float64, rng *rand.Rand) {
	noise := math.Exp(0.2 * rng.NormFloat64())
	p := &w.Programs[program]
	w.Builds = append(
		w.Builds,
		Build{
			Program:       program,
			Push:          w.pushes,
			ArriveSeconds: at,
			WarmSeconds:   p.WarmSeconds * noise,
			ColdSeconds:   p.ColdSeconds * noise,
		},
	)
}

// sort orders builds and changes by time, stably, and numbers pushes by their first builds.
func (w *Workload) sort() {
	slices.SortStableFunc(w.Builds, func(a, b Build) int { return cmp.Compare(a.ArriveSeconds, b.ArriveSeconds) })
	slices.SortStableFunc(w.Changes, func(a, b Change) int { return cmp.Compare(a.AtSeconds, b.AtSeconds) })
	number := map[int]int{}
	for i := range w.Builds {
		push := &w.Builds[i].Push
		if _, known := number[*push]; !known {
			number[*push] = len(number) + 1
		}
		*push = number[*push]
	}
	w.pushes = len(number)
}

// Stated sets the physics of the model that the targets were stated for: a build beside the first of its program counts
// as warm. The other workloads are harsher. docs/scheduling.md describes how this was inferred from the figures of
// other policies.
func (w *Workload) Stated() *Workload {
	w.Merging = true
	return w
}

// StatedVolumes sets, for recorded workloads, the volumes of that model: copies a quarter as large as drawn, 0.5 GB in
// the median, on volumes of 500 GB. They hold two thirds of a fortnight's programs of 2019, so that copies are evicted.
func (w *Workload) StatedVolumes() *Workload {
	for i := range w.Programs {
		for k := range w.Programs[i].Keys {
			w.Programs[i].Keys[k].Bytes /= 4
		}
	}
	w.DiskBytes = 500e9
	return w
}

// Churn adds ten-minute drains at random, perDay of them, every sixth of which loses the volume, and lets the last
// third of the fleet sleep from midnight to seven.
func (w *Workload) Churn(perDay int, seed uint64) *Workload {
	rng := rand.New(rand.NewPCG(seed, 0xc4a2))
	awake := w.Daemons - w.Daemons/3
	days := int(math.Ceil(w.EndSeconds / day))
	for d := range days {
		midnight := float64(d) * day
		for i := awake; i < w.Daemons; i++ {
			w.Changes = append(w.Changes, Change{AtSeconds: midnight, Daemon: i, Phase: scheduler.Dormant},
				Change{AtSeconds: midnight + 7*3600, Daemon: i, Phase: scheduler.Ready})
		}
		for i := range perDay {
			at := midnight + rng.Float64()*(day-600)
			daemon := rng.IntN(w.Daemons)
			if daemon >= awake && at < midnight+7*3600 {
				daemon = rng.IntN(awake) // the sleeping cannot be drained
			}
			w.Changes = append(w.Changes, Change{AtSeconds: at, Daemon: daemon, Phase: scheduler.Draining},
				Change{AtSeconds: at + 600, Daemon: daemon, Phase: scheduler.Ready, NewVolume: i%6 == 5})
		}
	}
	w.sort()
	return w
}

// Restart has each daemon restart with its volume once in so many hours, in turn, for 25 s in the median, as nodes and
// images are updated.
func (w *Workload) Restart(everyHours float64, seed uint64) *Workload {
	rng := rand.New(rand.NewPCG(seed, 0x2e57))
	every := everyHours * 3600
	for i := range w.Daemons {
		for t := every * (float64(i) + rng.Float64()) / float64(w.Daemons); t < w.EndSeconds; t += every {
			away := 25 * math.Exp(.4*rng.NormFloat64())
			w.Changes = append(w.Changes,
				Change{AtSeconds: t, Daemon: i, Phase: scheduler.Draining, RestartSeconds: away})
		}
	}
	w.sort()
	return w
}

// Flap makes one daemon NotReady for every other minute from start to end.
func (w *Workload) Flap(daemon int, startSeconds, endSeconds float64) *Workload {
	for t := startSeconds; t < endSeconds; t += 120 {
		w.Changes = append(w.Changes, Change{AtSeconds: t, Daemon: daemon, Phase: scheduler.NotReady},
			Change{AtSeconds: t + 60, Daemon: daemon, Phase: scheduler.Ready})
	}
	w.sort()
	return w
}

// Burst multiplies arrivals between start and end by copying each build there factor-1 times, at random instants of
// that interval.
func (w *Workload) Burst(factor int, startSeconds, endSeconds float64, seed uint64) *Workload {
	rng := rand.New(rand.NewPCG(seed, 0xb057))
	for _, b := range slices.Clone(w.Builds) {
		if b.ArriveSeconds >= startSeconds && b.ArriveSeconds < endSeconds {
			for range factor - 1 {
				w.pushes++
				w.add(b.Program, startSeconds+rng.Float64()*(endSeconds-startSeconds), rng)
			}
		}
	}
	w.sort()
	return w
}

// Stampede adds n builds of one program at one instant.
func (w *Workload) Stampede(program, n int, atSeconds float64, seed uint64) *Workload {
	rng := rand.New(rand.NewPCG(seed, 0x57a3))
	for range n {
		w.pushes++
		w.add(program, atSeconds, rng)
	}
	w.sort()
	return w
}

// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"io"
	"slices"

	"github.com/openllb/hlb-operator/scheduler"
)

// NamedPolicy makes a new instance of a policy for each run.
type NamedPolicy struct {
	Name string
	New  func() Policy
}

// NoReturns is the name of ours without the expected return of daemons that restart. It is the same as ours on
// workloads without restarts.
const NoReturns = "ours-no-returns"

// Policies returns all policies to compare; ours, with the parameters p, are last.
func Policies(p scheduler.Params) []NamedPolicy {
	return []NamedPolicy{
		{"random", func() Policy { return Random(1) }},
		{"round-robin", RoundRobin},
		{"lowest-ordinal", LowestOrdinal},
		{"least-loaded", LeastLoaded},
		{"greedy", Greedy},
		{"buildx-sticky", BuildxSticky},
		{"rendezvous", Rendezvous},
		{"power-of-two", PowerOfTwo},
		{"bounded-load", func() Policy { return BoundedLoad(false) }},
		{"bounded-load-floored", func() Policy { return BoundedLoad(true) }},
		{"delay-60s", func() Policy { return Delay(60) }},
		{"ours", func() Policy { return NewOurs(p) }},
		{"ours-foresight", func() Policy { return &Ours{Params: p, Foresight: true} }},
		{NoReturns, func() Policy { return &Ours{Params: p, NoReturns: true} }},
	}
}

// Case makes one workload of the suite.
type Case struct {
	Name string
	Make func() (*Workload, error)
}

// Trace opens a recording for each workload made of it.
type Trace func() (io.ReadCloser, error)

// Suite lists the workloads. days is the length of the generated ones, of which the first two fifths are warm-up.
// Without a trace a small one is generated, so that the recorded workloads have the same names and meaning with less
// weight. Everything drawn follows from seed.
func Suite(days float64, seed uint64, trace Trace) []Case {
	g := generator{days, seed}
	cases := slices.Concat(g.stated(), g.generated(), g.loads())
	return append(cases, recordedCases(seed, trace)...)
}

// generator makes cases of generated workloads.
type generator struct {
	days float64
	seed uint64
}

// of makes a case of fifty daemons at 35 % utilisation. change edits the parameters, and then edits the workload.
func (g generator) of(name string, change func(*Generated), then ...func(*Workload)) Case {
	return Case{name, func() (*Workload, error) {
		p := Generated{
			Name:        name,
			Seed:        g.seed,
			Daemons:     50,
			Slots:       4,
			Programs:    2000,
			Utilisation: .35,
			Zipf:        .9,
			ColdRatio:   4,
			Days:        g.days,
			WarmUpDays:  g.days * 2 / 5,
		}
		change(&p)
		w := Generate(p)
		for _, f := range then {
			f(w)
		}
		return w, nil
	}}
}

// twelve is a smaller fleet.
func twelve(g *Generated) { g.Daemons, g.Programs = 12, 500 }

// withPriming has snapshots.
func withPriming(g *Generated) { g.Priming = true }

// stated are the workloads with the physics of the stated targets.
func (g generator) stated() []Case {
	stated := func(w *Workload) { w.Stated() }
	// A is where the ring and least-loaded fail on fifty daemons. Queues are long at twice its load and take long to
	// decide, so it is one working day.
	twice := func(g *Generated) { g.Utilisation, g.Days, g.WarmUpDays = .70, .75, .3 }
	return []Case{
		g.of("stated-a", func(*Generated) {}, stated),
		g.of("stated-b-priming", withPriming, stated),
		g.of("stated-a-twice", twice, stated),
		g.of("stated-n12", twelve, stated), // the ring and least-loaded fail at this load; the next has twice as much
		g.of("stated-n12-twice", func(g *Generated) { twelve(g); g.Utilisation = .70 }, stated),
	}
}

// generated are workloads with one property each that a fleet may have or meet.
func (g generator) generated() []Case {
	noon := g.days*day*2/5 + 3600
	churn := func(w *Workload) { w.Churn(36, g.seed) }
	restarts := func(w *Workload) { w.Restart(4, g.seed) }
	return []Case{
		g.of("u35", func(*Generated) {}),
		g.of("u35-priming", withPriming),
		g.of("u25-churn", func(g *Generated) { g.Utilisation = .25 }, churn),
		g.of("u35-priming-churn", withPriming, churn),
		g.of("u35-restarts", func(*Generated) {}, restarts),
		g.of("u35-priming-restarts", withPriming, restarts),
		g.of("n12-burst", twelve, func(w *Workload) { w.Burst(10, noon, noon+600, g.seed) }),
		g.of("n12-stampede", twelve, func(w *Workload) { w.Stampede(7, 100, noon, g.seed) }),
		g.of("n12-flap", twelve, func(w *Workload) { w.Flap(3, noon, noon+6*3600) }),
		g.of("n12-biased", twelve, func(w *Workload) { w.EstimateBias = 3 }),
		g.of("n12-locked", func(g *Generated) { twelve(g); g.Sharing = scheduler.Locked }),
		g.of("n12-private", func(g *Generated) { twelve(g); g.Sharing = scheduler.Private; g.Utilisation = .25 }),
		g.of("n12-two-platforms", func(g *Generated) {
			twelve(g)
			g.Platforms = []string{"linux/amd64", "linux/arm64"}
		}),
		g.of("n12-ten-to-one", func(g *Generated) { twelve(g); g.DemandByQueue = []float64{10, 1, 1} }),
		g.of("n12-multi-key", func(g *Generated) { twelve(g); g.MountKeys = 40 }),
	}
}

// loads are workloads from a tenth to seven tenths of the slots, without and with priming.
func (g generator) loads() []Case {
	var cases []Case
	for _, u := range []int{10, 20, 30, 40, 50, 60, 70} {
		load := func(g *Generated) { twelve(g); g.Utilisation = float64(u) / 100 }
		cases = append(cases,
			g.of(fmt.Sprintf("load-%d", u), load),
			g.of(fmt.Sprintf("load-%d-priming", u), func(g *Generated) { load(g); g.Priming = true }))
	}
	return cases
}

// recordedCases are the workloads made of the trace.
func recordedCases(seed uint64, trace Trace) []Case {
	recorded := func(name string, daemons int, priming bool, then ...func(*Workload)) Case {
		return Case{name, func() (*Workload, error) {
			in, err := trace()
			if err != nil {
				return nil, err
			}
			defer in.Close()
			w, err := Recorded(in, daemons, 4, priming, seed)
			if err != nil {
				return nil, fmt.Errorf("workload %s: %w", name, err)
			}
			w.Name = name
			for _, f := range then {
				f(w)
			}
			return w, nil
		}}
	}
	churn := func(w *Workload) { w.Churn(36, seed) }
	stated := func(w *Workload) { w.Stated().StatedVolumes() }
	return []Case{
		recorded("stated-d-trace", 30, false, stated),
		recorded("stated-e-trace-priming-churn", 30, true, func(w *Workload) { w.Churn(24, seed) }, stated),
		recorded("trace", 30, false),
		recorded("trace-churn", 30, false, churn),
		recorded("trace-priming", 30, true),
		recorded("trace-priming-churn", 30, true, churn),
		recorded("trace-restarts", 30, false, func(w *Workload) { w.Restart(4, seed) }),
		recorded("trace-tight-priming-churn", 16, true, churn),
	}
}

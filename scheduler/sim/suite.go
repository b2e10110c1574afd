// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"io"

	"github.com/openllb/hlb-operator/scheduler"
)

// Named is a policy that can be made anew for each run.
type NamedPolicy struct {
	Name string
	New  func() Policy
}

// Policies are all that are compared, ours, with the parameters p, last.
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
	}
}

// Case makes one workload of the suite.
type Case struct {
	Name string
	Make func() (*Workload, error)
}

// Trace opens a recording anew for each workload that is made of it.
type Trace func() (io.ReadCloser, error)

// Suite lists the workloads. days is the length of the generated ones, of which the first two fifths are warm-up.
// Without a trace a small one is generated, so the recorded workloads have the same names and meaning with less
// weight. All that is drawn follows from seed.
func Suite(days float64, seed uint64, trace Trace) []Case {
	gen := func(name string, change func(*Generated), then ...func(*Workload)) Case {
		return Case{name, func() (*Workload, error) {
			g := Generated{
				Name:        name,
				Seed:        seed,
				Daemons:     50,
				Slots:       4,
				Programs:    2000,
				Utilisation: .35,
				Zipf:        .9,
				ColdRatio:   4,
				Days:        days,
				WarmUpDays:  days * 2 / 5,
			}
			change(&g)
			w := Generate(g)
			for _, f := range then {
				f(w)
			}
			return w, nil
		}}
	}
	noon := days*day*2/5 + 3600
	small := func(g *Generated) { g.Daemons, g.Programs = 12, 500 }
	// A is where the ring and least loaded fail on fifty daemons. Queues are long at twice its load and take long to
	// decide, so it is one working day.
	twice := func(g *Generated) { g.Utilisation, g.Days, g.WarmUpDays = .70, .75, .3 }
	priming := func(g *Generated) { g.Priming = true }
	churn := func(w *Workload) { w.Churn(36, seed) }
	stated := func(w *Workload) { w.Stated() }
	cases := []Case{
		gen("stated-a", func(*Generated) {}, stated),
		gen("stated-b-priming", priming, stated),
		gen("stated-a-twice", twice, stated),
		gen("stated-n12", small, stated), // the ring and least loaded fail at this load; the next has twice as much
		gen("stated-n12-twice", func(g *Generated) { small(g); g.Utilisation = .70 }, stated),
		gen("u35", func(*Generated) {}),
		gen("u35-priming", priming),
		gen("u25-churn", func(g *Generated) { g.Utilisation = .25 }, churn),
		gen("u35-priming-churn", priming, churn),
		gen("n12-burst", small, func(w *Workload) { w.Burst(10, noon, noon+600, seed) }),
		gen("n12-stampede", small, func(w *Workload) { w.Stampede(7, 100, noon, seed) }),
		gen("n12-flap", small, func(w *Workload) { w.Flap(3, noon, noon+6*3600) }),
		gen("n12-biased", small, func(w *Workload) { w.EstimateBias = 3 }),
		gen("n12-locked", func(g *Generated) { small(g); g.Sharing = scheduler.Locked }),
		gen("n12-private", func(g *Generated) { small(g); g.Sharing = scheduler.Private; g.Utilisation = .25 }),
		gen("n12-two-platforms", func(g *Generated) { small(g); g.Platforms = []string{"linux/amd64", "linux/arm64"} }),
		gen("n12-ten-to-one", func(g *Generated) { small(g); g.DemandByQueue = []float64{10, 1, 1} }),
		gen("n12-multi-key", func(g *Generated) { small(g); g.MountKeys = 40 }),
	}
	for _, u := range []int{10, 20, 30, 40, 50, 60, 70} {
		cases = append(
			cases,
			gen(fmt.Sprintf("load-%d", u), func(g *Generated) { small(g); g.Utilisation = float64(u) / 100 }),
			gen(
				fmt.Sprintf("load-%d-priming", u),
				func(g *Generated) { small(g); g.Utilisation = float64(u) / 100; g.Priming = true },
			),
		)
	}
	return append(cases, recordedCases(seed, trace)...)
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
		recorded("trace-tight-priming-churn", 16, true, churn),
	}
}

// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/scheduler"
)

// small is a fleet of six four-slot daemons for half a day.
func small(change func(*Generated)) *Workload {
	g := Generated{Name: "small", Seed: 3, Daemons: 6, Slots: 4, Programs: 60, Utilisation: .3, Zipf: .9, ColdRatio: 4,
		Days: .5, WarmUpDays: .15}
	change(&g)
	return Generate(g)
}

func ours() *Ours { return NewOurs(scheduler.DefaultParams()) }

// finish is Run for workloads that must be finished.
func finish(t *testing.T, w *Workload, p Policy) *Result {
	t.Helper()
	r, err := Run(w, "policy", p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRunsAreRepeatable(t *testing.T) {
	w := small(func(g *Generated) { g.Priming = true }).Churn(36, 1)
	if diff := cmp.Diff(finish(t, w, ours()), finish(t, w, ours())); diff != "" {
		t.Errorf("the same run twice:\n%s", diff)
	}
}

func TestEveryPolicyKeepsTheRules(t *testing.T) {
	// begin refuses starts on full, closed or unfit daemons, so a run to the end is the test.
	w := small(func(g *Generated) {
		g.Platforms = []string{"linux/amd64", "linux/arm64"}
		g.MountKeys = 5
		g.Priming = true
	}).Churn(36, 1)
	for _, p := range Policies(scheduler.DefaultParams()) {
		t.Run(p.Name, func(t *testing.T) {
			r := finish(t, w, p.New())
			if !r.Unstable && min(r.OverBound, r.OverTightest) < 1 {
				t.Errorf("beats a lower bound: %s", r)
			}
		})
	}
}

func TestOursBeatsTheRest(t *testing.T) {
	for name, priming := range map[string]bool{"without priming": false, "with priming": true} {
		t.Run(name, func(t *testing.T) {
			means := map[string]float64{} // over seeds, because one half day on six daemons is a matter of luck
			unstable := map[string]bool{}
			for seed := range uint64(4) {
				w := small(func(g *Generated) { g.Priming, g.Seed = priming, seed+1 })
				for _, p := range Policies(scheduler.DefaultParams()) {
					r := finish(t, w, p.New())
					means[p.Name] += r.MeanSeconds / 4
					unstable[p.Name] = unstable[p.Name] || r.Unstable
				}
			}
			for policy, mean := range means {
				if policy != "ours-foresight" && !unstable[policy] && mean < means["ours"] {
					t.Errorf("%s is better: %.1fs in the mean, ours %.1fs", policy, mean, means["ours"])
				}
			}
		})
	}
}

// TestRecoversFromBurst is invariant 18 of the design: no state from which a fleet does not come back.
func TestRecoversFromBurst(t *testing.T) {
	calm := small(func(g *Generated) { g.Days = 1 })
	const start = 8 * 3600.0
	burst := small(func(g *Generated) { g.Days = 1 }).Burst(10, start, start+600, 1)
	a, b := finish(t, calm, ours()), finish(t, burst, ours())
	// Ten times the work of ten minutes at 0.3 of the slots is 30 minutes of the whole fleet, or about 45 minutes
	// beside what comes meanwhile.
	drained := int(start/600) + 1 + 2*45/10
	longest := 0
	for i := drained + 6; i < len(a.QueueByTenMins) && i < len(b.QueueByTenMins); i++ {
		longest = max(longest, b.QueueByTenMins[i]-a.QueueByTenMins[i])
	}
	if longest > 24 {
		t.Errorf("up to %d more builds wait long after the burst than without it", longest)
	}
	if a.Unstable || b.Unstable || b.Warm < a.Warm-.05 {
		t.Errorf("the burst leaves the fleet colder:\n%s\n%s", a, b)
	}
}

func TestNobodyStarves(t *testing.T) {
	w := small(func(g *Generated) { g.DemandByQueue = []float64{10, 1, 1}; g.Utilisation = .5 })
	r := finish(t, w, ours())
	longest := 0.0
	for i := range w.Builds {
		longest = max(longest, w.Builds[i].ColdSeconds)
	}
	if bound := 120 + 2*longest; r.MaxWait > bound {
		t.Errorf("the longest wait is %.0fs, want at most %.0fs: overdue age and two of the longest builds", r.MaxWait,
			bound)
	}
}

func TestStampedeBuildsColdOnlyWhereItPays(t *testing.T) {
	w := &Workload{Name: "stampede", Daemons: 12, Slots: 4, DiskBytes: 150e9, PullBytesPerSecond: 2e8, EstimateBias: 1,
		PrimedFactor: 1.1, EndSeconds: 10}
	w.Programs = []Program{{Keys: []scheduler.KeyUse{{ID: 1, Gain: 1, Bytes: 1e9}}, WarmSeconds: 10, ColdSeconds: 300}}
	w.Stampede(0, 100, 0, 1)
	r := finish(t, w, &Ours{Params: scheduler.DefaultParams(), Foresight: true})
	if cold := r.Cold * 99; cold > 40 {
		t.Errorf("%.0f of 99 later builds of one key are cold", cold)
	}
	if r.MaxWait > 400 {
		t.Errorf("the last waits %.0fs for a build of 10s", r.MaxWait)
	}
}

func TestLostMemoryCostsOnlyTime(t *testing.T) {
	w := small(func(g *Generated) { g.Priming = true })
	forgetful := ours()
	forgetful.ForgetAtSeconds = .3 * day
	a, b := finish(t, w, ours()), finish(t, w, forgetful)
	if b.Unstable || b.MeanSeconds > 1.3*a.MeanSeconds {
		t.Errorf("after losing its ledger:\n%s\n%s", b, a)
	}
}

// TestBoundsOnTinyCases checks both bounds against the best of all schedules.
func TestBoundsOnTinyCases(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for range 60 {
		w := &Workload{Daemons: 1 + rng.IntN(2), Slots: 1, EndSeconds: 100}
		for p := range 3 {
			w.Programs = append(w.Programs, Program{Keys: []scheduler.KeyUse{{ID: scheduler.KeyID(p), Gain: 1}}})
		}
		for range 6 {
			warm := 1 + 20*rng.Float64()
			w.Builds = append(w.Builds,
				Build{Program: rng.IntN(3), ArriveSeconds: 40 * rng.Float64(), WarmSeconds: warm,
					ColdSeconds: warm * 3})
		}
		w.sort()
		best := optimum(w)
		if lb0, lb1 := LB0(w), LB1(w); lb0 > best+1e-9 || lb1 > best+1e-9 {
			t.Fatalf("bounds %.4f and %.4f exceed the optimum %.4f of %+v", lb0, lb1, best, w.Builds)
		}
	}
}

// optimum is the least mean completion, by trying every order of the builds on every assignment to slots, lengths
// being the least possible ones.
func optimum(w *Workload) float64 {
	var least []float64
	forEachLeast(w, func(_ *Build, l float64) { least = append(least, l) })
	best := math.Inf(1)
	free := make([]float64, w.Daemons*int(w.Slots))
	var try func(done int, sum float64)
	try = func(done int, sum float64) {
		if sum >= best {
			return
		}
		if done == 1<<len(least)-1 {
			best = sum
			return
		}
		for i := range least {
			if done&(1<<i) != 0 {
				continue
			}
			for s := range free {
				before := free[s]
				end := max(before, w.Builds[i].ArriveSeconds) + least[i]
				free[s] = end
				try(done|1<<i, sum+end-w.Builds[i].ArriveSeconds)
				free[s] = before
			}
		}
	}
	try(0, 0)
	return best / float64(len(least))
}

func TestRecordedReads(t *testing.T) {
	const text = "10\t7\tmain\t300\t3\n20\t8\tmain\t-5\t1\n1209700\t7\tmain\t50\t1\n"
	w, err := Recorded(strings.NewReader(text), 2, 4, false, 1)
	if err != nil {
		t.Fatal(err)
	}
	type brief struct{ Program, At, Cold float64 }
	var got []brief
	for _, b := range w.Builds {
		got = append(got, brief{float64(b.Program), b.ArriveSeconds, b.ColdSeconds})
	}
	// The second fortnight's build runs beside the first's, as another program.
	if diff := cmp.Diff([]brief{{0, 10, 100}, {1, 100, 50}}, got); diff != "" {
		t.Errorf("builds (-want +got):\n%s", diff)
	}
	_, err = Recorded(strings.NewReader("10\t7\tmain\n"), 2, 4, false, 1)
	if err == nil || !strings.HasPrefix(err.Error(), "line 1: 3 columns") {
		t.Errorf("a short line gives %v", err)
	}
}

func TestGeneratedTraceIsARecording(t *testing.T) {
	in, err := GeneratedTrace(2, 200)()
	if err != nil {
		t.Fatal(err)
	}
	w, err := Recorded(in, 4, 4, true, 1)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(w.Builds); n < 2*14*100 || n > 2*14*400 {
		t.Errorf("%d builds in two fortnights of 200 a day", n)
	}
}

// TestCopiesAgeByPushes lets two daemons of one slot take builds of one program in turn.
func TestCopiesAgeByPushes(t *testing.T) {
	for name, c := range map[string]struct {
		push []int
		want float64 // seconds of the last build, which runs where the first did
	}{
		"a build of the same push leaves other copies up to date": {push: []int{1, 1, 1}, want: 10},
		"a copy that missed a push loses 2% of the gain":          {push: []int{1, 2, 3}, want: 10 + .02*290},
		"a push that was overtaken makes nobody old":              {push: []int{2, 1, 2}, want: 10},
	} {
		t.Run(name, func(t *testing.T) {
			w := &Workload{Daemons: 2, Slots: 1, DiskBytes: 1e12, EndSeconds: 3000, PrimedFactor: 1}
			w.Programs = []Program{{Keys: []scheduler.KeyUse{{ID: 1, Gain: 1}}, WarmSeconds: 10, ColdSeconds: 300}}
			for i, push := range c.push {
				w.Builds = append(w.Builds,
					Build{Push: push, ArriveSeconds: 1000 * float64(i), WarmSeconds: 10, ColdSeconds: 300})
			}
			w.WarmUpSeconds = 2000 // only the last is measured
			if r := finish(t, w, RoundRobin()); math.Abs(r.MeanSeconds-c.want) > 1e-9 {
				t.Errorf("takes %.2fs, want %.2fs", r.MeanSeconds, c.want)
			}
		})
	}
}

// TestWhoEvictsWhat evicts from daemon 0, which used key 1 before key 2; daemon 1 used key 2 later. Both copies save
// as much, and key 1's has 1 GB.
func TestWhoEvictsWhat(t *testing.T) {
	for name, c := range map[string]struct {
		policy Policy
		down   bool
		bytes  int64           // of key 2
		want   scheduler.KeyID // that stays
	}{
		"an agent that knows its fleet drops the copy that another has": {policy: ours(), bytes: 1e9, want: 1},
		"not one that nobody could reach": {
			policy: ours(), down: true, bytes: 1e9, want: 2,
		},
		"but then one that is worth less for its size": {policy: ours(), down: true, bytes: 9e9, want: 1},
		"others drop the one unused for longest":       {policy: Greedy(), bytes: 9e9, want: 2},
	} {
		t.Run(name, func(t *testing.T) {
			sim, err := newSimulation(small(func(*Generated) {}), c.policy)
			if err != nil {
				t.Fatal(err)
			}
			if o, is := c.policy.(*Ours); is {
				o.setUp(sim)
			}
			for i, x := range []struct {
				key   scheduler.KeyID
				on    int
				bytes int64
			}{{1, 0, 1e9}, {2, 0, c.bytes}, {2, 1, c.bytes}} {
				sim.Now = 100 * float64(i)
				stored := sim.store(x.key, x.on, x.bytes)
				stored.making = false
				stored.measure(0, 1, true, 100)
				stored.measure(0, 1, false, 40)
			}
			if c.down {
				sim.View.Daemons[1].Phase = scheduler.Draining
			}
			sim.evict(0, sim.evictionOrder(0)[0].ID)
			if diff := cmp.Diff([]scheduler.KeyID{c.want}, sim.volumes[0].keys); diff != "" {
				t.Errorf("keys left (-want +got):\n%s", diff)
			}
		})
	}
}

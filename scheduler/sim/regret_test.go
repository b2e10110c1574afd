// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"math"
	"testing"

	"github.com/openllb/hlb-operator/scheduler"
)

// waiter starts builds on daemon 0 only, one after the other.
type waiter struct{ queue []int }

func (w *waiter) Arrived(_ *Simulation, build int)          { w.queue = append(w.queue, build) }
func (w *waiter) Started(*Simulation, *run)                 {}
func (w *waiter) Ended(*Simulation, *run)                   {}
func (w *waiter) Changed(*Simulation, int, bool)            {}
func (w *waiter) Evicted(*Simulation, scheduler.KeyID, int) {}
func (w *waiter) Decide(sim *Simulation) (out []Start) {
	if d := sim.View.Daemons[0]; len(w.queue) > 0 && d.Running < d.Slots {
		out, w.queue = []Start{{Build: w.queue[0], At: 0}}, w.queue[1:]
	}
	return out
}

// TestRegretIsWhatWaitingCost has two daemons of one slot, of which one is never used.
func TestRegretIsWhatWaitingCost(t *testing.T) {
	program := Program{Keys: []scheduler.KeyUse{{ID: 1, Gain: 1}}, WarmSeconds: 10, ColdSeconds: 40}
	for name, tc := range map[string]struct {
		at   float64 // when the second build comes
		want float64 // its regret
	}{
		"no other daemon would have been sooner": {35, 0},            // warm from 40 to 50, cold until 75
		"it would have ended elsewhere before":   {0, 50 - 40},       // cold from 0 on the other daemon
		"what it was offered first was the best": {5, 50 - (5 + 40)}, // later offers end later
		"it has not waited where it could start": {45, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := &Workload{Daemons: 2, Slots: 1, DiskBytes: 1e12, EndSeconds: 100, PrimedFactor: 1,
				Programs: []Program{program}}
			for _, at := range []float64{0, tc.at} {
				w.Builds = append(w.Builds, Build{ArriveSeconds: at, WarmSeconds: 10, ColdSeconds: 40})
			}
			if r := finish(t, w, &waiter{}); math.Abs(r.MaxRegret-tc.want) > 1e-9 {
				t.Errorf("regret is %.1fs, want %.1fs; the longest wait %.1fs", r.MaxRegret, tc.want, r.MaxWait)
			}
		})
	}
}

// TestNobodyRegretsWaitingForLong bounds what waiting for a warm daemon costs.
func TestNobodyRegretsWaitingForLong(t *testing.T) {
	for name, utilisation := range map[string]float64{"a calm fleet": .3, "a busy one": .6} {
		t.Run(name, func(t *testing.T) {
			w := small(func(g *Generated) { g.Utilisation = utilisation })
			longest := 0.0
			for i := range w.Builds {
				longest = max(longest, w.Builds[i].ColdSeconds)
			}
			r := finish(t, w, ours())
			t.Logf("regret: p999 %.0fs, max %.0fs; wait max %.0fs; the longest build %.0fs", r.P999Regret, r.MaxRegret,
				r.MaxWait, longest)
			if r.MaxRegret > longest {
				t.Errorf("a build regrets %.0fs, the longest build takes %.0fs", r.MaxRegret, longest)
			}
		})
	}
}

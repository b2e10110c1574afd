// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/scheduler"
)

// TestNextEviction has daemon 0 hold key 1, used at 0, and key 2, used at 100, whose builds take 100 s cold and 40 s
// warm. It is second 200.
func TestNextEviction(t *testing.T) {
	lost := func(seconds float64) scheduler.NextEviction {
		return scheduler.NextEviction{Bytes: 1e9, LostSeconds: seconds}
	}
	cases := map[string]struct {
		change  func(sim *Simulation, one, two *contentCopy)
		wantKey scheduler.KeyID
		want    scheduler.NextEviction
	}{
		"without a measured build the loss is unknown": {
			func(*Simulation, *contentCopy, *contentCopy) {}, 1, lost(0)},
		"after a cold build alone a warm one is expected to take a quarter": {
			func(_ *Simulation, one, _ *contentCopy) { one.measure(0, 1, true, 40) }, 1, lost(30)},
		"the difference of the latest builds is lost": {
			func(_ *Simulation, one, _ *contentCopy) {
				one.measure(0, 1, true, 999)
				one.measure(0, 1, true, 100)
				one.measure(0, 1, false, 30)
			}, 1, lost(70)},
		"of several programs the most": {
			func(_ *Simulation, one, _ *contentCopy) {
				one.measure(0, 1, true, 100)
				one.measure(0, 1, false, 30)
				one.measure(1, 2, true, 300)
				one.measure(1, 2, false, 100)
			}, 1, lost(100)},
		"with a snapshot no more than priming takes": {
			func(sim *Simulation, one, _ *contentCopy) {
				sim.Workload.Priming = true
				one.measure(0, 1, true, 100)
				one.measure(0, 1, false, 30)
			}, 1, lost(10)},
		"a copy in use stays": {func(_ *Simulation, one, _ *contentCopy) { one.users = 1 }, 2, lost(60)},
		"none while all are in use": {
			func(_ *Simulation, one, two *contentCopy) { one.users, two.users = 1, 1 }, 0, scheduler.NextEviction{}},
		"a redundant copy": {
			func(sim *Simulation, _, _ *contentCopy) {
				sim.Now = 150
				sim.store(2, 1, 1e9).making = false
			}, 2, scheduler.NextEviction{Bytes: 1e9, LostSeconds: 60, Redundant: true}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			sim, err := newSimulation(small(func(*Generated) {}), ours())
			if err != nil {
				t.Fatal(err)
			}
			sim.policy.(*Ours).setUp(sim)
			sim.store(1, 0, 1e9).making = false
			sim.Now = 100
			sim.store(2, 0, 1e9).making = false
			one, two := sim.content(1).copyOn(0), sim.content(2).copyOn(0)
			two.measure(0, 1, true, 100)
			two.measure(0, 1, false, 40)
			tc.change(sim, one, two)
			sim.Now = 200
			key, next, found := sim.nextEviction(0)
			if key != tc.wantKey || found != (tc.wantKey != 0) {
				t.Errorf("key %d, found: %t; want %d", key, found, tc.wantKey)
			}
			if diff := cmp.Diff(tc.want, next); diff != "" {
				t.Errorf("next eviction (-want +got):\n%s", diff)
			}
		})
	}
}

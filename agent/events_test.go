// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// TestEachMountHasAnEvent primes two mounts for one build. The events regard different fields, because recorders
// merge those that differ in their notes only.
func TestEachMountHasAnEvent(t *testing.T) {
	told := &envtestkit.Recorder{}
	b := testbuild.HLBBuild("ns", "b", func(b *v1alpha1.HLBBuild) {
		b.Status.Prime = []v1alpha1.PrimeStatus{
			{ID: "ns/a", Outcome: v1alpha1.PrimePrimed, Bytes: 3 << 20, DurationSeconds: 2, Ref: "r/a"},
			{ID: "ns/new", Outcome: v1alpha1.PrimeNoSnapshot},
			{ID: "ns/b", Outcome: v1alpha1.PrimePrimed, Bytes: 4 << 20, DurationSeconds: 1, Ref: "r/b"},
		}
	})
	(&worker{events: told}).tellPrimes(b)
	event := func(id, note string) envtestkit.Event {
		return envtestkit.Event{Object: "b", Field: "status.prime{" + id + "}", Type: "Normal", Reason: v1alpha1.ReasonPrimed, Action: "PrimeMount", Note: note}
	}
	want := []envtestkit.Event{event("ns/a", "Primed ns/a with 3 MiB in 2 s from r/a"), event("ns/b", "Primed ns/b with 4 MiB in 1 s from r/b")}
	if diff := cmp.Diff(want, told.Take()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

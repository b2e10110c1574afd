// SPDX-License-Identifier: Apache-2.0

package run

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// TestOnlyMountsThatFailHaveAnEvent primes four mounts for one build. The events regard different fields, because
// recorders merge those that differ in their notes only.
func TestOnlyMountsThatFailHaveAnEvent(t *testing.T) {
	sent := &envtestkit.Recorder{}
	b := testbuild.HLBBuild("ns", "b", func(b *v1alpha1.HLBBuild) {
		b.Status.Prime = []v1alpha1.PrimeStatus{
			{ID: "ns/a", Outcome: v1alpha1.PrimeFailed, Message: "the registry is down"},
			{ID: "ns/new", Outcome: v1alpha1.PrimeNoSnapshot},
			{ID: "ns/primed", Outcome: v1alpha1.PrimePrimed, Bytes: 4 << 20, DurationSeconds: 1, Ref: "r/b"},
			{ID: "ns/b", Outcome: v1alpha1.PrimeTimedOut, Message: "not done after 1m0s"},
		}
	})
	(&Runner{Config: Config{Events: sent}}).sendPrimeFailures(b)
	event := func(id, note string) envtestkit.Event {
		return envtestkit.Event{
			Object: "b", Field: "status.prime{" + id + "}", Type: "Warning", Reason: v1alpha1.ReasonPrimeFailed,
			Action: "PrimeMount", Note: note,
		}
	}
	want := []envtestkit.Event{
		event("ns/a", "ns/a was not primed: the registry is down"),
		event("ns/b", "ns/b was not primed: not done after 1m0s"),
	}
	if diff := cmp.Diff(want, sent.Take()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}
